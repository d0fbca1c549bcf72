//! Times, which Kite writes without a zone, as Indian time.

use jiff::civil::DateTime;
use jiff::{Timestamp, Zoned};

use crate::brokers::india::zone;

/// Reads `2021-05-31 09:18:57` (in India) and `2017-12-15T09:15:00+0530`.
///
/// A time of day alone is `None`: the day is unknown, and a guess is wrong shortly after midnight. The zero times
/// `0000-..`, `0001-01-01 ..` and `1970-01-01 ..`, which mean "never", are `None` too.
pub(super) fn parse(text: &str) -> Option<Zoned> {
    let text = text.trim();
    // A date alone would be read as midnight, which Kite did not write.
    if text.len() < "2021-05-31 09:18:57".len() {
        return None;
    }
    let at = match Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", text) {
        Ok(at) => at.to_zoned(zone()),
        Err(_) => match text.parse::<Timestamp>() {
            Ok(at) => at.to_zoned(zone()),
            Err(_) => text.parse::<DateTime>().ok()?.to_zoned(zone()).ok()?,
        },
    };
    (at.year() > 1970).then_some(at)
}

/// Writes a time as Kite reads it: in India, without a zone.
pub(super) fn format(at: &Zoned) -> String {
    at.with_time_zone(zone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text).map(|at| at.to_string())
    }

    #[test]
    fn a_naive_time_is_of_india() {
        assert_eq!(read("2021-05-31 09:18:57").unwrap(), "2021-05-31T09:18:57+05:30[+05:30]");
        assert_eq!(
            parse("2021-05-31 09:18:57").unwrap().timestamp().to_string(),
            "2021-05-31T03:48:57Z"
        );
    }

    #[test]
    fn a_time_with_an_offset_keeps_its_instant() {
        assert_eq!(read("2017-12-15T09:15:00+0530").unwrap(), "2017-12-15T09:15:00+05:30[+05:30]");
        assert_eq!(read("2017-12-15T09:15:00+05:30").unwrap(), "2017-12-15T09:15:00+05:30[+05:30]");
        assert_eq!(read("2017-12-15T03:45:00Z").unwrap(), "2017-12-15T09:15:00+05:30[+05:30]");
    }

    #[test]
    fn half_a_time_is_none() {
        for text in [
            "",
            "09:18:57",
            "2021-05-31",
            "soon",
            "2021-13-31 09:18:57",
            "0000-00-00 00:00:00",
            "0000-01-01 00:00:00",
            "0001-01-01 00:00:00",
            "1970-01-01 05:30:00",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_written_in_india() {
        assert_eq!(format(&parse("2017-12-15T03:45:00Z").unwrap()), "2017-12-15 09:15:00");
    }
}
