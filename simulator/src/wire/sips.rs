//! SIPs of mutual funds.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use lanekeeper::brokers::PaperBroker;

use super::funds::{parse_number, parse_tag};
use super::{json_number, naive_time, uuid};
use crate::accounts::Account;
use crate::http::form::FormFields;
use crate::http::response::ApiError;
use crate::mutual_funds::find_fund;
use crate::mutual_funds::sip::{Frequency, Sip, SipChange, SipStatus};

/// All SIPs, the latest first.
pub(super) fn all(account: Account<'_>) -> Value {
    account.read(|state| {
        let sips = state.funds.sips.iter();
        let mut list: Vec<Value> = sips.map(|(number, sip)| sip_json(number, sip)).collect();
        list.reverse();
        list.into()
    })
}

pub(super) fn one(account: Account<'_>, id: &str) -> Result<Value, ApiError> {
    let number = parse_id(id)?;
    account.read(|state| Ok(sip_json(number, state.funds.sip(number)?)))
}

/// Places a SIP. With a first amount it places an order too.
pub(super) fn place(
    broker: &PaperBroker,
    account: Account<'_>,
    form: &FormFields,
) -> Result<Value, ApiError> {
    form.reject_unknown(&[
        "tradingsymbol",
        "amount",
        "initial_amount",
        "instalments",
        "frequency",
        "instalment_day",
        "tag",
    ])?;
    let fund = find_fund(form.require("tradingsymbol")?)?;
    form.require("amount")?;
    form.require("instalments")?;
    form.require("frequency")?;
    let sip = Sip {
        fund,
        amount: parse_number(form, "amount")?.unwrap_or(Decimal::ZERO),
        instalments: form.integer("instalments")?.unwrap_or_default(),
        frequency: parse_frequency(form)?.unwrap_or(Frequency::Monthly),
        instalment_day: form.integer("instalment_day")?.unwrap_or_default(),
        tag: parse_tag(form)?,
        status: SipStatus::Active,
        created_at: broker.now(),
    };
    let initial_amount = parse_number(form, "initial_amount")?;
    let numbers = [account.next_number(), account.next_number()];
    let has_order = account.change(|state| state.funds.place_sip(numbers, sip, initial_amount))?;
    let [sip_number, order_number] = numbers;
    let mut json = id_json(sip_number);
    json["order_id"] = has_order.then(|| uuid::of(order_number)).into();
    Ok(json)
}

pub(super) fn modify(account: Account<'_>, id: &str, form: &FormFields) -> Result<Value, ApiError> {
    let number = parse_id(id)?;
    form.reject_unknown(&["amount", "status", "instalments", "frequency", "instalment_day"])?;
    let status = match form.get("status") {
        None => None,
        Some("active") => Some(SipStatus::Active),
        Some("paused") => Some(SipStatus::Paused),
        Some(_) => return Err(FormFields::invalid("status")),
    };
    let change = SipChange {
        amount: parse_number(form, "amount")?,
        instalments: form.integer("instalments")?,
        frequency: parse_frequency(form)?,
        instalment_day: form.integer("instalment_day")?,
        status,
    };
    account.change(|state| state.funds.modify_sip(number, change))?;
    Ok(id_json(number))
}

pub(super) fn cancel(account: Account<'_>, id: &str) -> Result<Value, ApiError> {
    let number = parse_id(id)?;
    account.change(|state| state.funds.cancel_sip(number))?;
    Ok(id_json(number))
}

/// Returns the id of a SIP: 15 digits.
fn sip_id(number: u64) -> String {
    format!("{number:015}")
}

fn parse_id(id: &str) -> Result<u64, ApiError> {
    let number = id.parse().ok().filter(|number| sip_id(*number) == id);
    number.ok_or_else(|| ApiError::not_found("Couldn't find that `sip_id`."))
}

fn id_json(number: u64) -> Value {
    json!({"sip_id": sip_id(number)})
}

fn parse_frequency(form: &FormFields) -> Result<Option<Frequency>, ApiError> {
    let Some(word) = form.get("frequency") else { return Ok(None) };
    let known = Frequency::ALL.into_iter().find(|frequency| frequency.as_str() == word);
    known.map(Some).ok_or_else(|| FormFields::invalid("frequency"))
}

fn sip_json(number: u64, sip: &Sip) -> Value {
    json!({
        "sip_id": sip_id(number),
        "tradingsymbol": sip.fund.isin,
        "fund": sip.fund.name,
        "dividend_type": sip.fund.dividend_type,
        "transaction_type": "BUY",
        "status": sip.status.as_str(),
        "sip_type": "sip",
        "sip_reg_num": null,
        "fund_source": "pool",
        "created": naive_time(&sip.created_at),
        "frequency": sip.frequency.as_str(),
        "instalment_amount": json_number(sip.amount),
        "instalments": sip.instalments,
        // No instalment falls due.
        "last_instalment": naive_time(&sip.created_at),
        "next_instalment": sip.next_instalment(),
        "pending_instalments": sip.instalments,
        "completed_instalments": 0,
        "instalment_day": sip.instalment_day,
        "trigger_price": 0,
        "step_up": {},
        "tag": sip.tag,
    })
}
