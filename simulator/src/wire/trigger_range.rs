//! The range in which the stop loss of a cover order may lie.

use rust_decimal::Decimal;
use serde_json::json;

use lanekeeper::broker::Side;
use lanekeeper::brokers::PaperBroker;

use super::json_number;
use super::market::quotes;
use crate::http::form::FormFields;
use crate::http::response::ApiResult;

/// How far from the price the stop loss may be. Kite's figure depends on the instrument: 3.5 % and 5.5 % are in its
/// documents.
const RANGE: Decimal = Decimal::from_parts(55, 0, 0, false, 3);

pub(crate) fn trigger_range(broker: &PaperBroker, side: &str, query: &FormFields) -> ApiResult {
    let side = match side {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return Err(FormFields::invalid("transaction_type")),
    };
    quotes(broker, query, 1000, |token, quote| {
        let price = quote.last_price;
        // The stop loss of a purchase is below the price, that of a sale above it.
        let (lower, upper) = match side {
            Side::Buy => (price - price * RANGE, price),
            Side::Sell => (price, price + price * RANGE),
        };
        json!({
            "instrument_token": token,
            "lower": json_number(lower),
            "upper": json_number(upper),
        })
    })
}
