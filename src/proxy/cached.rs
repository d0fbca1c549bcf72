//! What a method with `cache` expands against: a lookup, and on a miss a fetch through the lane.
//!
//! The response cache knows nothing of lanes' names and methods. Here a call gets its key, its limits, and its place
//! among the callers of the same key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{CallSpec, Lanes, Prerequisite, ResultParts};
use crate::Failure;
use crate::cache::ResponseCache;
use crate::cache::response::{
    CacheArgument, Cacheable, CallKey, Flight, FlightRequest, Measure, ResponseLookup, TaskRole,
};
use crate::clock::Clock;
use crate::lane::{
    CallOptions, Lane, LaneError, LaneErrorKind, Priority, ResponseStats, is_within_call,
};
use crate::quota::Moment;

/// A prerequisite that no call has.
#[derive(Debug)]
pub enum NoPrerequisite {}

impl<E> Prerequisite<E> for NoPrerequisite {
    fn wait(&self, _: &Clock, _: Option<Moment>) -> Option<Result<(), E>> {
        match *self {}
    }
}

type ValueOf<R> = <R as ResultParts>::Value;
type ErrorOf<R> = <R as ResultParts>::Error;

/// One call of a method with `cache`. `A` are its arguments, as a tuple, and `R` is its `Result`.
pub struct CachedCall<'a, A, R: ResultParts> {
    lanes: &'a Lanes,
    spec: CallSpec,
    options: &'a CallOptions,
    key: CallKey<A, ValueOf<R>, ErrorOf<R>>,
    /// `None` if the answer to this call is not kept.
    lookup: Option<ResponseLookup>,
    begun: Moment,
}

impl Lanes {
    /// Returns the response cache of the proxy.
    pub fn responses(&self) -> &ResponseCache {
        &self.0.responses
    }

    pub(super) fn response_stats(&self) -> Option<ResponseStats> {
        let cache = self.responses();
        cache.is_used().then(|| cache.stats())
    }

    fn lane_at(&self, index: usize) -> Option<&Lane> {
        self.0.shared.lanes.get(self.0.lane_index(index))
    }

    /// Returns whether the answers of the method are kept.
    pub fn caches(&self, method: &str) -> bool {
        self.responses().method(method).is_some()
    }

    /// Returns a call of a method whose answers can be kept, and for how long its answer may be kept: `None` if it may
    /// not.
    pub fn cached_call<'a, A, R>(
        &'a self,
        spec: CallSpec,
        options: &'a CallOptions,
        keep_for: Option<Duration>,
        args: A,
    ) -> CachedCall<'a, A, R>
    where
        A: CacheArgument,
        R: ResultParts<Value: Cacheable, Error: Cacheable>,
    {
        let known = keep_for.and_then(|limit| {
            let (method, ttl) = self.responses().method(spec.method)?;
            let ttl = ttl.min(limit);
            (!ttl.is_zero()).then(|| ResponseLookup {
                method,
                ttl,
                max_age: options.max_age.unwrap_or(Duration::MAX),
            })
        });
        let key = CallKey::new(known.map_or(0, |known| known.method), args);
        CachedCall { lanes: self, spec, options, key, lookup: known, begun: self.clock().now() }
    }
}

impl<A, R> CachedCall<'_, A, R>
where
    A: CacheArgument,
    R: ResultParts<Value: Cacheable, Error: Cacheable + From<LaneError>>,
{
    /// Returns the answer, if it is kept and young enough.
    pub fn get(&self) -> Option<ValueOf<R>> {
        self.lanes.responses().get(&self.key, self.lookup?, self.begun)
    }

    /// Returns the moment at which the call began.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// Fetches the answer, or waits for the fetch of another caller.
    ///
    /// `first` is another call that must succeed before. `measure` returns what the arguments and the answer hold on the
    /// heap, in bytes, and whether the answer may be kept.
    ///
    /// # Errors
    /// The error of `first` or of `work`, or a [`LaneError`] that explains why there is no answer.
    pub fn fetch<P, F>(
        self,
        first: Option<P>,
        work: impl FnMut(&A) -> Result<ValueOf<R>, ErrorOf<R>> + Send + 'static,
        failure: fn(&ErrorOf<R>) -> Option<F>,
        measure: Measure<A, ValueOf<R>>,
    ) -> Result<ValueOf<R>, ErrorOf<R>>
    where
        P: Prerequisite<ErrorOf<R>>,
        F: Into<Failure> + 'static,
    {
        let Self { lanes, spec, options, key, lookup, begun } = self;
        let Some(lookup) = lookup else {
            let (args, mut work) = (key.into_args(), work);
            return lanes.call_spec_after(
                spec,
                options,
                (begun, first),
                move || work(&args),
                failure,
            );
        };
        let options = lanes.await_first(spec, options, (begun, first))?;
        let call = SharedCall { lanes, spec, options, lookup, begun, measure };
        // A fetch that is shared may need the worker that such a call holds.
        match is_within_call() {
            true => call.fetch_alone(&key, work, failure),
            false => call.fetch_shared(&key, work, failure),
        }
    }
}

impl<A, R> CachedCall<'_, A, R>
where
    A: CacheArgument,
    R: ResultParts<Value: Cacheable, Error: Cacheable + From<LaneError>>,
{
    /// Fetches the answer on the caller's task, as [`Lanes::run`] makes a call, or waits for the fetch of another task.
    ///
    /// `first` is what must succeed before. `measure` is as for [`fetch`](Self::fetch).
    ///
    /// If the task that fetches leaves, at its deadline or because it is dropped, or if it is woken and not polled for a second,
    /// another one that waits fetches anew. So deadlines that are shorter than the broker takes get no answer at all.
    ///
    /// # Errors
    /// The error of `first` or of `attempt`, or a [`LaneError`] that explains why there is no answer.
    pub async fn run<F, T>(
        self,
        first: impl Future<Output = Result<(), ErrorOf<R>>>,
        attempt: impl FnMut() -> T,
        failure: fn(&ErrorOf<R>) -> Option<F>,
        measure: Measure<A, ValueOf<R>>,
    ) -> Result<ValueOf<R>, ErrorOf<R>>
    where
        F: Into<Failure> + 'static,
        T: Future<Output = Result<ValueOf<R>, ErrorOf<R>>>,
    {
        let Self { lanes, spec, options, key, lookup, begun } = self;
        let options = lanes.options_after(spec, options, first).await?;
        let Some(lookup) = lookup else {
            return lanes.run_spec(spec, &options, attempt, failure).await;
        };
        let call = SharedCall { lanes, spec, options, lookup, begun, measure };
        // A fetch that is shared may need the slots that such a call holds.
        match is_within_call() {
            true => call.run_alone(&key, attempt, failure).await,
            false => call.run_shared(&key, attempt, failure).await,
        }
    }
}

impl<A, R: ResultParts> fmt::Debug for CachedCall<'_, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedCall").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A call whose answer is not in memory.
struct SharedCall<'a, A, V> {
    lanes: &'a Lanes,
    spec: CallSpec,
    options: CallOptions,
    lookup: ResponseLookup,
    begun: Moment,
    measure: Measure<A, V>,
}

impl<A: CacheArgument, V: Cacheable> SharedCall<'_, A, V> {
    /// Waits for the flight of this key, or starts one if there is none that the caller may join.
    fn fetch_shared<E, F>(
        self,
        key: &CallKey<A, V, E>,
        work: impl FnMut(&A) -> Result<V, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Result<V, E>
    where
        E: Cacheable + From<LaneError>,
        F: Into<Failure> + 'static,
    {
        let Self { lanes, ref spec, ref options, lookup, measure, .. } = self;
        let clock = lanes.clock();
        let deadline = options.deadline.map(|deadline| clock.now() + deadline);
        let priority = self.priority();
        let mut work = Some(work);
        loop {
            let request = FlightRequest { lookup, priority, now: clock.now() };
            let (flight, leads) = Flight::join(lanes.responses(), key, request, measure);
            let was_sent = flight.sent_at().is_some();
            let mut waiter = Waiter { flight, is_started: !leads, spec };
            if let Some(work) = work.take_if(|_| leads) {
                let work = on_flight(Arc::clone(&waiter.flight), work);
                let options = self.options_of_flight();
                waiter.flight.start(lanes.submit_spec_repeatable(*spec, &options, work, failure));
                waiter.is_started = true;
            }
            let sent_at = || waiter.flight.sent_at();
            let Some(answer) = waiter.flight.wait(deadline) else { return self.leave(sent_at()) };
            if answer.is_err() || !self.is_too_old(was_sent, sent_at()) {
                return (*answer).clone();
            }
        }
    }

    /// Fetches the answer by a call of its own, with the options of its caller, and keeps it.
    fn fetch_alone<E, F>(
        self,
        key: &CallKey<A, V, E>,
        mut work: impl FnMut(&A) -> Result<V, E> + Send + 'static,
        failure: fn(&E) -> Option<F>,
    ) -> Result<V, E>
    where
        E: Cacheable + From<LaneError>,
        F: Into<Failure> + 'static,
    {
        let Self { lanes, spec, ref options, .. } = self;
        lanes.responses().count_miss();
        let epoch = lanes.responses().epoch(self.lookup.method);
        let sent_at = Arc::new(AtomicU64::new(0));
        let (key, sent, clock) = (key.to_shared(), Arc::clone(&sent_at), lanes.clock().clone());
        let args = Arc::clone(&key);
        let work = move || {
            sent.store(clock.now().as_nanos(), Ordering::Release);
            work(args.args())
        };
        let result = lanes.call_spec_repeatable(spec, options, work, failure);
        let sent = Moment::from_nanos(sent_at.load(Ordering::Acquire));
        self.keep(&key, result, (sent, epoch))
    }

    /// Waits for the fetch of this key, or makes the call for all that wait.
    async fn run_shared<E, F, T>(
        self,
        key: &CallKey<A, V, E>,
        mut attempt: impl FnMut() -> T,
        failure: fn(&E) -> Option<F>,
    ) -> Result<V, E>
    where
        E: Cacheable + From<LaneError>,
        F: Into<Failure> + 'static,
        T: Future<Output = Result<V, E>>,
    {
        let Self { lanes, ref spec, ref options, lookup, measure, .. } = self;
        let clock = lanes.clock();
        let deadline = options.deadline.map(|deadline| clock.now() + deadline);
        let (priority, shared_options) = (self.priority(), self.options_of_flight());
        loop {
            let request = FlightRequest { lookup, priority, now: clock.now() };
            let follower = match TaskRole::join(lanes.responses(), key, request) {
                TaskRole::Follows(follower) => follower,
                TaskRole::Leads(leader) => {
                    let attempt = || {
                        leader.on_send();
                        attempt()
                    };
                    let call = lanes.run_spec(*spec, &shared_options, attempt, failure);
                    return match lanes.timer().within(deadline, leader.lead(call)).await {
                        Some(result) => (*leader.complete(result, measure)).clone(),
                        None => self.leave(leader.sent_at()),
                    };
                }
            };
            match lanes.timer().within(deadline, follower.wait(lanes.timer())).await {
                None => return self.leave(follower.sent_at()),
                // A task whose wait is over begins no fetch.
                Some(None) if deadline.is_some_and(|deadline| clock.now() >= deadline) => {
                    return self.leave(follower.sent_at());
                }
                Some(None) => {}
                Some(Some(answer)) => {
                    let is_old = self.is_too_old(follower.was_sent(), follower.sent_at());
                    if answer.is_err() || !is_old {
                        return (*answer).clone();
                    }
                }
            }
        }
    }

    /// Returns the answer to a caller whose deadline has passed while it waited for a fetch.
    fn leave<E: From<LaneError>>(&self, sent_at: Option<Moment>) -> Result<V, E> {
        let waited = self.lanes.clock().now().since(self.begun);
        let kind = match sent_at {
            Some(_) => LaneErrorKind::Unanswered,
            None => LaneErrorKind::DeadlinePassed { waited },
        };
        Err(self.lanes.error(&self.spec, kind).into())
    }

    /// Returns whether an answer is too old by now, although it was young enough when the caller joined its fetch. `was_sent`:
    /// its request had been sent by then.
    fn is_too_old(&self, was_sent: bool, sent_at: Option<Moment>) -> bool {
        let limit = self.lookup.max_age.min(self.lookup.ttl);
        let is_old = |sent| sent < self.begun && self.lanes.clock().now().since(sent) > limit;
        was_sent && sent_at.is_some_and(is_old)
    }

    /// Makes the call with the options of its caller, and keeps the answer.
    async fn run_alone<E, F, T>(
        self,
        key: &CallKey<A, V, E>,
        mut attempt: impl FnMut() -> T,
        failure: fn(&E) -> Option<F>,
    ) -> Result<V, E>
    where
        E: Cacheable + From<LaneError>,
        F: Into<Failure> + 'static,
        T: Future<Output = Result<V, E>>,
    {
        let Self { lanes, spec, ref options, .. } = self;
        lanes.responses().count_miss();
        let epoch = lanes.responses().epoch(self.lookup.method);
        let sent_at = AtomicU64::new(0);
        let attempt = || {
            sent_at.store(lanes.clock().now().as_nanos(), Ordering::Relaxed);
            attempt()
        };
        let result = lanes.run_spec(spec, options, attempt, failure).await;
        let sent = Moment::from_nanos(sent_at.load(Ordering::Relaxed));
        self.keep(&key.to_shared(), result, (sent, epoch))
    }

    /// Keeps an answer, and returns it.
    fn keep<E: Cacheable>(
        &self,
        key: &Arc<CallKey<A, V, E>>,
        result: Result<V, E>,
        (sent, epoch): (Moment, u64),
    ) -> Result<V, E> {
        let cache = self.lanes.responses();
        let answer = Arc::new(result);
        match &*answer {
            Ok(value) => {
                let (heap_bytes, is_cacheable) = (self.measure)(key.args(), value);
                if is_cacheable {
                    let answer = Arc::clone(&answer);
                    cache.insert(key, self.lookup, answer, (sent, epoch), heap_bytes);
                }
            }
            Err(_) => cache.count_failure(),
        }
        Arc::try_unwrap(answer).unwrap_or_else(|shared| (*shared).clone())
    }

    fn priority(&self) -> u8 {
        let Self { spec, options, .. } = self;
        match spec.exit {
            true => Priority::URGENT.get(),
            false => options.priority.map_or(spec.priority, Priority::get),
        }
    }

    /// Returns the options of a fetch that others share: neither the user nor the deadline of this caller.
    fn options_of_flight(&self) -> CallOptions {
        let lane = self.lanes.lane_at(self.spec.lane);
        // Blocked at a full queue, the leader could not leave at its deadline.
        let is_over_limit = lane.is_some_and(Lane::blocks_when_full);
        CallOptions { priority: self.options.priority, is_over_limit, ..CallOptions::new() }
    }
}

/// Returns the work of the leader, which records when it is sent.
fn on_flight<A, V, E>(
    flight: Arc<Flight<A, V, E>>,
    mut work: impl FnMut(&A) -> Result<V, E> + Send + 'static,
) -> impl FnMut() -> Result<V, E> + Send + 'static
where
    A: CacheArgument,
    V: Cacheable,
    E: Cacheable + From<LaneError>,
{
    move || {
        flight.on_send();
        work(flight.args())
    }
}

/// A caller that waits for a flight.
struct Waiter<'a, A: CacheArgument, V: Cacheable, E: Cacheable + From<LaneError>> {
    flight: Arc<Flight<A, V, E>>,
    is_started: bool,
    spec: &'a CallSpec,
}

impl<A, V, E> Drop for Waiter<'_, A, V, E>
where
    A: CacheArgument,
    V: Cacheable,
    E: Cacheable + From<LaneError>,
{
    fn drop(&mut self) {
        if !self.is_started {
            // The leader panicked while it submitted the call.
            let CallSpec { method, effect, .. } = *self.spec;
            let error = LaneError { lane: "", method, effect, kind: LaneErrorKind::Cancelled };
            self.flight.fail(error);
        }
        self.flight.leave();
    }
}
