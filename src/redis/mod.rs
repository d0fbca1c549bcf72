//! Connections to Redis or Valkey, for what several processes share.
//!
//! The client is blocking, as the lanes are. A connection is used by one thread at a time and kept for the next one. No
//! answer is waited for longer than [`RedisSettings::timeout`]. A command may wait for several: the trip before its own, the
//! lookup of a host's name, a new connection, the question which run it is, and its own answer. A Redis that cannot be reached is
//! asked again after a pause, and until then each use fails at once.
//!
//! The address may have a password. It is in no error and in no `Debug`.

mod attempts;
mod pool;
mod script;
#[cfg(feature = "limiter")]
mod trips;

use std::time::Duration;

pub(crate) use pool::RedisPool;
#[cfg(feature = "limiter")]
pub(crate) use pool::round_trip;
pub(crate) use script::Script;
#[cfg(feature = "limiter")]
pub(crate) use trips::Trips;

/// How Redis is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RedisSettings {
    /// The longest time to wait for an answer, for the lookup of a name, and for a connection.
    pub(crate) timeout: Duration,
    /// After a connection could not be made, nothing is tried for this long.
    pub(crate) pause: Duration,
    /// How many idle connections are kept.
    pub(crate) max_idle: usize,
    /// A connection that was idle for longer than this is tried before it is used again, which takes a trip.
    pub(crate) trusted_idle: Duration,
    /// Whether each connection asks which run of Redis it leads to.
    pub(crate) asks_for_run: bool,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(100),
            pause: Duration::from_millis(250),
            max_idle: 16,
            trusted_idle: Duration::from_secs(1),
            asks_for_run: false,
        }
    }
}

/// Why Redis gave no answer. It names the reason, and never the address, which may have a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedisFailure {
    /// The address is none of a Redis.
    #[error(
        "this is no address of a Redis: write redis://HOST:PORT, rediss://HOST:PORT, or unix:///PATH"
    )]
    Address,
    /// There was no connection a moment ago, and it is not tried again yet.
    #[error("Redis could not be reached a moment ago ({0})")]
    Paused(String),
    /// There is no connection.
    #[error("Redis cannot be reached ({0})")]
    Unreachable(String),
    /// There is no answer. Redis may have done what it was asked for.
    #[error("Redis gave no answer ({0})")]
    NoAnswer(String),
    /// There are fewer answers than there were commands.
    #[cfg(feature = "limiter")]
    #[error("Redis gave fewer answers than it was asked for")]
    Missing,
    /// It refused what it was asked for.
    #[error("Redis refused ({0})")]
    Refused(String),
}
