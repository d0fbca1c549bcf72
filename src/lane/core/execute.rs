//! The loop of a worker thread, and an attempt from its begin to its end.
//!
//! A worker polls for a call that may go now (`poll.rs`), executes it, and polls again. One that finds none becomes
//! the leader or a follower (`workers/pool.rs`). A lane has one thread more than calls may be in flight, so that a
//! leader keeps the deadlines while all of those calls hang.
//!
//! # Order of the steps
//!
//! An attempt is executed, its slots are released, and only then is its answer visible to the caller. Before that
//! the worker counts as searching, because the caller may call again at once and rely on it. If the caller makes the
//! attempt itself (`turn.rs`), no worker is searching then: one is woken if calls wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::LaneCore;
use super::poll::Dispatch;
use super::reentrancy::CurrentCallGuard;
use crate::lane::call::pending_call::{Disposition, PublishOutput};
use crate::lane::call::{Attempt, AttemptTimes, CallMeta};
use crate::lane::observer::FinishedCall;
use crate::lane::pacing::UsageRecord;
use crate::lane::permit_source::{PermitEnd, SharedPermit};
use crate::lane::queue::priority_level::Job;
use crate::lane::workers::health::{AttemptContext, AttemptEnd, AttemptResult};
use crate::panic::catch_panic;
use crate::quota::{Moment, Permit};
use crate::{ErrorClass, Failure, Sent};

/// What is done after an attempt, with no worker searching.
#[derive(Default)]
pub(super) struct FollowUp {
    output: PublishOutput,
    /// The record of the attempt, to be finished for the next process.
    record: Option<UsageRecord>,
}

impl FollowUp {
    pub(super) fn is_empty(&self) -> bool {
        let PublishOutput { waker, late_answer, last_attempt } = &self.output;
        waker.is_none() && late_answer.is_none() && last_attempt.is_none() && self.record.is_none()
    }
}

/// An attempt that has begun.
pub(super) struct BegunAttempt {
    pub(super) permit: Permit,
    pub(super) shared: Option<SharedPermit>,
    pub(super) context: AttemptContext,
    /// The time from submission to dispatch.
    queued: Duration,
    record: Option<UsageRecord>,
    /// Another call may have taken its slots meanwhile: it must not be sent with this permit.
    is_late: bool,
}

/// An attempt that has ended, and whose slots are released.
pub(super) struct EndedAttempt {
    result: AttemptResult,
    record: Option<UsageRecord>,
}

impl LaneCore {
    /// Runs the loop of a worker, until the lane is closed.
    pub(in crate::lane) fn run_worker(self: &Arc<Self>, worker: usize) {
        self.pool.begin_search();
        while let Some((job, dispatch)) = self.pool.next_call(&**self) {
            if job.is_made_by_caller() {
                self.offer(job, dispatch);
                continue;
            }
            let is_cut_off = self.in_flight_calls.start(worker, &job);
            // In this order: `cut_off_attachment` sets the stage before it reads the calls.
            if is_cut_off || self.is_cut_off(&job) {
                self.cut_off_one(&job);
            }
            self.execute(job, dispatch, worker);
        }
    }

    /// Executes a dispatched call. When it returns, the worker counts as searching.
    fn execute(&self, job: Job, dispatch: Dispatch, worker: usize) {
        let follow_up = catch_panic(|| self.run_attempt(&job, dispatch)).unwrap_or_default();
        self.in_flight_calls.begin_report(worker);
        if !follow_up.is_empty() {
            // A woken task or an observer may take its time, and may call the lane again.
            self.pool.cancel_search(self);
            self.follow_up(&job, follow_up);
            self.pool.begin_search();
        }
        self.in_flight_calls.finish(worker);
        job.meta().attachment.end_report(self.index);
        let _ = catch_panic(|| drop(job));
        self.end_report();
    }

    /// Wakes the task that awaits the answer, and reports what is left to report.
    pub(super) fn follow_up(&self, job: &Job, follow_up: FollowUp) {
        let FollowUp { output, record } = follow_up;
        let PublishOutput { waker, late_answer, last_attempt } = output;
        let _ = catch_panic(|| waker.map(Waker::wake));
        if let Some(attempt) = last_attempt {
            self.report_last_attempt(job.meta(), attempt);
        }
        self.report_late_result(job.meta(), late_answer);
        if let Some(record) = record {
            self.pacing.record_end(&record, &self.observer);
        }
    }

    /// An attempt has been reported, to the lane's observer and for its proxy.
    pub(super) fn end_report(&self) {
        self.reporting.fetch_sub(1, Ordering::SeqCst);
        self.idle.notify();
    }

    /// Runs one attempt of a dispatched call, and publishes its answer or queues it again.
    fn run_attempt(&self, job: &Job, dispatch: Dispatch) -> FollowUp {
        let meta = job.meta();
        let in_flight = InFlightGuard { lane: self, meta, by: AttemptBy::Worker };
        let _current = CurrentCallGuard::enter(self, meta);
        #[cfg(feature = "tracing")]
        let mut span = crate::telemetry::AttemptSpan::new(meta, dispatch.queued(meta));
        let (ended, _failure) = {
            #[cfg(feature = "tracing")]
            let _entered = span.enter();
            let begun = self.begin_attempt(dispatch, meta);
            if (begun.is_late || self.is_stale(begun.shared.as_ref())) && job.recall() {
                return self.send_back(job, begun, in_flight);
            }
            match job.execute() {
                Some(attempt) => (self.release_attempt(begun, attempt, meta), attempt.failure),
                // Its caller abandoned it, or the lane cut it off, before its work began.
                None => return self.give_up_attempt(begun, meta),
            }
        };
        #[cfg(feature = "tracing")]
        span.finish(_failure);
        self.conclude_attempt(job, ended, in_flight)
    }

    /// Reports that a call was dispatched.
    pub(super) fn begin_attempt(&self, dispatch: Dispatch, meta: &CallMeta) -> BegunAttempt {
        let queued = dispatch.queued(meta);
        let Dispatch { mut permit, shared, context } = dispatch;
        self.report_breakers(context.breaker_change);
        self.observer.notify(|observer| observer.dispatched(&meta.to_call_info(), queued));
        let record = self.pacing.record_start(permit.cost(), &self.observer);
        // The disk may have taken its time.
        let is_late = self.pacing.is_recorded() && {
            let (mut pacing_state, now) = self.pacing.lock();
            !pacing_state.postpone(&mut permit, now)
        };
        BegunAttempt { permit, shared, context, queued, record, is_late }
    }

    /// Returns whether this process stood still for so long since it asked for the permit that others may use it.
    pub(super) fn is_stale(&self, shared: Option<&SharedPermit>) -> bool {
        let permit = self.pacing.source().zip(shared);
        permit.is_some_and(|(source, permit)| !source.is_fresh(permit, self.clock.now()))
    }

    /// Queues a call again that was dispatched by a permit which is too old, and of which nothing was sent.
    fn send_back(&self, job: &Job, begun: BegunAttempt, _in_flight: InFlightGuard<'_>) -> FollowUp {
        let follow_up = self.give_up_attempt(begun, job.meta());
        self.requeue(job.clone(), self.clock.now());
        self.reject_if_shut(&job.meta().attachment);
        follow_up
    }

    /// Gives back the slots of an attempt whose work never began.
    pub(super) fn give_up_attempt(&self, begun: BegunAttempt, meta: &CallMeta) -> FollowUp {
        let BegunAttempt { permit, shared, context, record, .. } = begun;
        self.give_up(permit, shared, context, meta);
        FollowUp { output: PublishOutput::default(), record }
    }

    /// Gives back the slots of a call that was dispatched, and of which no attempt has begun.
    pub(super) fn give_up_dispatch(&self, dispatch: Dispatch, meta: &CallMeta) {
        let Dispatch { permit, shared, context } = dispatch;
        self.report_breakers(context.breaker_change);
        self.give_up(permit, shared, context, meta);
    }

    /// Gives back the slots of a call that was dispatched and not sent.
    fn give_up(
        &self,
        permit: Permit,
        shared: Option<SharedPermit>,
        context: AttemptContext,
        meta: &CallMeta,
    ) {
        let cost = permit.cost();
        let (_, result) = self.give_back(permit, shared, context, meta);
        self.report_breakers(result.breaker_change);
        self.pacing.wake_others(self, cost);
    }

    /// Releases the slots of an attempt, and reports how it ended.
    pub(super) fn release_attempt(
        &self,
        begun: BegunAttempt,
        attempt: Attempt,
        meta: &CallMeta,
    ) -> EndedAttempt {
        let BegunAttempt { permit, shared, context, queued, mut record, .. } = begun;
        let (sent_at, cost) = (permit.sent_at(), permit.cost());
        // First the slots: their windows count from here.
        let (ended_at, arrives_by, result) =
            self.finish_attempt(permit, shared, context, attempt, meta);
        let times = AttemptTimes { queued, sent_at, ended_at };
        if let Some(record) = record.as_mut().filter(|_| !attempt.is_local()) {
            record.ended_at = Some(self.pacing.ended_at(arrives_by.since(ended_at)));
        }
        self.pacing.wake_others(self, cost);
        self.report_attempt(meta, attempt, times, &result);
        EndedAttempt { result, record }
    }

    /// Queues the call of an attempt again, or publishes its answer.
    pub(super) fn conclude_attempt(
        &self,
        job: &Job,
        ended: EndedAttempt,
        in_flight: InFlightGuard<'_>,
    ) -> FollowUp {
        let EndedAttempt { result, record } = ended;
        if job.end_attempt(result.disposition) {
            // The call counts as in flight until it is in the queue, so the lane never looks idle in between.
            self.requeue(job.clone(), result.retry_at);
            self.reject_if_shut(&job.meta().attachment);
            return FollowUp { output: PublishOutput::default(), record };
        }
        // Before the answer is visible: the caller may call again at once.
        drop(in_flight);
        FollowUp { output: job.publish_answer(), record }
    }

    /// Gives back the permit of a call that was not sent after all, so that its slots are free at once. Returns when.
    fn give_back(
        &self,
        permit: Permit,
        shared: Option<SharedPermit>,
        context: AttemptContext,
        meta: &CallMeta,
    ) -> (Moment, AttemptResult) {
        let (mut pacing_state, now) = self.pacing.lock();
        pacing_state.give_back(permit);
        self.end_shared(shared, PermitEnd::Unused, now);
        let is_room_for_others = pacing_state.shares_heard_count(self.index);
        let result = {
            let mut health = self.health.lock();
            let result = health.on_not_tried(context, now, meta);
            self.apply_rate_change(&mut health, &mut pacing_state, now);
            result
        };
        drop(pacing_state);
        if is_room_for_others {
            self.pacing.wake_all();
        }
        (now, result)
    }

    /// Releases the slots of an attempt that has ended, and decides what follows. Returns when it ended, and from when on its
    /// slots count: a call without an answer may still arrive at the broker.
    fn finish_attempt(
        &self,
        permit: Permit,
        shared: Option<SharedPermit>,
        context: AttemptContext,
        attempt: Attempt,
        meta: &CallMeta,
    ) -> (Moment, Moment, AttemptResult) {
        if attempt.is_local() {
            let (now, result) = self.give_back(permit, shared, context, meta);
            return (now, now, result);
        }
        self.update_session(context.session_generation, attempt);
        let sent_at = permit.sent_at();
        let (mut pacing_state, now) = self.pacing.lock();
        let arrives_by = match attempt.was_sent() {
            Sent::Yes => {
                pacing_state.finish(permit, now);
                now
            }
            Sent::No => {
                pacing_state.finish_unsent(permit, now);
                now
            }
            Sent::Unknown => pacing_state.hold_unanswered(permit, now),
        };
        self.end_shared(shared, PermitEnd::At(arrives_by), now);
        let mut health = self.health.lock();
        let end = AttemptEnd { attempt, at: now, took: now.since(sent_at) };
        let result = health.on_attempt_end(context, end, meta, &self.session);
        self.apply_rate_change(&mut health, &mut pacing_state, now);
        (now, arrives_by, result)
    }

    /// Updates the session by what an attempt shows of the credentials of `generation`, with which it was made.
    fn update_session(&self, generation: u64, attempt: Attempt) {
        let Some(Failure { class, .. }) = attempt.failure else {
            if self.session.is_expired() {
                self.session.mark_valid(generation);
            }
            return;
        };
        if class == ErrorClass::Unauthorized && self.session.expire(generation) {
            self.observer.notify(|observer| observer.session_expired(self.name));
            // A lane that refuses calls of an expired session does so now.
            self.pacing.wake_all();
        }
    }

    /// Reports to the observer how an attempt ended.
    fn report_attempt(
        &self,
        meta: &CallMeta,
        attempt: Attempt,
        times: AttemptTimes,
        result: &AttemptResult,
    ) {
        self.report_breakers(result.breaker_change);
        let now = times.ended_at;
        if let Some(until) = result.paused_until {
            if let Some(source) = self.pacing.source() {
                source.pause(self.index, until.since(now));
            }
            self.observer.notify(|observer| observer.throttled(self.name, until.since(now)));
        }
        let call = FinishedCall::new(meta, attempt, (times.queued, times.round_trip()));
        match result.disposition {
            Disposition::Complete => self.observer.notify(|observer| observer.finished(&call)),
            Disposition::Retry => {
                let delay = result.retry_at.since(now);
                self.observer.notify(|observer| observer.attempt_failed(&call, delay));
            }
        }
    }
}

/// Who makes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptBy {
    Worker,
    /// The caller, by its turn.
    Caller,
}

/// A dispatched call, until it is done. Dropped, also by a panic, it makes its worker count as searching, or wakes one if
/// its caller made it and a call waits.
pub(super) struct InFlightGuard<'a> {
    pub(super) lane: &'a LaneCore,
    pub(super) meta: &'a CallMeta,
    pub(super) by: AttemptBy,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        // The lane is not idle until its observer is notified.
        self.lane.reporting.fetch_add(1, Ordering::SeqCst);
        self.lane.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.meta.attachment.end_call(self.lane.index);
        match self.by {
            AttemptBy::Worker => self.lane.pool.begin_search(),
            AttemptBy::Caller => self.lane.wake_for_waiting(),
        }
    }
}
