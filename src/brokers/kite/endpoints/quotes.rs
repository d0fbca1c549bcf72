//! Last prices alone, and those of the day: smaller answers than quotes, for more instruments.

use super::limits;
use crate::Session;
use crate::broker::{BrokerError, Instrument, Quote, QuoteBatchLimit, Quotes};
use crate::brokers::kite::http::ApiRequest;
use crate::brokers::kite::quotes::{BATCH_LIMIT, instruments_path, quotes};
use crate::brokers::kite::{Kite, with_token};
use crate::quota::Limits;

/// Kite's smaller quotes.
///
/// A call costs as much of the lane `quote` as one of [`Broker::quotes`](crate::Broker::quotes): one request a second,
/// whichever of the three routes it takes. So these are for more instruments than fit into one request for quotes. For
/// a few instruments use a [`QuoteCache`](crate::QuoteCache), which shares one request between all callers.
///
/// ```
/// use lanekeeper::brokers::kite::KiteQuotes;
/// use lanekeeper::{BrokerError, Instrument};
///
/// fn print_prices(kite: &dyn KiteQuotes, watched: &[Instrument]) -> Result<(), BrokerError> {
///     for (instrument, quote) in kite.last_prices(watched)?.complete()? {
///         println!("{instrument}: {}", quote.last_price);
///     }
///     Ok(())
/// }
/// # let _ = print_prices;
/// ```
///
/// # Errors
/// As for the reads of [`Broker`](crate::Broker). [`NotSent`](BrokerError::NotSent) if no instruments are named, or more
/// than [`price_batch_limit`](Self::price_batch_limit) allows.
#[crate::proxy(limits = quote_limits, session = quote_session)]
pub trait KiteQuotes: Send + Sync {
    /// Returns the last prices. Of each [`Quote`], `last_price` and `token` are set. An instrument without data is
    /// absent.
    #[lane(quote, read)]
    fn last_prices(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError>;

    /// Returns the last prices with the day's open, high and low and the previous close. Of each [`Quote`],
    /// `last_price`, `token` and `ohlc` are set. An instrument without data is absent.
    #[lane(quote, read)]
    fn day_prices(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError>;

    /// Returns how many instruments one call accepts.
    #[direct]
    fn price_batch_limit(&self) -> QuoteBatchLimit {
        PRICE_LIMIT
    }

    /// Returns the limit that Kite documents for the lane `quote`, as in [`presets::kite`](crate::presets::kite).
    #[direct]
    fn quote_limits(&self) -> Limits {
        limits::quote()
    }

    /// Returns the session that the calls are made in, if there is one.
    #[direct]
    fn quote_session(&self) -> Option<Session> {
        None
    }
}

/// Kite documents 1000 instruments. The address is too long before that, unless their names are short.
const PRICE_LIMIT: QuoteBatchLimit = QuoteBatchLimit { count: 1000, ..BATCH_LIMIT };

impl KiteQuotes for Kite {
    fn last_prices(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.prices("/quote/ltp", instruments)
    }

    fn day_prices(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.prices("/quote/ohlc", instruments)
    }

    fn quote_session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}

impl Kite {
    fn prices(&self, route: &str, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let call = ApiRequest::get(instruments_path(route, instruments, PRICE_LIMIT)?);
        let prices = self.http().request_rows(&call, |data| quotes(data, instruments))?;
        let token = |quote: &Quote| with_token(&quote.instrument, quote.token.as_deref());
        self.inner.tokens.learn_quotes(prices.values().filter_map(token));
        Ok(prices)
    }
}
