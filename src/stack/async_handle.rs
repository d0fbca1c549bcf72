//! The stack of an asynchronous broker, as its callers hold it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::handle::StackStatus;
use super::paced::AsyncPacedBroker;
use crate::broker::{AsyncBroker, AsyncBrokerProxy, Instrument, Order, delegate_async_broker};
use crate::cache::{AsyncQuoteCache, AsyncQuoteSubscription, CacheStats};
use crate::lane::{CallOptions, Priority, Shutdown, ShutdownSummary};
use crate::order_guard::{AsyncOrderGuard, GuardStats, RecoveredOrder};
use crate::proxy::{HasLanes, Lanes};

/// All layers in front of an asynchronous adapter: what a [`Stack`](super::Stack) is in front of a
/// [`Broker`](crate::Broker). It has an [`AsyncOrderGuard`], an [`AsyncQuoteCache`] if one was built, and the lanes of an
/// [`AsyncBrokerProxy`]. Built by `order_guard` of the builder of the proxy.
///
/// Its methods do what those of a `Stack` with the same names do. Clones, and the handles that [`with`](Self::with) and
/// [`for_exits`](Self::for_exits) return, share the guard, the cache and the lanes.
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use std::time::Duration;
/// use lanekeeper::{
///     AsyncBroker, AsyncBrokerProxy, AsyncStack, BrokerError, CallOptions, ImmediateBroker, Instrument, OrderRequest,
///     PaperBroker, Side,
/// };
///
/// async fn strategy(broker: &AsyncStack<ImmediateBroker<PaperBroker>>) -> Result<(), BrokerError> {
///     let yes = Instrument::new("NSE", "YESBANK");
///     broker.ltp(&yes).await?;
///     // For the code that closes positions: urgent, and sent even if the journal cannot be written.
///     broker.for_exits().place_order(&OrderRequest::market(yes, Side::Sell, 1)).await?;
///     Ok(())
/// }
///
/// // `ImmediateBroker` stands for an adapter with asynchronous calls.
/// let adapter = ImmediateBroker(PaperBroker::builder().build()?);
/// let broker = AsyncBrokerProxy::builder(adapter)
///     .quote_ttl(Duration::from_secs(5))
///     .order_guard(|guard| guard.on_turned_up(|late| eprintln!("{} is in the market after all", late.tag)))
///     .build()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// for order in broker.recover().await {
///     println!("an order of the previous process: {order:?}");
/// }
/// strategy(&broker.with(CallOptions::new().user("alpha"))).await?;
/// # Ok::<(), BrokerError>(())
/// # })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncStack<T> {
    guard: AsyncOrderGuard<AsyncPacedBroker<T>>,
    /// The options of this handle, which [`for_exits`](Self::for_exits) starts from.
    options: CallOptions,
    is_for_exits: bool,
}

impl<T: AsyncBroker + 'static> AsyncStack<T> {
    pub(super) fn new(guard: AsyncOrderGuard<AsyncPacedBroker<T>>) -> Self {
        Self { guard, options: CallOptions::new(), is_for_exits: false }
    }

    /// Returns a handle to the same stack that applies these options to each call; see [`Stack::with`](super::Stack::with).
    #[must_use = "the stack itself keeps the options it has"]
    pub fn with(&self, options: CallOptions) -> Self {
        self.handle(options, self.is_for_exits)
    }

    /// Returns a handle to the same stack for exits; see [`Stack::for_exits`](super::Stack::for_exits).
    #[must_use = "it is another handle of the same stack"]
    pub fn for_exits(&self) -> Self {
        self.handle(self.options.clone().priority(Priority::URGENT), true)
    }

    fn handle(&self, mut options: CallOptions, is_for_exits: bool) -> Self {
        if is_for_exits {
            options.priority.get_or_insert(Priority::URGENT);
        }
        let broker = self.guard.inner().with(options.clone());
        let guard = match is_for_exits {
            true => self.guard.for_exits(broker),
            false => self.guard.with_inner(broker),
        };
        Self { guard, options, is_for_exits }
    }

    /// Returns the same stack for callers that wait at most this long once an answer is lost; see
    /// [`AsyncOrderGuard::max_search_wait`].
    #[must_use = "it is another handle of the same stack"]
    pub fn max_search_wait(self, wait: Duration) -> Self {
        Self { guard: self.guard.max_search_wait(wait), ..self }
    }

    /// Searches for every order without a final answer, also for those whose futures were dropped. Nothing is sent again.
    /// Call it before the strategies start, and again whenever [`GuardStats::pending`] is not 0; see
    /// [`AsyncOrderGuard::recover`].
    pub async fn recover(&self) -> Vec<RecoveredOrder> {
        self.guard.recover().await
    }

    /// Like [`recover`](Self::recover), for the order with this tag alone; see [`AsyncOrderGuard::recover_one`].
    pub async fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        self.guard.recover_one(tag).await
    }

    /// Stops searching for the order with this tag, because its outcome is known from elsewhere. Returns whether there was
    /// such an order; see [`OrderGuard::abandon`](crate::OrderGuard::abandon).
    pub fn abandon(&self, tag: &str) -> bool {
        self.guard.abandon(tag)
    }

    /// Records the state of an order from another source, such as a postback; see
    /// [`OrderGuard::order_update`](crate::OrderGuard::order_update).
    pub fn order_update(&self, order: &Order) {
        self.guard.order_update(order);
    }

    /// Returns the lanes; see [`Stack::lanes`](super::Stack::lanes).
    pub fn lanes(&self) -> &Lanes {
        self.proxy().lanes()
    }

    /// Returns a point-in-time snapshot of the lanes, the budgets, the cache and the orders.
    #[must_use]
    pub fn status(&self) -> StackStatus {
        let (quotes, orders) = (self.quote_stats(), self.order_stats());
        StackStatus { proxy: self.proxy().status(), quotes, orders }
    }

    /// Returns the counters of the quote cache. `None` if the stack was built without one.
    pub fn quote_stats(&self) -> Option<CacheStats> {
        self.cache().map(AsyncQuoteCache::stats)
    }

    /// Returns a subscription to the quotes of `instruments`; see [`AsyncQuoteCache::subscribe`]. `None` if the stack was
    /// built without a cache.
    pub fn subscribe(&self, instruments: &[Instrument]) -> Option<AsyncQuoteSubscription> {
        self.cache().map(|cache| cache.subscribe(instruments))
    }

    /// Returns a future that makes the refreshes of quotes that no caller waits for; see [`AsyncQuoteCache::refreshes`].
    /// Spawn it on your executor. `None` if the stack was built without a cache.
    pub fn refreshes(&self) -> Option<impl Future<Output = ()> + Send + use<T>> {
        self.cache().map(AsyncQuoteCache::refreshes)
    }

    /// Returns how the orders of all handles of this stack ended so far.
    pub fn order_stats(&self) -> GuardStats {
        self.guard.stats()
    }

    /// Shuts down the lanes, for every handle of the stack. Callers that wait are answered. It blocks its thread; see
    /// [`Lanes::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        self.proxy().shutdown(how)
    }

    /// Returns the quote cache, for example to [`track`](AsyncQuoteCache::track) instruments. `None` if the stack was built
    /// without one.
    pub fn cache(&self) -> Option<&AsyncQuoteCache<AsyncBrokerProxy<T>>> {
        self.guard.inner().cache()
    }

    /// Returns the proxy. Its calls are paced, but do not pass the guard and the cache: place orders through the stack.
    pub fn proxy(&self) -> &AsyncBrokerProxy<T> {
        self.guard.inner().proxy()
    }

    /// Returns the adapter. Calls to it are not paced.
    pub fn adapter(&self) -> &T {
        self.proxy().inner()
    }
}

impl<T: AsyncBroker + 'static> HasLanes for AsyncStack<T> {
    fn lanes(&self) -> &Lanes {
        self.proxy().lanes()
    }
}

#[allow(renamed_and_removed_lints)] // In what async-trait writes for the methods that are forwarded.
#[crate::async_trait]
impl<T: AsyncBroker + 'static> AsyncBroker for AsyncStack<T> {
    delegate_async_broker! { to self.guard }
}

impl<T> Clone for AsyncStack<T> {
    fn clone(&self) -> Self {
        let Self { guard, options, is_for_exits } = self;
        Self { guard: guard.clone(), options: options.clone(), is_for_exits: *is_for_exits }
    }
}

impl<T> fmt::Debug for AsyncStack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStack")
            .field("guard", &self.guard)
            .field("options", &self.options)
            .field("is_for_exits", &self.is_for_exits)
            .finish()
    }
}
