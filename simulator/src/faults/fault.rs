//! The faults that can be injected into a request.
//!
//! Each of them has been seen at a real broker, or at the edge in front of one. Each leaves the client with one
//! question: was the request executed? Where that is open, the fault has a [`Timing`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

/// Whether a fault is injected before or after the request is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// The request is never executed.
    Before,
    /// The request is executed, and the client receives no confirmation.
    After,
}

/// The wait that a response asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryAfter {
    /// No wait, as Kite sends it.
    Unsaid,
    /// A number of seconds, with a fraction if necessary.
    Seconds(Duration),
    /// An HTTP date this far ahead, in whole seconds.
    Date(Duration),
}

/// A failure that is injected into a request.
///
/// Each has a name in files and flags: `reset-after`, `429:2s`, `timed-out:8s`.
///
/// ```
/// use lanekeeper_simulator::{Fault, Timing};
///
/// assert_eq!("reset-after".parse(), Ok(Fault::Reset(Timing::After)));
/// assert_eq!(Fault::Gateway { status: 502, when: Timing::Before }.to_string(), "502-before");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Fault {
    /// The connection is reset instead of a response. `reset-before`, `reset-after`
    Reset(Timing),
    /// No response is sent; the connection stays open until the client closes it. `hang-before`,
    /// `hang-after`
    Hang(Timing),
    /// The response is delayed by this time. `slow:2s`
    Slow(Duration),
    /// 429 and not executed, whatever the counters allow. `429`, `429:2s`, `429:date:2s`
    Throttled(RetryAfter),
    /// A 5xx in Kite's envelope. `502-before`, `503-after`, and so on.
    Gateway {
        /// 500 to 599.
        status: u16,
        /// Whether the request is executed.
        when: Timing,
    },
    /// A 4xx or 5xx with an HTML page, as the edge in front of a broker sends it. A page with
    /// [`Timing::Before`] has Cloudflare's header `cf-mitigated`. `page-403-before`, `page-503-after`, and so on.
    Page {
        /// 400 to 599.
        status: u16,
        /// Whether the request is executed.
        when: Timing,
    },
    /// 400 "Order request timed out. Please check the order book ..", and executed after this time. If the exchange
    /// stops earlier, the request is not executed. `timed-out:8s`
    TimedOut(Duration),
    /// An error in Kite's envelope with status 200, and not executed. The listing of instruments is known for it.
    /// `error-200`
    ErrorUnder200,
    /// Executed, but the connection breaks in the middle of the response. `truncated`
    Truncated,
    /// Executed, but only half of the response is sent, as if it were complete. `malformed`
    Malformed,
    /// The slice of this number is rejected and the other slices of its order are placed. The number is 2 to 10,
    /// since the first slice stands for the whole order. A request without such a slice is executed.
    /// `slice-refused:2`
    SliceRefused(u8),
    /// The slice of this number is placed, but the response reports that it timed out. `slice-lost:2`
    SliceLost(u8),
}

/// The text names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fault; write reset-before, reset-after, hang-before, hang-after, slow:2s, 429, 429:2s, \
     429:date:2s, 502-before, 502-after, page-403-before, timed-out:8s, error-200, truncated, malformed, \
     slice-refused:2 or slice-lost:2"
)]
pub struct FaultError(String);

impl Fault {
    /// Returns what is invalid about it, if anything.
    pub(crate) fn find_problem(&self) -> Option<&'static str> {
        match *self {
            Self::Gateway { status, .. } if !(500..600).contains(&status) => {
                Some("the status of a gateway error is 500 to 599")
            }
            Self::Page { status, .. } if !(400..600).contains(&status) => {
                Some("the status of a page is 400 to 599")
            }
            Self::SliceRefused(number) | Self::SliceLost(number) if !(2..=10).contains(&number) => {
                Some("the slice is one of 2 to 10")
            }
            Self::Throttled(RetryAfter::Date(time)) if time.subsec_nanos() > 0 => {
                Some("a date to wait for is in whole seconds")
            }
            Self::Slow(time)
            | Self::TimedOut(time)
            | Self::Throttled(RetryAfter::Seconds(time) | RetryAfter::Date(time))
                if time > MAX_DURATION =>
            {
                Some("a wait is a day at most")
            }
            _ => None,
        }
    }
}

/// Bounds the delays of faults: a longer one is almost certainly a mistake.
const MAX_DURATION: Duration = Duration::from_secs(86_400);

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Reset(when) => write!(f, "reset-{when}"),
            Self::Hang(when) => write!(f, "hang-{when}"),
            Self::Slow(time) => write!(f, "slow:{}", DurationText(time)),
            Self::Throttled(RetryAfter::Unsaid) => f.write_str("429"),
            Self::Throttled(RetryAfter::Seconds(time)) => write!(f, "429:{}", DurationText(time)),
            Self::Throttled(RetryAfter::Date(time)) => write!(f, "429:date:{}", DurationText(time)),
            Self::Gateway { status, when } => write!(f, "{status}-{when}"),
            Self::Page { status, when } => write!(f, "page-{status}-{when}"),
            Self::TimedOut(time) => write!(f, "timed-out:{}", DurationText(time)),
            Self::ErrorUnder200 => f.write_str("error-200"),
            Self::Truncated => f.write_str("truncated"),
            Self::Malformed => f.write_str("malformed"),
            Self::SliceRefused(number) => write!(f, "slice-refused:{number}"),
            Self::SliceLost(number) => write!(f, "slice-lost:{number}"),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let fault = match text.split_once(':') {
            Some(("slow", time)) => parse_duration(time).map(Self::Slow),
            Some(("timed-out", time)) => parse_duration(time).map(Self::TimedOut),
            Some(("slice-refused", number)) => number.parse().ok().map(Self::SliceRefused),
            Some(("slice-lost", number)) => number.parse().ok().map(Self::SliceLost),
            Some(("429", wait)) => match wait.strip_prefix("date:") {
                Some(time) => parse_duration(time).map(RetryAfter::Date),
                None => parse_duration(wait).map(RetryAfter::Seconds),
            }
            .map(Self::Throttled),
            Some(_) => None,
            None => parse_untimed(text),
        };
        fault
            .filter(|fault| fault.find_problem().is_none())
            .ok_or_else(|| FaultError(text.to_owned()))
    }
}

impl TryFrom<String> for Fault {
    type Error = FaultError;

    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

fn parse_untimed(text: &str) -> Option<Fault> {
    match text {
        "429" => return Some(Fault::Throttled(RetryAfter::Unsaid)),
        "error-200" => return Some(Fault::ErrorUnder200),
        "truncated" => return Some(Fault::Truncated),
        "malformed" => return Some(Fault::Malformed),
        _ => {}
    }
    let (name, when) = text.rsplit_once('-')?;
    let when = match when {
        "before" => Timing::Before,
        "after" => Timing::After,
        _ => return None,
    };
    Some(match (name, name.strip_prefix("page-")) {
        ("reset", _) => Fault::Reset(when),
        ("hang", _) => Fault::Hang(when),
        (_, Some(status)) => Fault::Page { status: status.parse().ok()?, when },
        (status, None) => Fault::Gateway { status: status.parse().ok()?, when },
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

/// A duration, written as it is parsed: `2s`, `300ms`.
struct DurationText(Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{time:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_it_is_read() {
        for text in [
            "reset-before",
            "reset-after",
            "hang-before",
            "hang-after",
            "slow:300ms",
            "429",
            "429:2s",
            "429:date:2s",
            "500-after",
            "502-before",
            "504-after",
            "page-403-before",
            "page-503-after",
            "timed-out:8s",
            "error-200",
            "truncated",
            "malformed",
            "slice-refused:2",
            "slice-lost:10",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in [
            "",
            "reset",
            "reset-during",
            "slow",
            "slow:fast",
            "slow:-2s",
            "slow:2d 1h",
            "429:",
            "429:date:",
            "429:date:300ms",
            "429-after",
            "200-after",
            "600-before",
            "page-302-before",
            "page-before",
            "truncated:2s",
            "slice-refused",
            "slice-lost:1",
            "slice-lost:11",
            "-before",
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no fault; write")));
        }
    }
}
