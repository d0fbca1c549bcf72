//! The script in a real Redis, which says the same as memory, line by line.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::limiter::storage::{Charge, CounterKey, Storage, Take, Values};
use lanekeeper::limiter::{MemoryStorage, RedisStorage};
use lanekeeper::quota::request_limit::{Algorithm, Backoff, RequestLimit, UnixMicros};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::cases::cases;
use crate::server::RedisServer;
use crate::trace::{Play, Trace, traces};
use crate::{agrees_with_the_model, lines};

/// A storage with keys of its own.
fn storage(server: &RedisServer) -> RedisStorage {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test-{{{}", NEXT.fetch_add(1, Ordering::Relaxed));
    RedisStorage::new(&server.url(), &name).unwrap().timeout(Duration::from_secs(60))
}

fn play(trace: &Trace, server: &RedisServer) -> Result<(), TestCaseError> {
    let (memory, redis) = (MemoryStorage::new(), storage(server));
    let mut play = Play::new(trace);
    while let Some(step) = play.next() {
        let (here, there) = (memory.take(&step.take).unwrap(), redis.take(&step.take).unwrap());
        prop_assert_eq!(lines(&here), lines(&there));
        play.saw(&here);
    }
    Ok(())
}

#[test]
fn redis_and_memory_say_the_same_line_by_line() {
    let Some(server) = RedisServer::start() else { return };
    for limits in [1, 4] {
        let mut runner = TestRunner::new(cases(300));
        runner.run(&traces(limits), |trace| play(&trace, &server)).unwrap();
    }
}

#[test]
fn redis_says_what_the_model_says() {
    let Some(server) = RedisServer::start() else { return };
    let mut runner = TestRunner::new(cases(100));
    runner.run(&traces(4), |trace| agrees_with_the_model(&trace, &storage(&server))).unwrap();
}

#[test]
fn a_batch_is_judged_in_its_order_even_if_redis_forgot_the_script() {
    let Some(server) = RedisServer::start() else { return };
    let (memory, redis) = (MemoryStorage::new(), storage(&server));
    let limit = RequestLimit::new(Algorithm::SlidingWindowLog, 3, Duration::from_secs(60)).unwrap();
    for round in 0..3 {
        let at = UnixMicros::new(20_000 * 86_400_000_000 + round * 30_000_000);
        let take = || {
            let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
            Take::new([Charge { key, limit: &limit, weight: 1, is_shadow: false }]).at(at)
        };
        let takes: Vec<Take<'_, '_>> = (0..5).map(|_| take()).collect();
        let texts = |storage: &dyn Storage| -> Vec<Vec<String>> {
            storage.take_all(&takes).into_iter().map(|taken| lines(&taken.unwrap())).collect()
        };
        assert_eq!(texts(&redis), texts(&memory));
        server.send("SCRIPT FLUSH");
    }
}

/// Failures, and successes that take one back.
#[test]
fn a_backoff_is_the_same_in_redis_and_in_memory() {
    let Some(server) = RedisServer::start() else { return };
    let times = prop::collection::vec((0..=3_u64, 0..=2_500_000_u64), 1..80);
    let delays = (0..=3_u32, 1..=3_u64, 3..=9_u64, 5..=20_u64);
    let mut runner = TestRunner::new(cases(100));
    let played = runner.run(&(delays, times), |((free, base, max, forget), steps)| {
        let seconds = Duration::from_secs;
        let delays = Backoff {
            base_delay: seconds(base),
            max_delay: seconds(max),
            forget_after: seconds(forget),
        };
        let limit = RequestLimit::backoff(free, delays).unwrap();
        let (memory, redis) = (MemoryStorage::new(), storage(&server));
        let mut now = 20_000 * 86_400_000_000_u64;
        let mut retry = now;
        for (kind, micros) in steps {
            // Some at the moment that was named, some just before it.
            now = match kind {
                0 => now.max(retry),
                1 => now.max(retry.saturating_sub(1)),
                _ => now + micros,
            };
            let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
            let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
            let take = Take::new([charge]).at(UnixMicros::new(now));
            let (here, there) = (memory.take(&take).unwrap(), redis.take(&take).unwrap());
            prop_assert_eq!(lines(&here), lines(&there));
            retry = here.readings[0].retry_at.unwrap().get();
            if kind == 3 && here.readings[0].is_admitted() {
                memory.forgive(&take).unwrap();
                redis.forgive(&take).unwrap();
            }
        }
        Ok(())
    });
    played.unwrap();
}

/// By Redis's own clock, with threads on connections of their own: never one too many.
#[test]
fn threads_and_connections_never_admit_one_too_many() {
    let Some(server) = RedisServer::start() else { return };
    let day = Duration::from_secs(86_400);
    for algorithm in [Algorithm::SlidingWindowLog, Algorithm::TokenBucket] {
        let limit = RequestLimit::new(algorithm, 100, day).unwrap();
        let redis = storage(&server);
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
                        let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
                        let taken = redis.take(&Take::new([charge])).unwrap();
                        let one = usize::from(taken.readings[0].is_admitted());
                        admitted.fetch_add(one, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 100, "{algorithm}");
    }
}

/// Threads share trips. All of them are told when Redis goes away in the middle of one.
#[test]
fn every_waiting_thread_is_told_when_redis_goes_away() {
    let Some(server) = RedisServer::start() else { return };
    let limit = RequestLimit::new(Algorithm::FixedWindow, 1, Duration::from_secs(60)).unwrap();
    let redis = RedisStorage::new(&server.url(), "gone").unwrap();
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
                let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
                // Until Redis is gone. A thread that is not told would hang here for ever.
                while redis.take(&Take::new([charge])).is_ok() {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while taken.load(Ordering::Relaxed) < 1000 {
            std::thread::yield_now();
        }
        drop(server);
    });
    assert!(redis.take_all(&[]).is_empty());
}

#[test]
fn what_was_counted_expires_and_a_key_of_another_type_is_an_error() {
    let Some(server) = RedisServer::start() else { return };
    let redis = storage(&server);
    let limit = RequestLimit::new(Algorithm::FixedWindow, 5, Duration::from_secs(60)).unwrap();
    let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
    let take = Take::new([Charge { key, limit: &limit, weight: 1, is_shadow: false }]);
    redis.take(&take).unwrap();
    let keys = server.send("KEYS *");
    let name = keys.split_whitespace().find(|word| word.starts_with("{lanekeeper:")).unwrap();
    let life: i64 =
        server.send(&format!("PTTL {name}")).split([':', '\r']).nth(1).unwrap().parse().unwrap();
    assert!((1..=60_001).contains(&life), "{life}");
    server.send(&format!("DEL {name}"));
    server.send(&format!("RPUSH {name} x"));
    let error = redis.take(&take).unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(redis.take_all(std::slice::from_ref(&take))[0].is_err());
    server.send("FLUSHALL");
    assert!(redis.take(&take).is_ok());
}

#[test]
fn a_redis_that_is_away_is_an_error_without_the_password() {
    let redis = RedisStorage::new("redis://user:hunter2@127.0.0.1:1/", "api").unwrap();
    let limit = RequestLimit::new(Algorithm::FixedWindow, 5, Duration::from_secs(60)).unwrap();
    let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
    let take = Take::new([Charge { key, limit: &limit, weight: 1, is_shadow: false }]);
    for expected in ["cannot be reached", "a moment ago"] {
        let error = redis.take(&take).unwrap_err();
        let text = format!("{error} {error:?} {redis:?}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let wrong = RedisStorage::new("redis//:hunter2@x", "api").unwrap_err().to_string();
    assert!(!wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn a_moment_beyond_the_exact_numbers_of_redis_is_an_error() {
    let Some(server) = RedisServer::start() else { return };
    let redis = storage(&server);
    let limit = RequestLimit::new(Algorithm::FixedWindow, 5, Duration::from_millis(1)).unwrap();
    let take = |at| {
        let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
        let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
        Take::new([charge]).at(UnixMicros::new(at))
    };
    let (last, beyond) = (take(8_899_999_999_999_999), take(8_900_000_000_000_000));
    assert_eq!(redis.take(&last).unwrap().readings[0].remaining, 4);
    assert!(redis.take(&beyond).is_err());
    assert!(redis.take_all(&[last, beyond]).iter().all(Result::is_err));
}
