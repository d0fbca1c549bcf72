//! Zerodha's Kite Connect v3, over HTTP.
//!
//! [`Kite`] is a plain adapter: it sends each call at once, and once. Nothing in it waits, retries or follows a
//! redirect; a `BrokerProxy` in front paces the calls.
//!
//! `classify.rs` decides what an error means, from the status and the message of the answer. When in doubt, a write
//! is "outcome unknown": see [`BrokerError`].

mod builder;
mod candles;
mod classify;
mod credentials;
mod de;
mod endpoints;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod instrument_tokens;
mod instruments;
mod known_ids;
mod order_form;
mod order_id;
mod orders;
mod placement;
mod portfolio;
pub mod postback;
mod quotes;
mod raw;
mod raw_answer;
mod raw_request;
mod response;
mod routes;
mod session;
mod slice_tags;
mod time;
pub mod wire;

use std::fmt;
use std::sync::Arc;

pub use builder::{KiteBuildError, KiteBuilder};
pub use endpoints::*;
pub use raw::{KiteRaw, KiteRawProxy};
pub use raw_answer::RawAnswer;
pub use raw_request::RawRequest;
pub use routes::routes;
pub use secrecy::{ExposeSecret, SecretString};
pub use session::{KiteSession, login_url};

use self::http::{ApiRequest, Http, not_sent_error};
use self::instrument_tokens::{InstrumentTokens, TokenLookup};
use self::known_ids::KnownIds;
use self::order_id::{order_number, order_path, path_segment};
use self::orders::WireConfirmation;
use self::placement::WirePlacement;
use super::http::secrets;
use super::india::zone;
use crate::Session;
use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, MarketProtection, MissingListing, MissingListings, Order, OrderCancel, OrderChange,
    OrderId, OrderRequest, OrderTags, Partial, Positions, Product, Profile, Quote, QuoteBatchLimit,
    Quotes, Rows, SlicedOrder, Trade,
};
use crate::presets;
use crate::quota::Limits;

/// An account at Zerodha. Cheap to clone: a clone is the same account and shares its connections.
///
/// ```no_run
/// use lanekeeper::broker::{Broker, Instrument};
/// use lanekeeper::brokers::Kite;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kite = Kite::builder().api_key("key").access_token("token").build()?;
/// println!("{}", kite.ltp(&Instrument::new("NSE", "INFY"))?);
/// # Ok(())
/// # }
/// ```
///
/// Beside [`Broker`] it implements [`KiteGtt`], [`KiteMargins`], [`KitePortfolio`], [`KiteQuotes`] and
/// [`KiteMutualFunds`], each of which has a proxy. [`KiteRaw`] is for any other endpoint.
///
/// No error and no `Debug` shows a token, and neither do the logs of the HTTP client down to the debug level. At the
/// *trace* level of the crate `log`, ureq writes every byte that it sends, the token included: keep `ureq` and
/// `ureq_proto` above that level.
///
/// An [`OrderId`] is Kite's number, with the variety before it where that is not the regular one:
/// `amo/151220000000000`. The day's [`trades`](Broker::trades) are the exception: Kite does not send the variety with
/// them, so they carry the plain number.
///
/// An answer to a placement, a change or a cancellation counts only if it names the right order. A new order has
/// an id of 1 to 64 letters, digits, `-` and `_` that this client has not seen before; a change names the order
/// that was changed. Otherwise it may be the answer to another call, and the outcome is
/// [unknown](BrokerError::OutcomeUnknown).
#[derive(Clone)]
pub struct Kite {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    default_product: Product,
    market_protection: Option<MarketProtection>,
    tokens: InstrumentTokens,
    missing_listings: MissingListings,
    known_ids: KnownIds,
    known_gtts: KnownIds,
    /// Of orders and plans of mutual funds.
    known_funds: KnownIds,
    session: Session,
}

impl Kite {
    /// Returns a builder with Kite's address and the timeouts of the vendor's own client.
    pub fn builder() -> KiteBuilder {
        KiteBuilder::new()
    }

    /// Returns the limits that Zerodha documents: [`presets::kite`].
    pub fn limits() -> Limits {
        presets::kite()
    }

    /// Places an order, and returns the outcome of each slice.
    fn place(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        let Inner { http, default_product, market_protection, .. } = &*self.inner;
        let variety = path_segment("order variety", order.variety.as_str())?;
        let form = order_form::placement(order, default_product, *market_protection)?;
        let call = ApiRequest::post(format!("/orders/{variety}"), form);
        let new = self.inner.known_ids.begin_placement();
        // Success without an id is an order that cannot be named, so it must be searched for. The same holds for the
        // id of another order.
        let secrets = http.credentials.secrets();
        let is_new = |id: &str| !secrets.appear_in(id) && new.claim(id);
        http.request_slices(&call, |placed: WirePlacement| {
            placement::sliced_order(placed, order, is_new)
        })
    }

    /// Sends a change or a cancellation of the order that Kite knows by `number`.
    fn send_change(&self, call: &ApiRequest, number: &str) -> Result<(), BrokerError> {
        self.http().request_data(call, |done: WireConfirmation| {
            orders::check_confirmation(&done, number)
        })?;
        self.inner.known_ids.record(number);
        Ok(())
    }

    fn http(&self) -> &Http {
        &self.inner.http
    }
}

impl fmt::Debug for Kite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kite")
            .field("base_url", &self.inner.http.base)
            .field("default_product", &self.inner.default_product)
            .finish_non_exhaustive()
    }
}

impl Broker for Kite {
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.place(order)?.complete()
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        self.place(order)?.in_market()
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        let path = format!("/orders/{}", order_path(id)?);
        let form = order_form::modification(change, self.inner.market_protection)?;
        self.send_change(&ApiRequest::put(path, form), order_number(id)?)?;
        // Kite keeps the id through a change.
        Ok(id.clone())
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.cancel_order_with(id, &OrderCancel::new())
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        let (order, query) = (order_path(id)?, order_form::cancellation(cancel)?);
        self.send_change(&ApiRequest::delete(format!("/orders/{order}{query}")), order_number(id)?)
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        let number = order_number(id)?;
        let call = ApiRequest::get(format!("/orders/{number}"));
        self.http().request_rows(&call, |book| orders::history(book, number))
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        let orders = self.http().request_rows(&ApiRequest::get("/orders"), orders::orders)?;
        self.inner
            .known_ids
            .record_all(orders.iter().filter_map(|order| order_number(&order.id).ok()));
        Ok(orders)
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/trades"), orders::trades)
    }

    fn order_trades(&self, id: &OrderId) -> Result<Rows<Trade>, BrokerError> {
        let number = order_number(id)?;
        let call = ApiRequest::get(format!("/orders/{number}/trades"));
        self.http().request_rows(&call, |book| orders::order_trades(book, id, number))
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/portfolio/positions"), portfolio::positions)
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/portfolio/holdings"), portfolio::holdings)
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/user/margins"), portfolio::margins)
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        self.http().request_data(&ApiRequest::get("/user/profile"), portfolio::profile)
    }

    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        let path = match exchange {
            Some(exchange) => {
                format!("/instruments/{}", path_segment("exchange", exchange.as_str())?)
            }
            None => "/instruments".to_owned(),
        };
        let listed = self.http().request_listing(&ApiRequest::get_listing(path))?;
        let token = |info: &InstrumentInfo| with_token(&info.instrument, info.token.as_deref());
        let numbered = listed.iter().filter_map(token);
        self.inner.tokens.learn_listing(exchange, numbered, listed.is_complete());
        Ok(listed)
    }

    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        // Kite rejects a request without instruments, so none is sent.
        if instruments.is_empty() {
            return Ok(Quotes::default());
        }
        let call = ApiRequest::get(quotes::path(instruments)?);
        let quotes = self.http().request_rows(&call, |data| quotes::quotes(data, instruments))?;
        let token = |quote: &Quote| with_token(&quote.instrument, quote.token.as_deref());
        self.inner.tokens.learn_quotes(quotes.values().filter_map(token));
        Ok(quotes)
    }

    /// Kite identifies the instrument by a number here, which this adapter learns from
    /// [`instruments`](Broker::instruments) and [`quotes`](Broker::quotes). A
    /// [`BrokerProxy`](crate::BrokerProxy) in front fetches the listing that is missing.
    ///
    /// Without a proxy, call one of the two first. The adapter makes one request for one call, so that the caller can
    /// pace every request, and it fetches no listing by itself.
    ///
    /// An instrument that is not in the listing of its exchange is [`NotSent`](BrokerError::NotSent), and nothing is
    /// requested for it. After ten minutes the listing may be fetched again.
    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        let instrument = &request.instrument;
        let token = match self.inner.tokens.lookup(instrument) {
            TokenLookup::Known(token) => token,
            TokenLookup::NotListed(at) => {
                let (exchange, at) = (instrument.exchange(), time::format(&at.to_zoned(zone())));
                return Err(not_sent_error(format!(
                    "{instrument} is not in the listing of {exchange} of {at} (IST)"
                )));
            }
            TokenLookup::Unknown => {
                return Err(not_sent_error(format!(
                    "Kite's number of {instrument} is not known, and candles are asked for by it: \
                     call `instruments` or `quotes` first, or `candles` of a `BrokerProxy` without a \
                     ticket, which does"
                )));
            }
        };
        self.http().request_rows(&ApiRequest::get(candles::path(request, token)?), candles::candles)
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let Inner { tokens, missing_listings, .. } = &*self.inner;
        let instrument = &request.instrument;
        let is_unknown = || tokens.lookup(instrument) == TokenLookup::Unknown;
        if !is_unknown() {
            return None;
        }
        missing_listings.get(&Exchange::from(instrument.exchange()), is_unknown)
    }

    fn session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }

    fn order_tags(&self) -> OrderTags {
        OrderTags::echoed(order_form::MAX_TAG_LENGTH).zone(zone()).changed_in_place()
    }

    fn documented_limits(&self) -> Limits {
        Self::limits()
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        quotes::BATCH_LIMIT
    }
}

/// Returns the instrument with its number, if it has one.
fn with_token(instrument: &Instrument, token: Option<&str>) -> Option<(Instrument, u64)> {
    Some((instrument.clone(), token?.parse().ok()?))
}
