//! Verdicts from memory, whose counts are exchanged with Redis every so often.
//!
//! Each process keeps, for the keys that it is asked about, the counts of all processes as of the last exchange, and what
//! it has admitted since. It answers from these. An exchange adds the latter to the counts in Redis and brings back the
//! counts of all.
//!
//! # The overshoot has a bound
//!
//! Between two exchanges of a key, a process admits at most `rate x sync` of it by itself: its *credit*. A request beyond
//! the credit is judged by Redis, and exchanges the key in the same trip. So what Redis does not know of is at most
//! `processes x rate x sync`, and no more than that is admitted beyond the limit, whatever its burst (as long as
//! `processes x sync` is at most ten seconds, or the unit of the rule). A key whose rate is
//! so low that the credit is below one request is always judged by Redis. A request that is over the limit by what is
//! known is refused without a trip, because what is known only becomes more.
//!
//! # Nothing is counted twice, and nothing in another window
//!
//! An exchange has a number. If its answer is lost, the same exchange is sent again with the same number, and Redis does
//! not add again what it has added. What was admitted in a window is sent with the end of that window, and is not added
//! to a later one.
//!
//! # When Redis is away
//!
//! It goes on locally: the credit does not hold then, so that each process admits up to the whole limit. `status` says
//! so, and `on_change` is called. What was admitted is exchanged when Redis is back. Limits that cannot be kept in this
//! way (a sliding window log, which is exact or nothing, and a backoff, which must be closed) are always judged by Redis.

mod local;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use smallvec::SmallVec;

pub(super) use self::local::Addition;
use self::local::{Decision, Local};
use super::redis::RedisStorage;
use super::unix_clock::UnixClock;
use super::{Storage, StorageError, Take, Taken};
use crate::clock::Clock;
use crate::panic::catch_panic;
use crate::quota::request_limit::UnixMicros;

/// How many counts one script adds. It holds up Redis for a few milliseconds.
const BATCH: usize = 200;

/// The least time between two exchanges of the thread.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// Answers from memory, and exchanges counts with Redis. See [the module](super) for the storages that there are.
///
/// ```no_run
/// use std::time::Duration;
/// use lanekeeper::limiter::{EventualStorage, RateLimiter, RedisStorage, Rules};
///
/// let redis = RedisStorage::new("redis://127.0.0.1:6379", "api")?;
/// let storage = EventualStorage::new(redis, Duration::from_millis(100))?;
/// let limiter = RateLimiter::new(Rules::from_path("rules.yaml")?, storage);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventualStorage {
    shared: Arc<Shared>,
    /// Closed when this is dropped, which ends the thread.
    _stop: Option<Sender<()>>,
}

struct Shared {
    redis: RedisStorage,
    /// Where Redis keeps the number of the last exchange of this process.
    node: String,
    sync: Duration,
    local: Mutex<Local>,
    exchanges: Mutex<Exchanges>,
    clock: UnixClock,
    /// How far the clock of Redis is ahead of ours, in microseconds, as of the last exchange.
    ahead: AtomicI64,
    is_away: AtomicBool,
    on_change: Mutex<Option<OnChange>>,
}

type OnChange = Box<dyn Fn(&EventualStatus) + Send>;

/// The exchanges of this process, which are one at a time.
#[derive(Default)]
struct Exchanges {
    number: u64,
    /// What was sent with this number and not acknowledged. It is sent again before anything else.
    unacknowledged: Vec<Addition>,
}

/// How an [`EventualStorage`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventualStatus {
    /// Whether Redis cannot be reached, so that each process keeps to the limits by itself.
    pub is_away: bool,
    /// How many keys have counts that Redis does not know of.
    pub unexchanged_keys: usize,
}

impl fmt::Debug for EventualStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventualStorage")
            .field("redis", &self.shared.redis)
            .field("sync", &self.shared.sync)
            .field("status", &self.status())
            .finish()
    }
}

impl EventualStorage {
    /// Returns a storage that exchanges its counts every `sync`, on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(redis: RedisStorage, sync: Duration) -> Result<Self, StorageError> {
        let mut this = Self::by_hand(redis, sync);
        let (stop, stopped) = bounded::<()>(0);
        let shared = Arc::clone(&this.shared);
        let exchange = move || {
            // Without a pause, the thread would take a processor.
            let pause = shared.sync.max(MIN_PAUSE);
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                shared.exchange(None);
            }
            // What is left, once.
            shared.exchange(None);
        };
        let thread = std::thread::Builder::new().name("lanekeeper-limits".to_owned());
        thread.spawn(exchange).map_err(|error| StorageError::new(error.to_string()))?;
        this._stop = Some(stop);
        Ok(this)
    }

    /// Returns a storage that exchanges its counts when [`exchange`](Self::exchange) is called, for tests and for
    /// programs with a timer of their own.
    pub fn by_hand(redis: RedisStorage, sync: Duration) -> Self {
        // A name that no other process has.
        let node = format!("{:x}", random());
        let shared = Shared {
            node: redis.name_of(&format!("node:{node}")),
            redis,
            sync,
            local: Mutex::new(Local::new(sync)),
            exchanges: Mutex::default(),
            clock: UnixClock::new(Clock::system()),
            ahead: AtomicI64::new(0),
            is_away: AtomicBool::new(false),
            on_change: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), _stop: None }
    }

    /// Keeps at most this many keys in memory. Requests for others are judged by Redis. The default is 1,000,000.
    #[must_use]
    pub fn max_keys(self, max_keys: usize) -> Self {
        self.shared.local.lock().set_max_keys(max_keys);
        self
    }

    /// Sets what is called when Redis goes away, and when it is back. It must not call this storage.
    #[must_use]
    pub fn on_change(self, call: impl Fn(&EventualStatus) + Send + 'static) -> Self {
        *self.shared.on_change.lock() = Some(Box::new(call));
        self
    }

    /// Exchanges the counts now. The moment is for recorded traffic and tests, as in [`Take::at`].
    pub fn exchange(&self, at: Option<UnixMicros>) {
        self.shared.exchange(at);
    }

    /// Returns how it is.
    pub fn status(&self) -> EventualStatus {
        self.shared.status()
    }
}

impl Shared {
    fn status(&self) -> EventualStatus {
        EventualStatus {
            is_away: self.is_away.load(Ordering::Relaxed),
            unexchanged_keys: self.local.lock().unexchanged(),
        }
    }

    /// Returns the time of Redis, as far as it is known.
    fn now(&self) -> UnixMicros {
        let here = self.clock.now().get();
        UnixMicros::new(here.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    /// Returns the moment of a verdict. It is asked for under the lock of what is known locally: a thread that is stopped
    /// between the clock and the lock would take the counts back to its own time.
    fn moment_of(&self, take: &Take<'_, '_>) -> UnixMicros {
        take.moment().unwrap_or_else(|| self.now())
    }

    /// Judges a request that needs no trip.
    fn take_here(&self, take: &Take<'_, '_>, names: &[String]) -> Option<Taken> {
        let mut local = self.local.lock();
        let now = self.moment_of(take);
        match local.take(names, take, now) {
            Decision::Here(taken) => Some(taken),
            Decision::AskRedis => None,
        }
    }

    fn set_away(&self, is_away: bool) {
        if self.is_away.swap(is_away, Ordering::Relaxed) != is_away {
            let status = self.status();
            if let Some(call) = &*self.on_change.lock() {
                // It is code of users. Its panic must not end the thread that exchanges the counts.
                let _ = catch_panic(|| call(&status));
            }
        }
    }

    /// Exchanges all that Redis does not know of.
    fn exchange(&self, at: Option<UnixMicros>) {
        let mut exchanges = self.exchanges.lock();
        if !self.acknowledge(&mut exchanges, at) {
            return;
        }
        // What is admitted meanwhile is for the next time.
        let mut batches = self.local.lock().unexchanged().div_ceil(BATCH);
        while batches > 0 {
            batches -= 1;
            let additions = self.local.lock().additions(BATCH);
            // Requests that were judged by Redis have exchanged their keys themselves.
            if additions.is_empty() {
                continue;
            }
            if self.send(&mut exchanges, additions, None, at).is_err() {
                break;
            }
        }
        self.local.lock().forget(at.unwrap_or_else(|| self.now()));
    }

    /// Sends again what was not acknowledged. Returns whether nothing of that is left.
    fn acknowledge(&self, exchanges: &mut Exchanges, at: Option<UnixMicros>) -> bool {
        if exchanges.unacknowledged.is_empty() {
            return true;
        }
        let again = std::mem::take(&mut exchanges.unacknowledged);
        // With the same number.
        exchanges.number -= 1;
        self.send(exchanges, again, None, at).is_ok()
    }

    /// Makes one exchange, and a verdict with it: of a request, with the names of its keys.
    fn send(
        &self,
        exchanges: &mut Exchanges,
        additions: Vec<Addition>,
        take: Option<(&Take<'_, '_>, &[String])>,
        at: Option<UnixMicros>,
    ) -> Result<Option<Taken>, StorageError> {
        exchanges.number += 1;
        let sent = self.clock.now();
        let number = exchanges.number;
        let reply = self.redis.exchange(&self.node, number, &additions, take, at);
        match reply {
            Ok(reply) => {
                if at.is_none() {
                    self.set_clock(sent, reply.at);
                }
                let mut local = self.local.lock();
                local.adopt(&additions, &reply.states, reply.at);
                if let Some((take, names)) = take {
                    local.learn(names, take, &reply.taken_states, reply.at);
                }
                drop(local);
                self.set_away(false);
                Ok(reply.taken)
            }
            Err(error) => {
                exchanges.unacknowledged = additions;
                self.set_away(true);
                Err(error)
            }
        }
    }

    /// Notes how far Redis's clock is ahead, half a trip ago.
    fn set_clock(&self, sent: UnixMicros, redis: UnixMicros) {
        let received = self.clock.now().get();
        let middle = sent.get() + received.saturating_sub(sent.get()) / 2;
        let ahead = i128::from(redis.get()) - i128::from(middle);
        self.ahead.store(i64::try_from(ahead).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Asks Redis, and exchanges the keys of the request in the same trip.
    fn ask(&self, take: &Take<'_, '_>, names: &[String]) -> Result<Taken, StorageError> {
        let at = take.moment();
        let mut exchanges = self.exchanges.lock();
        if !self.acknowledge(&mut exchanges, at) {
            return Err(StorageError::new("Redis is away"));
        }
        let additions = self.local.lock().additions_of(names);
        let taken = self.send(&mut exchanges, additions, Some((take, names)), at)?;
        taken.ok_or_else(|| StorageError::new("Redis gave no verdict"))
    }
}

impl Storage for EventualStorage {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        let shared = &*self.shared;
        let names = shared.redis.names(take);
        if let Some(taken) = shared.take_here(take, &names) {
            return Ok(taken);
        }
        shared.ask(take, &names).or_else(|error| {
            let mut local = shared.local.lock();
            let now = shared.moment_of(take);
            // It goes on locally, without the credit.
            local.take_alone(&names, take, now).ok_or(error)
        })
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        self.shared.redis.forgive(take)
    }

    fn may_block(&self) -> bool {
        true
    }

    fn take_here(&self, take: &Take<'_, '_>) -> Option<Result<Taken, StorageError>> {
        self.shared.take_here(take, &self.shared.redis.names(take)).map(Ok)
    }
}

/// Random bits, from the random keys of the standard library's hashers.
fn random() -> u128 {
    use std::hash::BuildHasher as _;
    let half = || u128::from(std::hash::RandomState::new().hash_one(std::process::id()));
    (half() << 64) | half()
}

/// Readings of a request.
type Readings = SmallVec<[crate::quota::request_limit::Reading; 2]>;
