//! The limits of clients: each request to a broker is judged by the rules of the operator before it is queued.
//!
//! The gateway's own interface is outside of them: its tiers limit what of it makes calls.
//!
//! An exit is judged too, and goes on whatever the verdict is. It is counted if it fits, so that other requests have
//! less left.

use std::net::IpAddr;

use hyper::StatusCode;
use lanekeeper::limiter::{Request, Verdict, client_network};

use crate::auth::Caller;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// A client of IPv6 usually has a network of this many bits.
const IPV6_BITS: u8 = 64;

/// What the rules can tell requests apart by.
#[derive(Clone, Copy)]
pub(crate) struct Limited<'a> {
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) caller: &'a Caller,
    pub(crate) account: &'a str,
    pub(crate) lane: &'a str,
    pub(crate) address: IpAddr,
    pub(crate) is_exit: bool,
}

/// Headers of an answer.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// What happened to a request that is over a rule, as the metrics call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    /// It went on, because it is an exit.
    Exit,
    /// It went on as far as this rule is concerned, which is in shadow mode.
    Shadow,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Exit => "exit",
            Self::Shadow => "shadow",
        }
    }
}

impl Shared {
    /// Judges a request by the rules, and counts it if it is allowed. Returns the headers that tell its client what is
    /// left, and the refusal, if it is refused.
    pub(crate) fn limit(&self, limited: Limited<'_>) -> (Headers, Result<(), Refusal>) {
        let Limited { path, method, caller, account, lane, address, is_exit } = limited;
        let address = client_network(address, IPV6_BITS);
        let request = Request::new(path)
            .entry("client", &caller.name)
            .entry("account", account)
            .entry("lane", lane)
            .entry("method", method)
            .entry("ip", &address);
        let request = match &caller.tier_name {
            Some(tier) => request.entry("tier", tier),
            None => request,
        };
        let verdict = self.limiter.check(&request);
        for rule in verdict.rules().filter(|rule| rule.is_over()) {
            let outcome = match rule.rule().is_shadow() {
                true => Outcome::Shadow,
                false if is_exit => Outcome::Exit,
                false => Outcome::Refused,
            };
            self.metrics.over_limit(rule.rule().name(), outcome);
        }
        let mut headers = verdict.headers();
        // The refusal has it, and an exit goes on.
        headers.retain(|(name, _)| *name != "retry-after");
        let result = if is_exit { Ok(()) } else { refuse(&verdict) };
        (headers, result)
    }
}

/// Returns the refusal of a verdict.
fn refuse(verdict: &Verdict) -> Result<(), Refusal> {
    if verdict.is_allowed() {
        return Ok(());
    }
    let name = verdict.rule().map(|rule| rule.name().to_owned()).unwrap_or_default();
    match (verdict.retry_after(), verdict.storage_error()) {
        (None, None) => {
            // 429 would have clients try for ever.
            let message = format!("not sent: the rule `{name}` allows no such request");
            Err(Refusal::new(StatusCode::FORBIDDEN, message))
        }
        (_, Some(error)) => Err(Refusal::later(format!("not sent: {error}"), None)),
        (wait, None) => {
            let message = format!("not sent: more than the rule `{name}` allows for now");
            Err(Refusal::later(message, wait))
        }
    }
}
