//! Mutual funds on the wire: forms, and answers in JSON.

use form_urlencoded::Serializer;
use jiff::civil::Date;
use serde::Deserialize;

use super::fund_types::{FundHolding, FundOrder, FundOrderRequest};
use super::ids::FundOrderId;
use crate::broker::{BrokerError, Rows, Side};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{check_tag, price_text};
use crate::brokers::kite::order_id::{is_order_number, path_segment};
use crate::brokers::kite::orders::{side, status, timestamp};

/// Returns the form that places an order.
pub(super) fn order_form(order: &FundOrderRequest) -> Result<String, BrokerError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("tradingsymbol", path_segment("fund", &order.fund)?)
        .append_pair("transaction_type", &order.side.to_string());
    match (order.side, order.amount, order.quantity) {
        (Side::Buy, Some(amount), None) => {
            form.append_pair("amount", &price_text("amount", amount)?);
        }
        (Side::Sell, None, Some(quantity)) => {
            form.append_pair("quantity", &price_text("quantity", quantity)?);
        }
        (Side::Buy, ..) => {
            return Err(not_sent_error("a fund is bought for an amount, and not by the unit"));
        }
        (Side::Sell, ..) => {
            return Err(not_sent_error("a fund is sold by the unit, and not for an amount"));
        }
    }
    if let Some(tag) = &order.tag {
        form.append_pair("tag", check_tag(tag)?);
    }
    Ok(form.finish())
}

/// Kite's answer to a write, which names an order, a plan, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireFundIds {
    pub(super) order_id: Text,
    pub(super) sip_id: Text,
}

/// Returns the id of a new order. `is_new` returns whether it can be that of a new one.
pub(in crate::brokers::kite) fn placed_order(
    done: WireFundIds,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<FundOrderId, ResponseError> {
    new_id("order_id", done.order_id, is_new).map(FundOrderId::new)
}

pub(super) fn new_id(
    what: &str,
    id: Text,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<String, ResponseError> {
    let id = checked_id(what, id.required(what)?)?;
    if is_new(&id) {
        return Ok(id);
    }
    Err(ResponseError::WrongRequest(format!("its {what} {id:?} is not that of a new one")))
}

/// Checks that the answer to a cancellation names the order.
pub(in crate::brokers::kite) fn check_order(
    done: WireFundIds,
    asked: &FundOrderId,
) -> Result<(), ResponseError> {
    check_named("order", done.order_id, asked.as_str())
}

pub(super) fn check_named(what: &str, named: Text, asked: &str) -> Result<(), ResponseError> {
    match named.as_deref() {
        Some(named) if named == asked => Ok(()),
        Some(other) => Err(format!("it names the {what} {other:?}, and not {asked}")),
        None => Err(format!("it does not name the {what} {asked}")),
    }
    .map_err(ResponseError::WrongRequest)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireFundOrder {
    order_id: Text,
    exchange_order_id: Text,
    tradingsymbol: Text,
    fund: Text,
    transaction_type: Text,
    status: Text,
    status_message: Text,
    amount: Num,
    quantity: Num,
    average_price: Num,
    last_price: Num,
    last_price_date: Text,
    folio: Text,
    variety: Text,
    purchase_type: Text,
    settlement_id: Text,
    tag: Text,
    placed_by: Text,
    order_timestamp: Text,
    exchange_timestamp: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireFundHolding {
    tradingsymbol: Text,
    fund: Text,
    folio: Text,
    quantity: Num,
    pledged_quantity: Num,
    average_price: Num,
    last_price: Num,
    last_price_date: Text,
    pnl: Num,
}

pub(in crate::brokers::kite) fn orders(
    wire: WireRows<WireFundOrder>,
) -> Result<Rows<FundOrder>, String> {
    wire.build("order_id", order)
}

/// Builds the order that was asked for.
pub(in crate::brokers::kite) fn one_order(
    wire: WireFundOrder,
    asked: &FundOrderId,
) -> Result<FundOrder, ResponseError> {
    let order = order(wire)?;
    check_about("order", order.id.as_str(), asked.as_str())?;
    Ok(order)
}

pub(in crate::brokers::kite) fn holdings(
    wire: WireRows<WireFundHolding>,
) -> Result<Rows<FundHolding>, String> {
    wire.build("tradingsymbol", holding)
}

pub(super) fn check_about(what: &str, id: &str, asked: &str) -> Result<(), ResponseError> {
    if id == asked {
        return Ok(());
    }
    Err(ResponseError::WrongRequest(format!("it is about the {what} {id}, and not {asked}")))
}

fn order(wire: WireFundOrder) -> Result<FundOrder, String> {
    Ok(FundOrder {
        id: order_id(wire.order_id.required("order_id")?)?,
        exchange_order_id: wire.exchange_order_id.0,
        fund: wire.tradingsymbol.required("tradingsymbol")?,
        fund_name: wire.fund.0,
        side: side(wire.transaction_type)?,
        status: status(&wire.status.required("status")?),
        status_message: wire.status_message.0,
        amount: wire.amount.or_zero(),
        quantity: wire.quantity.or_zero(),
        average_price: wire.average_price.non_zero(),
        last_price: wire.last_price.non_zero(),
        last_price_day: day(&wire.last_price_date),
        folio: wire.folio.0,
        variety: wire.variety.0,
        purchase_type: wire.purchase_type.0,
        settlement_id: wire.settlement_id.0,
        tag: wire.tag.0,
        placed_by: wire.placed_by.0,
        placed_at: timestamp(&wire.order_timestamp),
        exchange_day: day(&wire.exchange_timestamp),
    })
}

fn holding(wire: WireFundHolding) -> Result<FundHolding, String> {
    Ok(FundHolding {
        fund: wire.tradingsymbol.required("tradingsymbol")?,
        fund_name: wire.fund.0,
        folio: wire.folio.0,
        quantity: wire.quantity.0.ok_or("it has no quantity")?,
        pledged_quantity: wire.pledged_quantity.or_zero(),
        average_price: wire.average_price.or_zero(),
        last_price: wire.last_price.non_zero(),
        last_price_day: day(&wire.last_price_date),
        pnl: wire.pnl.non_zero(),
    })
}

pub(super) fn order_id(text: String) -> Result<FundOrderId, String> {
    checked_id("order_id", text).map(FundOrderId::new)
}

/// Returns an id that can be a part of a path, so that every id which this adapter returns can be used.
pub(super) fn checked_id(what: &str, id: String) -> Result<String, String> {
    if is_order_number(&id) {
        return Ok(id);
    }
    Err(format!("its {what} {id:?} is no id"))
}

/// Reads `2021-06-30`, or the day of a time.
pub(super) fn day(text: &Text) -> Option<Date> {
    parse_day(text.as_deref()?)
}

/// Reads a day. The zero days, which mean "never", are `None`.
pub(super) fn parse_day(text: &str) -> Option<Date> {
    let day: Date = text.trim().get(.."2021-06-30".len())?.parse().ok()?;
    (day.year() > 1970).then_some(day)
}
