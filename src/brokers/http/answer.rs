//! What any answer over HTTP shows, whatever the broker: its header, and the title of a page.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use ureq::http::HeaderMap;

use crate::resilience::retry_after;

/// An HTTP answer, read to its end. No `Debug`, because an answer may hold a secret.
pub(in crate::brokers) struct HttpAnswer {
    pub(in crate::brokers) status: u16,
    pub(in crate::brokers) headers: HeaderMap,
    /// When it arrived, by the clock of this machine.
    pub(in crate::brokers) received: Timestamp,
    pub(in crate::brokers) body: Vec<u8>,
}

impl HttpAnswer {
    /// Returns the text of a header.
    pub(in crate::brokers) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A year. A longer wait is a mistake, and might overflow when added to a time.
pub(in crate::brokers) const MAX_RETRY_DELAY: Duration = Duration::from_secs(366 * 86_400);

/// Returns how long the broker asked to wait, from the text of `Retry-After`: in seconds, possibly fractional, or
/// until a date. `date` is the broker's own `Date`, against which that date is right even if our clock is wrong.
pub(in crate::brokers) fn retry_delay(
    text: &str,
    date: Option<&str>,
    received: Timestamp,
) -> Option<Duration> {
    let from = date.and_then(parse_http_date).unwrap_or(received);
    Some(retry_after(text, from)?.min(MAX_RETRY_DELAY))
}

/// Reads the time of a `Date` header.
pub(in crate::brokers) fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|at| at.timestamp())
}

/// Returns the title of an HTML page.
pub(in crate::brokers) fn page_title(page: &str) -> Option<&str> {
    // ASCII lower case keeps the position of every byte.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower.get(from..)?.find("</title>")?;
    page.get(from..to).map(str::trim).filter(|title| !title.is_empty())
}
