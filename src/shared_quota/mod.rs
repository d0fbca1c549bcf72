//! One quota for several processes, through Redis or Valkey.
//!
//! Two bots share an account, or two gateways for availability. Each proxy is built with the same [`SharedQuota`]. Its lanes
//! then need a permit of Redis beside their own for each call. One script grants all windows of the lane and its budgets or
//! none, by the clock of the host of Redis, and orders the calls of all processes by priority and turn.
//! `docs/several-processes.md` has the protocol and what each failure does.
//!
//! - `step.lua` and `beat.lua`, each after `clock.lua`, are what Redis does. `protocol.rs` is how they are called.
//! - `member.rs` is what one process knows: its calls, and what it has to tell. `asks.rs` has the permits of one lane. `link.rs`
//!   decides whether Redis is away, and what is sent then. All of them are told the time, and do no I/O.
//! - `permits.rs` carries requests to Redis and answers to the lanes. `keeper.rs` is a thread that keeps the process in its
//!   account.
//! - `status.rs` is what Redis knows of an account, for a person. `status_read.rs` reads it, and `status_text.rs` prints it.
//! - `events.rs` brings what happened to the observer, which may be slow.
//! - `settings.rs` is what a file says of it.
//! - `eviction.rs` warns of a Redis that may throw away what it knows.
//! - `place.rs` finds out whether a silent process on the same machine is dead.

mod asks;
#[doc(hidden)]
pub mod bench;
mod events;
mod eviction;
mod keeper;
mod link;
mod member;
#[cfg(test)]
mod oracle;
mod permits;
mod place;
mod protocol;
mod settings;
mod status;
mod status_read;
mod status_text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::keeper::Keeper;
use self::link::Link;
pub use self::link::WhenAway;
use self::member::Member;
use self::permits::{PartSettings, SharedPermits};
use self::protocol::NotShareable;
pub(crate) use self::protocol::{Scope, key, micros};
#[cfg(feature = "config")]
pub(crate) use self::settings::has_password;
pub use self::settings::{SharedSettings, SharedSettingsError};
pub use self::status::{
    AccountStatus, AccountStatusError, ProcessState, ProcessStatus, ScopeStatus, SharedWindowStatus,
};
use crate::clock::Clock;
use crate::lane::{
    ObserverHandle, PermitEnd, PermitRequest, PermitSource, SharedPacing, SharedPermit,
    SharedQuotaStatus,
};
use crate::quota::{Cost, Moment, NoCapacity, Quota, QuotaError, Reserve};
use crate::redis::{RedisPool, RedisSettings};

/// A quota that several processes share, for the `shared` method of a proxy's builder.
///
/// A setting that is out of range is an error when the proxy is built
/// ([`BuildError::SharedQuota`](crate::BuildError::SharedQuota)).
///
/// Give it the same account in every process, and each proxy the same limits. While Redis answers, all processes together keep
/// to the quota, and divide it by priority and in turns. While it does not, each keeps to its share. A process that asks for a
/// permit waits for Redis at most for the [`timeout`](Self::timeout) of each trip. Once there was no answer for
/// [`away_after`](Self::away_after), the next failure ends the waiting.
///
/// The round trip credit is not used with it ([`RttCredit::STRICT`](crate::RttCredit::STRICT)), unless all processes have
/// [one path](Self::one_path) to the broker.
///
/// ```no_run
/// use lanekeeper::{LaneError, Quota, SharedQuota};
///
/// #[lanekeeper::proxy]
/// trait Weather: Send + Sync {
///     #[lane(reports, read)]
///     fn report(&self, city: String) -> Result<String, LaneError>;
/// }
///
/// # struct Station;
/// # impl Weather for Station { fn report(&self, city: String) -> Result<String, LaneError> { Ok(city) } }
/// let shared = SharedQuota::redis("redis://127.0.0.1:6379", "account-1")?.process("bot");
/// let weather = WeatherProxy::builder(Station)
///     .reports(Quota::per_second(10))
///     .shared(shared)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SharedQuota {
    /// It may have a password.
    url: String,
    account: String,
    process: String,
    lease: Duration,
    timeout: Duration,
    away_after: Duration,
    reserved_for: Duration,
    processes: u32,
    when_away: WhenAway,
    has_one_path: bool,
}

/// Why a quota cannot be shared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedQuotaError {
    /// The address is none of a Redis.
    #[error(
        "this is no address of a Redis: write redis://HOST:PORT, rediss://HOST:PORT, or unix:///PATH"
    )]
    Address,
    /// The name of the account, of the process or of a kind of values is not allowed.
    #[error(
        "`{name}` is no name of {what}: write up to 64 letters, digits, dots, dashes and underscores"
    )]
    Name {
        /// `an account`, `a process` or `a kind of values`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A time is zero, or out of range.
    #[error("{what} is {value:?}: write {range}")]
    Time {
        /// The setting.
        what: &'static str,
        /// What was set.
        value: Duration,
        /// What is allowed.
        range: &'static str,
    },
    /// A window is counted in a way that several processes cannot share.
    #[error("a sliding counter cannot be shared: use a sliding log for the window of {of}")]
    Window {
        /// The lane or the budget.
        of: String,
    },
    /// The thread that keeps the process in its account does not start.
    #[error("the thread of the shared quota does not start: {error}")]
    Thread {
        /// The error of the operating system.
        error: String,
    },
}

impl SharedQuota {
    /// Shares the quota of `account` through the Redis or Valkey at this address. Nothing is connected yet.
    ///
    /// The address is `redis://USER:PASSWORD@HOST:PORT/DATABASE`, with `rediss` for TLS, or
    /// `unix:///PATH?db=DATABASE&user=USER&pass=PASSWORD`. The user, the password and the database may be left out. It is in no
    /// error and in no `Debug`. Redis must be 6.2 or newer.
    ///
    /// # Errors
    /// The address cannot be read, or the account's name is not allowed.
    pub fn redis(url: &str, account: &str) -> Result<Self, SharedQuotaError> {
        check_name("an account", account)?;
        RedisPool::new(url, RedisSettings::default()).map_err(|_| SharedQuotaError::Address)?;
        Ok(Self {
            url: url.to_owned(),
            account: account.to_owned(),
            process: format!("{}-{:08x}", std::process::id(), fastrand::u32(..)),
            lease: Duration::from_secs(8),
            timeout: Duration::from_millis(100),
            away_after: Duration::from_millis(500),
            reserved_for: Duration::from_secs(600),
            processes: 1,
            when_away: WhenAway::Share,
            has_one_path: false,
        })
    }

    /// Names this process, for the status: up to 55 letters, digits, dots, dashes and underscores. No two processes that run may
    /// have the same name, so a random part is added. The default is the number of the process. Another name is an error when
    /// the proxy is built.
    #[must_use]
    pub fn process(mut self, name: &str) -> Self {
        self.process = format!("{name}-{:08x}", fastrand::u32(..));
        self
    }

    /// Sets for how long a call holds its slots if nothing more is heard of it: longer than the adapter's timeout, by a quarter
    /// at least. A call that is in flight for longer is renewed. A permit is used within an eighth of it, or not at all, so a
    /// call whose process is killed holds its slots for seven eighths of it from its sending on. From 2 s to 10 min; the default
    /// is 8 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the longest time to wait for one answer of Redis. From 1 ms to 10 s; the default is 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets for how long Redis may give no answer before it counts as away. Calls wait meanwhile. At most 10 s; the default is
    /// 500 ms.
    #[must_use]
    pub fn away_after(mut self, away_after: Duration) -> Self {
        self.away_after = away_after;
        self
    }

    /// Sets what is done while Redis is away. The default is [`WhenAway::Share`].
    #[must_use]
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
        self
    }

    /// Sets for how long a process that is cut off from Redis goes on with its share, and for how long the others leave it alone.
    /// That, and the longest window that is no day, is also for how long a process that was killed costs the others its share,
    /// unless one of them runs on the same machine. From 10 s to a day; the default is 10 min. It must be the same in all
    /// processes.
    #[must_use]
    pub fn share_for(mut self, time: Duration) -> Self {
        self.reserved_for = time;
        self
    }

    /// Sets how many processes there are at least. While Redis is away, a share is no larger than with so many. The default is
    /// 1: the number that Redis knew last counts.
    #[must_use]
    pub fn processes(mut self, processes: u32) -> Self {
        self.processes = processes.max(1);
        self
    }

    /// Says that all processes of the account reach the broker on one path: they run on one host. Then the
    /// [round trip credit](crate::RttCredit) is used, the least of all processes. By default it is not, which costs the least
    /// round trip of each window: 4 % at 40 ms and one second.
    ///
    /// Set it in all processes: one that has not said so has no credit, and so none of the others has. A process has none either
    /// until it has made some calls. Windows of more than a minute never have one.
    #[must_use]
    pub fn one_path(mut self) -> Self {
        self.has_one_path = true;
        self
    }

    pub(crate) fn has_one_path(&self) -> bool {
        self.has_one_path
    }

    /// Returns the name of the account.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// Returns connections of their own to the Redis of the account. They can ask which run of it they lead to.
    pub(crate) fn pool(&self, asks_for_run: bool) -> Result<RedisPool, SharedQuotaError> {
        let settings =
            RedisSettings { timeout: self.timeout, asks_for_run, ..RedisSettings::default() };
        RedisPool::new(&self.url, settings).map_err(|_| SharedQuotaError::Address)
    }

    fn check(&self) -> Result<(), SharedQuotaError> {
        check_name("a process", &self.process)?;
        let seconds = Duration::from_secs;
        let of = |what, value: Duration, least: Duration, most: Duration, range| match (least
            ..=most)
            .contains(&value)
        {
            true => Ok(()),
            false => Err(SharedQuotaError::Time { what, value, range }),
        };
        of("the lease", self.lease, seconds(2), seconds(600), "2 s to 10 min")?;
        of("the timeout", self.timeout, Duration::from_millis(1), seconds(10), "1 ms to 10 s")?;
        of("away_after", self.away_after, Duration::ZERO, seconds(10), "10 s at most")?;
        of("share_for", self.reserved_for, seconds(10), seconds(86_400), "10 s to a day")
    }

    /// Takes part in the account. `scopes` are the lanes and then the budgets.
    pub(crate) fn join(
        &self,
        lanes: &[&str],
        scopes: Vec<Scope>,
        clock: &Clock,
        observer: &ObserverHandle,
    ) -> Result<SharedSource, SharedQuotaError> {
        self.check()?;
        let pool = self.pool(true)?;
        let lanes = lanes.iter().map(|lane| (*lane).to_owned()).collect();
        let member = Member::new(self.process.clone(), lanes, scopes, self.lease);
        let link = Link::new(self.away_after, self.when_away, self.reserved_for, clock.now());
        let settings = PartSettings {
            account: self.account.clone(),
            reserved_for: self.reserved_for,
            processes: self.processes,
            has_credit: self.has_one_path,
        };
        let permits =
            SharedPermits::new(settings, pool, member, link, clock.clone(), observer.clone());
        Ok(SharedSource { permits: Arc::new(permits), keeper: std::sync::OnceLock::new() })
    }
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), SharedQuotaError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match (1..=64).contains(&name.len()) && name.chars().all(is_allowed) {
        true => Ok(()),
        false => Err(SharedQuotaError::Name { what, name: name.to_owned() }),
    }
}

/// Returns a lane or a budget as the processes share it. `kind` is `lane` or `budget`.
pub(crate) fn scope(
    kind: &str,
    name: &str,
    quota: &Quota,
    reserve: Reserve,
) -> Result<Scope, SharedQuotaError> {
    let error = |_: NotShareable| SharedQuotaError::Window { of: format!("{kind} `{name}`") };
    Scope::new(format!("{kind}:{name}"), quota.windows(), reserve).map_err(error)
}

impl fmt::Debug for SharedQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address: it may have a password.
        f.debug_struct("SharedQuota")
            .field("account", &self.account)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// The permits of a proxy, and the thread that keeps it in its account. Dropped, it leaves the account.
pub(crate) struct SharedSource {
    permits: Arc<SharedPermits>,
    keeper: std::sync::OnceLock<Keeper>,
}

impl SharedSource {
    /// Starts, now that the lanes exist. It tries to reach Redis once, so that a proxy that can reach it begins with it.
    pub(crate) fn start(&self, pacing: &Arc<SharedPacing>) -> Result<(), SharedQuotaError> {
        self.permits.set_pacing(pacing);
        self.permits.begin();
        let keeper = Keeper::start(Arc::clone(&self.permits))
            .map_err(|error| SharedQuotaError::Thread { error: error.to_string() })?;
        let _ = self.keeper.set(keeper);
        Ok(())
    }

    /// Returns for how long Redis has known all calls of the account. `None` if it has not answered.
    pub(crate) fn known_for(&self) -> Option<Duration> {
        self.permits.known_for()
    }
}

impl PermitSource for SharedSource {
    fn check(&self, cost: Cost, now: Moment) -> Result<(), NoCapacity> {
        self.permits.check(cost, now)
    }

    fn expected_at(&self, cost: Cost, now: Moment) -> Option<Moment> {
        self.permits.expected_at(cost, now)
    }

    fn take(&self, request: PermitRequest, now: Moment) -> Option<SharedPermit> {
        self.permits.take(request, now)
    }

    fn has_ask(&self, lane: usize) -> bool {
        self.permits.has_ask(lane)
    }

    fn ask(&self, lane: usize) {
        self.permits.ask(lane);
    }

    fn give_back_unused(&self, lane: usize, now: Moment) {
        self.permits.give_back_unused(lane, now);
    }

    fn is_fresh(&self, permit: &SharedPermit, now: Moment) -> bool {
        self.permits.is_fresh(permit, now)
    }

    fn end(&self, permit: SharedPermit, end: PermitEnd, now: Moment) {
        self.permits.end(permit, end, now);
    }

    fn pause(&self, lane: usize, pause: Duration) {
        self.permits.pause(lane, pause);
    }

    fn set_lane(&self, lane: usize, quota: &Quota) -> Result<(), QuotaError> {
        self.permits.set_windows(lane, quota.windows(), None)
    }

    fn set_budget(&self, budget: usize, to: &crate::Budget) -> Result<(), QuotaError> {
        self.permits.set_budget(budget, to)
    }

    fn status(&self) -> SharedQuotaStatus {
        self.permits.status()
    }
}
