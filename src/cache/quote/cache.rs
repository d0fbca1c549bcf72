//! The quote cache: a [`BatchCache`] in front of a [`Broker`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::fetch::{QuoteFetchError, fetch_quotes};
#[cfg(feature = "redis")]
use super::shared::shared_quotes;
use super::subscription::QuoteSubscription;
use crate::broker::{
    Broker, BrokerError, ErrorDetail, Instrument, Quote, QuoteBatchLimit, Quotes, RowProblem,
};
use crate::cache::batch::BatchCache;
use crate::cache::batch::builder::BatchBuilder;
use crate::cache::batch::config::BatchConfig;
use crate::cache::batch::fetch::Batch;
use crate::cache::batch::lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
use crate::cache::batch::shared_store::SharedStore;
use crate::cache::batch::stats::CacheStats;
use crate::cache::batch::store::CacheFull;
use crate::clock::Clock;
use crate::proxy::{HasLanes, Lanes};
use crate::quota::Moment;
#[cfg(feature = "redis")]
use crate::shared_quota::SharedQuota;

/// A [`Broker`] that returns quotes from a cache while they are fresh, and fetches many at once
/// otherwise. All other calls are forwarded to the inner broker.
///
/// `quote`, `ltp` and `ohlc` share one entry, and a cache hit does not allocate. A clone shares the
/// cache. Instruments that are requested while a request waits in its lane join it. A [`Quote`]
/// carries the time of its fetch, and whether it was cached.
///
/// If the broker rejects a request, the cache splits it, as described at [`BatchCache`], until it
/// finds the bad instrument. That delays the other quotes by some seconds once. `quotes` returns
/// the quotes that arrived. An instrument that was refused, or whose quote cannot be read, is among
/// the [problems](crate::broker::Partial::problems) of the result.
///
/// A lookup returns at once while a quote is fresh, so a loop over `ltp` keeps a core busy and sees
/// the same price again and again. A strategy waits for the next quote with
/// [`quote_after`](Broker::quote_after), or for those of many instruments with
/// [`subscribe`](Self::subscribe).
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use std::collections::HashMap;
/// use lanekeeper::broker::{Broker, Instrument, MockBroker, Quote};
/// use lanekeeper::cache::QuoteCache;
///
/// let mut inner = MockBroker::new();
/// // Called once for two lookups.
/// inner.expect_quotes().times(1).returning(|instruments| {
///     Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
/// });
/// let broker = QuoteCache::new(inner);
/// let infy = Instrument::new("NSE", "INFY");
/// assert_eq!(broker.ltp(&infy)?, broker.quote(&infy)?.last_price);
/// assert!(broker.quote(&infy)?.cached);
/// # }
/// # Ok::<(), lanekeeper::broker::BrokerError>(())
/// ```
#[derive(Debug)]
pub struct QuoteCache<B> {
    inner: Arc<B>,
    pub(super) options: GetOptions,
    pub(super) cache: Arc<BatchCache<Instrument, Quote, QuoteFetchError>>,
}

impl<B> Clone for QuoteCache<B> {
    fn clone(&self) -> Self {
        let Self { inner, options, cache } = self;
        Self { inner: Arc::clone(inner), options: *options, cache: Arc::clone(cache) }
    }
}

impl<B: HasLanes> HasLanes for QuoteCache<B> {
    fn lanes(&self) -> &Lanes {
        self.inner.lanes()
    }
}

impl<B> QuoteCache<B> {
    pub(super) fn from_parts(
        inner: Arc<B>,
        cache: BatchCache<Instrument, Quote, QuoteFetchError>,
    ) -> Self {
        Self { inner, options: GetOptions::new(), cache: Arc::new(cache) }
    }

    /// Returns the inner broker.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    #[cfg(feature = "async")]
    pub(super) fn shared_inner(&self) -> Arc<B> {
        Arc::clone(&self.inner)
    }

    /// Returns the lanes of the proxy behind the cache, for example to send a call that no trait declares.
    pub fn lanes(&self) -> &Lanes
    where
        B: HasLanes,
    {
        self.inner.lanes()
    }

    /// Returns the lookup and request counters.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Returns a handle to the same cache that applies these options to each quote.
    #[must_use = "the cache itself keeps the options it has"]
    pub fn with_options(&self, options: GetOptions) -> Self {
        Self { options, ..self.clone() }
    }

    /// Returns a handle to the same cache, with another handle to the same broker.
    pub(super) fn with_broker(&self, inner: B, options: GetOptions) -> Self {
        Self { inner: Arc::new(inner), options, cache: Arc::clone(&self.cache) }
    }

    /// Adds `instruments` to every later request that has capacity left, even if no caller asks for
    /// them. Does not send a request.
    ///
    /// # Errors
    /// Fails if more instruments would be tracked than the cache may hold. None is added then.
    pub fn track(&self, instruments: &[Instrument]) -> Result<(), CacheFull> {
        self.cache.track(instruments)
    }

    /// Stops tracking `instruments` and removes their quotes. A later lookup tracks them again.
    pub fn untrack(&self, instruments: &[Instrument]) {
        self.cache.untrack(instruments);
    }

    /// Returns a subscription to the quotes of `instruments`: an iterator that waits, and yields the
    /// quotes that are new since its last item. Any number of subscriptions and other callers share
    /// one request in each `ttl`.
    ///
    /// The options of this handle apply: its `max_age`, if that is less than the `ttl`, is the rate
    /// of the requests, and its deadline bounds each [`next`](Iterator::next). An item is `Err` if
    /// nothing is new by then.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use std::time::Duration;
    /// use lanekeeper::{BrokerProxy, Instrument, ManualClock, PaperBroker};
    ///
    /// // In virtual time. It advances as soon as all callers wait.
    /// let clock = ManualClock::auto_advancing();
    /// let paper = PaperBroker::builder().clock(clock.clone()).build()?;
    /// let broker = BrokerProxy::builder(paper)
    ///     .clock(clock.clone())
    ///     .quote_ttl(Duration::from_secs(5))
    ///     .build()?;
    /// let watched = ["YESBANK", "JUNIORBEES"].map(|symbol| Instrument::new("NSE", symbol));
    /// let began = clock.now();
    /// for quotes in broker.subscribe(&watched).take(3) {
    ///     assert_eq!(quotes?.len(), 2);
    /// }
    /// assert_eq!(clock.now().since(began), Duration::from_secs(10));
    /// assert_eq!(broker.stats().batches, 3);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self, instruments: &[Instrument]) -> QuoteSubscription {
        QuoteSubscription::new(instruments, self.cache.subscribe_with(instruments, &self.options))
    }

    /// Invalidates a quote. The next lookup waits for a request that is sent after this call.
    pub fn invalidate(&self, instrument: &Instrument) {
        self.cache.invalidate(instrument);
    }

    /// Returns the result of `make` for a quote. A cache hit costs little more than `make`.
    pub(super) fn read_quote<R>(
        &self,
        instrument: &Instrument,
        make: impl Fn(QuoteRef<'_>) -> Option<R>,
    ) -> Result<R, BrokerError> {
        if let Some(cached) = self.cached_quote(instrument, &make) {
            return cached;
        }
        made_of(instrument, self.cache.get_with(instrument, &self.options), make)
    }

    /// Returns the result of `make` for a quote in the cache, if there is one that is young enough. It takes no lock.
    pub(super) fn cached_quote<R>(
        &self,
        instrument: &Instrument,
        make: impl Fn(QuoteRef<'_>) -> Option<R>,
    ) -> Option<Result<R, BrokerError>> {
        let cached = self.cache.get_cached(instrument, &self.options, |entry, _, _| {
            let made = |quote: &Arc<Quote>| make(QuoteRef { quote, from_memory: true });
            Ok(entry.value().map_err(QuoteFetchError::clone)?.and_then(made))
        });
        let made: Result<_, QuoteFetchError> = cached?;
        Some(made.map_err(BrokerError::from).and_then(|made| made.ok_or_else(|| none(instrument))))
    }

    /// Returns the quotes that arrived, and a problem for each instrument that the broker refused,
    /// whose quote could not be read, or that had no quote by the deadline.
    ///
    /// # Errors
    /// Fails if a request failed, or if every instrument was refused or had no quote in time.
    pub(super) fn read_quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        to_quotes(instruments, self.cache.get_many_with(instruments, &self.options))
    }

    /// Waits for a quote that is newer than the one that was fetched at `seen`.
    pub(super) fn read_quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Result<Quote, BrokerError> {
        let began = self.cache.now();
        let known = self.seen_batch(instrument, seen);
        let mut newer = self.cache.get_after_with(instrument, known, &self.options);
        if let Some((known, options)) = self.wait_again(&newer, seen, began) {
            newer = self.cache.get_after_with(instrument, Some(known), &options);
        }
        made_of(instrument, newer, |quoted| Some(quoted.to_quote()))
    }

    /// Returns how a caller that began to wait at a moment waits for the next quote, if it has seen this one. A quote that another
    /// process fetched is new to this cache, and yet the caller may have it, by way of another one.
    pub(super) fn wait_again(
        &self,
        newer: &QuoteAnswer,
        seen: Option<Timestamp>,
        began: Moment,
    ) -> Option<(u64, GetOptions)> {
        let Ok(Some(Cached { value, batch, origin: Origin::Shared, .. })) = newer else {
            return None;
        };
        if !is_seen(value, seen) {
            return None;
        }
        let passed = self.cache.now().since(began);
        let deadline = self.options.deadline.map(|limit| limit.saturating_sub(passed));
        Some((*batch, GetOptions { deadline, ..self.options }))
    }

    /// Returns the number of the request that brought the quote in the cache, if its caller has seen that.
    pub(super) fn seen_batch(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Option<u64> {
        self.cache.batch_of(instrument, |quote| is_seen(quote, seen))
    }
}

/// Returns whether a caller has this quote that has seen the one which was fetched at `seen`.
///
/// Which of two quotes is newer is decided by the numbers of their requests. The time only tells
/// whether the caller has the quote in the cache. A later `seen` counts as that quote as well:
/// the wall clock stepped back, or the time is of no quote of this cache.
fn is_seen(quote: &Quote, seen: Option<Timestamp>) -> bool {
    seen.is_some() && quote.fetched_at <= seen
}

fn none(instrument: &Instrument) -> BrokerError {
    BrokerError::NoQuote { instrument: instrument.clone() }
}

/// The answer of the cache for one instrument.
pub(super) type QuoteAnswer = Result<Option<Cached<Quote>>, FetchError<QuoteFetchError>>;

/// Returns the result of `make` for the answer of the cache.
pub(super) fn made_of<R>(
    instrument: &Instrument,
    answer: QuoteAnswer,
    make: impl Fn(QuoteRef<'_>) -> Option<R>,
) -> Result<R, BrokerError> {
    let answer = answer.map_err(to_broker_error)?;
    answer.and_then(|answer| make(QuoteRef::from(&answer))).ok_or_else(|| none(instrument))
}

/// The answers of the cache for some instruments.
pub(super) type QuoteResult = BatchResult<Instrument, Quote, QuoteFetchError>;

/// Returns the answers of the cache in the terms of a broker.
///
/// # Errors
/// Fails if a request failed, or if every instrument was refused or had no quote in time.
pub(super) fn to_quotes(
    instruments: &[Instrument],
    BatchResult { values, failed }: QuoteResult,
) -> Result<Quotes, BrokerError> {
    match lost_request(instruments, &failed) {
        Some(error) => Err(error),
        None => collect_quotes(instruments, values, failed),
    }
}

/// The quotes that arrived.
type CachedQuotes = HashMap<Instrument, Cached<Quote>>;

/// The instruments without a quote, and why.
type FailedQuotes = HashMap<Instrument, FetchError<QuoteFetchError>>;

/// Returns the error of a request that failed as a whole, if one did.
pub(super) fn lost_request(
    instruments: &[Instrument],
    failed: &FailedQuotes,
) -> Option<BrokerError> {
    let is_of_one = |error: &FetchError<_>| {
        use FetchError::{KeyFailed, TimedOut, TooOld};
        matches!(error, KeyFailed(_) | TimedOut { .. } | TooOld { .. })
    };
    let errors = instruments.iter().filter_map(|instrument| failed.get(instrument));
    errors.into_iter().find(|error| !is_of_one(error)).cloned().map(to_broker_error)
}

/// Returns the quotes, and a problem for each instrument that failed.
///
/// # Errors
/// Fails if every instrument was refused or had no quote in time.
pub(super) fn collect_quotes(
    instruments: &[Instrument],
    values: CachedQuotes,
    mut failed: FailedQuotes,
) -> Result<Quotes, BrokerError> {
    let mut nothing_came = !failed.is_empty() && failed.len() >= count_distinct(instruments);
    let mut first = None;
    let mut problems = Vec::new();
    for (index, instrument) in instruments.iter().enumerate() {
        let problem = match failed.remove(instrument) {
            None => continue,
            Some(FetchError::KeyFailed(QuoteFetchError::UnreadableRow(problem))) => {
                nothing_came = false;
                problem
            }
            Some(error) => {
                let error = to_broker_error(error);
                first.get_or_insert(error.clone());
                RowProblem::from_error(index, error).name(instrument.as_str())
            }
        };
        problems.push(problem);
    }
    if let Some(error) = first.filter(|_| nothing_came) {
        return Err(error);
    }
    let own = |(instrument, answer)| (instrument, QuoteRef::from(&answer).to_quote());
    Ok(values.into_iter().map(own).collect::<Quotes>().with_problems(problems))
}

/// Returns the number of distinct instruments.
fn count_distinct(instruments: &[Instrument]) -> usize {
    instruments.iter().collect::<HashSet<_>>().len()
}

impl<B: Broker + 'static> QuoteCache<B> {
    /// Creates a cache with the default settings: quotes are fresh for 5 s.
    pub fn new(inner: B) -> Self {
        Self::builder(inner).build()
    }

    /// Returns a builder of a cache.
    pub fn builder(inner: B) -> QuoteCacheBuilder<B> {
        QuoteCacheBuilder::new(inner)
    }
}

/// A cached quote, and how the caller got it.
pub(super) struct QuoteRef<'a> {
    pub(super) quote: &'a Quote,
    from_memory: bool,
}

impl QuoteRef<'_> {
    pub(super) fn to_quote(&self) -> Quote {
        Quote { cached: self.from_memory, ..self.quote.clone() }
    }
}

impl<'a> From<&'a Cached<Quote>> for QuoteRef<'a> {
    fn from(answer: &'a Cached<Quote>) -> Self {
        Self { quote: &answer.value, from_memory: answer.origin != Origin::Fetched }
    }
}

fn to_broker_error(error: FetchError<QuoteFetchError>) -> BrokerError {
    let detail = |error: &FetchError<QuoteFetchError>| ErrorDetail::new(format!("quotes: {error}"));
    match error {
        FetchError::Failed(error) | FetchError::KeyFailed(error) => error.into(),
        FetchError::TimedOut { maybe_sent: false, .. }
        | FetchError::KeysNotTaken
        | FetchError::NoThread { .. } => BrokerError::NotSent(detail(&error)),
        FetchError::TimedOut { .. } | FetchError::Panicked { .. } | FetchError::TooOld { .. } => {
            BrokerError::Transient(detail(&error))
        }
    }
}

/// A builder for a [`QuoteCache`], or with the feature `async` for an `AsyncQuoteCache`.
#[must_use = "a builder does nothing until it is built"]
pub struct QuoteCacheBuilder<B> {
    pub(super) inner: B,
    /// The handle that sends the requests, if it is not `inner`.
    pub(super) fetch_broker: Option<B>,
    pub(super) config: BatchConfig,
    refresh_if: Box<dyn Fn() -> bool + Send + Sync>,
    /// The account of which the quotes are shared.
    #[cfg(feature = "redis")]
    shared_quota: Option<SharedQuota>,
}

impl<B> QuoteCacheBuilder<B> {
    pub(super) fn new(inner: B) -> Self {
        Self {
            inner,
            fetch_broker: None,
            config: BatchConfig::default(),
            refresh_if: Box::new(|| true),
            #[cfg(feature = "redis")]
            shared_quota: None,
        }
    }

    /// Sets how long a quote is fresh, counted from just before its request was sent. 5 s by
    /// default. With zero, only callers that wait at the same time share a quote.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.configure(|settings| settings.ttl = ttl)
    }

    /// Sets how long an instrument without lookups is still fetched with others. 5 minutes by
    /// default.
    pub fn time_to_idle(self, time_to_idle: Duration) -> Self {
        self.configure(|settings| settings.time_to_idle = time_to_idle)
    }

    /// Sets the maximum number of instruments in the cache. 10,000 by default.
    pub fn max_capacity(self, instruments: usize) -> Self {
        self.configure(|settings| settings.max_capacity = instruments)
    }

    /// Sets the clock that ages are measured with.
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        self.configure(|settings| settings.clock = clock.into())
    }

    /// Sets any other setting. The broker's batch limit bounds a request. Settings can only lower
    /// it.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use std::time::Duration;
    /// use lanekeeper::broker::MockBroker;
    /// use lanekeeper::cache::QuoteCache;
    ///
    /// let broker = QuoteCache::builder(MockBroker::new())
    ///     .ttl(Duration::from_secs(2))
    ///     .configure(|cache| cache.stale_while_revalidate = Duration::from_secs(1))
    ///     .build();
    /// # }
    /// ```
    pub fn configure(mut self, configure: impl FnOnce(&mut BatchConfig)) -> Self {
        configure(&mut self.config);
        self
    }

    /// Sets whether the broker has idle capacity to refresh quotes ahead of time, see
    /// [`BatchConfig::refresh_ahead`]. Always by default. The cache of a proxy checks its quote
    /// lane.
    pub fn refresh_if(mut self, refresh_if: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.refresh_if = Box::new(refresh_if);
        self
    }

    pub(super) fn fetch_with(mut self, fetch_broker: B) -> Self {
        self.fetch_broker = Some(fetch_broker);
        self
    }

    /// Shares the quotes with the other processes of the account of `quota`, through its Redis. The cache that
    /// `quote_ttl` puts in front of a proxy with a shared quota does that by itself. Nothing is shared if [`BatchConfig::share`] is
    /// off.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use lanekeeper::SharedQuota;
    /// use lanekeeper::broker::MockBroker;
    /// use lanekeeper::cache::QuoteCache;
    ///
    /// let quota = SharedQuota::redis("redis://127.0.0.1:6379", "account-1")?;
    /// let broker = QuoteCache::builder(MockBroker::new()).shared_quotes(&quota).build();
    /// # }
    /// # Ok::<(), lanekeeper::shared_quota::SharedQuotaError>(())
    /// ```
    #[cfg(feature = "redis")]
    pub fn shared_quotes(mut self, quota: &SharedQuota) -> Self {
        self.shared_quota = Some(quota.clone());
        self
    }

    /// Shares the quotes like `shared_quotes`, if the lanes share their quota.
    pub(super) fn shared_by(self, lanes: &Lanes) -> Self {
        #[cfg(feature = "redis")]
        if let Some(quota) = lanes.shared_quota() {
            return self.shared_quotes(quota);
        }
        #[cfg(not(feature = "redis"))]
        let _ = lanes;
        self
    }

    /// Returns the store through which the quotes can be shared, if there is one.
    pub(super) fn shared_store(&self) -> Option<Box<dyn SharedStore<Instrument, Quote>>> {
        #[cfg(feature = "redis")]
        if let Some(quota) = &self.shared_quota {
            let values = shared_quotes(quota, &self.config.clock)?;
            return Some(values.into_store(&self.config.clock, self.config.ttl));
        }
        None
    }

    /// Returns the builder of the batch cache of a broker with this limit, and the broker twice: for all calls, and for the
    /// requests.
    pub(super) fn into_parts(self, limit: QuoteBatchLimit) -> (QuoteBatchBuilder, Arc<B>, Arc<B>) {
        let Self { inner, fetch_broker, config: mut settings, refresh_if, .. } = self;
        let inner = Arc::new(inner);
        let fetch_broker = fetch_broker.map_or_else(|| Arc::clone(&inner), Arc::new);
        settings.max_batch_keys = settings.max_batch_keys.min(limit.count);
        settings.max_batch_weight = settings.max_batch_weight.min(limit.bytes);
        let builder = BatchBuilder::new(settings)
            .weigher(move |instrument| limit.cost(instrument))
            .split_on(|error| matches!(error, QuoteFetchError::Broker(BrokerError::Rejected(_))))
            .refresh_if(refresh_if);
        (builder, inner, fetch_broker)
    }
}

/// The builder of the batch cache of a quote cache.
type QuoteBatchBuilder = BatchBuilder<Instrument, QuoteFetchError>;

impl<B: Broker + 'static> QuoteCacheBuilder<B> {
    /// Builds the cache.
    pub fn build(self) -> QuoteCache<B> {
        let (clock, shared) = (self.config.clock.clone(), self.shared_store());
        let limit = self.inner.quote_batch_limit();
        let (builder, inner, fetch_broker) = self.into_parts(limit);
        let fetch = move |batch: &Batch<Instrument>| fetch_quotes(&*fetch_broker, batch, &clock);
        let cache = builder.build_with(shared, fetch);
        QuoteCache::from_parts(inner, cache)
    }
}

impl<B> std::fmt::Debug for QuoteCacheBuilder<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuoteCacheBuilder").field("settings", &self.config).finish_non_exhaustive()
    }
}
