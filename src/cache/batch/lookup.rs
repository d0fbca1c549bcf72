//! The options and results of a query to a batch cache.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::store::CacheEntry;
use crate::quota::Moment;

/// Options of a single query. Options that are not set follow the settings of the cache.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::cache::GetOptions;
///
/// let ask = GetOptions::new().max_age(Duration::from_secs(1)).deadline(Duration::from_secs(3));
/// # let _ = ask;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GetOptions {
    pub(in crate::cache) max_age: Option<Duration>,
    pub(in crate::cache) deadline: Option<Duration>,
}

impl GetOptions {
    /// Creates options that follow the settings of the cache and set no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the age that a cached value must be younger than, in place of the `ttl` of the cache.
    /// With zero, only a request that is sent after the query satisfies it. The hard limit of the
    /// cache still applies.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Sets how long the caller waits for a request at most.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// From the cache, and fresh.
    Memory,
    /// From the cache, past its `ttl`. A refresh was requested.
    Stale,
    /// From a request that the caller waited for.
    Fetched,
    /// From a request of another process, whose value the caller waited for.
    Shared,
}

/// A value with its age and origin.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cached<V> {
    /// The value, shared with the cache and other callers.
    pub value: Arc<V>,
    /// The number of the request that brought the value. A later request has a higher number. See
    /// [`BatchCache::get_after`](crate::cache::BatchCache::get_after).
    pub batch: u64,
    /// The moment just before the request was sent.
    pub sent: Moment,
    /// The age of the value when it was returned: the time since `sent`.
    pub age: Duration,
    /// Where the value came from.
    pub origin: Origin,
}

impl<V> Cached<V> {
    /// Returns the value of an entry, or `None` if the source has none.
    pub(super) fn from_entry<E: Clone>(
        entry: &CacheEntry<V, E>,
        age: Duration,
        origin: Origin,
    ) -> Result<Option<Self>, FetchError<E>> {
        let value = entry.value().map_err(|error| FetchError::KeyFailed(error.clone()))?;
        let CacheEntry { batch, sent, .. } = *entry;
        let answer = |value| Self { value: Arc::clone(value), batch, sent, age, origin };
        Ok(value.map(answer))
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        let Self { value, batch, sent, age, origin } = self;
        let value = Arc::clone(value);
        Self { value, batch: *batch, sent: *sent, age: *age, origin: *origin }
    }
}

impl<V: PartialEq> PartialEq for Cached<V> {
    fn eq(&self, other: &Self) -> bool {
        (&self.value, self.batch, self.sent, self.age, self.origin)
            == (&other.value, other.batch, other.sent, other.age, other.origin)
    }
}

/// The result of a query for many keys. A key without an answer does not affect the others.
///
/// Each requested key is in `values` or in `failed`. A key that is in neither is one for which the
/// source has nothing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchResult<K: Eq + Hash, V, E> {
    /// The values.
    pub values: HashMap<K, Cached<V>>,
    /// The keys without an answer, and the reason.
    pub failed: HashMap<K, FetchError<E>>,
}

impl<K: Eq + Hash, V, E> BatchResult<K, V, E> {
    /// Returns the values, if no key failed.
    ///
    /// # Errors
    /// Returns the error of a failed key. If several failed, it is any of them.
    pub fn complete(self) -> Result<HashMap<K, Cached<V>>, FetchError<E>> {
        match self.failed.into_values().next() {
            None => Ok(self.values),
            Some(error) => Err(error),
        }
    }
}

/// The reason why a query has no answer. All callers that wait for a request get the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError<E> {
    /// The request failed. The error is not about a particular key.
    #[error(transparent)]
    Failed(E),
    /// The source did not answer for this key. It refused a request for the key alone, or reported
    /// a problem of the key in a response for others. The error is cached for a while.
    #[error(transparent)]
    KeyFailed(E),
    /// The fetch function panicked, or a lookup or drop of a key or a value did.
    #[error("the fetch function panicked: {message}")]
    Panicked {
        /// The panic message.
        message: String,
    },
    /// The caller's deadline passed. The request goes on for other callers.
    #[error("no answer after {waited:?}, which is the deadline; {}", stage(*.maybe_sent))]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Whether a request for any of its keys may have been sent by then.
        maybe_sent: bool,
    },
    /// The response took so long that its values exceed the hard limit.
    #[error("the answer came {age:?} after its request was sent, which is older than is allowed")]
    TooOld {
        /// The age of the value.
        age: Duration,
    },
    /// The fetch function returned without taking its keys.
    #[error("not sent: the fetch function did not take its keys")]
    KeysNotTaken,
    /// The operating system could not start the fetcher thread.
    #[error("not sent: cannot start the fetcher thread: {error}")]
    NoThread {
        /// The message of the operating system.
        error: String,
    },
}

fn stage(maybe_sent: bool) -> &'static str {
    if maybe_sent { "the request is in flight" } else { "the request was not sent yet" }
}
