//! Systematic investment plans on the wire.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use serde::Deserialize;

use super::fund_wire::{WireFundIds, check_about, check_named, checked_id, day, new_id, order_id};
use super::ids::SipId;
use super::sip_types::{PlacedSip, Sip, SipChange, SipFrequency, SipRequest, SipStatus};
use crate::broker::{BrokerError, Rows};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{check_tag, price_text};
use crate::brokers::kite::order_id::path_segment;
use crate::brokers::kite::orders::timestamp;

/// Kite's number of instalments of a plan that goes on until it is cancelled.
const UNTIL_CANCELLED: &str = "-1";

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

/// Returns the ids of a new plan, and of its first order.
pub(in crate::brokers::kite) fn placed_sip(
    done: WireFundIds,
    is_new: impl FnOnce(&str) -> bool,
) -> Result<PlacedSip, ResponseError> {
    let id = new_id("sip_id", done.sip_id, is_new).map(SipId::new)?;
    Ok(PlacedSip { id, order_id: done.order_id.0.map(order_id).transpose()? })
}

/// Checks that the answer to a change or a cancellation names the plan.
pub(in crate::brokers::kite) fn check_sip(
    done: WireFundIds,
    asked: &SipId,
) -> Result<(), ResponseError> {
    check_named("plan", done.sip_id, asked.as_str())
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
