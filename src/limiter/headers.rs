//! The headers of an answer that tell a client its limits.
//!
//! `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-09, whose syntax is that of
//! draft 08: a list with an item for each policy. `q` is the quota and `w` its window in seconds; `r` is what remains and
//! `t` the time in seconds until the quota is whole again. `Retry-After` is that of RFC 9110, in whole seconds, rounded
//! up: a client that comes back then is not refused.

use std::fmt::Write as _;
use std::time::Duration;

use super::verdict::{RuleVerdict, Verdict};

impl Verdict {
    /// Returns the headers of an answer to the request, as name and value: `ratelimit-policy` and `ratelimit` if a limit
    /// describes the request, and `retry-after` if the request is refused and can be repeated.
    ///
    /// Rules in shadow mode are left out, as they limit nothing.
    ///
    /// ```
    /// use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
    ///
    /// let rules = Rules::from_yaml(
    ///     "descriptors: [{ key: user, name: users, unit: minute, requests_per_unit: 30 }]",
    /// )?;
    /// let limiter = RateLimiter::new(rules, MemoryStorage::new());
    /// let verdict = limiter.check(&Request::new("/").entry("user", "a"));
    /// assert_eq!(verdict.headers(), [
    ///     ("ratelimit-policy", r#""users";q=30;w=60"#.to_owned()),
    ///     ("ratelimit", r#""users";r=29;t=2"#.to_owned()),
    /// ]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let shown: Vec<RuleVerdict<'_>> =
            self.rules().filter(|it| !it.rule().is_shadow() && it.remaining().is_some()).collect();
        let mut headers = Vec::new();
        if !shown.is_empty() {
            let list = |item: fn(&RuleVerdict<'_>) -> String| {
                shown.iter().map(item).collect::<Vec<_>>().join(", ")
            };
            headers.push(("ratelimit-policy", list(policy)));
            headers.push(("ratelimit", list(remaining)));
        }
        headers.extend(self.retry_after().map(|wait| ("retry-after", seconds(wait).to_string())));
        headers
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn policy(rule: &RuleVerdict<'_>) -> String {
    let mut item = quoted(rule.rule().name());
    let Some(limit) = rule.rule().limit() else { return item };
    // Writing to a string does not fail.
    let _ = write!(item, ";q={}", limit.capacity());
    // The time in which the whole quota comes back. Left out if it is not whole seconds, which are all it can say.
    let micros = limit.period().as_micros() * u128::from(limit.burst());
    let window = micros.checked_div(u128::from(limit.requests()));
    if let Some(window) = window.filter(|window| *window > 0 && window % 1_000_000 == 0) {
        let _ = write!(item, ";w={}", window / 1_000_000);
    }
    item
}

fn remaining(rule: &RuleVerdict<'_>) -> String {
    let mut item = quoted(rule.rule().name());
    let _ = write!(item, ";r={}", rule.remaining().unwrap_or_default());
    if let Some(reset) = rule.reset_after() {
        let _ = write!(item, ";t={}", seconds(reset));
    }
    item
}

/// A string of structured fields, RFC 9651: printable ASCII in quotes.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}
