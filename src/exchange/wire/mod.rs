//! What each route does, and how its answer looks on Kite's wire.
//!
//! Field names, nulls and zeros are Kite's, as its documents and clients have them: a missing
//! price is 0, a missing time is null.

pub(super) mod candles;
pub(super) mod market;
pub(super) mod order_form;
pub(super) mod orders;
pub(super) mod placement;
pub(super) mod portfolio;
pub(super) mod user;

use jiff::Zoned;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::brokers::india::zone;

/// A decimal as a JSON number, without zeros at its end: whole prices come as integers, as Kite
/// sends them.
fn json_number(decimal: Decimal) -> Value {
    serde_json::from_str(&decimal.normalize().to_string()).unwrap_or(Value::Null)
}

fn json_number_or_zero(decimal: Option<Decimal>) -> Value {
    json_number(decimal.unwrap_or_default())
}

/// `2019-01-01 09:15:00`, in India.
fn naive_time(time: &Zoned) -> String {
    time.with_time_zone(zone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn naive_time_or_null(time: Option<&Zoned>) -> Value {
    time.map_or(Value::Null, |time| naive_time(time).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_out_as_they_are() {
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
