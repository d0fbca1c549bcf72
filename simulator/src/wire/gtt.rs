//! GTTs: the forms that clients send, and the GTTs as the wire shows them.

use serde_json::{Value, json};

use lanekeeper::broker::{Broker, Instrument, OrderRequest, Product};
use lanekeeper::brokers::PaperBroker;

use super::json_fields::{self, JsonFields};
use super::{USER_ID, json_number, naive_time};
use crate::accounts::Account;
use crate::gtt::trigger::{GttResult, Rejection};
use crate::gtt::{Gtt, GttKind, GttRequest};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::order_rules::OrderRules;
use crate::route::GttRoute;

/// Executes a request to `route`.
pub(crate) fn answer(
    broker: &PaperBroker,
    rules: &OrderRules,
    account: Account<'_>,
    route: GttRoute<'_>,
    form: &FormFields,
) -> ApiResult {
    let now = broker.now();
    let id = match route {
        GttRoute::All => {
            let list = |listed: Vec<(u64, &Gtt)>| -> Vec<Value> {
                listed.into_iter().map(|(id, gtt)| gtt_json(broker, id, gtt)).collect()
            };
            return Ok(ApiData::Json(account.read(|state| list(state.gtts.listed())).into()));
        }
        GttRoute::One { id } => {
            let id = parse_id(id)?;
            let json =
                account.read(|state| state.gtts.get(id).map(|gtt| gtt_json(broker, id, gtt)));
            return json.map(ApiData::Json);
        }
        GttRoute::Place => {
            let request = parse_request(broker, rules, form)?;
            let id = account.next_number();
            account.change(|state| state.gtts.place(id, request, &now))?;
            id
        }
        GttRoute::Modify { id } => {
            let id = parse_id(id)?;
            account.read(|state| state.gtts.get(id).map(drop))?;
            let request = parse_request(broker, rules, form)?;
            account.change(|state| state.gtts.modify(id, request, &now))?;
            id
        }
        GttRoute::Delete { id } => {
            let id = parse_id(id)?;
            account.change(|state| state.gtts.delete(id, &now))?;
            id
        }
    };
    Ok(ApiData::Json(json!({"trigger_id": id})))
}

fn parse_id(id: &str) -> Result<u64, ApiError> {
    id.parse().map_err(|_| FormFields::invalid("trigger_id"))
}

fn parse_request(
    broker: &PaperBroker,
    rules: &OrderRules,
    form: &FormFields,
) -> Result<GttRequest, ApiError> {
    form.reject_unknown(&["type", "condition", "orders"])?;
    let kind = match form.require("type")? {
        "single" => GttKind::Single,
        "two-leg" => GttKind::TwoLeg,
        _ => return Err(FormFields::invalid("type")),
    };
    let condition = json_fields::parse_field(form, "condition")?;
    let condition = JsonFields::object(&condition, "condition")?;
    let instrument = condition.instrument()?;
    let triggers = condition.require("trigger_values")?.as_array().map(Vec::as_slice);
    let triggers = triggers.unwrap_or_default().iter().map(json_fields::parse_number);
    let triggers: Option<Vec<_>> =
        triggers.map(|trigger| trigger.filter(|trigger| !trigger.is_zero())).collect();
    let triggers = triggers.filter(|triggers| triggers.len() == kind.legs());
    let triggers = triggers.ok_or_else(|| FormFields::invalid("trigger_values"))?;
    let last_price = condition.positive("last_price")?;
    let orders = json_fields::parse_field(form, "orders")?;
    let orders = JsonFields::list(&orders, "orders")?;
    if orders.len() != kind.legs() {
        return Err(FormFields::invalid("orders"));
    }
    // An index has a price and no tick size, and cannot be traded.
    let tradable = broker.backend().tick_size(&instrument).is_some();
    let price = broker.ltp(&instrument).ok().filter(|_| tradable);
    let price = price.ok_or_else(|| FormFields::invalid("tradingsymbol"))?;
    let orders: Result<Vec<_>, _> =
        orders.into_iter().map(|order| parse_order(broker, rules, &instrument, order)).collect();
    let request = GttRequest { kind, instrument, triggers, last_price, orders: orders? };
    request.check_triggers(price)?;
    Ok(request)
}

fn parse_order(
    broker: &PaperBroker,
    rules: &OrderRules,
    instrument: &Instrument,
    order: JsonFields<'_>,
) -> Result<OrderRequest, ApiError> {
    if order.instrument()? != *instrument {
        return Err(FormFields::invalid("tradingsymbol"));
    }
    let (side, quantity) = (order.side()?, order.quantity()?);
    // Kite places limit orders only.
    if order.text("order_type")? != "LIMIT" {
        return Err(FormFields::invalid("order_type"));
    }
    let product = match Product::from(order.text("product")?) {
        known @ (Product::Cnc | Product::Nrml | Product::Mtf) => known,
        // An intraday position ends with the day, and a GTT does not.
        _ => return Err(FormFields::invalid("product")),
    };
    let price = order.positive("price")?;
    let order = OrderRequest::limit(instrument.clone(), side, quantity, price).product(product);
    rules.check_tick_size(broker, &order)?;
    Ok(order)
}

fn gtt_json(broker: &PaperBroker, id: u64, gtt: &Gtt) -> Value {
    let request = &gtt.request;
    let triggers: Vec<Value> = request.triggers.iter().copied().map(json_number).collect();
    let orders: Vec<Value> = request
        .orders
        .iter()
        .enumerate()
        .map(|(leg, order)| {
            let result = gtt.result.as_ref().filter(|result| result.leg == leg);
            let mut json = order_json(order);
            json["result"] = result.map_or(Value::Null, |result| result_json(id, order, result));
            json
        })
        .collect();
    json!({
        "id": id,
        "user_id": USER_ID,
        "parent_trigger": null,
        "type": request.kind.as_str(),
        "created_at": naive_time(&gtt.created_at),
        "updated_at": naive_time(&gtt.updated_at),
        "expires_at": naive_time(&gtt.expires_at),
        "status": gtt.status.as_str(),
        "condition": {
            "exchange": request.instrument.exchange(),
            "last_price": json_number(request.last_price),
            "tradingsymbol": request.instrument.symbol(),
            "trigger_values": triggers,
            "instrument_token": broker.backend().token(&request.instrument),
        },
        "orders": orders,
        "meta": {},
    })
}

fn order_json(order: &OrderRequest) -> Value {
    json!({
        "exchange": order.instrument.exchange(),
        "tradingsymbol": order.instrument.symbol(),
        "product": order.product,
        "order_type": "LIMIT",
        "transaction_type": order.side,
        "quantity": json_number(order.quantity),
        "price": order.price.map_or(Value::Null, json_number),
    })
}

/// Returns what came of the order of a trigger that was met.
fn result_json(id: u64, order: &OrderRequest, result: &GttResult) -> Value {
    let (status, order_id, reason) = match &result.placed {
        Ok(order_id) => ("success", order_id.as_str(), ""),
        Err(Rejection { order_id, reason }) => ("failed", order_id.as_str(), reason.as_str()),
    };
    let mut json = order_json(order);
    json["account_id"] = USER_ID.into();
    json["validity"] = "DAY".into();
    // Kite's wire has JSON in a text here.
    json["meta"] = json!({"gtt": id}).to_string().into();
    json["timestamp"] = naive_time(&result.at).into();
    json["triggered_at"] = json_number(result.price);
    json["order_result"] =
        json!({"status": status, "order_id": order_id, "rejection_reason": reason});
    json
}
