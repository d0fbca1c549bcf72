//! What the broker asks of one process holds for all of them, and a route that one process refuses is a hint to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::lane::OpenBreakerPolicy;
use lanekeeper::proxy::Classify;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy};
use lanekeeper::shared_quota::{AccountStatus, SharedQuota};
use lanekeeper::{CallOptions, ErrorClass, LaneConfig, LaneError};

use crate::redis::RedisServer;

#[lanekeeper::proxy]
trait Service: Send + Sync {
    #[lane(calls, read)]
    fn call(&self) -> Result<(), Refused>;
}

#[derive(Debug)]
enum Refused {
    TooFast,
    Broken,
    Lane,
}

impl From<LaneError> for Refused {
    fn from(_: LaneError) -> Self {
        Self::Lane
    }
}

impl Classify for Refused {
    fn class(&self) -> ErrorClass {
        match self {
            Self::TooFast => ErrorClass::Throttled { retry_after: Some(PAUSE) },
            Self::Broken => ErrorClass::Transient,
            Self::Lane => ErrorClass::NotSent,
        }
    }
}

/// Longer than any machine takes for the rest of the test.
const PAUSE: Duration = Duration::from_secs(600);

/// Refuses the first call.
struct RefusesOnce(AtomicBool);

impl Service for RefusesOnce {
    fn call(&self) -> Result<(), Refused> {
        if self.0.swap(false, Ordering::Relaxed) { Err(Refused::TooFast) } else { Ok(()) }
    }
}

fn process(redis: &RedisServer, refuses: bool) -> ServiceProxy<RefusesOnce> {
    let calls = LaneConfig::new(Quota::per_second(100)).retry(RetryPolicy::none());
    ServiceProxy::builder(RefusesOnce(AtomicBool::new(refuses)))
        .calls(calls)
        .shared(SharedQuota::redis(&redis.url(), "a").unwrap())
        .build()
        .unwrap()
}

#[test]
fn the_pause_that_the_broker_asked_one_process_for_holds_for_all_and_for_those_that_come() {
    let Some(redis) = RedisServer::start() else { return };
    let (refused, other) = (process(&redis, true), process(&redis, false));
    assert!(other.call().is_ok());
    assert!(matches!(refused.call(), Err(Refused::TooFast)));
    // The others hear of it with a heartbeat, which is sent at once.
    let soon = CallOptions::new().deadline(Duration::from_millis(500));
    let is_paused = |process: &ServiceProxy<RefusesOnce>| {
        (0..100).any(|_| process.with(soon.clone()).call().is_err())
    };
    assert!(is_paused(&other));
    let newcomer = process(&redis, false);
    assert!(newcomer.with(soon.clone()).call().is_err());
    let cut = redis.send("HGETALL lanekeeper:{a}:turn:calls");
    assert!(cut.contains("pause") && cut.contains("cut:"), "{cut}");
}

/// Fails while it is told to.
#[derive(Clone, Default)]
struct Breaks(Arc<AtomicBool>);

impl Service for Breaks {
    fn call(&self) -> Result<(), Refused> {
        if self.0.load(Ordering::Relaxed) { Err(Refused::Broken) } else { Ok(()) }
    }
}

#[test]
fn a_route_that_one_process_refuses_is_refused_by_another_after_its_first_failure() {
    let Some(redis) = RedisServer::start() else { return };
    let breaker = BreakerPolicy::default().failures_in_a_row(Some(3));
    let process = |broker: &Breaks| {
        let calls = LaneConfig::new(Quota::per_second(1000)).retry(RetryPolicy::none());
        ServiceProxy::builder(broker.clone())
            .calls(calls.breaker(breaker).when_down(OpenBreakerPolicy::Refuse))
            .shared(SharedQuota::redis(&redis.url(), "a").unwrap().process("p"))
            .build()
            .unwrap()
    };
    let (broken, fine) = (Breaks::default(), Breaks::default());
    let (one, other) = (process(&broken), process(&fine));
    // Fails once, and then works. Returns whether that was enough to open the breaker.
    let opens = || {
        fine.0.store(true, Ordering::Relaxed);
        let failed = other.call();
        fine.0.store(false, Ordering::Relaxed);
        assert!(matches!(failed, Err(Refused::Broken)), "it is a hint, and no breaker: {failed:?}");
        let is_open = other.call().is_err();
        assert!(is_open || (0..20).all(|_| other.call().is_ok()));
        is_open
    };
    assert!(other.call().is_ok());
    assert!(!opens());
    broken.0.store(true, Ordering::Relaxed);
    while !matches!(one.call(), Err(Refused::Lane)) {}
    // The next heartbeat says so, and the next one of the other process hears it.
    assert!((0..100_000).any(|_| opens()));
    let status = AccountStatus::read(&redis.url(), "a").unwrap();
    assert!(
        status.warnings.iter().any(|warning| warning.contains("refuses reads of the lane calls"))
    );
}
