//! A time that a caller passes to a broker: an instant, a local time at the broker, or a day there.
//!
//! Brokers write times without a zone and mean their own. A strategy that passes 09:15 means the
//! broker's time too, wherever it runs. So the adapter resolves a time without a zone. A time with
//! an unknown zone is refused, because jiff would interpret it as UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use super::error::{BrokerError, ErrorDetail};

/// A time that a caller passes to a broker.
///
/// | made of | means |
/// |---|---|
/// | [`Timestamp`], [`Zoned`] | this instant |
/// | [`DateTime`] | this time at the broker: 09:15 with Kite is 09:15 in India, wherever the program runs |
/// | [`Date`] | this day at the broker: from its first second as the start of a range, to its last as the end |
///
/// ```
/// use lanekeeper::broker::BrokerTime;
/// use lanekeeper::jiff::civil::date;
/// use lanekeeper::jiff::tz::TimeZone;
/// use lanekeeper::jiff::{Timestamp, Zoned};
///
/// let india = TimeZone::get("Asia/Kolkata")?;
/// let opening = "2026-01-05T09:15:00+05:30[Asia/Kolkata]";
/// let at_broker = |time: BrokerTime| time.at_broker(&india).map(|at| at.to_string());
/// // A time of the broker.
/// assert_eq!(at_broker(date(2026, 1, 5).at(9, 15, 0, 0).into())?, opening);
/// // An instant, and one that was expressed in any zone.
/// let instant: Timestamp = "2026-01-05T03:45:00Z".parse()?;
/// assert_eq!(at_broker(instant.into())?, opening);
/// let zoned: Zoned = "2026-01-04T22:45:00-05:00[America/New_York]".parse()?;
/// assert_eq!(at_broker(zoned.into())?, opening);
/// // A day of the broker.
/// assert!(at_broker(date(2026, 1, 5).into())?.starts_with("2026-01-05T00:00:00+05:30"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A text is parsed as a `BrokerTime`. An instant has an offset, and a time or a day at the broker has none. (A
/// [`Zoned`] is not parsed from an offset alone: it needs the name of a zone.)
///
/// ```
/// use lanekeeper::broker::BrokerTime;
/// # use lanekeeper::jiff::tz::TimeZone;
///
/// let instant: BrokerTime = "2026-01-05T09:15:00+05:30".parse()?;
/// let at_broker: BrokerTime = "2026-01-05 09:15".parse()?;
/// let day: BrokerTime = "2026-01-05".parse()?;
/// # let india = TimeZone::get("Asia/Kolkata")?;
/// # assert_eq!(instant.at_broker(&india)?, at_broker.at_broker(&india)?);
/// # assert_eq!(day.at_broker(&india)?.date(), at_broker.at_broker(&india)?.date());
/// let error = "09:15".parse::<BrokerTime>().expect_err("there is no day");
/// assert!(error.to_string().starts_with("\"09:15\" is not a time for a broker: write"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum BrokerTime {
    /// An instant.
    Instant(Timestamp),
    /// An instant, with the zone in which the caller expressed it.
    Zoned(Zoned),
    /// A local time in the broker's zone.
    AtBroker(DateTime),
    /// A day in the broker's zone.
    Day(Date),
}

/// A text that is not a [`BrokerTime`]. The message says what is.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{text:?} is not a time for a broker: write an instant as 2026-01-05T09:15:00+05:30, a time in \
     the broker's zone as 2026-01-05T09:15:00, or a day as 2026-01-05 ({error})"
)]
pub struct ParseBrokerTimeError {
    text: String,
    error: jiff::Error,
}

impl BrokerTime {
    /// Returns this time in the zone of the broker, which the adapter passes. A day is its first
    /// second. When summer time ends, a local time that occurs twice is the earlier one. When summer
    /// time begins, a local time that is skipped moves forward by the length of the gap.
    ///
    /// # Errors
    /// Returns [`BrokerError::NotSent`] if the zone of the time is unknown (`Etc/Unknown`), or if
    /// the time is out of the range of the calendar.
    pub fn at_broker(&self, zone: &TimeZone) -> Result<Zoned, BrokerError> {
        let refused = |why: String| BrokerError::NotSent(ErrorDetail::new(why).local());
        match self {
            Self::Instant(at) => Ok(at.to_zoned(zone.clone())),
            Self::Zoned(at) if at.time_zone().is_unknown() => Err(refused(format!(
                "the zone of {at} is not known, so that {} would mean UTC: give the time without a \
                 zone, which is read in the broker's, or as an instant, or in a zone by its name, as \
                 Asia/Kolkata",
                at.strftime("%H:%M"),
            ))),
            Self::Zoned(at) => Ok(at.with_time_zone(zone.clone())),
            Self::AtBroker(at) => at
                .to_zoned(zone.clone())
                .map_err(|error| refused(format!("there is no {at} at the broker: {error}"))),
            Self::Day(day) => Self::AtBroker(day.at(0, 0, 0, 0)).at_broker(zone),
        }
    }

    /// Returns this time as the end of a range, in the zone of the broker. A day is its last second,
    /// since brokers count in seconds.
    pub(super) fn end_at_broker(&self, zone: &TimeZone) -> Result<Zoned, BrokerError> {
        match self {
            Self::Day(day) => Self::AtBroker(day.at(23, 59, 59, 0)).at_broker(zone),
            at => at.at_broker(zone),
        }
    }
}

impl From<Timestamp> for BrokerTime {
    fn from(at: Timestamp) -> Self {
        Self::Instant(at)
    }
}

impl From<Zoned> for BrokerTime {
    fn from(at: Zoned) -> Self {
        Self::Zoned(at)
    }
}

impl From<&Zoned> for BrokerTime {
    fn from(at: &Zoned) -> Self {
        Self::Zoned(at.clone())
    }
}

impl From<DateTime> for BrokerTime {
    fn from(at: DateTime) -> Self {
        Self::AtBroker(at)
    }
}

impl From<Date> for BrokerTime {
    fn from(day: Date) -> Self {
        Self::Day(day)
    }
}

impl fmt::Display for BrokerTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => at.fmt(f),
            Self::Zoned(at) => at.fmt(f),
            Self::AtBroker(at) => at.fmt(f),
            Self::Day(day) => day.fmt(f),
        }
    }
}

impl From<BrokerTime> for String {
    fn from(time: BrokerTime) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for BrokerTime {
    type Error = ParseBrokerTimeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for BrokerTime {
    type Err = ParseBrokerTimeError;

    /// Parses the output of [`Display`](fmt::Display): `2026-01-05T03:45:00Z`,
    /// `2026-01-05T09:15:00+05:30[Asia/Kolkata]`, `2026-01-05T09:15:00` or `2026-01-05`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = if text.contains('[') {
            text.parse().map(Self::Zoned)
        } else if !text.contains([':', 'T', 't', ' ']) {
            // A `Date` is parsed from a text with a time too, and ignores the time.
            text.parse().map(Self::Day)
        } else {
            text.parse().map(Self::Instant).or_else(|_| text.parse().map(Self::AtBroker))
        };
        parsed.map_err(|error| ParseBrokerTimeError { text: text.to_owned(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn india() -> TimeZone {
        TimeZone::get("Asia/Kolkata").unwrap()
    }

    fn at_broker(text: &str) -> Result<String, BrokerError> {
        let time: BrokerTime = text.parse().unwrap();
        Ok(time.at_broker(&india())?.strftime("%F %T").to_string())
    }

    #[test]
    fn a_time_without_a_zone_is_the_brokers_and_an_instant_stays_one() {
        for (text, expected) in [
            ("2026-01-05T09:15:00", "2026-01-05 09:15:00"),
            ("2026-01-05T03:45:00Z", "2026-01-05 09:15:00"),
            ("2026-01-05T09:15:00+05:30", "2026-01-05 09:15:00"),
            ("2026-01-05 09:15", "2026-01-05 09:15:00"),
            ("2026-01-05", "2026-01-05 00:00:00"),
            ("2026-01-05T09:15:00+05:30[Asia/Kolkata]", "2026-01-05 09:15:00"),
            ("2026-01-04T22:45:00-05:00[America/New_York]", "2026-01-05 09:15:00"),
            ("2026-01-05T03:45:00+00:00[UTC]", "2026-01-05 09:15:00"),
        ] {
            assert_eq!(at_broker(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_zone_that_is_not_known_is_refused_with_what_to_do_instead() {
        let utc: Timestamp = "2026-01-05T09:15:00Z".parse().unwrap();
        let unknown = BrokerTime::from(utc.to_zoned(TimeZone::unknown()));
        let error = unknown.at_broker(&india()).unwrap_err();
        let BrokerError::NotSent(detail) = &error else { panic!("{error}") };
        assert!(detail.local && detail.message.contains("09:15 would mean UTC"), "{error}");
        assert!(detail.message.contains("without a zone"), "{error}");
        let end = BrokerTime::from(DateTime::MAX).at_broker(&TimeZone::fixed(jiff::tz::offset(-9)));
        assert!(matches!(end, Err(BrokerError::NotSent(detail)) if detail.local));
    }

    #[test]
    fn a_time_that_the_clock_does_not_show_is_as_much_later() {
        let new_york = TimeZone::get("America/New_York").unwrap();
        let read = |text: &str| {
            let time: BrokerTime = text.parse().unwrap();
            time.at_broker(&new_york).unwrap().timestamp().to_string()
        };
        assert_eq!(read("2026-03-08T02:30:00"), "2026-03-08T07:30:00Z");
        assert_eq!(read("2026-11-01T01:30:00"), "2026-11-01T05:30:00Z", "the first of two");
    }

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let utc: Timestamp = "2026-01-05T09:15:00.5Z".parse().unwrap();
        let zoned =
            [india(), TimeZone::UTC, TimeZone::unknown(), TimeZone::fixed(jiff::tz::offset(5))];
        let zoned = zoned.into_iter().map(|zone| BrokerTime::from(utc.to_zoned(zone)));
        let midnight = DateTime::constant(2026, 1, 5, 0, 0, 0, 0);
        let others = [DateTime::constant(2026, 1, 5, 9, 15, 0, 0), midnight].map(BrokerTime::from);
        let others = others.into_iter().chain([utc.into(), midnight.date().into()]);
        for time in zoned.chain(others) {
            assert_eq!(time.to_string().parse::<BrokerTime>().unwrap(), time);
        }
        for text in ["", "soon", "09:15:00", "2026-01-05T09:15:00[Middle/Earth]", "2026-02-30"] {
            let error = text.parse::<BrokerTime>().unwrap_err().to_string();
            let explains =
                format!("{text:?} is not a time for a broker: write an instant as 2026-01");
            assert!(error.starts_with(&explains), "{error}");
        }
    }
}
