//! Answers that are kept: of routes with a time to live, for all clients of an account.
//!
//! moka keeps them, bounds their memory, and lets all that wait for one answer share its fetch. A fetch belongs to the
//! request that began it. If that client hangs up, another one that waits takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use moka::Expiry;
use moka::future::Cache;
use parking_lot::Mutex;
use serde::Serialize;

use crate::call::Failed;
use crate::judge::Answered;
use crate::upstream::AnswerBody;

/// An answer that is kept.
pub(crate) struct Kept {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    ttl: Duration,
    since: Instant,
}

impl Kept {
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

/// What a lookup had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was there.
    Hit,
    /// This request fetched it.
    Miss,
    /// Another request fetched it meanwhile.
    Joined,
}

/// Why an answer is not kept.
pub(crate) enum NotKept {
    /// It is large, or no success. Its own request takes it.
    Answer(Box<Answered>),
    /// There is none.
    Failed(Failed),
}

/// Counters, for the status.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct KeptStats {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) joined: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The kept answers of an account.
pub(crate) struct KeptAnswers {
    cache: Cache<String, Arc<Kept>>,
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
}

struct OwnTtl;

impl Expiry<String, Arc<Kept>> for OwnTtl {
    fn expire_after_create(&self, _: &String, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }
}

/// What an entry takes beside its body: the key, the headers, and moka's own.
const ENTRY_OVERHEAD: usize = 1024;

impl KeptAnswers {
    /// Keeps answers of up to `capacity` bytes together.
    pub(crate) fn new(capacity: u64) -> Self {
        let weigher = |key: &String, kept: &Arc<Kept>| {
            u32::try_from(key.len() + kept.body.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(capacity).weigher(weigher).expire_after(OwnTtl);
        let zero = AtomicU64::default;
        Self { cache: cache.build(), hits: zero(), misses: zero(), joined: zero() }
    }

    /// Returns the answer of `key`, if it is kept and younger than `max_age`.
    pub(crate) async fn get(&self, key: &str, max_age: Option<Duration>) -> Option<Arc<Kept>> {
        let kept = self.cache.get(key).await?;
        if max_age.is_some_and(|max_age| kept.age() >= max_age) {
            // So that the next lookup fetches it, for whoever asks.
            self.cache.invalidate(key).await;
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(kept)
    }

    /// Fetches the answer of `key`, or waits for a fetch that is under way, and keeps it for `ttl`.
    pub(crate) async fn fetch(
        &self,
        key: String,
        ttl: Duration,
        fetch: impl Future<Output = Result<Answered, Failed>>,
    ) -> (Result<Arc<Kept>, Option<NotKept>>, Origin) {
        let own = Mutex::new(None);
        let is_own = AtomicU64::new(0);
        let init = async {
            is_own.store(1, Ordering::Relaxed);
            let since = Instant::now();
            match fetch.await.map_err(NotKept::Failed).and_then(keepable) {
                Ok((status, headers, body)) => {
                    Ok(Arc::new(Kept { status, headers, body, ttl, since }))
                }
                Err(not_kept) => {
                    *own.lock() = Some(not_kept);
                    Err(())
                }
            }
        };
        let result = self.cache.try_get_with(key, init).await;
        let origin =
            if is_own.load(Ordering::Relaxed) == 1 { Origin::Miss } else { Origin::Joined };
        let counter = if origin == Origin::Miss { &self.misses } else { &self.joined };
        counter.fetch_add(1, Ordering::Relaxed);
        (result.map_err(|_| own.into_inner()), origin)
    }

    /// Brings the counts of entries and bytes up to date, which moka does only as it is used.
    pub(crate) async fn tidy(&self) {
        self.cache.run_pending_tasks().await;
    }

    pub(crate) fn stats(&self) -> KeptStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeptStats {
            hits: of(&self.hits),
            misses: of(&self.misses),
            joined: of(&self.joined),
            entries: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
        }
    }
}

/// Takes an answer apart if it is a success that is here as a whole.
fn keepable(answered: Answered) -> Result<(StatusCode, HeaderMap, Bytes), NotKept> {
    match &answered.answer.body {
        AnswerBody::Whole(body) if answered.answer.status == StatusCode::OK => {
            let body = body.clone();
            Ok((answered.answer.status, answered.answer.headers, body))
        }
        _ => Err(NotKept::Answer(Box::new(answered))),
    }
}
