//! Requests: a new order, a change of an order, and its cancellation.

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
    /// The instrument to trade.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The quantity, in units of the instrument. Some brokers accept fractions.
    pub quantity: Decimal,
    /// How the price is set.
    pub order_type: OrderType,
    /// The limit price, in the instrument's currency.
    pub price: Option<Decimal>,
    /// The price that triggers a stop order.
    pub trigger_price: Option<Decimal>,
    /// How the shares are held. `None` uses the adapter's default.
    pub product: Option<Product>,
    /// How long the order waits to be filled.
    pub time_in_force: TimeInForce,
    /// The route by which the order reaches the market.
    pub variety: Variety,
    /// The part of the quantity that is visible to the market.
    pub disclosed_quantity: Option<Decimal>,
    /// How far from the last price a market or stop order may be filled. `None` uses the adapter's
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_protection: Option<MarketProtection>,
    /// Whether the broker divides an order above the exchange's maximum into slices (Kite: above the
    /// freeze quantity). Place such an order with
    /// [`Broker::place_sliced`](crate::Broker::place_sliced). If the broker does not support it, the
    /// adapter returns [`NotSent`](crate::BrokerError::NotSent).
    ///
    /// Kite divides into at most 10 slices, and refuses to divide an order that needs no slicing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autoslice: bool,
    /// The caller's own mark on the order, which the broker shows in its order book. An order of
    /// unknown outcome is found by it. Kite accepts up to 20 letters and digits.
    pub tag: Option<String>,
    /// Broker-specific fields, sent unchanged (Kite: `algo_id`, `validity_ttl`, `iceberg_legs`). They
    /// must not repeat a field that the adapter fills in itself. The journal of an `OrderGuard` keeps
    /// them, so they must hold no secret.
    #[serde(default)]
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

    /// Creates an order at the best available price.
    pub fn market(instrument: Instrument, side: Side, quantity: impl Into<Decimal>) -> Self {
        Self::new(instrument, side, quantity, OrderType::Market)
    }

    /// Creates an order at `price` or a better one.
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

    /// Creates an order that becomes a market order when the price reaches `trigger`.
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

    /// Creates an order that becomes a limit order at `price` when the price reaches `trigger`.
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

    /// Sets the tag, see [`OrderRequest::tag`](#structfield.tag).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Sets how the shares are held.
    #[must_use]
    pub fn product(mut self, product: Product) -> Self {
        self.product = Some(product);
        self
    }

    /// Sets how long the order waits to be filled.
    #[must_use]
    pub fn time_in_force(mut self, time_in_force: TimeInForce) -> Self {
        self.time_in_force = time_in_force;
        self
    }

    /// Sets the route by which the order reaches the market, if not the regular one.
    #[must_use]
    pub fn variety(mut self, variety: Variety) -> Self {
        self.variety = variety;
        self
    }

    /// Sets the part of the quantity that is visible to the market.
    #[must_use]
    pub fn disclosed_quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.disclosed_quantity = Some(quantity.into());
        self
    }

    /// Sets how far from the last price a market or stop order may be filled.
    #[must_use]
    pub fn market_protection(mut self, protection: MarketProtection) -> Self {
        self.market_protection = Some(protection);
        self
    }

    /// Sets whether the broker divides the order into slices, see
    /// [`OrderRequest::autoslice`](#structfield.autoslice).
    #[must_use]
    pub fn autoslice(mut self, autoslice: bool) -> Self {
        self.autoslice = autoslice;
        self
    }

    /// Adds a broker-specific field.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// A change of an order in the market. A field that is `None` is not changed.
///
/// For an exit at any price, a limit order that does not fill becomes a market order:
///
/// ```
/// use lanekeeper::broker::{MarketProtection, OrderChange, OrderType};
///
/// let exit = OrderChange::new().order_type(OrderType::Market);
/// // At Kite the change carries the default protection, unless another is set:
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
    /// The new order type.
    pub order_type: Option<OrderType>,
    /// The new time in force.
    pub time_in_force: Option<TimeInForce>,
    /// The new visible quantity.
    pub disclosed_quantity: Option<Decimal>,
    /// How far from the last price the order may be filled, if it is or becomes a market or stop
    /// order. A change to one of these types without a protection uses the adapter's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_protection: Option<MarketProtection>,
    /// Broker-specific fields, sent unchanged (Kite: `parent_order_id`). They must not repeat a field
    /// that the adapter fills in itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

impl OrderChange {
    /// Creates a change that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the new total quantity.
    #[must_use]
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// Sets the new limit price.
    #[must_use]
    pub fn price(mut self, price: impl Into<Decimal>) -> Self {
        self.price = Some(price.into());
        self
    }

    /// Sets the new trigger price.
    #[must_use]
    pub fn trigger_price(mut self, price: impl Into<Decimal>) -> Self {
        self.trigger_price = Some(price.into());
        self
    }

    /// Sets the new order type.
    #[must_use]
    pub fn order_type(mut self, order_type: OrderType) -> Self {
        self.order_type = Some(order_type);
        self
    }

    /// Sets the new time in force.
    #[must_use]
    pub fn time_in_force(mut self, time_in_force: TimeInForce) -> Self {
        self.time_in_force = Some(time_in_force);
        self
    }

    /// Sets the new visible quantity.
    #[must_use]
    pub fn disclosed_quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.disclosed_quantity = Some(quantity.into());
        self
    }

    /// Sets the new market protection.
    #[must_use]
    pub fn market_protection(mut self, protection: MarketProtection) -> Self {
        self.market_protection = Some(protection);
        self
    }

    /// Adds a broker-specific field.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// The fields of a cancellation beside the order's id.
///
/// ```
/// use lanekeeper::broker::OrderCancel;
///
/// // For the leg of a cover order, Kite requires the id of the parent order.
/// let cancel = OrderCancel::new().extra("parent_order_id", "151220000000000");
/// assert_eq!(cancel.extra.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderCancel {
    /// Broker-specific fields, sent unchanged (Kite: `parent_order_id`). They must not repeat a field
    /// that the adapter fills in itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

impl OrderCancel {
    /// Creates a cancellation with no further fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a broker-specific field.
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

    /// A journal of an earlier version has such orders.
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
