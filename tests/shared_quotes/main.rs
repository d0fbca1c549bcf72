//! Caches that share their values through a real Redis, as several processes do. Time is virtual, that of Redis too: a cache with
//! a manual clock passes the time to the scripts.
#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/redis.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod redis;

#[cfg(feature = "mock")]
#[path = "../support/quote_layers.rs"]
#[macro_use]
mod quote_layers;

#[cfg(all(feature = "async", feature = "mock"))]
#[path = "../support/mod.rs"]
mod support;

mod ages;
mod claims;
mod failures;
mod process;
mod quotes;
#[cfg(all(feature = "async", feature = "mock"))]
mod tasks;
