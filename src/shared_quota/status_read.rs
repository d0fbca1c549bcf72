//! Reads the status of an account with commands that change nothing.
//!
//! The scripts bring the counts up to date whenever they run. What has happened since is added here: leases that have ended,
//! tokens that a bucket has gained, a day that is over.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ::redis::{Cmd, Connection, FromRedisValue, Pipeline, RedisError, cmd, pipe};

use super::eviction::eviction_warning;
use super::place::Place;
use super::protocol::{key, micros};
use super::status::{
    AccountStatus, AccountStatusError, ProcessState, ProcessStatus, ScopeStatus, SharedWindowStatus,
};
use crate::quota::{Quota, Window, WindowKind};
use crate::redis::{RedisFailure, RedisPool, RedisSettings};

/// A person waits longer than a call.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A process that has not been heard of for so many microseconds is silent, as in `clock.lua`.
const SILENT_AFTER: u64 = 3_000_000;

/// For how many microseconds a difference between the limits of two processes is reported. Each uses its lanes once a second.
const DIFFERENCE_FOR: u64 = 5_000_000;

type Fields = HashMap<String, String>;

impl From<RedisFailure> for AccountStatusError {
    fn from(failure: RedisFailure) -> Self {
        match failure {
            RedisFailure::Address => Self::Address,
            other => Self::Redis { why: other.to_string() },
        }
    }
}

fn pool(url: &str) -> Result<RedisPool, RedisFailure> {
    RedisPool::new(url, RedisSettings { timeout: TIMEOUT, ..RedisSettings::default() })
}

pub(super) fn accounts(url: &str) -> Result<Vec<String>, AccountStatusError> {
    Ok(accounts_of(&pool(url)?)?)
}

fn accounts_of(pool: &RedisPool) -> Result<Vec<String>, RedisFailure> {
    let (prefix, suffix) = ("lanekeeper:{", "}:meta");
    let mut accounts = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) = pool.with_run(|connection, _| {
            let pattern = format!("{prefix}*{suffix}");
            cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(pattern)
                .arg("COUNT")
                .arg(1000)
                .query(connection)
        })?;
        let names = keys.iter().filter_map(|key| key.strip_prefix(prefix)?.strip_suffix(suffix));
        accounts.extend(names.map(str::to_owned));
        if next == 0 {
            break;
        }
        cursor = next;
    }
    accounts.sort();
    // A key may be seen twice.
    accounts.dedup();
    Ok(accounts)
}

pub(super) fn read(url: &str, account: &str) -> Result<AccountStatus, AccountStatusError> {
    let pool = pool(url)?;
    let (time, meta, processes): ((u64, u64), Fields, Fields) =
        pool.with_run(|connection, _| {
            let mut pipe = pipe();
            let all = pipe.atomic().add_command(cmd("TIME"));
            let all = all.add_command(hash(account, "meta")).add_command(hash(account, "procs"));
            all.query(connection)
        })?;
    if meta.is_empty() {
        let known = accounts_of(&pool)?.join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(AccountStatusError::UnknownAccount { account: account.to_owned(), known });
    }
    let time = AccountTime::new(time, &meta);
    let mut scopes = Vec::new();
    for name in scope_names(&meta) {
        scopes.push(
            pool.with_run(|connection, _| read_scope(connection, account, name, &meta, &time))?,
        );
    }
    let mut warnings = warnings(&meta, &time);
    warnings.extend(eviction_warning(&pool));
    let born = meta.get("born").and_then(|born| born.split('-').next()?.parse().ok());
    let hold = number(&meta, "hold").saturating_sub(time.now);
    Ok(AccountStatus {
        account: account.to_owned(),
        known_for: Duration::from_micros(time.raw.saturating_sub(born.unwrap_or(time.raw))),
        held_for: (hold > 0).then(|| Duration::from_micros(hold)),
        processes: read_processes(&processes, &scopes, &time),
        scopes,
        warnings,
    })
}

fn hash(account: &str, rest: &str) -> Cmd {
    let mut command = cmd("HGETALL");
    command.arg(key(account, rest));
    command
}

fn number(fields: &Fields, field: &str) -> u64 {
    fields.get(field).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The time of the account, as `clock.lua` has it, and the wall clock of the host of Redis; in microseconds.
struct AccountTime {
    now: u64,
    raw: u64,
}

impl AccountTime {
    fn new((seconds, micros): (u64, u64), meta: &Fields) -> Self {
        let raw = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let offset: i64 = meta.get("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
        let now = raw.saturating_add_signed(offset).max(number(meta, "last"));
        Self { now, raw }
    }

    fn since(&self, moment: u64) -> Duration {
        Duration::from_micros(self.now.saturating_sub(moment))
    }
}

/// Returns the lanes and then the budgets that have been used, by name.
fn scope_names(meta: &Fields) -> Vec<&str> {
    let mut names: Vec<&str> = meta.keys().filter_map(|field| field.strip_prefix("n:")).collect();
    names.sort_by_key(|name| (!name.starts_with("lane:"), *name));
    names
}

fn warnings(meta: &Fields, time: &AccountTime) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in scope_names(meta) {
        let quota = meta.get(&format!("quota:{name}"));
        let other = meta.get(&format!("other:{name}")).and_then(|other| other.split_once(' '));
        if let (Some(quota), Some((at, other))) = (quota, other) {
            let at: u64 = at.parse().unwrap_or(0);
            if quota != other && time.now.saturating_sub(at) < DIFFERENCE_FOR {
                let name = name.replacen(':', " ", 1);
                warnings.push(format!(
                    "processes have different limits of the {name}, or they were just changed: {quota}; and {other}"
                ));
            }
        }
    }
    for line in meta.get("open").map(String::as_str).unwrap_or_default().lines() {
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        if let [process, until, lane, route] = fields[..] {
            if until.parse().is_ok_and(|until: u64| until > time.now) {
                warnings
                    .push(format!("the breaker of {process} refuses {route} of the lane {lane}"));
            }
        }
    }
    warnings
}

fn query<T: FromRedisValue>(pipe: &Pipeline, connection: &mut Connection) -> Result<T, RedisError> {
    pipe.query(connection)
}

fn read_scope(
    connection: &mut Connection,
    account: &str,
    name: &str,
    meta: &Fields,
    time: &AccountTime,
) -> Result<ScopeStatus, RedisError> {
    let log = key(account, &format!("log:{name}"));
    let quota = meta.get(&format!("quota:{name}")).cloned().unwrap_or_default();
    let parsed = quota.parse::<Quota>().ok();
    let windows = parsed.as_ref().map(Quota::windows).unwrap_or_default();
    let after = |moment: u64| format!("({moment}");
    let mut reads = pipe();
    reads.atomic().add_command(hash(account, &format!("counts:{name}")));
    let lane = name.strip_prefix("lane:");
    reads.add_command(hash(account, &format!("turn:{}", lane.unwrap_or_default())));
    reads.cmd("ZRANGEBYSCORE").arg(&log).arg(after(time.now)).arg("+inf");
    let (counts, turn, open): (Fields, Fields, Vec<String>) = query(&reads, connection)?;
    let mut reads = pipe();
    reads.atomic();
    // Leases that have ended since a script looked last.
    let seen = counts.get("seen").and_then(|seen| seen.parse().ok()).unwrap_or(time.now);
    reads.cmd("ZCOUNT").arg(&log).arg(after(seen)).arg(time.now);
    for window in windows {
        let from = time.now.saturating_sub(micros(window.length));
        reads.cmd("ZCOUNT").arg(&log).arg(after(from)).arg("+inf");
    }
    let of_log: Vec<u64> = query(&reads, connection)?;
    let (ended, of_log) = of_log.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
    let mut in_flight = BTreeMap::new();
    for process in open.iter().filter_map(|id| process_of(id)) {
        *in_flight.entry(process.to_owned()).or_insert(0) += 1;
    }
    let held = u64::try_from(open.len()).unwrap_or(u64::MAX);
    let uncounted = held.saturating_add(ended);
    // The scripts number the windows of each kind.
    let (mut buckets, mut days) = (0, 0);
    let windows = windows.iter().zip(of_log).map(|(window, of_log)| {
        let limit = u64::from(window.capacity());
        let number = match window.kind {
            WindowKind::TokenBucket { .. } => &mut buckets,
            _ => &mut days,
        };
        *number += usize::from(!matches!(window.kind, WindowKind::SlidingLog));
        let used = match counted(window, *number, &counts, time) {
            Some(counted) => counted.saturating_add(uncounted),
            None => *of_log,
        };
        let left = limit.saturating_sub(used);
        SharedWindowStatus { window: window.to_string(), limit, used, left }
    });
    let windows = windows.collect();
    let Turn { waiting, paused_for, rate_percent } =
        lane.map(|_| Turn::read(&turn, time)).unwrap_or_default();
    let credit = lane.map_or(0, |lane| number(meta, &format!("credit:{lane}")));
    let credit = Duration::from_micros(credit);
    let name = name.to_owned();
    Ok(ScopeStatus { name, quota, windows, in_flight, waiting, paused_for, rate_percent, credit })
}

/// Returns what a hash counts of a window, without calls in flight. `None` if the log counts it.
fn counted(window: &Window, number: usize, counts: &Fields, time: &AccountTime) -> Option<u64> {
    match &window.kind {
        WindowKind::TokenBucket { burst } => {
            let (burst, length) = (i128::from(*burst), i128::from(micros(window.length)).max(1));
            // The level, in tokens times the length, at a moment. A bucket of which nothing is known is empty.
            let field = format!("B{number}/{}", micros(window.length));
            let state = counts.get(&field).and_then(|state| state.split_once(' '));
            let level = state.and_then(|(level, at)| {
                let (level, at): (i128, i128) = (level.parse().ok()?, at.parse().ok()?);
                let gained = (i128::from(time.now) - at).max(0) * i128::from(window.limit);
                Some((level + gained).min(burst * length))
            });
            let missing = (burst * length - level.unwrap_or(0)).max(0);
            Some(u64::try_from((missing + length - 1) / length).unwrap_or(u64::MAX))
        }
        WindowKind::Calendar { guard, .. } => {
            let prefix = format!("D{number}:");
            let days = counts.iter().filter_map(|(field, count)| {
                let ends: u64 = field.strip_prefix(&prefix)?.parse().ok()?;
                let count: u64 = count.parse().ok()?;
                (time.raw < ends.saturating_add(micros(*guard))).then_some((ends, count))
            });
            // The day that ends first. Near its end a call is counted in the next one too.
            Some(days.min().map_or(0, |(_, count)| count))
        }
        WindowKind::SlidingLog | WindowKind::SlidingCounter => None,
    }
}

/// Returns the process of a slot, which is `PROCESS-NUMBER@MOMENT` with `.SLOT` after it if it is not the first of its call.
fn process_of(id: &str) -> Option<&str> {
    let call = id.split_once('@').map_or(id, |(call, _)| call);
    call.rsplit_once('-').map(|(process, _)| process)
}

/// What holds a lane up.
struct Turn {
    waiting: usize,
    paused_for: Option<Duration>,
    rate_percent: u32,
}

impl Default for Turn {
    fn default() -> Self {
        Self { waiting: 0, paused_for: None, rate_percent: 100 }
    }
}

impl Turn {
    fn read(fields: &Fields, time: &AccountTime) -> Self {
        let mut turn = Self::default();
        for (name, value) in fields {
            let words: Vec<u64> = value.split(' ').filter_map(|word| word.parse().ok()).collect();
            match (name.as_str(), words.as_slice()) {
                ("pause", [until]) => {
                    let pause = until.saturating_sub(time.now);
                    turn.paused_for = (pause > 0).then(|| Duration::from_micros(pause));
                }
                (cut, [percent, until]) if cut.starts_with("cut:") && *until >= time.now => {
                    let percent = u32::try_from(*percent).unwrap_or(100);
                    turn.rate_percent = turn.rate_percent.min(percent);
                }
                (_, [_since, _named, until, _slots]) if *until >= time.now => turn.waiting += 1,
                _ => {}
            }
        }
        turn
    }
}

/// Reads the processes, in the order in which they joined, and then those that have left while calls of theirs are under way.
fn read_processes(
    fields: &Fields,
    scopes: &[ScopeStatus],
    time: &AccountTime,
) -> Vec<ProcessStatus> {
    let mut in_flight = BTreeMap::<&str, u64>::new();
    for scope in scopes.iter().filter(|scope| scope.name.starts_with("lane:")) {
        for (process, slots) in &scope.in_flight {
            *in_flight.entry(process).or_insert(0) += slots;
        }
    }
    let here = Place::here();
    let mut processes: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| {
            let held = in_flight.remove(name.as_str()).unwrap_or(0);
            read_process(name, value, held, &here, time)
        })
        .collect();
    processes.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.name.cmp(&y.name)));
    let mut processes: Vec<_> = processes.into_iter().map(|(_, process)| process).collect();
    processes.extend(in_flight.into_iter().map(|(name, in_flight)| ProcessStatus {
        name: name.to_owned(),
        state: ProcessState::Left,
        pid: None,
        is_here: false,
        silent_for: None,
        share: None,
        in_flight,
    }));
    processes
}

/// Reads a process, which is `joined beat processes rank settled place`. Returns when it joined, too.
fn read_process(
    name: &str,
    value: &str,
    in_flight: u64,
    here: &Place,
    time: &AccountTime,
) -> Option<(u64, ProcessStatus)> {
    let mut words = value.splitn(6, ' ');
    let mut next = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (joined, beat, processes, rank, settled) = (next()?, next()?, next()?, next()?, next()?);
    let place = words.next()?;
    let machine_of = |place: &str| place.rsplitn(3, ' ').nth(2).map(str::to_owned);
    let is_here = machine_of(place).is_some_and(|it| Some(it) == machine_of(here.as_str()));
    let state = match () {
        () if is_here && here.is_dead(place) => ProcessState::Dead,
        () if time.now.saturating_sub(beat) > SILENT_AFTER => ProcessState::Silent,
        () if settled == 1 => ProcessState::Alive,
        () => ProcessState::Joining,
    };
    let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let process = ProcessStatus {
        name: name.to_owned(),
        state,
        pid: place.rsplit(' ').nth(1).and_then(|pid| pid.parse().ok()),
        is_here,
        silent_for: Some(time.since(beat)),
        share: (settled == 1).then(|| (whole(processes), whole(rank).saturating_add(1))),
        in_flight,
    };
    Some((joined, process))
}
