//! What orders need and cost, before and after they are placed.

use super::limits;
use super::margin_types::{
    BasketMargins, BasketOptions, ChargedOrder, MarginSegment, OrderCharges, OrderMargin,
};
use super::margin_wire;
use crate::Session;
use crate::broker::{BrokerError, Margin, OrderRequest, Partial, Rows};
use crate::brokers::kite::Kite;
use crate::brokers::kite::http::ApiRequest;
use crate::brokers::kite::order_id::path_segment;
use crate::brokers::kite::portfolio::segment_margin;
use crate::quota::Limits;

/// Kite's calculator of margins and charges.
///
/// The calls change nothing, so all of them are reads, although Kite takes three of them by POST. A lane may repeat
/// them.
///
/// ```
/// use lanekeeper::brokers::kite::{BasketOptions, KiteMargins};
/// use lanekeeper::{BrokerError, OrderRequest};
///
/// /// Returns whether the account can pay for all `orders` together.
/// fn can_afford(margins: &dyn KiteMargins, orders: &[OrderRequest]) -> Result<bool, BrokerError> {
///     let needed = margins.basket_margins(orders, BasketOptions::new())?.complete()?;
///     let funds = margins.segment_margins(&"equity".into())?;
///     Ok(needed.initial.total <= funds.net)
/// }
/// # let _ = can_afford;
/// ```
///
/// Of an [`OrderRequest`] Kite considers the instrument, the side, the quantity, the prices, the type, the product and
/// the variety. The adapter sends nothing else of it.
///
/// # Errors
/// As for the reads of [`Broker`](crate::Broker). [`NotSent`](BrokerError::NotSent) if no orders are named, or one has
/// no instrument, a quantity or a price that is not above zero, or lacks a price that its type needs.
///
/// # Lanes
/// All calls are in the lane `transactional`. The calculator is a route class of its own (`margin_reads`).
#[crate::proxy(limits = margin_limits, session = margin_session)]
pub trait KiteMargins: Send + Sync {
    /// Returns the margin of each order by itself, in the order of the request.
    #[lane(transactional, read, route = margin_reads)]
    fn order_margins(&self, orders: &[OrderRequest]) -> Result<Rows<OrderMargin>, BrokerError>;

    /// Returns the margin of all orders together, with the benefit of hedges.
    #[lane(transactional, read, route = margin_reads)]
    fn basket_margins(
        &self,
        orders: &[OrderRequest],
        options: BasketOptions,
    ) -> Result<Partial<BasketMargins>, BrokerError>;

    /// Returns the charges of orders that were filled: Kite's virtual contract note.
    #[lane(transactional, read, route = margin_reads)]
    fn order_charges(&self, orders: &[ChargedOrder]) -> Result<Rows<OrderCharges>, BrokerError>;

    /// Returns the funds of one segment. [`Broker::margins`](crate::Broker::margins) returns those of all.
    #[lane(transactional, read, route = account_reads)]
    fn segment_margins(&self, segment: &MarginSegment) -> Result<Margin, BrokerError>;

    /// Returns the limit that Kite documents for the lane `transactional`, as in [`presets::kite`](crate::presets::kite).
    #[direct]
    fn margin_limits(&self) -> Limits {
        limits::transactional()
    }

    /// Returns the session that the calls are made in, if there is one.
    #[direct]
    fn margin_session(&self) -> Option<Session> {
        None
    }
}

impl KiteMargins for Kite {
    fn order_margins(&self, orders: &[OrderRequest]) -> Result<Rows<OrderMargin>, BrokerError> {
        let json = margin_wire::orders_json(orders, &self.inner.default_product)?;
        let asked = orders.iter().map(|order| &order.instrument).collect();
        self.http().request_rows(&ApiRequest::compute("/margins/orders", json), |wire| {
            margin_wire::order_margins(wire, &asked)
        })
    }

    fn basket_margins(
        &self,
        orders: &[OrderRequest],
        options: BasketOptions,
    ) -> Result<Partial<BasketMargins>, BrokerError> {
        let json = margin_wire::orders_json(orders, &self.inner.default_product)?;
        let asked = orders.iter().map(|order| &order.instrument).collect();
        let call = ApiRequest::compute(margin_wire::basket_path(options), json);
        self.http().request_rows(&call, |wire| margin_wire::basket_margins(wire, &asked))
    }

    fn order_charges(&self, orders: &[ChargedOrder]) -> Result<Rows<OrderCharges>, BrokerError> {
        let json = margin_wire::charged_json(orders, &self.inner.default_product)?;
        let asked = orders.iter().map(|order| &order.instrument).collect();
        self.http().request_rows(&ApiRequest::compute("/charges/orders", json), |wire| {
            margin_wire::order_charges(wire, &asked)
        })
    }

    fn segment_margins(&self, segment: &MarginSegment) -> Result<Margin, BrokerError> {
        let segment = path_segment("segment", segment.as_str())?;
        let call = ApiRequest::get(format!("/user/margins/{segment}"));
        self.http().request_data(&call, segment_margin)
    }

    fn margin_session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}
