//! Times: Alpaca writes instants, and its day is that of New York.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::brokers::http::de::Text;

/// The zone of the exchanges, in which the trading day begins and ends. The zone database is bundled, so the fallback
/// is never taken.
pub(super) fn zone() -> TimeZone {
    TimeZone::get("America/New_York").unwrap_or(TimeZone::UTC)
}

/// Reads an instant such as `2021-03-16T18:38:01.942282Z`, in the zone of the exchanges.
pub(super) fn parse(text: &Text) -> Option<Zoned> {
    let at: Timestamp = text.as_deref()?.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then(|| at.to_zoned(zone()))
}

/// Returns the first instant of the day at the exchanges.
pub(super) fn start_of_day(now: Timestamp) -> Timestamp {
    let now = now.to_zoned(zone());
    now.start_of_day().map_or(now.timestamp(), |start| start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_new_york() {
        for (now, start) in [
            ("2026-03-02T15:00:00Z", "2026-03-02T05:00:00Z"),
            // Still the day before.
            ("2026-03-02T04:59:59Z", "2026-03-01T05:00:00Z"),
            // Summer time.
            ("2026-07-01T15:00:00Z", "2026-07-01T04:00:00Z"),
        ] {
            assert_eq!(start_of_day(now.parse().unwrap()).to_string(), start);
        }
    }

    #[test]
    fn a_time_that_means_never_is_none() {
        let read = |text: &str| parse(&Text(Some(text.to_owned()))).map(|at| at.to_string());
        assert_eq!(
            read("2021-03-16T18:38:01.942282Z").unwrap(),
            "2021-03-16T14:38:01.942282-04:00[America/New_York]"
        );
        for text in ["", "soon", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2021-03-16"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
