//! Where the use of each key is kept: one operation, which is atomic over all limits of a request.
//!
//! - `memory.rs` keeps it in this process.
//! - `redis/` keeps it in Redis, for several processes, and `eventual/` answers from memory and exchanges the counts with
//!   Redis (feature `redis`).

mod memory;

use std::sync::Arc;

use smallvec::SmallVec;

pub use memory::MemoryStorage;

use crate::quota::request_limit::{Reading, RequestLimit, UnixMicros};

/// Keeps what each key has used.
///
/// The one operation of a verdict is [`take`](Self::take). It reads and counts all limits of a request as one step: no
/// other request can come between. Reading first and counting later admits more than the limit when two requests read at
/// the same time.
pub trait Storage: Send + Sync + 'static {
    /// Counts a request in all of its limits, or in none if one of them refuses it. A limit in shadow mode refuses
    /// nothing, and is not counted if it would have.
    ///
    /// # Errors
    /// The storage cannot be reached, or gave no usable answer. Whether the request was counted is unknown then.
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError>;

    /// Takes several requests, each on its own, in their order. A storage that is far away needs one trip for them.
    fn take_all(&self, takes: &[Take<'_, '_>]) -> Vec<Result<Taken, StorageError>> {
        takes.iter().map(|take| self.take(take)).collect()
    }

    /// Takes back one failure in each limit that is a backoff: the attempt that was charged as a failure succeeded.
    ///
    /// # Errors
    /// The storage cannot be reached, or gave no usable answer.
    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError>;

    /// Returns whether `take` may wait for another machine. An asynchronous caller then calls it on a thread of its own.
    fn may_block(&self) -> bool;
}

impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        (**self).take(take)
    }

    fn take_all(&self, takes: &[Take<'_, '_>]) -> Vec<Result<Taken, StorageError>> {
        (**self).take_all(takes)
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        (**self).forgive(take)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        (**self).take(take)
    }

    fn take_all(&self, takes: &[Take<'_, '_>]) -> Vec<Result<Taken, StorageError>> {
        (**self).take_all(takes)
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        (**self).forgive(take)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

/// Why a storage gave no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the storage of the limiter gave no verdict: {message}")]
pub struct StorageError {
    message: Arc<str>,
}

impl StorageError {
    /// Returns an error with this explanation. It is shown to operators and written to logs, so it must have no secret.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }
}

/// What identifies the use of a limit: the rule, and the values of the request that the rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterKey<'v> {
    /// Differs between rules that count differently, and stays the same when a rule is loaded again.
    pub rule: u128,
    /// The values.
    pub values: SmallVec<[&'v str; 2]>,
}

/// One limit of a request: `'l` is the lifetime of the limit, and `'v` that of the values.
#[derive(Debug, Clone)]
pub struct Charge<'l, 'v> {
    /// Which use is counted.
    pub key: CounterKey<'v>,
    /// What is allowed.
    pub limit: &'l RequestLimit,
    /// How much the request counts for.
    pub weight: u32,
    /// Whether the limit refuses nothing.
    pub is_shadow: bool,
}

/// All limits of one request, with different keys.
#[derive(Debug, Clone)]
pub struct Take<'l, 'v> {
    charges: SmallVec<[Charge<'l, 'v>; 2]>,
    at: Option<UnixMicros>,
}

impl<'l, 'v> Take<'l, 'v> {
    /// Returns the limits of a request. Of two charges with the same key, one remains, with the weights of both.
    pub fn new(charges: impl IntoIterator<Item = Charge<'l, 'v>>) -> Self {
        let mut distinct = SmallVec::<[Charge<'l, 'v>; 2]>::new();
        for charge in charges {
            match distinct.iter_mut().find(|known| known.key == charge.key) {
                Some(known) => known.weight = known.weight.saturating_add(charge.weight),
                None => distinct.push(charge),
            }
        }
        Self { charges: distinct, at: None }
    }

    /// Judges the request at this moment, instead of at the time of the storage: for recorded traffic and tests. The
    /// moments of the requests of one storage must not decrease.
    #[must_use]
    pub fn at(mut self, moment: UnixMicros) -> Self {
        self.at = Some(moment);
        self
    }

    /// Returns the limits.
    pub fn charges(&self) -> &[Charge<'l, 'v>] {
        &self.charges
    }

    /// Returns the moment of the request, unless it is that of the storage.
    pub fn moment(&self) -> Option<UnixMicros> {
        self.at
    }
}

/// What a storage says of a request.
#[derive(Debug, Clone)]
pub struct Taken {
    /// When the request was judged, by the clock of the storage.
    pub at: UnixMicros,
    /// What each limit says, in the order of the charges. If the request was counted, it is part of what they say.
    pub readings: SmallVec<[Reading; 2]>,
}
