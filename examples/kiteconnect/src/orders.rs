//! Orders: written as the client's parameters, and read back.
//!
//! What the client cannot say is refused before it is sent, with the reason: a field that is left out silently makes
//! another order.

use std::collections::BTreeMap;

use kiteconnect::{Order as WireOrder, OrderParams, Trade as WireTrade, Variety as WireVariety};
use lanekeeper::broker::{
    BrokerError, Instrument, MarketProtection, Order, OrderChange, OrderId, OrderRequest,
    OrderStatus, OrderType, Product, Side, TimeInForce, Trade, Variety,
};
use lanekeeper::rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decode::{decimal, non_zero, time};
use crate::errors::not_sent;

/// Returns the parameters of a new order, and the variety, which is a part of the address.
pub(crate) fn placement(order: &OrderRequest) -> Result<(WireVariety, OrderParams), BrokerError> {
    if order.autoslice {
        return Err(not_sent("this adapter does not divide orders: send slices of your own"));
    }
    let product = order.product.clone().unwrap_or(Product::Cnc);
    let side = order.side.to_string();
    let mut params = OrderParams::new()
        .exchange(word("exchange", order.instrument.exchange())?)
        .tradingsymbol(order.instrument.symbol())
        .transaction_type(word("side", &side)?)
        .quantity(whole("quantity", order.quantity)?)
        .product(word("product", product.as_str())?)
        .order_type(order_type(&order.order_type)?)
        .validity(word("validity", order.time_in_force.as_str())?);
    params.price = order.price.map(|price| float("price", price)).transpose()?;
    params.trigger_price =
        order.trigger_price.map(|price| float("trigger price", price)).transpose()?;
    params.disclosed_quantity =
        order.disclosed_quantity.map(|shown| whole("disclosed quantity", shown)).transpose()?;
    params.market_protection = protection(Some(&order.order_type), order.market_protection)?;
    params.tag = order.tag.clone();
    no_extras(&order.extra)?;
    Ok((word("variety", order.variety.as_str())?, params))
}

/// Returns the parameters of a change: only what it changes.
pub(crate) fn modification(change: &OrderChange) -> Result<OrderParams, BrokerError> {
    if *change == OrderChange::new() {
        return Err(not_sent("the change changes nothing"));
    }
    let mut params = OrderParams::new();
    params.quantity = change.quantity.map(|quantity| whole("quantity", quantity)).transpose()?;
    params.price = change.price.map(|price| float("price", price)).transpose()?;
    params.trigger_price =
        change.trigger_price.map(|price| float("trigger price", price)).transpose()?;
    params.order_type = change.order_type.as_ref().map(order_type).transpose()?;
    params.validity =
        change.time_in_force.as_ref().map(|time| word("validity", time.as_str())).transpose()?;
    params.disclosed_quantity =
        change.disclosed_quantity.map(|shown| whole("disclosed quantity", shown)).transpose()?;
    params.market_protection = protection(change.order_type.as_ref(), change.market_protection)?;
    no_extras(&change.extra)?;
    Ok(params)
}

/// Kite refuses market and stop orders without a protection. -1 lets Kite choose it.
fn protection(
    kind: Option<&OrderType>,
    own: Option<MarketProtection>,
) -> Result<Option<f64>, BrokerError> {
    match (kind, own) {
        (Some(OrderType::Market | OrderType::Stop), None) => Ok(Some(-1.0)),
        (_, None) => Ok(None),
        (_, Some(own)) => {
            own.as_percent().map_or(Ok(-1.0), |it| float("market protection", it)).map(Some)
        }
    }
}

/// Refuses fields that the client has no parameter for.
pub(crate) fn no_extras(extra: &BTreeMap<String, String>) -> Result<(), BrokerError> {
    match extra.keys().next() {
        None => Ok(()),
        Some(field) => Err(not_sent(format!("this adapter sends no field {field:?}"))),
    }
}

fn order_type(kind: &OrderType) -> Result<kiteconnect::OrderType, BrokerError> {
    word(
        "order type",
        match kind {
            OrderType::Stop => "SL-M",
            OrderType::StopLimit => "SL",
            other => other.as_str(),
        },
    )
}

/// Returns the client's enum value for a word of the trait. The client's enums are closed, and the trait's are open.
fn word<T: DeserializeOwned>(what: &str, word: &str) -> Result<T, BrokerError> {
    serde_json::from_value(Value::from(word))
        .map_err(|_| not_sent(format!("the client has no {what} {word:?}")))
}

fn whole(what: &str, number: Decimal) -> Result<i64, BrokerError> {
    let text = number.normalize().to_string();
    text.parse()
        .map_err(|_| not_sent(format!("the {what} is {number}, and must be a whole number")))
}

/// The client takes prices as binary fractions. One that it would send as another number is refused.
pub(crate) fn float(what: &str, number: Decimal) -> Result<f64, BrokerError> {
    let text = number.normalize().to_string();
    let float: Option<f64> = text.parse().ok().filter(|float: &f64| float.to_string() == text);
    float.ok_or_else(|| {
        not_sent(format!("the {what} {number} has more digits than the client can send"))
    })
}

/// Returns the id of an order for the trait. Kite's addresses need the variety besides the number, so it is a part of
/// the id where it is not the usual one.
pub(crate) fn order_id(variety: &str, number: &str) -> OrderId {
    match variety {
        "regular" => OrderId::new(number),
        other => OrderId::new(format!("{other}/{number}")),
    }
}

/// Returns the variety and the number of an id that [`order_id`] made.
pub(crate) fn address(id: &OrderId) -> Result<(WireVariety, &str), BrokerError> {
    let (variety, number) = id.as_str().split_once('/').unwrap_or(("regular", id.as_str()));
    Ok((word("variety", variety)?, number))
}

/// Builds a row of the order book.
pub(crate) fn order(wire: WireOrder) -> Result<Order, String> {
    let instrument = Instrument::new(&wire.exchange, &wire.tradingsymbol);
    let mut request =
        OrderRequest::market(instrument, side(&wire.transaction_type)?, decimal(wire.quantity)?);
    request.order_type = match wire.order_type.as_str() {
        "SL-M" => OrderType::Stop,
        "SL" => OrderType::StopLimit,
        other => OrderType::from(other),
    };
    request.price = non_zero(wire.price)?;
    request.trigger_price = non_zero(wire.trigger_price)?;
    request.product = Some(Product::from(wire.product));
    request.time_in_force = TimeInForce::from(wire.validity);
    request.variety = Variety::from(wire.variety.as_str());
    request.tag = wire.tag.clone().or_else(|| wire.tags.first().cloned());
    let status = match wire.status.as_str() {
        "COMPLETE" => OrderStatus::Filled,
        "CANCELLED AMO" => OrderStatus::Cancelled,
        other => OrderStatus::from(other),
    };
    let mut order = Order::new(order_id(&wire.variety, &wire.order_id), status, &request);
    order.other_tags =
        wire.tags.into_iter().filter(|tag| Some(tag) != order.tag.as_ref()).collect();
    order.parent = wire.parent_order_id.map(|parent| order_id(&wire.variety, &parent));
    order.exchange_order_id = wire.exchange_order_id;
    order.status_message = wire.status_message;
    order.filled_quantity = decimal(wire.filled_quantity)?;
    order.cancelled_quantity = decimal(wire.cancelled_quantity)?;
    order.average_price = non_zero(wire.average_price)?;
    order.placed_at = time(&wire.order_timestamp);
    order.updated_at =
        wire.exchange_update_timestamp.as_ref().and_then(time).or_else(|| order.placed_at.clone());
    Ok(order)
}

/// Builds a row of the trade book.
pub(crate) fn trade(wire: WireTrade) -> Result<Trade, String> {
    let instrument = Instrument::new(&wire.exchange, &wire.tradingsymbol);
    let (quantity, price) = (decimal(wire.quantity)?, decimal(wire.average_price)?);
    // `Trade` takes what it has in common with its order from one.
    let mut request = OrderRequest::market(instrument, side(&wire.transaction_type)?, quantity);
    request.product = Some(Product::from(wire.product));
    let order = Order::new(OrderId::new(wire.order_id), OrderStatus::Filled, &request);
    let mut trade = Trade::new(wire.trade_id, &order, quantity, price);
    trade.at = time(&wire.fill_timestamp);
    Ok(trade)
}

fn side(word: &str) -> Result<Side, String> {
    match word {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        other => Err(format!("its transaction_type is {other:?}, neither BUY nor SELL")),
    }
}
