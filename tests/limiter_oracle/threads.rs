//! Many threads at once: never one too many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rule, Rules};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};

const THREADS: usize = 64;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter,
];

/// A limit of which nothing comes back during a test: by its clock no time passes.
fn limiter(algorithm: Algorithm, requests: u32) -> RateLimiter {
    let limit = RequestLimit::new(algorithm, requests, Duration::from_secs(3600)).unwrap();
    let clock = lanekeeper::ManualClock::new();
    let rules = Rules::new([Rule::new("users", limit).entry("user")]).unwrap();
    RateLimiter::new(rules, MemoryStorage::with_clock(clock))
}

#[test]
fn sixty_four_threads_on_one_key_admit_exactly_the_limit() {
    for algorithm in ALGORITHMS {
        let limiter = limiter(algorithm, 10_000);
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let allowed = limiter.check(&Request::new("/").entry("user", "a"));
                        let one = usize::from(allowed.is_allowed());
                        admitted.fetch_add(one, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 10_000, "{algorithm}");
    }
}

#[test]
fn sixty_four_threads_on_ten_thousand_keys_admit_exactly_the_limit_of_each() {
    let keys: Vec<String> = (0..10_000).map(|number| format!("user {number}")).collect();
    for algorithm in ALGORITHMS {
        let limiter = limiter(algorithm, 3);
        let admitted: Vec<AtomicUsize> = keys.iter().map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (limiter, admitted, keys) = (&limiter, &admitted, &keys);
                scope.spawn(move || {
                    // Each key is asked for by sixteen threads, at about the same time.
                    for (key, count) in keys.iter().zip(admitted).skip(thread % 4).step_by(4) {
                        let allowed = limiter.check(&Request::new("/").entry("user", key));
                        count.fetch_add(usize::from(allowed.is_allowed()), Ordering::Relaxed);
                    }
                });
            }
        });
        let wrong = admitted.iter().filter(|count| count.load(Ordering::Relaxed) != 3).count();
        assert_eq!(wrong, 0, "{algorithm}");
    }
}

/// Two limits that are locked in different orders by different requests: no deadlock, and all or nothing.
#[test]
fn threads_with_several_limits_count_in_all_or_in_none() {
    let period = Duration::from_secs(3600);
    let of = |requests| RequestLimit::new(Algorithm::FixedWindow, requests, period).unwrap();
    let rules = Rules::new([
        Rule::new("users", of(1_000)).entry("user"),
        Rule::new("hosts", of(700)).entry("host"),
    ]);
    let clock = lanekeeper::ManualClock::new();
    let limiter = RateLimiter::new(rules.unwrap(), MemoryStorage::with_clock(clock));
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limiter, admitted) = (&limiter, &admitted);
            scope.spawn(move || {
                let (user, host) = (["a", "b"][thread % 2], ["x", "y"][thread / 2 % 2]);
                for _ in 0..100 {
                    let request = Request::new("/").entry("user", user).entry("host", host);
                    let one = usize::from(limiter.check(&request).is_allowed());
                    admitted.fetch_add(one, Ordering::Relaxed);
                }
            });
        }
    });
    // Two hosts with 700 each. What the users have left was not charged for what a host refused.
    assert_eq!(admitted.into_inner(), 1_400);
    let left: Vec<u32> = ["a", "b"]
        .iter()
        .map(|user| {
            // Without a weight, it only reads.
            limiter.check(&Request::new("/").entry("user", user).weight(0)).remaining().unwrap()
        })
        .collect();
    assert_eq!(left.iter().sum::<u32>(), 2_000 - 1_400);
}
