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
        let mut is_looker = false;
        let (ran, noted) =
            catch_panic(|| self.run_attempt(&job, turn, &mut is_looker)).unwrap_or_default();
        if !is_looker {
            self.mark_done();
        }
        self.in_flight_calls.finish(worker);
        let RunOutput { waker, late_answer: late, last_attempt: last, .. } = ran;
        if waker.is_some() || late.is_some() || last.is_some() || noted.is_some() {
            // A task that is woken or an observer may take its time, and may call the lane again.
            self.pool.cancel_search(self);
            let _ = catch_panic(|| waker.map(Waker::wake));
            if let Some(attempt) = last {
                self.report_last_attempt(job.meta(), attempt);
            }
            self.report_late_result(job.meta(), late);
            if let Some(noted) = noted {
                self.pacing.record_end(&noted, &self.observer);
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
        is_looker: &mut bool,
    ) -> (RunOutput, Option<UsageRecord>) {
        let Dispatch { permit, context: pass } = turn;
        let info = job.meta();
        let _working = CurrentCallGuard::enter(self, info);
        let begun = permit.taken_at();
        let charge = permit.cost();
        let queued = begun.since(info.submitted_at);
        self.report_breakers(pass.breaker_change);
        let mut held = Some((permit, pass));
        let mut again_at = begun;
        #[cfg(feature = "tracing")]
        let mut span = crate::telemetry::AttemptSpan::enter(info, queued);
        self.observer.notify(|observer| observer.dispatched(&info.to_call_info(), queued));
        let mut noted = self.pacing.record_start(charge, &self.observer);
        let mut finished = |attempt: Attempt| {
            let Some((permit, pass)) = held.take() else { return Disposition::Complete };
            // The slot first: its time runs from here.
            let (now, after) = self.finish_attempt(permit, pass, attempt, info);
            if let Some(noted) = &mut noted {
                let is_lost = attempt.was_sent() == Sent::Unknown;
                let lost = if is_lost { now.since(begun) } else { Duration::ZERO };
                noted.ended_at = self.pacing.ended_at(lost);
            }
            again_at = after.retry_at;
            // This lane's own workers look by themselves.
            self.pacing.wake_others(self, charge);
            self.report_attempt(attempt, &after, (info, queued), (begun, now));
            #[cfg(feature = "tracing")]
            span.finish(attempt.failure.map(|failure| failure.class));
            after.disposition
        };
        let mut answering = || {
            // Before the caller is told, who may call again at once.
            self.mark_done();
            *is_looker = true;
        };
        let ran = job.run(&mut finished, &mut answering);
        if let Some((permit, pass)) = held {
            self.on_not_started(permit, pass, info);
            self.pacing.wake_others(self, charge);
        }
        if ran.disposition == Disposition::Retry {
            self.requeue(job.clone(), again_at);
            // Whoever closed the lane meanwhile has not seen it.
            if self.state() == LaneState::Closed {
                self.reject_all();
            }
        }
        (ran, noted)
    }

    /// Its caller left, or it was cut off, before the work began.
    fn on_not_started(&self, permit: Permit, pass: AttemptContext, info: &CallMeta) {
        let (mut allowance, now) = self.pacing.lock();
        allowance.give_back(permit);
        self.health.lock().on_not_started(pass, now, info);
    }

    fn finish_attempt(
        &self,
        permit: Permit,
        pass: AttemptContext,
        attempt: Attempt,
        info: &CallMeta,
    ) -> (Moment, AttemptResult) {
        self.update_session(pass.session_generation, attempt);
        let begun = permit.taken_at();
        let (mut allowance, now) = self.pacing.lock();
        match attempt.was_sent() {
            Sent::Yes => allowance.finish(permit, now),
            Sent::No => allowance.finish_unsent(permit, now),
            Sent::Unknown => allowance.finish_unanswered(permit, now),
        }
        let mut care = self.health.lock();
        let times = (now, now.since(begun));
        let after = care.on_attempt_end(pass, times, attempt, info, &self.session);
        self.apply_rate_change(&mut care, &mut allowance, now);
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
        (info, queued): (&CallMeta, Duration),
        (begun, now): (Moment, Moment),
    ) {
        self.report_breakers(after.breaker_change);
        if let Some(until) = after.paused_until {
            self.observer.notify(|observer| observer.throttled(self.name, until.since(now)));
        }
        let call = FinishedCall::new(info, attempt, (queued, now.since(begun)));
        match after.disposition {
            Disposition::Complete => self.observer.notify(|observer| observer.finished(&call)),
            Disposition::Retry => {
                let delay = after.retry_at.since(now);
                self.observer.notify(|observer| observer.attempt_failed(&call, delay));
            }
        }
    }
}
