//! What can be wrong with Redis, seen from one process: what is sent, what the user is told, and how it ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lanekeeper::lane::{CallInfo, Observer, SharedMode, SharedQuotaEvent};
use lanekeeper::quota::Quota;
use lanekeeper::shared_quota::{SharedQuota, SharedQuotaError, SharedSettingsError, WhenAway};
use lanekeeper::{
    BuildError, CallOptions, LaneConfig, LaneError, LaneErrorKind, ManualClock, Priority,
};

use crate::redis::RedisServer;

#[lanekeeper::proxy]
trait Service: Send + Sync {
    #[lane(calls, read)]
    fn call(&self) -> Result<u32, Failed>;
}

#[derive(Debug)]
struct Failed(LaneErrorKind);

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Self(error.kind)
    }
}

struct Answers;

impl Service for Answers {
    fn call(&self) -> Result<u32, Failed> {
        Ok(1)
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        let line = match event {
            SharedQuotaEvent::Mode { mode, why, .. } => format!("{mode}: {why}"),
            SharedQuotaEvent::Warning { warning, .. } => format!("warning: {warning}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// The process stands still for five seconds after the first call was dispatched, and before it is sent.
struct StandsStill(ManualClock, AtomicU32);

impl Observer for StandsStill {
    fn dispatched(&self, _: &CallInfo<'_>, _: Duration) {
        if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.advance(Duration::from_secs(5));
        }
    }
}

#[test]
fn a_permit_that_is_too_old_is_not_used_and_the_call_is_sent_once_by_a_new_one() {
    let Some(redis) = RedisServer::start() else { return };
    let clock = ManualClock::new();
    let still = Arc::new(StandsStill(clock.clone(), AtomicU32::new(0)));
    let counted = Arc::<AtomicU32>::default();
    let service = ServiceProxy::builder(Counts(Arc::clone(&counted)))
        .calls(Quota::per_second(100))
        .clock(clock.clone())
        .observer(Arc::clone(&still) as Arc<dyn Observer>)
        // A new account holds still for a moment. The clock of Redis is real, and that of the process is not.
        .shared(shared(&redis))
        .build()
        .unwrap();
    let mut ticket = service.submit().call();
    let answer = loop {
        clock.advance(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(1));
        if let Some(answer) = ticket.try_wait() {
            break answer;
        }
    };
    assert_eq!(answer.unwrap(), 1);
    assert_eq!(counted.load(Ordering::Relaxed), 1, "sent once");
    assert_eq!(still.1.load(Ordering::Relaxed), 2, "dispatched again, by a new permit");
    drop((ticket, service));
    assert_eq!(redis.send("HLEN lanekeeper:{a}:procs").lines().next(), Some(":0"), "it has left");
}

struct Counts(Arc<AtomicU32>);

impl Service for Counts {
    fn call(&self) -> Result<u32, Failed> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A proxy that shares its quota, and what its user was told.
struct Process {
    service: ServiceProxy<Answers>,
    told: Arc<Told>,
}

impl Process {
    fn start(shared: SharedQuota, quota: Quota) -> Self {
        let told = Arc::<Told>::default();
        let service = ServiceProxy::builder(Answers)
            .calls(LaneConfig::new(quota))
            .observer(Arc::clone(&told) as Arc<dyn Observer>)
            .shared(shared)
            .build()
            .unwrap();
        Self { service, told }
    }

    fn mode(&self) -> SharedMode {
        self.service.status().shared.unwrap().mode
    }

    /// Waits until the quota is shared in this way, and the user was told so. It is a failure if that takes absurdly long.
    fn wait_for(&self, mode: SharedMode) {
        let begin = Instant::now();
        let last =
            || self.told.0.lock().unwrap().iter().rfind(|line| !line.starts_with('w')).cloned();
        while self.mode() != mode
            || !last().is_some_and(|line| line.starts_with(&format!("{mode}:")))
        {
            assert!(begin.elapsed() < Duration::from_secs(60), "{mode}: {:?}", last());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Calls. It is refused if it was not sent within this time.
    fn call_within(&self, time: Duration) -> Result<u32, Failed> {
        self.service.with(CallOptions::new().deadline(time)).call()
    }

    fn urgent_call(&self) -> Result<u32, Failed> {
        self.service.with(CallOptions::new().priority(Priority::URGENT)).call()
    }

    /// Returns whether the observer is told this. Events come on a thread of their own.
    fn was_told(&self, what: &str) -> bool {
        let is_told = || self.told.0.lock().unwrap().iter().any(|line| line.contains(what));
        let begin = Instant::now();
        while !is_told() && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        is_told()
    }
}

fn shared(redis: &RedisServer) -> SharedQuota {
    SharedQuota::redis(&redis.url(), "a").unwrap()
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_proxy_that_is_dropped_during_a_heartbeat_has_left_its_account_when_that_returns() {
    let Some(redis) = RedisServer::start() else { return };
    let process =
        Process::start(shared(&redis).timeout(Duration::from_secs(10)), Quota::per_second(10));
    process.wait_for(SharedMode::Shared);
    std::thread::scope(|scope| {
        // It answers no request meanwhile, this one's end neither.
        scope.spawn(|| redis.send("CLIENT PAUSE 2500 ALL"));
        // There is a heartbeat each second.
        std::thread::sleep(Duration::from_millis(1500));
        drop(process);
        assert_eq!(redis.send("HLEN lanekeeper:{a}:procs").lines().next(), Some(":0"));
    });
}

#[test]
fn what_was_spent_of_a_day_is_known_after_a_restart() {
    let Some(redis) = RedisServer::start() else { return };
    let zone = lanekeeper::jiff::tz::TimeZone::UTC;
    let quota = || Quota::per_calendar_day(5, zone.clone());
    let first = Process::start(shared(&redis), quota());
    for _ in 0..3 {
        first.call_within(LONG).unwrap();
    }
    drop(first);
    assert_eq!(redis.send("HLEN lanekeeper:{a}:procs").lines().next(), Some(":0"), "it has left");
    let second = Process::start(shared(&redis), quota());
    for _ in 0..2 {
        second.call_within(LONG).unwrap();
    }
    let refused = second.call_within(SHORT).unwrap_err();
    assert!(matches!(refused.0, LaneErrorKind::DeadlinePassed { .. }), "{refused:?}");
    // From then on it is known that nothing is left until midnight.
    let refused = second.call_within(SHORT).unwrap_err();
    assert!(matches!(refused.0, LaneErrorKind::TooLate { .. }), "{refused:?}");
}

#[test]
fn a_process_that_sends_nothing_tells_what_it_sent_when_redis_has_forgotten() {
    let Some(redis) = RedisServer::start() else { return };
    let zone = lanekeeper::jiff::tz::TimeZone::UTC;
    let quota = || Quota::per_calendar_day(5, zone.clone());
    let idle = Process::start(shared(&redis), quota());
    for _ in 0..3 {
        idle.call_within(LONG).unwrap();
    }
    redis.send("FLUSHALL");
    let other = Process::start(shared(&redis), quota());
    for _ in 0..2 {
        other.call_within(LONG).unwrap();
    }
    assert!(other.call_within(SHORT).is_err(), "three were sent by a process that is alive");
    drop(idle);
}

#[test]
fn without_redis_only_urgent_calls_are_sent_until_it_answers() {
    let Some(mut redis) = RedisServer::start() else { return };
    redis.crash();
    let process = Process::start(shared(&redis), Quota::per_second(100));
    assert_eq!(process.mode(), SharedMode::Stopped);
    assert!(matches!(
        process.call_within(SHORT),
        Err(Failed(LaneErrorKind::DeadlinePassed { .. }))
    ));
    process.urgent_call().unwrap();
    redis.start_again();
    process.wait_for(SharedMode::Shared);
    process.call_within(LONG).unwrap();
    assert!(process.was_told("stopped: Redis cannot be reached"));
}

#[test]
fn a_read_only_replica_counts_as_no_answer() {
    let Some(redis) = RedisServer::start() else { return };
    let process = Process::start(shared(&redis), Quota::per_second(100));
    process.call_within(LONG).unwrap();
    redis.send("REPLICAOF 127.0.0.1 1");
    process.wait_for(SharedMode::Share);
    process.urgent_call().unwrap();
    assert!(process.was_told("read only replica"), "{:?}", process.told.0.lock().unwrap());
    // All of the quota, as the only process, after the silence.
    process.call_within(LONG).unwrap();
    redis.send("REPLICAOF NO ONE");
    process.wait_for(SharedMode::Shared);
    process.call_within(LONG).unwrap();
}

#[test]
fn a_key_of_another_type_counts_as_no_answer() {
    let Some(redis) = RedisServer::start() else { return };
    for key in ["meta", "procs", "turn:calls", "log:lane:calls", "counts:lane:calls"] {
        redis.send("FLUSHALL");
        let process = Process::start(shared(&redis), Quota::per_second(100));
        process.call_within(LONG).unwrap();
        redis.send(&format!("SET lanekeeper:{{a}}:{key} nonsense"));
        // The urgent call goes out, whatever state it finds.
        process.urgent_call().unwrap();
        process.wait_for(SharedMode::Share);
        assert!(process.was_told("WRONGTYPE"), "{key}: {:?}", process.told.0.lock().unwrap());
        redis.send(&format!("DEL lanekeeper:{{a}}:{key}"));
        process.wait_for(SharedMode::Shared);
        process.call_within(LONG).unwrap();
    }
}

#[test]
fn by_choice_only_urgent_calls_are_sent_while_redis_is_away() {
    let Some(redis) = RedisServer::start() else { return };
    let shared = shared(&redis).when_away(WhenAway::Stop);
    let process = Process::start(shared, Quota::per_second(100));
    process.call_within(LONG).unwrap();
    redis.signal("-STOP");
    process.wait_for(SharedMode::Stopped);
    assert!(process.call_within(SHORT).is_err());
    process.urgent_call().unwrap();
    redis.signal("-CONT");
    process.wait_for(SharedMode::Shared);
    process.call_within(LONG).unwrap();
}

#[test]
fn an_evicting_policy_is_warned_of() {
    let Some(redis) = RedisServer::start() else { return };
    redis.send("CONFIG SET maxmemory 100mb");
    redis.send("CONFIG SET maxmemory-policy allkeys-lru");
    let process = Process::start(shared(&redis), Quota::per_second(100));
    process.wait_for(SharedMode::Shared);
    assert!(process.was_told("warning: Redis may evict"), "{:?}", process.told.0.lock().unwrap());
    assert!(process.was_told("allkeys-lru"));
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    let Some(redis) = RedisServer::start() else { return };
    redis.send("CONFIG SET requirepass right");
    let url = format!("redis+unix://{}?pass=hidden-secret", redis.socket().display());
    let shared = SharedQuota::redis(&url, "a").unwrap();
    assert!(!format!("{shared:?}").contains("hidden-secret"));
    let process = Process::start(shared, Quota::per_second(100));
    assert_eq!(process.mode(), SharedMode::Stopped);
    let told = format!("{:?} {:?}", process.told.0.lock().unwrap(), process.service.status());
    assert!(!told.contains("hidden-secret"), "{told}");
}

#[test]
fn what_cannot_be_shared_is_an_error_when_it_is_built() {
    let counter = Quota::sliding_counter(10, Duration::from_secs(1));
    let shared = SharedQuota::redis("unix:///nowhere", "a").unwrap();
    let built = ServiceProxy::builder(Answers).calls(counter).shared(shared).build();
    let error = built.err().unwrap();
    let BuildError::SharedQuota { source: SharedSettingsError::Quota(source) } = &error else {
        panic!("{error}")
    };
    assert!(matches!(source, SharedQuotaError::Window { .. }));
    assert!(error.to_string().contains("lane `calls`"), "{error}");
    let lease = SharedQuota::redis("unix:///nowhere", "a").unwrap().lease(Duration::ZERO);
    let built = ServiceProxy::builder(Answers).calls(Quota::per_second(1)).shared(lease).build();
    assert!(built.err().unwrap().to_string().contains("2 s to 10 min"));
    for account in ["", "a b", "a}b", &"a".repeat(65)] {
        let refused = SharedQuota::redis("unix:///nowhere", account);
        assert!(matches!(refused, Err(SharedQuotaError::Name { .. })), "{account}");
    }
    let refused = SharedQuota::redis("http://user:hidden-secret@nowhere", "a").unwrap_err();
    assert_eq!(refused, SharedQuotaError::Address);
    assert!(!format!("{refused} {refused:?}").contains("hidden-secret"));
}
