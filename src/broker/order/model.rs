//! What the broker's book shows: orders as they stand, and the trades they made.

use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::enums::{OrderStatus, OrderType, Product, Side, TimeInForce, Variety};
use super::request::OrderRequest;
use crate::broker::Instrument;

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
    /// Other tags that the broker shows with the order, if it shows several: which of all is the caller's, the
    /// broker does not say. None of the broker's own marks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_tags: Vec<String>,
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
            other_tags: Vec::new(),
            placed_at: None,
            updated_at: None,
        }
    }

    /// All of its tags.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &String> {
        self.tag.iter().chain(&self.other_tags)
    }

    /// What is neither filled nor cancelled, and can still be filled. Zero once the status is final.
    pub fn pending_quantity(&self) -> Decimal {
        if self.status.is_final() {
            return Decimal::ZERO;
        }
        let left = self.quantity.saturating_sub(self.filled_quantity);
        left.saturating_sub(self.cancelled_quantity).max(Decimal::ZERO)
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
    fn nothing_is_pending_on_a_final_order() {
        let request = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10);
        let mut order = Order::new(OrderId::new("1"), OrderStatus::Open, &request);
        order.filled_quantity = Decimal::from(4);
        assert_eq!(order.pending_quantity(), Decimal::from(6));
        order.status = OrderStatus::Cancelled;
        assert_eq!(order.pending_quantity(), Decimal::ZERO);
    }
}
