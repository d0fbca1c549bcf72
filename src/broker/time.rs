//! A time that a caller passes to a broker: an instant, or a local time at the broker.
//!
//! Brokers write times without a zone and mean their own. A strategy that passes 09:15 means the
//! broker's time too, wherever it runs. So the adapter resolves a time without a zone. A time with
//! an unknown zone is refused, because jiff would interpret it as UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
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
///
/// ```
/// use lanekeeper::broker::BrokerTime;
/// use lanekeeper::jiff::civil::date;
/// use lanekeeper::jiff::tz::TimeZone;
///
/// let opening = BrokerTime::from(date(2026, 1, 5).at(9, 15, 0, 0));
/// let at = opening.at_broker(&TimeZone::get("Asia/Kolkata")?)?;
/// assert_eq!(at.to_string(), "2026-01-05T09:15:00+05:30[Asia/Kolkata]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// As text, an instant has an offset, and a local time at the broker has none.
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
}

impl BrokerTime {
    /// Returns this time in the zone of the broker, which the adapter passes. When summer time
    /// ends, a local time that occurs twice is the earlier one. When summer time begins, a local
    /// time that is skipped moves forward by the length of the gap.
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

impl fmt::Display for BrokerTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => at.fmt(f),
            Self::Zoned(at) => at.fmt(f),
            Self::AtBroker(at) => at.fmt(f),
        }
    }
}

impl From<BrokerTime> for String {
    fn from(time: BrokerTime) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for BrokerTime {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for BrokerTime {
    type Err = jiff::Error;

    /// Parses the output of [`Display`](fmt::Display): `2026-01-05T03:45:00Z`,
    /// `2026-01-05T09:15:00+05:30[Asia/Kolkata]` or `2026-01-05T09:15:00`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('[') {
            return text.parse().map(Self::Zoned);
        }
        match text.parse() {
            Ok(at) => Ok(Self::Instant(at)),
            Err(_) => text.parse().map(Self::AtBroker),
        }
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
        let others = [BrokerTime::from(utc), DateTime::constant(2026, 1, 5, 9, 15, 0, 0).into()];
        for time in zoned.chain(others) {
            assert_eq!(time.to_string().parse::<BrokerTime>().unwrap(), time);
        }
        for text in ["", "soon", "09:15:00", "2026-01-05T09:15:00[Middle/Earth]"] {
            assert!(text.parse::<BrokerTime>().is_err(), "{text}");
        }
    }
}
