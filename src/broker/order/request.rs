//! What is asked for: a new order, or a change of one.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::words::{OrderType, Product, Side, TimeInForce, Variety};
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
}
