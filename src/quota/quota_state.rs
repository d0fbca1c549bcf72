//! One quota at work: its windows, what is in flight, and what was finished lately.
//!
//! # Slots of hung calls
//!
//! A call in flight holds its slots, however long it takes. That is right for a read and wrong for an
//! exit: behind as many hung calls as there are slots, an urgent call would wait until one of them is
//! given up. So an urgent call may take the slots of a call `i` that has been in flight for longer than
//! `patience`, which is never less than the window `W`. The urgent call `j` is counted by the broker at
//!
//! ```text
//! count_j = now + forward_j >= sent_i + patience + forward_j
//! count_i = sent_i + forward_i
//! ```
//!
//! so the two are at least `W` apart, and share no window, unless `i` was on its way to the broker for
//! longer than `j` by more than `patience - W`. In that case the broker counts one call more than it
//! allows, and may refuse one: that is the price, at most the weight that was borrowed. It is paid by the
//! urgent call and by no other. `i` keeps its slots as well, so every other call still finds room only
//! beside both.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::Reserve;
use super::completion_log::CompletionLog;
use super::moment::{Moment, nanos};
use super::pace_snapshot::{CallUsage, MAX_TRANSIT, RestoredCall};
use super::permit::{NotYet, WindowUse};
use super::query::{EstimateQuery, QueueAhead, WindowQuery};
use super::wall_clock::WallClockSample;
use super::window::Window;
use super::window_state::WindowState;

/// The windows of one quota. A call takes its slots in all of them or in none.
#[derive(Debug, Clone)]
pub(super) struct QuotaState {
    windows: Vec<(Window, WindowState)>,
    /// So many of them hold for all calls, and the others for those that are not urgent.
    hard_windows: usize,
    log: CompletionLog,
    /// The weight in flight, the same in every window.
    in_flight: u64,
    /// The calls in flight, and the sum of the moments at which they were let go.
    calls_in_flight: u64,
    dispatched_at_sum: u128,
    /// When each of them was let go, and its weight. The earliest is the first.
    open_calls: VecDeque<(Moment, u64)>,
    /// Until then the windows may be full of what others have sent. An urgent call does not wait for that.
    blocked_until: Moment,
}

/// What a call asks of a quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotRequest {
    pub(super) weight: u64,
    /// What has to be left over.
    pub(super) reserve: Reserve,
    /// Of an urgent call: how long another has to be in flight before this one may take its slots, in
    /// nanoseconds; never less than the window. None of any other, which may not.
    pub(super) hung_after: Option<u64>,
}

impl QuotaState {
    pub(super) fn new(windows: &[Window]) -> Self {
        let mut log = CompletionLog::default();
        let meter = |window: &Window| {
            log.retain_for(window.retention());
            (window.clone(), WindowState::new(window))
        };
        let windows: Vec<_> = windows.iter().map(meter).collect();
        let firm = windows.len();
        let (open, quiet_until) = (VecDeque::new(), Moment::ORIGIN);
        Self {
            windows,
            hard_windows: firm,
            log,
            in_flight: 0,
            calls_in_flight: 0,
            dispatched_at_sum: 0,
            open_calls: open,
            blocked_until: quiet_until,
        }
    }

    /// Of what was sent before this moment nothing is known: windows that remember for `up_to` nanoseconds at most
    /// count as full until they have forgotten it.
    pub(super) fn block_until_forgotten(&mut self, unknown_before: Moment, up_to: u64) {
        let short = self.windows.iter().map(|(window, _)| window.retention());
        if let Some(longest) = short.filter(|remembers| *remembers <= up_to).max() {
            // What was sent last was on its way.
            let until = unknown_before + Duration::from_nanos(longest) + MAX_TRANSIT;
            self.blocked_until = self.blocked_until.max(until);
        }
    }

    /// Until when it holds still, if it does.
    fn block_end(&self, now: Moment, urgent: bool) -> Option<Moment> {
        (!urgent && now < self.blocked_until).then_some(self.blocked_until)
    }

    /// For how long its longest window remembers a call.
    pub(super) fn retention(&self) -> Duration {
        let longest = self.windows.iter().map(|(window, _)| window.retention()).max();
        Duration::from_nanos(longest.unwrap_or(0))
    }

    pub(super) fn uses_wall_clock(&self) -> bool {
        self.windows.iter().any(|(window, _)| window.uses_wall_clock())
    }

    /// Changes the windows. What was used stays used, as far as it is still known: a window that
    /// counts as an old one did goes on from there, and any other is told again what is in the log.
    /// Those of the `cut` hold for calls that are not urgent alone.
    pub(super) fn set_windows(
        &mut self,
        windows: &[Window],
        cut: &[Window],
        wall: WallClockSample,
    ) {
        let Self { windows: old, log, .. } = self;
        let carried = |window: &Window| {
            log.retain_for(window.retention());
            let new = WindowState::new(window);
            let meter = old.iter().find_map(|(_, old)| new.carry_over(old));
            (window.clone(), meter.unwrap_or_else(|| replayed(new, log, wall)))
        };
        let firm = windows.len();
        let windows = windows.iter().chain(cut).map(carried).collect();
        (self.windows, self.hard_windows) = (windows, firm);
    }

    /// What was used, for another quota of the same windows.
    pub(super) fn export(&self, now: Moment) -> Vec<CallUsage> {
        let nanos =
            |later: Moment, earlier: Moment| later.as_nanos().saturating_sub(earlier.as_nanos());
        let finished = self.log.iter().map(|(entry, weight)| {
            let (ago, took) =
                (nanos(now, entry.finished_at), nanos(entry.finished_at, entry.taken_at));
            CallUsage { ago: Some(ago), took, weight }
        });
        let open = self.open_calls.iter().map(|&(taken, weight)| CallUsage {
            ago: None,
            took: nanos(now, taken),
            weight,
        });
        finished.chain(open).collect()
    }

    /// Counts what another quota used.
    pub(super) fn restore(&mut self, calls: &[RestoredCall], wall: WallClockSample) {
        for &RestoredCall { taken_at: taken, finished_at: finished, weight } in calls {
            self.log.push(taken, finished, weight);
            for (_, meter) in &mut self.windows {
                meter.finish(weight, taken, finished, wall);
            }
        }
    }

    /// Windows that go by the wall are told again what is in the log, by another reading of it.
    pub(super) fn recount(&mut self, wall: WallClockSample) {
        for (window, meter) in &mut self.windows {
            if window.uses_wall_clock() {
                *meter = replayed(WindowState::new(window), &self.log, wall);
            }
        }
    }

    /// Whether there is room for a call in every window.
    pub(super) fn check_room(
        &mut self,
        now: Moment,
        wall: WallClockSample,
        credit: u64,
        claim: SlotRequest,
    ) -> Result<(), NotYet> {
        let SlotRequest { weight, reserve, hung_after: patience } = claim;
        let query = WindowQuery {
            now,
            credit,
            wall_clock: wall,
            log: &self.log,
            in_flight: self.in_flight,
        };
        let quiet = self.block_end(now, patience.is_some());
        let mut answer = quiet.map_or(Ok(()), |until| Err(NotYet::Until(until)));
        let holding = self.windows_for(patience.is_some());
        for (window, meter) in self.windows.iter_mut().take(holding) {
            let claim = weight.saturating_add(reserve.of(window.capacity()).into());
            if claim > u64::from(window.capacity()) {
                return Err(NotYet::Never);
            }
            let mut room = meter.check_room(&query, claim);
            if let (Err(_), Some(patience)) = (room, patience) {
                let patience = patience.max(nanos(window.length));
                room = room_beside_hung_calls(room, &query, &self.open_calls, patience, |look| {
                    meter.check_room(look, claim)
                });
            }
            answer = NotYet::both(answer, room);
        }
        answer
    }

    /// How many of the windows hold for a call.
    fn windows_for(&self, urgent: bool) -> usize {
        if urgent { self.hard_windows } else { self.windows.len() }
    }

    /// By how much a call of this weight would go beyond what its windows hold: what it would borrow
    /// of hung calls.
    pub(super) fn borrowed_slots(
        &mut self,
        now: Moment,
        wall: WallClockSample,
        credit: u64,
        weight: u64,
    ) -> u64 {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock: wall, log: &self.log, in_flight };
        let beyond = self.windows.iter_mut().take(self.hard_windows).map(|(window, meter)| {
            let used = meter.used_slots(&query).saturating_add(in_flight).saturating_add(weight);
            used.saturating_sub(window.capacity().into())
        });
        beyond.max().unwrap_or(0)
    }

    pub(super) fn take(&mut self, weight: u64, now: Moment) {
        self.in_flight = self.in_flight.saturating_add(weight);
        self.calls_in_flight += 1;
        self.dispatched_at_sum += u128::from(now.as_nanos());
        self.open_calls.push_back((now, weight));
    }

    pub(super) fn give_back(&mut self, weight: u64, taken: Moment) {
        self.in_flight = self.in_flight.saturating_sub(weight);
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
        self.dispatched_at_sum = self.dispatched_at_sum.saturating_sub(taken.as_nanos().into());
        if let Some(index) = self.open_calls.iter().position(|open| *open == (taken, weight)) {
            self.open_calls.remove(index);
        }
    }

    pub(super) fn finish(
        &mut self,
        weight: u64,
        taken: Moment,
        now: Moment,
        wall: WallClockSample,
    ) {
        self.give_back(weight, taken);
        self.log.push(taken, now, weight);
        for (_, meter) in &mut self.windows {
            meter.finish(weight, taken, now, wall);
        }
    }

    /// When the calls in flight will have been answered, if each takes this long from the mean of the
    /// moments at which they were let go.
    pub(super) fn in_flight_answered_at(&self, now: Moment, round_trip: u64) -> Moment {
        let let_go = self.dispatched_at_sum.checked_div(self.calls_in_flight.into()).unwrap_or(0);
        let let_go = u64::try_from(let_go).unwrap_or(u64::MAX);
        Moment::from_nanos(let_go.saturating_add(round_trip)).max(now)
    }

    /// How much is free in every window, with the reserve left over.
    pub(super) fn free_slots(
        &mut self,
        now: Moment,
        wall: WallClockSample,
        credit: u64,
        reserve: Reserve,
    ) -> u64 {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock: wall, log: &self.log, in_flight };
        let free = self.windows.iter_mut().map(|(window, meter)| {
            let used = meter.used_slots(&query).saturating_add(in_flight);
            let kept = u64::from(reserve.of(window.capacity()));
            u64::from(window.capacity()).saturating_sub(used).saturating_sub(kept)
        });
        free.min().unwrap_or(u64::MAX)
    }

    pub(super) fn calls_in_flight(&self) -> u64 {
        self.calls_in_flight
    }

    pub(super) fn usage(
        &mut self,
        now: Moment,
        wall: WallClockSample,
        credit: u64,
    ) -> Vec<WindowUse> {
        let in_flight = self.in_flight;
        let query = WindowQuery { now, credit, wall_clock: wall, log: &self.log, in_flight };
        let quiet = self.block_end(now, false).unwrap_or(now);
        let whole = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        let from =
            |meter: &mut WindowState, claim: u32| match meter.check_room(&query, claim.into()) {
                Ok(()) => Some(now),
                Err(NotYet::Until(moment)) => Some(moment),
                Err(NotYet::InFlight | NotYet::Never) => None,
            };
        let one = |(window, meter): &mut (Window, WindowState)| WindowUse {
            window: window.clone(),
            used: whole(meter.used_slots(&query).saturating_add(in_flight)),
            in_flight: whole(in_flight),
            next_free: from(meter, 1).map(|at| at.max(quiet)),
            all_free: from(meter, window.capacity()).map(|at| at.max(quiet)),
        };
        self.windows.iter_mut().map(one).collect()
    }

    /// When the last call of a queue would be let go: `ahead` of weight before it, and `weight`.
    pub(super) fn estimate(
        &mut self,
        now: Moment,
        wall: WallClockSample,
        credit: u64,
        ask: EstimateQuery,
    ) -> Option<Moment> {
        let query = WindowQuery {
            now,
            credit,
            wall_clock: wall,
            log: &self.log,
            in_flight: self.in_flight,
        };
        let answered = self.in_flight_answered_at(now, ask.round_trip);
        let mut latest = self.block_end(now, ask.urgent).unwrap_or(now);
        let holding = self.windows_for(ask.urgent);
        for (window, meter) in self.windows.iter_mut().take(holding) {
            let reserve = u64::from(ask.reserve.of(window.capacity()));
            if ask.weight.saturating_add(reserve) > u64::from(window.capacity()) {
                return None;
            }
            let queue = QueueAhead {
                weight: ask.weight_ahead.saturating_add(ask.weight),
                call_weight: ask.weight,
                reserve,
                round_trip: ask.round_trip,
                in_flight_answered_at: answered,
            };
            latest = latest.max(meter.estimate(&query, &queue));
        }
        Some(latest)
    }
}

/// When there is room if calls in flight give up their slots once they have been in flight for
/// `patience`: the earliest of `room`, which is without that, and of the moments at which the oldest one,
/// two, .. of them have.
fn room_beside_hung_calls(
    room: Result<(), NotYet>,
    query: &WindowQuery<'_>,
    open: &VecDeque<(Moment, u64)>,
    patience: u64,
    mut meter: impl FnMut(&WindowQuery<'_>) -> Result<(), NotYet>,
) -> Result<(), NotYet> {
    let (mut soonest, mut in_flight) = (room, query.in_flight);
    for (taken, weight) in open {
        in_flight = in_flight.saturating_sub(*weight);
        let hung = Moment::from_nanos(taken.as_nanos().saturating_add(patience));
        let room = match meter(&WindowQuery { in_flight, ..*query }) {
            Ok(()) if hung <= query.now => return Ok(()),
            Ok(()) => Err(NotYet::Until(hung)),
            Err(NotYet::Until(free)) => Err(NotYet::Until(free.max(hung))),
            never => never,
        };
        soonest = NotYet::either(soonest, room);
    }
    soonest
}

/// A meter that is told what is in the log.
fn replayed(mut meter: WindowState, log: &CompletionLog, wall: WallClockSample) -> WindowState {
    for (entry, weight) in log.iter() {
        meter.finish(weight, entry.taken_at, entry.finished_at, wall);
    }
    meter
}
