//! The quote cache: a [`BatchCache`] in front of a [`Broker`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::fetch::{QuoteFetchError, fetch_quotes};
use crate::broker::{Broker, BrokerError, ErrorDetail, Instrument, Quote, Quotes, RowProblem};
use crate::cache::batch::BatchCache;
use crate::cache::batch::builder::BatchBuilder;
use crate::cache::batch::config::BatchConfig;
use crate::cache::batch::lookup::{BatchResult, Cached, FetchError, GetOptions, Origin};
use crate::cache::batch::stats::CacheStats;
use crate::cache::batch::store::CacheFull;
use crate::clock::Clock;

/// A [`Broker`] that answers quotes from memory while they are fresh, and asks for many at once
/// when they are not. All other calls go through to the broker within.
///
/// `quote`, `ltp` and `ohlc` share one entry, and an answer from memory allocates nothing. A clone
/// shares the memory. What is asked for while a request waits in its lane goes with it. A [`Quote`]
/// says when it was fetched, and whether it came from memory.
///
/// If the broker rejects a whole request, it is made again in parts, as [`BatchCache`] says, until the
/// instrument that it does not like is found. That costs the others some seconds once, and not their
/// quotes. `quotes` gives what there is: an instrument that was refused, or whose quote cannot be read,
/// is among the [problems](crate::broker::Partial::problems) of the answer.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use std::collections::HashMap;
/// use lanekeeper::broker::{Broker, Instrument, MockBroker, Quote};
/// use lanekeeper::cache::QuoteCache;
///
/// let mut within = MockBroker::new();
/// // Once, although it is asked twice.
/// within.expect_quotes().times(1).returning(|instruments| {
///     Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
/// });
/// let broker = QuoteCache::new(within);
/// let infy = Instrument::new("NSE", "INFY");
/// assert_eq!(broker.ltp(&infy)?, broker.quote(&infy)?.last_price);
/// assert!(broker.quote(&infy)?.cached);
/// # }
/// # Ok::<(), lanekeeper::broker::BrokerError>(())
/// ```
#[derive(Debug)]
pub struct QuoteCache<B> {
    inner: Arc<B>,
    options: GetOptions,
    cache: Arc<BatchCache<Instrument, Quote, QuoteFetchError>>,
}

impl<B> Clone for QuoteCache<B> {
    fn clone(&self) -> Self {
        let Self { inner: within, options: ask, cache } = self;
        Self { inner: Arc::clone(within), options: *ask, cache: Arc::clone(cache) }
    }
}

impl<B> QuoteCache<B> {
    /// The broker within.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// How often it was asked, and what it took.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// The same cache, with these demands for each quote that is asked for through it.
    #[must_use = "the cache itself keeps the demands it has"]
    pub fn with_options(&self, ask: GetOptions) -> Self {
        Self { options: ask, ..self.clone() }
    }

    /// The same memory, in front of the same broker as it is called in another way.
    pub(super) fn with_broker(&self, within: B, options: GetOptions) -> Self {
        Self { inner: Arc::new(within), options, cache: Arc::clone(&self.cache) }
    }

    /// Fetches `instruments` along with every request from now on that has room, whether anybody asks
    /// for them or not. It makes no request by itself.
    ///
    /// # Errors
    /// There would be more of them than the cache may remember; none was added.
    pub fn track(&self, instruments: &[Instrument]) -> Result<(), CacheFull> {
        self.cache.track(instruments)
    }

    /// Forgets `instruments` and their quotes. They are tracked again once somebody asks.
    pub fn untrack(&self, instruments: &[Instrument]) {
        self.cache.untrack(instruments);
    }

    /// Forgets a quote: the next one to ask waits for a request that is sent after this.
    pub fn invalidate(&self, instrument: &Instrument) {
        self.cache.invalidate(instrument);
    }

    /// What `make` takes of a quote. From memory, this costs what `make` costs and little more.
    pub(super) fn read_quote<R>(
        &self,
        instrument: &Instrument,
        make: impl Fn(QuoteRef<'_>) -> Option<R>,
    ) -> Result<R, BrokerError> {
        let known = self.cache.get_cached(instrument, &self.options, |entry, _, _| {
            let made = |quote: &Arc<Quote>| make(QuoteRef { quote, from_memory: true });
            Ok(entry.value().map_err(QuoteFetchError::clone)?.and_then(made))
        });
        let made = match known {
            Some(known) => known.map_err(|fault: QuoteFetchError| fault.into()),
            None => {
                let answer =
                    self.cache.get_with(instrument, &self.options).map_err(to_broker_error);
                answer.map(|answer| answer.and_then(|answer| make(QuoteRef::from(&answer))))
            }
        };
        made?.ok_or_else(|| BrokerError::NoQuote { instrument: instrument.clone() })
    }

    /// The quotes that there are, and a problem for each instrument that the broker refused, whose quote
    /// it sent in a way that cannot be read, or that was not answered by the deadline.
    ///
    /// # Errors
    /// A request failed; or nothing came that is worth an answer.
    pub(super) fn read_quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let BatchResult { values, mut failed } =
            self.cache.get_many_with(instruments, &self.options);
        let mut nothing_came = !failed.is_empty() && failed.len() >= count_distinct(instruments);
        let mut first = None;
        let mut problems = Vec::new();
        for (place, instrument) in instruments.iter().enumerate() {
            let Some(error) = failed.remove(instrument) else { continue };
            let problem = match error {
                FetchError::KeyFailed(QuoteFetchError::UnreadableRow(problem)) => {
                    nothing_came = false;
                    problem
                }
                FetchError::KeyFailed(_)
                | FetchError::TimedOut { .. }
                | FetchError::TooOld { .. } => {
                    let error = to_broker_error(error);
                    first.get_or_insert(error.clone());
                    RowProblem::from_error(place, error).name(instrument.as_str())
                }
                error => return Err(to_broker_error(error)),
            };
            problems.push(problem);
        }
        if let Some(error) = first.filter(|_| nothing_came) {
            return Err(error);
        }
        let own = |(instrument, answer)| (instrument, QuoteRef::from(&answer).to_quote());
        Ok(values.into_iter().map(own).collect::<Quotes>().with_problems(problems))
    }
}

/// How many instruments are named, each counted once.
fn count_distinct(instruments: &[Instrument]) -> usize {
    instruments.iter().collect::<HashSet<_>>().len()
}

impl<B: Broker + 'static> QuoteCache<B> {
    /// A cache with the default settings: quotes are fresh for 5 s.
    pub fn new(within: B) -> Self {
        Self::builder(within).build()
    }

    /// A cache to be set up.
    pub fn builder(within: B) -> QuoteCacheBuilder<B> {
        let settings = BatchConfig::default();
        QuoteCacheBuilder {
            inner: within,
            fetch_broker: None,
            config: settings,
            refresh_if: Box::new(|| true),
        }
    }
}

/// A quote in memory, and how it came to the one who asks.
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
        FetchError::Failed(fault) | FetchError::KeyFailed(fault) => fault.into(),
        FetchError::TimedOut { maybe_sent: false, .. }
        | FetchError::KeysNotTaken
        | FetchError::NoThread { .. } => BrokerError::NotSent(detail(&error)),
        FetchError::TimedOut { .. } | FetchError::Panicked { .. } | FetchError::TooOld { .. } => {
            BrokerError::Transient(detail(&error))
        }
    }
}

/// How a [`QuoteCache`] is set up.
#[must_use = "a builder does nothing until it is built"]
pub struct QuoteCacheBuilder<B> {
    inner: B,
    /// By which the requests are made, where that is not `within`.
    fetch_broker: Option<B>,
    config: BatchConfig,
    refresh_if: Box<dyn Fn() -> bool + Send + Sync>,
}

impl<B: Broker + 'static> QuoteCacheBuilder<B> {
    /// How long a quote is fresh, counted from before it was asked for. 5 s by default; with zero,
    /// only those who wait at the same time share an answer.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.configure(|settings| settings.ttl = ttl)
    }

    /// How long an instrument that nobody asks for is still fetched along. 5 minutes by default.
    pub fn time_to_idle(self, idle: Duration) -> Self {
        self.configure(|settings| settings.time_to_idle = idle)
    }

    /// The most instruments that are remembered. 10,000 by default.
    pub fn max_capacity(self, instruments: usize) -> Self {
        self.configure(|settings| settings.max_capacity = instruments)
    }

    /// What time it is.
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        self.configure(|settings| settings.clock = clock.into())
    }

    /// Sets whatever else can be set. How much goes into one request, the broker says itself; what is
    /// set here can only make it less.
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
    pub fn configure(mut self, tune: impl FnOnce(&mut BatchConfig)) -> Self {
        tune(&mut self.config);
        self
    }

    /// Whether the broker has requests to spare for quotes that soon will be due, see
    /// [`BatchConfig::refresh_ahead`]. Always, by default; a proxy's own cache asks its lane.
    pub fn refresh_if(mut self, spare: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.refresh_if = Box::new(spare);
        self
    }

    pub(super) fn fetch_with(mut self, fetching: B) -> Self {
        self.fetch_broker = Some(fetching);
        self
    }

    /// The cache.
    pub fn build(self) -> QuoteCache<B> {
        let Self { inner: within, fetch_broker: fetching, config: mut settings, refresh_if: spare } =
            self;
        let within = Arc::new(within);
        let fetching = fetching.map_or_else(|| Arc::clone(&within), Arc::new);
        let chunk = within.quote_batch_limit();
        settings.max_batch_keys = settings.max_batch_keys.min(chunk.count);
        settings.max_batch_weight = settings.max_batch_weight.min(chunk.bytes);
        let clock = settings.clock.clone();
        let cache = BatchBuilder::new(settings)
            .weigher(move |instrument| chunk.cost(instrument))
            .split_on(|fault| matches!(fault, QuoteFetchError::Broker(BrokerError::Rejected(_))))
            .refresh_if(spare)
            .build_each(move |batch| fetch_quotes(&*fetching, batch, &clock));
        QuoteCache { inner: within, options: GetOptions::new(), cache: Arc::new(cache) }
    }
}

impl<B> std::fmt::Debug for QuoteCacheBuilder<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuoteCacheBuilder").field("settings", &self.config).finish_non_exhaustive()
    }
}
