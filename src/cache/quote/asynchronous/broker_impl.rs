//! The cache as an [`AsyncBroker`]: quotes come from the cache, and all other calls are forwarded.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::AsyncQuoteCache;
use crate::broker::{
    AsyncBroker, BrokerError, Instrument, Ohlc, Quote, QuoteBatchLimit, Quotes,
    delegate_async_broker,
};

#[crate::async_trait]
// `async_trait` writes the earlier name of a lint too.
#[allow(renamed_and_removed_lints)]
impl<B: AsyncBroker + 'static> AsyncBroker for AsyncQuoteCache<B> {
    // `quotes_of` keeps its default, which calls `quotes`: a batch is answered from the cache as well.
    delegate_async_broker! { to self.inner; except quotes, quotes_of, quote, quote_after, ltp, ohlc, quote_batch_limit }

    async fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.read_quotes(instruments).await
    }

    async fn quote(&self, instrument: &Instrument) -> Result<Quote, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.to_quote())).await
    }

    async fn quote_after(
        &self,
        instrument: &Instrument,
        seen: Option<Timestamp>,
    ) -> Result<Quote, BrokerError> {
        self.read_quote_after(instrument, seen).await
    }

    async fn ltp(&self, instrument: &Instrument) -> Result<Decimal, BrokerError> {
        self.read_quote(instrument, |quoted| Some(quoted.quote.last_price)).await
    }

    async fn ohlc(&self, instrument: &Instrument) -> Result<Ohlc, BrokerError> {
        self.read_quote(instrument, |quoted| quoted.quote.ohlc).await
    }

    /// Returns no limit, because the cache divides any number of instruments into batches.
    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit::default()
    }
}
