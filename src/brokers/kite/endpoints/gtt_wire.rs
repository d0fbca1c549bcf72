//! GTT on the wire: a form with two fields of JSON, and triggers in JSON.

use form_urlencoded::Serializer;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::gtt_types::{
    Gtt, GttCondition, GttExecution, GttKind, GttLeg, GttOrder, GttRequest, GttStatus,
};
use super::ids::GttId;
use super::json::{JsonNumber, json_text};
use crate::broker::{BrokerError, OrderType, Product, Rows, Variety};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{List, Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{
    check_instrument, order_type as type_name, price_text, quantity_text,
};
use crate::brokers::kite::order_id::order_id;
use crate::brokers::kite::orders::{instrument, order_type, side, timestamp};

#[derive(Serialize)]
struct ConditionForm<'a> {
    exchange: &'a str,
    tradingsymbol: &'a str,
    trigger_values: Vec<JsonNumber>,
    last_price: JsonNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailing_points: Option<[JsonNumber; 1]>,
}

#[derive(Serialize)]
struct OrderForm<'a> {
    exchange: &'a str,
    tradingsymbol: &'a str,
    transaction_type: String,
    quantity: JsonNumber,
    order_type: &'a str,
    product: &'a str,
    price: JsonNumber,
}

/// Returns the form that places `gtt`, or changes another one to it.
pub(super) fn form(gtt: &GttRequest, default_product: &Product) -> Result<String, BrokerError> {
    check(gtt)?;
    let (exchange, tradingsymbol) = (gtt.instrument.exchange(), gtt.instrument.symbol());
    let condition = ConditionForm {
        exchange,
        tradingsymbol,
        trigger_values: gtt.legs.iter().map(|leg| JsonNumber(leg.trigger)).collect(),
        last_price: JsonNumber(gtt.last_price),
        trailing_points: gtt.trailing_points.map(|points| [JsonNumber(points)]),
    };
    let order = |leg| order_form(exchange, tradingsymbol, leg, default_product);
    let orders: Vec<OrderForm<'_>> = gtt.legs.iter().map(order).collect();
    Ok(Serializer::new(String::new())
        .append_pair("type", gtt.kind.as_str())
        .append_pair("condition", &json_text(&condition)?)
        .append_pair("orders", &json_text(&orders)?)
        .finish())
}

fn order_form<'a>(
    exchange: &'a str,
    tradingsymbol: &'a str,
    leg: &'a GttLeg,
    default_product: &'a Product,
) -> OrderForm<'a> {
    OrderForm {
        exchange,
        tradingsymbol,
        transaction_type: leg.side.to_string(),
        quantity: JsonNumber(leg.quantity),
        order_type: type_name(&leg.order_type),
        product: leg.product.as_ref().unwrap_or(default_product).as_str(),
        price: JsonNumber(leg.price),
    }
}

/// Refuses what Kite would certainly refuse. What it may find in order tomorrow (the distance to the last price, the
/// tick) is left to it.
fn check(gtt: &GttRequest) -> Result<(), BrokerError> {
    check_instrument(&gtt.instrument)?;
    let (kind, count) = (&gtt.kind, gtt.legs.len());
    if count == 0 || kind.legs().is_some_and(|legs| legs != count) {
        return Err(not_sent_error(format!("a {kind} GTT cannot have {count} triggers")));
    }
    let is_trailing = matches!(kind, GttKind::TrailingSingle | GttKind::TrailingTwoLeg);
    match gtt.trailing_points {
        Some(points) => drop(price_text("distance of a trailing trigger", points)?),
        None if is_trailing => {
            return Err(not_sent_error(format!("a {kind} GTT needs its trailing points")));
        }
        None => {}
    }
    if gtt.trailing_points.is_some() && matches!(kind, GttKind::Single | GttKind::TwoLeg) {
        return Err(not_sent_error(format!("a {kind} GTT takes no trailing points")));
    }
    price_text("last price", gtt.last_price)?;
    for leg in &gtt.legs {
        price_text("trigger", leg.trigger)?;
        price_text("price", leg.price)?;
        quantity_text("quantity", leg.quantity, Decimal::ONE)?;
    }
    if let [lower, upper] = gtt.legs.as_slice() {
        if lower.trigger >= upper.trigger {
            return Err(not_sent_error(format!(
                "the lower trigger comes first, and {} is not below {}",
                lower.trigger, upper.trigger
            )));
        }
    }
    Ok(())
}

/// Kite's answer to a placement, a change or a deletion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireTriggerId {
    trigger_id: Text,
}

/// Returns the id of a new trigger. `is_new` returns whether it can be that of a new one.
pub(in crate::brokers::kite) fn placed(
    done: WireTriggerId,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<GttId, ResponseError> {
    let text = done.trigger_id.required("trigger_id")?;
    let id = id("trigger_id", &text)?;
    if is_new(&id.to_string()) {
        return Ok(id);
    }
    Err(ResponseError::WrongRequest(format!("its trigger_id {id} is that of another trigger")))
}

/// Checks that the answer names the trigger that was changed or deleted.
pub(in crate::brokers::kite) fn check_confirmation(
    done: WireTriggerId,
    asked: GttId,
) -> Result<(), ResponseError> {
    match done.trigger_id.as_deref() {
        Some(named) if *named == asked.to_string() => Ok(()),
        Some(other) => Err(format!("it names the trigger {other:?}, and not {asked}")),
        None => Err(format!("it does not name the trigger {asked}")),
    }
    .map_err(ResponseError::WrongRequest)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireGtt {
    id: Text,
    parent_trigger: Text,
    #[serde(rename = "type")]
    kind: Text,
    status: Text,
    created_at: Text,
    updated_at: Text,
    expires_at: Text,
    condition: WireCondition,
    orders: Option<WireRows<WireGttOrder>>,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    meta: Option<WireMeta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireCondition {
    exchange: Text,
    tradingsymbol: Text,
    last_price: Num,
    trigger_values: Option<List<Num>>,
    trailing_points: Option<List<Num>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireGttOrder {
    exchange: Text,
    tradingsymbol: Text,
    transaction_type: Text,
    quantity: Num,
    price: Num,
    order_type: Text,
    product: Text,
    result: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireResult {
    timestamp: Text,
    triggered_at: Num,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    order_result: Option<WireOrderResult>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireOrderResult {
    status: Text,
    order_id: Text,
    rejection_reason: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireMeta {
    rejection_reason: Text,
}

pub(in crate::brokers::kite) fn all(wire: WireRows<WireGtt>) -> Result<Rows<Gtt>, String> {
    wire.build("id", gtt)
}

/// Builds the trigger that was asked for.
pub(in crate::brokers::kite) fn one(wire: WireGtt, asked: GttId) -> Result<Gtt, ResponseError> {
    let gtt = gtt(wire)?;
    if gtt.id == asked {
        return Ok(gtt);
    }
    Err(ResponseError::WrongRequest(format!("it is about the trigger {}, and not {asked}", gtt.id)))
}

fn gtt(wire: WireGtt) -> Result<Gtt, String> {
    let numbers = |list: Option<List<Num>>, what: &str| {
        let list = list.map(|list| list.0).unwrap_or_default().into_iter();
        list.map(|number| number.0.ok_or_else(|| format!("one of its {what} is no number")))
            .collect::<Result<Vec<Decimal>, String>>()
    };
    let condition = wire.condition;
    // Without one of its orders a trigger would look harmless.
    let orders = wire.orders.ok_or("it has no orders")?.build("tradingsymbol", order)?;
    if let Some(problem) = orders.problems.first() {
        return Err(format!("an order cannot be read: {}", problem.reason));
    }
    Ok(Gtt {
        id: id("id", &wire.id.required("id")?)?,
        kind: GttKind::from(wire.kind.required("type")?),
        status: GttStatus::from(wire.status.required("status")?),
        condition: GttCondition {
            instrument: instrument(condition.exchange, condition.tradingsymbol)?,
            trigger_values: numbers(condition.trigger_values, "trigger_values")?,
            last_price: condition.last_price.0,
            trailing_points: numbers(condition.trailing_points, "trailing_points")?,
        },
        orders: orders.rows,
        created_at: timestamp(&wire.created_at),
        updated_at: timestamp(&wire.updated_at),
        expires_at: timestamp(&wire.expires_at),
        parent: wire.parent_trigger.0.map(|text| id("parent_trigger", &text)).transpose()?,
        rejection_reason: wire.meta.and_then(|meta| meta.rejection_reason.0),
    })
}

fn order(wire: WireGttOrder) -> Result<GttOrder, String> {
    Ok(GttOrder {
        instrument: instrument(wire.exchange, wire.tradingsymbol)?,
        side: side(wire.transaction_type)?,
        quantity: wire.quantity.0.ok_or("it has no quantity")?,
        price: wire.price.non_zero(),
        order_type: wire.order_type.as_deref().map_or(OrderType::Limit, order_type),
        product: wire.product.0.map(Product::from),
        execution: execution(&wire.result)?,
    })
}

/// Builds the outcome of an order whose trigger fired. A result that cannot be read must not look like none: the
/// order may be in the market.
fn execution(result: &Value) -> Result<Option<GttExecution>, String> {
    if result.is_null() {
        return Ok(None);
    }
    let read = || {
        let wire = WireResult::deserialize(result).map_err(|error| error.to_string())?;
        let outcome = wire.order_result.unwrap_or_default();
        let order = outcome.order_id.0.map(|id| order_id(&Variety::Regular, &id)).transpose()?;
        Ok::<_, String>(GttExecution {
            at: timestamp(&wire.timestamp),
            triggered_at: wire.triggered_at.0,
            status: outcome.status.0,
            order_id: order,
            rejection_reason: outcome.rejection_reason.0,
        })
    };
    read().map(Some).map_err(|why| format!("its result cannot be read: {why}"))
}

fn id(what: &str, text: &str) -> Result<GttId, String> {
    let number = text.parse().map_err(|_| format!("its {what} {text:?} is no number"))?;
    Ok(GttId::new(number))
}
