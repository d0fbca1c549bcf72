//! The handle of a lane, as its proxy holds it: submission, controls, and the worker threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use parking_lot::Mutex;

use super::attachment::{Attachment, AttachmentStage};
use super::call::pending_call::{CallHandle, PendingCall};
use super::call::priority::Priority;
use super::call::{CallMeta, CallersWork, Work};
use super::capacity::OverflowPolicy;
use super::core::turn::OwnCall;
use super::core::{CoreConfig, LaneCore, thread_count};
use super::core::{admission, reentrancy};
use super::observer::ObserverHandle;
use super::pacing::SharedPacing;
use super::queue::priority_level::Job;
use super::resolved_config::ResolvedLaneConfig;
use super::state::LaneState;
use super::status::{LaneStatus, WindowStatus};
use super::workers::health::LaneHealth;
use super::{
    CallOptions, LaneConfigError, LaneError, MethodSpec, Shutdown, ShutdownSummary, TaskCall,
    Ticket, Turn,
};
use crate::clock::Clock;
use crate::quota::{Cost, Quota, QuotaError, Reserve, WindowUse};
use crate::resilience::{BreakerMode, BreakerState};
use crate::{Failure, Session};

/// A paced lane and its worker threads. Dropping it rejects the queued calls, waits up to ten seconds for the calls in
/// flight, and ends the threads. A thread whose call has not returned by then is detached. If its call was [cut
/// off](super::LaneErrorKind::CutOff) before, the drop does not wait for it at all.
#[derive(Debug)]
pub struct Lane {
    core: Arc<LaneCore>,
    overflow_policy: OverflowPolicy,
    next_number: AtomicU64,
    workers: Mutex<Vec<JoinHandle<()>>>,
    /// Receives one message from each worker that has finished.
    finished_workers: Receiver<()>,
}

/// How long dropping a lane waits for its calls in flight, in real time. It is longer than an adapter with timeouts
/// takes to give up an answer.
pub(crate) const DROP_TIMEOUT: Duration = Duration::from_secs(10);

impl Lane {
    /// Starts the workers of the lane `name`, which has index `index` in the pacing state.
    pub(crate) fn start(
        name: &'static str,
        index: usize,
        config: &ResolvedLaneConfig,
        clock: &Clock,
        pacing: &Arc<SharedPacing>,
        observer: ObserverHandle,
        session: &Session,
    ) -> Result<Self, LaneConfigError> {
        let core = Arc::new(LaneCore::new(CoreConfig {
            name,
            index,
            clock: clock.clone(),
            pacing: Arc::clone(pacing),
            observer,
            queue_capacity: config.queue,
            max_in_flight: config.in_flight,
            urgent_workers: config.urgent_workers,
            user_interval: config.user_interval,
            aging: config.aging,
            health: LaneHealth::new(config)?,
            session: session.clone(),
            expired_session_policy: config.when_expired,
            open_breaker_policy: config.when_down,
        }));
        let next_number = AtomicU64::new(0);
        let count = thread_count(config.in_flight, config.urgent_workers);
        let (finished_tx, finished_workers): (Sender<()>, _) = bounded(count);
        let lane = Self {
            core,
            overflow_policy: config.when_full,
            next_number,
            workers: Mutex::default(),
            finished_workers,
        };
        for number in 0..count {
            let core = Arc::clone(&lane.core);
            let (active_guard, finished_tx) = (clock.active_guard(), finished_tx.clone());
            let worker = thread::Builder::new()
                .name(format!("lane-{name}-{number}"))
                .spawn(move || {
                    active_guard.bind_to_thread();
                    core.run_worker(number);
                    // The channel has capacity for one message of each worker.
                    let _ = finished_tx.send(());
                })
                .map_err(|error| LaneConfigError::Thread { error: error.to_string() })?;
            lane.workers.lock().push(worker);
        }
        Ok(lane)
    }

    pub(crate) fn core(&self) -> &Arc<LaneCore> {
        &self.core
    }

    /// Returns the lane's name.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Returns the number of queued calls.
    pub fn queued(&self) -> usize {
        self.core.queue_capacity.queued()
    }

    /// Returns how many calls that are not urgent may be in flight.
    pub(crate) fn max_in_flight(&self) -> usize {
        self.core.max_in_flight
    }

    /// Returns whether a caller that finds the queue full waits for a slot.
    #[cfg(feature = "responses")]
    pub(crate) fn blocks_when_full(&self) -> bool {
        self.overflow_policy == OverflowPolicy::Block
    }

    /// Stops sending calls until [`resume`](Self::resume). Calls in flight are not affected.
    pub fn pause(&self) {
        self.core.set_state(LaneState::Paused);
    }

    /// Resumes sending calls.
    pub fn resume(&self) {
        self.core.set_state(LaneState::Running);
    }

    /// Replaces the lane's quota at once. Slots in use stay in use.
    ///
    /// # Errors
    /// The quota is invalid, or the reserve of the lane leaves nothing of it. The old one stays.
    pub fn set_quota(&self, quota: &Quota) -> Result<(), QuotaError> {
        let changed = {
            let (mut pacing_state, now) = self.core.pacing.lock_with_fresh_wall_clock();
            pacing_state.check_lane_quota(self.core.index, quota)?;
            if let Some(source) = self.core.pacing.source() {
                source.set_lane(self.core.index, quota)?;
            }
            let limits = self.core.health().set_quota(quota);
            pacing_state.set_lane_limits(self.core.index, &limits.limits(), now)
        };
        self.core.wake_one();
        changed
    }

    /// Forces the lane's circuit breakers open or closed, disables them, or returns them to automatic mode. Forced
    /// open, they refuse urgent calls too.
    pub fn set_breaker(&self, mode: BreakerMode) {
        let changes = {
            // A poll holds this lock from its first read of the breaker to its end, so the mode does not change within
            // a poll.
            let (_pacing_state, now) = self.core.pacing.lock();
            let mut health = self.core.health();
            health.set_breaker(mode, now)
        };
        self.core.report_breakers(changes);
        self.core.wake_one();
    }

    /// Returns a point-in-time snapshot of the lane.
    pub fn status(&self) -> LaneStatus {
        let core = &self.core;
        let (stats, estimate, retrying) = {
            let queue = core.lock_queue();
            let ahead = queue.scheduler.load_ahead_of_next(Priority::default(), &None);
            let (turn, _) = core.estimate(&queue, Cost::to_lane(core.index), &ahead);
            (queue.scheduler.stats(), turn, queue.scheduler.retrying())
        };
        let (mut pacing_state, now) = core.pacing.lock();
        let windows = pacing_state.lane_use(core.index, now);
        let mut health = core.health();
        let pause = health.paused_until(now);
        let breakers = health.breaker_states(now).into_iter();
        let breakers: BTreeMap<_, _> =
            breakers.map(|breaker| (breaker.route, breaker.state)).collect();
        LaneStatus {
            lane: core.name,
            state: core.state(),
            queued: core.queue_capacity.queued(),
            capacity: core.queue_capacity.limit(),
            queued_by_priority: stats.by_priority,
            queued_by_user: stats.by_user,
            oldest_wait: stats.oldest.map(|oldest| now.since(oldest)),
            in_flight: pacing_state.in_flight(core.index),
            max_in_flight: core.max_in_flight,
            urgent_workers: core.urgent_workers,
            windows: {
                let configured = health.configured_quota().windows();
                let reserve = pacing_state.lane_reserve(core.index);
                let status = |used: &WindowUse| {
                    let is_cut = !configured.contains(&used.window);
                    let reserve = if is_cut { Reserve::NONE } else { reserve };
                    WindowStatus { is_cut, ..WindowStatus::new(used, reserve, now) }
                };
                windows.iter().map(status).collect()
            },
            estimated_wait: estimate.map(|at| at.since(now)),
            paused_for: pause.map(|until| until.since(now)),
            quota: health.configured_quota().to_string(),
            rate: rate_of(health.configured_quota()),
            rate_percent: health.rate_percent(),
            breaker: worst_state(&breakers),
            breakers,
            retrying,
            credit: pacing_state.credit(core.index),
            min_round_trip: pacing_state.min_round_trip(core.index),
            mean_round_trip: pacing_state.mean_round_trip(core.index),
        }
    }

    /// Shuts the lane. Every queued call is answered. After a [`Drain`](Shutdown::Drain) every call in flight is
    /// answered too, except one that itself shuts its lane.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        let rejected = match how {
            Shutdown::Now => self.close(),
            Shutdown::Drain(limit) => self.drain(limit),
        };
        // A call whose caller has the answer has ended, even if its worker has not finished it yet.
        let in_flight = self.core.pacing.lock().0.in_flight(self.core.index);
        ShutdownSummary { rejected, in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX) }
    }

    /// Rejects all queued calls. Returns their number.
    fn close(&self) -> usize {
        self.core.set_state(LaneState::Closed);
        self.core.reject_all()
    }

    fn drain(&self, limit: Duration) -> usize {
        let core = &self.core;
        let deadline = core.clock.now() + limit;
        // Calls in a paused lane were stopped on purpose, so a drain rejects them instead of sending them.
        let rejected_while_paused =
            if core.state() == LaneState::Paused { self.close() } else { 0 };
        core.set_state(LaneState::Draining);
        // The drain must not wait for a call of this lane that itself runs the drain.
        let own_worker = self.own_worker();
        let is_idle = core.wait_until_idle(own_worker, deadline);
        let rejected = rejected_while_paused + self.close();
        rejected + if is_idle { 0 } else { core.cut_off_all(own_worker) }
    }

    /// Shuts one proxy down in this lane. Its queued calls are answered, and after a [`Drain`](Shutdown::Drain) its calls
    /// in flight too, except the call that shuts the proxy down. The lane goes on for the other proxies.
    pub(crate) fn shutdown_attachment(
        &self,
        attachment: &Arc<Attachment>,
        how: Shutdown,
    ) -> ShutdownSummary {
        let core = &self.core;
        let rejected = match how {
            Shutdown::Now => core.close_attachment(attachment, AttachmentStage::Closed),
            Shutdown::Drain(limit) => {
                let deadline = core.clock.now() + limit;
                core.advance_attachment(attachment, AttachmentStage::Draining);
                let own_worker = self.own_worker();
                let is_own = |job: &Job| job.meta().is_of(attachment);
                let has_own_call =
                    own_worker.is_some_and(|own| core.in_flight_calls.is_running(own, is_own));
                let in_flight_left = usize::from(has_own_call);
                core.wait_until_sent(attachment, in_flight_left, deadline);
                let rejected = core.close_attachment(attachment, AttachmentStage::Closed);
                // A call that was admitted before may have been dispatched after that wait.
                let is_idle = core.wait_until_answered(attachment, in_flight_left, deadline);
                rejected + if is_idle { 0 } else { core.cut_off_attachment(attachment, own_worker) }
            }
        };
        ShutdownSummary { rejected, in_flight: attachment.in_flight(core.index) }
    }

    /// Closes the lane and joins its threads, until `limit` fires. Returns whether every thread that was waited for has
    /// finished, and `limit` has not fired yet. Threads whose calls were cut off before are not waited for.
    pub(crate) fn close_and_join(&mut self, limit: &Receiver<Instant>) -> bool {
        self.close();
        let own_worker = self.own_worker();
        let _idle_guard = self.core.clock.idle_guard(None);
        let mut threads = std::mem::take(self.workers.get_mut());
        if let Some(own_worker) = own_worker {
            // A worker that drops the lane itself cannot join itself.
            threads.swap_remove(own_worker);
        }
        // Counted anew each time: one that was cut off may return meanwhile, and its thread finishes too.
        let still_running = || self.core.hanging_workers(own_worker);
        let (mut finished, mut is_timed_out) = (0, false);
        let are_finished = loop {
            if finished + still_running() >= threads.len() {
                break true;
            }
            if !self.wait_for_worker(limit, &mut is_timed_out) {
                break false;
            }
            finished += 1;
        };
        let are_all_finished = finished == threads.len();
        if !are_all_finished {
            self.core.cut_off_all(own_worker);
        }
        for worker in threads {
            // The other threads are detached. The panic of a worker needs no report here.
            if are_all_finished || worker.is_finished() {
                let _ = worker.join();
            }
        }
        are_finished && !is_timed_out
    }

    /// Returns the number of the worker that runs on the present thread, if any.
    fn own_worker(&self) -> Option<usize> {
        let me = thread::current().id();
        self.workers.lock().iter().position(|worker| worker.thread().id() == me)
    }

    /// Waits until one more worker finishes, or `limit` fires. Returns whether one finished. `limit` fires only once, so
    /// `is_timed_out` records that it did.
    fn wait_for_worker(&self, limit: &Receiver<Instant>, is_timed_out: &mut bool) -> bool {
        let is_done = || self.finished_workers.try_recv().is_ok();
        if is_done() {
            return true;
        }
        if *is_timed_out {
            return false;
        }
        select! {
            recv(self.finished_workers) -> message => message.is_ok(),
            recv(limit) -> _ => {
                *is_timed_out = true;
                is_done()
            }
        }
    }

    /// Queues a call. The returned handle gets its answer, or a rejection.
    ///
    /// `work` runs on a worker thread once the quota permits. `failure` extracts the failure from a result, if it is
    /// one.
    pub(crate) fn submit<R: Send + 'static>(
        &self,
        attachment: &Arc<Attachment>,
        method: MethodSpec,
        options: &CallOptions,
        work: impl Work<R> + 'static,
        failure: impl Fn(&R) -> Option<Failure> + Send + 'static,
    ) -> Result<Arc<dyn CallHandle<R>>, LaneError> {
        let task = self.admit(attachment, method, options, work, failure)?;
        self.enqueue(attachment, Arc::clone(&task) as Job);
        Ok(task)
    }

    /// Queues a call, or dispatches it at once if it may be sent now. Then its caller makes it.
    pub(crate) fn submit_or_begin<R: Send + 'static, E: From<LaneError> + Send + 'static>(
        &self,
        attachment: &Arc<Attachment>,
        method: MethodSpec,
        options: &CallOptions,
        work: impl Work<Result<R, E>> + 'static,
        failure: impl Fn(&Result<R, E>) -> Option<Failure> + Send + 'static,
    ) -> (Ticket<R, E>, Option<Turn<R, E>>) {
        let task = match self.admit(attachment, method, options, work, failure) {
            Ok(task) => task,
            Err(error) => return (Ticket::refused(error), None),
        };
        let own = self.begin_or_enqueue(attachment, Arc::clone(&task) as Job);
        let turn = own.map(|own| Turn::new(Arc::clone(&task) as _, own));
        (Ticket::new(task, Arc::clone(&self.core)), turn)
    }

    /// Queues a call that its task makes, or dispatches it at once if it may be sent now.
    pub(crate) fn submit_task_call<
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        const IS_REPEATABLE: bool,
    >(
        &self,
        attachment: &Arc<Attachment>,
        method: MethodSpec,
        options: &CallOptions,
        failure: impl Fn(&Result<R, E>) -> Option<Failure> + Send + 'static,
    ) -> Result<TaskCall<R, E>, LaneError> {
        let task =
            self.admit(attachment, method, options, CallersWork::<IS_REPEATABLE>, failure)?;
        let first = self.begin_or_enqueue(attachment, Arc::clone(&task) as Job);
        let ticket = Ticket::new(Arc::clone(&task) as _, Arc::clone(&self.core));
        Ok(TaskCall::new(task, Arc::clone(&self.core), first, ticket))
    }

    /// Dispatches a call at once if it may be sent now, or queues it.
    fn begin_or_enqueue(&self, attachment: &Arc<Attachment>, job: Job) -> Option<OwnCall> {
        self.core.try_begin(job).map_err(|job| self.enqueue(attachment, job)).ok()
    }

    fn enqueue(&self, attachment: &Arc<Attachment>, job: Job) {
        self.core.submit(job);
        self.core.reject_if_detached(attachment);
    }

    /// Admits a call, and reports it as submitted.
    fn admit<R: Send + 'static, W: Work<R> + 'static, F>(
        &self,
        attachment: &Arc<Attachment>,
        method: MethodSpec,
        options: &CallOptions,
        work: W,
        failure: F,
    ) -> Result<Arc<PendingCall<R, W, F>>, LaneError>
    where
        F: Fn(&R) -> Option<Failure> + Send + 'static,
    {
        let core = &self.core;
        let priority = match method.is_exit {
            true => Priority::URGENT,
            false => options.priority.unwrap_or(method.priority),
        };
        let submitted_at = core.clock.now();
        let mut meta = CallMeta {
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            lane: core.name,
            method: method.name,
            effect: method.effect,
            priority,
            user: options.user.clone(),
            cost: Cost { urgent: priority == Priority::URGENT, ..method.cost },
            route: method.route,
            submitted_at,
            deadline: options.deadline.map(|limit| submitted_at + limit),
            estimated_wait: None,
            attempts: AtomicU32::new(0),
            missed_turns: AtomicU32::new(0),
            is_counted: !options.is_uncounted,
            attachment: Arc::clone(attachment),
            caller_chain: reentrancy::current_chain(),
            #[cfg(feature = "tracing")]
            caller_span: crate::telemetry::CallerSpan::current(),
        };
        // A task is queued beyond the limit before it blocks its thread: the calls that fill the queue may be of other tasks of
        // that thread.
        let may_exceed = options.is_over_limit
            || (W::IS_MADE_BY_CALLER && self.overflow_policy == OverflowPolicy::Block);
        let overflow_policy = (!may_exceed).then_some(self.overflow_policy);
        match admission::admit(core, &meta, overflow_policy) {
            Ok((slot, estimated_wait)) => {
                meta.estimated_wait = estimated_wait;
                let task = Arc::new(PendingCall::new(meta, slot, work, failure));
                core.observer.notify(|observer| {
                    observer.submitted(&CallHandle::<R>::meta(&*task).to_call_info())
                });
                Ok(task)
            }
            Err(reason) => {
                core.observer.notify(|observer| observer.refused(&meta.to_call_info(), &reason));
                Err(meta.error(reason))
            }
        }
    }
}

/// Returns the state that is furthest from closed.
fn worst_state(breakers: &BTreeMap<&'static str, BreakerState>) -> BreakerState {
    let any = |state| breakers.values().any(|breaker| *breaker == state);
    [BreakerState::Open, BreakerState::HalfOpen]
        .into_iter()
        .find(|state| any(*state))
        .unwrap_or(BreakerState::Closed)
}

/// Returns the rate in calls per second that the shortest window of a quota allows, if it has a window.
fn rate_of(quota: &Quota) -> Option<f64> {
    let shortest = quota.windows().iter().min_by_key(|window| window.length)?;
    Some(f64::from(shortest.limit) / shortest.length.as_secs_f64())
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Only tickets can hold queued calls, and they do not keep a lane open.
        self.close_and_join(&after(DROP_TIMEOUT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_shortest_window_in_calls_a_second() {
        assert_eq!(rate_of(&Quota::per_day(5000).and(Quota::per_minute(30))), Some(0.5));
        assert_eq!(rate_of(&Quota::unlimited()), None);
    }
}
