//! Alpaca's trading and market data API, over HTTP.
//!
//! [`Alpaca`] is a plain adapter: it sends each call at once, and once. Nothing in it waits, retries or follows a
//! redirect; a `BrokerProxy` in front paces the calls. An answer of several pages takes one request for each.
//!
//! `classify.rs` decides what an error means. When in doubt, a write is "outcome unknown": see [`BrokerError`].
//!
//! # Orders beyond the common vocabulary
//!
//! What Alpaca has and most brokers have not is an extra field of an order, which is sent as it is: its value in place
//! of a quantity, the distance of a trailing stop, extended hours, the legs of a bracket. Two functions write the most
//! common ones:
//!
//! ```
//! use lanekeeper::broker::{Instrument, OrderRequest, Side, TimeInForce};
//! use lanekeeper::brokers::alpaca::{self, Trail};
//! use lanekeeper::rust_decimal::Decimal;
//!
//! let aapl = || Instrument::new("US", "AAPL");
//! // Half a share, and shares for 500 dollars.
//! let half = OrderRequest::market(aapl(), Side::Buy, Decimal::new(5, 1));
//! let for_500 = alpaca::market_by_value(aapl(), Side::Buy, 500);
//! // Sold when the price falls 2 % below its highest.
//! let trailing = alpaca::trailing_stop(aapl(), Side::Sell, 10, Trail::Percent(Decimal::TWO))
//!     .time_in_force(TimeInForce::Gtc);
//! // Before the market opens, too.
//! let early = OrderRequest::limit(aapl(), Side::Buy, 1, 180).extra("extended_hours", "true");
//! // With a stop behind it.
//! let bracket = OrderRequest::market(aapl(), Side::Buy, 1)
//!     .extra("order_class", "oto")
//!     .extra("stop_loss", r#"{"stop_price":"170"}"#);
//! # let _ = (half, for_500, trailing, early, bracket);
//! ```

mod account;
mod builder;
mod classify;
mod credentials;
mod http;
mod market_data;
mod order_body;
mod orders;
mod pages;
mod symbols;
mod time;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use form_urlencoded::Serializer;
use jiff::Timestamp;
use parking_lot::Mutex;
use rust_decimal::Decimal;
pub use secrecy::{ExposeSecret, SecretString};

pub use self::builder::{AlpacaBuildError, AlpacaBuilder};
pub use self::classify::DUPLICATE_CLIENT_ORDER_ID;
use self::http::{Api, ApiRequest, Http};
use self::order_body::{MAX_TAG_LENGTH, NOTIONAL, TAG_SYMBOLS, TRAIL_PERCENT, TRAIL_PRICE};
use self::orders::WireOrder;
use self::symbols::AssetClass;
use super::http::outcome::{ResponseError, not_sent_error};
use crate::broker::{
    Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Holding, Instrument,
    InstrumentInfo, Margins, Order, OrderChange, OrderId, OrderRequest, OrderTags, OrderType,
    Partial, Positions, Profile, QuoteBatchLimit, Quotes, Rows, Side, Trade,
};
use crate::presets;
use crate::quota::Limits;
use crate::{ReportedLimits, Session};

/// An account at Alpaca, the paper account by default. Cheap to clone: a clone is the same account and shares its
/// connections.
///
/// ```no_run
/// use lanekeeper::{Alpaca, Broker, BrokerProxy, Instrument, OrderRequest, Side};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let alpaca = Alpaca::builder().key_id("PK..").secret_key("..").build()?;
/// let broker = BrokerProxy::builder(alpaca).order_guard(|guard| guard).build()?;
/// let aapl = Instrument::new("US", "AAPL");
/// println!("{}", broker.ltp(&aapl)?);
/// let id = broker.place_order(&OrderRequest::limit(aapl, Side::Buy, 1, 180))?;
/// # let _ = id;
/// # Ok(())
/// # }
/// ```
///
/// - **Instruments** are `US:AAPL`, `CRYPTO:BTC/USD` and `US_OPTION:AAPL260320C00200000`: Alpaca chooses the venue.
/// - **Tags** are the `client_order_id`. Alpaca refuses a second order with the same one, so an
///   [`OrderGuard`](crate::OrderGuard) may send an order of unknown outcome again. An order without a tag gets one from
///   this adapter, by which it knows the answer.
/// - **A change** replaces the order by another one, with a new id and, unless the extra field `client_order_id` of the
///   change names one, with a tag that Alpaca makes. The old order is then
///   [`Replaced`](crate::OrderStatus::Replaced).
/// - **Orders** are those of the day in New York, and those of earlier days that are still open. **Trades** are those of
///   the day. **Positions** are all net: Alpaca does not tell holdings from positions, so
///   [`holdings`](Broker::holdings) is empty and sends nothing.
/// - **Quantities** in the depth of a quote are in Alpaca's units, which were lots of 100 until 2025.
///
/// No error and no `Debug` shows a key, and neither do the logs of the HTTP client down to the debug level. At the
/// *trace* level of the crate `log`, ureq writes every byte that it sends: keep `ureq` and `ureq_proto` above that
/// level.
#[derive(Clone)]
pub struct Alpaca {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    is_live: bool,
    /// The source of the prices of stocks, if not Alpaca's default.
    data_feed: Option<String>,
    /// The beginning of the day on which no order of an earlier day is open any more.
    nothing_carried: Mutex<Option<Timestamp>>,
    session: Session,
}

/// The distance of a [`trailing_stop`] from the best price so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trail {
    /// In the currency of the instrument.
    Price(Decimal),
    /// In percent of that price.
    Percent(Decimal),
}

/// Creates a market order for a value in money. Its quantity is zero, and follows from the price at which it is filled.
///
/// The value is the extra field `notional`, and not a field of [`OrderRequest`]: few brokers have it, and every other
/// adapter would have to refuse it.
pub fn market_by_value(
    instrument: Instrument,
    side: Side,
    value: impl Into<Decimal>,
) -> OrderRequest {
    OrderRequest::market(instrument, side, Decimal::ZERO).extra(NOTIONAL, value.into().to_string())
}

/// Creates a stop order whose trigger price follows the market.
pub fn trailing_stop(
    instrument: Instrument,
    side: Side,
    quantity: impl Into<Decimal>,
    trail: Trail,
) -> OrderRequest {
    let mut order = OrderRequest::market(instrument, side, quantity);
    order.order_type = OrderType::TrailingStop;
    match trail {
        Trail::Price(distance) => order.extra(TRAIL_PRICE, distance.to_string()),
        Trail::Percent(percent) => order.extra(TRAIL_PERCENT, percent.to_string()),
    }
}

impl Alpaca {
    /// Returns a builder for the paper account, with Alpaca's addresses.
    pub fn builder() -> AlpacaBuilder {
        AlpacaBuilder::new()
    }

    /// Returns the limits that Alpaca documents: [`presets::alpaca`].
    pub fn limits() -> Limits {
        presets::alpaca()
    }

    /// Returns whether its orders are real.
    pub fn is_live(&self) -> bool {
        self.inner.is_live
    }

    /// Replaces the keys, from the next request on. Calls that the lanes hold because Alpaca refused the old ones are
    /// sent.
    ///
    /// # Errors
    /// A header cannot carry the keys. The old ones stay.
    pub fn set_keys(
        &self,
        key_id: impl Into<SecretString>,
        secret_key: impl Into<SecretString>,
    ) -> Result<(), AlpacaBuildError> {
        let keys = builder::check_keys(Some(key_id.into()), Some(secret_key.into()))?;
        self.inner.http.credentials.replace(keys);
        // They may be those of another account, which has open orders of its own.
        *self.inner.nothing_carried.lock() = None;
        self.inner.session.renew();
        Ok(())
    }

    /// Returns the order with this tag, of any day. One request, which no lane paces.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let alpaca = lanekeeper::Alpaca::builder().key_id("PK..").secret_key("..").build()?;
    /// let order = alpaca.order_by_tag("my-order-17")?;
    /// println!("{} is {}", order.id, order.status);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Rejected`](BrokerError::Rejected) if there is none, and the errors of a read.
    pub fn order_by_tag(&self, tag: &str) -> Result<Order, BrokerError> {
        let query = Serializer::new(String::new()).append_pair("client_order_id", tag).finish();
        let call = ApiRequest::get(format!("/v2/orders:by_client_order_id?{query}"));
        self.http().request_data(&call, |wire| orders::order_by_tag(wire, tag))
    }

    fn http(&self) -> &Http {
        &self.inner.http
    }
}

impl fmt::Debug for Alpaca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alpaca")
            .field("trading_url", &self.inner.http.trading_url)
            .field("data_url", &self.inner.http.data_url)
            .finish_non_exhaustive()
    }
}

impl Broker for Alpaca {
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let caller_tag = order.tag.as_deref().filter(|tag| !tag.is_empty());
        let tag = caller_tag.map_or_else(random_tag, |tag| Ok(tag.to_owned()))?;
        let call = ApiRequest::post("/v2/orders", order_body::placement(order, &tag)?);
        let secrets = self.http().credentials.secrets();
        let placed = self.http().request_data(&call, |wire: WireOrder| {
            let id = orders::placed(wire, &tag)?;
            match secrets.appear_in(id.as_str()) {
                // An id that contains a secret is not an id.
                true => Err(ResponseError::WrongRequest("it has no id".to_owned())),
                false => Ok(id),
            }
        });
        placed.map_err(|error| match error {
            // No other order has this tag, so something on the way sent the order twice.
            BrokerError::Rejected(detail) if caller_tag.is_none() && is_duplicate(&detail) => {
                BrokerError::OutcomeUnknown(detail)
            }
            error => error,
        })
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        let number = orders::path_of(id)?;
        let call = ApiRequest::patch(format!("/v2/orders/{number}"), order_body::change(change)?);
        self.http().request_data(&call, |wire: WireOrder| orders::replacement(wire, number))
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        let number = orders::path_of(id)?;
        // Its answer is 204, without a body that could name the order.
        self.http().execute(&ApiRequest::delete(format!("/v2/orders/{number}")))
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        let number = orders::path_of(id)?;
        let call = ApiRequest::get(format!("/v2/orders/{number}"));
        let order = self.http().request_data(&call, |wire| orders::order_by_id(wire, number))?;
        Ok(vec![order].into())
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        let midnight = time::start_of_day(Timestamp::now());
        let mut orders = self.carried_orders(midnight)?;
        let today = pages::orders(self.http(), "all", Some(midnight), None)?;
        let ids: HashSet<&OrderId> = today.iter().map(|order| &order.id).collect();
        orders.retain(|order| !ids.contains(&order.id));
        drop(ids);
        pages::append(&mut orders, today);
        Ok(orders)
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        pages::trades(self.http(), time::start_of_day(Timestamp::now()))
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/v2/positions"), account::positions)
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        Ok(Rows::default())
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/v2/account"), account::margins)
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        self.http().request_data(&ApiRequest::get("/v2/account"), account::profile)
    }

    fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        let class =
            match exchange.map(|exchange| (exchange, AssetClass::of_exchange(exchange.as_str()))) {
                None => String::new(),
                Some((_, Some(class))) => format!("&asset_class={}", class.as_str()),
                Some((exchange, None)) => {
                    return Err(not_sent_error(format!("Alpaca has no exchange {exchange}")));
                }
            };
        let call = ApiRequest::get_listing(format!("/v2/assets?status=active{class}"));
        self.http().request_rows(&call, account::assets)
    }

    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let feed = self.inner.data_feed.as_deref();
        let mut quotes = Quotes::default();
        // One request, or two if there are both stocks and cryptocurrencies.
        for (number, request) in market_data::snapshot_requests(instruments)?.iter().enumerate() {
            if number > 0 {
                self.http().check_count(Api::MarketData)?;
            }
            let call = ApiRequest::get_market_data(request.path(feed));
            let read = self.http().request_rows(&call, |data| request.quotes(data))?;
            quotes.rows.extend(read.rows);
            quotes.problems.extend(read.problems);
        }
        Ok(quotes)
    }

    fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        pages::candles(self.http(), request, self.inner.data_feed.as_deref())
    }

    fn session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }

    fn reported_limits(&self) -> Option<ReportedLimits> {
        Some(self.inner.http.reported.clone())
    }

    fn order_tags(&self) -> OrderTags {
        OrderTags::unique(MAX_TAG_LENGTH, DUPLICATE_CLIENT_ORDER_ID)
            .symbols(TAG_SYMBOLS)
            .zone(time::zone())
    }

    fn documented_limits(&self) -> Limits {
        Self::limits()
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        market_data::BATCH_LIMIT
    }
}

impl Alpaca {
    /// Returns the open orders of earlier days. Once there are none, no more are requested on this day: an order that
    /// is placed today is one of today.
    fn carried_orders(&self, midnight: Timestamp) -> Result<Rows<Order>, BrokerError> {
        if *self.inner.nothing_carried.lock() == Some(midnight) {
            return Ok(Rows::default());
        }
        let carried = pages::orders(self.http(), "open", None, Some(midnight))?;
        if carried.is_empty() && carried.is_complete() {
            *self.inner.nothing_carried.lock() = Some(midnight);
        }
        // The orders of the day are one more request.
        self.http().check_count(Api::Trading)?;
        Ok(carried)
    }
}

fn is_duplicate(detail: &ErrorDetail) -> bool {
    detail.code.as_deref() == Some(DUPLICATE_CLIENT_ORDER_ID)
}

/// Returns a tag for an order that has none, so that its answer can be told from the answer to another call.
fn random_tag() -> Result<String, BrokerError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        not_sent_error(format!("no random numbers from the system for a tag: {error}"))
    })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
