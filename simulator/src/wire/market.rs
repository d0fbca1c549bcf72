//! Quotes, and the listing of instruments.

use serde_json::{Map, Value, json};

use lanekeeper::broker::{Broker, DepthLevel, Exchange, Ohlc, Quote};
use lanekeeper::brokers::PaperBroker;

use super::{json_number, json_number_or_zero, naive_time_or_null};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};

/// The columns of the listing, in Kite's order.
const COLUMNS: [&str; 12] = [
    "instrument_token",
    "exchange_token",
    "tradingsymbol",
    "name",
    "last_price",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
];

pub(crate) fn quote(broker: &PaperBroker, query: &FormFields) -> ApiResult {
    quotes(broker, query, 500, full_json)
}

pub(crate) fn ohlc(broker: &PaperBroker, query: &FormFields) -> ApiResult {
    quotes(broker, query, 1000, |token, quote| {
        json!({
            "instrument_token": token,
            "last_price": json_number(quote.last_price),
            "ohlc": ohlc_json(quote.ohlc.as_ref()),
        })
    })
}

pub(crate) fn ltp(broker: &PaperBroker, query: &FormFields) -> ApiResult {
    quotes(
        broker,
        query,
        1000,
        |token, quote| json!({"instrument_token": token, "last_price": json_number(quote.last_price)}),
    )
}

/// Answers for each instrument of the query with what `json` makes of its token and its quote.
pub(super) fn quotes(
    broker: &PaperBroker,
    query: &FormFields,
    max_keys: usize,
    json: impl Fn(Option<u32>, &Quote) -> Value,
) -> ApiResult {
    let keys: Vec<&str> = query.all("i").collect();
    if keys.is_empty() {
        return Err(ApiError::input("Missing or empty field `i`"));
    }
    if keys.len() > max_keys {
        return Err(ApiError::input(format!("At most {max_keys} instruments can be requested.")));
    }
    // A key without data is absent from the response, and is not an error.
    let quotes: Map<String, Value> = keys
        .into_iter()
        .filter_map(|key| {
            let instrument = key.parse().ok()?;
            let quote = broker.backend().quote(&instrument)?;
            Some((key.to_owned(), json(broker.backend().token(&instrument), &quote)))
        })
        .collect();
    Ok(ApiData::Json(quotes.into()))
}

fn full_json(token: Option<u32>, quote: &Quote) -> Value {
    let levels = |levels: &[DepthLevel]| -> Vec<Value> {
        let level = |level: &DepthLevel| {
            json!({
                "price": json_number(level.price),
                "quantity": json_number(level.quantity),
                "orders": level.orders,
            })
        };
        levels.iter().map(level).collect()
    };
    let depth = quote.depth.clone().unwrap_or_default();
    json!({
        "instrument_token": token,
        "timestamp": naive_time_or_null(quote.at.as_ref()),
        "last_trade_time": naive_time_or_null(quote.last_trade_at.as_ref()),
        "last_price": json_number(quote.last_price),
        "last_quantity": json_number_or_zero(quote.last_quantity),
        "buy_quantity": json_number_or_zero(quote.buy_quantity),
        "sell_quantity": json_number_or_zero(quote.sell_quantity),
        "volume": json_number_or_zero(quote.volume),
        "average_price": json_number_or_zero(quote.average_price),
        "oi": json_number_or_zero(quote.open_interest),
        "oi_day_high": 0,
        "oi_day_low": 0,
        "net_change": json_number_or_zero(quote.net_change),
        "lower_circuit_limit": json_number_or_zero(quote.lower_circuit),
        "upper_circuit_limit": json_number_or_zero(quote.upper_circuit),
        "ohlc": ohlc_json(quote.ohlc.as_ref()),
        "depth": {"buy": levels(&depth.bids), "sell": levels(&depth.asks)},
    })
}

fn ohlc_json(ohlc: Option<&Ohlc>) -> Value {
    let field = |field: fn(&Ohlc) -> rust_decimal::Decimal| json_number_or_zero(ohlc.map(field));
    json!({
        "open": field(|ohlc| ohlc.open),
        "high": field(|ohlc| ohlc.high),
        "low": field(|ohlc| ohlc.low),
        "close": field(|ohlc| ohlc.close),
    })
}

pub(crate) fn instruments(broker: &PaperBroker, exchange: Option<&str>) -> ApiResult {
    let exchange = exchange.map(Exchange::from);
    let listed = broker.instruments(exchange.as_ref()).map_err(|_| ApiError::internal())?;
    let text = |decimal: Option<rust_decimal::Decimal>| {
        decimal.unwrap_or_default().normalize().to_string()
    };
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut write = |row: [&str; 12]| csv.write_record(row).map_err(|_| ApiError::internal());
    write(COLUMNS)?;
    for info in &listed {
        let token = info.token.as_deref().unwrap_or_default();
        // The exchange's token is Kite's token without its last eight bits.
        let exchange_token = token.parse::<u32>().map_or(0, |token| token >> 8).to_string();
        let expiry = info.expiry.map(|date| date.to_string()).unwrap_or_default();
        write([
            token,
            &exchange_token,
            info.instrument.symbol(),
            &info.name,
            // Kite makes the listing before the market opens, so it has no prices.
            "0",
            &expiry,
            &text(info.strike),
            &text(info.tick_size),
            &text(info.lot_size),
            &info.kind,
            &info.segment,
            info.instrument.exchange(),
        ])?;
    }
    let bytes = csv.into_inner().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Csv(String::from_utf8(bytes).map_err(|_| ApiError::internal())?))
}
