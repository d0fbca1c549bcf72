//! Parses the `Retry-After` header of a broker.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Returns how long a `Retry-After` header asks to wait, counted from `now`.
///
/// The value is a number of seconds, whole or decimal, or a date in any of the three HTTP formats.
/// A date in the past is a wait of zero. More seconds than a [`Duration`] holds are
/// [`Duration::MAX`]. The [`ThrottlePolicy`](super::ThrottlePolicy) and the
/// [`RetryPolicy`](super::RetryPolicy) limit waits that are too long. A value that cannot be
/// parsed, such as a negative number, is `None`.
///
/// A date is compared with `now`, so the wait is wrong by as much as the clocks of the broker and
/// of this machine differ.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::resilience::retry_after;
///
/// let now: Timestamp = "1994-11-06T08:49:07Z".parse()?;
/// assert_eq!(retry_after("1.5", now), Some(Duration::from_millis(1500)));
/// let half_a_minute = retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now);
/// assert_eq!(half_a_minute, Some(Duration::from_secs(30)));
/// assert_eq!(retry_after("soon", now), None);
/// # Ok::<(), lanekeeper::jiff::Error>(())
/// ```
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    // The float parser alone would also accept `-1`, `1e9`, `inf` and `NaN`.
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_plain && value.starts_with(|first: char| first.is_ascii_digit()) {
        let seconds: f64 = value.parse().ok()?;
        return Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // For a date before `now`, `duration_since` is an error, and the wait is zero.
    Some(date.duration_since(SystemTime::from(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:37Z, in the three forms of HTTP.
    const DATES: [&str; 3] = [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ];

    fn read(value: &str) -> Option<Duration> {
        retry_after(value, "1994-11-06T08:49:07.25Z".parse().unwrap())
    }

    #[test]
    fn seconds_are_whole_or_decimal() {
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read(" 2.25\r\n"), Some(Duration::from_millis(2250)));
        assert_eq!(read("00.5"), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_date_is_read_in_all_forms_of_http() {
        for date in DATES {
            assert_eq!(read(date), Some(Duration::from_millis(29_750)), "{date}");
        }
    }

    #[test]
    fn a_date_that_has_passed_asks_for_no_wait() {
        assert_eq!(read("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_too_long_to_be_meant_is_still_a_wait() {
        assert_eq!(read("99999999999"), Some(Duration::from_secs(99_999_999_999)));
        assert_eq!(read(&"9".repeat(400)), Some(Duration::MAX));
        assert!(read("Fri, 31 Dec 9999 23:59:59 GMT") > Some(Duration::from_secs(1 << 37)));
    }

    #[test]
    fn garbage_says_nothing() {
        let garbage = [
            "",
            " ",
            "-1",
            "+1",
            "1e3",
            "inf",
            "NaN",
            "1.2.3",
            ".",
            ".5",
            "1,5",
            "1 s",
            "0x10",
            "soon",
            "१२",
            "Sun, 06 Nov 1994",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 IST",
            "Sun, 06 Nov 1994 08:49:37 GMT, 5",
        ];
        for value in garbage {
            assert_eq!(read(value), None, "{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(value in ".{0,40}", digits in "[0-9.,: GMT]{0,40}") {
            let _ = (read(&value), read(&digits));
        }

        #[test]
        fn whole_seconds_are_read_as_written(seconds in 0..1_u64 << 50) {
            proptest::prop_assert_eq!(
                read(&seconds.to_string()),
                Some(Duration::from_secs(seconds))
            );
        }
    }
}
