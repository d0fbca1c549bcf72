//! What is asked for: a new order, a change of one, or its cancellation.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::enums::{OrderType, Product, Side, TimeInForce, Variety};
use super::protection::MarketProtection;
use crate::broker::Instrument;

/// An order to be placed.
///
/// ```
/// use lanekeeper::broker::{Instrument, OrderRequest, Side};
/// use lanekeeper::rust_decimal::Decimal;
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
    /// How far from the last price a market or stop order may be filled. None takes the adapter's
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_protection: Option<MarketProtection>,
    /// Whether the broker divides the order into slices that the exchange takes, where it is larger than
    /// one order may be (Kite: above the freeze quantity). Place such an order by
    /// [`Broker::place_sliced`](crate::Broker::place_sliced). An adapter of a broker that has no such
    /// thing refuses it as [`NotSent`](crate::BrokerError::NotSent).
    ///
    /// Kite divides into 10 slices at most, and refuses to divide an order that needs no slicing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autoslice: bool,
    /// The caller's own mark on the order, echoed by the broker in its order book. By it an order
    /// of unknown outcome is found again. Kite takes up to 20 letters and digits.
    pub tag: Option<String>,
    /// Fields that only one broker knows, sent as they are (Kite: `algo_id`, `validity_ttl`,
    /// `iceberg_legs`). They may not speak for a field that the adapter fills in itself.
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
            market_protection: None,
            autoslice: false,
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

    /// Is filled no further than that from the last price; for market and stop orders.
    #[must_use]
    pub fn market_protection(mut self, protection: MarketProtection) -> Self {
        self.market_protection = Some(protection);
        self
    }

    /// Lets the broker divide the order into slices, see
    /// [`OrderRequest::autoslice`](#structfield.autoslice).
    #[must_use]
    pub fn autoslice(mut self, autoslice: bool) -> Self {
        self.autoslice = autoslice;
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
///
/// The way out at any price: a limit order that does not fill becomes a market order.
///
/// ```
/// use lanekeeper::broker::{MarketProtection, OrderChange, OrderType};
///
/// let exit = OrderChange::new().order_type(OrderType::Market);
/// // Kite gets its default protection with it, or one of your own:
/// let exit = exit.market_protection(MarketProtection::percent(5)?);
/// # Ok::<(), lanekeeper::broker::MarketProtectionError>(())
/// ```
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
    /// How far from the last price the order may be filled, if it is or becomes a market or stop
    /// order. A change to one of these types that names none takes the adapter's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_protection: Option<MarketProtection>,
    /// Fields that only one broker knows, sent as they are (Kite: `parent_order_id`). They may not
    /// speak for a field that the adapter fills in itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
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

    /// To another market protection.
    #[must_use]
    pub fn market_protection(mut self, protection: MarketProtection) -> Self {
        self.market_protection = Some(protection);
        self
    }

    /// Sends a field that only one broker knows.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// What goes with a cancellation beside the order's id.
///
/// ```
/// use lanekeeper::broker::OrderCancel;
///
/// // The leg of a cover order at Kite: the number of the order that it belongs to.
/// let cancel = OrderCancel::new().extra("parent_order_id", "151220000000000");
/// assert_eq!(cancel.extra.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderCancel {
    /// Fields that only one broker knows, sent as they are (Kite: `parent_order_id`). They may not
    /// speak for a field that the adapter fills in itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

impl OrderCancel {
    /// Nothing but the order's id.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a field that only one broker knows.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_json_with_its_decimals() {
        let price: Decimal = "99725.05000000002".parse().unwrap();
        let request =
            OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Sell, 10, price).tag("t1");
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<OrderRequest>(&json).unwrap(), request);
    }

    /// As a journal of an earlier version has it.
    #[test]
    fn an_order_without_the_newer_fields_is_read() {
        let request = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Sell, 10);
        let json = serde_json::to_string(&request).unwrap();
        assert!(!json.contains("market_protection") && !json.contains("autoslice"), "{json}");
        assert_eq!(serde_json::from_str::<OrderRequest>(&json).unwrap(), request);
        let change: OrderChange = serde_json::from_str(r#"{"quantity":"7"}"#).unwrap();
        assert_eq!(change, OrderChange::new().quantity(7));
    }
}
