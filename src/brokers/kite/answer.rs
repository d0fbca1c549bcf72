//! An answer as it came, and what it says about itself before anyone decodes it.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

use super::de::Text;

/// An HTTP answer, read to its end.
// No `Debug`: the body of a login is a token.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// The broker's `Date`; against it a `Retry-After` is right even where our clock is wrong.
    pub(super) date: Option<String>,
    /// By our clock, where the answer carries no date of its own.
    pub(super) received: Timestamp,
    /// Cloudflare's `cf-mitigated`: its edge answered, Kite never saw the request.
    pub(super) mitigated: bool,
    pub(super) body: Vec<u8>,
}

/// The part of Kite's envelope that tells success from failure.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope {
    pub(super) status: Text,
    pub(super) message: Text,
    pub(super) error_type: Text,
}

impl Envelope {
    pub(super) fn is_success(&self) -> bool {
        self.status.as_deref() == Some("success")
    }

    /// As Kite's own client decides it: by either field.
    pub(super) fn is_error(&self) -> bool {
        self.status.as_deref() == Some("error") || self.error_type.0.is_some()
    }
}

/// Who wrote the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Kite, in its envelope.
    Kite,
    /// A page for people: an edge, a proxy, a hotel's login.
    Page,
    /// Anything else.
    Plain,
}

impl Answer {
    pub(super) fn envelope(&self) -> Result<Envelope, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Who speaks, what they say, and the code they give it.
    pub(super) fn said(&self) -> (Voice, String, Option<String>) {
        if let Ok(envelope) = self.envelope() {
            let message = envelope.message.0.unwrap_or_else(|| "the broker gave no reason".into());
            return (Voice::Kite, message, envelope.error_type.0);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        if text.starts_with('<') {
            let title = title(text).unwrap_or("without a title");
            return (Voice::Page, format!("a page instead of an answer: {title}"), None);
        }
        let words = if text.is_empty() { "an answer without a body" } else { text };
        (Voice::Plain, words.to_owned(), None)
    }

    /// How long the broker asked to wait: in seconds or until a date.
    pub(super) fn wait(&self) -> Option<Duration> {
        let text = self.retry_after.as_deref()?.trim();
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let until = date(text)?;
                let from = self.date.as_deref().and_then(date).unwrap_or(self.received);
                u64::try_from(until.as_second().saturating_sub(from.as_second())).unwrap_or(0)
            }
        };
        Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
    }
}

/// A year. A longer wait is a mistake, and might overflow whoever adds it to a time.
const LONGEST_WAIT: u64 = 366 * 86_400;

fn date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|at| at.timestamp())
}

fn title(page: &str) -> Option<&str> {
    // ASCII lower case keeps every byte where it is.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower.get(from..)?.find("</title>")?;
    page.get(from..to).map(str::trim).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(retry_after: &str, date: Option<&str>) -> Option<u64> {
        let answer = Answer {
            retry_after: Some(retry_after.into()),
            date: date.map(Into::into),
            received: "2015-10-21T07:27:00Z".parse().unwrap(),
            ..Answer::default()
        };
        answer.wait().map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        assert_eq!(wait(" 3 ", None), Some(3));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", None), Some(60));
        let date = Some("Wed, 21 Oct 2015 07:27:50 GMT");
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", date), Some(10));
        assert_eq!(wait("Wed, 21 Oct 2015 07:20:00 GMT", date), Some(0));
    }

    #[test]
    fn a_wait_that_makes_no_sense_is_none_or_bounded() {
        assert_eq!(wait("soon", None), None);
        assert_eq!(wait("-5", None), None);
        assert_eq!(wait("18446744073709551615", None), Some(LONGEST_WAIT));
    }

    #[test]
    fn a_page_is_known_by_its_title() {
        let page = |body: &str| Answer { body: body.into(), ..Answer::default() }.said();
        let (voice, words, _) = page("<!DOCTYPE html><HTML><Title> Just a moment... </Title>");
        assert_eq!(
            (voice, words.as_str()),
            (Voice::Page, "a page instead of an answer: Just a moment...")
        );
        assert_eq!(page("<html>").0, Voice::Page);
        assert_eq!(page("error code: 1010").0, Voice::Plain);
    }
}
