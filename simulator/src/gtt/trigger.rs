//! The order of a trigger that was met: how it is placed, and what came of it.

use jiff::Zoned;
use rust_decimal::Decimal;

use lanekeeper::broker::{OrderRequest, OrderStatus};
use lanekeeper::brokers::PaperBroker;

use crate::http::response::ApiError;
use crate::order_rules::OrderRules;

/// What came of the order of a GTT.
#[derive(Debug, Clone)]
pub(crate) struct GttResult {
    /// Which of the triggers was met.
    pub(crate) leg: usize,
    /// The price that met it.
    pub(crate) price: Decimal,
    pub(crate) at: Zoned,
    /// The id of the order.
    pub(crate) placed: Result<String, Rejection>,
}

/// Why the order of a GTT failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The id of the order, if it is in the order book as rejected; else empty.
    pub(crate) order_id: String,
    pub(crate) reason: String,
}

impl From<ApiError> for Rejection {
    fn from(error: ApiError) -> Self {
        Self { order_id: String::new(), reason: error.message().to_owned() }
    }
}

/// Places the order of a trigger under the rules for every order, and returns its id.
pub(crate) fn place_triggered(
    broker: &PaperBroker,
    rules: &OrderRules,
    order: &OrderRequest,
) -> Result<String, Rejection> {
    rules.slices(order)?;
    rules.check_prices(broker, order)?;
    let id = broker.backend().place(order).map_err(ApiError::from)?;
    let rejected = broker.backend().read_entry(&id, |entry, _| {
        let rejected = entry.order.status == OrderStatus::Rejected;
        rejected.then(|| entry.order.status_message.clone().unwrap_or_default())
    });
    match rejected.map_err(ApiError::from)? {
        Some(reason) => Err(Rejection { order_id: id.to_string(), reason }),
        None => Ok(id.to_string()),
    }
}
