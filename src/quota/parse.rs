//! Quotas as text. `FromStr` reads what `Display` prints, and people can write it.
//!
//! ```text
//! quota   = "unlimited" | window { "," window }
//! window  = calls "/" length [ counting ] [ "spaced" ]
//! length  = "s" | "min" | "h" | "day" | a time, as 100ms, 10min or 1.5s
//! counting = "with bursts of" calls               a token bucket
//!          | "by a sliding counter"
//!          | "from midnight" zone [ "give or take" time ]
//! zone    = an offset, as +05:30 | UTC | a name, as Asia/Kolkata
//!          | a rule in parentheses, as (EST5EDT,M3.2.0,M11.1.0)
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};
use jiff::tz::TimeZone;

use super::error::QuotaError;
use super::quota::Quota;
use super::window::{DEFAULT_CLOCK_GUARD, Window, WindowKind};

const SPACED: &str = " spaced";
const BURSTS: &str = " with bursts of ";
const COUNTER: &str = " by a sliding counter";
const MIDNIGHT: &str = " from midnight ";
const GUARD: &str = " give or take ";
const DAY: Duration = Duration::from_secs(86_400);

/// The error for a text that is not a quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseQuotaError {
    /// The text does not have the form of a quota.
    #[error(
        "`{text}` is no quota: write calls/time, as 10/s, 400/min, 60/10min or 5000/day, several with \
         commas between them; or `unlimited`"
    )]
    Form {
        /// The part that is wrong.
        text: String,
    },
    /// The length of a window is no time.
    #[error("`{text}` is no time: write a number and its unit, as 100ms, 5s, 10min or 1day")]
    Time {
        /// The part that is wrong.
        text: String,
    },
    /// The time zone of a calendar window is unknown.
    #[error(
        "`{text}` is no zone that is known: write its name, as Asia/Kolkata, or an offset, as +05:30"
    )]
    Zone {
        /// The part that is wrong.
        text: String,
    },
    /// The text can be read, but the quota is invalid.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

impl FromStr for Quota {
    type Err = ParseQuotaError;

    /// Reads what [`Display`](std::fmt::Display) writes: windows with commas between them, all of
    /// which hold.
    ///
    /// ```
    /// use lanekeeper::Quota;
    ///
    /// let orders: Quota = "10/s, 400/min".parse()?;
    /// assert_eq!(orders, Quota::per_second(10).and(Quota::per_minute(400)));
    ///
    /// // From one midnight of the broker to the next; without it, in any 24 hours.
    /// let daily: Quota = "5000/day from midnight +05:30".parse()?;
    /// assert_eq!(daily.to_string(), "5000/day from midnight +05:30");
    ///
    /// // Other ways of counting, and other lengths.
    /// let other: Quota = "10/s with bursts of 20, 60/10min, 100/s by a sliding counter".parse()?;
    /// assert_eq!(other.windows().len(), 3);
    ///
    /// // Evenly spread: one call in three seconds.
    /// assert_eq!("20/min spaced".parse(), Ok(Quota::per_minute(20).spaced()));
    /// # Ok::<(), lanekeeper::quota::ParseQuotaError>(())
    /// ```
    ///
    /// # Errors
    /// The text is no quota, or one that cannot be kept; see [`Quota::check`].
    fn from_str(text: &str) -> Result<Self, ParseQuotaError> {
        if text.trim() == "unlimited" {
            return Ok(Self::unlimited());
        }
        let mut quota = Self::unlimited();
        for piece in split_windows(text) {
            quota = quota.and(parse_window(piece.trim())?);
        }
        quota.check()?;
        Ok(quota)
    }
}

/// Splits at commas, except those in parentheses.
fn split_windows(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |c| {
        inside = (inside || c == '(') && c != ')';
        c == ',' && !inside
    })
}

fn parse_window(text: &str) -> Result<Quota, ParseQuotaError> {
    if let Some(window) = text.strip_suffix(SPACED) {
        return parse_counting(window.trim_end()).map(Quota::spaced);
    }
    parse_counting(text)
}

/// Reads a window without its spacing.
fn parse_counting(text: &str) -> Result<Quota, ParseQuotaError> {
    let wrong = || ParseQuotaError::Form { text: text.to_owned() };
    let calls = |calls: &str| calls.trim().parse::<u32>().map_err(|_| wrong());
    let rate = |rate: &str| -> Result<(u32, Duration), ParseQuotaError> {
        let (limit, length) = rate.split_once('/').ok_or_else(wrong)?;
        Ok((calls(limit)?, parse_length(length.trim())?))
    };
    if let Some((before, burst)) = text.split_once(BURSTS) {
        let (limit, length) = rate(before)?;
        return Ok(Quota::token_bucket(limit, length, calls(burst)?));
    }
    if let Some(before) = text.strip_suffix(COUNTER) {
        let (limit, length) = rate(before)?;
        return Ok(Quota::sliding_counter(limit, length));
    }
    if let Some((before, midnight)) = text.split_once(MIDNIGHT) {
        let (limit, length) = rate(before)?;
        if length != DAY {
            return Err(wrong());
        }
        let (name, guard) = match midnight.split_once(GUARD) {
            None => (midnight, None),
            Some((name, guard)) => (name, Some(parse_time(guard)?)),
        };
        let day = Quota::per_calendar_day(limit, parse_zone(name.trim())?);
        return Ok(match guard {
            None => day,
            Some(guard) => day.clock_guard(guard),
        });
    }
    let (limit, length) = rate(text)?;
    Ok(Quota::new(limit, length))
}

/// Reads the length of a window, where `s` alone is one second.
fn parse_length(text: &str) -> Result<Duration, ParseQuotaError> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return parse_time(text);
    }
    parse_time(&format!("1{text}")).map_err(|_| ParseQuotaError::Time { text: text.to_owned() })
}

/// Reads a time as people write it: `100ms`, `1.5s`, `1h 30min`, `2 days`. A number without a unit is an error.
pub(crate) fn parse_time(text: &str) -> Result<Duration, ParseQuotaError> {
    let text = text.trim();
    let days = ["days", "day", "d"].iter().find_map(|unit| text.strip_suffix(unit));
    let whole_days = days.and_then(|days| days.trim_end().parse::<u32>().ok());
    if let Some(days) = whole_days {
        return Ok(DAY * days);
    }
    let read = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    read.ok_or_else(|| ParseQuotaError::Time { text: text.to_owned() })
}

fn parse_zone(text: &str) -> Result<TimeZone, ParseQuotaError> {
    // Not every system's zone database has this name.
    if text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let name = text.strip_prefix('(').and_then(|rule| rule.strip_suffix(')')).unwrap_or(text);
    let read = DateTimeParser::new().parse_time_zone(name);
    read.map_err(|_| ParseQuotaError::Zone { text: text.to_owned() })
}

/// Returns the name of a zone, as [`parse_zone`] reads it; `None` for the system zone, if that has no name.
fn zone_name(zone: &TimeZone) -> Option<String> {
    let name = DateTimePrinter::new().time_zone_to_string(zone).ok()?;
    Some(if name.contains(',') { format!("({name})") } else { name })
}

/// Writes the window in the grammar above, which [`Quota`]'s `FromStr` reads.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length.as_secs() {
            _ if self.length.subsec_nanos() != 0 => write!(f, "{}/{:?}", self.limit, self.length),
            1 => write!(f, "{}/s", self.limit),
            60 => write!(f, "{}/min", self.limit),
            3600 => write!(f, "{}/h", self.limit),
            86_400 => write!(f, "{}/day", self.limit),
            seconds => write!(f, "{}/{seconds}s", self.limit),
        }?;
        match &self.kind {
            WindowKind::SlidingLog => Ok(()),
            WindowKind::TokenBucket { burst } => write!(f, " with bursts of {burst}"),
            WindowKind::SlidingCounter => f.write_str(" by a sliding counter"),
            WindowKind::Calendar { zone, guard } => {
                match zone_name(zone) {
                    Some(name) => write!(f, " from midnight {name}"),
                    None => f.write_str(" from local midnight"),
                }?;
                if *guard == DEFAULT_CLOCK_GUARD {
                    Ok(())
                } else {
                    write!(f, " give or take {guard:?}")
                }
            }
        }?;
        f.write_str(if self.spaced { SPACED } else { "" })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.windows().is_empty() {
            return f.write_str("unlimited");
        }
        for (i, window) in self.windows().iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{window}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Quota, String> {
        text.parse::<Quota>().map_err(|error| error.to_string())
    }

    #[test]
    fn people_write_windows_in_several_ways() {
        let minute = Quota::per_minute(400);
        for text in ["400/min", " 400 / min ", "400/60s", "400/1min", "400/minute", "400/1 min"] {
            assert_eq!(read(text), Ok(minute.clone()), "{text}");
        }
        assert_eq!(read("5000/day"), Ok(Quota::per_day(5000)));
        assert_eq!(read("1/100ms,60/10min"), {
            let spaced = Quota::new(1, Duration::from_millis(100));
            Ok(spaced.and(Quota::new(60, Duration::from_secs(600))))
        });
        assert_eq!(read("unlimited"), Ok(Quota::unlimited()));
        assert_eq!(read(" 20 / min  spaced "), Ok(Quota::per_minute(20).spaced()));
        let burst = Quota::token_bucket(10, Duration::from_secs(1), 20).spaced();
        assert_eq!(
            read("10/s with bursts of 20 spaced, 400/min"),
            Ok(burst.and(Quota::per_minute(400)))
        );
    }

    #[test]
    fn what_is_no_quota_says_what_would_be() {
        for text in [
            "",
            "10",
            "ten/s",
            "-1/s",
            "1.5/s",
            "4294967296/s",
            "10/s,",
            "10/s with bursts of x",
            "spaced",
        ] {
            assert!(read(text).unwrap_err().contains("write calls/time"), "{text}");
        }
        for text in ["10/", "10/5", "10/-5s", "10/fortnight", "10/s/s", "10/1e400s", "10/s by luck"]
        {
            assert!(read(text).unwrap_err().contains("is no time"), "{text}");
        }
        assert!(read("10/h from midnight UTC").unwrap_err().contains("write calls/time"));
        assert!(read("1/day from midnight Middle/Earth").unwrap_err().contains("is no zone"));
        assert!(read("1/day from midnight Etc/Unknown").unwrap_err().contains("known time zone"));
        assert!(read("1/day from midnight UTC give or take 7h").unwrap_err().contains("6 h"));
        assert!(read("0/s").unwrap_err().contains("allows no calls"));
        assert!(read("1/0s").unwrap_err().contains("no length"));
        assert!(read("1/40000 days").unwrap_err().contains("hundred years"));
        assert!(read("1/s with bursts of 0").unwrap_err().contains("burst"));
    }

    fn zones() -> impl Strategy<Value = TimeZone> {
        let fixed = (-86_399..=86_399).prop_map(|seconds| {
            TimeZone::fixed(Offset::from_seconds(seconds).expect("within a day"))
        });
        let rule = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a rule");
        let named = ["Asia/Kolkata", "America/New_York", "Etc/UTC"];
        let named =
            prop::sample::select(named.map(|name| TimeZone::get(name).expect(name)).to_vec());
        prop_oneof![fixed, Just(TimeZone::UTC), Just(rule), named]
    }

    fn windows() -> impl Strategy<Value = Quota> {
        let limit = 1..=u32::MAX;
        let whole = (1..=3_000_000_000_u64).prop_map(Duration::from_secs);
        let round = prop::sample::select(vec![1, 60, 3600, 86_400]).prop_map(Duration::from_secs);
        let fine = (1..=90_000_000_000_u64).prop_map(Duration::from_nanos);
        let length = prop_oneof![whole, round, fine];
        let guard = (0..=21_600_000_000_000_u64).prop_map(Duration::from_nanos);
        let plain = prop_oneof![
            (limit.clone(), length.clone()).prop_map(|(limit, length)| Quota::new(limit, length)),
            (limit.clone(), length.clone(), limit.clone())
                .prop_map(|(limit, length, burst)| Quota::token_bucket(limit, length, burst))
                .prop_filter("fills in a lifetime", |quota| quota.check().is_ok()),
            (limit.clone(), length)
                .prop_map(|(limit, length)| Quota::sliding_counter(limit, length)),
            (limit.clone(), zones()).prop_map(|(limit, zone)| Quota::per_calendar_day(limit, zone)),
            (limit, zones(), guard).prop_map(|(limit, zone, guard)| {
                Quota::per_calendar_day(limit, zone).clock_guard(guard)
            }),
        ];
        (plain, any::<bool>())
            .prop_map(|(quota, spaced)| if spaced { quota.spaced() } else { quota })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(all in prop::collection::vec(windows(), 0..5)) {
            let quota = all.into_iter().fold(Quota::unlimited(), Quota::and);
            prop_assert_eq!(read(&quota.to_string()), Ok(quota));
        }

        #[test]
        fn no_text_makes_it_panic(text in r"([0-9]{0,12}[/ ,(]|s|min|from midnight |\PC){0,12}") {
            let _ = read(&text);
        }
    }
}
