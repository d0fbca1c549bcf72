//! What the processes of an account and its scripts say to each other, as words and numbers.
//!
//! The scripts are `step.lua` and `beat.lua`, each after `clock.lua`. Times are microseconds of the account's own time, which
//! the scripts derive from the clock of the host of Redis. A quota is a *scope*: a lane, or a budget.

use std::time::Duration;

use jiff::Timestamp;

use ::redis::{Cmd, FromRedisValue as _, Value};

use crate::lane::RefusedRoute;
use crate::quota::{Reserve, Window, WindowKind};

/// How many slots one call takes at most, so that a script passes them to Redis in one command.
pub(crate) const MAX_WEIGHT: u32 = 1000;

/// The code of a step.
pub(super) const STEP: &str = concat!(include_str!("clock.lua"), include_str!("step.lua"));

/// The code of a heartbeat.
pub(super) const BEAT: &str = concat!(include_str!("clock.lua"), include_str!("beat.lua"));

/// A lane or a budget, as the scripts know it.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// `lane:NAME` or `budget:NAME`.
    pub(super) name: String,
    pub(super) windows: Vec<Window>,
    /// The windows as text, for the status.
    quota: String,
    pub(super) reserve: Reserve,
}

/// A kind of window that cannot be counted by several processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotShareable(pub(crate) Window);

impl Scope {
    pub(super) fn new(
        name: String,
        windows: &[Window],
        reserve: Reserve,
    ) -> Result<Self, NotShareable> {
        match windows.iter().find(|window| window.kind == WindowKind::SlidingCounter) {
            Some(window) => Err(NotShareable(window.clone())),
            None => {
                let texts: Vec<_> = windows.iter().map(Window::to_string).collect();
                let quota =
                    if texts.is_empty() { "unlimited".to_owned() } else { texts.join(", ") };
                Ok(Self { name, windows: windows.to_vec(), quota, reserve })
            }
        }
    }

    /// Returns for how long its log remembers a call that has ended. Other windows remember numbers.
    pub(super) fn log_retention(&self) -> Duration {
        let logs = self.windows.iter().filter(|window| window.kind == WindowKind::SlidingLog);
        logs.map(|window| window.length).max().unwrap_or_default()
    }

    /// Returns for how long the scope remembers a call that has ended.
    pub(super) fn retention(&self) -> Duration {
        let longest = self.windows.iter().map(Window::retention).max();
        Duration::from_nanos(longest.unwrap_or(0))
    }
}

/// What begins every request.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The moment, for tests. `None` is the time of the host of Redis.
    pub(crate) moment: Option<u64>,
    /// The latest moment that it can be.
    pub(crate) latest: Option<u64>,
    /// The generation that was heard last, empty at first.
    pub(crate) generation: String,
    /// Which run of Redis this is, if that is known.
    pub(crate) run: String,
    pub(crate) process: String,
}

/// For how long keys are kept, in milliseconds, beyond the longest window.
const KEPT: u64 = 2 * 86_400_000;

impl Head {
    fn add(&self, command: &mut Cmd, retention: Duration) {
        let keep = KEPT.saturating_add(u64::try_from(retention.as_millis()).unwrap_or(KEPT));
        match self.moment {
            Some(moment) => command.arg(moment),
            None => command.arg(""),
        };
        match self.latest {
            Some(latest) => command.arg(latest),
            None => command.arg(""),
        };
        command.arg(&self.generation).arg(&self.run).arg(&self.process).arg(keep);
    }
}

/// Something that is told of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(super) kind: ToldKind,
    pub(super) id: String,
    pub(super) weight: u32,
    /// How long ago it was, in microseconds. Less than zero is a moment to come.
    pub(super) age: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToldKind {
    /// It ended then, or its lease will.
    Ended,
    /// It was not sent.
    Unused,
    /// It is told again, in case that it was lost.
    Again,
    /// Under this token, the counts of the windows are told again.
    Counts,
}

impl ToldKind {
    fn letter(self) -> &'static str {
        match self {
            Self::Ended => "E",
            Self::Unused => "U",
            Self::Again => "R",
            Self::Counts => "W",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(super) id: String,
    pub(super) priority: u8,
    pub(super) weight: u32,
    pub(super) is_urgent: bool,
    pub(super) others_wait: bool,
    pub(super) lease: Duration,
}

/// What was heard of one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// What is used of it: of a log with the calls in flight.
    pub(super) used: u64,
    /// Of a day, when it ends, in microseconds since 1970.
    pub(super) day_ends: u64,
    /// Of a day, what is used of the next one.
    pub(super) next_day: u64,
}

/// What a process knows of the count of one window, to tell it again after a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownCount {
    pub(super) heard: Used,
    /// What this process used since. Of a day, in those that end at its three midnights.
    pub(super) own: [u64; 3],
}

/// One look at the account.
#[derive(Debug, Clone)]
pub(crate) struct Step<'a> {
    pub(super) head: Head,
    pub(super) lane: &'a str,
    pub(super) scopes: Vec<&'a Scope>,
    /// For each scope, for each of its windows, if the counts are told.
    pub(super) counts: Vec<Vec<KnownCount>>,
    pub(super) wanted: Option<Wanted>,
    pub(super) told: Vec<Told>,
    /// When it is by the wall clock of this process: only which midnights are near depends on it.
    pub(super) wall: Timestamp,
    /// The round trip credit of the lane in this process. Zero without one.
    pub(super) credit: Duration,
}

/// How long a line in the queue of a lane stays after the time that it was named.
const GRACE: Duration = Duration::from_millis(25);

/// Returns the key of an account. All keys of an account have one hash tag.
pub(crate) fn key(account: &str, rest: &str) -> String {
    format!("lanekeeper:{{{account}}}:{rest}")
}

impl Step<'_> {
    /// Adds the keys and the arguments of the script.
    pub(super) fn add(&self, command: &mut Cmd, account: &str) {
        command.arg(2 + 2 * self.scopes.len());
        command.arg(key(account, "meta")).arg(key(account, &format!("turn:{}", self.lane)));
        for scope in &self.scopes {
            command.arg(key(account, &format!("log:{}", scope.name)));
            command.arg(key(account, &format!("counts:{}", scope.name)));
        }
        let longest = self.scopes.iter().map(|scope| scope.retention()).max();
        self.head.add(command, longest.unwrap_or_default());
        match &self.wanted {
            Some(wanted) => {
                command.arg(&wanted.id).arg(wanted.priority).arg(micros(wanted.lease));
                command.arg(micros(GRACE)).arg(u8::from(wanted.is_urgent)).arg(wanted.weight);
                command.arg(u8::from(wanted.others_wait));
            }
            None => {
                command.arg("").arg(0).arg(0).arg(0).arg(0).arg(1).arg(0);
            }
        }
        let names: Vec<_> = self.scopes.iter().map(|scope| scope.name.as_str()).collect();
        command.arg(micros(self.credit)).arg(names.join(" "));
        for scope in &self.scopes {
            let gap = scope.windows.iter().filter_map(Window::gap).max().unwrap_or(0);
            command.arg(&scope.quota).arg(gap.div_ceil(1000)).arg(scope.windows.len());
            for window in &scope.windows {
                add_window(command, window, scope.reserve, self.wall);
            }
        }
        command.arg(self.told.len());
        for Told { kind, id, weight, age } in &self.told {
            command.arg(kind.letter()).arg(id).arg(weight).arg(age);
            if *kind == ToldKind::Counts {
                for KnownCount { heard, own } in self.counts.iter().flatten() {
                    command.arg(heard.day_ends).arg(heard.used).arg(heard.next_day);
                    command.arg(&own[..]);
                }
            }
        }
    }
}

fn add_window(command: &mut Cmd, window: &Window, reserve: Reserve, wall: Timestamp) {
    let capacity = window.capacity();
    let reserve = reserve.of(capacity);
    let length = micros(window.length);
    match &window.kind {
        WindowKind::TokenBucket { .. } => {
            command.arg("B").arg(capacity).arg(reserve).arg(length).arg(window.limit).arg(0).arg(0)
        }
        WindowKind::Calendar { zone, guard } => {
            command.arg("D").arg(capacity).arg(reserve).arg(micros(*guard));
            for midnight in midnights(zone, wall) {
                command.arg(midnight);
            }
            command
        }
        // A window of another kind was refused.
        WindowKind::SlidingLog | WindowKind::SlidingCounter => {
            command.arg("L").arg(capacity).arg(reserve).arg(length).arg(0).arg(0).arg(0)
        }
    };
}

/// Returns the three midnights that follow half a day before this moment, in microseconds since 1970: a clock that is wrong by
/// less than half a day names those that matter. Beyond the years of jiff, days have 24 hours.
pub(super) fn midnights(zone: &jiff::tz::TimeZone, wall: Timestamp) -> [i64; 3] {
    const DAY: i64 = 86_400_000_000;
    let mut at = wall.as_microsecond().saturating_sub(DAY / 2);
    [(); 3].map(|()| {
        let next = || {
            let here = Timestamp::from_microsecond(at).ok()?.to_zoned(zone.clone());
            let midnight = here.tomorrow().ok()?.start_of_day().ok()?.timestamp().as_microsecond();
            (midnight > at).then_some(midnight)
        };
        at = next().unwrap_or_else(|| at.div_euclid(DAY).saturating_add(1).saturating_mul(DAY));
        at
    })
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    Denied,
    Granted,
    /// Nothing was asked for, and what was told is known.
    Heard,
    /// Redis has lost what it knew: everything has to be told again.
    Lost,
}

/// The answer to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepReply {
    pub(crate) outcome: StepOutcome,
    /// How long to wait before it is worth asking again.
    pub(crate) wait: Duration,
    /// The time of the account.
    pub(crate) now: u64,
    pub(crate) generation: String,
    /// For each scope.
    pub(crate) scopes: Vec<ScopeReply>,
}

/// What a step says of one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScopeReply {
    /// How long it makes the call wait.
    pub(crate) wait: Duration,
    pub(crate) in_flight: u64,
    /// For each window.
    pub(crate) used: Vec<Used>,
}

/// An answer that is none of a script's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unusable;

impl StepReply {
    pub(super) fn read(value: &Value, scopes: &[&Scope]) -> Result<Self, Unusable> {
        let mut values = Numbers::new(value)?;
        let outcome = match values.number()? {
            0 => StepOutcome::Denied,
            1 => StepOutcome::Granted,
            2 => StepOutcome::Heard,
            3 => StepOutcome::Lost,
            _ => return Err(Unusable),
        };
        let (wait, _before, now, _raw) =
            (values.number()?, values.number()?, values.number()?, values.number()?);
        let generation = values.text()?;
        let mut replies = Vec::with_capacity(scopes.len());
        for _ in scopes {
            let wait = Duration::from_micros(values.number()?);
            replies.push(ScopeReply { wait, in_flight: values.number()?, used: Vec::new() });
        }
        for (reply, scope) in replies.iter_mut().zip(scopes) {
            for window in &scope.windows {
                let used = match window.kind {
                    WindowKind::Calendar { .. } => {
                        let (day_ends, used) = (values.number()?, values.number()?);
                        Used { used, day_ends, next_day: values.number()? }
                    }
                    _ => Used { used: values.number()?, ..Used::default() },
                };
                reply.used.push(used);
            }
        }
        let wait = Duration::from_micros(wait);
        Ok(Self { outcome, wait, now, generation, scopes: replies })
    }
}

/// A sign of life.
#[derive(Debug, Clone)]
pub(crate) struct Beat<'a> {
    pub(super) head: Head,
    /// Where this process runs.
    pub(super) place: &'a str,
    pub(super) is_leaving: bool,
    /// Processes that ran on this machine and are no more.
    pub(super) dead: Vec<String>,
    /// For how long the share of a silent process is kept for it.
    pub(super) reserved_for: Duration,
    /// The longest time for which a window of this process remembers a call.
    pub(super) retention: Duration,
    pub(super) lanes: Vec<LaneBeat<'a>>,
    /// The routes that the breakers of this process refuse.
    pub(super) refused: &'a [RefusedRoute],
}

/// What a process says of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneBeat<'a> {
    pub(super) lane: &'a str,
    /// How long the broker wants to be left alone, zero if it has not said so.
    pub(super) pause: Duration,
    /// The rate in percent of the configured one.
    pub(super) percent: u32,
    /// Its round trip credit. Zero without one.
    pub(super) credit: Duration,
}

/// How many routes a process tells of at most.
const MAX_REFUSED: usize = 64;

impl Beat<'_> {
    pub(super) fn add(&self, command: &mut Cmd, account: &str) {
        command.arg(2 + self.lanes.len());
        command.arg(key(account, "meta")).arg(key(account, "procs"));
        for lane in &self.lanes {
            command.arg(key(account, &format!("turn:{}", lane.lane)));
        }
        self.head.add(command, self.retention);
        command.arg(self.place).arg(u8::from(self.is_leaving)).arg(self.dead.len());
        for dead in &self.dead {
            command.arg(dead);
        }
        command.arg(micros(self.reserved_for));
        for lane in &self.lanes {
            command.arg(micros(lane.pause)).arg(lane.percent).arg(micros(lane.credit));
        }
        // Redis keeps them as lines of fields.
        let is_plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        let refused = self.refused.iter().filter(|it| is_plain(&it.lane) && is_plain(&it.route));
        let refused: Vec<_> = refused.take(MAX_REFUSED).collect();
        command.arg(refused.len());
        for RefusedRoute { lane, route } in refused {
            command.arg(lane).arg(route);
        }
    }
}

/// The answer to a sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BeatReply {
    pub(crate) now: u64,
    /// The wall clock of the host of Redis.
    pub(crate) raw: u64,
    pub(crate) generation: String,
    pub(crate) processes: u32,
    /// Which of them this one is, from zero.
    pub(crate) rank: u32,
    /// Whether all that were there before know of this one.
    pub(crate) is_settled: bool,
    /// The routes that the breakers of other processes refuse.
    pub(crate) refused: Vec<RefusedRoute>,
    pub(crate) others: Vec<OtherProcess>,
}

/// Another process of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherProcess {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) silent_for: Duration,
}

impl BeatReply {
    pub(super) fn read(value: &Value) -> Result<Self, Unusable> {
        let mut values = Numbers::new(value)?;
        let (now, raw, generation) = (values.number()?, values.number()?, values.text()?);
        let (processes, rank, is_settled) =
            (values.number()?, values.number()?, values.number()? == 1);
        let refused = (0..values.number()?)
            .map(|_| Ok(RefusedRoute { lane: values.text()?, route: values.text()? }))
            .collect::<Result<Vec<_>, _>>()?;
        let mut others = Vec::new();
        while !values.is_empty() {
            let (name, place) = (values.text()?, values.text()?);
            let silent_for = Duration::from_micros(values.number()?);
            others.push(OtherProcess { name, place, silent_for });
        }
        let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (processes, rank) = (whole(processes), whole(rank));
        Ok(Self { now, raw, generation, processes, rank, is_settled, refused, others })
    }

    /// Returns for how long Redis has known all calls: a generation begins with the moment at which it began.
    pub(super) fn known_for(&self) -> Option<Duration> {
        let begin: u64 = self.generation.split('-').next()?.parse().ok()?;
        Some(Duration::from_micros(self.raw.saturating_sub(begin)))
    }
}

/// The values of an answer, one after the other.
struct Numbers<'a>(std::slice::Iter<'a, Value>);

impl<'a> Numbers<'a> {
    fn new(value: &'a Value) -> Result<Self, Unusable> {
        match value {
            Value::Array(values) => Ok(Self(values.iter())),
            _ => Err(Unusable),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn number(&mut self) -> Result<u64, Unusable> {
        let value = self.0.next().ok_or(Unusable)?;
        u64::from_redis_value_ref(value).map_err(|_| Unusable)
    }

    fn text(&mut self) -> Result<String, Unusable> {
        let value = self.0.next().ok_or(Unusable)?;
        String::from_redis_value_ref(value).map_err(|_| Unusable)
    }
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
