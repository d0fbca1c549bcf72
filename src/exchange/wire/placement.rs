//! Placing an order: as it is, or in slices.

use serde_json::{Value, json};

use crate::broker::{OrderId, OrderRequest};
use crate::brokers::PaperBroker;

use super::order_form;
use crate::exchange::answer::{ApiData, ApiError, ApiResult};
use crate::exchange::fault::Fault;
use crate::exchange::form::FormFields;
use crate::exchange::mishap::timed_out_error;
use crate::exchange::rules::{OrderRules, check_ticks};

/// Places the order of a form. A fault may be that of one of its slices.
pub(in super::super) fn place(
    broker: &PaperBroker,
    rules: &OrderRules,
    variety: &str,
    form: &FormFields,
    fault: Option<Fault>,
) -> ApiResult {
    let order = order_form::placement(order_form::parse_variety(variety)?, form)?;
    let quantities = rules.slices(&order)?;
    let tick = broker.tick_size(&order.instrument);
    check_ticks(tick, [("price", order.price), ("trigger price", order.trigger_price)])?;
    if !order.autoslice {
        return Ok(ApiData::Json(json!({"order_id": broker.place(&order)?})));
    }
    let mut slices =
        quantities.into_iter().map(|quantity| OrderRequest { quantity, ..order.clone() });
    // The first slice is the parent of the others. Refused, it takes all of them with it.
    let first = slices.next().ok_or_else(ApiError::internal)?;
    let parent = broker.place_slice(&first, None)?;
    let children: Vec<Value> = slices
        .zip(2..)
        .map(|(slice, number)| slice_json(place_slice(broker, &slice, &parent, fault, number)))
        .collect();
    Ok(ApiData::Json(json!({"order_id": parent, "children": children})))
}

fn place_slice(
    broker: &PaperBroker,
    slice: &OrderRequest,
    parent: &OrderId,
    fault: Option<Fault>,
    number: u8,
) -> Result<OrderId, ApiError> {
    if fault == Some(Fault::SliceRefused(number)) {
        return Err(ApiError::input("The slice was refused on purpose."));
    }
    let placed = broker.place_slice(slice, Some(parent.clone()))?;
    match fault {
        Some(Fault::SliceLost(lost)) if lost == number => Err(timed_out_error()),
        _ => Ok(placed),
    }
}

/// A slice as the answer shows it.
fn slice_json(placed: Result<OrderId, ApiError>) -> Value {
    match placed {
        Ok(id) => json!({"order_id": id}),
        Err(error) => json!({"error": error.to_slice_json()}),
    }
}
