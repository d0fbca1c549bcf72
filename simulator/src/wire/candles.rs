//! Historical candles.

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Zoned};
use serde_json::{Value, json};

use lanekeeper::broker::{Candle, CandleRequest, Interval};
use lanekeeper::brokers::PaperBroker;

use super::{india_zone, json_number, json_number_or_zero};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};

pub(crate) fn historical(
    broker: &PaperBroker,
    token: &str,
    interval: &str,
    query: &FormFields,
) -> ApiResult {
    let token = token.parse().ok().and_then(|token| broker.backend().instrument(token));
    let instrument = token.ok_or_else(|| ApiError::input("invalid token"))?;
    let interval = Interval::from(interval);
    let from = parse_time(query, "from", Time::midnight())?;
    let to = parse_time(query, "to", Time::constant(23, 59, 59, 0))?;
    let max_days = max_days(&interval);
    if from.duration_until(&to) > SignedDuration::from_hours(24 * max_days) {
        return Err(ApiError::input(format!("interval exceeds max limit: {max_days} days")));
    }
    let mut request = CandleRequest::new(instrument, interval, from, to);
    request.continuous = query.get("continuous") == Some("1");
    request.open_interest = query.get("oi") == Some("1");
    let candles: Vec<Value> = broker.backend().candles(&request)?.iter().map(candle_json).collect();
    Ok(ApiData::Json(json!({"candles": candles})))
}

/// Returns Kite's bound on the days of one request.
fn max_days(interval: &Interval) -> i64 {
    match interval {
        Interval::Minute => 60,
        Interval::FifteenMinutes | Interval::ThirtyMinutes => 200,
        Interval::Hour => 400,
        Interval::Day => 2000,
        _ => 100,
    }
}

/// Parses a time in India without a zone, or a day, for which `of_day` is the time.
fn parse_time(query: &FormFields, name: &str, of_day: Time) -> Result<Zoned, ApiError> {
    let text = query.require(name)?;
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", text)
        .or_else(|_| Date::strptime("%Y-%m-%d", text).map(|date| date.to_datetime(of_day)));
    time.and_then(|time| time.to_zoned(india_zone())).map_err(|_| FormFields::invalid(name))
}

fn candle_json(candle: &Candle) -> Value {
    let at = candle.at.with_time_zone(india_zone()).strftime("%Y-%m-%dT%H:%M:%S%z").to_string();
    let ohlc = &candle.ohlc;
    let mut json = vec![
        at.into(),
        json_number(ohlc.open),
        json_number(ohlc.high),
        json_number(ohlc.low),
        json_number(ohlc.close),
        json_number(candle.volume),
    ];
    if candle.open_interest.is_some() {
        json.push(json_number_or_zero(candle.open_interest));
    }
    json.into()
}
