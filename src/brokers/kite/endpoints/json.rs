//! JSON that Kite reads: numbers with the digits that the caller wrote.

use rust_decimal::Decimal;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use crate::broker::BrokerError;
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::decimal_text;

/// A number of a request. It never goes through a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonNumber(pub(super) Decimal);

impl Serialize for JsonNumber {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Kept as text, because `arbitrary_precision` is on.
        decimal_text(self.0).parse::<serde_json::Number>().map_err(S::Error::custom)?.serialize(to)
    }
}

/// Returns `value` as JSON.
pub(super) fn json_text(value: &impl Serialize) -> Result<String, BrokerError> {
    serde_json::to_string(value).map_err(|error| not_sent_error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_digits() {
        for (text, sent) in [
            ("1500.50", "1500.5"),
            ("99725.05000000002", "99725.05000000002"),
            ("0.0000001", "0.0000001"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
            ("10", "10"),
        ] {
            assert_eq!(json_text(&JsonNumber(text.parse().unwrap())).unwrap(), sent);
        }
    }
}
