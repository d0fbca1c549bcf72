//! Candles: requested by an instrument's number, answered as rows without field names.

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::Value;

use super::de::{Num, WireRows};
use super::order_id::path_segment;
use super::time;
use crate::broker::{BrokerError, Candle, CandleRequest, Ohlc, Rows};
use crate::brokers::india::zone;

/// The rows, which are required.
#[derive(Debug, Deserialize)]
pub(super) struct WireCandles {
    candles: WireRows<Vec<Value>>,
}

/// Returns the path for `request`, of the instrument with the number `token`.
pub(super) fn path(request: &CandleRequest, token: u64) -> Result<String, BrokerError> {
    let interval = path_segment("interval", request.interval.as_str())?;
    let (from, to) = request.range(&zone())?;
    let flag = |on: bool| if on { "1" } else { "0" };
    let query = Serializer::new(String::new())
        .append_pair("from", &time::format(&from))
        .append_pair("to", &time::format(&to))
        .append_pair("continuous", flag(request.continuous))
        .append_pair("oi", flag(request.open_interest))
        .finish();
    Ok(format!("/instruments/historical/{token}/{interval}?{query}"))
}

pub(super) fn candles(wire: WireCandles) -> Result<Rows<Candle>, String> {
    wire.candles.build("", |row| candle(&row).ok_or_else(|| "it is no candle".to_owned()))
}

fn candle(row: &[Value]) -> Option<Candle> {
    let at = time::parse(row.first()?.as_str()?)?;
    let number = |column: usize| row.get(column).and_then(|value| Num::from(value).0);
    let ohlc = Ohlc { open: number(1)?, high: number(2)?, low: number(3)?, close: number(4)? };
    // An index has no volume.
    let mut candle = Candle::new(at, ohlc, number(5).unwrap_or_default());
    candle.open_interest = number(6);
    Some(candle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_candle_or_a_problem() {
        let read = |json: &str| {
            serde_json::from_str(json).map_err(|error| error.to_string()).and_then(candles)
        };
        let rows = read(
            r#"{"candles":[["2017-12-15T09:15:00+0530",1704.5,1705,1699.25,1702.8,2499],
                ["2017-12-15T09:16:00+0530",1,1,1,1,null,13667775]]}"#,
        )
        .unwrap();
        assert_eq!(rows[0].at.to_string(), "2017-12-15T09:15:00+05:30[+05:30]");
        assert_eq!((rows[0].volume, rows[0].open_interest), (2499.into(), None));
        assert_eq!(rows[1].open_interest, Some(13_667_775.into()));
        let rows = read(
            r#"{"candles":[null,["2017-12-15T09:15:00+0530",1,1,1],
                ["2017-12-15T09:15:00+0530",1,1,1,1,5],["2017-12-15T09:15:00+0530",1,1,1,null,5]]}"#,
        )
        .unwrap();
        let problems: Vec<usize> = rows.problems.iter().map(|problem| problem.row).collect();
        assert_eq!((rows.len(), problems), (1, vec![0, 1, 3]));
        assert!(read("{}").is_err());
        assert_eq!(read(r#"{"candles":null}"#), Ok(vec![].into()));
    }
}
