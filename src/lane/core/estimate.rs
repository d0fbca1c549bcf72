//! Estimates of when a call will be sent: for callers, for deadlines, and for when a call is overdue.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::{LaneCore, Queue};
use crate::lane::call::CallMeta;
use crate::lane::call::priority::Priority;
use crate::lane::queue::load::QueueLoad;
use crate::lane::queue::scheduler::Scheduler;
use crate::lane::state::LaneState;
use crate::quota::{Cost, Moment};

/// Lower bound of a fair wait. A shorter wait does not matter.
const MIN_FAIR_WAIT: Duration = Duration::from_secs(1);

/// How many rounds of calls an estimate simulates for slots and workers together. More rounds would change it by less
/// than a tenth.
const MAX_ROUNDS: u32 = 16;

impl LaneCore {
    /// Returns when a call that waits from `from` on is overdue, or `None` if it never is. It waits from its
    /// submission, or from when it may be retried.
    pub(super) fn overdue_at(
        &self,
        scheduler: &Scheduler,
        meta: &CallMeta,
        from: Moment,
    ) -> Option<Moment> {
        // Urgent calls are sent before overdue ones anyway.
        let aging = self.aging.filter(|_| meta.priority != Priority::URGENT)?;
        let ahead = scheduler.load().weights();
        let (mut pacing_state, now) = self.pacing.lock();
        let turn = pacing_state.estimate_behind(meta.cost, &ahead, now);
        let fair = turn.map_or(MIN_FAIR_WAIT, |turn| turn.since(from.min(now)));
        Some(from + fair.max(MIN_FAIR_WAIT).saturating_mul(aging))
    }

    /// Estimates when a call of this cost would be sent behind the given load. Returns the time too. Requires the
    /// lock of the queue: a call that was dispatched in between would be counted both as queued and as in flight.
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
                // Calls that wait for a budget of their own keep no worker from this call.
                let ahead = ahead.capped(|kind| pacing_state.slots_ahead(kind, cost, now));
                // Which call is sent before it is unknown. Assuming the cheapest one never refuses a call that would
                // be in time.
                let slot = |first: &QueueLoad| {
                    let first = first.weights();
                    let of_kind = |kind| pacing_state.estimate_behind(kind, &first, now);
                    ahead.costs().filter_map(of_kind).min()
                };
                let workers =
                    self.max_in_flight + if cost.urgent { self.urgent_workers } else { 0 };
                self.worker_free_at(workers, &ahead, answered_at, typical, slot).unwrap_or(now)
            });
        // Other processes may have used what looks free here.
        let shared = self.pacing.source().and_then(|source| source.expected_at(cost, now));
        let least = worker.max(pause.unwrap_or(now)).max(shared.unwrap_or(now));
        let turn = permit.map(|permit| permit.max(least));
        (turn, now)
    }

    /// Estimates how long it takes until the last of `calls` more calls of one user is sent, with nothing else queued
    /// meanwhile. `None` if the lane sends nothing for now, or never sends such a call.
    pub(crate) fn estimated_wait_of_more(
        &self,
        calls: usize,
        cost: Cost,
        priority: Priority,
        user: &Option<Arc<str>>,
    ) -> Option<Duration> {
        if self.state() != LaneState::Running || self.session.is_expired() {
            return None;
        }
        let queue = self.lock_queue();
        let mut ahead = queue.scheduler.load_ahead_of_next(priority, user);
        ahead.add_calls(cost, calls.saturating_sub(1));
        let (turn_at, now) = self.estimate(&queue, cost, &ahead);
        turn_at.map(|turn_at| turn_at.since(now))
    }

    /// Estimates when a worker is free for a call behind the given load. At the limit of calls in flight, one call is
    /// sent for each that is answered. Those calls may have waited for their slots, each behind calls that waited for
    /// a worker: the latest of these paths counts.
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
