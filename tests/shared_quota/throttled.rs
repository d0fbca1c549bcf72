//! What the broker asks of one process holds for all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::proxy::Classify;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::shared_quota::SharedQuota;
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
