//! Synthetic series behind the paper broker, in virtual time.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "paper")]

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, Candle, CandleRequest, Instrument, Interval, OrderRequest, Side,
};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::civil::{Date, Weekday, date, time};
use lanekeeper::jiff::{ToSpan, Zoned};
use rust_decimal::Decimal;

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

/// Returns a broker that starts at `start`, and shows each bar for a second.
fn paper(start: &str) -> (PaperBroker, ManualClock) {
    let clock = ManualClock::new();
    let paper = PaperBroker::builder()
        .synthetic(1)
        .clock(clock.clone())
        .starts_at(start.parse().unwrap())
        .build()
        .unwrap();
    (paper, clock)
}

fn candles(paper: &PaperBroker, interval: Interval, from: Date, to: Date) -> Vec<Candle> {
    let (from, to) = (from.at(0, 0, 0, 0), to.at(23, 59, 59, 0));
    let request = CandleRequest::new(infy(), interval, from, to);
    paper.candles(&request).unwrap().into_iter().collect()
}

#[test]
fn candles_reach_back_to_sixty_days_before_the_start_and_further() {
    for start in ["2026-11-27T20:00:00+05:30[+05:30]", "2026-11-29T12:00:00+05:30[+05:30]"] {
        let (paper, _) = paper(start);
        let today = start.parse::<Zoned>().unwrap().date();
        let past = |days: i64| today.checked_sub(days.days()).unwrap();
        let yesterday = if today.weekday() == Weekday::Friday { past(1) } else { past(3) };
        let weekdays = |days: i64| {
            let all = (0..=days).map(past).filter(|day| *day <= yesterday);
            all.filter(|day| day.weekday().to_monday_one_offset() <= 5).count()
        };
        for (interval, in_a_day) in [
            (Interval::Minute, 375),
            (Interval::FiveMinutes, 75),
            (Interval::Hour, 7),
            (Interval::Day, 1),
        ] {
            let found = candles(&paper, interval, past(60), yesterday);
            assert_eq!(found.len(), weekdays(60) * in_a_day);
            assert!(found.is_sorted_by_key(|candle| candle.at.timestamp()));
            assert!(found.iter().all(|candle| candle.volume > Decimal::ZERO));
        }
        assert_eq!(candles(&paper, Interval::Day, past(1000), yesterday).len(), weekdays(1000));
    }
}

#[test]
fn the_last_candle_and_the_day_so_far_agree_with_the_quote() {
    let (paper, clock) = paper("2026-11-27T08:00:00+05:30[+05:30]");
    let today = date(2026, 11, 27);
    let mut seen = Vec::new();
    // The last of them is after the tape has started again.
    for seconds in [0, 1, 100, 273, 1] {
        clock.advance(Duration::from_secs(seconds));
        let quote = paper.backend().quote(&infy()).unwrap();
        let minutes = candles(&paper, Interval::Minute, today, today);
        assert_eq!(minutes.last().unwrap().ohlc.close, quote.last_price);
        let day = &candles(&paper, Interval::Day, today, today)[0];
        let ohlc = quote.ohlc.unwrap();
        assert_eq!((day.ohlc.open, day.ohlc.high, day.ohlc.low), (ohlc.open, ohlc.high, ohlc.low));
        assert_eq!((day.ohlc.close, Some(day.volume)), (quote.last_price, quote.volume));
        let before = candles(&paper, Interval::Day, date(2026, 11, 26), date(2026, 11, 26));
        assert_eq!(before[0].ohlc.close, ohlc.close, "the close of the day before");
        seen.push(minutes.len());
        assert_eq!(minutes[0].at.time(), time(9, 15, 0, 0));
    }
    assert_eq!(seen, [1, 2, 102, 375, 1]);
}

#[test]
fn a_file_keeps_its_prices_and_synthetic_ones_are_marked() {
    let csv = "time,exchange,symbol,open,high,low,close,volume\n\
               2019-01-01T09:15:00+05:30,NSE,INFY,660,662.5,659,661,1200\n";
    let prices = Prices::from_csv(csv).unwrap();
    let paper = PaperBroker::builder().prices(prices).synthetic(1).build().unwrap();
    assert_eq!(paper.ltp(&infy()), Ok(Decimal::from(661)));
    let listing = paper.instruments(None).unwrap();
    assert_eq!(listing.len(), 32);
    for info in listing.iter() {
        let is_synthetic = paper.backend().is_synthetic(&info.instrument);
        assert_eq!(is_synthetic, info.instrument != infy());
        assert_eq!(info.name.ends_with(" (synthetic)"), is_synthetic, "{}", info.name);
        assert_eq!(info.tick_size, paper.backend().tick_size(&info.instrument));
    }
}

#[test]
fn an_index_has_a_price_and_cannot_be_traded() {
    let (paper, _) = paper("2026-11-27T08:00:00+05:30[+05:30]");
    let nifty = Instrument::new("NSE", "NIFTY 50");
    let quote = paper.backend().quote(&nifty).unwrap();
    assert!(quote.last_price > Decimal::from(10_000));
    assert_eq!((quote.volume, quote.upper_circuit), (Some(Decimal::ZERO), None));
    let refused = paper.place_order(&OrderRequest::market(nifty, Side::Buy, 1)).unwrap_err();
    let BrokerError::Rejected(detail) = refused else { panic!("{refused}") };
    assert!(detail.message.contains("an index cannot be traded"), "{}", detail.message);
}

#[test]
fn circuit_limits_are_whole_ticks_within_a_fifth_of_the_close_before() {
    let (paper, _) = paper("2026-11-27T08:00:00+05:30[+05:30]");
    let names = ["INFY", "MARUTI", "TATASTEEL", "ITC", "YESBANK"];
    for instrument in names.map(|name| Instrument::new("NSE", name)) {
        let quote = paper.backend().quote(&instrument).unwrap();
        let limits = paper.backend().circuit_limits(&instrument).unwrap();
        assert_eq!(
            (quote.lower_circuit, quote.upper_circuit),
            (Some(limits.lower), Some(limits.upper))
        );
        let tick = paper.backend().tick_size(&instrument).unwrap();
        let fifth = quote.ohlc.unwrap().close / Decimal::from(5);
        let (low, high) = (fifth * Decimal::from(4), fifth * Decimal::from(6));
        assert!(low <= limits.lower && limits.lower < low + tick, "{limits:?}");
        assert!(high - tick < limits.upper && limits.upper <= high, "{limits:?}");
        for limit in [limits.lower, limits.upper] {
            assert!((limit % tick).is_zero(), "{limit}");
        }
    }
}
