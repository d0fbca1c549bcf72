//! What `benches/shared_quota` needs of this module: one process that asks as often as it can, and the words that it sends.
//! No interface.
//!
//! An ask here is what an ask of `SharedPermits` is, without the lanes above it: the command
//! is made under the lock of the process's state, sent on a connection of the pool, and its answer read under the lock again.

use std::time::Duration;

use parking_lot::Mutex;

use super::member::{Member, Retelling, Time, Trip};
use super::protocol::{STEP, Scope, StepOutcome};
use crate::clock::{Clock, ManualClock};
use crate::quota::{Budget, BudgetSet, Cost, Quota, Reserve};
use crate::redis::{RedisPool, RedisSettings, Script};

/// One process of an account, which has one lane, `lane`. Threads may share it.
pub struct StepBench {
    account: String,
    process: String,
    pool: RedisPool,
    step: Script,
    clock: Clock,
    budgets: BudgetSet,
    member: Mutex<Member>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct BenchAsk {
    /// How many slots the call takes.
    pub weight: u32,
    /// The priority of the call.
    pub priority: u8,
    /// The moment of the account in microseconds. `None` is the time of the host of Redis.
    pub moment: Option<u64>,
    /// Whether a call that was granted ends at once, and is told with the next ask. Otherwise it stays in flight.
    pub ends: bool,
}

impl Default for BenchAsk {
    fn default() -> Self {
        Self { weight: 1, priority: 5, moment: None, ends: true }
    }
}

impl StepBench {
    /// Takes part in an account. If the moment of the account is set, no time passes in this process. Until [`ask`](Self::ask)
    /// returns `true`, Redis may hold all back, as it does after a loss.
    ///
    /// # Errors
    /// The address is none, a window cannot be shared, or Redis does not answer.
    pub fn new(
        url: &str,
        account: &str,
        process: &str,
        lane: &Quota,
        budgets: &[Budget],
        moment: Option<u64>,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let mut scopes = vec![scope("lane:lane".to_owned(), lane, Reserve::NONE)?];
        let mut all = BudgetSet::EMPTY;
        for (index, budget) in budgets.iter().enumerate() {
            scopes.push(scope(format!("budget:{index}"), budget.quota(), budget.reserved())?);
            if !all.insert(index) {
                return Err("there are too many budgets".to_owned());
            }
        }
        // Longer than a measurement, so that no lease is renewed, as in a process that runs for a long time.
        let lease = Duration::from_secs(600);
        let settings = RedisSettings {
            timeout: Duration::from_secs(10),
            asks_for_run: true,
            ..RedisSettings::default()
        };
        let this = Self {
            account: account.to_owned(),
            process: process.to_owned(),
            pool: RedisPool::new(url, settings).map_err(|error| text(&error))?,
            step: Script::new(STEP),
            clock: if moment.is_some() { ManualClock::new().into() } else { Clock::system() },
            budgets: all,
            member: Mutex::new(Member::new(
                process.to_owned(),
                vec!["lane".to_owned()],
                scopes,
                lease,
            )),
        };
        let charge = this.cost(1).into();
        let retelling = this.member.lock().begin_retelling(Some(Retelling::Returned));
        let (trip, value) =
            this.send(moment, |member, time| member.retell(charge, retelling, time))?;
        let mut member = this.member.lock();
        member.on_step(trip, None, &value).map_err(|error| text(&error))?;
        member.finish_retelling();
        drop(member);
        Ok(this)
    }

    fn cost(&self, weight: u32) -> Cost {
        Cost { lane: 0, budgets: self.budgets, weight, urgent: false }
    }

    fn send(
        &self,
        moment: Option<u64>,
        make: impl FnOnce(&mut Member, Time<'_>) -> Trip,
    ) -> Result<(Trip, ::redis::Value), String> {
        let mut made = None;
        let reply = self.pool.with_run(|connection, run| {
            let time = Time { wall: self.clock.wall_clock(), moment, account: &self.account, run };
            let trip = made.insert(make(&mut self.member.lock(), time));
            self.step.run(connection, |command| {
                for word in &trip.words {
                    command.arg(word);
                }
            })
        });
        let reply = reply.map_err(|failure| failure.to_string())?;
        made.map(|trip| (trip, reply)).ok_or_else(|| "nothing was sent".to_owned())
    }

    /// Asks for one permit, and tells what has ended. Returns whether it was granted.
    ///
    /// # Errors
    /// Redis does not answer, or has lost what it knew.
    pub fn ask(&self, wanted: BenchAsk) -> Result<bool, String> {
        let cost = self.cost(wanted.weight);
        let now = self.clock.now();
        let ask = self.member.lock().ask(cost, wanted.priority, false, now);
        let (trip, value) =
            self.send(wanted.moment, |member, time| member.step(cost.into(), Some(&ask), time))?;
        let mut member = self.member.lock();
        let reply =
            member.on_step(trip, Some(&ask), &value).map_err(|error| format!("{error:?}"))?;
        match reply.outcome {
            StepOutcome::Granted => {
                if wanted.ends {
                    let now = self.clock.now();
                    member.end(ask.number, now, now);
                }
                Ok(true)
            }
            StepOutcome::Denied => Ok(false),
            outcome => Err(format!("{outcome:?}")),
        }
    }

    /// Returns the command of an ask, with what it would tell, for another program that sends it again and again. The number in
    /// each id is `id`.
    ///
    /// # Errors
    /// Redis does not answer.
    pub fn words(&self, wanted: BenchAsk, id: &str) -> Result<Vec<String>, String> {
        let cost = self.cost(wanted.weight);
        let wall = self.clock.wall_clock();
        let run = self.pool.with_run(|_, run| Ok(run.to_owned()));
        let run = run.map_err(|failure| failure.to_string())?;
        let time = Time { wall, moment: wanted.moment, account: &self.account, run: &run };
        let mut member = self.member.lock();
        let ask = member.ask(cost, wanted.priority, false, wall.moment);
        let trip = member.step(cost.into(), Some(&ask), time);
        let begin = format!("{}-", self.process);
        let words = trip.words.iter().map(|word| {
            let word = String::from_utf8_lossy(word);
            let number = word.strip_prefix(&begin).and_then(|rest| rest.split_once('@'));
            number.map_or_else(|| word.to_string(), |(_, at)| format!("{begin}{id}@{at}"))
        });
        let command = ["EVALSHA".to_owned(), self.step.sha1.clone()];
        Ok(command.into_iter().chain(words).collect())
    }
}

fn scope(name: String, quota: &Quota, reserve: Reserve) -> Result<Scope, String> {
    Scope::new(name, quota.windows(), reserve).map_err(|error| format!("{error:?}"))
}
