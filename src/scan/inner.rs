//! What changes of a scan, all of it under one lock: the agenda, the calls under way, the events.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};

use super::agenda::{Agenda, Step};
use super::event_log::{EventLog, StateChange};
use super::progress::{Pace, ScanState};
use super::readers::TaskWakers;
use crate::lane::{LaneError, Ticket};
use crate::proxy::Lanes;
use crate::quota::Moment;

/// The answer to a call: its result, or the lane's error in its place.
pub(super) type Answer<R, E> = Result<Result<R, E>, LaneError>;

/// The part of a scan that changes.
pub(super) struct Inner<R, E> {
    pub(super) state: ScanState,
    /// `None` once the scan is over, so that a scan which is kept for its results does not keep the lanes open.
    pub(super) lanes: Option<Lanes>,
    pub(super) agenda: Agenda,
    /// By item.
    pub(super) under_way: BTreeMap<usize, InFlight<R, E>>,
    pub(super) log: EventLog<R, E>,
    pub(super) pace: Pace,
    pub(super) tasks: TaskWakers,
    /// Whether a thread drives the scan.
    is_driven: bool,
}

/// The call of an item, from its submission until its answer is recorded.
pub(super) enum InFlight<R, E> {
    /// The driver is submitting it.
    Submitting,
    /// Queued, in flight, or answered.
    Submitted(Ticket<R, E>),
    /// A pause is taking it back.
    TakingBack,
    /// Its answer was taken, and is about to be recorded.
    Answered,
}

/// The answer to a call, with its ticket, which is to be dropped without the lock.
pub(super) struct Answered<R, E> {
    pub(super) answer: Answer<R, E>,
    pub(super) _ticket: Option<InFlight<R, E>>,
}

impl<R, E> Inner<R, E> {
    pub(super) fn new(lanes: Lanes, total: usize, now: Moment) -> Self {
        Self {
            state: ScanState::Running,
            lanes: Some(lanes),
            agenda: Agenda::new(total),
            under_way: BTreeMap::new(),
            log: EventLog::new(total),
            pace: Pace::new(now),
            tasks: TaskWakers::default(),
            is_driven: false,
        }
    }

    /// Returns whether a reader that has the events up to `seq` need not wait.
    pub(super) fn is_ready(&self, seq: u64) -> bool {
        self.state.is_over() || self.log.has_after(seq)
    }

    /// Makes the present thread the driver, if there is none.
    pub(super) fn begin_driving(&mut self) -> bool {
        !std::mem::replace(&mut self.is_driven, true)
    }

    /// Returns what the driver does next. An item that it submits is under way from now on. If there is nothing to do, the
    /// thread is the driver no more.
    pub(super) fn step(&mut self, at_once: usize) -> Step {
        let step = match self.state {
            ScanState::Running => self.agenda.step(self.under_way.len(), at_once),
            _ => Step::Wait,
        };
        match step {
            Step::Submit(item) => drop(self.under_way.insert(item, InFlight::Submitting)),
            Step::SetAlarm { .. } => {}
            Step::Wait => self.is_driven = false,
        }
        step
    }

    /// Takes the tickets of all calls, which are to be taken back. The driver takes back the call that it is submitting.
    pub(super) fn take_tickets(&mut self) -> Vec<(usize, Ticket<R, E>)> {
        let mut tickets = Vec::new();
        for (item, call) in &mut self.under_way {
            match std::mem::replace(call, InFlight::TakingBack) {
                InFlight::Submitted(ticket) => tickets.push((*item, ticket)),
                other => *call = other,
            }
        }
        tickets
    }

    /// Keeps the ticket of a call. Returns the answer if it is there, or else leaves the waker with the call.
    pub(super) fn keep(
        &mut self,
        item: usize,
        ticket: Ticket<R, E>,
        waker: &Waker,
    ) -> Option<Answered<R, E>> {
        self.under_way.insert(item, InFlight::Submitted(ticket));
        self.poll(item, waker)
    }

    /// Returns the answer to a call if it is there, or else leaves the waker with the call.
    pub(super) fn poll(&mut self, item: usize, waker: &Waker) -> Option<Answered<R, E>> {
        let InFlight::Submitted(ticket) = self.under_way.get_mut(&item)? else { return None };
        let Poll::Ready(answer) = ticket.poll_answer(waker) else { return None };
        // Another thread may poll before this one has recorded the answer.
        let ticket = self.under_way.insert(item, InFlight::Answered);
        Some(Answered { answer, _ticket: ticket })
    }

    /// Returns how many calls go before the first of those that are queued.
    pub(super) fn position(&self) -> Option<usize> {
        let tickets = self.under_way.values().filter_map(|call| match call {
            InFlight::Submitted(ticket) => Some(ticket),
            InFlight::Submitting | InFlight::TakingBack | InFlight::Answered => None,
        });
        tickets.filter_map(Ticket::position).min()
    }

    /// Ends the scan. Returns its calls and the lanes, to be dropped without the lock.
    pub(super) fn end(
        &mut self,
        state: ScanState,
        change: StateChange,
    ) -> (BTreeMap<usize, InFlight<R, E>>, Option<Lanes>) {
        self.state = state;
        self.log.push_state_change(change);
        (std::mem::take(&mut self.under_way), self.lanes.take())
    }
}
