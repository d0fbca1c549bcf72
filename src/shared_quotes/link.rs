//! The connection of one cache with the store in Redis: keys and values there and back, and stamps as moments.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue as _, Value};
use parking_lot::Mutex;

use super::SharedValues;
use super::protocol::{Answer, Head, MAX_KEYS, Scripts, split, text};
use crate::cache::{Claim, Departure, FoundValues, SharedStore, SharedValue, Stamp, Version};
use crate::clock::Clock;
use crate::quota::Moment;
use crate::redis::Script;
use crate::shared_quota::{key, micros};

/// After a request without an answer, Redis is not asked for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// For how long a key is wanted after its process said so. It says so again at least every 50 ms.
const WANTED_FOR: Duration = Duration::from_millis(500);

/// By how much the clock of Redis may be set back without being noticed, beside a thousandth of the time. Each age is longer by
/// it.
const SLACK: Duration = Duration::from_millis(2);

/// A store of values in Redis.
pub(super) struct Link<K, V> {
    values: SharedValues<K, V>,
    scripts: Scripts,
    process: String,
    clock: Clock,
    ttl: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_answer: Option<LastAnswer>,
    /// Redis is not asked before.
    paused_until: Moment,
    /// The version in which the due keys were read last.
    due_read_in: String,
}

/// The time of Redis, as its last answer told it.
struct LastAnswer {
    now: u64,
    /// When the answer was here.
    at: Moment,
    #[cfg(feature = "async")]
    epoch: Arc<str>,
}

impl LastAnswer {
    /// Returns a lower bound of the time of Redis at `moment`, which is not before `at`: the script of the answer ran before `at`.
    fn earliest(&self, moment: Moment) -> u64 {
        let passed = moment.since(self.at);
        let least = passed.saturating_sub(passed / 1000).saturating_sub(SLACK);
        self.now.saturating_add(micros(least))
    }
}

/// An answer, and a moment before it was asked for.
struct Trip {
    asked_at: Moment,
    answer: Answer,
}

/// Returns the longest time that can have passed while the clock of Redis advanced by `time`.
fn longest(time: Duration) -> Duration {
    time.saturating_add(time / 1000).saturating_add(SLACK)
}

impl<K: Display + FromStr + Clone + Eq + Hash, V> Link<K, V> {
    pub(super) fn new(values: SharedValues<K, V>, clock: Clock, ttl: Duration) -> Self {
        Self {
            values,
            scripts: Scripts::new(),
            process: format!("{}-{:016x}", std::process::id(), fastrand::u64(..)),
            clock,
            ttl,
            state: Mutex::default(),
        }
    }

    fn key(&self, rest: &str) -> String {
        key(&self.values.account, &format!("{}{rest}", self.values.kind))
    }

    /// Returns the keys of a script: what is known, what is wanted, and the values of `keys`.
    fn keys<'a>(&self, keys: impl Iterator<Item = &'a K>) -> Vec<String>
    where
        K: 'a,
    {
        let values = keys.map(|key| self.key(&format!(":{key}")));
        [self.key("-state"), self.key("-wanted")].into_iter().chain(values).collect()
    }

    /// Runs a script. `add` adds the arguments after the first three.
    fn run(&self, script: &Script, keys: &[String], add: impl Fn(&mut Cmd)) -> Option<Trip> {
        let mut head = Head { process: self.process.clone(), ..Head::default() };
        let asked_at = self.clock.now();
        {
            let state = self.state.lock();
            if asked_at < state.paused_until {
                return None;
            }
            // The next script runs after this moment.
            head.earliest = state.last_answer.as_ref().map(|answer| answer.earliest(asked_at));
        }
        if !self.clock.is_system() {
            let timestamp = self.clock.wall_clock().timestamp;
            head.moment = u64::try_from(timestamp.as_microsecond()).ok();
        }
        let reply = self.values.pool.with_run(|connection, _| {
            script.run(connection, |command| {
                head.add(command, keys);
                add(command);
            })
        });
        let answer = reply.ok().and_then(Answer::read);
        let now = self.clock.now();
        let mut state = self.state.lock();
        let Some(answer) = answer else {
            state.paused_until = now + PAUSE;
            return None;
        };
        state.last_answer = Some(LastAnswer {
            now: answer.now,
            at: now,
            #[cfg(feature = "async")]
            epoch: answer.epoch.as_str().into(),
        });
        Some(Trip { asked_at, answer })
    }

    /// Reads a stored value, if it is of the present epoch.
    fn read(
        &self,
        key: &K,
        stored: &[u8],
        trip: &Trip,
        epoch: &Arc<str>,
    ) -> Option<SharedValue<V>> {
        let (of, micros, text) = split(stored)?;
        if of != &**epoch {
            return None;
        }
        let age = longest(Duration::from_micros(trip.answer.now.checked_sub(micros)?));
        // A value from before the clock's origin would seem to be as young as the origin.
        if age > trip.asked_at.since(Moment::ORIGIN) {
            return None;
        }
        let sent = trip.asked_at - age;
        let value = (self.values.decode)(key, text, sent)?;
        let stamp = Stamp { epoch: Arc::clone(epoch), micros };
        Some(SharedValue { value: Arc::new(value), sent, stamp })
    }

    /// Reads values in one command. The first `needed` of `keys` are read in any case.
    fn look_at(
        &self,
        keys: &[&K],
        needed: usize,
        due_read_in: &str,
        found: &mut HashMap<K, SharedValue<V>>,
    ) -> Option<Version> {
        let names = self.keys(keys.iter().copied());
        let add = |command: &mut Cmd| {
            command.arg(needed).arg(due_read_in);
        };
        let mut trip = self.run(&self.scripts.look, &names, add)?;
        let epoch: Arc<str> = trip.answer.epoch.as_str().into();
        let mut rest = std::mem::take(&mut trip.answer.rest).into_iter();
        let version = text(rest.next()?)?;
        let Some(Value::Array(stored)) = rest.next() else { return None };
        for (key, stored) in keys.iter().zip(stored) {
            let Ok(Some(stored)) = Option::<Vec<u8>>::from_redis_value(stored) else { continue };
            if let Some(value) = self.read(key, &stored, &trip, &epoch) {
                found.insert(K::clone(key), value);
            }
        }
        Some(Version(version))
    }

    /// Claims the fetch, or names the keys that are wanted.
    fn claim_for(&self, needed: &[K], version: &Version) -> Option<Claim> {
        let Version(version) = version;
        let names = self.keys(std::iter::empty());
        let add = |command: &mut Cmd| {
            command.arg(version).arg(micros(WANTED_FOR));
            for key in needed {
                command.arg(key.to_string());
            }
        };
        let trip = self.run(&self.scripts.claim, &names, add)?;
        match text(trip.answer.rest.into_iter().next()?)?.as_str() {
            "granted" => Some(Claim::Granted),
            "busy" => Some(Claim::Busy),
            "changed" => Some(Claim::Changed),
            _ => None,
        }
    }

    fn keep_some(&self, values: &[(&K, Vec<u8>)], stamp: Option<&Stamp>, is_last: bool) {
        let names = self.keys(values.iter().map(|(key, _)| *key));
        let (epoch, at) = stamp.map_or(("", 0), |stamp| (&*stamp.epoch, stamp.micros));
        let kept_for = self.ttl.as_millis().clamp(1, u128::from(u32::MAX));
        let _ = self.run(&self.scripts.keep, &names, |command| {
            command.arg(epoch).arg(at).arg(kept_for.to_string()).arg(u8::from(is_last));
            for (_, value) in values {
                command.arg(value);
            }
        });
    }
}

impl<K, V> SharedStore<K, V> for Link<K, V>
where
    K: Display + FromStr + Clone + Eq + Hash + Send + Sync,
    V: Send + Sync,
{
    fn look(&self, needed: &[K], due: &[K]) -> Option<FoundValues<K, V>> {
        let mut values = HashMap::new();
        let mut first = None;
        let due_read_in = self.state.lock().due_read_in.clone();
        let mut left = needed;
        while left.len() > MAX_KEYS {
            let (some, others) = left.split_at(MAX_KEYS);
            let keys: Vec<&K> = some.iter().collect();
            let version = self.look_at(&keys, keys.len(), &due_read_in, &mut values)?;
            // What is kept between two commands changes the version.
            first.get_or_insert(version);
            left = others;
        }
        let keys: Vec<&K> = left.iter().chain(due).take(MAX_KEYS).collect();
        let version = self.look_at(&keys, left.len(), &due_read_in, &mut values)?;
        let Version(read_in) = &version;
        self.state.lock().due_read_in.clone_from(read_in);
        Some(FoundValues { values, version: first.unwrap_or(version) })
    }

    fn claim(&self, needed: &[K], version: &Version) -> Option<Claim> {
        let mut claim = None;
        for some in needed.chunks(MAX_KEYS) {
            claim = self.claim_for(some, version);
            if claim != Some(Claim::Busy) {
                break;
            }
        }
        claim
    }

    fn depart(&self) -> Option<Departure<K>> {
        let names = self.keys(std::iter::empty());
        let trip = self.run(&self.scripts.depart, &names, |command| {
            command.arg(MAX_KEYS);
        })?;
        let Answer { now, epoch, rest } = trip.answer;
        let Some(Value::Array(wanted)) = rest.into_iter().next() else { return None };
        let wanted = wanted.into_iter().filter_map(|key| text(key)?.parse().ok()).collect();
        Some(Departure { stamp: Stamp { epoch: epoch.into(), micros: now }, wanted })
    }

    #[cfg(feature = "async")]
    fn stamp(&self) -> Option<Stamp> {
        let now = self.clock.now();
        let state = self.state.lock();
        let last_answer = state.last_answer.as_ref()?;
        Some(Stamp { epoch: Arc::clone(&last_answer.epoch), micros: last_answer.earliest(now) })
    }

    fn keep(&self, values: &[(&K, &V)], stamp: &Stamp) {
        // With a `ttl` of zero no later caller could use the values.
        if self.ttl.is_zero() {
            return self.release();
        }
        let encode = |(key, value): &(_, &V)| Some((*key, (self.values.encode)(value)?));
        let values: Vec<(&K, Vec<u8>)> = values.iter().filter_map(encode).collect();
        if values.is_empty() {
            return self.release();
        }
        let mut pieces = values.chunks(MAX_KEYS).peekable();
        while let Some(piece) = pieces.next() {
            self.keep_some(piece, Some(stamp), pieces.peek().is_none());
        }
    }

    fn release(&self) {
        self.keep_some(&[], None, true);
    }
}
