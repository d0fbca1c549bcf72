//! The state of one quota: its windows, the calls in flight, and the calls that finished recently.
//!
//! # Slots of hung calls
//!
//! A call in flight holds its slots, however long it takes. For an exit that would be wrong: if hung calls hold all
//! slots, it would wait until one of them times out. So an urgent call may take the slots of a call `i` that has been
//! in flight for longer than `hung_after`, which is never less than the window `W`. The broker counts the urgent call
//! `j` at
//!
//! ```text
//! count_j = now + forward_j >= sent_i + hung_after + forward_j
//! count_i = sent_i + forward_i
//! ```
//!
//! so the two are at least `W` apart and share no window, unless the way of `i` to the broker was longer than that of
//! `j` by more than `hung_after - W`. In that case the broker counts more than it allows, by at most the borrowed
//! weight, and may refuse a call. Only the urgent call takes this risk: `i` keeps its slots as well, so every other
//! call needs room beside both.
//!
//! `sent_i` may be long after the permit of `i` was taken: its task has to be polled first, or its record is written to a file. So
//! a call that has waited with its permit is asked about before it is sent ([`PacingState::postpone`](super::PacingState::postpone)).
//! If an urgent call has taken slots since `i` could count as hung, `i` is not sent with this permit. Otherwise `sent_i` is then.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::Reserve;
use super::completion_log::CompletionLog;
use super::moment::{Moment, nanos};
use super::pace_snapshot::{CallUsage, MAX_TRANSIT, RestoredCall};
use super::permit::{NotYet, Permit, WindowUse};
use super::query::{EstimateQuery, QueueAhead, WindowQuery};
use super::share::{Restriction, SharedPart};
use super::sliding_log::SlidingLog;
use super::spacing::Spacing;
use super::wall_clock::WallClockSample;
use super::window::{Window, WindowKind};
use super::window_state::WindowState;

/// The windows of one quota. A call takes its slots in all of them or in none.
#[derive(Debug, Clone)]
pub(super) struct QuotaState {
    windows: Vec<(Window, WindowState)>,
    /// How many windows keep the reserve. Those after them are of a rate cut.
    configured_windows: usize,
    /// How many windows bind all calls; the ones after them bind only calls that are not urgent.
    hard_windows: usize,
    /// The gap between two calls, for all but urgent ones.
    spacing: Spacing,
    log: CompletionLog,
    /// The weight in flight, the same in every window.
    in_flight: u64,
    /// The number of calls in flight, and the sum of the moments at which they were sent.
    calls_in_flight: u64,
    dispatched_at_sum: u128,
    /// When each call in flight was sent, and its weight; the earliest first.
    open_calls: VecDeque<(Moment, u64)>,
    /// Until then the windows may be full of calls that other processes sent. Urgent calls do not wait for it.
    blocked_until: Moment,
    /// What this process may use of it, while the processes that share it cannot agree.
    shared_part: Option<SharedPart>,
}

/// A call that holds its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpenCall {
    weight: u64,
    taken: Moment,
    sent: Moment,
}

impl From<&Permit> for OpenCall {
    fn from(permit: &Permit) -> Self {
        let Permit { taken_at: taken, sent_at: sent, cost, .. } = *permit;
        Self { weight: cost.slots(), taken, sent }
    }
}

/// What a call asks of a quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotRequest {
    pub(super) weight: u64,
    /// What has to be left over in each configured window.
    pub(super) reserve: Reserve,
    /// Of an urgent call: how long another has to be in flight before this one may take its slots, in
    /// nanoseconds; never less than the window. None of any other, which may not.
    pub(super) hung_after: Option<u64>,
}

impl QuotaState {
    pub(super) fn new(windows: &[Window]) -> Self {
        let mut log = CompletionLog::default();
        let state = |window: &Window| {
            log.retain_for(window.retention());
            (window.clone(), WindowState::new(window))
        };
        let windows: Vec<_> = windows.iter().map(state).collect();
        let (configured_windows, hard_windows) = (windows.len(), windows.len());
        let mut spacing = Spacing::default();
        spacing.set_windows(windows.iter().map(|(window, _)| window));
        let (open_calls, blocked_until) = (VecDeque::new(), Moment::ORIGIN);
        Self {
            windows,
            configured_windows,
            hard_windows,
            spacing,
            log,
            in_flight: 0,
            calls_in_flight: 0,
            dispatched_at_sum: 0,
            open_calls,
            blocked_until,
            shared_part: None,
        }
    }

    /// Restricts the quota to a share of each window, and to `room` slots until then. `None` lifts it.
    pub(super) fn set_share(&mut self, part: Option<Restriction<'_>>, room: Option<(u64, Moment)>) {
        self.shared_part = part.map(|Restriction { share, unknown, .. }| {
            let silent =
                unknown.and_then(|(before, up_to)| self.forgotten_at(before, nanos(up_to)));
            let silent_until = silent.unwrap_or(Moment::ORIGIN);
            SharedPart { share, room, silent_until }.after(self.shared_part)
        });
    }

    /// Treats windows that remember calls for at most `up_to` nanoseconds as full, until they have forgotten
    /// everything that was sent before `unknown_before`.
    pub(super) fn block_until_forgotten(&mut self, unknown_before: Moment, up_to: u64) {
        if let Some(until) = self.forgotten_at(unknown_before, up_to) {
            self.blocked_until = self.blocked_until.max(until);
        }
    }

    /// Returns when the windows that remember calls for at most `up_to` nanoseconds have forgotten what was sent before.
    fn forgotten_at(&self, unknown_before: Moment, up_to: u64) -> Option<Moment> {
        let short = self.windows.iter().map(|(window, _)| window.retention());
        let longest = short.filter(|remembers| *remembers <= up_to).max()?;
        // The last of these calls may have been on its way.
        Some(unknown_before + Duration::from_nanos(longest) + MAX_TRANSIT)
    }

    /// Returns the end of the block, if the quota is blocked for such a call.
    fn block_end(&self, now: Moment, urgent: bool) -> Option<Moment> {
        (!urgent && now < self.blocked_until).then_some(self.blocked_until)
    }

    /// Returns how long the longest window remembers a call.
    pub(super) fn retention(&self) -> Duration {
        let longest = self.windows.iter().map(|(window, _)| window.retention()).max();
        Duration::from_nanos(longest.unwrap_or(0))
    }

    pub(super) fn uses_wall_clock(&self) -> bool {
        self.windows.iter().any(|(window, _)| window.uses_wall_clock())
    }

    /// Replaces the windows. Used slots stay used, as far as the log reaches: a window of the same kind as an old one
    /// carries its state over, and any other is replayed from the log. The windows of `cut` keep no reserve, and bind
    /// urgent calls only if `cut_binds_urgent`.
    pub(super) fn set_windows(
        &mut self,
        windows: &[Window],
        cut: &[Window],
        cut_binds_urgent: bool,
        wall_clock: WallClockSample,
    ) {
        let Self { windows: old, log, .. } = self;
        let carry_over = |window: &Window| {
            log.retain_for(window.retention());
            let new = WindowState::new(window);
            let state = old.iter().find_map(|(_, old)| new.carry_over(old));
            (window.clone(), state.unwrap_or_else(|| replayed(new, log, wall_clock)))
        };
        let all = windows.iter().chain(cut).map(carry_over).collect();
        self.windows = all;
        self.configured_windows = windows.len();
        self.hard_windows = windows.len() + if cut_binds_urgent { cut.len() } else { 0 };
        self.spacing.set_windows(windows.iter().chain(cut));
    }

    /// Returns the usage, for another quota of the same windows.
    pub(super) fn export(&self, now: Moment) -> Vec<CallUsage> {
        let nanos =
            |later: Moment, earlier: Moment| later.as_nanos().saturating_sub(earlier.as_nanos());
        let finished = self.log.iter().map(|(entry, weight)| {
            let (ago, took) =
                (nanos(now, entry.finished_at), nanos(entry.finished_at, entry.taken_at));
            CallUsage { ago: Some(ago), took, weight }
        });
        let open_calls = self.open_calls.iter().map(|&(taken, weight)| CallUsage {
            ago: None,
            took: nanos(now, taken),
            weight,
        });
        finished.chain(open_calls).collect()
    }

    /// Adds the usage of another quota.
    pub(super) fn restore(&mut self, calls: &[RestoredCall], wall_clock: WallClockSample) {
        for &RestoredCall { taken_at: taken, finished_at: finished, weight } in calls {
            self.log.push(taken, finished, weight);
            // The weight may be that of many calls.
            self.spacing.depart(taken, 1);
            for (_, state) in &mut self.windows {
                state.finish(weight, taken, finished, wall_clock);
            }
        }
    }

    /// Replays the log into the windows that depend on the wall clock, by a new reading of that clock.
    pub(super) fn recount(&mut self, wall_clock: WallClockSample) {
        for (window, state) in &mut self.windows {
            if window.uses_wall_clock() {
                *state = replayed(WindowState::new(window), &self.log, wall_clock);
            }
        }
    }

    /// Checks whether every window has room for a call.
    pub(super) fn check_room(
        &mut self,
        now: Moment,
        wall_clock: WallClockSample,
        credit: u64,
        request: SlotRequest,
    ) -> Result<(), NotYet> {
        let SlotRequest { weight, reserve, hung_after } = request;
        let query =
            WindowQuery { now, credit, wall_clock, log: &self.log, in_flight: self.in_flight };
        let blocked = self.block_end(now, hung_after.is_some());
        let mut answer = blocked.map_or(Ok(()), |until| Err(NotYet::Until(until)));
        if hung_after.is_none() {
            answer = NotYet::both(answer, self.spacing.check_room(now));
        }
        let (applicable, configured) =
            (self.windows_for(hung_after.is_some()), self.configured_windows);
        let part = self.shared_part;
        let room = part.filter(|_| hung_after.is_none()).and_then(|it| it.next_room(weight, now));
        if let Some(until) = room {
            answer = NotYet::both(answer, Err(NotYet::Until(until)));
        }
        for (index, (window, state)) in self.windows.iter_mut().take(applicable).enumerate() {
            let kept = if index < configured { reserve.of(window.capacity()) } else { 0 };
            let needed = weight.saturating_add(kept.into());
            if needed > u64::from(window.capacity()) {
                return Err(NotYet::Never);
            }
            let withheld = match part {
                Some(part) if index < configured => {
                    part.withheld(window.capacity(), weight, hung_after.is_some())
                }
                _ => 0,
            };
            let needed = needed.saturating_add(withheld);
            if needed > u64::from(window.capacity()) {
                // Not for ever: others share the window until they can agree again.
                answer = NotYet::both(answer, Err(NotYet::InFlight));
                continue;
            }
            let shared = part.filter(|_| index < configured);
            let mut share = shared.and_then(|_| log_of_bucket(window));
            let mut check = |query: &WindowQuery<'_>| {
                let room = state.check_room(query, needed);
                let share = share.as_mut().map_or(Ok(()), |share| share.check_room(query, needed));
                NotYet::both(room, share)
            };
            let mut room = check(&query);
            if let (Err(_), Some(hung_after)) = (room, hung_after) {
                let hung_after = hung_after.max(nanos(window.length));
                room = room_beside_hung_calls(room, &query, &self.open_calls, hung_after, check);
            }
            answer = NotYet::both(answer, room);
        }
        answer
    }

    /// Returns the windows without those of a cut.
    pub(super) fn configured_windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter().take(self.configured_windows).map(|(window, _)| window)
    }

    /// Returns how many of the windows bind a call.
    fn windows_for(&self, urgent: bool) -> usize {
        if urgent { self.hard_windows } else { self.windows.len() }
    }

    /// Returns by how much a call of this weight would exceed its windows: the weight that it would borrow from hung
    /// calls.
    pub(super) fn borrowed_slots(
        &mut self,
        now: Moment,
        wall_clock: WallClockSample,
        credit: u64,
        weight: u64,
    ) -> u64 {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock, log: &self.log, in_flight };
        let beyond = self.windows.iter_mut().take(self.hard_windows).map(|(window, state)| {
            let used = state.used_slots(&query).saturating_add(in_flight).saturating_add(weight);
            used.saturating_sub(window.capacity().into())
        });
        beyond.max().unwrap_or(0)
    }

    pub(super) fn take(&mut self, weight: u64, now: Moment) {
        self.in_flight = self.in_flight.saturating_add(weight);
        if let Some(part) = &mut self.shared_part {
            part.take(weight);
        }
        self.spacing.depart(now, weight);
        self.calls_in_flight += 1;
        self.dispatched_at_sum += u128::from(now.as_nanos());
        self.open_calls.push_back((now, weight));
    }

    /// Records that a call is sent only now. The gap to the next one counts from here.
    pub(super) fn postpone(&mut self, call: OpenCall, now: Moment) {
        if self.remove_open(call) {
            let index = self.open_calls.partition_point(|(at, _)| *at <= now);
            self.open_calls.insert(index, (now, call.weight));
        }
        self.spacing.take_back(call.sent, call.weight);
        self.spacing.depart(now, call.weight);
    }

    fn remove_open(&mut self, call: OpenCall) -> bool {
        let known = (call.sent, call.weight);
        let index = self.open_calls.iter().position(|open| *open == known);
        index.is_some_and(|index| self.open_calls.remove(index).is_some())
    }

    /// Takes back a call of which nothing was sent.
    pub(super) fn give_back(&mut self, call: OpenCall) {
        self.spacing.take_back(call.sent, call.weight);
        self.end_call(call);
    }

    fn end_call(&mut self, call: OpenCall) {
        self.in_flight = self.in_flight.saturating_sub(call.weight);
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
        self.dispatched_at_sum =
            self.dispatched_at_sum.saturating_sub(call.taken.as_nanos().into());
        self.remove_open(call);
    }

    pub(super) fn finish(&mut self, call: OpenCall, now: Moment, wall_clock: WallClockSample) {
        let OpenCall { weight, taken, .. } = call;
        self.end_call(call);
        self.log.push(taken, now, weight);
        for (_, state) in &mut self.windows {
            state.finish(weight, taken, now, wall_clock);
        }
    }

    /// Estimates when the calls in flight will have been answered: the mean of the moments at which they were sent,
    /// plus one round trip.
    pub(super) fn in_flight_answered_at(&self, now: Moment, round_trip: u64) -> Moment {
        let let_go = self.dispatched_at_sum.checked_div(self.calls_in_flight.into()).unwrap_or(0);
        let let_go = u64::try_from(let_go).unwrap_or(u64::MAX);
        Moment::from_nanos(let_go.saturating_add(round_trip)).max(now)
    }

    /// Returns how many slots are free in every window, without the reserve.
    pub(super) fn free_slots(
        &mut self,
        now: Moment,
        wall_clock: WallClockSample,
        credit: u64,
        reserve: Reserve,
    ) -> u64 {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock, log: &self.log, in_flight };
        let free = self.windows.iter_mut().map(|(window, state)| {
            let used = state.used_slots(&query).saturating_add(in_flight);
            let kept = u64::from(reserve.of(window.capacity()));
            u64::from(window.capacity()).saturating_sub(used).saturating_sub(kept)
        });
        self.spacing.usable_slots(free.min().unwrap_or(u64::MAX), now)
    }

    /// Returns the weights of the calls that hold their slots.
    pub(super) fn open_weights(&self) -> impl Iterator<Item = u64> {
        self.open_calls.iter().map(|(_, weight)| *weight)
    }

    pub(super) fn calls_in_flight(&self) -> u64 {
        self.calls_in_flight
    }

    pub(super) fn usage(
        &mut self,
        now: Moment,
        wall_clock: WallClockSample,
        credit: u64,
    ) -> Vec<WindowUse> {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock, log: &self.log, in_flight };
        let blocked = self.block_end(now, false).unwrap_or(now);
        let whole = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        let from =
            |state: &mut WindowState, needed: u32| match state.check_room(&query, needed.into()) {
                Ok(()) => Some(now),
                Err(NotYet::Until(moment)) => Some(moment),
                Err(NotYet::InFlight | NotYet::Never) => None,
            };
        let spacing = &self.spacing;
        let gap_end = |window: &Window| window.gap().and_then(|gap| spacing.free_at(gap));
        let one = |(window, state): &mut (Window, WindowState)| WindowUse {
            window: window.clone(),
            used: whole(state.used_slots(&query).saturating_add(in_flight)),
            in_flight: whole(in_flight),
            next_free: from(state, 1).map(|at| at.max(blocked).max(gap_end(window).unwrap_or(at))),
            all_free: from(state, window.capacity()).map(|at| at.max(blocked)),
        };
        self.windows.iter_mut().map(one).collect()
    }

    /// Estimates when the last call of a queue is sent. Returns `None` if it weighs more than a window ever allows.
    pub(super) fn estimate(
        &mut self,
        now: Moment,
        wall_clock: WallClockSample,
        credit: u64,
        query_estimate: EstimateQuery,
    ) -> Option<Moment> {
        let query =
            WindowQuery { now, credit, wall_clock, log: &self.log, in_flight: self.in_flight };
        let answered = self.in_flight_answered_at(now, query_estimate.round_trip);
        let mut latest = self.block_end(now, query_estimate.urgent).unwrap_or(now);
        if !query_estimate.urgent {
            latest = latest.max(self.spacing.estimate(now, query_estimate.weight_ahead));
        }
        let (applicable, configured) =
            (self.windows_for(query_estimate.urgent), self.configured_windows);
        for (index, (window, state)) in self.windows.iter_mut().take(applicable).enumerate() {
            let kept =
                if index < configured { query_estimate.reserve.of(window.capacity()) } else { 0 };
            let capacity = u64::from(window.capacity());
            if query_estimate.weight.saturating_add(kept.into()) > capacity {
                return None;
            }
            let withheld = self.shared_part.filter(|_| index < configured);
            let withheld = withheld.map_or(0, |part| {
                part.withheld(window.capacity(), query_estimate.weight, query_estimate.urgent)
            });
            let reserve = u64::from(kept).saturating_add(withheld);
            let reserve = reserve.min(capacity.saturating_sub(query_estimate.weight));
            let queue = QueueAhead {
                weight: query_estimate.weight_ahead.saturating_add(query_estimate.weight),
                call_weight: query_estimate.weight,
                reserve,
                round_trip: query_estimate.round_trip,
                in_flight_answered_at: answered,
            };
            latest = latest.max(state.estimate(&query, &queue));
        }
        Some(latest)
    }
}

/// Checks for room when calls in flight count as free once they have been in flight for `hung_after`. Returns the
/// earliest of `room`, which is the answer without that, and of the moments at which the oldest one, two, .. calls
/// have become hung.
fn room_beside_hung_calls(
    room: Result<(), NotYet>,
    query: &WindowQuery<'_>,
    open_calls: &VecDeque<(Moment, u64)>,
    hung_after: u64,
    mut state: impl FnMut(&WindowQuery<'_>) -> Result<(), NotYet>,
) -> Result<(), NotYet> {
    let (mut soonest, mut in_flight) = (room, query.in_flight);
    for (taken, weight) in open_calls {
        in_flight = in_flight.saturating_sub(*weight);
        let hung = Moment::from_nanos(taken.as_nanos().saturating_add(hung_after));
        let room = match state(&WindowQuery { in_flight, ..*query }) {
            Ok(()) if hung <= query.now => return Ok(()),
            Ok(()) => Err(NotYet::Until(hung)),
            Err(NotYet::Until(free)) => Err(NotYet::Until(free.max(hung))),
            never => never,
        };
        soonest = NotYet::either(soonest, room);
    }
    soonest
}

/// Returns a log that is no looser than a bucket, for a share of it. The bucket of each process fills at the whole rate, so the
/// level alone would let each of them send at that. A log of `burst` calls in the time in which the bucket fills has the same
/// rate, and the shares of it are the log together.
fn log_of_bucket(window: &Window) -> Option<SlidingLog> {
    let WindowKind::TokenBucket { burst } = window.kind else { return None };
    let length = Duration::from_nanos(window.retention());
    Some(SlidingLog::new(&Window {
        limit: burst,
        length,
        kind: WindowKind::SlidingLog,
        spaced: false,
    }))
}

/// Returns the window state after every call in the log.
fn replayed(
    mut state: WindowState,
    log: &CompletionLog,
    wall_clock: WallClockSample,
) -> WindowState {
    for (entry, weight) in log.iter() {
        state.finish(weight, entry.taken_at, entry.finished_at, wall_clock);
    }
    state
}
