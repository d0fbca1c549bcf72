//! The authorisation of holdings for sale: the request that a client makes before its user confirms at the depository.

use rust_decimal::Decimal;
use serde_json::json;

use lanekeeper::broker::Broker;
use lanekeeper::brokers::PaperBroker;

use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};

/// Answers with the id of a request. There is no depository here, and so no page on which the user confirms: the
/// authorised quantities stay zero, and the paper broker sells without them.
pub(crate) fn authorise(broker: &PaperBroker, form: &FormFields, number: u64) -> ApiResult {
    let known = ["type", "transfer_type", "exec_date", "isin", "quantity"];
    if let Some(name) = form.names().find(|name| !known.contains(name)) {
        return Err(ApiError::input(format!("Invalid request (unknown field `{name}`)")));
    }
    let holdings = broker.holdings().map_err(|_| ApiError::internal())?;
    // Without any the request is for all holdings. Each instrument comes with its quantity, in the same order.
    let (isins, quantities): (Vec<&str>, Vec<&str>) =
        (form.all("isin").collect(), form.all("quantity").collect());
    if isins.len() != quantities.len() {
        return Err(FormFields::invalid("quantity"));
    }
    for (isin, quantity) in isins.into_iter().zip(quantities) {
        let held = holdings.iter().find(|holding| holding.isin.as_deref() == Some(isin));
        let held = held.ok_or_else(|| FormFields::invalid("isin"))?;
        let quantity: Option<Decimal> = quantity.parse().ok();
        let fits = |quantity: &Decimal| *quantity > Decimal::ZERO && *quantity <= held.quantity;
        quantity.filter(fits).ok_or_else(|| FormFields::invalid("quantity"))?;
    }
    // Kite's ids have 32 characters.
    Ok(ApiData::Json(json!({"request_id": format!("paper{number:027}")})))
}
