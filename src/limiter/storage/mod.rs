//! Where the use of each key is kept: one operation, which is atomic over all limits of a request.
//!
//! - `memory.rs` keeps it in this process.
//! - `redis/` keeps it in Redis, for several processes, and `eventual/` answers from memory and exchanges the counts with
//!   Redis (feature `redis`).

#[cfg(feature = "redis")]
mod eventual;
mod guarded;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod unix_clock;

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

#[cfg(feature = "redis")]
pub use eventual::{EventualStatus, EventualStorage};
pub(super) use guarded::GuardedStorage;
pub use memory::MemoryStorage;
#[cfg(feature = "redis")]
pub use redis::RedisStorage;

use crate::quota::request_limit::{Reading, RequestLimit, UnixMicros};

/// Keeps what each key has used.
///
/// The one operation of a verdict is [`take`](Self::take). It reads and counts all limits of a request as one step: no
/// other request can come between. Reading first and counting later admits more than the limit when two requests read at
/// the same time.
///
/// A storage of your own keeps a [`LimitState`](crate::quota::request_limit::LimitState) for each key, and lets the limit
/// read and charge it. A panic of a storage counts as an error.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use lanekeeper::limiter::storage::{Storage, Take, Taken};
/// use lanekeeper::limiter::{RateLimiter, Request, Rules, StorageError};
/// use lanekeeper::quota::request_limit::{LimitState, UnixMicros};
/// use lanekeeper::jiff::Timestamp;
///
/// /// Keeps every key for ever.
/// #[derive(Default)]
/// struct Simple(Mutex<HashMap<(u128, Vec<String>), LimitState>>);
///
/// impl Storage for Simple {
///     fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
///         let poisoned = |_| StorageError::new("a thread panicked");
///         let mut states = self.0.lock().map_err(poisoned)?;
///         let at = take.moment().unwrap_or_else(|| UnixMicros::from(Timestamp::now()));
///         let mut readings = Vec::new();
///         for charge in take.charges() {
///             let values = charge.key.values.iter().map(str::to_owned).collect();
///             let state = states.entry((charge.key.rule, values)).or_default();
///             readings.push(charge.limit.read(state, charge.weight, at));
///         }
///         let mut both = take.charges().iter().zip(&readings);
///         if both.all(|(charge, reading)| charge.is_shadow || reading.is_admitted()) {
///             for (charge, reading) in take.charges().iter().zip(&mut readings) {
///                 if !reading.is_admitted() {
///                     continue;
///                 }
///                 let values = charge.key.values.iter().map(str::to_owned).collect();
///                 let state = states.entry((charge.key.rule, values)).or_default();
///                 charge.limit.charge(state, charge.weight, at);
///                 *reading = reading.after_charge(charge.weight, charge.limit.fresh_at(state));
///             }
///         }
///         Ok(Taken { at, readings: readings.into() })
///     }
///
///     fn forgive(&self, _: &Take<'_, '_>) -> Result<(), StorageError> {
///         Err(StorageError::new("it has no backoffs"))
///     }
///
///     fn may_block(&self) -> bool {
///         false
///     }
/// }
///
/// let rules = Rules::from_yaml("descriptors: [{ key: user, unit: hour, requests_per_unit: 1 }]")?;
/// let limiter = RateLimiter::new(rules, Simple::default());
/// let request = Request::new("/").entry("user", "a");
/// assert!(limiter.check(&request).is_allowed() && !limiter.check(&request).is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Storage: Send + Sync + 'static {
    /// Counts a request in all of its limits, or in none if one of them refuses it. A limit in shadow mode refuses
    /// nothing, and is not counted if it would have.
    ///
    /// # Errors
    /// The storage cannot be reached, or gave no usable answer. Whether the request was counted is unknown then.
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError>;

    /// Counts a request that has one limit, which is the common case: the same as [`take`](Self::take) with one charge.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    fn take_one(
        &self,
        charge: &Charge<'_, '_>,
        at: Option<UnixMicros>,
    ) -> Result<(UnixMicros, Reading), StorageError> {
        let taken = self.take(&Take::one(*charge, at))?;
        let reading = taken.readings.first().copied();
        reading
            .map(|reading| (taken.at, reading))
            .ok_or_else(|| StorageError::new("it gave fewer verdicts than it was asked for"))
    }

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

    /// Counts a request as [`take`](Self::take) does, if that needs no other machine. `None` if it does; then nothing is
    /// counted.
    fn take_here(&self, take: &Take<'_, '_>) -> Option<Result<Taken, StorageError>> {
        (!self.may_block()).then(|| self.take(take))
    }
}

/// A pointer to a storage is one. Every method goes to the storage itself, which may do better than the default.
macro_rules! forward_storage {
    ($pointer:ident) => {
        impl<S: Storage + ?Sized> Storage for $pointer<S> {
            fn take_one(
                &self,
                charge: &Charge<'_, '_>,
                at: Option<UnixMicros>,
            ) -> Result<(UnixMicros, Reading), StorageError> {
                (**self).take_one(charge, at)
            }

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

            fn take_here(&self, take: &Take<'_, '_>) -> Option<Result<Taken, StorageError>> {
                (**self).take_here(take)
            }
        }
    };
}

forward_storage!(Arc);
forward_storage!(Box);

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterKey<'v> {
    /// Differs between rules that count differently, and stays the same when a rule is loaded again.
    pub rule: u128,
    /// The values.
    pub values: Values<'v>,
}

/// The values that a rule tells apart: some of the entries of a request, at most [`Values::MAX`]. It refers to them by
/// their places, since a verdict takes less time than to copy a list of texts.
#[derive(Clone, Copy)]
pub struct Values<'v> {
    entries: &'v [(&'v str, &'v str)],
    picks: Picks,
}

/// The places of entries in a list: one byte for each, which is its place and 1, the first one highest. One number, so
/// that it is copied in a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Picks(u64);

impl Picks {
    /// Adds a place. A rule has no more than there is room for, and no request as many entries as a byte can count; what
    /// is beyond is left out, which tells fewer keys apart, and so makes a limit stricter.
    #[inline]
    pub(super) fn push(&mut self, place: usize) {
        if self.len() < Values::MAX && place < 255 {
            self.0 = (self.0 << 8) | (place as u64 + 1);
        }
    }

    #[inline]
    fn len(self) -> usize {
        (64 - self.0.leading_zeros()).div_ceil(8) as usize
    }
}

impl<'v> Values<'v> {
    /// The most values. A rule with more is refused.
    pub const MAX: usize = 8;

    /// Returns the values of these entries, of which each is a key and a value.
    pub fn new(entries: &'v [(&'v str, &'v str)]) -> Self {
        let mut picks = Picks::default();
        for place in 0..entries.len() {
            picks.push(place);
        }
        Self { entries, picks }
    }

    #[inline]
    pub(super) fn of(entries: &'v [(&'v str, &'v str)], picks: Picks) -> Self {
        Self { entries, picks }
    }

    /// Returns the values.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'v str> + use<'v> {
        let Self { entries, picks } = *self;
        let len = picks.len();
        (0..len).map(move |index| {
            let place = (picks.0 >> (8 * (len - 1 - index))) & 0xff;
            entries.get(place as usize - 1).map_or("", |(_, value)| *value)
        })
    }
}

impl PartialEq for Values<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Values<'_> {}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the values: they may be secrets.
        f.debug_struct("Values").field("len", &self.picks.len()).finish_non_exhaustive()
    }
}

/// One limit of a request: `'l` is the lifetime of the limit, and `'v` that of the values.
#[derive(Debug, Clone, Copy)]
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

    /// Returns one limit of a request.
    pub(super) fn one(charge: Charge<'l, 'v>, at: Option<UnixMicros>) -> Self {
        let mut charges = SmallVec::new();
        charges.push(charge);
        Self { charges, at }
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

impl Taken {
    /// Returns what is said of a request without limits, for which no storage is asked.
    pub(super) fn nothing() -> Self {
        Self { at: UnixMicros::default(), readings: SmallVec::new() }
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
