//! What the threads of a lane do.
//!
//! A worker looks for a call that may go now (`look.rs`), makes it, and looks again. One that finds
//! nothing becomes the leader, who sleeps until the next permit, deadline or arrival and then looks
//! again, or a follower, who does nothing until it is needed (`crew.rs`). There is one worker more than
//! calls may be in flight, so that somebody keeps the deadlines when all of those hang.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::LaneCore;
use super::poll::Dispatch;
use super::reentrancy::CurrentCallGuard;
use crate::lane::call::task::{Disposition, RunOutput};
use crate::lane::call::{Attempt, CallMeta};
use crate::lane::observer::FinishedCall;
use crate::lane::pacing::UsageRecord;
use crate::lane::queue::priority_level::Job;
use crate::lane::state::LaneState;
use crate::lane::workers::health::{AttemptContext, AttemptResult};
use crate::panic::catch_panic;
use crate::quota::{Moment, Permit};
use crate::{ErrorClass, Failure, Sent};

impl LaneCore {
    /// The life of a worker, until the lane is closed.
    pub(in crate::lane) fn run_worker(&self, worker: usize) {
        self.pool.begin_search();
        while let Some((job, turn)) = self.pool.next_call(self) {
            if self.in_flight_calls.start(worker, &job) {
                self.cut_off_one(&job);
            }
            self.execute(job, turn, worker);
        }
    }

    /// Makes the call that was chosen. The worker counts as a looker from then on.
    fn execute(&self, job: Job, turn: Dispatch, worker: usize) {
        let mut is_searching = false;
        let (ran, record) =
            catch_panic(|| self.run_attempt(&job, turn, &mut is_searching)).unwrap_or_default();
        if !is_searching {
            self.mark_done();
        }
        self.in_flight_calls.finish(worker);
        let RunOutput { waker, late_answer: late, last_attempt: last, .. } = ran;
        if waker.is_some() || late.is_some() || last.is_some() || record.is_some() {
            // A task that is woken or an observer may take its time, and may call the lane again.
            self.pool.cancel_search(self);
            let _ = catch_panic(|| waker.map(Waker::wake));
            if let Some(attempt) = last {
                self.report_last_attempt(job.meta(), attempt);
            }
            self.report_late_result(job.meta(), late);
            if let Some(record) = record {
                self.pacing.record_end(&record, &self.observer);
            }
            self.pool.begin_search();
        }
        let _ = catch_panic(|| drop(job));
        self.reporting.fetch_sub(1, Ordering::SeqCst);
        self.idle.notify();
    }

    /// The call runs no more: its worker will look for another, and has only to tell of this one.
    fn mark_done(&self) {
        self.reporting.fetch_add(1, Ordering::SeqCst);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.pool.begin_search();
    }

    fn run_attempt(
        &self,
        job: &Job,
        turn: Dispatch,
        is_searching: &mut bool,
    ) -> (RunOutput, Option<UsageRecord>) {
        let Dispatch { permit, context } = turn;
        let meta = job.meta();
        let _working = CurrentCallGuard::enter(self, meta);
        let begun = permit.taken_at();
        let cost = permit.cost();
        let queued = begun.since(meta.submitted_at);
        self.report_breakers(context.breaker_change);
        let mut held = Some((permit, context));
        let mut again_at = begun;
        #[cfg(feature = "tracing")]
        let mut span = crate::telemetry::AttemptSpan::enter(meta, queued);
        self.observer.notify(|observer| observer.dispatched(&meta.to_call_info(), queued));
        let mut record = self.pacing.record_start(cost, &self.observer);
        let mut finished = |attempt: Attempt| {
            let Some((permit, context)) = held.take() else { return Disposition::Complete };
            // The slot first: its time runs from here.
            let (now, after) = self.finish_attempt(permit, context, attempt, meta);
            if let Some(record) = &mut record {
                let is_lost = attempt.was_sent() == Sent::Unknown;
                let lost = if is_lost { now.since(begun) } else { Duration::ZERO };
                record.ended_at = self.pacing.ended_at(lost);
            }
            again_at = after.retry_at;
            // This lane's own workers look by themselves.
            self.pacing.wake_others(self, cost);
            self.report_attempt(attempt, &after, (meta, queued), (begun, now));
            #[cfg(feature = "tracing")]
            span.finish(attempt.failure.map(|failure| failure.class));
            after.disposition
        };
        let mut answering = || {
            // Before the caller is told, who may call again at once.
            self.mark_done();
            *is_searching = true;
        };
        let ran = job.run(&mut finished, &mut answering);
        if let Some((permit, context)) = held {
            self.on_not_started(permit, context, meta);
            self.pacing.wake_others(self, cost);
        }
        if ran.disposition == Disposition::Retry {
            self.requeue(job.clone(), again_at);
            // Whoever closed the lane meanwhile has not seen it.
            if self.state() == LaneState::Closed {
                self.reject_all();
            }
        }
        (ran, record)
    }

    /// Its caller left, or it was cut off, before the work began.
    fn on_not_started(&self, permit: Permit, context: AttemptContext, meta: &CallMeta) {
        let (mut pacing_state, now) = self.pacing.lock();
        pacing_state.give_back(permit);
        self.health.lock().on_not_started(context, now, meta);
    }

    fn finish_attempt(
        &self,
        permit: Permit,
        context: AttemptContext,
        attempt: Attempt,
        meta: &CallMeta,
    ) -> (Moment, AttemptResult) {
        self.update_session(context.session_generation, attempt);
        let begun = permit.taken_at();
        let (mut pacing_state, now) = self.pacing.lock();
        match attempt.was_sent() {
            Sent::Yes => pacing_state.finish(permit, now),
            Sent::No => pacing_state.finish_unsent(permit, now),
            Sent::Unknown => pacing_state.finish_unanswered(permit, now),
        }
        let mut health = self.health.lock();
        let times = (now, now.since(begun));
        let after = health.on_attempt_end(context, times, attempt, meta, &self.session);
        self.apply_rate_change(&mut health, &mut pacing_state, now);
        (now, after)
    }

    /// What an attempt shows of the credentials that it was made with.
    fn update_session(&self, made_with: u64, attempt: Attempt) {
        let Some(Failure { class, .. }) = attempt.failure else {
            if self.session.is_expired() {
                self.session.mark_valid(made_with);
            }
            return;
        };
        if class == ErrorClass::Unauthorized && self.session.expire(made_with) {
            self.observer.notify(|observer| observer.session_expired(self.name));
            // A lane that refuses its calls does so now.
            self.pacing.wake_all();
        }
    }

    /// Tells the observer how an attempt ended.
    fn report_attempt(
        &self,
        attempt: Attempt,
        after: &AttemptResult,
        (meta, queued): (&CallMeta, Duration),
        (begun, now): (Moment, Moment),
    ) {
        self.report_breakers(after.breaker_change);
        if let Some(until) = after.paused_until {
            self.observer.notify(|observer| observer.throttled(self.name, until.since(now)));
        }
        let call = FinishedCall::new(meta, attempt, (queued, now.since(begun)));
        match after.disposition {
            Disposition::Complete => self.observer.notify(|observer| observer.finished(&call)),
            Disposition::Retry => {
                let delay = after.retry_at.since(now);
                self.observer.notify(|observer| observer.attempt_failed(&call, delay));
            }
        }
    }
}
