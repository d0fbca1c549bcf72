//! Quotes that the processes of an account share through Redis or Valkey: one request brings them to all.
//!
//! It is the [`SharedStore`] of a batch cache. `cache/batch/sharing.rs` decides what is taken and when
//! to claim the fetch.
//!
//! - `look.lua`, `claim.lua`, `depart.lua` and `keep.lua`, each after `clock.lua`, are what Redis does. `protocol.rs` has their
//!   words.
//! - `link.rs` carries keys and values there and back, and turns stamps into moments of this process's clock.
//!
//! # A value is never older than it seems
//!
//! No clock of another process enters, only the time of the host of Redis and the steady clock of the reader. Let the stamp `s`
//! be the time of Redis in `depart.lua`. The process that fetches calls it, waits for the answer, and then sends its request. So
//! the request is sent at `s` or later. Let the reader ask for a look at the moment `a` of its clock, and let Redis run
//! `look.lua` at its time `t`. That is at `a` or later. So from the request until `a` there pass at most `t - s`, and the reader
//! takes `a - (t - s)` as the moment at which the request was sent. Both ways make the value look older, never younger.
//!
//! A task cannot wait for an answer where it sends its request: that would block its executor. It takes as `s` the time of the last
//! answer, and adds what has passed since by its steady clock, less 2 ms and 0.1 %.
//!
//! This holds if the clock of Redis's host loses no more than 2 ms and 0.1 % against the reader's clock, by which each age is taken
//! as longer, and for tasks against the sender's. (`ntpd` slews by 0.05 %. A clock that loses more is found below like one that was
//! set back.) If the clock is set *forward*, values look older. If it is set *back*, they would look younger. `clock.lua` finds that
//! in two ways, and begins a new *epoch*, in which values of earlier ones count for nothing:
//!
//! - the time is before the latest that any process saw; or
//! - it is before what this process expects by its last answer and its steady clock, by more than 2 ms and 0.1 %.
//!
//! The second way finds every step beyond that slack, once a process calls whose last answer came after the last step *forward*.
//! To any other process, a new one or one that has not called since a step forward, values may look younger until then: by the step
//! back, which is shorter than the time since the last call of any process. A longer one is found in the first way.

mod link;
mod protocol;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use self::link::Link;
use crate::cache::SharedStore;
use crate::clock::Clock;
use crate::quota::Moment;
use crate::redis::RedisPool;
use crate::shared_quota::{SharedQuota, SharedQuotaError};

/// How a value is written. `None` if it is not shared.
type Encode<V> = dyn Fn(&V) -> Option<Vec<u8>> + Send + Sync;

/// How a value is read that was sent at a moment. `None` if it cannot be read.
type Decode<K, V> = dyn Fn(&K, &[u8], Moment) -> Option<V> + Send + Sync;

/// Values of a [`BatchCache`](crate::cache::BatchCache) that several processes share through Redis, for
/// [`BatchBuilder::build_shared`](crate::cache::BatchBuilder::build_shared).
///
/// A [`QuoteCache`](crate::cache::QuoteCache) has this built in. Caches share if they have the same account and the same `kind`.
/// A kind has one type of key and one encoding. A key is written by `Display` and read by `FromStr`, which have to agree. The
/// kinds `quote` and `row` are those of quote caches and gateways.
///
/// ```no_run
/// use lanekeeper::SharedQuota;
/// use lanekeeper::cache::{BatchBuilder, BatchConfig, SharedValues};
///
/// let quota = SharedQuota::redis("redis://127.0.0.1:6379", "account-1")?;
/// let encode = |level: &u32| Some(level.to_string().into_bytes());
/// let decode = |_: &String, text: &[u8], _| std::str::from_utf8(text).ok()?.parse().ok();
/// let tides = BatchBuilder::new(BatchConfig::default()).build_shared(
///     SharedValues::new(&quota, "tide", encode, decode)?,
///     |batch| Ok::<_, std::fmt::Error>(batch.keys().into_iter().map(|port| (port, Ok(320))).collect()),
/// );
/// assert_eq!(*tides.get(&"Mormugao".to_owned())?.expect("the source has it").value, 320);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedValues<K, V> {
    account: String,
    kind: &'static str,
    pool: RedisPool,
    encode: Box<Encode<V>>,
    decode: Box<Decode<K, V>>,
}

impl<K, V> SharedValues<K, V> {
    /// Shares the values of a kind in the account and through the Redis of `quota`, with its time limit for an answer. Nothing is
    /// connected yet. `kind` is part of the names of the keys.
    ///
    /// `encode` and `decode` return `None` for a value that is not shared or cannot be read. `decode` is told the moment of the
    /// cache's clock from which the age of the value counts.
    ///
    /// # Errors
    /// The address of Redis cannot be read, or the kind is no name: up to 64 letters, digits, dots, dashes and underscores. Nor
    /// are `counts`, `log` and `turn`, with which keys of the quota begin.
    pub fn new(
        quota: &SharedQuota,
        kind: &'static str,
        encode: impl Fn(&V) -> Option<Vec<u8>> + Send + Sync + 'static,
        decode: impl Fn(&K, &[u8], Moment) -> Option<V> + Send + Sync + 'static,
    ) -> Result<Self, SharedQuotaError> {
        crate::shared_quota::check_name("a kind of values", kind)?;
        // Their keys could be those of the quota, which would then be counted wrong.
        if ["counts", "log", "turn"].contains(&kind) {
            let what = "a kind of values, since keys of the quota begin with it";
            return Err(SharedQuotaError::Name { what, name: kind.to_owned() });
        }
        Ok(Self {
            account: quota.account().to_owned(),
            kind,
            pool: quota.pool(false)?,
            encode: Box::new(encode),
            decode: Box::new(decode),
        })
    }

    /// Returns the store of a cache. A value is kept for `ttl`.
    pub(crate) fn into_store(self, clock: &Clock, ttl: Duration) -> Box<dyn SharedStore<K, V>>
    where
        K: fmt::Display + FromStr + Clone + Eq + std::hash::Hash + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        Box::new(Link::new(self, clock.clone(), ttl))
    }
}

impl<K, V> fmt::Debug for SharedValues<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedValues")
            .field("account", &self.account)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_values_can_be_taken_for_keys_of_the_quota() {
        let quota = SharedQuota::redis("unix:///nowhere", "a").unwrap();
        let kind = |kind| {
            let decode = |_: &String, _: &[u8], _| None::<u32>;
            SharedValues::new(&quota, kind, |_: &u32| None, decode).err()
        };
        assert_eq!(kind("tide"), None);
        for refused in ["counts", "log", "turn", "", "a b"] {
            assert!(matches!(kind(refused), Some(SharedQuotaError::Name { .. })), "{refused}");
        }
    }
}
