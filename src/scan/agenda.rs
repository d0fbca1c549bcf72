//! The items of a scan that are still to be submitted, and what to do about them next. Pure: no clock, no locks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::back_off::{BackOff, Refusal};

/// What a scan does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Submits this item, which is not on the agenda any more.
    Submit(usize),
    /// Sets an alarm in the lane of this item: none of the scan's calls is under way to continue it.
    SetAlarm {
        /// The next item.
        next: usize,
        /// When the alarm rings, from now.
        delay: Duration,
    },
    /// Waits for an answer, or for the alarm, or has submitted everything.
    Wait,
}

/// The items that are still to be submitted.
pub(super) struct Agenda {
    /// The items that were taken back or refused. They go first.
    returned: BTreeSet<usize>,
    /// The first item that was never submitted.
    next: usize,
    total: usize,
    /// A call was refused. Nothing is submitted until one is answered or the alarm rings.
    is_held: bool,
    is_alarm_set: bool,
    back_off: BackOff,
}

impl Agenda {
    pub(super) fn new(total: usize) -> Self {
        Self {
            returned: BTreeSet::new(),
            next: 0,
            total,
            is_held: false,
            is_alarm_set: false,
            back_off: BackOff::new(),
        }
    }

    /// Returns the next step of a scan that has `under_way` calls queued or in flight, of at most `at_once`.
    pub(super) fn step(&mut self, under_way: usize, at_once: usize) -> Step {
        let Some(next) = self.first() else { return Step::Wait };
        if self.is_held {
            if under_way > 0 || self.is_alarm_set {
                return Step::Wait;
            }
            self.is_alarm_set = true;
            return Step::SetAlarm { next, delay: self.back_off.take_delay() };
        }
        if under_way >= at_once {
            return Step::Wait;
        }
        if !self.returned.remove(&next) {
            self.next += 1;
        }
        Step::Submit(next)
    }

    /// Returns the item that is submitted next.
    pub(super) fn first(&self) -> Option<usize> {
        let fresh = (self.next < self.total).then_some(self.next);
        self.returned.first().copied().or(fresh)
    }

    /// Returns the number of items.
    pub(super) fn len(&self) -> usize {
        self.returned.len() + self.total - self.next
    }

    /// Returns whether a call was refused, and nothing is submitted for now.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Adds an item whose call was taken back.
    pub(super) fn give_back(&mut self, item: usize) {
        self.returned.insert(item);
    }

    /// Adds an item whose call was refused.
    pub(super) fn refuse(&mut self, item: usize, refusal: Refusal) {
        self.returned.insert(item);
        self.back_off.note(refusal);
        self.is_held = true;
    }

    /// Notes that a call was answered: the lane takes calls again.
    pub(super) fn on_answer(&mut self) {
        self.is_held = false;
        self.back_off = BackOff::new();
    }

    /// Notes that the alarm rang.
    pub(super) fn on_alarm(&mut self) {
        self.is_alarm_set = false;
        self.is_held = false;
    }

    /// Notes that the cause of a refusal may be gone. An alarm that is set will still ring.
    pub(super) fn release(&mut self) {
        self.is_held = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::back_off::MIN_DELAY;
    use super::*;
    use crate::lane::LaneErrorKind;

    fn full() -> Refusal {
        Refusal::of(&LaneErrorKind::QueueFull { capacity: 1 }).unwrap()
    }

    #[test]
    fn items_are_submitted_in_order_and_those_that_came_back_go_first() {
        let mut agenda = Agenda::new(4);
        assert_eq!(agenda.step(0, 2), Step::Submit(0));
        assert_eq!(agenda.step(1, 2), Step::Submit(1));
        assert_eq!(agenda.step(2, 2), Step::Wait);
        agenda.give_back(1);
        agenda.give_back(0);
        assert_eq!(agenda.len(), 4);
        let order: Vec<_> = (0..5).map(|_| agenda.step(0, 1)).collect();
        let submitted = [0, 1, 2, 3].map(Step::Submit);
        assert_eq!((&order[..4], &order[4]), (&submitted[..], &Step::Wait));
        assert_eq!(agenda.len(), 0);
    }

    #[test]
    fn after_a_refusal_nothing_is_submitted_until_an_answer_or_else_an_alarm() {
        let mut agenda = Agenda::new(3);
        assert_eq!(agenda.step(0, 2), Step::Submit(0));
        assert_eq!(agenda.step(1, 2), Step::Submit(1));
        agenda.refuse(1, full());
        assert_eq!(agenda.step(1, 2), Step::Wait);
        agenda.on_answer();
        assert_eq!(agenda.step(0, 2), Step::Submit(1));
        agenda.refuse(1, full());
        assert_eq!(agenda.step(0, 2), Step::SetAlarm { next: 1, delay: MIN_DELAY });
        assert_eq!(agenda.step(0, 2), Step::Wait, "one alarm suffices");
        agenda.on_alarm();
        assert_eq!(agenda.step(0, 2), Step::Submit(1));
        agenda.refuse(1, full());
        assert_eq!(agenda.step(0, 2), Step::SetAlarm { next: 1, delay: 2 * MIN_DELAY });
    }

    #[test]
    fn a_release_is_followed_by_a_try_and_leaves_the_alarm_as_it_is() {
        let mut agenda = Agenda::new(1);
        assert_eq!(agenda.step(0, 1), Step::Submit(0));
        agenda.refuse(0, full());
        assert!(matches!(agenda.step(0, 1), Step::SetAlarm { .. }));
        agenda.release();
        assert_eq!(agenda.step(0, 1), Step::Submit(0));
        agenda.refuse(0, full());
        assert_eq!(agenda.step(0, 1), Step::Wait);
        agenda.on_alarm();
        assert_eq!(agenda.step(0, 1), Step::Submit(0));
    }
}
