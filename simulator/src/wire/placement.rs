//! Placement of an order, whole or in slices.

use serde_json::{Value, json};

use lanekeeper::broker::{OrderId, OrderRequest};
use lanekeeper::brokers::PaperBroker;

use super::order_form;
use crate::faults::fault::Fault;
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::order_rules::{OrderRules, check_variety};

/// Places the order of a form. A fault may apply to one of its slices.
pub(crate) fn place(
    broker: &PaperBroker,
    rules: &OrderRules,
    variety: &str,
    form: &FormFields,
    fault: Option<Fault>,
) -> ApiResult {
    let variety = order_form::parse_variety(variety)?;
    check_variety(&variety)?;
    let order = order_form::placement(variety, form)?;
    let quantities = rules.slices(&order)?;
    rules.check_prices(broker, &order)?;
    if !order.autoslice {
        return Ok(ApiData::Json(json!({"order_id": broker.backend().place(&order)?})));
    }
    let mut slices = quantities.into_iter().map(|quantity| {
        let mut slice = order.clone();
        slice.quantity = quantity;
        slice
    });
    // The first slice is the parent of the others. If it is rejected, none is placed.
    let first = slices.next().ok_or_else(ApiError::internal)?;
    let parent = broker.backend().place_slice(&first, None)?;
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
    let placed = broker.backend().place_slice(slice, Some(parent.clone()))?;
    match fault {
        Some(Fault::SliceLost(lost)) if lost == number => Err(ApiError::order_timed_out()),
        _ => Ok(placed),
    }
}

/// Returns a slice as the response shows it.
fn slice_json(placed: Result<OrderId, ApiError>) -> Value {
    match placed {
        Ok(id) => json!({"order_id": id}),
        Err(error) => json!({"error": error.to_slice_json()}),
    }
}
