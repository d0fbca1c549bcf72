//! Conversions, auctions, authorisations and trigger ranges on the wire.

use std::collections::HashMap;
use std::mem::take;

use form_urlencoded::Serializer;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use super::portfolio_types::{
    AuctionHolding, HoldingsAuthorisation, HoldingsConsent, HoldingsSummary, PositionConversion,
    TriggerRange, TriggerRanges,
};
use crate::broker::{BrokerError, Instrument, QuoteBatchLimit, Rows, Side};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{check_instrument, decimal_text, quantity_text};
use crate::brokers::kite::order_id::path_segment;
use crate::brokers::kite::portfolio::{WireHolding, holding};
use crate::brokers::kite::quotes::{BATCH_LIMIT, entries, instruments_path};

/// The limit of one request for trigger ranges. Kite documents none; what counts is the length of the address.
const RANGE_LIMIT: QuoteBatchLimit = QuoteBatchLimit { count: usize::MAX, ..BATCH_LIMIT };

/// The page on which holdings are authorised.
const CONSENT_PAGE: &str = "https://kite.zerodha.com/connect/portfolio/authorise/holdings";

/// Returns the form that converts a position.
pub(super) fn conversion_form(conversion: &PositionConversion) -> Result<String, BrokerError> {
    let (exchange, symbol) = check_instrument(&conversion.instrument)?;
    let (from, to) = (conversion.from.as_str(), conversion.to.as_str());
    if from.is_empty() || to.is_empty() || from == to {
        return Err(not_sent_error(format!(
            "a conversion from {from:?} to {to:?} changes nothing"
        )));
    }
    Ok(Serializer::new(String::new())
        .append_pair("exchange", exchange)
        .append_pair("tradingsymbol", symbol)
        .append_pair("transaction_type", &conversion.side.to_string())
        .append_pair("position_type", conversion.position_type.as_str())
        .append_pair("quantity", &quantity_text("quantity", conversion.quantity, Decimal::ONE)?)
        .append_pair("old_product", from)
        .append_pair("new_product", to)
        .finish())
}

/// Checks the answer to a conversion, which names nothing.
pub(in crate::brokers::kite) fn converted(done: Value) -> Result<(), String> {
    match done {
        Value::Bool(true) => Ok(()),
        other => Err(format!("it does not confirm the conversion: {other}")),
    }
}

pub(in crate::brokers::kite) fn auctions(
    wire: WireRows<WireHolding>,
) -> Result<Rows<AuctionHolding>, String> {
    wire.build("tradingsymbol", |mut wire| {
        let auction_number = take(&mut wire.auction_number).required("auction_number")?;
        Ok(AuctionHolding { auction_number, holding: holding(wire)? })
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireSummary {
    total_pnl: Num,
    total_pnl_percent: Num,
    today_pnl: Num,
    today_pnl_percent: Num,
    invested_amount: Num,
    current_value: Num,
}

pub(in crate::brokers::kite) fn summary(wire: WireSummary) -> Result<HoldingsSummary, String> {
    let needed = |number: Num, what: &str| number.0.ok_or_else(|| format!("it has no {what}"));
    Ok(HoldingsSummary {
        invested: needed(wire.invested_amount, "invested_amount")?,
        value: needed(wire.current_value, "current_value")?,
        pnl: needed(wire.total_pnl, "total_pnl")?,
        pnl_percent: wire.total_pnl_percent.0,
        day_pnl: wire.today_pnl.0,
        day_pnl_percent: wire.today_pnl_percent.0,
    })
}

/// Returns the form that begins an authorisation.
pub(super) fn authorisation_form(request: &HoldingsAuthorisation) -> Result<String, BrokerError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("type", if request.mutual_funds { "mf" } else { "equity" });
    if let Some(transfer) = &request.transfer_type {
        form.append_pair("transfer_type", transfer.as_str());
    }
    if let Some(day) = request.day {
        form.append_pair("exec_date", &day.to_string());
    }
    for (isin, quantity) in &request.instruments {
        if *quantity <= Decimal::ZERO {
            return Err(not_sent_error(format!(
                "the quantity of {isin:?} is {quantity}, and must be above zero"
            )));
        }
        // Both are lists: the second quantity belongs to the second number.
        form.append_pair("isin", path_segment("ISIN", isin)?)
            .append_pair("quantity", &decimal_text(*quantity));
    }
    Ok(form.finish())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireConsent {
    request_id: Text,
}

pub(in crate::brokers::kite) fn consent(
    wire: WireConsent,
    api_key: &str,
) -> Result<HoldingsConsent, String> {
    let request_id = wire.request_id.required("request_id")?;
    // It becomes a part of an address that is opened in a browser.
    path_segment("request_id", &request_id).map_err(|error| error.to_string())?;
    let url = format!("{CONSENT_PAGE}/{api_key}/{request_id}");
    Ok(HoldingsConsent { request_id, url })
}

/// Returns the path of the trigger ranges of `instruments`.
pub(super) fn ranges_path(side: Side, instruments: &[Instrument]) -> Result<String, BrokerError> {
    let side = match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    instruments_path(&format!("/instruments/trigger_range/{side}"), instruments, RANGE_LIMIT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireRange {
    lower: Num,
    upper: Num,
}

/// Builds the ranges of `asked`. An instrument without a range is absent.
pub(in crate::brokers::kite) fn ranges(
    data: Value,
    asked: &[Instrument],
) -> Result<TriggerRanges, ResponseError> {
    let ranges = entries(data, asked, |instrument, wire: WireRange| {
        Some((instrument, TriggerRange::new(wire.lower.0?, wire.upper.0?)))
    })?;
    Ok(ranges.map(|ranges| ranges.into_iter().collect::<HashMap<_, _>>()))
}
