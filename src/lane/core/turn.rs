//! Calls that their callers make themselves, without a worker.
//!
//! If no call is queued and a new one may be sent now, the thread that submits it dispatches it. Its caller then makes the
//! attempt, for example by polling a future. No thread is woken, which is most of what a call through an idle lane costs.
//! Everything else is as for a worker: the permit, the slots until the attempt has ended, the observer, the breaker. A
//! retry is an ordinary queued call again.
//!
//! A worker that has executed a call polls again, so it finds a call that waits for its slots. A caller does not poll: it
//! wakes a worker if a call waits.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::LaneCore;
use super::execute::{AttemptBy, BegunAttempt, FollowUp, InFlightGuard};
use super::poll::Dispatch;
use super::reentrancy::CurrentCallGuard;
use crate::lane::call::pending_call::RejectResult;
use crate::lane::call::{Attempt, CallMeta};
use crate::lane::error::LaneErrorKind;
use crate::lane::queue::priority_level::Job;
use crate::lane::state::LaneState;
use crate::panic::catch_panic;

/// A call that its caller makes. It is in flight until it is ended, or dropped.
pub(in crate::lane) struct OwnCall {
    lane: Arc<LaneCore>,
    job: Job,
    stage: Stage,
}

enum Stage {
    /// Dispatched, and nothing was sent. Boxed, because it is moved with the future of the caller.
    Dispatched(Box<Dispatch>),
    Begun(Box<BegunAttempt>, Span),
    Over,
}

/// The span of the attempt, if there are spans.
struct Span(#[cfg(feature = "tracing")] crate::telemetry::AttemptSpan);

impl LaneCore {
    /// Dispatches a new call on this thread, if no other one is queued and it may be sent now. Otherwise returns it.
    pub(in crate::lane) fn try_begin(self: &Arc<Self>, job: Job) -> Result<OwnCall, Job> {
        if self.pacing.is_recorded() || self.pacing.source().is_some() {
            // The begin of each call is written to a file, or a permit is asked for. A disk and a network may hang. That must
            // hold a worker, not a caller whose thread does other things too.
            return Err(job);
        }
        let dispatch = {
            let queue = self.queue.lock();
            let is_next = self.state() == LaneState::Running
                && self.arrivals.is_empty()
                && queue.scheduler.is_idle()
                && self.may_run(job.meta().worker_class());
            if !is_next {
                return Err(job);
            }
            let (mut pacing_state, now) = self.pacing.lock();
            if !self.may_go(job.meta(), now) {
                return Err(job);
            }
            // If its proxy was shut down, the call is queued and rejected as any other one.
            match self.dispatch(&job, &mut pacing_state, now, &queue.scheduler) {
                Ok(dispatch) => dispatch,
                Err(_) => return Err(job),
            }
        };
        Ok(OwnCall::new(self, job, dispatch))
    }

    /// Wakes a worker if a call waits, after slots were released on a thread that does not poll.
    pub(super) fn wake_for_waiting(&self) {
        // A caller that finds too many calls in flight wakes no worker. It reads their number after it has pushed its
        // call, and this reads the calls after that number has fallen.
        fence(Ordering::SeqCst);
        if !self.arrivals.is_empty() || !self.queue.lock().scheduler.is_empty() {
            self.wake_one();
        }
    }
}

impl OwnCall {
    /// Records that the caller of a dispatched call makes it.
    pub(super) fn new(lane: &Arc<LaneCore>, job: Job, dispatch: Dispatch) -> Self {
        let is_cut_off = lane.in_flight_calls.start_by_caller(&job);
        // In this order, as a worker: `cut_off_attachment` sets the stage before it reads the calls.
        if is_cut_off || lane.is_cut_off(&job) {
            lane.cut_off_one(&job);
        }
        let stage = Stage::Dispatched(Box::new(dispatch));
        Self { lane: Arc::clone(lane), job, stage }
    }

    pub(super) fn meta(&self) -> &CallMeta {
        self.job.meta()
    }

    /// Records that its task came too late for the turn.
    pub(super) fn miss(&self) {
        // Relaxed: it only decides how long the next turn is offered.
        self.meta().missed_turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Prepares a turn that was offered for an attempt that begins now. Returns whether that may be: the permit is fresh, and
    /// nothing has happened since the dispatch for which the lane would hold the call back.
    pub(super) fn resume(&mut self) -> bool {
        let (lane, meta) = (&self.lane, self.job.meta());
        let (permit, shared, context) = match &mut self.stage {
            Stage::Dispatched(it) => (&mut it.permit, &it.shared, &it.context),
            Stage::Begun(it, _) => (&mut it.permit, &it.shared, &it.context),
            Stage::Over => return false,
        };
        let (mut pacing_state, now) = lane.pacing.lock();
        if !pacing_state.postpone(permit, now) {
            return false;
        }
        drop(pacing_state);
        lane.state() != LaneState::Paused
            && (meta.is_urgent() || !lane.session.is_expired())
            && lane.health().may_still_go(context, meta, now)
            && !lane.is_stale(shared.as_ref())
    }

    /// Takes the turn back, with nothing sent. `place` gets the call, unless its caller has left or was answered. The call
    /// counts as in flight until it has its place, so the lane never looks idle in between.
    pub(super) fn take_back(mut self, place: impl FnOnce(Job)) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let (lane, meta) = (&self.lane, self.job.meta());
        let is_recalled = self.job.recall();
        let follow_up = catch_panic(|| {
            let _in_flight = InFlightGuard { lane, meta, by: AttemptBy::Caller };
            let follow_up = match stage {
                Stage::Dispatched(dispatch) => {
                    lane.give_up_dispatch(*dispatch, meta);
                    FollowUp::default()
                }
                Stage::Begun(begun, _) => lane.give_up_attempt(*begun, meta),
                Stage::Over => FollowUp::default(),
            };
            if is_recalled {
                place(Job::clone(&self.job));
            }
            follow_up
        });
        self.finish(follow_up.unwrap_or_default());
    }

    /// Reports that the attempt begins, unless that was reported.
    pub(in crate::lane) fn begin(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Dispatched(dispatch) => {
                let meta = self.job.meta();
                // An observer that calls this lane and waits is seen as such.
                let _current = CurrentCallGuard::enter(&self.lane, meta);
                let span = Span::new(meta, &dispatch);
                let begun = span.scope(|| self.lane.begin_attempt(*dispatch, meta));
                Stage::Begun(Box::new(begun), span)
            }
            other => other,
        };
    }

    /// Runs a part of the attempt on this thread.
    pub(in crate::lane) fn scope<T>(&self, part: impl FnOnce() -> T) -> T {
        let _current = CurrentCallGuard::enter(&self.lane, self.job.meta());
        match &self.stage {
            Stage::Begun(_, span) => span.scope(part),
            Stage::Dispatched(_) | Stage::Over => part(),
        }
    }

    /// Ends the attempt, and publishes its answer or queues the call again. `None`: the attempt never began.
    pub(in crate::lane) fn end(&mut self, attempt: Option<Attempt>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Begun(begun, mut span) = stage else { return self.stage = stage };
        let (lane, job, meta) = (&self.lane, &self.job, self.job.meta());
        let follow_up = catch_panic(|| {
            let in_flight = InFlightGuard { lane, meta, by: AttemptBy::Caller };
            let _current = CurrentCallGuard::enter(lane, meta);
            let Some(attempt) = attempt else { return lane.give_up_attempt(*begun, meta) };
            let ended = span.scope(|| lane.release_attempt(*begun, attempt, meta));
            span.finish(attempt);
            lane.conclude_attempt(job, ended, in_flight)
        });
        self.finish(follow_up.unwrap_or_default());
    }

    fn finish(&self, follow_up: FollowUp) {
        let (lane, meta) = (&self.lane, self.job.meta());
        if !follow_up.is_empty() {
            lane.in_flight_calls.begin_report_by_caller(meta.number);
            lane.follow_up(&self.job, follow_up);
        }
        lane.in_flight_calls.finish_by_caller(meta.number);
        meta.attachment.end_report(lane.index);
        lane.end_report();
    }
}

impl Drop for OwnCall {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            // Its caller does not make it after all, so nothing was sent.
            Stage::Dispatched(dispatch) => {
                let (lane, meta) = (&self.lane, self.job.meta());
                // First the slots, as after an attempt: a caller that sees the answer may call again at once.
                let _ = catch_panic(|| {
                    let _in_flight = InFlightGuard { lane, meta, by: AttemptBy::Caller };
                    lane.give_up_dispatch(*dispatch, meta);
                });
                let result = self.job.give_up(LaneErrorKind::Cancelled);
                // Otherwise its caller has abandoned it, or the lane has cut it off, and that was reported.
                if matches!(result, RejectResult::NeverSent) {
                    lane.observer.notify(|observer| observer.cancelled(&meta.to_call_info()));
                }
                self.finish(FollowUp::default());
            }
            stage @ Stage::Begun(..) => {
                self.stage = stage;
                self.end(None);
            }
            Stage::Over => {}
        }
    }
}

#[cfg(feature = "tracing")]
impl Span {
    fn new(meta: &crate::lane::call::CallMeta, dispatch: &Dispatch) -> Self {
        Self(crate::telemetry::AttemptSpan::new(meta, dispatch.queued(meta)))
    }

    fn scope<T>(&self, part: impl FnOnce() -> T) -> T {
        let _entered = self.0.enter();
        part()
    }

    fn finish(&mut self, attempt: Attempt) {
        self.0.finish(attempt.failure);
    }
}

#[cfg(not(feature = "tracing"))]
impl Span {
    fn new(_: &crate::lane::call::CallMeta, _: &Dispatch) -> Self {
        Self()
    }

    fn scope<T>(&self, part: impl FnOnce() -> T) -> T {
        part()
    }

    fn finish(&mut self, _: Attempt) {}
}
