//! What one proxy may send: the quotas of its lanes, and the budgets that they share.
//!
//! All of it is one state, so that a call takes its slots in its lane and in all of its budgets, or
//! nowhere. Checks that are made one after the other leak: the first has been charged when the
//! second refuses.
//!
//! # The credit of a budget
//!
//! A window may be entered the earlier the longer calls are known to take, by a credit that must not
//! be more than `return_i + forward_j` for any call `i` before and the call `j` to be sent. Within a
//! lane the least round trip bounds that sum. A budget is charged by several lanes, and `i` and `j`
//! may belong to two of them, A and B. The least round trips are `forward_A + return_A` and
//! `forward_B + return_B`, each the sum of its least parts, and what is needed is `return_A +
//! forward_B`. That is at least one of the two sums unless B is quicker on the way there *and* A is
//! quicker on the way back: if `forward_B >= forward_A` it is at least A's sum, and if `return_A >=
//! return_B` it is at least B's. Lanes go to one broker by one path, and differ in how long it
//! works on them; wherever it counts, either the way before or the way after is common to both. So
//! the smallest credit of all lanes that were ever charged to the budget is safe, and it is zero as
//! long as one of them has none: strict, or not measured enough.
//!
//! The credit is applied when a slot is asked for, not when it is stamped. So a lane that joins a
//! budget later has its say about the calls of the others before it.

mod estimate;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::budget::{Budget, Reserve};
use super::cost::Cost;
use super::error::QuotaError;
use super::moment::{Moment, nanos};
use super::pace_snapshot::PaceSnapshot;
use super::permit::{BlockedBy, NoCapacity, NotYet, Permit, WindowUse};
use super::quota::Quota;
use super::quota_state::{QuotaState, SlotRequest};
use super::round_trip::{RoundTrip, RttCredit};
use super::wall_clock::WallClockSample;
use super::warm_connections::WarmConnections;
use super::window::DEFAULT_CLOCK_GUARD;

/// The state of all quotas of one proxy. A pure state machine: every method is told the time.
///
/// Should the time it is told ever go back, it takes the latest that it has heard.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::quota::{PacingState, Budget, Cost, RttCredit, Moment, NotYet, Quota, WallClockSample};
///
/// let start = Moment::from_nanos(0);
/// let mut allowance = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
/// let lane = allowance.add_lane(&Quota::per_second(10), RttCredit::STRICT)?;
/// let orders = allowance.add_budget(&Budget::new(Quota::per_minute(2)).reserve(1))?;
/// assert_eq!((lane, orders), (0, 0));
///
/// let order = Cost { lane: 0, budgets: &[0], weight: 1, urgent: false };
/// let permit = allowance.take(order, start).unwrap();
/// let answered = start + Duration::from_millis(40);
/// allowance.finish(permit, answered);
///
/// // The lane has room. What is left of the budget is for urgent calls.
/// assert_eq!(allowance.available_at(Cost { budgets: &[], ..order }, answered), Ok(()));
/// let free = answered + Duration::from_secs(60);
/// assert_eq!(allowance.available_at(order, answered), Err(NotYet::Until(free)));
/// assert_eq!(allowance.available_at(Cost { urgent: true, ..order }, answered), Ok(()));
/// # Ok::<(), lanekeeper::quota::QuotaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PacingState {
    wall_clock: WallClockSample,
    latest: Moment,
    lanes: Vec<LaneQuota>,
    budgets: Vec<SharedBudget>,
    /// Calls that were given up without an answer, and hold their slots for a while yet.
    unanswered_calls: BinaryHeap<Reverse<UnansweredCall>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UnansweredCall {
    release_at: Moment,
    taken_at: Moment,
    charge: Cost,
}

#[derive(Debug, Clone)]
struct LaneQuota {
    quota: QuotaState,
    credit_policy: RttCredit,
    connections: WarmConnections,
    /// Calls that hold their slots, and are in flight no more: no answer came.
    unanswered: u64,
    round_trip: RoundTrip,
    /// How long the last call took that was answered.
    last_round_trip: Option<Duration>,
    /// How long the slowest one took that was.
    max_round_trip: Duration,
    /// What the setting comes to, in nanoseconds. Kept, since every look wants it and only an
    /// answer changes it.
    credit: u64,
}

#[derive(Debug, Clone)]
struct SharedBudget {
    quota: QuotaState,
    reserve: Reserve,
    /// The lanes that were ever charged to it.
    lanes: Vec<usize>,
}

impl PacingState {
    /// Without lanes and budgets.
    pub fn new(wall: WallClockSample) -> Self {
        Self {
            wall_clock: wall,
            latest: Moment::ORIGIN,
            lanes: Vec::new(),
            budgets: Vec::new(),
            unanswered_calls: BinaryHeap::new(),
        }
    }

    /// Pairs the two clocks anew, for whoever knows that one was set or stood still.
    ///
    /// Set back by more than 2 s, windows that go by the wall count anew what is remembered of the calls, by
    /// this reading: what the wall said before was wrong.
    pub fn set_wall_clock(&mut self, wall: WallClockSample) {
        let was = std::mem::replace(&mut self.wall_clock, wall);
        if was.is_ahead_of(wall, DEFAULT_CLOCK_GUARD) {
            let lanes = self.lanes.iter_mut().map(|lane| &mut lane.quota);
            let budgets = self.budgets.iter_mut().map(|budget| &mut budget.quota);
            lanes.chain(budgets).for_each(|gauge| gauge.recount(wall));
        }
    }

    /// Whether the clock on the wall matters to any window.
    pub fn uses_wall_clock(&self) -> bool {
        let lanes = self.lanes.iter().map(|lane| &lane.quota);
        let budgets = self.budgets.iter().map(|budget| &budget.quota);
        lanes.chain(budgets).any(QuotaState::uses_wall_clock)
    }

    /// One more lane. Its number is the count of those before it.
    ///
    /// # Errors
    /// The quota cannot be kept, see [`Quota::check`].
    pub fn add_lane(&mut self, quota: &Quota, credit: RttCredit) -> Result<usize, QuotaError> {
        quota.check()?;
        let gauge = QuotaState::new(quota.windows());
        let round_trip = RoundTrip::new();
        let path = WarmConnections::default();
        let lane = LaneQuota {
            quota: gauge,
            credit_policy: credit,
            connections: path,
            unanswered: 0,
            round_trip,
            last_round_trip: None,
            max_round_trip: Duration::ZERO,
            credit: 0,
        };
        self.lanes.push(lane);
        Ok(self.lanes.len() - 1)
    }

    /// One more budget. Its number is the count of those before it.
    ///
    /// # Errors
    /// The budget cannot be kept, see [`Budget::check`].
    pub fn add_budget(&mut self, budget: &Budget) -> Result<usize, QuotaError> {
        budget.check()?;
        let gauge = QuotaState::new(budget.quota().windows());
        let reserve = budget.reserved();
        self.budgets.push(SharedBudget { quota: gauge, reserve, lanes: Vec::new() });
        Ok(self.budgets.len() - 1)
    }

    /// What the lanes and budgets of these names have used, in the order of their numbers. `wall` is the
    /// present.
    pub fn save(
        &mut self,
        lanes: &[&str],
        budgets: &[&str],
        wall: WallClockSample,
    ) -> PaceSnapshot {
        let now = self.advance_to(wall.moment);
        let mut state = PaceSnapshot::at(wall.timestamp);
        for (name, lane) in lanes.iter().zip(&self.lanes) {
            state.set_usage(name, lane.quota.export(now));
        }
        for (name, budget) in budgets.iter().zip(&self.budgets) {
            state.set_usage(name, budget.quota.export(now));
        }
        state
    }

    /// Begins with what another one has used. To be called before anything is taken; `wall` is the present.
    pub fn restore(
        &mut self,
        state: &PaceSnapshot,
        lanes: &[&str],
        budgets: &[&str],
        wall: WallClockSample,
    ) {
        for (name, lane) in lanes.iter().zip(&mut self.lanes) {
            lane.quota.restore(&state.restored_calls(name, wall), wall);
        }
        for (name, budget) in budgets.iter().zip(&mut self.budgets) {
            budget.quota.restore(&state.restored_calls(name, wall), wall);
        }
    }

    /// Nothing is known of what was sent before `unknown_before`, by a process that may have been busy until then.
    /// So windows that remember for `up_to` at most count as full until they have forgotten it, and a second
    /// more, since what was sent last was on its way. Urgent calls do not wait for that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lanekeeper::jiff::Timestamp;
    /// use lanekeeper::quota::{PacingState, Cost, RttCredit, Moment, NotYet, Quota, WallClockSample};
    ///
    /// let start = Moment::from_nanos(0);
    /// let mut allowance = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
    /// let lane = allowance.add_lane(&Quota::per_second(10).and(Quota::per_day(500)), RttCredit::STRICT)?;
    /// allowance.block_until_forgotten(start, Duration::from_secs(60));
    /// let call = Cost::to_lane(lane);
    /// assert_eq!(allowance.available_at(call, start), Err(NotYet::Until(start + Duration::from_secs(2))));
    /// assert_eq!(allowance.available_at(Cost { urgent: true, ..call }, start), Ok(()));
    /// # Ok::<(), lanekeeper::quota::QuotaError>(())
    /// ```
    pub fn block_until_forgotten(&mut self, unknown_before: Moment, up_to: Duration) {
        let lanes = self.lanes.iter_mut().map(|lane| &mut lane.quota);
        let budgets = self.budgets.iter_mut().map(|budget| &mut budget.quota);
        lanes
            .chain(budgets)
            .for_each(|gauge| gauge.block_until_forgotten(unknown_before, nanos(up_to)));
    }

    /// For how long the longest window of each lane and budget remembers a call, lanes first.
    pub(crate) fn retention(&self) -> impl Iterator<Item = Duration> {
        let lanes = self.lanes.iter().map(|lane| &lane.quota);
        lanes.chain(self.budgets.iter().map(|budget| &budget.quota)).map(QuotaState::retention)
    }

    /// Whether the call could go now. Only looks.
    ///
    /// # Errors
    /// It could not; says when it could.
    pub fn available_at(&mut self, charge: Cost, now: Moment) -> Result<(), NotYet> {
        self.check(charge, now).map_err(|refused| refused.not_yet)
    }

    /// Whether the call could go now, and if not, where there is no room. Only looks.
    ///
    /// # Errors
    /// It could not; says when it could, and who is in the way.
    pub fn check(&mut self, charge: Cost, now: Moment) -> Result<(), NoCapacity> {
        let now = self.advance_to(now);
        self.check_room(charge, now)
    }

    /// Takes the slots of a call in every window of its lane and of its budgets, or in none.
    ///
    /// # Errors
    /// Some window has not room enough; says when all will have. A refusal changes nothing.
    pub fn take(&mut self, charge: Cost, now: Moment) -> Result<Permit, NotYet> {
        let now = self.advance_to(now);
        self.check_room(charge, now).map_err(|refused| refused.not_yet)?;
        let borrowed = if charge.urgent { self.borrowed_slots(charge, now) } else { 0 };
        self.for_each_quota(charge, |gauge| gauge.take(charge.slots(), now));
        for index in charge.distinct_budgets() {
            if let Some(budget) = self.budgets.get_mut(index) {
                if !budget.lanes.contains(&charge.lane) {
                    budget.lanes.push(charge.lane);
                }
            }
        }
        let in_flight = self.in_flight(charge.lane);
        let lane = self.lanes.get(charge.lane);
        let warm = lane.is_some_and(|lane| lane.connections.is_warm(in_flight, now));
        Ok(Permit { taken_at: now, charge, is_warm: warm, borrowed })
    }

    /// The call was answered. Its slots cool for a window, less the credit.
    pub fn finish(&mut self, permit: Permit, now: Moment) {
        let now = self.advance_to(now);
        let in_flight = self.in_flight(permit.charge.lane);
        if let Some(lane) = self.lanes.get_mut(permit.charge.lane) {
            // Only an answer shows that there was a path.
            lane.connections.record_use(in_flight, now);
            let round_trip = now.since(permit.taken_at);
            match permit.is_warm {
                true => lane.round_trip.record(round_trip),
                false => lane.round_trip.record_cold(round_trip),
            }
            lane.last_round_trip = Some(round_trip);
            lane.max_round_trip = lane.max_round_trip.max(round_trip);
            lane.credit = nanos(lane.round_trip.credit(lane.credit_policy));
        }
        self.finish_unsent(permit, now);
    }

    /// The call is over, and it never left, as far as anyone can tell. The time it took says nothing
    /// about the way to the broker. It is charged all the same: to believe it, and be wrong, would
    /// be one call too many; and a broker that refuses connections is not to be hammered.
    pub fn finish_unsent(&mut self, permit: Permit, now: Moment) {
        let (now, wall) = (self.advance_to(now), self.wall_clock);
        let Permit { taken_at: taken, charge, .. } = permit;
        self.for_each_quota(charge, |gauge| gauge.finish(charge.slots(), taken, now, wall));
    }

    /// The call is over, and no answer came: it timed out, or the connection broke. The broker may
    /// yet count it, as what is on the way arrives. Nobody can say when, so its slots stay held for
    /// as long again as the call took; and for a round trip more, since the credit counts on a way
    /// back, and there was none.
    pub fn finish_unanswered(&mut self, permit: Permit, now: Moment) {
        let now = self.advance_to(now);
        let Permit { taken_at: taken, charge, .. } = permit;
        let mut until = now + now.since(taken);
        if let Some(lane) = self.lanes.get_mut(charge.lane) {
            lane.unanswered += 1;
            until = until + lane.round_trip.min().unwrap_or_default();
        }
        self.unanswered_calls.push(Reverse(UnansweredCall {
            release_at: until,
            taken_at: taken,
            charge,
        }));
    }

    /// When the next call without an answer lets go of its slots, if there is one: something may be
    /// possible then of which a refusal could not say when.
    pub fn next_release(&mut self, now: Moment) -> Option<Moment> {
        self.advance_to(now);
        self.unanswered_calls.peek().map(|Reverse(lost)| lost.release_at)
    }

    /// The permit was not used. Its slots are free at once.
    pub fn give_back(&mut self, permit: Permit) {
        let Permit { taken_at: taken, charge, .. } = permit;
        self.for_each_quota(charge, |gauge| gauge.give_back(charge.slots(), taken));
    }

    /// Gives a lane another quota, at once. What was used stays used, and what is in flight stays
    /// held. A window that is wider than any before it begins with the history that there is.
    ///
    /// # Errors
    /// The quota cannot be kept, or there is no such lane. Then the old one stays.
    pub fn set_lane(&mut self, lane: usize, quota: &Quota, now: Moment) -> Result<(), QuotaError> {
        self.set_lane_and_cut(lane, quota, &Quota::unlimited(), now)
    }

    /// The same, with a `cut` beside the quota: windows that hold for all calls but the urgent ones. Of a
    /// cut it is only guessed that the broker wants it, and an exit does not wait for a guess. An urgent call is
    /// counted in it all the same.
    ///
    /// # Errors
    /// Those of [`set_lane`](Self::set_lane), for the cut too.
    pub fn set_lane_and_cut(
        &mut self,
        lane: usize,
        quota: &Quota,
        cut: &Quota,
        now: Moment,
    ) -> Result<(), QuotaError> {
        quota.check()?;
        cut.check()?;
        self.advance_to(now);
        let wall = self.wall_clock;
        let known = self.lanes.get_mut(lane).ok_or(QuotaError::NoLane { lane })?;
        known.quota.set_windows(quota.windows(), cut.windows(), wall);
        Ok(())
    }

    /// Gives a budget another quota and another reserve, as [`set_lane`](Self::set_lane) does.
    ///
    /// # Errors
    /// The budget cannot be kept, or there is no such budget. Then the old one stays.
    pub fn set_budget(
        &mut self,
        budget: usize,
        to: &Budget,
        now: Moment,
    ) -> Result<(), QuotaError> {
        to.check()?;
        self.advance_to(now);
        let wall = self.wall_clock;
        let known = self.budgets.get_mut(budget).ok_or(QuotaError::NoBudget { budget })?;
        known.quota.set_windows(to.quota().windows(), &[], wall);
        known.reserve = to.reserved();
        Ok(())
    }

    /// How much of each window of a lane is used. Empty if there is no such lane.
    pub fn lane_use(&mut self, lane: usize, now: Moment) -> Vec<WindowUse> {
        let (now, wall) = (self.advance_to(now), self.wall_clock);
        let lane = self.lanes.get_mut(lane);
        lane.map(|lane| lane.quota.usage(now, wall, lane.credit)).unwrap_or_default()
    }

    /// How much of each window of a budget is for urgent calls alone. None if there is no such budget.
    pub fn reserve(&self, budget: usize) -> Reserve {
        self.budgets.get(budget).map_or(Reserve::NONE, |budget| budget.reserve)
    }

    /// How much of each window of a budget is used. Empty if there is no such budget.
    pub fn budget_use(&mut self, budget: usize, now: Moment) -> Vec<WindowUse> {
        let (now, wall) = (self.advance_to(now), self.wall_clock);
        let Self { lanes, budgets, .. } = self;
        let budget = budgets.get_mut(budget);
        budget
            .map(|budget| {
                let credit = budget.lanes.iter().map(|&lane| lane_credit(lanes, lane)).min();
                budget.quota.usage(now, wall, credit.unwrap_or(0))
            })
            .unwrap_or_default()
    }

    /// How many calls of a lane are in flight. Those that were given up are not.
    pub fn in_flight(&self, lane: usize) -> u32 {
        let calls = self
            .lanes
            .get(lane)
            .map_or(0, |lane| lane.quota.calls_in_flight().saturating_sub(lane.unanswered));
        u32::try_from(calls).unwrap_or(u32::MAX)
    }

    /// By how much a slot of a lane is free earlier than a window after its answer.
    pub fn credit(&self, lane: usize) -> Duration {
        Duration::from_nanos(lane_credit(&self.lanes, lane))
    }

    /// The least round trip of a lane so far.
    pub fn min_round_trip(&self, lane: usize) -> Option<Duration> {
        self.lanes.get(lane)?.round_trip.min()
    }

    fn advance_to(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        let (now, wall) = (self.latest, self.wall_clock);
        while let Some(Reverse(lost)) =
            self.unanswered_calls.peek().copied().filter(|lost| lost.0.release_at <= now)
        {
            self.unanswered_calls.pop();
            let UnansweredCall { release_at: until, taken_at: taken, charge } = lost;
            if let Some(lane) = self.lanes.get_mut(charge.lane) {
                lane.unanswered = lane.unanswered.saturating_sub(1);
            }
            self.for_each_quota(charge, |gauge| gauge.finish(charge.slots(), taken, until, wall));
        }
        now
    }

    fn check_room(&mut self, charge: Cost, now: Moment) -> Result<(), NoCapacity> {
        let never = || NoCapacity { not_yet: NotYet::Never, by: BlockedBy::Lane };
        let Self { wall_clock: wall, lanes, budgets, .. } = self;
        let lane = lanes.get_mut(charge.lane).ok_or_else(never)?;
        let patience = charge.urgent.then(|| nanos(lane.hung_after()));
        let claim =
            SlotRequest { weight: charge.slots(), reserve: Reserve::NONE, hung_after: patience };
        let mut answer = lane.quota.check_room(now, *wall, lane.credit, claim);
        let mut full = Vec::new();
        for index in charge.distinct_budgets() {
            let budget = budgets.get_mut(index).ok_or_else(never)?;
            let credit = budget.credit(lanes, charge.lane);
            let claim = SlotRequest { reserve: budget.reserve_for(charge), ..claim };
            let room = budget.quota.check_room(now, *wall, credit, claim);
            if let Err(not_yet) = room {
                full.push((index, not_yet));
            }
            answer = NotYet::both(answer, room);
        }
        let by = || if full.is_empty() { BlockedBy::Lane } else { BlockedBy::Budgets(full) };
        answer.map_err(|not_yet| NoCapacity { not_yet, by: by() })
    }

    /// What a call would take of the slots of hung calls.
    fn borrowed_slots(&mut self, charge: Cost, now: Moment) -> u64 {
        let Self { wall_clock: wall, lanes, budgets, .. } = self;
        let weight = charge.slots();
        let Some(lane) = lanes.get_mut(charge.lane) else { return 0 };
        let mut beyond = lane.quota.borrowed_slots(now, *wall, lane.credit, weight);
        for index in charge.distinct_budgets() {
            if let Some(budget) = budgets.get_mut(index) {
                let credit = budget.credit(lanes, charge.lane);
                beyond = beyond.max(budget.quota.borrowed_slots(now, *wall, credit, weight));
            }
        }
        beyond
    }

    /// The quotas of the lane and of the budgets.
    fn for_each_quota(&mut self, charge: Cost, mut change: impl FnMut(&mut QuotaState)) {
        if let Some(lane) = self.lanes.get_mut(charge.lane) {
            change(&mut lane.quota);
        }
        for index in charge.distinct_budgets() {
            if let Some(budget) = self.budgets.get_mut(index) {
                change(&mut budget.quota);
            }
        }
    }
}

/// A call that was in flight for less than this does not hang.
const MIN_HUNG_AFTER: Duration = Duration::from_secs(1);
/// One that was in flight for longer than this does, however slow the others were: the broker counts a
/// call as it arrives, and works on it after that.
const MAX_HUNG_AFTER: Duration = Duration::from_secs(2);

impl LaneQuota {
    /// How long a call has to be in flight before an urgent one may take its slots: longer than every
    /// round trip seen so far, within bounds. Each window adds that it is never less than its length.
    fn hung_after(&self) -> Duration {
        self.max_round_trip.clamp(MIN_HUNG_AFTER, MAX_HUNG_AFTER)
    }
}

impl SharedBudget {
    /// The smallest credit of the lanes that were charged to it, and of `lane`, which is to be.
    fn credit(&self, lanes: &[LaneQuota], lane: usize) -> u64 {
        let others = self.lanes.iter().map(|&other| lane_credit(lanes, other));
        others.fold(lane_credit(lanes, lane), u64::min)
    }

    fn reserve_for(&self, charge: Cost) -> Reserve {
        if charge.urgent { Reserve::NONE } else { self.reserve }
    }
}

fn lane_credit(lanes: &[LaneQuota], lane: usize) -> u64 {
    lanes.get(lane).map_or(0, |lane| lane.credit)
}
