//! When a call will go, as things stand: for whoever asks, for a deadline, and for when it is overdue.

use std::time::Duration;

use parking_lot::MutexGuard;

use super::{LaneCore, Queue};
use crate::lane::call::CallMeta;
use crate::lane::call::priority::Priority;
use crate::lane::queue::load::QueueLoad;
use crate::lane::queue::scheduler::Scheduler;
use crate::quota::{Cost, Moment};

/// Less than this is no wait to speak of: a fair one is taken for at least as long.
const MIN_FAIR_WAIT: Duration = Duration::from_secs(1);

/// For how many rounds of calls an estimate tries what the slots and the workers do together. More
/// would change it by less than a tenth.
const MAX_ROUNDS: u32 = 16;

impl LaneCore {
    /// When a call is overdue that waits from `from` on: since it came, or until it may be sent again.
    /// `None`: it never is.
    pub(super) fn overdue_at(
        &self,
        scheduler: &Scheduler,
        meta: &CallMeta,
        from: Moment,
    ) -> Option<Moment> {
        // The urgent ones go before the overdue ones anyway.
        let aging = self.aging.filter(|_| meta.priority != Priority::URGENT)?;
        let ahead = scheduler.load().weights();
        let (mut pacing_state, now) = self.pacing.lock();
        let turn = pacing_state.estimate_behind(meta.cost, &ahead, now);
        let fair = turn.map_or(MIN_FAIR_WAIT, |turn| turn.since(from.min(now)));
        Some(from + fair.max(MIN_FAIR_WAIT).saturating_mul(aging))
    }

    /// When a call of this charge would go with this ahead of it, and what time it is. With the
    /// queue in hand: a call that left in between would be counted as waiting and as under way.
    pub(in crate::lane) fn estimate(
        &self,
        _queue: &MutexGuard<'_, Queue>,
        cost: Cost,
        ahead: &QueueLoad,
    ) -> (Option<Moment>, Moment) {
        let (mut pacing_state, now) = self.pacing.lock();
        let permit = pacing_state.estimate_behind(cost, &ahead.weights(), now);
        let pause = self.health.lock().paused_until(now);
        let worker =
            pacing_state.typical_call(self.index, now).map_or(now, |(answered_at, typical)| {
                // What waits for a budget of its own keeps no worker from this call.
                let ahead = ahead.capped(|kind| pacing_state.slots_ahead(kind, cost, now));
                // Which call goes before it is not known: the one that goes soonest keeps no call out that
                // would be in time.
                let slot = |first: &QueueLoad| {
                    let first = first.weights();
                    let of_kind = |kind| pacing_state.estimate_behind(kind, &first, now);
                    ahead.costs().filter_map(of_kind).min()
                };
                let workers =
                    self.max_in_flight + if cost.urgent { self.urgent_workers } else { 0 };
                self.worker_free_at(workers, &ahead, answered_at, typical, slot).unwrap_or(now)
            });
        let turn = permit.map(|permit| permit.max(worker).max(pause.unwrap_or(now)));
        (turn, now)
    }

    /// When a worker is free for a call with this ahead of it. When as many calls run as may, one
    /// goes for each that is answered. Those that run then may have waited for their slots, each
    /// behind calls that waited for a worker: the latest of all these ways counts.
    fn worker_free_at(
        &self,
        most: usize,
        ahead: &QueueLoad,
        answered_at: Moment,
        typical: Duration,
        mut slot: impl FnMut(&QueueLoad) -> Option<Moment>,
    ) -> Option<Moment> {
        let waiting = ahead.calls();
        let rounds = |calls: usize| u32::try_from(calls / most).unwrap_or(u32::MAX);
        let beyond = (waiting + self.in_flight()).checked_sub(most);
        let none_waits = beyond.map(|beyond| answered_at + typical.saturating_mul(rounds(beyond)));
        let by_slot = (1..=rounds(waiting).min(MAX_ROUNDS)).filter_map(|round| {
            let mut first = QueueLoad::default();
            first.add_sample(ahead, waiting - round as usize * most);
            Some(slot(&first)? + typical.saturating_mul(round))
        });
        by_slot.chain(none_waits).max()
    }
}
