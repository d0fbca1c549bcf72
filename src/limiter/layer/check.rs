//! Asks a limiter from a task: a request that owns what it says, and a verdict to await.
//!
//! Storages are synchronous, because a verdict from memory takes less than a microsecond. One that waits for another
//! machine would block the thread of a runtime, and all of its tasks with it, so it is asked on a thread of the pool of
//! the crate `blocking`, which needs no particular runtime.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;

use crate::limiter::rate_limiter::RateLimiter;
use crate::limiter::request::Request;
use crate::limiter::verdict::Verdict;

/// A [`Request`] that owns what it says, so that it can move to another thread. Its values may be secrets, so `Debug`
/// shows the keys alone.
///
/// ```
/// use lanekeeper::limiter::layer::OwnedRequest;
///
/// let request = OwnedRequest::new("/orders").entry("user", "a").weight(2);
/// assert_eq!(request.as_request().value("user"), Some("a"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedRequest {
    path: String,
    entries: Entries,
    descriptors: Vec<Entries>,
    weight: u32,
}

type Entries = SmallVec<[(Arc<str>, String); 4]>;

impl OwnedRequest {
    /// Returns a request for this path, without entries, of weight 1.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), entries: Entries::new(), descriptors: Vec::new(), weight: 1 }
    }

    /// Adds an entry: see [`Request::entry`].
    #[must_use]
    pub fn entry(mut self, key: impl Into<Arc<str>>, value: impl Into<String>) -> Self {
        self.entries.push((key.into(), value.into()));
        self
    }

    /// Adds a descriptor: see [`Request::descriptor`].
    #[must_use]
    pub fn descriptor<K: Into<Arc<str>>, V: Into<String>>(
        mut self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.descriptors.push(entries.collect());
        self
    }

    /// Sets how much the request counts for: see [`Request::weight`].
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Returns the request, borrowed, for [`RateLimiter::check`].
    pub fn as_request(&self) -> Request<'_> {
        let request = Request::new(&self.path).weight(self.weight);
        let request =
            self.entries.iter().fold(request, |request, (key, value)| request.entry(key, value));
        self.descriptors.iter().fold(request, |request, entries| {
            request.descriptor(entries.iter().map(|(key, value)| (&**key, value.as_str())))
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| **known == *key)
    }
}

impl fmt::Debug for OwnedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.entries.iter().map(|(key, _)| &**key).collect();
        f.debug_struct("OwnedRequest")
            .field("keys", &keys)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// Judges a request as [`check`](Self::check) does, and does not block the thread. A verdict that needs no other
    /// machine is there at once. Otherwise the storage is asked on a thread of its own.
    ///
    /// If the returned future is dropped, the request may be counted all the same.
    ///
    /// ```
    /// use lanekeeper::limiter::layer::OwnedRequest;
    /// use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let rules = Rules::from_yaml("descriptors: [{ key: user, unit: second, requests_per_unit: 5 }]")?;
    /// let limiter = RateLimiter::new(rules, MemoryStorage::new());
    /// let verdict = limiter.check_async(OwnedRequest::new("/orders").entry("user", "a")).await;
    /// assert_eq!(verdict.remaining(), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_async(&self, request: OwnedRequest) -> Check {
        let at_once = self.check_here(&request.as_request());
        Check(match at_once {
            Some(verdict) => Checking::Done(ready(verdict)),
            None => {
                let limiter = self.clone();
                Checking::OnThread(blocking::unblock(move || limiter.check(&request.as_request())))
            }
        })
    }
}

/// A verdict that may take a while: the future of [`RateLimiter::check_async`].
#[derive(Debug)]
#[must_use = "a verdict that is not awaited refuses nothing"]
pub struct Check(Checking);

#[derive(Debug)]
enum Checking {
    Done(Ready<Verdict>),
    OnThread(blocking::Task<Verdict>),
}

impl Check {
    /// Returns the verdict if it was there at once.
    pub(super) fn into_verdict(self) -> Result<Verdict, Self> {
        match self.0 {
            Checking::Done(verdict) => Ok(verdict.into_inner()),
            on_thread @ Checking::OnThread(_) => Err(Self(on_thread)),
        }
    }
}

impl Future for Check {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        match &mut self.0 {
            Checking::Done(verdict) => Pin::new(verdict).poll(cx),
            Checking::OnThread(task) => Pin::new(task).poll(cx),
        }
    }
}
