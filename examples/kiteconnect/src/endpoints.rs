//! What the client has and `AsyncBroker` has not, through the same lanes. A trait for the endpoints that are used often
//! (this file), and for a single call `lanes().run(..)` from a task or `lanes().submit(..)` from a thread (`main.rs`).

use kiteconnect::{MarginParams, OrderMarginParam};
use lanekeeper::broker::{BrokerError, OrderRequest};
use lanekeeper::rust_decimal::Decimal;

use crate::decode::decimal;
use crate::errors::malformed;
use crate::{OfficialKite, orders};

/// The margin calculator.
#[lanekeeper::proxy]
pub trait OrderMargins: Send + Sync {
    /// Returns the margin that each of `orders` would block. It is a `POST` that changes nothing, so it is a read.
    #[lane(transactional, read, route = account_reads)]
    async fn order_margins(&self, orders: &[OrderRequest]) -> Result<Vec<Decimal>, BrokerError>;
}

impl OrderMargins for OfficialKite {
    async fn order_margins(&self, orders: &[OrderRequest]) -> Result<Vec<Decimal>, BrokerError> {
        let params = orders.iter().map(margin_param).collect::<Result<_, _>>()?;
        let margins = self.read(self.client().order_margins(MarginParams::new(params))).await?;
        margins.iter().map(|margin| decimal(margin.total).map_err(malformed)).collect()
    }
}

fn margin_param(order: &OrderRequest) -> Result<OrderMarginParam, BrokerError> {
    let (variety, params) = orders::placement(order)?;
    let missing = || crate::errors::not_sent("the order lacks a field");
    let mut margin = OrderMarginParam::new(
        params.exchange.ok_or_else(missing)?,
        order.instrument.symbol(),
        params.transaction_type.ok_or_else(missing)?,
        variety,
        params.product.ok_or_else(missing)?,
        params.order_type.ok_or_else(missing)?,
        params.quantity.ok_or_else(missing)?,
    );
    margin.price = params.price;
    margin.trigger_price = params.trigger_price;
    Ok(margin)
}
