//! What a batch cache needs of a store that the caches of several processes share.
//!
//! `sharing.rs` uses it, and `shared_quotes` implements it through Redis. A store never fails: without an answer there is nothing
//! in it, and the cache fetches for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::quota::Moment;

/// For how long a process may fetch without a word, and for how long another one waits for it at most.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A moment before the request of a value was sent, in the time of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Moments of two epochs cannot be compared. An epoch that ended does not come back.
    pub(crate) epoch: Arc<str>,
    pub(crate) micros: u64,
}

impl Stamp {
    /// Returns whether a value of this stamp, which is of the present epoch, is of a later request than one of `other`.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        self.epoch != other.epoch || self.micros > other.micros
    }
}

/// A value that another process fetched.
#[derive(Debug)]
pub(crate) struct SharedValue<V> {
    pub(crate) value: Arc<V>,
    /// A moment of this process's clock that is not after the request was sent.
    pub(crate) sent: Moment,
    pub(crate) stamp: Stamp,
}

/// The state of a store: it changes when values are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) String);

/// The values that were found.
#[derive(Debug)]
pub(crate) struct FoundValues<K, V> {
    pub(crate) values: HashMap<K, SharedValue<V>>,
    pub(crate) version: Version,
}

/// Whether a process may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only the store in Redis answers claims")
)]
pub(crate) enum Claim {
    /// It fetches, and the others wait for it.
    Granted,
    /// Another process fetches, and is told which keys are wanted.
    Busy,
    /// Values were kept since the version of the claim.
    Changed,
}

/// What a process is told that is about to send a request.
#[derive(Debug)]
pub(crate) struct Departure<K> {
    pub(crate) stamp: Stamp,
    /// The keys that other processes wait for.
    pub(crate) wanted: Vec<K>,
}

/// Values that several processes share. Each method, unless it says otherwise, may wait for another machine, for a limited time:
/// call it with no lock held, and on no thread of a task. `None` means that there was no answer.
pub(crate) trait SharedStore<K, V>: Send + Sync {
    /// Returns the values of `needed`. Those of `due` are returned as well, unless they were before in this version of the store.
    fn look(&self, needed: &[K], due: &[K]) -> Option<FoundValues<K, V>>;
    /// Asks to be the one that fetches, because this version of the store lacks a value of `needed`.
    fn claim(&self, needed: &[K], version: &Version) -> Option<Claim>;
    /// Returns a stamp for a request that is sent after this call.
    fn depart(&self) -> Option<Departure<K>>;
    /// Returns a stamp computed from the last answer, without a trip. It is not later than that of [`depart`](Self::depart) would
    /// be. `None` if there was no answer yet.
    #[cfg(feature = "async")]
    fn stamp(&self) -> Option<Stamp>;
    /// Keeps values of a request, and ends the claim.
    fn keep(&self, values: &[(&K, &V)], stamp: &Stamp);
    /// Ends the claim.
    fn release(&self);
}
