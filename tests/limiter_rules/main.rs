//! The rules of the keyed limiter: how they are read from a file, which of them a request has, what is refused, and how
//! they are replaced while a limiter runs.
#![cfg(feature = "limiter")]
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod envoy;
mod garbage;
mod matching;
mod problems;
mod reading;
mod reload;
mod storage_errors;

use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rule, Rules, Verdict};
use lanekeeper::quota::request_limit::UnixMicros;

/// The moment of all requests that have no other, in the middle of every window.
const NOW: UnixMicros = UnixMicros::new(1_796_000_000_000_000);

/// Returns a text of TOML with inline tables as YAML. It has the same lines.
fn yaml_of(toml: &str) -> String {
    toml.replace(" = ", ": ")
}

/// Reads rules that are written as TOML with inline tables, in both formats, and returns them.
fn rules(toml: &str) -> Rules {
    let from_toml = Rules::from_toml(toml).unwrap_or_else(|error| panic!("{toml}\n{error}"));
    let from_yaml = Rules::from_yaml(&yaml_of(toml)).unwrap();
    // With the places and lines of the rules, for their errors.
    assert_eq!(all(&from_toml), all(&from_yaml));
    from_toml
}

fn all(rules: &Rules) -> Vec<&Rule> {
    rules.iter().collect()
}

fn limiter(toml: &str) -> RateLimiter {
    RateLimiter::new(rules(toml), MemoryStorage::new())
}

/// Returns how many of `of` requests at once are allowed.
fn allowed(limiter: &RateLimiter, request: &Request<'_>, of: usize) -> usize {
    (0..of).filter(|_| limiter.check_at(request, NOW).is_allowed()).count()
}

/// Returns the names of the rules that a request has, in the order of the alphabet.
fn names(verdict: &Verdict) -> Vec<String> {
    let mut names: Vec<String> = verdict.rules().map(|it| it.rule().name().to_owned()).collect();
    names.sort();
    names
}

/// Returns the names of the rules of a request, in the order of the alphabet.
fn found(limiter: &RateLimiter, request: &Request<'_>) -> Vec<String> {
    names(&limiter.check_at(request, NOW))
}

/// Returns the rule that decided.
fn decider(verdict: &Verdict) -> Option<&str> {
    verdict.rule().map(Rule::name)
}
