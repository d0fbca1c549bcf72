//! Orders: what is asked for, what became of it, and the trades it made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::Instrument;
use super::vocabulary::vocabulary;

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// To own more, or owe less.
    Buy,
    /// To own less, or owe more.
    Sell,
}

impl Side {
    /// The side that undoes this one.
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        })
    }
}

vocabulary! {
    /// How the price of an order is set.
    pub enum OrderType {
        /// At the best price there is.
        Market = "MARKET",
        /// At this price or a better one.
        Limit = "LIMIT",
        /// A market order once the trigger price is met.
        Stop = "STOP",
        /// A limit order once the trigger price is met.
        StopLimit = "STOP_LIMIT",
    }
}

vocabulary! {
    /// What an order's shares are held as. Brokers outside India have no such thing.
    pub enum Product {
        /// Cash and carry: delivered, held for as long as one likes.
        Cnc = "CNC",
        /// Intraday, squared off by the broker at the end of the day.
        Mis = "MIS",
        /// Derivatives carried over night.
        Nrml = "NRML",
        /// Margin trading facility.
        Mtf = "MTF",
        /// Cover order.
        Co = "CO",
    }
}

vocabulary! {
    /// How long an order waits to be filled.
    pub enum TimeInForce {
        /// Until the end of the trading day.
        Day = "DAY",
        /// Immediate or cancel: what is not filled at once is cancelled.
        Ioc = "IOC",
        /// Fill or kill: all at once, or none.
        Fok = "FOK",
        /// Good till cancelled.
        Gtc = "GTC",
        /// For a number of minutes; brokers that have it take the number as an extra.
        Ttl = "TTL",
    }
}

vocabulary! {
    /// The way by which an order reaches the market.
    pub enum Variety {
        /// In the ordinary way.
        Regular = "regular",
        /// After market hours, held until the market opens.
        Amo = "amo",
        /// Cover order.
        Co = "co",
        /// In several smaller legs.
        Iceberg = "iceberg",
        /// In an auction session.
        Auction = "auction",
    }
}

vocabulary! {
    /// Where an order stands. What lies between the broker's desk and the exchange has many names;
    /// those stay in [`OrderStatus::Other`], as the broker spelled them.
    pub enum OrderStatus {
        /// In the market, nothing filled or a part of it.
        Open = "OPEN",
        /// Waits for its trigger price.
        TriggerPending = "TRIGGER PENDING",
        /// A part is filled, the rest is still in the market.
        PartiallyFilled = "PARTIALLY FILLED",
        /// All of it is filled.
        Filled = "FILLED",
        /// Cancelled, with what was filled before kept.
        Cancelled = "CANCELLED",
        /// Refused by the broker or the exchange.
        Rejected = "REJECTED",
        /// Its time in force is over.
        Expired = "EXPIRED",
    }
}

impl OrderStatus {
    /// Nothing will happen to an order in this state any more.
    ///
    /// A status this version does not know is not final: looking again is the safe answer.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected | Self::Expired)
    }
}

/// The broker's name for an order.
///
/// Opaque: an adapter may put into it what it needs to reach the order again (Kite: the variety,
/// when it is not the regular one). Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Arc<str>);

impl OrderId {
    /// The order that the broker calls `id`.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An order to be placed.
///
/// ```
/// use lanekeeper::broker::{Instrument, OrderRequest, Side};
/// use rust_decimal::Decimal;
///
/// let infy = Instrument::new("NSE", "INFY");
/// let order = OrderRequest::limit(infy, Side::Buy, 10, Decimal::new(1500_05, 2)).tag("alpha1");
/// assert_eq!(order.price, Some(Decimal::new(150005, 2)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderRequest {
    /// What to trade.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// How much, in units of the instrument. Some brokers take fractions.
    pub quantity: Decimal,
    /// How the price is set.
    pub order_type: OrderType,
    /// The limit price, in the instrument's currency.
    pub price: Option<Decimal>,
    /// The price that wakes a stop order.
    pub trigger_price: Option<Decimal>,
    /// How the shares are held. None takes the adapter's default.
    pub product: Option<Product>,
    /// How long it waits.
    pub time_in_force: TimeInForce,
    /// The way to the market.
    pub variety: Variety,
    /// How much of the quantity the market may see.
    pub disclosed_quantity: Option<Decimal>,
    /// The caller's own mark on the order, echoed by the broker in its order book. By it an order
    /// of unknown outcome is found again. Kite takes up to 20 letters and digits.
    pub tag: Option<String>,
    /// Fields that only one broker knows, sent as they are (Kite: `market_protection`, `algo_id`).
    pub extra: BTreeMap<String, String>,
}

impl OrderRequest {
    fn new(
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        order_type: OrderType,
    ) -> Self {
        Self {
            instrument,
            side,
            quantity: quantity.into(),
            order_type,
            price: None,
            trigger_price: None,
            product: None,
            time_in_force: TimeInForce::Day,
            variety: Variety::Regular,
            disclosed_quantity: None,
            tag: None,
            extra: BTreeMap::new(),
        }
    }

    /// At the best price there is.
    pub fn market(instrument: Instrument, side: Side, quantity: impl Into<Decimal>) -> Self {
        Self::new(instrument, side, quantity, OrderType::Market)
    }

    /// At `price` or a better one.
    pub fn limit(
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        price: impl Into<Decimal>,
    ) -> Self {
        let mut order = Self::new(instrument, side, quantity, OrderType::Limit);
        order.price = Some(price.into());
        order
    }

    /// A market order once `trigger` is met.
    pub fn stop(
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        trigger: impl Into<Decimal>,
    ) -> Self {
        let mut order = Self::new(instrument, side, quantity, OrderType::Stop);
        order.trigger_price = Some(trigger.into());
        order
    }

    /// A limit order at `price` once `trigger` is met.
    pub fn stop_limit(
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        trigger: impl Into<Decimal>,
        price: impl Into<Decimal>,
    ) -> Self {
        let mut order = Self::new(instrument, side, quantity, OrderType::StopLimit);
        order.trigger_price = Some(trigger.into());
        order.price = Some(price.into());
        order
    }

    /// Marks the order, see [`OrderRequest::tag`](#structfield.tag).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Holds the shares as `product`.
    #[must_use]
    pub fn product(mut self, product: Product) -> Self {
        self.product = Some(product);
        self
    }

    /// Waits for as long as `time_in_force` says.
    #[must_use]
    pub fn time_in_force(mut self, time_in_force: TimeInForce) -> Self {
        self.time_in_force = time_in_force;
        self
    }

    /// Goes to the market by another way than the regular one.
    #[must_use]
    pub fn variety(mut self, variety: Variety) -> Self {
        self.variety = variety;
        self
    }

    /// Shows only `quantity` to the market.
    #[must_use]
    pub fn disclosed_quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.disclosed_quantity = Some(quantity.into());
        self
    }

    /// Sends a field that only one broker knows.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// What to change about an order in the market. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderChange {
    /// The new total quantity.
    pub quantity: Option<Decimal>,
    /// The new limit price.
    pub price: Option<Decimal>,
    /// The new trigger price.
    pub trigger_price: Option<Decimal>,
    /// The new way to set the price.
    pub order_type: Option<OrderType>,
    /// The new time in force.
    pub time_in_force: Option<TimeInForce>,
    /// The new visible quantity.
    pub disclosed_quantity: Option<Decimal>,
}

impl OrderChange {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// To a new total quantity.
    #[must_use]
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// To a new limit price.
    #[must_use]
    pub fn price(mut self, price: impl Into<Decimal>) -> Self {
        self.price = Some(price.into());
        self
    }

    /// To a new trigger price.
    #[must_use]
    pub fn trigger_price(mut self, price: impl Into<Decimal>) -> Self {
        self.trigger_price = Some(price.into());
        self
    }

    /// To another way of setting the price.
    #[must_use]
    pub fn order_type(mut self, order_type: OrderType) -> Self {
        self.order_type = Some(order_type);
        self
    }

    /// To another time in force.
    #[must_use]
    pub fn time_in_force(mut self, time_in_force: TimeInForce) -> Self {
        self.time_in_force = Some(time_in_force);
        self
    }

    /// To another visible quantity.
    #[must_use]
    pub fn disclosed_quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.disclosed_quantity = Some(quantity.into());
        self
    }
}

/// An order as the broker's book shows it at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Order {
    /// The broker's name for it.
    pub id: OrderId,
    /// The exchange's own name for it, once it has one.
    pub exchange_order_id: Option<String>,
    /// The order this one belongs to, as a leg or a slice.
    pub parent: Option<OrderId>,
    /// What is traded.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it stands there, in the broker's words.
    pub status_message: Option<String>,
    /// How the price is set.
    pub order_type: OrderType,
    /// How the shares are held.
    pub product: Option<Product>,
    /// How long it waits.
    pub time_in_force: TimeInForce,
    /// The way it took to the market.
    pub variety: Variety,
    /// The quantity asked for.
    pub quantity: Decimal,
    /// The part of it that is filled.
    pub filled_quantity: Decimal,
    /// The part of it that was cancelled.
    pub cancelled_quantity: Decimal,
    /// The limit price.
    pub price: Option<Decimal>,
    /// The trigger price.
    pub trigger_price: Option<Decimal>,
    /// The mean price of what is filled.
    pub average_price: Option<Decimal>,
    /// The caller's mark, as it was sent.
    pub tag: Option<String>,
    /// When the broker took it in.
    pub placed_at: Option<Zoned>,
    /// When this state began.
    pub updated_at: Option<Zoned>,
}

impl Order {
    /// The order that `request` asks for, with nothing filled, under the name `id`.
    pub fn new(id: OrderId, status: OrderStatus, request: &OrderRequest) -> Self {
        Self {
            id,
            exchange_order_id: None,
            parent: None,
            instrument: request.instrument.clone(),
            side: request.side,
            status,
            status_message: None,
            order_type: request.order_type.clone(),
            product: request.product.clone(),
            time_in_force: request.time_in_force.clone(),
            variety: request.variety.clone(),
            quantity: request.quantity,
            filled_quantity: Decimal::ZERO,
            cancelled_quantity: Decimal::ZERO,
            price: request.price,
            trigger_price: request.trigger_price,
            average_price: None,
            tag: request.tag.clone(),
            placed_at: None,
            updated_at: None,
        }
    }

    /// What is neither filled nor cancelled, and can still be filled. Zero once the status is final.
    pub fn pending_quantity(&self) -> Decimal {
        if self.status.is_final() {
            return Decimal::ZERO;
        }
        (self.quantity - self.filled_quantity - self.cancelled_quantity).max(Decimal::ZERO)
    }
}

/// A fill, or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trade {
    /// The exchange's name for the trade.
    pub id: String,
    /// The order it belongs to.
    pub order_id: OrderId,
    /// What was traded.
    pub instrument: Instrument,
    /// Bought or sold.
    pub side: Side,
    /// How the shares are held.
    pub product: Option<Product>,
    /// How much.
    pub quantity: Decimal,
    /// At which price.
    pub price: Decimal,
    /// When.
    pub at: Option<Zoned>,
}

impl Trade {
    /// A trade of `order` of which no time is known.
    pub fn new(id: impl Into<String>, order: &Order, quantity: Decimal, price: Decimal) -> Self {
        Self {
            id: id.into(),
            order_id: order.id.clone(),
            instrument: order.instrument.clone(),
            side: order.side,
            product: order.product.clone(),
            quantity,
            price,
            at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_is_not_final() {
        assert!(!OrderStatus::from("MODIFY VALIDATION PENDING").is_final());
        assert!(OrderStatus::from("REJECTED").is_final());
    }

    #[test]
    fn nothing_is_pending_on_a_final_order() {
        let request = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
        let mut order = Order::new(OrderId::new("1"), OrderStatus::Open, &request);
        order.filled_quantity = Decimal::from(4);
        assert_eq!(order.pending_quantity(), Decimal::from(6));
        order.status = OrderStatus::Cancelled;
        assert_eq!(order.pending_quantity(), Decimal::ZERO);
    }

    #[test]
    fn an_order_survives_json_with_its_decimals() {
        let price: Decimal = "99725.05000000002".parse().unwrap();
        let request =
            OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Sell, 10, price).tag("t1");
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<OrderRequest>(&json).unwrap(), request);
    }
}
