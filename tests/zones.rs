//! Time zones by their names, through lanekeeper's jiff.
#![allow(clippy::unwrap_used)]

use lanekeeper::Quota;
use lanekeeper::broker::{CandleRequest, Instrument, Interval};
use lanekeeper::jiff::civil::date;
use lanekeeper::jiff::tz::{TimeZone, TimeZoneDatabase};
use lanekeeper::jiff::{Timestamp, Zoned};
use lanekeeper::quota::{ParseQuotaError, QuotaError};

fn nine_fifteen(zone: TimeZone) -> String {
    date(2026, 1, 5).at(9, 15, 0, 0).to_zoned(zone).unwrap().timestamp().to_string()
}

#[test]
fn a_zone_is_found_by_its_name() {
    let india = TimeZone::get("Asia/Kolkata").unwrap();
    assert_eq!(nine_fifteen(india), "2026-01-05T03:45:00Z");
    let at: Zoned = "2026-07-06T09:30[America/New_York]".parse().unwrap();
    assert_eq!(at.timestamp().to_string(), "2026-07-06T13:30:00Z");
}

#[test]
fn a_machine_without_a_zone_database_has_a_copy() {
    let copy = TimeZoneDatabase::bundled();
    assert_eq!(nine_fifteen(copy.get("Asia/Kolkata").unwrap()), "2026-01-05T03:45:00Z");
}

#[test]
fn a_day_of_a_quota_is_of_a_zone_that_is_known() {
    let named: Quota = "5000/day from midnight Asia/Kolkata".parse().unwrap();
    let india = TimeZone::get("Asia/Kolkata").unwrap();
    assert_eq!(named, Quota::per_calendar_day(5000, india));
    let nowhere = Quota::per_calendar_day(1, TimeZone::unknown()).check().unwrap_err();
    assert!(matches!(nowhere, QuotaError::NoZone { .. }) && nowhere.to_string().contains("+05:30"));
    let nowhere = "1/day from midnight Etc/Unknown".parse::<Quota>().unwrap_err();
    assert!(matches!(nowhere, ParseQuotaError::Quota(QuotaError::NoZone { .. })), "{nowhere}");
}

#[test]
fn a_day_is_the_whole_day_at_the_broker() {
    let infy = Instrument::new("NSE", "INFY");
    let (first, last) = (date(2026, 1, 5), date(2026, 1, 6));
    let request = CandleRequest::new(infy, Interval::Minute, first, last);
    let (from, to) = request.range(&TimeZone::get("Asia/Kolkata").unwrap()).unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(from.timestamp(), at("2026-01-05T00:00:00+05:30"));
    assert_eq!(to.timestamp(), at("2026-01-06T23:59:59+05:30"));
}

#[test]
fn a_request_for_candles_keeps_how_its_times_were_said() {
    let at: Timestamp = "2026-01-05T03:45:00Z".parse().unwrap();
    let infy = Instrument::new("NSE", "INFY");
    let day = Interval::Day;
    let civil = date(2026, 1, 5).at(9, 15, 0, 0);
    let zoned = at.in_tz("Asia/Kolkata").unwrap();
    for request in [
        CandleRequest::new(infy.clone(), day.clone(), at, civil),
        CandleRequest::new(infy.clone(), day.clone(), zoned.clone(), &zoned),
        CandleRequest::new(infy.clone(), day.clone(), civil.date(), civil.date()),
    ] {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<CandleRequest>(&text).unwrap(), request);
    }
    // The form in which it was written by earlier versions.
    let old = r#"{"instrument":"NSE:INFY","interval":"day","from":"2026-01-05T09:15:00+05:30[+05:30]",
        "to":"2026-01-05T15:30:00+05:30[Asia/Kolkata]","continuous":false,"open_interest":false}"#;
    let (from, to) = serde_json::from_str::<CandleRequest>(old)
        .unwrap()
        .range(&TimeZone::get("Asia/Kolkata").unwrap())
        .unwrap();
    assert_eq!((from.timestamp(), to.time()), (at, lanekeeper::jiff::civil::time(15, 30, 0, 0)));
}
