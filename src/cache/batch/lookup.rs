//! What is asked of a batch cache, and what it says.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::store::CacheEntry;
use crate::quota::Moment;

/// What a caller demands of an answer. What is not said is as the cache was set up.
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
    /// As the cache was set up, and for as long as it takes.
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer from memory has to be younger than this, in place of the cache's own time to live.
    /// Zero: only the answer to a request that is sent after the question. The hard limit of the
    /// cache holds all the same.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Wait for a request no longer than this.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// From memory, and fresh.
    Memory,
    /// From memory, and past its time; a new one is on its way.
    Stale,
    /// By a request that the caller waited for.
    Fetched,
}

/// A value, and how good it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cached<V> {
    /// The value, shared with whoever else asked.
    pub value: Arc<V>,
    /// Just before its request was sent.
    pub sent: Moment,
    /// How old it was when it was given: the time since `sent`.
    pub age: Duration,
    /// Where it came from.
    pub origin: Origin,
}

impl<V> Cached<V> {
    /// `None` if there is no value.
    pub(super) fn from_entry<E: Clone>(
        entry: &CacheEntry<V, E>,
        age: Duration,
        origin: Origin,
    ) -> Result<Option<Self>, FetchError<E>> {
        let value = entry.value().map_err(|error| FetchError::KeyFailed(error.clone()))?;
        let answer = |value| Self { value: Arc::clone(value), sent: entry.sent, age, origin };
        Ok(value.map(answer))
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        let Self { value, sent, age, origin } = self;
        Self { value: Arc::clone(value), sent: *sent, age: *age, origin: *origin }
    }
}

impl<V: PartialEq> PartialEq for Cached<V> {
    fn eq(&self, other: &Self) -> bool {
        (&self.value, self.sent, self.age, self.origin)
            == (&other.value, other.sent, other.age, other.origin)
    }
}

/// What came of a question for many keys. One key without an answer does not cost the others theirs.
///
/// A key that was asked for is in `values` or in `failed`. A key that is in neither is one for which
/// the source has nothing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchResult<K: Eq + Hash, V, E> {
    /// The values.
    pub values: HashMap<K, Cached<V>>,
    /// The keys without an answer, and why.
    pub failed: HashMap<K, FetchError<E>>,
}

impl<K: Eq + Hash, V, E> BatchResult<K, V, E> {
    /// The values, if no key failed.
    ///
    /// # Errors
    /// Why a key failed; if several did, one of them.
    pub fn complete(self) -> Result<HashMap<K, Cached<V>>, FetchError<E>> {
        match self.failed.into_values().next() {
            None => Ok(self.values),
            Some(error) => Err(error),
        }
    }
}

/// A question that brought no answer. Everybody who waited for the same request is told the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError<E> {
    /// The request failed. It says nothing of any one key.
    #[error(transparent)]
    Failed(E),
    /// The source did not answer for this key: it refused a request for the key alone, or said what is
    /// wrong with the key in an answer for others. This is remembered for a while.
    #[error(transparent)]
    KeyFailed(E),
    /// The code that fetches panicked, or what a key or a value does as it is looked up or dropped.
    #[error("the code that fetches panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The deadline of the one who asked passed. The request goes on for the others.
    #[error("no answer after {waited:?}, which is the deadline; {}", stage(*.maybe_sent))]
    TimedOut {
        /// How long it waited.
        waited: Duration,
        /// Whether a request for any of its keys may have been sent by then.
        maybe_sent: bool,
    },
    /// The answer was so long on its way that it is older than any answer may be.
    #[error("the answer came {age:?} after its request was sent, which is older than is allowed")]
    TooOld {
        /// How old.
        age: Duration,
    },
    /// The code that fetches returned without asking for anything.
    #[error("not sent: the code that fetches did not take its keys")]
    KeysNotTaken,
    /// The machine gave no thread to fetch with.
    #[error("not sent: no thread to fetch with: {error}")]
    NoThread {
        /// What it said.
        error: String,
    },
}

fn stage(under_way: bool) -> &'static str {
    if under_way { "the request is under way" } else { "the request was not sent yet" }
}
