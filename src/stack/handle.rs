//! The stack as its callers hold it: a broker, and one place for what its layers can do.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::paced::PacedBroker;
use crate::broker::{Broker, BrokerProxy, Instrument, Order, delegate_broker};
use crate::cache::{CacheStats, QuoteCache, QuoteSubscription};
use crate::lane::{CallOptions, Priority, Shutdown, ShutdownSummary, Status, StatusText};
use crate::order_guard::{GuardStats, OrderGuard, RecoveredOrder};
use crate::proxy::{HasLanes, Lanes};

/// All layers in front of an adapter: an [`OrderGuard`], a [`QuoteCache`] if one was built, and the lanes of a
/// [`BrokerProxy`]. Built by [`BrokerProxyBuilder::order_guard`](crate::broker::BrokerProxyBuilder::order_guard).
///
/// A stack is a handle, cheap to clone. Clones, and the handles that [`with`](Self::with) and
/// [`for_exits`](Self::for_exits) return, share the guard, the cache and the lanes.
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use std::time::Duration;
/// use lanekeeper::{Broker, BrokerError, BrokerProxy, CallOptions, Instrument, PaperBroker, Stack};
///
/// fn strategy(broker: &dyn Broker) -> Result<(), BrokerError> {
///     broker.ltp(&Instrument::new("NSE", "YESBANK")).map(drop)
/// }
///
/// struct Bot {
///     broker: Stack<PaperBroker>,
/// }
///
/// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
///     .quote_ttl(Duration::from_secs(5))
///     .order_guard(|guard| guard)
///     .build()?;
/// let bot = Bot { broker };
/// strategy(&bot.broker)?;
/// strategy(&bot.broker.with(CallOptions::new().user("alpha")))?;
/// let status = bot.broker.status();
/// assert_eq!((status.proxy.lanes.len(), status.quotes.map(|quotes| quotes.hits)), (3, Some(1)));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stack<T> {
    guard: OrderGuard<PacedBroker<T>>,
    /// The options of this handle, which [`for_exits`](Self::for_exits) starts from.
    options: CallOptions,
    is_for_exits: bool,
}

/// A point-in-time snapshot of a [`Stack`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StackStatus {
    /// The proxy: its `lanes` and `budgets`.
    #[serde(flatten)]
    pub proxy: Status,
    /// The counters of the quote cache, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotes: Option<CacheStats>,
    /// How the orders ended.
    pub orders: GuardStats,
}

/// So that `status.lane(..)`, `status.budget(..)` and `status.session_expired` are those of the proxy.
impl std::ops::Deref for StackStatus {
    type Target = Status;

    fn deref(&self) -> &Status {
        &self.proxy
    }
}

/// The lines of the [`Status`], then one for the cache, if there is one, and one for the orders.
impl fmt::Display for StackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = StatusText::new(&self.proxy);
        if let Some(quotes) = &self.quotes {
            text.push("quote cache", quotes.to_string());
        }
        text.push("order guard", self.orders.to_string());
        text.fmt(f)
    }
}

impl<T: Broker + 'static> Stack<T> {
    pub(super) fn new(guard: OrderGuard<PacedBroker<T>>) -> Self {
        Self { guard, options: CallOptions::new(), is_for_exits: false }
    }

    /// Returns a handle to the same stack that applies these options to each call. A handle
    /// [for exits](Self::for_exits) stays one, and urgent unless the options have another priority.
    ///
    /// The guard's lookups of lost orders do not have these options: they are urgent, and their deadline is
    /// [`StackBuilder::lookup_deadline`](super::StackBuilder::lookup_deadline).
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{Broker, BrokerProxy, CallOptions, Instrument, PaperBroker};
    ///
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .order_guard(|guard| guard)
    ///     .build()?;
    /// let careful = broker.with(CallOptions::new().user("alpha").max_age(Duration::ZERO));
    /// let yes = Instrument::new("NSE", "YESBANK");
    /// broker.ltp(&yes)?;
    /// assert!(broker.quote(&yes)?.cached);
    /// assert!(!careful.quote(&yes)?.cached);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the stack itself keeps the options it has"]
    pub fn with(&self, options: CallOptions) -> Self {
        self.handle(options, self.is_for_exits)
    }

    /// Returns a handle to the same stack for exits. Its calls have [`Priority::URGENT`], except requests
    /// for quotes, which a cache shares between all callers. An order is sent even if
    /// the journal cannot be written; see [`OrderGuard::for_exits`].
    ///
    /// The other options of this handle stay: an exit is refused at its deadline like any other call.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::{Broker, BrokerProxy, Instrument, OrderRequest, PaperBroker, Side};
    ///
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .order_guard(|guard| guard)
    ///     .build()?;
    /// let exits = broker.for_exits();
    /// exits.place_order(&OrderRequest::market(Instrument::new("NSE", "YESBANK"), Side::Sell, 1))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// [`OrderGuard::max_search_wait`].
    ///
    /// A caller waits for a read that it sent itself. Bound it with
    /// [`StackBuilder::lookup_deadline`](super::StackBuilder::lookup_deadline).
    #[must_use = "it is another handle of the same stack"]
    pub fn max_search_wait(self, wait: Duration) -> Self {
        Self { guard: self.guard.max_search_wait(wait), ..self }
    }

    /// Searches for every order without a final answer: those that an earlier process left in the journal, and those
    /// of this one. Nothing is sent again. Call it before the strategies start; see [`OrderGuard::recover`].
    pub fn recover(&self) -> Vec<RecoveredOrder> {
        self.guard.recover()
    }

    /// Like [`recover`](Self::recover), for the order with this tag alone; see [`OrderGuard::recover_one`].
    pub fn recover_one(&self, tag: &str) -> Option<RecoveredOrder> {
        self.guard.recover_one(tag)
    }

    /// Stops searching for the order with this tag, because its outcome is known from elsewhere. Returns whether there
    /// was such an order; see [`OrderGuard::abandon`].
    pub fn abandon(&self, tag: &str) -> bool {
        self.guard.abandon(tag)
    }

    /// Records the state of an order from another source, such as a postback; see [`OrderGuard::order_update`].
    pub fn order_update(&self, order: &Order) {
        self.guard.order_update(order);
    }

    /// Returns the lanes, for example to pause one, to change its quota, or to send a call that no trait declares
    /// (see [`LaneCall`](crate::LaneCall)). Such a call does not pass the guard: place orders through the stack.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::lanes;
    /// use lanekeeper::{BrokerProxy, PaperBroker};
    ///
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .order_guard(|guard| guard)
    ///     .build()?;
    /// let quotes = broker.lanes().lane(lanes::QUOTE).expect("a `Broker` has this lane");
    /// quotes.pause();
    /// # quotes.resume();
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lanes(&self) -> &Lanes {
        self.proxy().lanes()
    }

    /// Returns a point-in-time snapshot of the lanes, the budgets, the cache and the orders. It prints one aligned line
    /// for each.
    #[must_use]
    pub fn status(&self) -> StackStatus {
        let (quotes, orders) = (self.quote_stats(), self.order_stats());
        StackStatus { proxy: self.proxy().status(), quotes, orders }
    }

    /// Returns the counters of the quote cache. `None` if the stack was built without one.
    pub fn quote_stats(&self) -> Option<CacheStats> {
        self.cache().map(QuoteCache::stats)
    }

    /// Returns a subscription to the quotes of `instruments`, an iterator that waits for new ones; see
    /// [`QuoteCache::subscribe`]. `None` if the stack was built without a cache.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{BrokerProxy, Instrument, PaperBroker};
    ///
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .quote_ttl(Duration::from_secs(1))
    ///     .order_guard(|guard| guard)
    ///     .build()?;
    /// let updates = broker.subscribe(&[Instrument::new("NSE", "YESBANK")]);
    /// for quotes in updates.into_iter().flatten().take(2) {
    ///     println!("{} quotes", quotes?.len());
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self, instruments: &[Instrument]) -> Option<QuoteSubscription> {
        self.cache().map(|cache| cache.subscribe(instruments))
    }

    /// Returns how the orders of all handles of this stack ended so far.
    pub fn order_stats(&self) -> GuardStats {
        self.guard.stats()
    }

    /// Shuts down the lanes, for every handle of the stack. Callers that wait are answered.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        self.proxy().shutdown(how)
    }

    /// Returns the quote cache, for example to [`track`](QuoteCache::track) instruments. `None` if the stack was built
    /// without one.
    pub fn cache(&self) -> Option<&QuoteCache<BrokerProxy<T>>> {
        self.guard.inner().cache()
    }

    /// Returns the proxy, for example to [`submit`](BrokerProxy::submit) reads without blocking. Its calls are paced,
    /// but do not pass the guard and the cache: place orders through the stack.
    pub fn proxy(&self) -> &BrokerProxy<T> {
        self.guard.inner().proxy()
    }

    /// Returns the adapter. Calls to it are not paced.
    pub fn adapter(&self) -> &T {
        self.proxy().inner()
    }
}

impl<T: Broker + 'static> HasLanes for Stack<T> {
    fn lanes(&self) -> &Lanes {
        self.proxy().lanes()
    }
}

impl<T: Broker + 'static> Broker for Stack<T> {
    delegate_broker! { to self.guard }
}

impl<T> Clone for Stack<T> {
    fn clone(&self) -> Self {
        let Self { guard, options, is_for_exits } = self;
        Self { guard: guard.clone(), options: options.clone(), is_for_exits: *is_for_exits }
    }
}

impl<T> fmt::Debug for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("guard", &self.guard)
            .field("options", &self.options)
            .field("is_for_exits", &self.is_for_exits)
            .finish()
    }
}
