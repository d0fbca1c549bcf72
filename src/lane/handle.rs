//! A lane, as its proxy holds it: the way in, the controls, and the threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use parking_lot::Mutex;

use super::call::priority::Priority;
use super::call::task::{CallHandle, Task};
use super::call::{CallMeta, Work};
use super::capacity::OverflowPolicy;
use super::core::{CoreConfig, LaneCore, thread_count};
use super::core::{admission, reentrancy};
use super::observer::ObserverHandle;
use super::pacing::SharedPacing;
use super::resolved_config::ResolvedLaneConfig;
use super::state::LaneState;
use super::status::{LaneStatus, WindowStatus};
use super::workers::health::LaneHealth;
use super::{CallOptions, LaneConfigError, LaneError, MethodSpec, Shutdown, ShutdownSummary};
use crate::clock::Clock;
use crate::quota::{Cost, Quota, QuotaError, Reserve, WindowUse};
use crate::resilience::{BreakerMode, BreakerState};
use crate::{Failure, Session};

/// A paced lane and its threads. Dropping it answers what is queued, waits for what is under way, for ten
/// seconds at most, and ends the threads. One whose call is not back by then is left to itself, and so, without
/// any wait, is one whose call was [cut off](super::LaneErrorKind::CutOff) before.
#[derive(Debug)]
pub struct Lane {
    core: Arc<LaneCore>,
    overflow_policy: OverflowPolicy,
    next_number: AtomicU64,
    workers: Mutex<Vec<JoinHandle<()>>>,
    /// A word of each worker that is done.
    finished_workers: Receiver<()>,
}

/// For so long a lane that is dropped waits for its calls under way, in time that passes by itself: longer than
/// an adapter with timeouts takes to give an answer up.
pub(crate) const DROP_TIMEOUT: Duration = Duration::from_secs(10);

impl Lane {
    /// Starts the workers of the lane `name`, which is the one of `index` in its allowance.
    pub(crate) fn start(
        name: &'static str,
        index: usize,
        config: &ResolvedLaneConfig,
        clock: &Clock,
        pace: &Arc<SharedPacing>,
        watch: ObserverHandle,
        session: &Session,
    ) -> Result<Self, LaneConfigError> {
        let shared = Arc::new(LaneCore::new(CoreConfig {
            name,
            index,
            clock: clock.clone(),
            pacing: Arc::clone(pace),
            observer: watch,
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
        let numbers = AtomicU64::new(0);
        let count = thread_count(config.in_flight, config.urgent_workers);
        let (tell, done): (Sender<()>, _) = bounded(count);
        let lane = Self {
            core: shared,
            overflow_policy: config.when_full,
            next_number: numbers,
            workers: Mutex::default(),
            finished_workers: done,
        };
        for number in 0..count {
            let shared = Arc::clone(&lane.core);
            let (awake, tell) = (clock.active_guard(), tell.clone());
            let worker = thread::Builder::new()
                .name(format!("lane-{name}-{number}"))
                .spawn(move || {
                    awake.bind_to_thread();
                    shared.run_worker(number);
                    // There is room for a word of each.
                    let _ = tell.send(());
                })
                .map_err(|error| LaneConfigError::Thread { error: error.to_string() })?;
            lane.workers.lock().push(worker);
        }
        Ok(lane)
    }

    pub(crate) fn core(&self) -> &Arc<LaneCore> {
        &self.core
    }

    /// The lane's name.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// How many calls wait for their turn.
    pub fn queued(&self) -> usize {
        self.core.queue_capacity.in_use()
    }

    /// Lets no call go until [`resume`](Self::resume). Those under way are not touched.
    pub fn pause(&self) {
        self.core.set_state(LaneState::Paused);
    }

    /// Lets calls go again.
    pub fn resume(&self) {
        self.core.set_state(LaneState::Running);
    }

    /// Gives the lane another quota, at once. What was used stays used.
    ///
    /// # Errors
    /// The quota cannot be kept; the old one stays.
    pub fn set_quota(&self, quota: &Quota) -> Result<(), QuotaError> {
        quota.check()?;
        let changed = {
            let (mut allowance, now) = self.core.pacing.lock_with_fresh_wall_clock();
            let limits = self.core.health().set_quota(quota);
            allowance.set_lane_and_cut(
                self.core.index,
                &limits.all_calls,
                &limits.normal_calls,
                now,
            )
        };
        self.core.wake_one();
        changed
    }

    /// Forces the lane's circuit breakers open or closed, switches them off, or leaves them to themselves.
    /// Forced open, they refuse urgent calls too.
    pub fn set_breaker(&self, mode: BreakerMode) {
        let news = {
            // A look holds it from its first glance at the breaker to the end.
            let (_allowance, now) = self.core.pacing.lock();
            let mut care = self.core.health();
            care.set_breaker(mode, now)
        };
        self.core.report_breakers(news);
        self.core.wake_one();
    }

    /// How the lane is doing.
    pub fn status(&self) -> LaneStatus {
        let shared = &self.core;
        let (census, estimate, retrying) = {
            let queue = shared.lock_queue();
            let ahead = queue.scheduler.load_ahead_of_next(Priority::default(), &None);
            let (turn, _) = shared.estimate(&queue, Cost::to_lane(shared.index), &ahead);
            (queue.scheduler.stats(), turn, queue.scheduler.retrying())
        };
        let (mut allowance, now) = shared.pacing.lock();
        let windows = allowance.lane_use(shared.index, now);
        let mut care = shared.health();
        let pause = care.paused_until(now);
        let breakers = care.breaker_states(now).into_iter();
        let breakers: BTreeMap<_, _> = breakers.map(|known| (known.route, known.state)).collect();
        LaneStatus {
            lane: shared.name,
            state: shared.state(),
            queued: shared.queue_capacity.in_use(),
            capacity: shared.queue_capacity.limit(),
            queued_by_priority: census.by_priority,
            queued_by_user: census.by_user,
            oldest_wait: census.oldest.map(|oldest| now.since(oldest)),
            in_flight: allowance.in_flight(shared.index),
            workers: shared.max_in_flight,
            urgent_workers: shared.urgent_workers,
            windows: {
                let configured = care.configured_quota().windows();
                let status = |used: &WindowUse| WindowStatus {
                    is_cut: !configured.contains(&used.window),
                    ..WindowStatus::new(used, Reserve::NONE, now)
                };
                windows.iter().map(status).collect()
            },
            estimated_wait: estimate.map(|at| at.since(now)),
            paused_for: pause.map(|until| until.since(now)),
            quota: care.configured_quota().to_string(),
            rate: rate_of(care.configured_quota()),
            rate_percent: care.rate_percent(),
            breaker: worst_state(&breakers),
            breakers,
            retrying,
            credit: allowance.credit(shared.index),
            min_round_trip: allowance.min_round_trip(shared.index),
        }
    }

    /// Shuts the lane. Every caller that waits in the queue is answered, and after a
    /// [`Drain`](Shutdown::Drain) every other one too, but for a call that shuts its own lane.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        let refused = match how {
            Shutdown::Now => self.close(),
            Shutdown::Drain(limit) => self.drain(limit),
        };
        // A call whose caller has its answer is over, though its worker may not be back yet.
        let under_way = self.core.pacing.lock().0.in_flight(self.core.index);
        ShutdownSummary {
            rejected: refused,
            in_flight: usize::try_from(under_way).unwrap_or(usize::MAX),
        }
    }

    /// Refuses what waits, and says how much that was.
    fn close(&self) -> usize {
        self.core.set_state(LaneState::Closed);
        self.core.reject_all()
    }

    fn drain(&self, limit: Duration) -> usize {
        let shared = &self.core;
        let until = shared.clock.now() + limit;
        // What somebody stopped by hand is not sent because somebody else shuts the lane.
        let stopped = if shared.state() == LaneState::Paused { self.close() } else { 0 };
        shared.set_state(LaneState::Draining);
        // A call of this lane that shuts it would wait for itself.
        let own = self.own_worker();
        let is_settled = shared.wait_until_idle(usize::from(own.is_some()), until);
        let refused = stopped + self.close();
        refused + if is_settled { 0 } else { shared.cut_off_all(own) }
    }

    /// Closes the lane for good, and waits for its threads until there is a word from `limit`. Says whether
    /// all are back for which there was reason to wait, and that word is still to come.
    pub(crate) fn close_and_join(&mut self, limit: &Receiver<Instant>) -> bool {
        self.close();
        let own = self.own_worker();
        let _resting = self.core.clock.idle_guard(None);
        let mut threads = std::mem::take(self.workers.get_mut());
        if let Some(own) = own {
            // A worker that drops the lane itself cannot wait for its own end.
            threads.swap_remove(own);
        }
        let away = self.core.in_flight_calls.still_running(own);
        let mut is_over = false;
        let are_back = (away..threads.len()).all(|_| self.wait_for_worker(limit, &mut is_over));
        if !are_back || away > 0 {
            self.core.cut_off_all(own);
        }
        for worker in threads {
            // The others are left to themselves. One that panicked has nothing more to tell.
            if (are_back && away == 0) || worker.is_finished() {
                let _ = worker.join();
            }
        }
        are_back && !is_over
    }

    /// The number of the worker that this thread is, if it is one.
    fn own_worker(&self) -> Option<usize> {
        let me = thread::current().id();
        self.workers.lock().iter().position(|worker| worker.thread().id() == me)
    }

    /// Waits for one more thread to be done. There is one word from `limit`, and `is_over` says that it came.
    fn wait_for_worker(&self, limit: &Receiver<Instant>, is_over: &mut bool) -> bool {
        let is_done = || self.finished_workers.try_recv().is_ok();
        if is_done() {
            return true;
        }
        if *is_over {
            return false;
        }
        select! {
            recv(self.finished_workers) -> word => word.is_ok(),
            recv(limit) -> _ => {
                *is_over = true;
                is_done()
            }
        }
    }

    /// Queues a call. Its answer comes by the ticket, a refusal too.
    ///
    /// `work` runs on a worker thread, when the quota permits. `failure` says what is known of its
    /// result if that is a failure.
    pub(crate) fn submit<R: Send + 'static>(
        &self,
        method: MethodSpec,
        options: &CallOptions,
        work: impl Work<R> + 'static,
        failure: impl Fn(&R) -> Option<Failure> + Send + 'static,
    ) -> Result<Arc<dyn CallHandle<R>>, LaneError> {
        let shared = &self.core;
        let priority = match method.is_exit {
            true => Priority::URGENT,
            false => options.priority.unwrap_or(method.priority),
        };
        let entered = shared.clock.now();
        let mut info = CallMeta {
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            lane: shared.name,
            method: method.name,
            effect: method.effect,
            priority,
            user: options.user.clone(),
            cost: Cost { urgent: priority == Priority::URGENT, ..method.cost },
            route: method.route,
            submitted_at: entered,
            deadline: options.deadline.map(|limit| entered + limit),
            estimated_wait: None,
            attempts: AtomicU32::new(0),
            caller_chain: reentrancy::current_chain(),
            #[cfg(feature = "tracing")]
            caller_span: crate::telemetry::CallerSpan::current(),
        };
        match admission::admit(shared, &info, self.overflow_policy) {
            Ok((place, estimated_wait)) => {
                info.estimated_wait = estimated_wait;
                let task = Arc::new(Task::new(info, place, work, failure));
                shared.observer.notify(|observer| {
                    observer.submitted(&CallHandle::<R>::meta(&*task).to_call_info())
                });
                shared.submit(Arc::clone(&task) as super::queue::priority_level::Job);
                Ok(task)
            }
            Err(reason) => {
                shared.observer.notify(|observer| observer.refused(&info.to_call_info(), &reason));
                Err(info.error(reason))
            }
        }
    }
}

/// What the breaker does that is furthest from closed.
fn worst_state(breakers: &BTreeMap<&'static str, BreakerState>) -> BreakerState {
    let any = |state| breakers.values().any(|known| *known == state);
    [BreakerState::Open, BreakerState::HalfOpen]
        .into_iter()
        .find(|state| any(*state))
        .unwrap_or(BreakerState::Closed)
}

/// How many calls a second the shortest window of a quota allows, if it has one.
fn rate_of(quota: &Quota) -> Option<f64> {
    let shortest = quota.windows().iter().min_by_key(|window| window.length)?;
    Some(f64::from(shortest.limit) / shortest.length.as_secs_f64())
}

impl Drop for Lane {
    fn drop(&mut self) {
        // What waits belongs to tickets: nobody else can hold a lane open.
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
