//! The use of each key in the memory of this process.
//!
//! # Bounded
//!
//! Keys come from callers, so their number has a bound. A key is forgotten only when its state is that of a key that
//! was never used: to forget a live one would open its limit again. If there is no room for a new key, it shares one
//! *overflow* state with all other new keys of its rule. So a flood of keys makes the limiter stricter for new keys, and
//! never looser for any. A key that gets room of its own later begins with what the overflow has used, because some of
//! that may be its own.
//!
//! This is why it is no cache: a cache such as moka evicts by recency or frequency, which are what an attacker
//! controls, and its entries take more than the 120 bytes that a key may have here.
//!
//! # Keys are hashes
//!
//! A key is kept as 128 bits of SipHash-1-3 with a random key. Callers cannot make two keys collide, a long value takes
//! no more memory than a short one, and values, which may be secrets, are not kept.
//!
//! # Atomic over several limits
//!
//! The keys are spread over shards, each with its lock. A request locks the shards of all its keys, in the order of
//! their numbers, then the one of the overflow if a key has no room, then reads all limits, and then counts in all of them
//! or in none.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::{SmallVec, smallvec};

use super::unix_clock::UnixClock;
use super::{Charge, CounterKey, Storage, StorageError, Take, Taken};
use crate::clock::Clock;
use crate::quota::request_limit::{LimitState, Reading, RequestLimit, UnixMicros};

/// How many locks the keys are spread over.
const SHARDS: usize = 64;

/// A shard looks for keys to forget at most this often, in microseconds, because it looks at all of its keys then.
const SWEEP_INTERVAL: u64 = 100_000;

/// A clock that is behind the last verdict by no more than this, in microseconds, is another thread that was slower
/// between reading the clock and taking the lock. Beyond, the clock was set back.
const MAX_SKEW: u64 = 1_000_000;

/// Keeps what each key has used in the memory of this process. Bounded: see [`max_keys`](Self::max_keys).
///
/// ```
/// use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};
///
/// let rules = Rules::from_yaml(
///     "rules: [{ descriptors: [{ key: user, unit: second, requests_per_unit: 5 }] }]",
/// )?;
/// let limiter = RateLimiter::new(rules, MemoryStorage::new().max_keys(100_000));
/// assert!(limiter.check(&Request::new("/orders").entry("user", "a")).is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryStorage {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    max_keys_of_shard: usize,
    hash_keys: (u64, u64),
    clock: UnixClock,
    /// What the keys without room have used, by rule. Locked after the shards.
    overflow: Mutex<Counters>,
}

type Counters = HashMap<u128, Counter, BuildHasherDefault<KeyHash>>;

#[derive(Default)]
struct Shard {
    keys: Counters,
    /// The latest moment of a verdict.
    latest: UnixMicros,
    /// When it is worth while to look for keys to forget: when the first one can be forgotten, and not before
    /// `swept_at + SWEEP_INTERVAL`.
    next_sweep: UnixMicros,
    swept_at: UnixMicros,
    /// When all that keys of this shard have used of the overflow can be forgotten. Until then, a new key may be one of
    /// them.
    overflow_until: UnixMicros,
}

/// The use of one key. With its key it takes 48 bytes, and a table that has just grown has room for as many again.
#[derive(Debug, Clone, Default)]
struct Counter {
    state: LimitState,
    /// From when on it can be forgotten.
    fresh_at: UnixMicros,
}

/// Where the use of a charge is found, or will be.
#[derive(Debug)]
enum Place {
    Key,
    /// A key that is not there yet, with the state that it begins with.
    NewKey(Counter),
    Overflow,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl MemoryStorage {
    /// Returns a storage on the machine's clock, for at most 1,000,000 keys.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Returns a storage on another clock, for at most 1,000,000 keys.
    pub fn with_clock(clock: impl Into<Clock>) -> Self {
        // Two hashes of nothing, by hashers with random keys.
        let random = || RandomState::new().hash_one(());
        let shards = (0..SHARDS).map(|_| CachePadded::default()).collect();
        let clock = UnixClock::new(clock.into());
        Self {
            shards,
            max_keys_of_shard: 0,
            hash_keys: (random(), random()),
            clock,
            overflow: Mutex::default(),
        }
        .max_keys(1_000_000)
    }

    /// Keeps at most this many keys, rounded up to a multiple of the 64 shards that they are spread over. Beyond, the new
    /// keys of a rule share one overflow state. A key takes at most 120 bytes, and one of a sliding window log 16 to 32
    /// bytes more for each request.
    #[must_use]
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys_of_shard = max_keys.div_ceil(SHARDS).max(1);
        self
    }

    /// Returns how many keys are kept now, live ones and those that will be forgotten.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().keys.len()).sum()
    }

    /// Returns whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Both halves of the rule.
    fn hash(&self, key: &CounterKey<'_>) -> u128 {
        // The rule is a hash that callers do not choose, so it can be a part of the secret key.
        let (low, high) = (key.rule as u64, (key.rule >> 64) as u64);
        let mut hasher =
            SipHasher13::new_with_keys(self.hash_keys.0 ^ low, self.hash_keys.1 ^ high);
        // The length of the last one is a part of every hash.
        let mut values = key.values.iter();
        while let Some(value) = values.next() {
            if values.len() > 0 {
                hasher.write_usize(value.len());
            }
            hasher.write(value.as_bytes());
        }
        hasher.finish128().as_u128()
    }

    /// The upper half of a hash, since a table uses the lower one.
    fn shard_of(hash: u128) -> usize {
        (hash >> 64) as usize % SHARDS
    }

    /// The common case: one limit, and so one lock.
    #[inline]
    fn judge_one(&self, charge: &Charge<'_, '_>, at: Option<UnixMicros>) -> (UnixMicros, Reading) {
        let hash = self.hash(&charge.key);
        let now = at.unwrap_or_else(|| self.clock.now());
        let mut shard = self.shards[Self::shard_of(hash)].lock();
        let now = if at.is_some() { now } else { shard.monotonic(now, &self.clock) };
        let Charge { limit, weight, .. } = *charge;
        if let Some(counter) = shard.keys.get_mut(&hash) {
            let reading = counter.take(limit, weight, now);
            return (now, reading);
        }
        let mut overflow = self.overflow();
        let mut place = self.place(&mut shard, &mut overflow, hash, charge.key.rule, now);
        let counter = counter_at(&mut shard, &mut overflow, &mut place, hash, charge.key.rule);
        let reading = counter.take(limit, weight, now);
        if reading.is_admitted() {
            Self::keep(&mut shard, &mut overflow, place, hash, charge.key.rule);
        }
        (now, reading)
    }

    fn take_several(&self, charges: &[Charge<'_, '_>], at: Option<UnixMicros>) -> Taken {
        let hashes: SmallVec<[u128; 4]> = charges.iter().map(|it| self.hash(&it.key)).collect();
        let mut shards = self.lock(&hashes);
        let mut now = at.unwrap_or_else(|| self.clock.now());
        if at.is_none() {
            // The latest of all of them, so that time does not go back in any.
            for (_, shard) in &mut shards {
                now = shard.monotonic(now, &self.clock);
            }
        }
        let mut overflow = self.overflow();
        let mut readings = SmallVec::new();
        let mut places = SmallVec::<[Place; 4]>::new();
        for (charge, &hash) in charges.iter().zip(&hashes) {
            let (rule, shard) = (charge.key.rule, find(&mut shards, hash));
            let mut place = self.place(shard, &mut overflow, hash, rule, now);
            // Two new keys of one rule may share its overflow.
            let shared = charges.iter().zip(&places).filter(|(other, of)| {
                matches!((&place, of), (Place::Overflow, Place::Overflow)) && other.key.rule == rule
            });
            let shared = shared.map(|(other, _)| other.weight).fold(0, u32::saturating_add);
            let weight = charge.weight.saturating_add(shared);
            let counter = counter_at(shard, &mut overflow, &mut place, hash, rule);
            readings.push(counter.read(charge.limit, weight, now));
            places.push(place);
        }
        let refuses = |(charge, reading): (&Charge<'_, '_>, &Reading)| {
            !charge.is_shadow && !reading.is_admitted()
        };
        if charges.iter().zip(&readings).any(refuses) {
            return Taken { at: now, readings };
        }
        for ((charge, &hash), (reading, mut place)) in
            charges.iter().zip(&hashes).zip(readings.iter_mut().zip(places))
        {
            if reading.is_admitted() {
                let (rule, shard) = (charge.key.rule, find(&mut shards, hash));
                let counter = counter_at(shard, &mut overflow, &mut place, hash, rule);
                *reading = counter.charge(charge.limit, charge.weight, *reading, now);
                Self::keep(shard, &mut overflow, place, hash, rule);
            }
        }
        Taken { at: now, readings }
    }

    fn overflow(&self) -> Overflow<'_> {
        Overflow { of: self, locked: None }
    }

    /// Returns where the use of a key is.
    fn place(
        &self,
        shard: &mut Shard,
        overflow: &mut Overflow<'_>,
        hash: u128,
        rule: u128,
        now: UnixMicros,
    ) -> Place {
        if shard.keys.contains_key(&hash) {
            return Place::Key;
        }
        // Before the table grows, and when it may not grow.
        let room = shard.keys.capacity().min(self.max_keys_of_shard);
        if shard.keys.len() >= room && now >= shard.next_sweep {
            shard.sweep(now);
        }
        if shard.keys.len() >= self.max_keys_of_shard {
            return Place::Overflow;
        }
        if shard.overflow_until <= now {
            return Place::NewKey(Counter::default());
        }
        let begin = overflow.locked().get(&rule).filter(|counter| counter.fresh_at > now);
        Place::NewKey(begin.cloned().unwrap_or_default())
    }

    /// Keeps a use that was counted.
    fn keep(shard: &mut Shard, overflow: &mut Overflow<'_>, place: Place, hash: u128, rule: u128) {
        match place {
            Place::Key => {}
            Place::NewKey(counter) => {
                shard.next_sweep = shard.next_sweep.min(shard.sweep_for(counter.fresh_at));
                shard.keys.insert(hash, counter);
            }
            Place::Overflow => {
                let fresh_at = overflow.locked().get(&rule).map(|counter| counter.fresh_at);
                shard.overflow_until = shard.overflow_until.max(fresh_at.unwrap_or_default());
            }
        }
    }

    /// Locks the shards of these keys, in the order of their numbers.
    fn lock(&self, hashes: &[u128]) -> Locked<'_> {
        let mut numbers: SmallVec<[usize; 4]> =
            hashes.iter().map(|&hash| Self::shard_of(hash)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect()
    }
}

type Locked<'a> = SmallVec<[(usize, MutexGuard<'a, Shard>); 4]>;

/// The overflow, locked when it is needed, and then until the verdict is there.
struct Overflow<'a> {
    of: &'a MemoryStorage,
    locked: Option<MutexGuard<'a, Counters>>,
}

impl<'a> Overflow<'a> {
    fn locked(&mut self) -> &mut Counters {
        self.locked.get_or_insert_with(|| self.of.overflow.lock())
    }
}

/// Returns the use at a place.
fn counter_at<'a>(
    shard: &'a mut Shard,
    overflow: &'a mut Overflow<'_>,
    place: &'a mut Place,
    hash: u128,
    rule: u128,
) -> &'a mut Counter {
    match place {
        Place::NewKey(counter) => counter,
        Place::Overflow => overflow.locked().entry(rule).or_default(),
        // It is there, so it is not added.
        Place::Key => shard.keys.entry(hash).or_default(),
    }
}

/// Returns the shard of a key, which is locked.
fn find<'a>(shards: &'a mut Locked<'_>, hash: u128) -> &'a mut Shard {
    let number = MemoryStorage::shard_of(hash);
    let at = shards.iter().position(|(of, _)| *of == number).unwrap_or_default();
    &mut shards[at].1
}

impl Storage for MemoryStorage {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        Ok(match take.charges() {
            [charge] => {
                let (at, reading) = self.judge_one(charge, take.moment());
                Taken { at, readings: smallvec![reading] }
            }
            charges => self.take_several(charges, take.moment()),
        })
    }

    fn take_one(
        &self,
        charge: &Charge<'_, '_>,
        at: Option<UnixMicros>,
    ) -> Result<(UnixMicros, Reading), StorageError> {
        Ok(self.judge_one(charge, at))
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        for charge in take.charges() {
            let hash = self.hash(&charge.key);
            let mut shard = self.shards[Self::shard_of(hash)].lock();
            let here = || shard.monotonic(self.clock.now(), &self.clock);
            let now = take.moment().unwrap_or_else(here);
            let mut overflow = self.overflow();
            let counter = match shard.keys.get_mut(&hash) {
                Some(counter) => Some(counter),
                None => overflow.locked().get_mut(&charge.key.rule),
            };
            if let Some(counter) = counter {
                charge.limit.forgive(&mut counter.state, now);
                counter.fresh_at = charge.limit.fresh_at(&counter.state);
            }
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl Counter {
    #[inline]
    fn read(&mut self, limit: &RequestLimit, weight: u32, now: UnixMicros) -> Reading {
        limit.read(&mut self.state, weight, now)
    }

    /// Counts a request that `reading` admits. Returns what the limit says then.
    fn charge(
        &mut self,
        limit: &RequestLimit,
        weight: u32,
        reading: Reading,
        now: UnixMicros,
    ) -> Reading {
        limit.charge(&mut self.state, weight, now);
        self.fresh_at = limit.fresh_at(&self.state);
        reading.after_charge(weight, self.fresh_at)
    }

    #[inline]
    fn take(&mut self, limit: &RequestLimit, weight: u32, now: UnixMicros) -> Reading {
        let reading = self.read(limit, weight, now);
        match reading.is_admitted() {
            true => self.charge(limit, weight, reading, now),
            false => reading,
        }
    }
}

impl Shard {
    /// Returns the moment of a verdict: threads read the clock before they take the lock, and so in another order.
    #[inline]
    fn monotonic(&mut self, mut now: UnixMicros, clock: &UnixClock) -> UnixMicros {
        if now < self.latest {
            if self.latest.get() - now.get() > MAX_SKEW {
                // A thread may be stopped for any time between the two. The clock says whether that was it.
                now = clock.now();
            }
            if self.latest.get().saturating_sub(now.get()) <= MAX_SKEW {
                self.latest = self.latest.max(now);
                return self.latest;
            }
            (self.next_sweep, self.swept_at) = (now, UnixMicros::default());
        }
        self.latest = now;
        now
    }

    /// Forgets the keys whose state is that of an unused one.
    fn sweep(&mut self, now: UnixMicros) {
        let mut first = UnixMicros::new(u64::MAX);
        self.keys.retain(|_, counter| {
            let is_live = counter.fresh_at > now;
            if is_live {
                first = first.min(counter.fresh_at);
            }
            is_live
        });
        self.swept_at = now;
        // With no key left, the next one may be one of a request that is judged now.
        let first = if self.keys.is_empty() { now } else { first };
        self.next_sweep = self.sweep_for(first);
    }

    /// Returns when to look for keys if one of them can be forgotten at `fresh_at`.
    fn sweep_for(&self, fresh_at: UnixMicros) -> UnixMicros {
        fresh_at.max(UnixMicros::new(self.swept_at.get().saturating_add(SWEEP_INTERVAL)))
    }
}

/// The hash of a key that is a hash already.
#[derive(Default)]
struct KeyHash(u64);

impl Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used: the keys are `u128`.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation)] // The lower half is as random as all of it.
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[cfg(test)]
mod tests;
