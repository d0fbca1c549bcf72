//! Builds the layers of a stack in their order: the lanes, the quote cache, the order guard.

use std::time::Duration;

use super::handle::Stack;
use super::paced::PacedBroker;
use crate::broker::{Broker, BrokerProxyBuilder};
use crate::cache::{BatchConfig, CachedProxyBuilder};
use crate::lane::{CallOptions, Priority};
use crate::order_guard::{GuardBuildError, OrderGuardBuilder};
use crate::proxy::BuildError;

/// A builder of a [`Stack`], from [`BrokerProxyBuilder::order_guard`] or [`CachedProxyBuilder::order_guard`].
///
/// `P` builds the layers behind the guard: a [`BrokerProxyBuilder`], or a [`CachedProxyBuilder`] once there is a quote
/// cache. A setting of a layer that is not there does not compile:
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

    fn build_stack<T: Broker + 'static>(
        self,
        build: impl FnOnce(P) -> Result<PacedBroker<T>, BuildError>,
    ) -> Result<Stack<T>, StackBuildError> {
        let Self { paced, guard, lookup_deadline } = self;
        let broker = build(paced)?;
        let lookups = CallOptions { deadline: lookup_deadline, ..CallOptions::new() };
        let lookup_broker = broker.proxy().with(lookups.priority(Priority::URGENT));
        let clock = broker.proxy().lanes().clock().clone();
        let guard = guard.in_front_of(broker).lookup_broker(lookup_broker).clock(clock);
        Ok(Stack::new(guard.build()?))
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
        self.build_stack(|proxy| proxy.build().map(PacedBroker::Uncached))
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
        self.build_stack(|cached| cached.build().map(PacedBroker::Cached))
    }
}
