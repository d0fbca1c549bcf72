//! Processes that share a quota, as lanes of one test: what a caller meets when calls call, when Redis forgets or fails, and when
//! a proxy ends. Time is real where Redis has a part in it.
#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used)]

mod support;

#[path = "support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use more of it")]
mod redis;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{LaneConfig, LaneError, Observer, SharedMode, SharedQuotaEvent};
use lanekeeper::proxy::{Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::shared_quota::SharedQuota;
use redis::RedisServer;
use support::lanes::{READ, WRITE, hold, options, priority, submit, until, within_reason};

/// A process of the account `a` with one lane.
fn process(url: &str, quota: Quota, change: impl FnOnce(&mut LanesBuilder)) -> Lanes {
    with_shared(SharedQuota::redis(url, "a").unwrap(), quota, change)
}

fn with_shared(shared: SharedQuota, quota: Quota, change: impl FnOnce(&mut LanesBuilder)) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, LaneConfig::new(quota).in_flight(8));
    builder.prior_usage(PriorUsage::None);
    builder.shared(shared);
    change(&mut builder);
    builder.build(Limits::new()).unwrap()
}

fn mode(lanes: &Lanes) -> SharedMode {
    lanes.status().shared.unwrap().mode
}

/// A call whose method calls its own lane, nested `depth` times.
fn nested(lanes: &Lanes, depth: usize) -> Result<usize, LaneError> {
    let inner = lanes.clone();
    let work = move || match depth {
        0 => Ok(0),
        _ => nested(&inner, depth - 1).map(|deep| deep + 1),
    };
    lanes.submit_spec(WRITE, &options(), work, |error: &LaneError| Some(error.class())).wait()
}

#[test]
fn a_call_from_within_a_call_waits_for_its_permit() {
    let Some(server) = RedisServer::start() else { return };
    let lanes = process(&server.url(), Quota::per_second(100), |_| {});
    within_reason(move || {
        for _ in 0..50 {
            assert_eq!(nested(&lanes, 3), Ok(3));
        }
    });
}

#[test]
fn calls_in_flight_of_an_idle_process_count_after_redis_has_forgotten_them() {
    let Some(server) = RedisServer::start() else { return };
    let busy = process(&server.url(), Quota::per_second(4), |_| {});
    let other = process(&server.url(), Quota::per_second(4), |_| {});
    within_reason(move || {
        let held: Vec<_> = (0..4).map(|_| hold(&busy, WRITE)).collect();
        server.send("FLUSHALL");
        // All four slots are held by calls that may arrive at any time.
        let mut more = submit(&other, WRITE, &options(), || ());
        let from = Instant::now();
        while from.elapsed() < Duration::from_millis(3500) {
            assert!(more.try_wait().is_none(), "sent after {:?}", from.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        held.into_iter().for_each(|held| held.let_go().wait().unwrap());
        more.wait().unwrap();
    });
}

#[test]
fn a_proxy_ends_although_its_clock_stands_still() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::new();
    let lanes = process(&server.url(), Quota::per_second(100), |builder| {
        builder.clock(Clock::from(clock.clone()));
    });
    within_reason(move || {
        let mut calls: Vec<_> = (0..5).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
        // Redis grants nothing for a while after the first process has come.
        while calls.iter_mut().any(|call| call.try_wait().is_none()) {
            clock.advance(Duration::from_millis(50));
            thread::yield_now();
        }
        drop(lanes);
    });
}

/// Drops what it holds when Redis is away.
struct Drops(Mutex<Option<Lanes>>, mpsc::Sender<()>);

impl Observer for Drops {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        if let SharedQuotaEvent::Mode { mode: SharedMode::Share | SharedMode::Stopped, .. } = event
        {
            if let Some(lanes) = self.0.lock().unwrap().take() {
                drop(lanes);
                let _ = self.1.send(());
            }
        }
    }
}

#[test]
fn a_proxy_can_be_dropped_by_its_observer() {
    let Some(server) = RedisServer::start() else { return };
    let (dropped, is_dropped) = mpsc::channel();
    let observer = Arc::new(Drops(Mutex::new(None), dropped));
    let lanes = process(&server.url(), Quota::per_second(100), |builder| {
        builder.observer(Arc::clone(&observer) as Arc<dyn Observer>);
    });
    *observer.0.lock().unwrap() = Some(lanes);
    server.crash();
    within_reason(move || is_dropped.recv().unwrap());
}
