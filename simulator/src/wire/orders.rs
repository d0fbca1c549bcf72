//! Orders and trades.

use serde_json::{Value, json};

use lanekeeper::broker::{
    Broker, MarketProtection, Order, OrderId, OrderStatus, OrderType, Trade, Variety,
};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::{OrderEntry, PaperError};

use super::{USER_ID, json_number, json_number_or_zero, naive_time_or_null, order_form};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::order_rules::OrderRules;

pub(crate) fn modify(
    broker: &PaperBroker,
    rules: &OrderRules,
    variety: &str,
    id: &str,
    form: &FormFields,
) -> ApiResult {
    let id = find(broker, order_form::parse_variety(variety)?, id)?;
    let (shown, order) = broker
        .backend()
        .read_entry(&id, |entry, _| (entry.order.clone(), entry.request.clone()))?;
    let change = order_form::modification(&shown, &order, form)?;
    rules.check_quantity(&order, change.quantity.unwrap_or(order.quantity))?;
    let mut changed = order;
    (changed.price, changed.trigger_price) = (change.price, change.trigger_price);
    changed.order_type = change.order_type.clone().unwrap_or(changed.order_type);
    rules.check_prices(broker, &changed)?;
    broker.backend().modify(&id, &change)?;
    Ok(ApiData::Json(json!({"order_id": id})))
}

/// Cancels an order. A client sends the fields in the query or in a form.
pub(crate) fn cancel(
    broker: &PaperBroker,
    variety: &str,
    id: &str,
    fields_sent: [&FormFields; 2],
) -> ApiResult {
    let id = find(broker, order_form::parse_variety(variety)?, id)?;
    let order = broker.backend().read_entry(&id, |entry, _| entry.order.clone())?;
    for fields in fields_sent {
        order_form::cancellation(&order, fields)?;
    }
    broker.backend().cancel(&id)?;
    Ok(ApiData::Json(json!({"order_id": id})))
}

pub(crate) fn all(broker: &PaperBroker) -> ApiResult {
    let orders = broker.backend().map_entries(|entry| order_json(broker, entry, &entry.order));
    Ok(ApiData::Json(orders.into()))
}

pub(crate) fn history(broker: &PaperBroker, id: &str) -> ApiResult {
    let history: Vec<Value> = broker.backend().read_entry(&OrderId::new(id), |entry, _| {
        entry.history.iter().map(|order| order_json(broker, entry, order)).collect()
    })?;
    Ok(ApiData::Json(history.into()))
}

pub(crate) fn trades(broker: &PaperBroker) -> ApiResult {
    let trades = broker.trades().map_err(|_| ApiError::internal())?;
    let trades: Vec<Value> = trades.iter().map(|trade| trade_json(broker, trade)).collect();
    Ok(ApiData::Json(trades.into()))
}

pub(crate) fn order_trades(broker: &PaperBroker, id: &str) -> ApiResult {
    let trade = broker.backend().read_entry(&OrderId::new(id), |_, trade| trade.cloned())?;
    let trades: Vec<Value> = trade.iter().map(|trade| trade_json(broker, trade)).collect();
    Ok(ApiData::Json(trades.into()))
}

/// Returns the id of the order, if the order has the variety in the path.
fn find(broker: &PaperBroker, variety: Variety, id: &str) -> Result<OrderId, ApiError> {
    let id = OrderId::new(id);
    let matches = broker.backend().read_entry(&id, |entry, _| entry.request.variety == variety)?;
    if matches { Ok(id) } else { Err(PaperError::UnknownOrder(id).into()) }
}

fn order_type_name(order_type: &OrderType) -> &str {
    match order_type {
        OrderType::StopLimit => "SL",
        OrderType::Stop => "SL-M",
        other => other.as_str(),
    }
}

fn status_name(status: &OrderStatus) -> &str {
    match status {
        OrderStatus::Filled => "COMPLETE",
        other => other.as_str(),
    }
}

fn order_json(broker: &PaperBroker, entry: &OrderEntry, order: &Order) -> Value {
    let extra = |name: &str| {
        let value = entry.request.extra.get(name).and_then(|value| value.parse::<i64>().ok());
        value.unwrap_or_default()
    };
    // An order that never reached the exchange has no exchange times.
    let at_exchange = order.exchange_order_id.is_some();
    let updated = order.updated_at.as_ref().filter(|_| at_exchange);
    let placed = order.placed_at.as_ref();
    let mut json = json!({
        "placed_by": USER_ID,
        "order_id": order.id,
        "exchange_order_id": order.exchange_order_id,
        "parent_order_id": order.parent.as_ref().filter(|_| !entry.request.autoslice),
        "status": status_name(&order.status),
        "status_message": order.status_message,
        "status_message_raw": order.status_message,
        "order_timestamp": naive_time_or_null(placed),
        "exchange_update_timestamp": naive_time_or_null(updated),
        "exchange_timestamp": naive_time_or_null(placed.filter(|_| at_exchange)),
        "variety": order.variety,
        "modified": entry.changes > 0,
        "exchange": order.instrument.exchange(),
        "tradingsymbol": order.instrument.symbol(),
        "instrument_token": broker.backend().token(&order.instrument),
        "order_type": order_type_name(&order.order_type),
        "transaction_type": order.side,
        "validity": order.time_in_force,
        "validity_ttl": extra("validity_ttl"),
        "product": order.product,
        "quantity": json_number(order.quantity),
        "disclosed_quantity": json_number_or_zero(entry.request.disclosed_quantity),
        "price": json_number_or_zero(order.price),
        "trigger_price": json_number_or_zero(order.trigger_price),
        "average_price": json_number_or_zero(order.average_price),
        "filled_quantity": json_number(order.filled_quantity),
        "pending_quantity": json_number(order.pending_quantity()),
        "cancelled_quantity": json_number(order.cancelled_quantity),
        "market_protection": entry.request.market_protection.map_or(0.into(), protection_json),
        "meta": {},
        "tag": order.tag,
        "guid": format!("01X{}", order.id),
    });
    let tags = tags(entry, order);
    // Kite leaves `tags` out where there is no tag.
    if !tags.is_empty() {
        json["tags"] = tags.into();
    }
    json
}

/// Returns the client's tag and Kite's slice tags: every slice has one, and each slice after the first has another
/// one that names the first.
fn tags(entry: &OrderEntry, order: &Order) -> Vec<String> {
    let mut tags: Vec<String> = order.tag.clone().into_iter().collect();
    if entry.request.autoslice {
        tags.push("autoslice".to_owned());
        tags.extend(order.parent.as_ref().map(|parent| format!("autoslice:{parent}")));
    }
    tags
}

/// Returns the protection as the client sent it.
fn protection_json(protection: MarketProtection) -> Value {
    protection.as_percent().map_or((-1).into(), json_number)
}

fn trade_json(broker: &PaperBroker, trade: &Trade) -> Value {
    let exchange_order_id = broker
        .backend()
        .read_entry(&trade.order_id, |entry, _| entry.order.exchange_order_id.clone());
    let at = naive_time_or_null(trade.at.as_ref());
    // Kite sends only this time as a time of day.
    let time_of_day = trade.at.as_ref().map(|at| at.strftime("%H:%M:%S").to_string());
    json!({
        "trade_id": trade.id,
        "order_id": trade.order_id,
        "exchange_order_id": exchange_order_id.ok().flatten(),
        "exchange": trade.instrument.exchange(),
        "tradingsymbol": trade.instrument.symbol(),
        "instrument_token": broker.backend().token(&trade.instrument),
        "transaction_type": trade.side,
        "product": trade.product,
        "quantity": json_number(trade.quantity),
        "average_price": json_number(trade.price),
        "order_timestamp": time_of_day,
        "exchange_timestamp": at,
        "fill_timestamp": at,
    })
}
