//! A keyed limiter for the requests that reach a server of yours: rules, four algorithms, and a verdict at once.
//!
//! The rest of this library paces the calls that *we* make, and lets them wait. This module is for the other side: a
//! gateway or a web service that has to say yes or no to those who call it. `docs/limiter.md` is the chapter of the book.
//!
//! ```
//! use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
//!
//! let rules = Rules::from_yaml(r#"
//! rules:
//!   - path: /orders/*
//!     descriptors:
//!       - { key: user, unit: second, requests_per_unit: 2 }
//! "#)?;
//! let limiter = RateLimiter::new(rules, MemoryStorage::new());
//!
//! let request = Request::new("/orders/regular").entry("user", "a");
//! assert!(limiter.check(&request).is_allowed());
//! assert!(limiter.check(&request).is_allowed());
//! let refused = limiter.check(&request);
//! assert!(!refused.is_allowed());
//! assert!(refused.retry_after().is_some());
//! // Another user has a limit of its own.
//! assert!(limiter.check(&Request::new("/orders/regular").entry("user", "b")).is_allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Promises, while the storage answers
//!
//! 1. **Never one too many.** A verdict reads and counts as one step, with any number of threads and, in Redis, of
//!    processes.
//! 2. **All or nothing.** A request has several limits at once. If one refuses it, none counts it.
//! 3. **Exact waits.** A request that comes back after `retry_after` is admitted, if nothing else came meanwhile; a
//!    microsecond earlier it is not.
//! 4. **Bounded.** Keys come from callers, so memory has a bound, and no flood of keys opens a limit again.
//!
//! If it does not answer, each rule says by `on_storage_error` whether everything is admitted or nothing. The eventual storage
//! gives the first promise up, within a bound.
//!
//! # Implementation
//!
//! - The algorithms are pure functions of time, in [`quota::request_limit`](crate::quota::request_limit).
//! - `request.rs` is the question, `rules/` finds the limits of a request, `storage/` reads and counts them, and
//!   `verdict.rs` is the answer, which `headers.rs` writes for HTTP. `rate_limiter.rs` puts them together.
//! - `layer/` puts a limiter in front of an HTTP service (feature `tower`).
//! - `login.rs` delays attempts to guess a secret, in the same storages.

mod client_address;
mod headers;
#[cfg(feature = "tower")]
pub mod layer;
mod login;
#[cfg(feature = "metrics")]
mod metrics;
mod rate_limiter;
mod request;
mod rules;
pub mod storage;
mod verdict;

pub use client_address::{client_address, client_network};
#[cfg(feature = "tower")]
pub use layer::RateLimitLayer;
pub use login::{LoginAttempt, LoginGuard, LoginGuardBuilder, LoginRefused};
#[cfg(feature = "metrics")]
pub use metrics::VERDICTS;
pub use rate_limiter::RateLimiter;
pub use request::Request;
pub use rules::{
    FileRules, InvalidPath, MemoryRules, OnStorageError, PathPattern, Rule, Rules, RulesStore,
    StoredRules, ValuePattern,
};
#[cfg(feature = "redis")]
pub use storage::{EventualStatus, EventualStorage, RedisStorage};
pub use storage::{MemoryStorage, Storage, StorageError};
pub use verdict::{Outcome, RuleVerdict, Verdict};

pub use crate::quota::request_limit::{
    Algorithm, Backoff, RequestLimit, RequestLimitError, UnixMicros,
};
