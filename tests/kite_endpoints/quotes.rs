//! Last prices, and those of the day.

use lanekeeper::broker::{Broker, CandleRequest, Interval};
use lanekeeper::brokers::kite::KiteQuotes;
use lanekeeper::jiff::civil::date;
use lanekeeper::{Instrument, Kite};

use crate::server::Server;
use crate::support::{
    call, check_answer, dec, infy, is_malformed, is_transient, odd, refused, success,
};

#[test]
fn last_prices_are_by_instrument() {
    let data = r#"{"NSE:INFY":{"instrument_token":408065,"last_price":1500.05000000002},
        "NSE:M&M":{"instrument_token":1,"last_price":null}}"#;
    let (received, prices) = call(data, |kite| kite.last_prices(&[infy(), odd()]));
    assert_eq!(received.line, "GET /quote/ltp?i=NSE%3AINFY&i=NSE%3AM%26M HTTP/1.1");
    let prices = prices.unwrap().complete().unwrap();
    let quote = &prices[&infy()];
    assert_eq!((prices.len(), quote.last_price), (1, dec("1500.05000000002")));
    assert_eq!((quote.token.as_deref(), quote.ohlc), (Some("408065"), None));
}

#[test]
fn day_prices_have_open_high_low_and_close() {
    let data = r#"{"NSE:INFY":{"instrument_token":408065,"last_price":1500,
        "ohlc":{"open":1495.5,"high":1510,"low":1490.05,"close":1499}}}"#;
    let (received, prices) = call(data, |kite| kite.day_prices(&[infy()]));
    assert_eq!(received.line, "GET /quote/ohlc?i=NSE%3AINFY HTTP/1.1");
    let ohlc = prices.unwrap()[&infy()].ohlc.unwrap();
    assert_eq!((ohlc.open, ohlc.high), (dec("1495.5"), dec("1510")));
    assert_eq!((ohlc.low, ohlc.close), (dec("1490.05"), dec("1499")));
}

#[test]
fn the_numbers_of_instruments_are_learned_for_candles() {
    let data = r#"{"NSE:INFY":{"instrument_token":408065,"last_price":1500}}"#;
    let server = Server::ok(&[&success(data), &success(r#"{"candles":[]}"#)]);
    let kite = server.kite();
    kite.last_prices(&[infy()]).unwrap();
    let day = date(2026, 1, 19);
    kite.candles(&CandleRequest::new(infy(), Interval::Day, day, day)).unwrap();
    assert!(server.received()[1].line.starts_with("GET /instruments/historical/408065/day?"));
}

#[test]
fn a_request_is_bounded_by_count_and_by_address() {
    let short: Vec<_> = (0..1001).map(|n| Instrument::new("A", format!("{n}"))).collect();
    let check = |words: &str, instruments: &[Instrument]| {
        refused(words, |kite| kite.last_prices(instruments));
        refused(words, |kite| kite.day_prices(instruments));
    };
    check("which takes 1000 in 7500", &short);
    let limit = Server::new([]).kite().price_batch_limit();
    assert_eq!((limit.count, limit.bytes), (1000, 7500));
    let long: Vec<_> =
        (0..400).map(|n| Instrument::new("NFO", format!("BANKNIFTY{n:014}"))).collect();
    check("divide them up", &long);
    check("no instruments", &[]);
    check("lacks an exchange", &[infy(), Instrument::new("", "INFY")]);
    // More than a request for quotes may name.
    let fits = &short[..600];
    let (received, _) = call("{}", |kite| kite.last_prices(fits));
    assert!(received.line.len() < 8192, "{}", received.line.len());
}

#[test]
fn prices_of_others_and_prices_that_cannot_be_read() {
    let calls: [fn(&Kite) -> _; 2] =
        [|kite| kite.last_prices(&[infy(), odd()]), |kite| kite.day_prices(&[infy(), odd()])];
    for price in calls {
        let other = success(r#"{"NSE:TCS":{"last_price":1}}"#);
        check_answer(&other, price, is_transient);
        check_answer(&success("[]"), price, is_malformed);
        let data = r#"{"NSE:INFY":{"last_price":1},"NSE:M&M":"halted"}"#;
        let prices = call(data, price).1.unwrap();
        assert_eq!((prices.len(), prices.problems[0].name.as_deref()), (1, Some("NSE:M&M")));
    }
}
