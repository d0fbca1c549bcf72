//! The quote cache as a [`Broker`]: quotes come from the cache, and all other calls are forwarded.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::QuoteCache;
use crate::broker::{
    Broker, BrokerError, Instrument, Ohlc, Quote, QuoteBatchLimit, Quotes, delegate_broker,
};

impl<B: Broker + 'static> Broker for QuoteCache<B> {
    // `quotes_of` keeps its default, which calls `quotes`: a batch is answered from the cache as well.
    delegate_broker! { to self.inner(); except quotes, quotes_of, quote, quote_after, ltp, ohlc, quote_batch_limit }

    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.read_quotes(instruments)
    }

    fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.to_quote()))
    }

    fn quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Result<Quote, BrokerError> {
        self.read_quote_after(instrument, seen)
    }

    fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.quote.last_price))
    }

    fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.read_quote(instrument, |quoted| quoted.quote.ohlc)
    }

    /// Returns no limit, because the cache divides any number of instruments into batches.
    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit::default()
    }
}
