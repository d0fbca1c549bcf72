//! Rows of the broker's order book and trade book: orders and trades.

use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::enums::{OrderStatus, OrderType, Product, Side, TimeInForce, Variety};
use super::request::OrderRequest;
use crate::broker::Instrument;

/// The broker's id of an order.
///
/// It is opaque: an adapter may add what it needs to address the order later (Kite: the variety, if
/// it is not the regular one). Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Arc<str>);

impl OrderId {
    /// Creates the id from the broker's text.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An order as the broker's order book shows it at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Order {
    /// The broker's id of the order.
    pub id: OrderId,
    /// The exchange's id of the order, once it has one.
    pub exchange_order_id: Option<String>,
    /// The order to which this one belongs, as a leg or a slice.
    pub parent: Option<OrderId>,
    /// The order that a change put in the place of this one, at a broker that does not change orders in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<OrderId>,
    /// The instrument that is traded.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The status.
    pub status: OrderStatus,
    /// The reason of the status, as the broker's message.
    pub status_message: Option<String>,
    /// How the price is set.
    pub order_type: OrderType,
    /// How the shares are held.
    pub product: Option<Product>,
    /// How long it waits to be filled.
    pub time_in_force: TimeInForce,
    /// The route by which it reached the market.
    pub variety: Variety,
    /// The requested quantity.
    pub quantity: Decimal,
    /// The part of the quantity that is filled.
    pub filled_quantity: Decimal,
    /// The part of the quantity that was cancelled.
    pub cancelled_quantity: Decimal,
    /// The limit price.
    pub price: Option<Decimal>,
    /// The trigger price.
    pub trigger_price: Option<Decimal>,
    /// The mean price of the filled quantity.
    pub average_price: Option<Decimal>,
    /// The caller's tag, as it was sent.
    pub tag: Option<String>,
    /// Other tags that the broker shows with the order, if it shows several. The broker does not state which of all
    /// is the caller's. The broker's own marks are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_tags: Vec<String>,
    /// When the broker accepted the order.
    pub placed_at: Option<Zoned>,
    /// When the order was last updated.
    pub updated_at: Option<Zoned>,
}

impl Order {
    /// Creates the order `id` that `request` describes, with nothing filled.
    pub fn new(id: OrderId, status: OrderStatus, request: &OrderRequest) -> Self {
        Self {
            id,
            exchange_order_id: None,
            parent: None,
            replaced_by: None,
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
            other_tags: Vec::new(),
            placed_at: None,
            updated_at: None,
        }
    }

    /// Returns all tags of the order.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &String> {
        self.tag.iter().chain(&self.other_tags)
    }

    /// Returns the quantity that is neither filled nor cancelled, or zero once the status is final.
    pub fn pending_quantity(&self) -> Decimal {
        if self.status.is_final() {
            return Decimal::ZERO;
        }
        let unfilled = self.quantity.saturating_sub(self.filled_quantity);
        unfilled.saturating_sub(self.cancelled_quantity).max(Decimal::ZERO)
    }
}

/// A trade: a fill of an order, or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trade {
    /// The exchange's id of the trade.
    pub id: String,
    /// The order to which it belongs.
    pub order_id: OrderId,
    /// The instrument that was traded.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// How the shares are held.
    pub product: Option<Product>,
    /// The quantity that was traded.
    pub quantity: Decimal,
    /// The price of the trade.
    pub price: Decimal,
    /// When the trade was made, if known.
    pub at: Option<Zoned>,
}

impl Trade {
    /// Creates a trade of `order` without a time.
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
    fn nothing_is_pending_on_a_final_order() {
        let request = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
        let mut order = Order::new(OrderId::new("1"), OrderStatus::Open, &request);
        order.filled_quantity = Decimal::from(4);
        assert_eq!(order.pending_quantity(), Decimal::from(6));
        order.status = OrderStatus::Cancelled;
        assert_eq!(order.pending_quantity(), Decimal::ZERO);
    }
}
