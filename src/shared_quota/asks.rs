//! The permits of one lane: those that are here, those that are being asked for, and what was denied. No I/O.
//!
//! One permit is asked for at a time, until one is granted: then more at a time, up to [`MAX_UNDER_WAY`], so that a way to Redis
//! that is long does not limit the rate. A denial says when to ask again. A call of higher priority than those that are asked
//! for asks at once, so that its line is in the queue of the account.

use std::collections::VecDeque;
use std::time::Duration;

use super::member::Ask;
use super::protocol::StepReply;
use crate::quota::{BlockedBy, Cost, Moment, NoCapacity, NotYet};

/// How many permits of a lane are asked for at a time at most.
const MAX_UNDER_WAY: usize = 4;

/// The longest time after which a denied permit is asked for again: what was named may come sooner, because a permit was given
/// back, or a pause was lifted.
const MAX_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Denial {
    cost: Cost,
    until: Moment,
    /// When a permit is expected. That may be long after it is asked for again.
    expected_at: Moment,
    why: NoCapacity,
}

/// The permits of one lane.
#[derive(Debug, Default)]
pub(super) struct LaneAsks {
    held: Vec<Ask>,
    denials: Vec<Denial>,
    waiting: VecDeque<Ask>,
    /// The priorities of those that a worker is asking for.
    under_way: Vec<u8>,
    /// How many more than one are asked for at a time.
    more_under_way: usize,
}

impl LaneAsks {
    /// Checks whether a permit is here, or may be asked for.
    pub(super) fn check(&self, cost: Cost, now: Moment) -> Result<(), NoCapacity> {
        if self.held.iter().any(|held| serves(held, cost)) {
            return Ok(());
        }
        match self.denial(cost, now) {
            Some(denial) => Err(denial.why.clone()),
            None => Ok(()),
        }
    }

    /// Returns when a permit is expected, if one was denied and is not to be asked for again yet. What an older denial named may
    /// have changed: if no call waits, none asks, and calls must not be refused for it.
    pub(super) fn expected_at(&self, cost: Cost, now: Moment) -> Option<Moment> {
        Some(self.denial(cost, now)?.expected_at)
    }

    fn denial(&self, cost: Cost, now: Moment) -> Option<&Denial> {
        self.denials.iter().find(|denial| denial.cost == cost && denial.until > now)
    }

    /// Takes a permit that is here.
    pub(super) fn take(&mut self, cost: Cost) -> Option<Ask> {
        let index = self.held.iter().position(|held| serves(held, cost))?;
        Some(self.held.remove(index))
    }

    /// Returns whether one more permit is to be asked for, by a call of this priority, if so many calls wait.
    pub(super) fn has_room(&self, priority: u8, calls: usize) -> bool {
        let waiting = self.waiting.iter().map(|ask| ask.priority);
        let (mut count, mut is_first) = (0, true);
        for other in waiting.chain(self.under_way.iter().copied()) {
            count += 1;
            is_first &= priority < other;
        }
        count < calls.min(1 + self.more_under_way) || is_first
    }

    /// A worker is to ask for this.
    pub(super) fn push(&mut self, ask: Ask) {
        self.waiting.push_back(ask);
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what a worker asks for now.
    pub(super) fn next(&mut self) -> Option<Ask> {
        let ask = self.waiting.pop_front()?;
        self.under_way.push(ask.priority);
        Some(ask)
    }

    fn is_done(&mut self, ask: &Ask) {
        if let Some(index) = self.under_way.iter().position(|other| *other == ask.priority) {
            self.under_way.swap_remove(index);
        }
    }

    pub(super) fn on_granted(&mut self, ask: Ask) {
        self.is_done(&ask);
        self.denials.retain(|denial| denial.cost != ask.cost);
        self.held.push(ask);
        self.more_under_way = (self.more_under_way + 1).min(MAX_UNDER_WAY - 1);
    }

    /// `sent_at` is when the request left. A request that leaves after the wait from then on arrives when the wait is over.
    pub(super) fn on_denied(&mut self, ask: &Ask, reply: &StepReply, sent_at: Moment, now: Moment) {
        self.is_done(ask);
        self.more_under_way = 0;
        let expected_at = (sent_at + reply.wait).max(now);
        let until = expected_at.min(now + MAX_WAIT);
        let not_yet = NotYet::Until(until);
        let mut waits = reply.scopes.iter().map(|scope| scope.wait);
        let is_lane = waits.next().is_none_or(|wait| !wait.is_zero());
        let full = ask.cost.budgets.iter().zip(waits).filter(|(_, wait)| !wait.is_zero());
        let full: Vec<_> = full.map(|(budget, _)| (budget, not_yet)).collect();
        let by = match is_lane || full.is_empty() {
            true => BlockedBy::Lane,
            false => BlockedBy::Budgets(full),
        };
        self.deny(ask.cost, until, expected_at, NoCapacity { not_yet, by });
    }

    fn deny(&mut self, cost: Cost, until: Moment, expected_at: Moment, why: NoCapacity) {
        self.denials.retain(|denial| denial.cost != cost);
        self.denials.push(Denial { cost, until, expected_at, why });
    }

    pub(super) fn on_failed(&mut self, ask: &Ask, again_at: Moment) {
        self.is_done(ask);
        self.more_under_way = 0;
        let why = NoCapacity { not_yet: NotYet::Until(again_at), by: BlockedBy::Lane };
        self.deny(ask.cost, again_at, again_at, why);
    }

    /// Removes the permits that are here, and forgets what was denied because of them.
    pub(super) fn take_unused(&mut self) -> Vec<Ask> {
        if !self.held.is_empty() {
            self.denials.clear();
        }
        std::mem::take(&mut self.held)
    }

    /// Forgets all that is not under way. Returns the permits that are here.
    pub(super) fn clear(&mut self) -> Vec<Ask> {
        self.waiting.clear();
        self.denials.clear();
        self.more_under_way = 0;
        std::mem::take(&mut self.held)
    }

    /// Slots have come free that no denial knew of.
    pub(super) fn forget_denials(&mut self) {
        self.denials.clear();
    }
}

/// Returns whether a call of this cost may be sent by a permit. An urgent call may take one that left the reserve alone.
fn serves(held: &Ask, cost: Cost) -> bool {
    let is_allowed = cost.urgent || !held.cost.urgent;
    let same = (held.cost.budgets, held.cost.weight.max(1)) == (cost.budgets, cost.weight.max(1));
    is_allowed && same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::BudgetSet;
    use crate::shared_quota::member::Member;
    use crate::shared_quota::protocol::{ScopeReply, StepOutcome};

    #[test]
    fn what_a_denial_named_is_expected_until_it_is_to_be_asked_for_again() {
        let (now, hour) = (Moment::from_nanos(0), Duration::from_secs(3600));
        let mut member = Member::new("p".to_owned(), vec!["l".to_owned()], Vec::new(), hour);
        let cost = Cost { budgets: BudgetSet::EMPTY, ..Cost::to_lane(0) };
        let ask = member.ask(cost, 5, false, now);
        let scopes = vec![ScopeReply { wait: hour, ..ScopeReply::default() }];
        let generation = String::new();
        let outcome = StepOutcome::Denied;
        let mut lane = LaneAsks::default();
        lane.push(ask);
        assert_eq!(lane.next(), Some(ask));
        lane.on_denied(
            &ask,
            &StepReply { outcome, wait: hour, now: 0, generation, scopes },
            now,
            now,
        );
        assert_eq!(lane.expected_at(cost, now), Some(now + hour));
        assert_eq!(lane.expected_at(cost, now + MAX_WAIT), None);
        assert_eq!(lane.check(cost, now + MAX_WAIT), Ok(()));
    }
}
