//! The library half of `#[proxy]`: what the generated code calls.
//!
//! The generated code is thin: it turns borrowed arguments into owned ones and names the lane. Everything
//! else is here, where it can be read and tested without a macro. [`LanesBuilder`] collects the settings of a
//! proxy and starts its lanes, or attaches the proxy to those of another. [`Lanes`] submits each call to its lane: the
//! calls of generated code by indices ([`CallSpec`]), and any closure by names ([`LaneCall`]).

mod build_error;
mod builder;
#[cfg(feature = "responses")]
mod cached;
mod classify;
mod config;
mod has_lanes;
mod lane_call;
mod prerequisite;
mod shared_lanes;

use std::fmt;
use std::sync::Arc;

pub use build_error::BuildError;
pub use builder::LanesBuilder;
#[cfg(feature = "responses")]
pub use cached::{CachedCall, NoPrerequisite};
pub use classify::{Classified, Classify, ErrorProbe, Unclassified};
pub use config::ProxyConfig;
pub use has_lanes::HasLanes;
pub use lane_call::LaneCall;
pub use prerequisite::Prerequisite;

#[cfg(feature = "responses")]
pub use crate::cache::response::{
    CacheArgument, Cacheable, CacheableResponse, ResponseCache, ResponseProbe, UnmeasuredResponse,
};

use self::shared_lanes::ProxyLanes;
use crate::clock::{Clock, Timer};
use crate::lane::{
    BudgetStatus, CallOptions, Lane, LaneError, LaneErrorKind, MethodSpec, OnceWork, Priority,
    RepeatableWork, Shutdown, ShutdownSummary, Status, TaskCall, Ticket, Turn, WindowStatus, Work,
};
use crate::quota::{Budget, BudgetSet, Cost, Moment, PaceSnapshot, QuotaError};
use crate::{Effect, ErrorClass, Failure, Session};

/// The name of the lane in an error about a lane that does not exist.
const NO_SUCH_LANE: &str = "(no such lane)";

/// One method of a proxied trait: its lane, its effect and its cost.
#[derive(Debug, Clone, Copy)]
pub struct CallSpec {
    /// Its lane, as an index into the names given to [`LanesBuilder::new`].
    pub lane: usize,
    /// Its name.
    pub method: &'static str,
    /// Whether it reads or writes.
    pub effect: Effect,
    /// Its priority, from 1 to 10.
    pub priority: u8,
    /// How many slots it takes.
    pub weight: u32,
    /// Its route class: each class has a circuit breaker of its own.
    pub route: &'static str,
    /// Whether it is an exit, and therefore urgent whatever the caller's options say.
    pub exit: bool,
    /// Its budgets, as indices into the names given to [`LanesBuilder::new`].
    pub budgets: &'static [usize],
}

impl CallSpec {
    /// Returns a call of weight 1 and priority 5, charged to its lane alone, in the route class `reads` or
    /// `writes`.
    pub const fn new(lane: usize, method: &'static str, effect: Effect) -> Self {
        let route = match effect {
            Effect::Read => "reads",
            Effect::Write => "writes",
        };
        Self { lane, method, effect, priority: 5, weight: 1, route, exit: false, budgets: &[] }
    }
}

/// The two types of a `Result`, for generated code that has to name them.
pub trait ResultParts {
    /// The value.
    type Value;
    /// The error.
    type Error;
}

impl<R, E> ResultParts for Result<R, E> {
    type Value = R;
    type Error = E;
}

/// The lanes of one proxy, or of several that share them. Cheap to clone.
///
/// Dropping the last clone ends the threads. The drop waits for calls in flight, for at most ten seconds. Callers that
/// still wait then receive an error of unknown outcome, and threads that hang are detached. If other proxies share the
/// lanes, the threads go on for them, and only the queued calls of this proxy are answered as not sent.
#[derive(Clone)]
pub struct Lanes(Arc<ProxyLanes>);

impl Lanes {
    /// Sends a call through its lane, once, and waits for the answer.
    ///
    /// `failure` returns the kind of failure of an error, if known: its [`ErrorClass`], or a whole
    /// [`Failure`].
    ///
    /// # Errors
    /// The error of `work`, or a [`LaneError`] that explains why there is no answer.
    pub fn call_spec<R, E, F>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        work: impl FnOnce() -> Result<R, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        self.submit_spec(call, options, work, failure).wait()
    }

    /// Queues a call and returns at once. The call is sent once.
    pub fn submit_spec<R, E, F>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        work: impl FnOnce() -> Result<R, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        self.enqueue_spec(call, options, OnceWork(Some(work)), failure)
    }

    /// Sends a call like [`call_spec`](Self::call_spec), but the lane may repeat it, as its
    /// [`RetryPolicy`](crate::resilience::RetryPolicy) allows.
    ///
    /// # Errors
    /// The error of the last attempt, or a [`LaneError`] that explains why there is no answer.
    pub fn call_spec_repeatable<R, E, F>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        work: impl FnMut() -> Result<R, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        self.submit_spec_repeatable(call, options, work, failure).wait()
    }

    /// Queues a call like [`submit_spec`](Self::submit_spec), but the lane may repeat it.
    pub fn submit_spec_repeatable<R, E, F>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        work: impl FnMut() -> Result<R, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        self.enqueue_spec(call, options, RepeatableWork(work), failure)
    }

    /// Sends a call like [`call_spec_repeatable`](Self::call_spec_repeatable), once another call has succeeded that it needs
    /// first, if any. `first` is the moment at which the call began, and the other call. The call is queued after
    /// that, and its deadline spans both.
    ///
    /// # Errors
    /// The error of the other call, that of the last attempt, or a [`LaneError`] that explains why there is no answer.
    pub fn call_spec_after<R, E, F, P>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        (begun, first): (Moment, Option<P>),
        work: impl FnMut() -> Result<R, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
        P: Prerequisite<E>,
    {
        if first.is_none() {
            return self.call_spec_repeatable(call, options, work, failure);
        }
        let options = self.await_first(call, options, (begun, first))?;
        self.call_spec_repeatable(call, &options, work, failure)
    }

    /// Waits for the call that `call` needs first, if any. Returns the options with what is left of the deadline.
    fn await_first<E: From<LaneError>, P: Prerequisite<E>>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        (begun, first): (Moment, Option<P>),
    ) -> Result<CallOptions, E> {
        let Some(first) = first else { return Ok(options.clone()) };
        let deadline = options.deadline.map(|deadline| begun + deadline);
        let result = first.wait(self.clock(), deadline);
        self.options_left(&call, options, begun, result)
    }

    /// Returns the options of a call with what is left of its deadline, once what it needs first has the result `first`, or
    /// the error if that failed. `None`: the deadline passed meanwhile.
    fn options_left<E: From<LaneError>>(
        &self,
        call: &CallSpec,
        options: &CallOptions,
        begun: Moment,
        first: Option<Result<(), E>>,
    ) -> Result<CallOptions, E> {
        let waited = self.clock().now().since(begun);
        match first {
            Some(result) => result?,
            None => return Err(self.error(call, LaneErrorKind::DeadlinePassed { waited }).into()),
        }
        let deadline = options.deadline.map(|deadline| deadline.saturating_sub(waited));
        Ok(CallOptions { deadline, ..options.clone() })
    }

    fn error(&self, call: &CallSpec, kind: LaneErrorKind) -> LaneError {
        let lane = self.lane_of(call).map_or(NO_SUCH_LANE, Lane::name);
        LaneError { lane, method: call.method, effect: call.effect, kind }
    }

    fn enqueue_spec<R, E, F>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        work: impl Work<Result<R, E>> + 'static,
        failure: impl Fn(&E) -> Option<F> + Send + 'static,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        match self.method(&call) {
            Ok(method) => self.enqueue(method, options, work, failure),
            Err(error) => Ticket::refused(error),
        }
    }

    /// Makes an asynchronous call on the task of its caller, as [`run`](Self::run) does.
    ///
    /// # Errors
    /// The error of the last attempt, or a [`LaneError`] that explains why there is no answer.
    pub async fn run_spec<R, E, F, A>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        attempt: impl FnMut() -> A,
        failure: fn(&E) -> Option<F>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
        A: Future<Output = Result<R, E>>,
    {
        let failure = failure_of(call.effect, failure);
        let method = self.method(&call)?;
        let call = self.enqueue_task_call::<_, _, true>(method, options, failure)?;
        call.run(attempt).await
    }

    /// Makes an asynchronous call like [`run_spec`](Self::run_spec), once: the lane never repeats it.
    ///
    /// # Errors
    /// As [`run_spec`](Self::run_spec).
    pub async fn run_spec_once<R, E, F, A>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        attempt: impl FnOnce() -> A,
        failure: fn(&E) -> Option<F>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
        A: Future<Output = Result<R, E>>,
    {
        let failure = failure_of(call.effect, failure);
        let method = self.method(&call)?;
        let call = self.enqueue_task_call::<_, _, false>(method, options, failure)?;
        call.run_once(async move { attempt().await }).await
    }

    /// Waits for what a call needs first: the future that the method of the key `first` returns. Returns the options with what is
    /// left of the deadline.
    ///
    /// # Errors
    /// The error of `first`, or [`LaneErrorKind::DeadlinePassed`].
    pub async fn options_after<E>(
        &self,
        call: CallSpec,
        options: &CallOptions,
        first: impl Future<Output = Result<(), E>>,
    ) -> Result<CallOptions, E>
    where
        E: From<LaneError>,
    {
        let begun = self.clock().now();
        let deadline = options.deadline.map(|deadline| begun + deadline);
        let result = self.timer().within(deadline, first).await;
        self.options_left(&call, options, begun, result)
    }

    /// Returns what the lane has to know of a call.
    fn method(&self, call: &CallSpec) -> Result<MethodSpec, LaneError> {
        let CallSpec { lane, method: name, effect, priority, weight, budgets, route, exit } = *call;
        let mut charged = BudgetSet::EMPTY;
        let is_known = |own: &usize| charged.insert(self.0.budget_index(*own));
        if !budgets.iter().all(is_known) {
            // Only hand-written code can get here, since the macro counts its own budgets. A budget that does not
            // exist never has room.
            return Err(self.error(call, LaneErrorKind::TooHeavy));
        }
        let cost = Cost { lane: self.0.lane_index(lane), budgets: charged, weight, urgent: false };
        let priority = Priority::nearest(priority);
        Ok(MethodSpec { name, effect, priority, cost, route, is_exit: exit })
    }

    /// Queues a call, whose lane and budgets are given by their indices among the shared ones.
    fn enqueue<R, E, F>(
        &self,
        method: MethodSpec,
        options: &CallOptions,
        work: impl Work<Result<R, E>> + 'static,
        failure: impl Fn(&E) -> Option<F> + Send + 'static,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        let lane = match self.lane_for(&method) {
            Ok(lane) => lane,
            Err(error) => return Ticket::refused(error),
        };
        let failure = failure_of(method.effect, failure);
        match lane.submit(&self.0.attachment, method, options, work, failure) {
            Ok(call) => Ticket::new(call, Arc::clone(lane.core())),
            Err(error) => Ticket::refused(error),
        }
    }

    /// Queues a call like [`enqueue`](Self::enqueue), or lets its caller make it.
    fn enqueue_or_begin<R, E, F>(
        &self,
        method: MethodSpec,
        options: &CallOptions,
        work: impl Work<Result<R, E>> + 'static,
        failure: impl Fn(&E) -> Option<F> + Send + 'static,
    ) -> (Ticket<R, E>, Option<Turn<R, E>>)
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
        F: Into<Failure> + 'static,
    {
        let lane = match self.lane_for(&method) {
            Ok(lane) => lane,
            Err(error) => return (Ticket::refused(error), None),
        };
        let failure = failure_of(method.effect, failure);
        lane.submit_or_begin(&self.0.attachment, method, options, work, failure)
    }

    /// Queues a call that its task makes, once or again for a retry.
    fn enqueue_task_call<R, E, const IS_REPEATABLE: bool>(
        &self,
        method: MethodSpec,
        options: &CallOptions,
        failure: impl Fn(&Result<R, E>) -> Option<Failure> + Send + 'static,
    ) -> Result<TaskCall<R, E>, LaneError>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
    {
        let lane = self.lane_for(&method)?;
        lane.submit_task_call::<_, _, IS_REPEATABLE>(&self.0.attachment, method, options, failure)
    }

    fn lane_for(&self, method: &MethodSpec) -> Result<&Lane, LaneError> {
        let MethodSpec { name, effect, cost, .. } = *method;
        self.0.shared.lanes.get(cost.lane).ok_or_else(|| {
            // Only hand-written code can get here, since the macro counts its own lanes.
            let (lane, kind) = (NO_SUCH_LANE, LaneErrorKind::Closed);
            LaneError { lane, method: name, effect, kind }
        })
    }

    /// Returns the lane `name`, for example to pause it or to change its quota. A generated proxy also has a method
    /// for each of its lanes, as in [`BrokerProxy::quote_lane`](crate::BrokerProxy::quote_lane).
    pub fn lane(&self, name: &str) -> Option<&Lane> {
        self.0.shared.lanes.iter().find(|lane| lane.name() == name)
    }

    fn lane_of(&self, call: &CallSpec) -> Option<&Lane> {
        self.0.shared.lanes.get(self.0.lane_index(call.lane))
    }

    /// Returns the lane at `index` in the names given to [`LanesBuilder::new`].
    ///
    /// # Panics
    /// There is no lane at `index`.
    pub fn at(&self, index: usize) -> &Lane {
        &self.0.shared.lanes[self.0.lane_index(index)]
    }

    /// Replaces the budget `name`, effective at once. Slots that were used stay used.
    ///
    /// # Errors
    /// The budget cannot be kept, and the old one stays; or no budget has that name.
    pub fn set_budget(&self, name: &str, budget: &Budget) -> Result<(), QuotaError> {
        let Some(index) = self.0.shared.budgets.iter().position(|known| *known == name) else {
            let (name, known) = (name.to_owned(), builder::join_names(self.0.shared.budgets));
            return Err(QuotaError::UnknownBudget { name, known });
        };
        let changed = {
            let (mut pacing, now) = self.0.shared.pacing.lock_with_fresh_wall_clock();
            budget.check()?;
            if let Some(source) = self.0.shared.pacing.source() {
                source.set_budget(index, budget)?;
            }
            pacing.set_budget(index, budget, now)
        };
        self.0.shared.pacing.wake_all();
        changed
    }

    /// Returns what was used of the quotas, for a proxy that replaces this one. See [`PaceSnapshot`]. Shut the
    /// lanes down first: the new proxy counts a call that is still in flight from its beginning on.
    pub fn pace_snapshot(&self) -> PaceSnapshot {
        let lanes: Vec<_> = self.names().collect();
        let (mut pacing, _) = self.0.shared.pacing.lock_with_fresh_wall_clock();
        pacing.save(&lanes, self.0.shared.budgets, self.0.shared.clock.wall_clock())
    }

    /// Returns a point-in-time snapshot of the lanes and budgets.
    pub fn status(&self) -> Status {
        let lanes = self.0.shared.lanes.iter().map(Lane::status).collect();
        let (mut pacing, now) = self.0.shared.pacing.lock();
        let of = |(index, &budget): (usize, &&'static str)| {
            let windows = pacing.budget_use(index, now);
            let reserve = pacing.reserve(index);
            let windows = windows.iter().map(|used| WindowStatus::new(used, reserve, now));
            BudgetStatus::new(budget, windows.collect())
        };
        let budgets = self.0.shared.budgets.iter().enumerate().map(of).collect();
        let shared = self.0.shared.pacing.source().map(|source| source.status());
        let status = Status::new(lanes, budgets, self.0.shared.session.is_expired(), shared);
        #[cfg(feature = "responses")]
        let status = Status { responses: self.response_stats(), ..status };
        status
    }

    /// Shuts the proxy down, in one lane after the other in the order of the trait. A time limit applies to each lane.
    ///
    /// If other proxies share the lanes, the lanes go on for them. The calls of this proxy are refused from then on,
    /// and its queued calls are answered. The last proxy that is shut down or dropped closes the lanes.
    ///
    /// It blocks its thread until the calls under way have ended, and those of tasks end only if their tasks are polled. In
    /// asynchronous code, call it where blocking is allowed (`spawn_blocking` of tokio), on a runtime with several threads. On
    /// one with a single thread, first await the tasks, then shut down with [`Shutdown::Now`]: [`Shutdown::Drain`] would
    /// wait for its whole limit, and the calls of the tasks would end as cut off.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        self.0.shutdown(how)
    }

    /// Returns the clock that paces the lanes.
    pub fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    /// Returns the timer for tasks that wait for something else than their turn.
    pub(crate) fn timer(&self) -> &Timer {
        &self.0.shared.timer
    }

    /// Returns the account of which the quotas are shared with other processes, if they are.
    #[cfg(feature = "redis")]
    pub(crate) fn shared_quota(&self) -> Option<&crate::SharedQuota> {
        self.0.shared.shared_quota.as_ref()
    }

    /// Returns the session that the calls are made in: the one given to the builder, or the adapter's. If there is
    /// neither, the session never expires. Refused credentials then fail only the call in question: the other
    /// calls are not held, since no renewal would ever release them.
    pub fn session(&self) -> &Session {
        &self.0.shared.session
    }

    /// Returns the names of the lanes, in the order in which the trait of the proxy that started them names them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.shared.lanes.iter().map(Lane::name)
    }
}

/// Returns what is known of the failure of a result, given what is known of an error.
fn failure_of<R, E, F: Into<Failure>>(
    effect: Effect,
    failure: impl Fn(&E) -> Option<F>,
) -> impl Fn(&Result<R, E>) -> Option<Failure> {
    let unknown = Failure::from(ErrorClass::unknown(effect));
    move |result: &Result<R, E>| {
        let error = result.as_ref().err()?;
        Some(match failure(error).map(Into::into) {
            // A write whose answer cannot be decoded may have been executed.
            Some(Failure { class: ErrorClass::Malformed, reachability, throttling, .. })
                if effect == Effect::Write =>
            {
                unknown.with_reachability(reachability).with_throttling(throttling)
            }
            known => known.unwrap_or(unknown),
        })
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use std::time::Duration;

    use crossbeam_channel::after;

    use super::*;
    use crate::lane::{DROP_TIMEOUT, LaneConfig};
    use crate::quota::{Limits, Quota};

    /// The lanes were not shut down before. The time limit of a drop is in real time, so it is short here.
    #[test]
    fn dropped_lanes_do_not_wait_for_ever_for_a_broker_that_never_returns() {
        let mut builder = LanesBuilder::new("Test", &["one", "other"], &[]);
        (0..2).for_each(|lane| builder.lane(lane, LaneConfig::new(Quota::unlimited())));
        let mut lanes = builder.build(Limits::new()).unwrap();
        let (begun, began) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let never = move || {
            begun.send(()).unwrap();
            gone.recv().map_err(|_| LaneError {
                lane: "one",
                method: "write",
                effect: Effect::Write,
                kind: LaneErrorKind::AlreadyTaken,
            })
        };
        let call = CallSpec::new(0, "write", Effect::Write);
        let ticket = lanes.submit_spec(call, &CallOptions::new(), never, |_| None::<ErrorClass>);
        began.recv().unwrap();
        let attached = Arc::get_mut(&mut lanes.0).unwrap();
        let inner = Arc::get_mut(&mut attached.shared).unwrap();
        assert!(!inner.lanes[0].close_and_join(&after(Duration::from_millis(1))));
        assert!(inner.lanes[1].close_and_join(&after(DROP_TIMEOUT)));
        assert_eq!(ticket.wait().unwrap_err().kind, LaneErrorKind::CutOff);
        drop(lanes);
        drop(go);
    }
}
