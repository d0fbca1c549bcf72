//! Mutual funds on the wire: forms, and answers in JSON.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use jiff::civil::Date;
use serde::Deserialize;

use super::fund_types::{
    FundHolding, FundOrder, FundOrderRequest, PlacedSip, Sip, SipChange, SipFrequency, SipRequest,
    SipStatus,
};
use super::ids::{FundOrderId, SipId};
use crate::broker::{BrokerError, Rows, Side};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{check_tag, price_text};
use crate::brokers::kite::order_id::{is_order_number, path_segment};
use crate::brokers::kite::orders::{side, status, timestamp};

/// Kite's number of instalments of a plan that goes on until it is cancelled.
const UNTIL_CANCELLED: &str = "-1";

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

/// Returns the form that places a plan.
pub(super) fn sip_form(plan: &SipRequest) -> Result<String, BrokerError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("tradingsymbol", path_segment("fund", &plan.fund)?)
        .append_pair("amount", &price_text("amount", plan.amount)?)
        .append_pair("instalments", &instalments_text(plan.instalments)?)
        .append_pair("frequency", plan.frequency.as_str());
    if let Some(day) = plan.instalment_day {
        form.append_pair("instalment_day", &day_text(day)?);
    }
    if let Some(amount) = plan.initial_amount {
        form.append_pair("initial_amount", &price_text("initial amount", amount)?);
    }
    if let Some(tag) = &plan.tag {
        form.append_pair("tag", check_tag(tag)?);
    }
    Ok(form.finish())
}

/// Returns the form that changes a plan.
pub(super) fn sip_change_form(change: &SipChange) -> Result<String, BrokerError> {
    if *change == SipChange::new() {
        return Err(not_sent_error("the change changes nothing"));
    }
    let mut form = Serializer::new(String::new());
    if let Some(amount) = change.amount {
        form.append_pair("amount", &price_text("amount", amount)?);
    }
    if let Some(status) = &change.status {
        // Kite takes the words in lower case here.
        form.append_pair("status", &status.as_str().to_ascii_lowercase());
    }
    if let Some(count) = change.instalments {
        form.append_pair("instalments", &instalments_text(Some(count))?);
    }
    if let Some(frequency) = &change.frequency {
        form.append_pair("frequency", frequency.as_str());
    }
    if let Some(day) = change.instalment_day {
        form.append_pair("instalment_day", &day_text(day)?);
    }
    Ok(form.finish())
}

fn instalments_text(count: Option<u32>) -> Result<String, BrokerError> {
    match count {
        Some(0) => Err(not_sent_error("a plan has at least one instalment")),
        Some(count) => Ok(count.to_string()),
        None => Ok(UNTIL_CANCELLED.to_owned()),
    }
}

fn day_text(day: u8) -> Result<String, BrokerError> {
    match day {
        1..=31 => Ok(day.to_string()),
        _ => Err(not_sent_error(format!("the day of an instalment is {day}, and not 1 to 31"))),
    }
}

/// Kite's answer to a write, which names an order, a plan, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireFundIds {
    order_id: Text,
    sip_id: Text,
}

/// Returns the id of a new order. `is_new` returns whether it can be that of a new one.
pub(in crate::brokers::kite) fn placed_order(
    done: WireFundIds,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<FundOrderId, ResponseError> {
    new_id("order_id", done.order_id, is_new).map(FundOrderId::new)
}

/// Returns the ids of a new plan, and of its first order.
pub(in crate::brokers::kite) fn placed_sip(
    done: WireFundIds,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<PlacedSip, ResponseError> {
    let id = new_id("sip_id", done.sip_id, is_new).map(SipId::new)?;
    Ok(PlacedSip { id, order_id: done.order_id.0.map(order_id).transpose()? })
}

fn new_id(
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

/// Checks that the answer to a change or a cancellation names the plan.
pub(in crate::brokers::kite) fn check_sip(
    done: WireFundIds,
    asked: &SipId,
) -> Result<(), ResponseError> {
    check_named("plan", done.sip_id, asked.as_str())
}

fn check_named(what: &str, named: Text, asked: &str) -> Result<(), ResponseError> {
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
pub(in crate::brokers::kite) struct WireSip {
    sip_id: Text,
    tradingsymbol: Text,
    fund: Text,
    status: Text,
    instalment_amount: Num,
    frequency: Text,
    instalments: Num,
    completed_instalments: Num,
    pending_instalments: Num,
    instalment_day: Num,
    next_instalment: Text,
    last_instalment: Text,
    sip_type: Text,
    dividend_type: Text,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    step_up: Option<BTreeMap<String, Num>>,
    tag: Text,
    created: Text,
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

pub(in crate::brokers::kite) fn sips(wire: WireRows<WireSip>) -> Result<Rows<Sip>, String> {
    wire.build("sip_id", sip)
}

/// Builds the plan that was asked for.
pub(in crate::brokers::kite) fn one_sip(
    wire: WireSip,
    asked: &SipId,
) -> Result<Sip, ResponseError> {
    let sip = sip(wire)?;
    check_about("plan", sip.id.as_str(), asked.as_str())?;
    Ok(sip)
}

pub(in crate::brokers::kite) fn holdings(
    wire: WireRows<WireFundHolding>,
) -> Result<Rows<FundHolding>, String> {
    wire.build("tradingsymbol", holding)
}

fn check_about(what: &str, id: &str, asked: &str) -> Result<(), ResponseError> {
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

fn sip(wire: WireSip) -> Result<Sip, String> {
    // Kite writes -1 for a plan without an end. It is no count, so it becomes `None`.
    let count = |number: Num| number.0.and_then(|number| u32::try_from(number).ok());
    let step_up = wire.step_up.unwrap_or_default().into_iter();
    Ok(Sip {
        id: SipId::new(checked_id("sip_id", wire.sip_id.required("sip_id")?)?),
        fund: wire.tradingsymbol.required("tradingsymbol")?,
        fund_name: wire.fund.0,
        status: SipStatus::from(wire.status.required("status")?),
        amount: wire.instalment_amount.0.ok_or("it has no instalment_amount")?,
        frequency: wire.frequency.0.map(SipFrequency::from),
        instalments: count(wire.instalments),
        completed_instalments: count(wire.completed_instalments),
        pending_instalments: count(wire.pending_instalments),
        instalment_day: wire.instalment_day.non_zero().and_then(|day| u8::try_from(day).ok()),
        next_instalment: day(&wire.next_instalment),
        last_instalment: timestamp(&wire.last_instalment),
        sip_type: wire.sip_type.0,
        dividend_type: wire.dividend_type.0,
        step_up: step_up.filter_map(|(day, percent)| Some((day, percent.0?))).collect(),
        tag: wire.tag.0,
        created_at: timestamp(&wire.created),
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

fn order_id(text: String) -> Result<FundOrderId, String> {
    checked_id("order_id", text).map(FundOrderId::new)
}

/// Returns an id that can be a part of a path, so that every id which this adapter returns can be used.
fn checked_id(what: &str, id: String) -> Result<String, String> {
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
