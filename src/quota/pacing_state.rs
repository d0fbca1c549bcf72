//! What one proxy may send: the quotas of its lanes, and the budgets that they share.
//!
//! The quotas form one state, so that a call takes its slots in its lane and in all of its budgets, or nowhere.
//! Separate checks leak slots: the first quota has been charged when the second refuses.
//!
//! # The credit of a budget
//!
//! A window may be entered the earlier the longer calls are known to take, by a credit that must not be more than
//! `return_i + forward_j` for any call `i` before and the call `j` to be sent. Within a lane the least round trip
//! bounds that sum. A budget is charged by several lanes, and `i` and `j` may belong to two of them, A and B. The
//! least round trips are `forward_A + return_A` and `forward_B + return_B`, each the sum of its least parts, and what
//! is needed is `return_A + forward_B`. That is at least one of the two sums unless B is quicker on the way there
//! *and* A is quicker on the way back: if `forward_B >= forward_A` it is at least A's sum, and if `return_A >=
//! return_B` it is at least B's. Lanes go to one broker by one path, and differ in how long it works on them;
//! wherever it counts, either the way before or the way after is common to both. So the smallest credit of all lanes
//! that ever took slots of the budget is safe. It is zero as long as one of these lanes has none, because it is
//! strict or has too few samples.
//!
//! The credit is applied when a slot is asked for, not when it is stamped. So a lane that uses a budget for the first
//! time also shortens the credit for the earlier calls of other lanes.

mod estimate;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::budget::{Budget, Reserve};
use super::cost::{BudgetSet, Cost};
use super::error::QuotaError;
use super::moment::{Moment, nanos};
use super::pace_snapshot::PaceSnapshot;
use super::permit::{BlockedBy, NoCapacity, NotYet, Permit, WindowUse};
use super::quota::Quota;
use super::quota_state::{OpenCall, QuotaState, SlotRequest};
use super::reported_room::ReportedRoom;
use super::round_trip::{RoundTrip, RttCredit};
use super::share::Restriction;
use super::wall_clock::WallClockSample;
use super::warm_connections::WarmConnections;
use super::window::DEFAULT_CLOCK_GUARD;

/// The state of all quotas of one proxy. A pure state machine: every method takes the time.
///
/// If `now` ever goes back, the latest time so far is used instead.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::quota::{
///     Budget, BudgetSet, Cost, Moment, NotYet, PacingState, Quota, RttCredit, WallClockSample,
/// };
///
/// let start = Moment::from_nanos(0);
/// let mut pacing = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
/// let lane = pacing.add_lane(&Quota::per_second(10), RttCredit::STRICT)?;
/// let orders = pacing.add_budget(&Budget::new(Quota::per_minute(2)).reserve(1))?;
/// assert_eq!((lane, orders), (0, 0));
///
/// let order = Cost { budgets: BudgetSet::of(&[0]), ..Cost::to_lane(0) };
/// let permit = pacing.take(order, start).unwrap();
/// let answered = start + Duration::from_millis(40);
/// pacing.finish(permit, answered);
///
/// // The lane has room. What is left of the budget is for urgent calls.
/// assert_eq!(pacing.available_at(Cost::to_lane(0), answered), Ok(()));
/// let free = answered + Duration::from_secs(60);
/// assert_eq!(pacing.available_at(order, answered), Err(NotYet::Until(free)));
/// assert_eq!(pacing.available_at(Cost { urgent: true, ..order }, answered), Ok(()));
/// # Ok::<(), lanekeeper::quota::QuotaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PacingState {
    wall_clock: WallClockSample,
    latest: Moment,
    lanes: Vec<LaneQuota>,
    budgets: Vec<SharedBudget>,
    /// Calls that ended without an answer and still hold their slots.
    unanswered_calls: BinaryHeap<Reverse<UnansweredCall>>,
    /// What the broker has reported of its own counts, one for each group of lanes that share one.
    reported: Vec<ReportedRoom>,
    /// When an urgent call last took slots of hung calls.
    last_borrowed: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UnansweredCall {
    release_at: Moment,
    call: OpenCall,
    cost: Cost,
}

#[derive(Debug, Clone)]
struct LaneQuota {
    quota: QuotaState,
    reserve: Reserve,
    credit_policy: RttCredit,
    connections: WarmConnections,
    /// The number of calls that ended without an answer and still hold their slots.
    unanswered: u64,
    round_trip: RoundTrip,
    /// The round trip of the last call that was answered.
    last_round_trip: Option<Duration>,
    /// The longest round trip so far.
    max_round_trip: Duration,
    /// The credit in nanoseconds. Cached, because every check reads it and only an answer changes it.
    credit: u64,
}

/// What limits a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneLimits<'a> {
    /// The configured quota.
    pub(crate) quota: &'a Quota,
    /// The windows of a rate cut.
    pub(crate) cut: &'a Quota,
    pub(crate) cut_binds_urgent: bool,
}

#[derive(Debug, Clone)]
struct SharedBudget {
    quota: QuotaState,
    reserve: Reserve,
    /// The lanes that ever took slots of it.
    lanes: Vec<usize>,
}

impl PacingState {
    /// Without lanes and budgets.
    pub fn new(wall_clock: WallClockSample) -> Self {
        Self {
            wall_clock,
            latest: Moment::ORIGIN,
            lanes: Vec::new(),
            budgets: Vec::new(),
            unanswered_calls: BinaryHeap::new(),
            reported: Vec::new(),
            last_borrowed: None,
        }
    }

    /// Replaces the pairing of the two clocks. Call this after either clock was set, or stood still.
    ///
    /// If the wall clock steps back by more than 2 s, the earlier readings were wrong. Windows that depend on it are
    /// then recounted from the call history, by the new reading.
    pub fn set_wall_clock(&mut self, wall_clock: WallClockSample) {
        let was = std::mem::replace(&mut self.wall_clock, wall_clock);
        if was.is_ahead_of(wall_clock, DEFAULT_CLOCK_GUARD) {
            let lanes = self.lanes.iter_mut().map(|lane| &mut lane.quota);
            let budgets = self.budgets.iter_mut().map(|budget| &mut budget.quota);
            lanes.chain(budgets).for_each(|quota| quota.recount(wall_clock));
        }
    }

    /// Returns whether any window depends on the wall clock.
    pub fn uses_wall_clock(&self) -> bool {
        let lanes = self.lanes.iter().map(|lane| &lane.quota);
        let budgets = self.budgets.iter().map(|budget| &budget.quota);
        lanes.chain(budgets).any(QuotaState::uses_wall_clock)
    }

    /// Adds a lane. Returns its number: the count of lanes before it.
    ///
    /// # Errors
    /// The quota cannot be kept, see [`Quota::check`].
    pub fn add_lane(&mut self, quota: &Quota, credit: RttCredit) -> Result<usize, QuotaError> {
        quota.check()?;
        let quota = QuotaState::new(quota.windows());
        let round_trip = RoundTrip::new();
        let path = WarmConnections::default();
        let lane = LaneQuota {
            quota,
            reserve: Reserve::NONE,
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

    /// Reserves a part of each window of a lane for urgent calls, as [`Budget::reserve`] does in a budget. The windows
    /// of a cut have no reserve.
    ///
    /// ```
    /// use lanekeeper::jiff::Timestamp;
    /// use lanekeeper::quota::{
    ///     Cost, Moment, NotYet, PacingState, Quota, Reserve, RttCredit, WallClockSample,
    /// };
    ///
    /// let start = Moment::from_nanos(0);
    /// let mut pacing = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
    /// let lane = pacing.add_lane(&Quota::per_second(3), RttCredit::STRICT)?;
    /// pacing.set_lane_reserve(lane, Reserve::Slots(2))?;
    /// let call = Cost::to_lane(lane);
    /// let _first = pacing.take(call, start).unwrap();
    /// assert_eq!(pacing.available_at(call, start), Err(NotYet::InFlight));
    /// assert_eq!(pacing.available_at(Cost { urgent: true, ..call }, start), Ok(()));
    /// # Ok::<(), lanekeeper::quota::QuotaError>(())
    /// ```
    ///
    /// # Errors
    /// The reserve leaves nothing of a window, see [`Budget::check`]; or there is no such lane. The old one stays.
    pub fn set_lane_reserve(&mut self, lane: usize, reserve: Reserve) -> Result<(), QuotaError> {
        let known = self.lanes.get_mut(lane).ok_or(QuotaError::NoLane { lane })?;
        reserve.check(known.quota.configured_windows())?;
        known.reserve = reserve;
        Ok(())
    }

    /// Adds a budget. Returns its number: the count of budgets before it.
    ///
    /// # Errors
    /// The budget cannot be kept, see [`Budget::check`]; or there are [`BudgetSet::CAPACITY`] budgets already.
    pub fn add_budget(&mut self, budget: &Budget) -> Result<usize, QuotaError> {
        budget.check()?;
        if self.budgets.len() >= BudgetSet::CAPACITY {
            return Err(QuotaError::TooManyBudgets { capacity: BudgetSet::CAPACITY });
        }
        let quota = QuotaState::new(budget.quota().windows());
        let reserve = budget.reserved();
        self.budgets.push(SharedBudget { quota, reserve, lanes: Vec::new() });
        Ok(self.budgets.len() - 1)
    }

    /// Returns what the lanes and budgets have used, under the given names, which are in the order of their numbers.
    /// `wall_clock` is the present time.
    pub fn save(
        &mut self,
        lanes: &[&str],
        budgets: &[&str],
        wall_clock: WallClockSample,
    ) -> PaceSnapshot {
        let now = self.advance_to(wall_clock.moment);
        let mut state = PaceSnapshot::at(wall_clock.timestamp);
        for (name, lane) in lanes.iter().zip(&self.lanes) {
            state.set_usage(name, lane.quota.export(now));
        }
        for (name, budget) in budgets.iter().zip(&self.budgets) {
            state.set_usage(name, budget.quota.export(now));
        }
        state
    }

    /// Adds what an earlier state has used. Call this before any permit is taken; `wall_clock` is the present time.
    pub fn restore(
        &mut self,
        state: &PaceSnapshot,
        lanes: &[&str],
        budgets: &[&str],
        wall_clock: WallClockSample,
    ) {
        for (name, lane) in lanes.iter().zip(&mut self.lanes) {
            lane.quota.restore(&state.restored_calls(name, wall_clock), wall_clock);
        }
        for (name, budget) in budgets.iter().zip(&mut self.budgets) {
            budget.quota.restore(&state.restored_calls(name, wall_clock), wall_clock);
        }
    }

    /// Treats windows as full because the calls sent before `unknown_before` are unknown, as after a restart. This
    /// holds for windows that remember calls for at most `up_to`. Each such quota is blocked until its windows have
    /// forgotten every unknown call, and for one second more, because the last of them may still have been on its
    /// way. Urgent calls are not blocked.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lanekeeper::jiff::Timestamp;
    /// use lanekeeper::quota::{PacingState, Cost, RttCredit, Moment, NotYet, Quota, WallClockSample};
    ///
    /// let start = Moment::from_nanos(0);
    /// let mut pacing = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
    /// let lane = pacing.add_lane(&Quota::per_second(10).and(Quota::per_day(500)), RttCredit::STRICT)?;
    /// pacing.block_until_forgotten(start, Duration::from_secs(60));
    /// let call = Cost::to_lane(lane);
    /// assert_eq!(pacing.available_at(call, start), Err(NotYet::Until(start + Duration::from_secs(2))));
    /// assert_eq!(pacing.available_at(Cost { urgent: true, ..call }, start), Ok(()));
    /// # Ok::<(), lanekeeper::quota::QuotaError>(())
    /// ```
    pub fn block_until_forgotten(&mut self, unknown_before: Moment, up_to: Duration) {
        let lanes = self.lanes.iter_mut().map(|lane| &mut lane.quota);
        let budgets = self.budgets.iter_mut().map(|budget| &mut budget.quota);
        lanes
            .chain(budgets)
            .for_each(|quota| quota.block_until_forgotten(unknown_before, nanos(up_to)));
    }

    /// Restricts all quotas to a share of each window, because other processes use them too and cannot be asked. `None` lifts it.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn set_share(&mut self, to: Option<Restriction<'_>>) {
        let lanes = self.lanes.iter_mut().map(|lane| &mut lane.quota);
        let budgets = self.budgets.iter_mut().map(|budget| &mut budget.quota);
        for (index, quota) in lanes.chain(budgets).enumerate() {
            let room = to.and_then(|to| to.rooms.get(index).copied().flatten());
            quota.set_share(to, room);
        }
    }

    /// Records that the broker takes `remaining` more calls of these lanes together, until it begins to count anew in
    /// `reset_in`. Call it while the call is in flight whose answer reported it. It binds for at most as long as the
    /// longest window of the lanes remembers a call, or a minute if none of them has a window. Returns whether there
    /// is more room than before.
    ///
    /// The quotas hold beside it, so it can only make the lanes slower. Urgent calls are counted and do not wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lanekeeper::jiff::Timestamp;
    /// use lanekeeper::quota::{PacingState, Cost, RttCredit, Moment, NotYet, Quota, WallClockSample};
    ///
    /// let start = Moment::from_nanos(0);
    /// let mut pacing = PacingState::new(WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH });
    /// let lane = pacing.add_lane(&Quota::per_minute(200), RttCredit::STRICT)?;
    /// let call = Cost::to_lane(lane);
    /// let permit = pacing.take(call, start).unwrap();
    /// // Another program has used up the account's count.
    /// pacing.report(&[lane], 0, Duration::from_secs(20), start);
    /// pacing.finish(permit, start);
    /// assert_eq!(pacing.available_at(call, start), Err(NotYet::Until(start + Duration::from_secs(20))));
    /// assert_eq!(pacing.available_at(Cost { urgent: true, ..call }, start), Ok(()));
    /// # Ok::<(), lanekeeper::quota::QuotaError>(())
    /// ```
    pub fn report(
        &mut self,
        lanes: &[usize],
        remaining: u32,
        reset_in: Duration,
        now: Moment,
    ) -> bool {
        let now = self.advance_to(now);
        let mut known = lanes.to_vec();
        known.retain(|lane| *lane < self.lanes.len());
        known.sort_unstable();
        known.dedup();
        if known.is_empty() {
            return false;
        }
        let quotas = known.iter().filter_map(|lane| self.lanes.get(*lane));
        let longest = quotas.map(|lane| lane.quota.retention()).max().unwrap_or_default();
        let bound = if longest.is_zero() { DEFAULT_REPORT_BOUND } else { longest };
        // One of the calls in flight is the one whose answer this is, perhaps the lightest.
        let room = u64::from(remaining).saturating_sub(self.uncounted_weight(&known));
        let report = ReportedRoom::new(known, room, now + reset_in.min(bound));
        match self.reported.iter_mut().find(|reported| reported.lanes == report.lanes) {
            Some(reported) => reported.update(report, now),
            None => {
                self.reported.push(report);
                false
            }
        }
    }

    /// Returns the weight of the calls in flight of these lanes, without the lightest of them. Calls that ended without
    /// an answer do not count.
    fn uncounted_weight(&self, lanes: &[usize]) -> u64 {
        let open = || {
            lanes
                .iter()
                .filter_map(|lane| self.lanes.get(*lane))
                .flat_map(|lane| lane.quota.open_weights())
        };
        let ended = self.unanswered_calls.iter().filter(|call| lanes.contains(&call.0.cost.lane));
        let ended = ended.fold(0, |sum: u64, call| sum.saturating_add(call.0.cost.slots()));
        let in_flight = open().fold(0, u64::saturating_add).saturating_sub(ended);
        in_flight.saturating_sub(open().min().unwrap_or(0))
    }

    /// Returns whether a lane shares a reported count with another lane, so that what it gives back is room for both.
    pub(crate) fn shares_heard_count(&self, lane: usize) -> bool {
        self.reported.iter().any(|reported| reported.is_shared_by(lane))
    }

    /// Returns how long the longest window of each lane and budget remembers a call, lanes first.
    pub(crate) fn retention(&self) -> impl Iterator<Item = Duration> {
        let lanes = self.lanes.iter().map(|lane| &lane.quota);
        lanes.chain(self.budgets.iter().map(|budget| &budget.quota)).map(QuotaState::retention)
    }

    /// Checks whether the call could be sent now. Takes nothing.
    ///
    /// # Errors
    /// The call cannot be sent now; the error says when it can.
    pub fn available_at(&mut self, cost: Cost, now: Moment) -> Result<(), NotYet> {
        self.check(cost, now).map_err(|refused| refused.not_yet)
    }

    /// Checks whether the call could be sent now, and if not, which quotas block it. Takes nothing.
    ///
    /// # Errors
    /// The call cannot be sent now; the error says when it can, and which quotas block it.
    pub fn check(&mut self, cost: Cost, now: Moment) -> Result<(), NoCapacity> {
        let now = self.advance_to(now);
        self.check_room(cost, now)
    }

    /// Takes the slots of a call in every window of its lane and budgets, or in none.
    ///
    /// # Errors
    /// Some window has too few free slots; the error says when all windows have enough. Nothing was taken.
    pub fn take(&mut self, cost: Cost, now: Moment) -> Result<Permit, NotYet> {
        let now = self.advance_to(now);
        self.check_room(cost, now).map_err(|refused| refused.not_yet)?;
        let borrowed = if cost.urgent { self.borrowed_slots(cost, now) } else { 0 };
        if borrowed > 0 {
            self.last_borrowed = Some(now);
        }
        self.for_each_quota(cost, |quota| quota.take(cost.slots(), now));
        self.reported.iter_mut().for_each(|reported| reported.take(cost.lane, cost.slots()));
        for index in cost.budgets.iter() {
            if let Some(budget) = self.budgets.get_mut(index) {
                if !budget.lanes.contains(&cost.lane) {
                    budget.lanes.push(cost.lane);
                }
            }
        }
        let in_flight = self.in_flight(cost.lane);
        let lane = self.lanes.get(cost.lane);
        let warm = lane.is_some_and(|lane| lane.connections.is_warm(in_flight, now));
        Ok(Permit { taken_at: now, sent_at: now, cost, is_warm: warm, borrowed })
    }

    /// Records that the call of a permit is sent only at `now`. Returns `false` if it must not be sent with this permit: an urgent
    /// call may have taken its slots meanwhile, as those of a call that hangs. Then [give it back](Self::give_back).
    ///
    /// What the call waited with its permit is no part of a round trip: the credit would take the wait of a busy caller for
    /// distance to the broker.
    pub(crate) fn postpone(&mut self, permit: &mut Permit, now: Moment) -> bool {
        let now = self.advance_to(now);
        let may_be_hung = permit.sent_at + MIN_HUNG_AFTER;
        if self.last_borrowed.is_some_and(|at| at >= may_be_hung) {
            return false;
        }
        let call = OpenCall::from(&*permit);
        self.for_each_quota(permit.cost, |quota| quota.postpone(call, now));
        permit.sent_at = now.max(permit.sent_at);
        true
    }

    /// Ends a call that was answered. Its slots are free one window after `now`, less the credit.
    pub fn finish(&mut self, permit: Permit, now: Moment) {
        let now = self.advance_to(now);
        let in_flight = self.in_flight(permit.cost.lane);
        if let Some(lane) = self.lanes.get_mut(permit.cost.lane) {
            // Only an answer proves that there was a connection.
            lane.connections.record_use(in_flight, now);
            let round_trip = now.since(permit.sent_at);
            match permit.is_warm {
                true => lane.round_trip.record(round_trip),
                false => lane.round_trip.record_cold(round_trip),
            }
            lane.last_round_trip = Some(round_trip);
            lane.max_round_trip = lane.max_round_trip.max(round_trip);
            lane.credit = nanos(lane.round_trip.credit(lane.credit_policy));
        }
        self.stamp(permit, now);
    }

    /// Ends a call that apparently never left this process. Its duration is no sample of the round trip. Its slots
    /// are held for a window nevertheless: if that judgement is wrong, a free slot would mean one call too many, and
    /// a broker that refuses connections should not be hammered.
    pub fn finish_unsent(&mut self, permit: Permit, now: Moment) {
        self.stamp(permit, now);
    }

    /// Stamps the slots of a call: they are free one window after `now`, less the credit.
    fn stamp(&mut self, permit: Permit, now: Moment) {
        let (now, wall_clock) = (self.advance_to(now), self.wall_clock);
        let call = OpenCall::from(&permit);
        self.for_each_quota(permit.cost, |quota| quota.finish(call, now, wall_clock));
    }

    /// Ends a call without an answer: it timed out, or the connection broke. The broker may still count it later, at
    /// an unknown time. So its slots are held for twice the call's duration, and at least for the longest round trip so far
    /// (within 2 s, and 1 s before the first answer): a caller may give it up before it can have arrived. And for one minimum
    /// round trip more, because the credit assumes a way back that this call did not have.
    pub fn finish_unanswered(&mut self, permit: Permit, now: Moment) {
        self.hold_unanswered(permit, now);
    }

    /// Does the same. Returns until when the slots are held.
    pub(crate) fn hold_unanswered(&mut self, permit: Permit, now: Moment) -> Moment {
        let now = self.advance_to(now);
        let call = OpenCall::from(&permit);
        let Permit { taken_at: taken, sent_at, cost, .. } = permit;
        let mut until = now + now.since(taken);
        if let Some(lane) = self.lanes.get_mut(cost.lane) {
            lane.unanswered += 1;
            until = until.max(sent_at + lane.longest_travel());
            until = until + lane.round_trip.min().unwrap_or_default();
        }
        self.unanswered_calls.push(Reverse(UnansweredCall { release_at: until, call, cost }));
        until
    }

    /// Returns when the next call without an answer releases its slots, if there is one. A call that is refused with
    /// [`NotYet::InFlight`] may be possible then.
    pub fn next_release(&mut self, now: Moment) -> Option<Moment> {
        self.advance_to(now);
        self.unanswered_calls.peek().map(|Reverse(unanswered)| unanswered.release_at)
    }

    /// Returns the permit of a call of which surely nothing was sent. Its slots are free at once.
    pub fn give_back(&mut self, permit: Permit) {
        let (call, cost) = (OpenCall::from(&permit), permit.cost);
        self.for_each_quota(cost, |quota| quota.give_back(call));
        self.reported.iter_mut().for_each(|reported| reported.give_back(cost.lane, cost.slots()));
    }

    /// Replaces the quota of a lane, at once. Used slots stay used, and calls in flight keep theirs. A window longer
    /// than all earlier ones starts with the history that was kept for those.
    ///
    /// # Errors
    /// The quota is invalid, or there is no such lane. The old quota stays.
    pub fn set_lane(&mut self, lane: usize, quota: &Quota, now: Moment) -> Result<(), QuotaError> {
        self.set_lane_and_cut(lane, quota, &Quota::unlimited(), now)
    }

    /// Like [`set_lane`](Self::set_lane), with a `cut` beside the quota: windows that bind all calls except urgent
    /// ones. A cut is only a guess about what the broker wants, and an exit does not wait for a guess. Urgent calls
    /// are counted in the cut, though.
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
        self.set_lane_limits(lane, &LaneLimits { quota, cut, cut_binds_urgent: false }, now)
    }

    /// Like [`set_lane_and_cut`](Self::set_lane_and_cut), with a cut that may bind urgent calls too.
    pub(crate) fn set_lane_limits(
        &mut self,
        lane: usize,
        limits: &LaneLimits<'_>,
        now: Moment,
    ) -> Result<(), QuotaError> {
        self.check_lane_quota(lane, limits.quota)?;
        limits.cut.check()?;
        self.advance_to(now);
        let wall_clock = self.wall_clock;
        let known = self.lanes.get_mut(lane).ok_or(QuotaError::NoLane { lane })?;
        let (windows, cut) = (limits.quota.windows(), limits.cut.windows());
        known.quota.set_windows(windows, cut, limits.cut_binds_urgent, wall_clock);
        Ok(())
    }

    /// Checks that a lane can keep this quota, and its reserve in it.
    pub(crate) fn check_lane_quota(&self, lane: usize, quota: &Quota) -> Result<(), QuotaError> {
        quota.check()?;
        let known = self.lanes.get(lane).ok_or(QuotaError::NoLane { lane })?;
        known.reserve.check(quota.windows())
    }

    /// Replaces the quota and the reserve of a budget, as [`set_lane`](Self::set_lane) does.
    ///
    /// # Errors
    /// The budget is invalid, or there is no such budget. The old one stays.
    pub fn set_budget(
        &mut self,
        budget: usize,
        to: &Budget,
        now: Moment,
    ) -> Result<(), QuotaError> {
        to.check()?;
        self.advance_to(now);
        let wall_clock = self.wall_clock;
        let known = self.budgets.get_mut(budget).ok_or(QuotaError::NoBudget { budget })?;
        known.quota.set_windows(to.quota().windows(), &[], false, wall_clock);
        known.reserve = to.reserved();
        Ok(())
    }

    /// Returns how much of each window of a lane is used. Empty if there is no such lane.
    pub fn lane_use(&mut self, lane: usize, now: Moment) -> Vec<WindowUse> {
        let (now, wall_clock) = (self.advance_to(now), self.wall_clock);
        let lane = self.lanes.get_mut(lane);
        lane.map(|lane| lane.quota.usage(now, wall_clock, lane.credit)).unwrap_or_default()
    }

    /// Returns the reserve of a budget for urgent calls. [`Reserve::NONE`] if there is no such budget.
    pub fn reserve(&self, budget: usize) -> Reserve {
        self.budgets.get(budget).map_or(Reserve::NONE, |budget| budget.reserve)
    }

    /// Returns the reserve of a lane for urgent calls. [`Reserve::NONE`] if there is no such lane.
    pub fn lane_reserve(&self, lane: usize) -> Reserve {
        self.lanes.get(lane).map_or(Reserve::NONE, |lane| lane.reserve)
    }

    /// Returns how much of each window of a budget is used. Empty if there is no such budget.
    pub fn budget_use(&mut self, budget: usize, now: Moment) -> Vec<WindowUse> {
        let (now, wall_clock) = (self.advance_to(now), self.wall_clock);
        let Self { lanes, budgets, .. } = self;
        let budget = budgets.get_mut(budget);
        budget
            .map(|budget| {
                let credit = budget.lanes.iter().map(|&lane| lane_credit(lanes, lane)).min();
                budget.quota.usage(now, wall_clock, credit.unwrap_or(0))
            })
            .unwrap_or_default()
    }

    /// Returns how many calls of a lane are in flight. Calls that ended without an answer do not count.
    pub fn in_flight(&self, lane: usize) -> u32 {
        let calls = self
            .lanes
            .get(lane)
            .map_or(0, |lane| lane.quota.calls_in_flight().saturating_sub(lane.unanswered));
        u32::try_from(calls).unwrap_or(u32::MAX)
    }

    /// Returns the credit of a lane: how much earlier than one window after the answer a slot is free.
    pub fn credit(&self, lane: usize) -> Duration {
        Duration::from_nanos(lane_credit(&self.lanes, lane))
    }

    /// Returns the least round trip of a lane so far.
    pub fn min_round_trip(&self, lane: usize) -> Option<Duration> {
        self.lanes.get(lane)?.round_trip.min()
    }

    /// Returns the mean round trip of a lane on warm connections, since the path last became faster.
    pub fn mean_round_trip(&self, lane: usize) -> Option<Duration> {
        self.lanes.get(lane)?.round_trip.mean()
    }

    fn advance_to(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        let (now, wall_clock) = (self.latest, self.wall_clock);
        while let Some(Reverse(unanswered)) = self
            .unanswered_calls
            .peek()
            .copied()
            .filter(|unanswered| unanswered.0.release_at <= now)
        {
            self.unanswered_calls.pop();
            let UnansweredCall { release_at: until, call, cost } = unanswered;
            if let Some(lane) = self.lanes.get_mut(cost.lane) {
                lane.unanswered = lane.unanswered.saturating_sub(1);
            }
            self.for_each_quota(cost, |quota| quota.finish(call, until, wall_clock));
        }
        now
    }

    fn check_room(&mut self, cost: Cost, now: Moment) -> Result<(), NoCapacity> {
        let never = || NoCapacity { not_yet: NotYet::Never, by: BlockedBy::Lane };
        let Self { wall_clock, lanes, budgets, reported, .. } = self;
        let lane = lanes.get_mut(cost.lane).ok_or_else(never)?;
        let hung_after = cost.urgent.then(|| nanos(lane.hung_after()));
        let claim =
            SlotRequest { weight: cost.slots(), reserve: lane.reserve_for(cost), hung_after };
        let mut answer = lane.quota.check_room(now, *wall_clock, lane.credit, claim);
        let needed = cost.slots().saturating_add(lane.heard_reserve(cost));
        for reported in reported.iter().filter(|_| !cost.urgent) {
            answer = NotYet::both(answer, reported.check(cost.lane, needed, now));
        }
        let mut full = Vec::new();
        for index in cost.budgets.iter() {
            let budget = budgets.get_mut(index).ok_or_else(never)?;
            let credit = budget.credit(lanes, cost.lane);
            let claim = SlotRequest { reserve: budget.reserve_for(cost), ..claim };
            let room = budget.quota.check_room(now, *wall_clock, credit, claim);
            if let Err(not_yet) = room {
                full.push((index, not_yet));
            }
            answer = NotYet::both(answer, room);
        }
        let by = || if full.is_empty() { BlockedBy::Lane } else { BlockedBy::Budgets(full) };
        answer.map_err(|not_yet| NoCapacity { not_yet, by: by() })
    }

    /// Returns how many slots of hung calls a call would take.
    fn borrowed_slots(&mut self, cost: Cost, now: Moment) -> u64 {
        let Self { wall_clock, lanes, budgets, .. } = self;
        let weight = cost.slots();
        let Some(lane) = lanes.get_mut(cost.lane) else { return 0 };
        let mut beyond = lane.quota.borrowed_slots(now, *wall_clock, lane.credit, weight);
        for index in cost.budgets.iter() {
            if let Some(budget) = budgets.get_mut(index) {
                let credit = budget.credit(lanes, cost.lane);
                beyond = beyond.max(budget.quota.borrowed_slots(now, *wall_clock, credit, weight));
            }
        }
        beyond
    }

    /// Applies `change` to the quotas of the lane and of the budgets.
    fn for_each_quota(&mut self, cost: Cost, mut change: impl FnMut(&mut QuotaState)) {
        if let Some(lane) = self.lanes.get_mut(cost.lane) {
            change(&mut lane.quota);
        }
        for index in cost.budgets.iter() {
            if let Some(budget) = self.budgets.get_mut(index) {
                change(&mut budget.quota);
            }
        }
    }
}

/// How long a report of the broker's count binds at most, for lanes without windows.
const DEFAULT_REPORT_BOUND: Duration = Duration::from_secs(60);
/// A call that has been in flight for less than this does not count as hung.
const MIN_HUNG_AFTER: Duration = Duration::from_secs(1);
/// A call that has been in flight for longer than this counts as hung, however slow other calls are. The broker
/// counts a call when it arrives, before it works on it, so two seconds are enough.
const MAX_HUNG_AFTER: Duration = Duration::from_secs(2);

impl LaneQuota {
    /// Returns how long a call must be in flight before an urgent call may take its slots: longer than every round
    /// trip so far, within bounds. Each window raises this to at least its own length.
    fn hung_after(&self) -> Duration {
        self.max_round_trip.clamp(MIN_HUNG_AFTER, MAX_HUNG_AFTER)
    }

    /// Returns how long after it was sent a call may arrive at most, as far as the answers so far show.
    fn longest_travel(&self) -> Duration {
        match self.max_round_trip {
            Duration::ZERO => MIN_HUNG_AFTER,
            longest => longest.min(MAX_HUNG_AFTER),
        }
    }

    fn reserve_for(&self, cost: Cost) -> Reserve {
        if cost.urgent { Reserve::NONE } else { self.reserve }
    }

    /// Returns what a call leaves of the broker's own count for urgent ones: the smallest reserve of a window, since it is
    /// unknown which of them the broker counts.
    fn heard_reserve(&self, cost: Cost) -> u64 {
        let reserve = self.reserve_for(cost);
        let kept = self.quota.configured_windows().map(|window| reserve.of(window.capacity()));
        kept.min().unwrap_or(0).into()
    }
}

impl SharedBudget {
    /// Returns the smallest credit of `lane` and of the lanes that ever took slots of it.
    fn credit(&self, lanes: &[LaneQuota], lane: usize) -> u64 {
        let others = self.lanes.iter().map(|&other| lane_credit(lanes, other));
        others.fold(lane_credit(lanes, lane), u64::min)
    }

    fn reserve_for(&self, cost: Cost) -> Reserve {
        if cost.urgent { Reserve::NONE } else { self.reserve }
    }
}

fn lane_credit(lanes: &[LaneQuota], lane: usize) -> u64 {
    lanes.get(lane).map_or(0, |lane| lane.credit)
}
