//! The routes: each function executes one and returns its response as Kite's wire has it.
//!
//! `dispatch` calls them. Field names, nulls and zeros are Kite's, as its documents and clients have them: a missing
//! price is 0, a missing time is null.

pub(crate) mod alerts;
pub(crate) mod authorisation;
pub(crate) mod candles;
pub(crate) mod charges;
pub(crate) mod funds;
pub(crate) mod gtt;
pub(crate) mod json_fields;
pub(crate) mod margin_calculator;
pub(crate) mod market;
pub(crate) mod order_form;
pub(crate) mod orders;
pub(crate) mod placement;
pub(crate) mod portfolio;
pub(crate) mod sips;
pub(crate) mod trigger_range;
pub(crate) mod user;
mod uuid;

use jiff::Zoned;
use jiff::tz::{Offset, TimeZone};
use rust_decimal::Decimal;
use serde_json::Value;

/// The id of the account's holder, as the profile of the paper broker has it.
const USER_ID: &str = "PAPER1";

/// Returns India's time zone, which the times on Kite's wire are in. It has had one offset and no daylight
/// saving time since 1945, so the zone database is not needed.
fn india_zone() -> TimeZone {
    // 5 h 30 min is a valid offset, so the fallback is never taken.
    Offset::from_seconds(19_800).map_or(TimeZone::UTC, TimeZone::fixed)
}

/// Returns a decimal as a JSON number without trailing zeros. Kite sends whole prices as integers too.
fn json_number(decimal: Decimal) -> Value {
    serde_json::from_str(&decimal.normalize().to_string()).unwrap_or(Value::Null)
}

fn json_number_or_zero(decimal: Option<Decimal>) -> Value {
    json_number(decimal.unwrap_or_default())
}

/// Formats a time in India's zone: `2019-01-01 09:15:00`.
fn naive_time(time: &Zoned) -> String {
    time.with_time_zone(india_zone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn naive_time_or_null(time: Option<&Zoned>) -> Value {
    time.map_or(Value::Null, |time| naive_time(time).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_without_trailing_zeros() {
        for (decimal, expected) in
            [("292.00", "292"), ("99725.05000000002", "99725.05000000002"), ("-0.50", "-0.5")]
        {
            assert_eq!(json_number(decimal.parse().unwrap()).to_string(), expected);
        }
        assert_eq!(json_number_or_zero(None).to_string(), "0");
    }

    #[test]
    fn times_are_those_of_india() {
        let time: Zoned = "2019-01-01T03:45:00+00:00[+00:00]".parse().unwrap();
        assert_eq!(naive_time(&time), "2019-01-01 09:15:00");
    }
}
