//! The quote cache: a [`BatchCache`] in front of a [`Broker`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::batch::{BatchCache, BatchSettings, CacheStats, FetchError};
use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, Detail, Exchange, Holding, Instrument,
    InstrumentInfo, Margins, Ohlc, Order, OrderChange, OrderId, OrderRequest, Positions, Profile,
    Quote, QuoteChunk, Trade,
};
use crate::clock::Clock;
use crate::quota::Limits;

/// A [`Broker`] that answers quotes from memory while they are fresh, and asks for many at once
/// when they are not. All other calls go through to the broker within.
///
/// `quote`, `ltp` and `ohlc` share one entry. A clone shares the memory.
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
/// # }
/// # Ok::<(), lanekeeper::broker::BrokerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct QuoteCache<B> {
    within: B,
    cache: Arc<BatchCache<Instrument, Quote, BrokerError>>,
}

impl<B: Broker> QuoteCache<B> {
    /// A cache with the default settings: quotes are fresh for 5 s.
    pub fn new(within: B) -> Self {
        Self::builder(within).build()
    }

    /// A cache to be set up.
    pub fn builder(within: B) -> QuoteCacheBuilder<B> {
        QuoteCacheBuilder { within, settings: BatchSettings::default() }
    }

    /// The broker within.
    pub fn within(&self) -> &B {
        &self.within
    }

    /// How often it was asked, and what it took.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    fn shared(&self, instrument: &Instrument) -> Result<Arc<Quote>, BrokerError> {
        let quote = self.cache.get(instrument, |keys| self.within.quotes(keys));
        quote
            .map_err(to_broker_error)?
            .ok_or_else(|| BrokerError::NoQuote { instrument: instrument.clone() })
    }
}

fn to_broker_error(error: FetchError<BrokerError>) -> BrokerError {
    match error {
        FetchError::Failed(error) => error,
        FetchError::Panicked => BrokerError::Transient(Detail::new(error.to_string())),
    }
}

/// How a [`QuoteCache`] is set up.
#[derive(Debug)]
pub struct QuoteCacheBuilder<B> {
    within: B,
    settings: BatchSettings,
}

impl<B: Broker> QuoteCacheBuilder<B> {
    /// How long a quote is fresh, counted from before it was asked for. 5 s by default; with zero,
    /// only those who wait at the same time share an answer.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// How long an instrument that nobody asks for is still fetched along. 5 minutes by default.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.settings.idle = idle;
        self
    }

    /// The most instruments that are remembered. 10,000 by default.
    #[must_use]
    pub fn capacity(mut self, instruments: u64) -> Self {
        self.settings.capacity = instruments;
        self
    }

    /// What time it is.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.settings.clock = clock.into();
        self
    }

    /// The cache. How much goes into one request, the broker says itself.
    pub fn build(self) -> QuoteCache<B> {
        let Self { within, mut settings } = self;
        let chunk = within.quote_chunk();
        settings.most_keys = chunk.count;
        settings.most_weight = chunk.bytes;
        let cache = Arc::new(BatchCache::new(settings, move |key| chunk.cost(key)));
        QuoteCache { within, cache }
    }
}

impl<B: Broker> Broker for QuoteCache<B> {
    fn quotes(
        &self,
        instruments: &[Instrument],
    ) -> Result<HashMap<Instrument, Quote>, BrokerError> {
        let quotes = self.cache.get_many(instruments, |keys| self.within.quotes(keys));
        let own = |quote: Arc<Quote>| Quote::clone(&quote);
        let quotes = quotes.map_err(to_broker_error)?;
        Ok(quotes.into_iter().map(|(instrument, quote)| (instrument, own(quote))).collect())
    }

    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        Ok(Quote::clone(&*self.shared(instrument)?))
    }

    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        Ok(self.shared(instrument)?.last_price)
    }

    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        let missing = || BrokerError::NoQuote { instrument: instrument.clone() };
        self.shared(instrument)?.ohlc.ok_or_else(missing)
    }

    /// As many as are asked for: the cache divides them up.
    fn quote_chunk(&self) -> QuoteChunk {
        QuoteChunk::default()
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.within.place_order(order)
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.within.modify_order(id, change)
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.within.cancel_order(id)
    }

    fn order_history(&self, id: &OrderId) -> Result<Vec<Order>, BrokerError> {
        self.within.order_history(id)
    }

    fn orders(&self) -> Result<Vec<Order>, BrokerError> {
        self.within.orders()
    }

    fn trades(&self) -> Result<Vec<Trade>, BrokerError> {
        self.within.trades()
    }

    fn order_trades(&self, id: &OrderId) -> Result<Vec<Trade>, BrokerError> {
        self.within.order_trades(id)
    }

    fn positions(&self) -> Result<Positions, BrokerError> {
        self.within.positions()
    }

    fn holdings(&self) -> Result<Vec<Holding>, BrokerError> {
        self.within.holdings()
    }

    fn margins(&self) -> Result<Margins, BrokerError> {
        self.within.margins()
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        self.within.profile()
    }

    fn instruments(&self, exchange: Option<&Exchange>) -> Result<Vec<InstrumentInfo>, BrokerError> {
        self.within.instruments(exchange)
    }

    fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, BrokerError> {
        self.within.candles(request)
    }

    fn order(&self, id: &OrderId) -> Result<Order, BrokerError> {
        self.within.order(id)
    }

    fn documented_limits(&self) -> Limits {
        self.within.documented_limits()
    }
}
