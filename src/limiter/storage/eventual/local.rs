//! What one process knows of each key, and has admitted since the last exchange.

use std::collections::HashMap;
use std::time::Duration;

use super::Readings;
use crate::limiter::storage::{Charge, Take, Taken};
use crate::quota::request_limit::{Algorithm, LimitState, RequestLimit, UnixMicros};

/// The keys are looked through for those to forget, at most this often.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// A time that is behind the last verdict by no more than this comes of the estimate of Redis's clock, which each exchange
/// corrects. Beyond, the clock was set back.
const MAX_SKEW: Duration = Duration::from_secs(1);

pub(super) struct Local {
    /// By the name of the key in Redis.
    counters: HashMap<String, Counter>,
    /// The keys that have counts which Redis does not know of.
    unexchanged: Vec<String>,
    sync: Duration,
    max_keys: usize,
    forgot_at: UnixMicros,
    /// The latest moment of a verdict.
    latest: UnixMicros,
}

struct Counter {
    limit: RequestLimit,
    /// The counts of all as of the last exchange, with what was admitted here since.
    state: LimitState,
    fresh_at: UnixMicros,
    /// What was admitted since the last exchange, by stamp: for each window its end, at most two, the older one first;
    /// for a token bucket the moment of the first request, because the bucket has been filled since then.
    pending: Vec<(u64, u32)>,
    /// Whether it is among the keys that are to be exchanged.
    is_listed: bool,
}

/// What is added to a count in Redis.
#[derive(Debug, Clone)]
pub(in crate::limiter::storage) struct Addition {
    pub(in crate::limiter::storage) key: String,
    pub(in crate::limiter::storage) limit: RequestLimit,
    /// The end of the window in which it was admitted, or the moment of the first request of a token bucket.
    pub(in crate::limiter::storage) stamp: u64,
    pub(in crate::limiter::storage) weight: u32,
}

/// Where a request is judged.
pub(super) enum Decision {
    Here(Taken),
    AskRedis,
}

/// Returns whether a limit can be kept by counts that are exchanged.
fn can_be_exchanged(limit: &RequestLimit) -> bool {
    matches!(
        limit.algorithm(),
        Algorithm::TokenBucket | Algorithm::FixedWindow | Algorithm::SlidingWindowCounter
    )
}

impl Local {
    pub(super) fn new(sync: Duration) -> Self {
        Self {
            counters: HashMap::new(),
            unexchanged: Vec::new(),
            sync,
            max_keys: 1_000_000,
            forgot_at: UnixMicros::default(),
            latest: UnixMicros::default(),
        }
    }

    pub(super) fn set_max_keys(&mut self, max_keys: usize) {
        self.max_keys = max_keys;
    }

    pub(super) fn unexchanged(&self) -> usize {
        self.unexchanged.len()
    }

    /// Returns the moment of a verdict, which does not go back unless the clock was set back.
    fn monotonic(&mut self, now: UnixMicros) -> UnixMicros {
        if self.latest.since(now) > MAX_SKEW {
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Judges a request if that can be done here: it is over a limit by what is known, or within the credit of all.
    pub(super) fn take(
        &mut self,
        names: &[String],
        take: &Take<'_, '_>,
        now: UnixMicros,
    ) -> Decision {
        if !take.charges().iter().all(|charge| can_be_exchanged(charge.limit)) {
            return Decision::AskRedis;
        }
        let now = self.monotonic(now);
        let Some((readings, refused)) = self.read(names, take, now) else {
            return Decision::AskRedis;
        };
        if refused {
            return Decision::Here(Taken { at: now, readings });
        }
        let within = take.charges().iter().zip(names).all(|(charge, name)| {
            let pending = self.counters.get(name).map_or(0, Counter::pending_weight);
            u64::from(pending) + u64::from(charge.weight) <= self.credit(charge.limit)
        });
        match within {
            true => {
                let readings = self.count(names, take, readings, now);
                Decision::Here(Taken { at: now, readings })
            }
            false => Decision::AskRedis,
        }
    }

    /// Judges a request without Redis and without the credit. `None` if a limit cannot be kept so.
    pub(super) fn take_alone(
        &mut self,
        names: &[String],
        take: &Take<'_, '_>,
        now: UnixMicros,
    ) -> Option<Taken> {
        if !take.charges().iter().all(|charge| can_be_exchanged(charge.limit)) {
            return None;
        }
        let now = self.monotonic(now);
        let (readings, refused) = self.read(names, take, now)?;
        let readings = if refused { readings } else { self.count(names, take, readings, now) };
        Some(Taken { at: now, readings })
    }

    /// Returns what each limit says, and whether one refuses. `None` if there is no room for a key.
    fn read(
        &mut self,
        names: &[String],
        take: &Take<'_, '_>,
        now: UnixMicros,
    ) -> Option<(Readings, bool)> {
        let mut readings = Readings::new();
        let mut refused = false;
        for (charge, name) in take.charges().iter().zip(names) {
            if self.counters.len() >= self.max_keys && !self.counters.contains_key(name) {
                return None;
            }
            let mut unused = LimitState::default();
            let state = self.counters.get_mut(name).map_or(&mut unused, |it| &mut it.state);
            let reading = charge.limit.with_debt().read(state, charge.weight, now);
            refused |= !charge.is_shadow && !reading.is_admitted();
            readings.push(reading);
        }
        Some((readings, refused))
    }

    /// Counts a request in the limits that admit it.
    fn count(
        &mut self,
        names: &[String],
        take: &Take<'_, '_>,
        mut readings: Readings,
        now: UnixMicros,
    ) -> Readings {
        let charges = take.charges().iter().zip(names).zip(readings.iter_mut());
        for ((charge, name), reading) in charges.filter(|(_, reading)| reading.is_admitted()) {
            let counter = self.counters.entry(name.clone()).or_insert_with(|| Counter::new(charge));
            counter.limit = charge.limit.with_debt();
            if !counter.is_listed && charge.weight > 0 {
                counter.is_listed = true;
                self.unexchanged.push(name.clone());
            }
            counter.limit.charge(&mut counter.state, charge.weight, now);
            counter.fresh_at = charge.limit.fresh_at(&counter.state);
            *reading = reading.after_charge(charge.weight, counter.fresh_at);
            if charge.weight > 0 {
                counter.add_pending(charge.weight, now);
            }
        }
        readings
    }

    /// How much of a limit a process may admit between two exchanges.
    fn credit(&self, limit: &RequestLimit) -> u64 {
        let product = u128::from(limit.requests()) * self.sync.as_micros();
        u64::try_from(product / limit.period().as_micros().max(1)).unwrap_or(u64::MAX)
    }

    /// Takes what Redis does not know of up to this many keys.
    pub(super) fn additions(&mut self, keys: usize) -> Vec<Addition> {
        let from = self.unexchanged.len().saturating_sub(keys);
        let names = self.unexchanged.split_off(from);
        for name in &names {
            if let Some(counter) = self.counters.get_mut(name) {
                counter.is_listed = false;
            }
        }
        names.iter().flat_map(|name| self.additions_to(name)).collect()
    }

    /// Takes what Redis does not know of the keys of a request.
    pub(super) fn additions_of(&mut self, names: &[String]) -> Vec<Addition> {
        names.iter().flat_map(|name| self.additions_to(name)).collect()
    }

    fn additions_to(&mut self, name: &str) -> Vec<Addition> {
        let Some(counter) = self.counters.get_mut(name) else { return Vec::new() };
        let limit = counter.limit;
        let pending = std::mem::take(&mut counter.pending).into_iter();
        pending
            .map(|(stamp, weight)| Addition { key: name.to_owned(), limit, stamp, weight })
            .collect()
    }

    /// Takes over the counts of all, after these additions. What was admitted here since is not among them.
    pub(super) fn adopt(
        &mut self,
        additions: &[Addition],
        states: &[Option<LimitState>],
        now: UnixMicros,
    ) {
        for (addition, state) in additions.iter().zip(states) {
            if let (Some(counter), Some(state)) = (self.counters.get_mut(&addition.key), state) {
                counter.adopt(state.clone(), now);
            }
        }
    }

    /// Takes over the counts of all after a verdict of Redis.
    pub(super) fn learn(
        &mut self,
        names: &[String],
        take: &Take<'_, '_>,
        states: &[LimitState],
        now: UnixMicros,
    ) {
        for ((charge, name), state) in take.charges().iter().zip(names).zip(states) {
            let has_room = self.counters.len() < self.max_keys || self.counters.contains_key(name);
            if can_be_exchanged(charge.limit) && has_room {
                let counter =
                    self.counters.entry(name.clone()).or_insert_with(|| Counter::new(charge));
                counter.limit = charge.limit.with_debt();
                counter.adopt(state.clone(), now);
            }
        }
    }

    /// Forgets the keys whose counts are those of an unused one.
    pub(super) fn forget(&mut self, now: UnixMicros) {
        if now.since(self.forgot_at) >= FORGET_INTERVAL {
            self.forgot_at = now;
            self.counters
                .retain(|_, it| it.fresh_at > now || !it.pending.is_empty() || it.is_listed);
        }
    }
}

impl Counter {
    fn new(charge: &Charge<'_, '_>) -> Self {
        Self {
            limit: charge.limit.with_debt(),
            state: LimitState::default(),
            fresh_at: UnixMicros::default(),
            pending: Vec::new(),
            is_listed: false,
        }
    }

    fn pending_weight(&self) -> u32 {
        self.pending.iter().map(|(_, weight)| *weight).fold(0, u32::saturating_add)
    }

    fn add_pending(&mut self, weight: u32, now: UnixMicros) {
        let is_bucket = self.limit.algorithm() == Algorithm::TokenBucket;
        let stamp = if is_bucket { now.get() } else { self.limit.window_end(now) };
        match self.pending.last_mut() {
            Some((of, sum)) if is_bucket || *of == stamp => *sum = sum.saturating_add(weight),
            _ => self.pending.push((stamp, weight)),
        }
    }

    fn adopt(&mut self, state: LimitState, now: UnixMicros) {
        self.state = state;
        for &(stamp, weight) in &self.pending {
            if self.limit.algorithm() == Algorithm::TokenBucket {
                self.limit.charge(&mut self.state, weight, UnixMicros::new(stamp));
            } else if stamp == self.limit.window_end(now) {
                self.limit.charge(&mut self.state, weight, now);
            }
        }
        self.fresh_at = self.limit.fresh_at(&self.state);
    }
}
