//! The quotes that the caches of several processes share, as JSON.
//!
//! Each number is a text of its digits, and each time has its zone. What belongs to one process is left out: whether a quote was
//! cached, and its time by the wall clock, which a reader computes anew.

use crate::broker::{Instrument, Quote};
use crate::cache::SharedValues;
use crate::clock::Clock;
use crate::shared_quota::SharedQuota;

use super::fetch::wall_time_at;

/// Returns what a cache needs to share its quotes. `None` cannot be: the address was checked when `quota` was made.
pub(super) fn shared_quotes(
    quota: &SharedQuota,
    clock: &Clock,
) -> Option<SharedValues<Instrument, Quote>> {
    let clock = clock.clone();
    let decode = move |instrument: &Instrument, text: &[u8], sent| {
        let quote = read(text).filter(|quote| quote.instrument == *instrument)?;
        Some(Quote { fetched_at: wall_time_at(&clock, sent), ..quote })
    };
    SharedValues::new(quota, "quote", write, decode).ok()
}

fn write(quote: &Quote) -> Option<Vec<u8>> {
    let quote = Quote { fetched_at: None, cached: false, ..quote.clone() };
    serde_json::to_vec(&quote).ok()
}

fn read(text: &[u8]) -> Option<Quote> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Zoned;
    use rust_decimal::Decimal;

    use super::*;
    use crate::broker::{Depth, DepthLevel, Ohlc};

    #[test]
    fn a_quote_is_read_as_it_was_written() {
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        let time = |text: &str| Some(text.parse::<Zoned>().unwrap());
        let mut quote = Quote::new(Instrument::new("NSE", "M&M \u{20b9}"), number("1501.0500"));
        quote.last_quantity = Some(number("0.00000001"));
        quote.last_trade_at = time("2026-11-30T15:29:59.123456789+05:30[Asia/Kolkata]");
        quote.at = time("2026-11-01T01:30:00-04:00[America/New_York]");
        let [open, high, low, close] =
            ["79228162514264337593543950335", "0.10", "-1", "2.000"].map(number);
        quote.ohlc = Some(Ohlc { open, high, low, close });
        quote.volume = Some(number("123456789012"));
        let level = DepthLevel { price: number("0.05"), quantity: number("10.0"), orders: 7 };
        quote.depth = Some(Arc::new(Depth { bids: vec![level], asks: Vec::new() }));
        quote.token = Some("408065".into());
        quote.lower_circuit = Some(number("0.00001"));
        let own = Quote {
            cached: true,
            fetched_at: Some("2026-11-30T00:00:00Z".parse().unwrap()),
            ..quote.clone()
        };
        let again = read(&write(&own).unwrap()).unwrap();
        // `Debug` shows each digit and each zone, which `==` does not compare.
        assert_eq!(format!("{again:?}"), format!("{quote:?}"));
        // In a zone with an offset and no name.
        quote.at = time("2026-11-30T15:29:59+05:30[+05:30]");
        let again = read(&write(&quote).unwrap()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{quote:?}"));
    }

    #[test]
    fn what_is_no_quote_is_not_read() {
        for text in ["", "null", "{}", "[1,2]", r#"{"instrument":"NSE:INFY"}"#, "\u{0}"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
