//! Which candles of Kite can be kept: those of days that are over, in India.

use std::time::Duration;

use lanekeeper::jiff::civil::Date;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::jiff::{SignedDuration, Timestamp, Zoned};

/// How long such candles are kept. They change when a share is split, which is adjusted overnight.
const TTL: Duration = Duration::from_secs(3600);

/// Returns how long the answer to a request for candles is kept. `None` if it is not, or if it is no such request.
pub(crate) fn ttl(path: &str, query: &str) -> Option<Duration> {
    // Five and a half hours, the whole year.
    let india = TimeZone::fixed(Offset::constant(5).saturating_add(SignedDuration::from_mins(30)));
    ttl_at(path, query, &Zoned::new(Timestamp::now(), india))
}

fn ttl_at(path: &str, query: &str, now: &Zoned) -> Option<Duration> {
    let mut segments = path.split('/').skip(1);
    if (segments.next(), segments.next()) != (Some("instruments"), Some("historical")) {
        return None;
    }
    let to = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "to")?.1;
    // A day, or a day and a time. Without a time Kite means the beginning of the day.
    let day: Date = to.get(..10)?.parse().ok()?;
    (day < now.date()).then_some(TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_of_days_that_are_over_are_kept() {
        let now: Zoned = "2026-11-30T09:20:00+05:30[+05:30]".parse().unwrap();
        let kept = |path, query| ttl_at(path, query, &now).is_some();
        let path = "/instruments/historical/408065/minute";
        assert!(kept(path, "from=2026-11-01&to=2026-11-29"));
        assert!(kept(path, "from=2026-11-01+09:15:00&to=2026-11-29+15:30:00&oi=1"));
        for query in [
            "to=2026-11-30",
            "to=2026-11-30+09:15:00",
            "to=2027-01-01",
            "",
            "to=",
            "to=x",
            "from=2026-11-01",
        ] {
            assert!(!kept(path, query), "{query}");
        }
        assert!(!kept("/instruments/NSE", "to=2026-11-01"));
        // It is the day of India that counts.
        let night: Zoned = "2026-11-30T00:10:00+05:30[+05:30]".parse().unwrap();
        assert!(ttl_at(path, "to=2026-11-29", &night).is_some());
    }
}
