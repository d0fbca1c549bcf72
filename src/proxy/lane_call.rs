//! Calls without a trait: any closure, by the names of its lane and budgets.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use super::{Classify, Lanes, NO_SUCH_LANE, builder, failure_of};
use crate::Effect;
use crate::lane::{
    CallOptions, LaneError, LaneErrorKind, MethodSpec, OnceWork, Priority, RepeatableWork, Ticket,
    Turn, Work,
};
use crate::quota::{BudgetSet, Cost};

/// What the lanes have to know of a call that no trait declares: its lane and budgets, by their names, and its effect.
///
/// It has the meaning of the keys of `#[lane(..)]` at a method of a trait. Send it with [`Lanes::call`], [`Lanes::submit`] or,
/// from a task, [`Lanes::run`].
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use lanekeeper::broker::{BrokerError, lanes};
/// use lanekeeper::{BrokerProxy, CallOptions, LaneCall, PaperBroker};
///
/// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
///     .order_guard(|guard| guard)
///     .build()?;
/// // An endpoint that `Broker` lacks, in the lane and the budget of orders.
/// let call = LaneCall::write(lanes::TRANSACTIONAL).budget(lanes::ORDERS).name("place_basket");
/// let ticket = broker.lanes().submit(&call, &CallOptions::new().user("alpha"), || {
///     Ok::<_, BrokerError>("basket-1")
/// });
/// assert_eq!(ticket.wait()?, "basket-1");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCall {
    lane: Cow<'static, str>,
    budgets: Vec<Cow<'static, str>>,
    name: &'static str,
    effect: Effect,
    priority: Priority,
    weight: u32,
    route: &'static str,
    is_exit: bool,
}

const DEFAULT_NAME: &str = "call";

impl LaneCall {
    /// Returns a call that changes nothing at the broker. It may be repeated after a transient error.
    pub fn read(lane: impl Into<Cow<'static, str>>) -> Self {
        Self::new(lane.into(), Effect::Read, "reads")
    }

    /// Returns a call that changes something at the broker. It is repeated only if it was certainly not executed.
    pub fn write(lane: impl Into<Cow<'static, str>>) -> Self {
        Self::new(lane.into(), Effect::Write, "writes")
    }

    fn new(lane: Cow<'static, str>, effect: Effect, route: &'static str) -> Self {
        let (priority, name) = (Priority::default(), DEFAULT_NAME);
        Self { lane, budgets: Vec::new(), name, effect, priority, weight: 1, route, is_exit: false }
    }

    /// Sets the name of the call, for errors, observers, metrics and spans, where a trait has the name of the method.
    /// The default is `call`.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the name of the call, unless it has one.
    pub(crate) fn name_unless_set(self, name: &'static str) -> Self {
        if self.name == DEFAULT_NAME { self.name(name) } else { self }
    }

    /// Charges the call to one more budget.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Cow<'static, str>>) -> Self {
        self.budgets.push(budget.into());
        self
    }

    /// Sets the priority, which the [options](CallOptions::priority) of a call precede. The default is 5.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how many calls this one counts as. The default is 1, and 0 counts as 1.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the route class, which has a circuit breaker of its own. The default is `reads` or `writes`.
    #[must_use]
    pub fn route_class(mut self, route: &'static str) -> Self {
        self.route = route;
        self
    }

    /// Marks the call as an exit, which is urgent whatever the options say, as a cancellation is.
    #[must_use]
    pub fn exit(mut self) -> Self {
        self.is_exit = true;
        self.priority = Priority::URGENT;
        self
    }

    /// Returns the name of its lane.
    pub fn lane_name(&self) -> &str {
        &self.lane
    }

    /// Returns the names of its budgets.
    pub fn budget_names(&self) -> impl Iterator<Item = &str> {
        self.budgets.iter().map(AsRef::as_ref)
    }

    /// Returns its name.
    pub fn call_name(&self) -> &'static str {
        self.name
    }

    /// Returns whether it reads or writes.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns its priority, unless the options of a call say otherwise.
    pub fn call_priority(&self) -> Priority {
        self.priority
    }

    /// Returns its route class, which has a circuit breaker of its own.
    pub fn route_class_name(&self) -> &'static str {
        self.route
    }

    /// Returns whether it is an exit, which is urgent whatever the options say.
    pub fn is_exit(&self) -> bool {
        self.is_exit
    }

    fn error(&self, kind: LaneErrorKind) -> LaneError {
        LaneError { lane: NO_SUCH_LANE, method: self.name, effect: self.effect, kind }
    }
}

/// Calls without a trait. They have the same lanes, budgets, users, deadlines, retries, breakers and observers as the
/// calls of the proxy.
impl Lanes {
    /// Sends a call through its lane and waits for the answer. The lane may repeat it, as its
    /// [`RetryPolicy`](crate::resilience::RetryPolicy) allows.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{Broker, BrokerError};
    /// use lanekeeper::{BrokerProxy, CallOptions, LaneCall, PaperBroker};
    ///
    /// let paper = PaperBroker::builder().build()?;
    /// let broker = BrokerProxy::builder(paper.clone()).build()?;
    /// let call = LaneCall::read("transactional").name("open_orders");
    /// let open = broker.lanes().call(&call, &CallOptions::new(), move || {
    ///     Ok::<_, BrokerError>(paper.orders()?.len())
    /// })?;
    /// assert_eq!(open, 0);
    ///
    /// let wrong = LaneCall::read("transaction");
    /// let error = broker.lanes().call(&wrong, &CallOptions::new(), || Ok::<_, BrokerError>(()));
    /// assert!(error.unwrap_err().to_string().contains("there is no lane `transaction`"));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error of the last attempt, or a [`LaneError`] that explains why there is no answer. Its kind is
    /// [`LaneErrorKind::UnknownName`] if the call names a lane or a budget that does not exist.
    pub fn call<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnMut() -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
    {
        self.submit(call, options, work).wait()
    }

    /// Queues a call like [`call`](Self::call) and returns at once.
    pub fn submit<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnMut() -> Result<R, E> + Send + 'static,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
    {
        self.submit_named(call, options, RepeatableWork(work))
    }

    /// Queues a call like [`submit`](Self::submit), but its closure runs once, so the lane never repeats it.
    pub fn submit_once<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnOnce() -> Result<R, E> + Send + 'static,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
    {
        self.submit_named(call, options, OnceWork(Some(work)))
    }

    /// Queues a call like [`submit`](Self::submit). But if no call waits in the lane and this one may be sent now, its caller
    /// makes it: it gets a [`Turn`], and no thread is woken. An asynchronous caller polls its own future by that, so its
    /// call costs no thread either.
    ///
    /// `work` makes the call in all other cases: when it was queued, and for a retry. No turn is given later.
    ///
    /// The ticket may be answered before the turn has ended, if the lanes are shut down meanwhile. A caller that waits for
    /// both one after the other, as below, learns of that only at the end of its call. Where the lane's
    /// [`when_full`](crate::LaneConfig::when_full) is [`Block`](crate::lane::OverflowPolicy::Block), this function blocks the
    /// thread as long as the queue is full.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{Broker, BrokerError};
    /// use lanekeeper::{BrokerProxy, CallOptions, LaneCall, PaperBroker};
    ///
    /// # let block_on = |future: std::pin::Pin<Box<dyn Future<Output = _>>>| {
    /// #     let waker = std::task::Waker::noop();
    /// #     let mut future = future;
    /// #     while future.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending() {}
    /// # };
    /// # async fn orders(paper: &PaperBroker) -> Result<usize, BrokerError> { Ok(paper.orders()?.len()) }
    /// let paper = PaperBroker::builder().build()?;
    /// let lanes = BrokerProxy::builder(paper.clone()).build()?.lanes().clone();
    /// let call = LaneCall::read("transactional").name("open_orders");
    /// # block_on(Box::pin(async move {
    /// let blocking = paper.clone();
    /// let (ticket, turn) =
    ///     lanes.submit_or_begin(&call, &CallOptions::new(), move || Ok(blocking.orders()?.len()));
    /// if let Some(turn) = turn {
    ///     turn.run(orders(&paper)).await;
    /// }
    /// let open: Result<usize, BrokerError> = ticket.await;
    /// assert_eq!(open.unwrap(), 0);
    /// # }));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_or_begin<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        work: impl FnMut() -> Result<R, E> + Send + 'static,
    ) -> (Ticket<R, E>, Option<Turn<R, E>>)
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
    {
        let failure = |error: &E| Some(error.failure());
        match self.resolve(call) {
            Ok(method) => self.enqueue_or_begin(method, options, RepeatableWork(work), failure),
            Err(error) => (Ticket::refused(error), None),
        }
    }

    /// Makes an asynchronous call on the caller's own task: it waits for its turn like any other call, and then polls the future
    /// that `attempt` makes. No worker runs it, and any executor will do. If the lane retries the call, `attempt` makes another
    /// future. Nothing is submitted before the first poll.
    ///
    /// Dropped before its attempt has begun, the call is taken back and never sent. Dropped after that, it counts as sent and
    /// lost, as [`Turn::run`] says. The lane observes the deadline while the call waits. A deadline does not end an attempt that
    /// has begun: use a timer of your executor.
    ///
    /// A task that does not take its turn within 100 ms loses it, and waits for another one, which is offered for twice as long,
    /// up to 6.4 s. A turn is lost too if the lane would hold the call back by then: if it was paused, if the broker throttles,
    /// or if a breaker has opened or the session has expired.
    ///
    /// No thread is blocked. Where the lane's [`when_full`](crate::LaneConfig::when_full) is
    /// [`Block`](crate::lane::OverflowPolicy::Block), a call that finds the queue full is queued beyond the limit.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{Broker, BrokerError};
    /// use lanekeeper::{BrokerProxy, CallOptions, LaneCall, PaperBroker};
    ///
    /// # let block_on = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
    /// #     let waker = std::task::Waker::noop();
    /// #     let mut future = future;
    /// #     while future.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending() {}
    /// # };
    /// async fn open_orders(paper: &PaperBroker) -> Result<usize, BrokerError> {
    ///     Ok(paper.orders()?.len())
    /// }
    ///
    /// let paper = PaperBroker::builder().build()?;
    /// let lanes = BrokerProxy::builder(paper.clone()).build()?.lanes().clone();
    /// # block_on(Box::pin(async move {
    /// let call = LaneCall::read("transactional").name("open_orders");
    /// let open = lanes.run(&call, &CallOptions::new(), || open_orders(&paper));
    /// drop(call); // the future has a copy of it
    /// assert_eq!(open.await.unwrap(), 0);
    /// # }));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn run<'a, R, E, F, A>(
        &'a self,
        call: &LaneCall,
        options: &CallOptions,
        attempt: A,
    ) -> impl Future<Output = Result<R, E>> + use<'a, R, E, F, A>
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
        F: Future<Output = Result<R, E>>,
        A: FnMut() -> F,
    {
        let method = self.resolve(call);
        let options = options.clone();
        // It is submitted by the first poll, as futures are.
        async move {
            let method = method?;
            let failure = failure_of(method.effect, |error: &E| Some(error.failure()));
            let call = self.enqueue_task_call::<_, _, true>(method, &options, failure)?;
            call.run(attempt).await
        }
    }

    /// Makes an asynchronous call like [`run`](Self::run), once: the lane never repeats it.
    #[cfg(feature = "tower")]
    pub(crate) async fn run_once<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        failure: impl Fn(&Result<R, E>) -> Option<crate::Failure> + Send + 'static,
        attempt: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Send + 'static,
    {
        let method = self.resolve(call)?;
        let call = self.enqueue_task_call::<_, _, false>(method, options, failure)?;
        call.run_once(attempt).await
    }

    /// Checks that the lane and the budgets of a call exist.
    ///
    /// # Errors
    /// [`LaneErrorKind::UnknownName`], as [`call`](Self::call) would return.
    pub fn check(&self, call: &LaneCall) -> Result<(), LaneError> {
        self.resolve(call).map(drop)
    }

    /// Estimates how long it takes until the last of `calls` more calls like this one is sent.
    pub(crate) fn estimated_wait_of_more(
        &self,
        calls: usize,
        call: &LaneCall,
        options: &CallOptions,
    ) -> Option<Duration> {
        let method = self.resolve(call).ok()?;
        let lane = self.0.shared.lanes.get(method.cost.lane)?;
        let priority = options.priority.unwrap_or(method.priority);
        lane.core().estimated_wait_of_more(calls, method.cost, priority, &options.user)
    }

    fn submit_named<R, E>(
        &self,
        call: &LaneCall,
        options: &CallOptions,
        work: impl Work<Result<R, E>> + 'static,
    ) -> Ticket<R, E>
    where
        R: Send + 'static,
        E: From<LaneError> + Classify + Send + 'static,
    {
        match self.resolve(call) {
            Ok(method) => self.enqueue(method, options, work, |error: &E| Some(error.failure())),
            Err(error) => Ticket::refused(error),
        }
    }

    /// Finds the lane and the budgets of a call by their names.
    fn resolve(&self, call: &LaneCall) -> Result<MethodSpec, LaneError> {
        let shared = &self.0.shared;
        let lane = self.names().position(|name| name == call.lane);
        let lane = lane.ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            call.error(unknown("lane", &call.lane, &known))
        })?;
        let mut budgets = BudgetSet::EMPTY;
        for name in &call.budgets {
            let index = shared.budgets.iter().position(|known| known == name);
            if !index.is_some_and(|index| budgets.insert(index)) {
                return Err(call.error(unknown("budget", name, shared.budgets)));
            }
        }
        let LaneCall { name, effect, priority, weight, route, is_exit, .. } = *call;
        let cost = Cost { lane, budgets, weight, urgent: false };
        Ok(MethodSpec { name, effect, priority, cost, route, is_exit })
    }
}

fn unknown(what: &'static str, name: &str, known: &[&str]) -> LaneErrorKind {
    LaneErrorKind::UnknownName { what, name: name.to_owned(), known: builder::join_names(known) }
}
