//! Builds the layers of a stack in their order: the lanes, the quote cache, the order guard.

use std::time::Duration;

#[cfg(feature = "async")]
use super::async_handle::AsyncStack;
use super::handle::Stack;
#[cfg(feature = "async")]
use super::paced::AsyncPacedBroker;
use super::paced::{Paced, PacedBroker};
#[cfg(feature = "async")]
use crate::broker::{AsyncBroker, AsyncBrokerProxyBuilder};
use crate::broker::{Broker, BrokerProxyBuilder};
#[cfg(feature = "async")]
use crate::cache::AsyncCachedProxyBuilder;
use crate::cache::{BatchConfig, CachedProxyBuilder};
use crate::lane::{CallOptions, Priority};
use crate::order_guard::{GuardBuildError, OrderGuardBuilder};
use crate::proxy::BuildError;

/// A builder of a [`Stack`], from [`BrokerProxyBuilder::order_guard`] or [`CachedProxyBuilder::order_guard`].
///
/// `P` builds the layers behind the guard: a [`BrokerProxyBuilder`], or a [`CachedProxyBuilder`] once there is a quote
/// cache. With an `AsyncBrokerProxyBuilder` or an `AsyncCachedProxyBuilder` it builds an `AsyncStack`. A setting of a layer
/// that is not there does not compile:
///
/// ```compile_fail,E0599
/// # use lanekeeper::{BrokerProxy, PaperBroker};
/// let paper = PaperBroker::builder().build().unwrap();
/// let stack = BrokerProxy::builder(paper)
///     .order_guard(|guard| guard)
///     .configure(|cache| cache.refresh_ahead = Some(0.8)); // There is no cache: call `quote_ttl` first.
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct StackBuilder<P> {
    paced: P,
    guard: OrderGuardBuilder<()>,
    lookup_deadline: Option<Duration>,
}

/// Why a stack cannot be built. The message names the layer and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackBuildError {
    /// The lanes cannot run with their settings, or cannot use the pace log.
    #[error("the lanes cannot be built: {0}")]
    Lanes(#[from] BuildError),
    /// The order guard cannot run with its settings, or cannot use its journal.
    #[error("the order guard cannot be built: {0}")]
    OrderGuard(#[from] GuardBuildError),
}

impl<T: Broker + 'static> BrokerProxyBuilder<T> {
    /// Puts an [`OrderGuard`](crate::OrderGuard) in front of the proxy, which makes it a [`Stack`]. `configure` changes
    /// the settings of the guard; `|guard| guard` keeps the defaults. Configure the lanes before this call.
    ///
    /// The guard has the clock of the lanes. It looks up orders through an urgent handle of the proxy, because the
    /// caller of a lost order waits for that.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{BrokerProxy, PaperBroker};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .order_guard(|guard| {
    ///         # #[cfg(feature = "journal")]
    ///         let guard = guard.journal(folder.path().join("orders.journal"));
    ///         guard.on_turned_up(|late| eprintln!("{} is in the market after all", late.tag))
    ///     })
    ///     .build()?;
    /// for order in broker.recover() {
    ///     println!("an order of the previous process: {order:?}");
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn order_guard(
        self,
        configure: impl FnOnce(OrderGuardBuilder<()>) -> OrderGuardBuilder<()>,
    ) -> StackBuilder<Self> {
        StackBuilder::new(self).order_guard(configure)
    }
}

impl<T: Broker + 'static> CachedProxyBuilder<T> {
    /// Puts an [`OrderGuard`](crate::OrderGuard) in front of the cache, as [`BrokerProxyBuilder::order_guard`] does in
    /// front of the proxy.
    pub fn order_guard(
        self,
        configure: impl FnOnce(OrderGuardBuilder<()>) -> OrderGuardBuilder<()>,
    ) -> StackBuilder<Self> {
        StackBuilder::new(self).order_guard(configure)
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> AsyncBrokerProxyBuilder<T> {
    /// Puts an [`AsyncOrderGuard`](crate::AsyncOrderGuard) in front of the proxy, which makes it an [`AsyncStack`].
    /// `configure` changes the settings of the guard, as for [`BrokerProxyBuilder::order_guard`].
    pub fn order_guard(
        self,
        configure: impl FnOnce(OrderGuardBuilder<()>) -> OrderGuardBuilder<()>,
    ) -> StackBuilder<Self> {
        StackBuilder::new(self).order_guard(configure)
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> AsyncCachedProxyBuilder<T> {
    /// Puts an [`AsyncOrderGuard`](crate::AsyncOrderGuard) in front of the cache, which makes it an [`AsyncStack`].
    pub fn order_guard(
        self,
        configure: impl FnOnce(OrderGuardBuilder<()>) -> OrderGuardBuilder<()>,
    ) -> StackBuilder<Self> {
        StackBuilder::new(self).order_guard(configure)
    }
}

impl<P> StackBuilder<P> {
    fn new(paced: P) -> Self {
        Self { paced, guard: OrderGuardBuilder::new(()), lookup_deadline: None }
    }

    /// Changes the settings of the guard further.
    pub fn order_guard(
        self,
        configure: impl FnOnce(OrderGuardBuilder<()>) -> OrderGuardBuilder<()>,
    ) -> Self {
        Self { guard: configure(self.guard), ..self }
    }

    /// Sets how long one read of the order book may take in which the guard looks up an order, including its wait in
    /// the lane. A read that takes longer counts as failed. Not set by default. It bounds how much longer than
    /// [`Stack::max_search_wait`] a caller may wait.
    pub fn lookup_deadline(self, deadline: Duration) -> Self {
        Self { lookup_deadline: Some(deadline), ..self }
    }

    /// Returns the same settings with `change` made to the layers behind the guard.
    pub(crate) fn map<Q>(self, change: impl FnOnce(P) -> Q) -> StackBuilder<Q> {
        let Self { paced, guard, lookup_deadline } = self;
        StackBuilder { paced: change(paced), guard, lookup_deadline }
    }

    /// Returns the options of the guard's lookups: they are urgent, because the caller of a lost order waits for them.
    fn lookup_options(&self) -> CallOptions {
        let lookups = CallOptions { deadline: self.lookup_deadline, ..CallOptions::new() };
        lookups.priority(Priority::URGENT)
    }

    fn build_stack<T: Broker + 'static>(
        self,
        build: impl FnOnce(P) -> Result<PacedBroker<T>, BuildError>,
    ) -> Result<Stack<T>, StackBuildError> {
        let lookups = self.lookup_options();
        let broker = build(self.paced)?;
        let lookup_broker = broker.proxy().with(lookups);
        let clock = broker.proxy().lanes().clock().clone();
        let guard: OrderGuardBuilder<_> = self.guard.in_front_of(broker);
        Ok(Stack::new(guard.lookup_broker(lookup_broker).clock(clock).build()?))
    }

    #[cfg(feature = "async")]
    fn build_async_stack<T: AsyncBroker + 'static>(
        self,
        build: impl FnOnce(P) -> Result<AsyncPacedBroker<T>, BuildError>,
    ) -> Result<AsyncStack<T>, StackBuildError> {
        let lookups = self.lookup_options();
        let broker = build(self.paced)?;
        let lookup_broker = broker.proxy().with(lookups);
        let clock = broker.proxy().lanes().clock().clone();
        let guard: OrderGuardBuilder<_, dyn AsyncBroker> = self.guard.in_front_of(broker);
        Ok(AsyncStack::new(guard.lookup_broker(lookup_broker).clock(clock).build()?))
    }
}

impl<T: Broker + 'static> StackBuilder<BrokerProxyBuilder<T>> {
    /// Puts a [`QuoteCache`](crate::QuoteCache) between the guard and the proxy, as [`BrokerProxyBuilder::quote_ttl`]
    /// does in front of the proxy.
    pub fn quote_ttl(self, ttl: Duration) -> StackBuilder<CachedProxyBuilder<T>> {
        self.map(|proxy| proxy.quote_ttl(ttl))
    }

    /// Starts the lanes, and opens the journal.
    ///
    /// # Errors
    /// A layer cannot be built. The error says which one, and what to do.
    pub fn build(self) -> Result<Stack<T>, StackBuildError> {
        self.build_stack(|proxy| proxy.build().map(Paced::Uncached))
    }
}

impl<T: Broker + 'static> StackBuilder<CachedProxyBuilder<T>> {
    /// Sets any other setting of the cache, like [`CachedProxyBuilder::configure`].
    pub fn configure(self, configure: impl FnOnce(&mut BatchConfig)) -> Self {
        self.map(|cached| cached.configure(configure))
    }

    /// Sets how long a request for quotes may take, like [`CachedProxyBuilder::request_deadline`].
    pub fn request_deadline(self, deadline: Duration) -> Self {
        self.map(|cached| cached.request_deadline(deadline))
    }

    /// Starts the lanes and the cache, and opens the journal.
    ///
    /// # Errors
    /// A layer cannot be built. The error says which one, and what to do.
    pub fn build(self) -> Result<Stack<T>, StackBuildError> {
        self.build_stack(|cached| cached.build().map(Paced::Cached))
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> StackBuilder<AsyncBrokerProxyBuilder<T>> {
    /// Puts an [`AsyncQuoteCache`](crate::AsyncQuoteCache) between the guard and the proxy, as
    /// [`AsyncBrokerProxyBuilder::quote_ttl`] does in front of the proxy.
    pub fn quote_ttl(self, ttl: Duration) -> StackBuilder<AsyncCachedProxyBuilder<T>> {
        self.map(|proxy| proxy.quote_ttl(ttl))
    }

    /// Starts the lanes, and opens the journal.
    ///
    /// # Errors
    /// A layer cannot be built. The error says which one, and what to do.
    pub fn build(self) -> Result<AsyncStack<T>, StackBuildError> {
        self.build_async_stack(|proxy| proxy.build().map(Paced::Uncached))
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> StackBuilder<AsyncCachedProxyBuilder<T>> {
    /// Sets any other setting of the cache, like [`AsyncCachedProxyBuilder::configure`].
    pub fn configure(self, configure: impl FnOnce(&mut BatchConfig)) -> Self {
        self.map(|cached| cached.configure(configure))
    }

    /// Sets how long a request for quotes may take, like [`AsyncCachedProxyBuilder::request_deadline`].
    pub fn request_deadline(self, deadline: Duration) -> Self {
        self.map(|cached| cached.request_deadline(deadline))
    }

    /// Starts the lanes, and opens the journal.
    ///
    /// # Errors
    /// A layer cannot be built. The error says which one, and what to do.
    pub fn build(self) -> Result<AsyncStack<T>, StackBuildError> {
        self.build_async_stack(|cached| cached.build().map(Paced::Cached))
    }
}
