//! The use of each key in Redis, for several processes.
//!
//! `limits.lua` and `take.lua` are the whole operation: one script, one trip, by Redis's own clock. It runs the steps of
//! [`quota::request_limit`](crate::quota::request_limit), and returns the state that it found. This side computes from
//! that state what remains and when to retry, with the same functions as in memory; so both say the same.
//!
//! A key is named by a hash of its rule and its values, since values may be secrets and may be long. All keys have one
//! hash tag, so that a script may use several of them.

mod arguments;

use std::fmt;
use std::time::Duration;

use ::redis::{Value, cmd};
use smallvec::SmallVec;

use super::eventual::Addition;
use super::{Charge, CounterKey, Storage, StorageError, Take, Taken};
use crate::quota::request_limit::{Algorithm, LimitState, Reading, RequestLimit, UnixMicros};
use crate::redis::{RedisFailure, RedisPool, RedisSettings, Script, Trips, round_trip};

const TAKE: &str = concat!(include_str!("limits.lua"), include_str!("take.lua"));
const EXCHANGE: &str = concat!(include_str!("limits.lua"), include_str!("exchange.lua"));
const FORGIVE: &str = concat!(include_str!("limits.lua"), include_str!("forgive.lua"));

/// How many numbers the script returns of each limit.
const NUMBERS: usize = 4;

/// What stands for a count that cannot be read: more than any moment.
const UNREADABLE: u64 = 1 << 53;

/// At a moment that is given, keys are kept for an hour at least, by Redis's own clock: a trace of a second may take
/// minutes.
const KEPT_AT_GIVEN_MOMENTS: u64 = 3_600_000;

/// Before this moment, in the year 2252, all numbers of the scripts are below 2^53, up to which they are exact.
const EXACT_BEFORE: UnixMicros = UnixMicros::new(8_900_000_000_000_000);

/// Keeps what each key has used in Redis or Valkey, for several processes. Each verdict is one trip, and Redis's.
///
/// It needs Redis 6.2, or Valkey. Time is that of the Redis host, so the clocks of the processes do not matter.
/// `docs/limiter.md` says what happens when Redis is away.
///
/// ```no_run
/// use lanekeeper::limiter::{RateLimiter, RedisStorage, Rules};
///
/// let storage = RedisStorage::new("redis://127.0.0.1:6379", "api")?;
/// let limiter = RateLimiter::new(Rules::from_path("rules.yaml")?, storage);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedisStorage {
    pool: RedisPool,
    /// The hash tag of all keys.
    prefix: String,
    trips: Trips,
    take: Script,
    forgive: Script,
    exchange: Script,
}

/// What an exchange brings back.
pub(super) struct Exchanged {
    /// The moment of Redis.
    pub(super) at: UnixMicros,
    /// The counts of all, for each addition. `None` if the key has a value of another type.
    pub(super) states: Vec<Option<LimitState>>,
    pub(super) taken: Option<Taken>,
    /// The counts of all after the verdict, for each of its limits.
    pub(super) taken_states: Vec<LimitState>,
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisStorage {
    /// Returns a storage in the Redis at this address. Limiters with the same `name` share what is used. Nothing is
    /// connected yet.
    ///
    /// The address is `redis://HOST:PORT`, `rediss://` for TLS, or `unix:///PATH`, with `USER:PASSWORD@` before the host
    /// and `/DATABASE` after it if they are needed. It is in no error and in no `Debug`.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn new(url: &str, name: &str) -> Result<Self, StorageError> {
        let pool = RedisPool::new(url, RedisSettings::default())?;
        // A brace would end the hash tag.
        let name: String = name.chars().map(|c| if "{}".contains(c) { '_' } else { c }).collect();
        Ok(Self {
            pool,
            prefix: format!("{{lanekeeper:{name}}}:"),
            trips: Trips::default(),
            take: Script::new(TAKE),
            forgive: Script::new(FORGIVE),
            exchange: Script::new(EXCHANGE),
        })
    }

    /// Waits at most this long for each answer, and for each step of a connection. The default is 100 ms. A verdict may
    /// wait for several of them: the trip of other threads before its own, a new connection, and its own trip. After that
    /// the rules decide, by their `on_storage_error`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.pool.set_timeout(timeout);
        self
    }

    /// Returns the words of the command that [`take`](Storage::take) sends, for a comparison with other clients.
    #[doc(hidden)]
    pub fn command(&self, take: &Take<'_, '_>) -> Vec<String> {
        let mut command = cmd("EVALSHA");
        self.add_take(command.arg(&self.take.sha1), take);
        let words = command.args_iter().map(|word| match word {
            ::redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        });
        words.collect()
    }

    /// Returns the names of the keys of a request.
    pub(super) fn names(&self, take: &Take<'_, '_>) -> Vec<String> {
        take.charges().iter().map(|charge| self.key_name(&charge.key)).collect()
    }

    /// Returns the name of another key beside those of limits.
    pub(super) fn name_of(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// Adds what one process admitted by itself, and brings back the counts of all; with the verdict of a request, if there
    /// is one, whose keys have these names.
    pub(super) fn exchange(
        &self,
        node: &str,
        number: u64,
        additions: &[Addition],
        take: Option<(&Take<'_, '_>, &[String])>,
        at: Option<UnixMicros>,
    ) -> Result<Exchanged, StorageError> {
        let (charges, names) =
            take.map(|(take, names)| (take.charges(), names)).unwrap_or_default();
        let reply = self.pool.with(|connection| {
            self.exchange.run(connection, |command| {
                command.arg(1 + additions.len() + charges.len()).arg(node);
                for addition in additions {
                    command.arg(&addition.key);
                }
                for name in names {
                    command.arg(name);
                }
                add_moment(command, at);
                command.arg(number).arg(additions.len());
                for addition in additions {
                    command.arg(addition.stamp);
                    arguments::add(command, &addition.limit, addition.weight, false);
                }
                for charge in charges {
                    let limit = charge.limit.with_debt();
                    arguments::add(command, &limit, charge.weight, charge.is_shadow);
                }
            })
        })?;
        let numbers: Vec<u64> = ::redis::from_redis_value_ref(&reply).map_err(|_| unusable())?;
        let (&at, rest) = numbers.split_first().ok_or_else(unusable)?;
        let at = UnixMicros::new(at);
        let (states, rest) =
            rest.split_at_checked(additions.len() * (NUMBERS - 1)).ok_or_else(unusable)?;
        let states = additions.iter().zip(states.chunks_exact(NUMBERS - 1));
        let states = states.map(|(addition, numbers)| {
            let is_readable = numbers.first() != Some(&UNREADABLE);
            is_readable.then(|| state(&addition.limit, numbers))
        });
        let (taken, taken_states) = match take {
            Some((take, _)) => {
                let (taken, states) = verdict(take, at, rest, RequestLimit::with_debt)?;
                (Some(taken), states)
            }
            None => (None, Vec::new()),
        };
        Ok(Exchanged { at, states: states.collect(), taken, taken_states })
    }

    fn key_name(&self, key: &CounterKey<'_>) -> String {
        let mut hash = hmac_sha256::Hash::new();
        hash.update(key.rule.to_le_bytes());
        for value in key.values.iter() {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        format!("{}{:032x}", self.prefix, u128::from_be_bytes(first))
    }

    /// Adds what the script needs to know of a request.
    fn add_take(&self, command: &mut ::redis::Cmd, take: &Take<'_, '_>) {
        command.arg(take.charges().len());
        for charge in take.charges() {
            command.arg(self.key_name(&charge.key));
        }
        add_moment(command, take.moment());
        for charge in take.charges() {
            arguments::add(command, charge.limit, charge.weight, charge.is_shadow);
        }
    }
}

fn add_moment(command: &mut ::redis::Cmd, moment: Option<UnixMicros>) {
    match moment {
        None => command.arg("").arg(0),
        Some(moment) => command.arg(moment.get()).arg(KEPT_AT_GIVEN_MOMENTS),
    };
}

/// Refuses a given moment that the numbers of the scripts cannot hold.
fn check_moment(take: &Take<'_, '_>) -> Result<(), StorageError> {
    match take.moment() {
        Some(moment) if moment >= EXACT_BEFORE => {
            Err(StorageError::new("Redis is not exact to the microsecond after the year 2251"))
        }
        _ => Ok(()),
    }
}

impl Storage for RedisStorage {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        check_moment(take)?;
        let mut command = cmd("EVALSHA");
        self.add_take(command.arg(&self.take.sha1), take);
        let mut reply = self.trips.send(&self.pool, &command)?;
        if matches!(&reply, Value::ServerError(error) if error.code() == "NOSCRIPT") {
            // Nothing of it was executed. The text goes with those of other threads too: all of them miss it at once.
            let mut by_text = cmd("EVAL");
            self.add_take(by_text.arg(self.take.code), take);
            reply = self.trips.send(&self.pool, &by_text)?;
        }
        taken(take, &reply)
    }

    fn take_all(&self, takes: &[Take<'_, '_>]) -> Vec<Result<Taken, StorageError>> {
        if takes.is_empty() {
            return Vec::new();
        }
        if let Err(error) = takes.iter().try_for_each(check_moment) {
            return takes.iter().map(|_| Err(error.clone())).collect();
        }
        let replies = self.pool.with(|connection| {
            let mut pipeline = ::redis::pipe();
            for take in takes {
                let mut command = cmd("EVALSHA");
                self.add_take(command.arg(&self.take.sha1), take);
                pipeline.add_command(command);
            }
            round_trip(connection, &pipeline.get_packed_pipeline(), takes.len())
        });
        match replies {
            Ok(replies) if replies.len() == takes.len() => takes
                .iter()
                .zip(&replies)
                .map(|(take, reply)| match reply {
                    // Nothing of it was executed.
                    Value::ServerError(error) if error.code() == "NOSCRIPT" => self.take(take),
                    reply => taken(take, reply),
                })
                .collect(),
            Ok(_) => takes.iter().map(|_| Err(unusable())).collect(),
            Err(failure) => {
                let error = StorageError::from(failure);
                takes.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        let backoffs =
            take.charges().iter().filter(|it| it.limit.algorithm() == Algorithm::Backoff);
        for charge in backoffs {
            self.pool.with(|connection| {
                self.forgive.run(connection, |command| {
                    command.arg(1).arg(self.key_name(&charge.key));
                    add_moment(command, take.moment());
                    arguments::add_delays(command, charge.limit);
                })
            })?;
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }
}

impl From<RedisFailure> for StorageError {
    fn from(failure: RedisFailure) -> Self {
        Self::new(failure.to_string())
    }
}

fn unusable() -> StorageError {
    StorageError::new("Redis gave an answer that makes no sense")
}

/// Reads what the script returned.
fn taken(take: &Take<'_, '_>, reply: &Value) -> Result<Taken, StorageError> {
    if let Value::ServerError(error) = reply {
        return Err(StorageError::new(format!("Redis refused ({})", error.code())));
    }
    let numbers: Vec<u64> = ::redis::from_redis_value_ref(reply).map_err(|_| unusable())?;
    let (&at, rest) = numbers.split_first().ok_or_else(unusable)?;
    verdict(take, UnixMicros::new(at), rest, |limit| limit).map(|(taken, _)| taken)
}

/// Reads what `take` of `limits.lua` returned, and the states after it, by the limits that the script was given.
fn verdict(
    take: &Take<'_, '_>,
    at: UnixMicros,
    numbers: &[u64],
    given: impl Fn(RequestLimit) -> RequestLimit,
) -> Result<(Taken, Vec<LimitState>), StorageError> {
    let (&is_counted, limits) = numbers.split_first().ok_or_else(unusable)?;
    if limits.len() != take.charges().len() * NUMBERS {
        return Err(unusable());
    }
    let (mut readings, mut states) = (SmallVec::new(), Vec::new());
    for (charge, numbers) in take.charges().iter().zip(limits.chunks_exact(NUMBERS)) {
        let limit = given(*charge.limit);
        let charge = Charge { limit: &limit, ..*charge };
        let (reading, state) = reading(&charge, numbers, at, is_counted == 1)?;
        readings.push(reading);
        states.push(state);
    }
    Ok((Taken { at, readings }, states))
}

/// Returns the state that the script found. A log is none: it stays in Redis.
fn state(limit: &RequestLimit, numbers: &[u64]) -> LimitState {
    let small = |index: usize| {
        numbers.get(index).map_or(0, |&number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    LimitState::of(
        limit.algorithm(),
        numbers.first().copied().unwrap_or_default(),
        small(1),
        small(2),
    )
}

/// Returns what a limit says, from the state that the script found, and the state after it.
fn reading(
    charge: &Charge<'_, '_>,
    numbers: &[u64],
    now: UnixMicros,
    is_counted: bool,
) -> Result<(Reading, LimitState), StorageError> {
    let (&admits, numbers) = numbers.split_first().ok_or_else(unusable)?;
    let Charge { limit, weight, .. } = *charge;
    let mut state = state(limit, numbers);
    let reading = match (limit.algorithm(), numbers) {
        (Algorithm::SlidingWindowLog, &[used, newest, blocking]) => {
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            let [newest, blocking] = [newest, blocking].map(UnixMicros::new);
            // Of the state after it, only the end is asked for, and that is the end of the newest request.
            limit.read_log(used, newest, blocking, weight, now)
        }
        _ => limit.read(&mut state, weight, now),
    };
    if reading.is_admitted() != (admits == 1) {
        return Err(unusable());
    }
    if !is_counted || !reading.is_admitted() {
        return Ok((reading, state));
    }
    limit.charge(&mut state, weight, now);
    Ok((reading.after_charge(weight, limit.fresh_at(&state)), state))
}
