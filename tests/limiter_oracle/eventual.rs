//! Eventual storages: the overshoot has its bound, nothing is counted twice, and it goes on when Redis is away.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::limiter::storage::{Charge, CounterKey, Storage, Take, Values};
use lanekeeper::limiter::{EventualStorage, RedisStorage};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit, UnixMicros};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::cases::cases;
use crate::server::RedisServer;

const MIDNIGHT: u64 = 20_000 * 86_400_000_000;

fn redis(url: &str, name: &str) -> RedisStorage {
    RedisStorage::new(url, name).unwrap().timeout(Duration::from_secs(60))
}

fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("eventual-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn take(limit: &RequestLimit, weight: u32, at: u64) -> Take<'_, '_> {
    let key = CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
    let charge = Charge { key, limit, weight, is_shadow: false };
    Take::new([charge]).at(UnixMicros::new(at))
}

fn admits(storage: &EventualStorage, limit: &RequestLimit, weight: u32, at: u64) -> bool {
    storage.take(&take(limit, weight, at)).unwrap().readings[0].is_admitted()
}

/// What was admitted, beyond what the limit allows.
#[derive(Default)]
struct Admitted {
    /// A bucket that is never full: its level, and when.
    level: f64,
    at: u64,
    by_window: HashMap<u64, u64>,
    total: u64,
}

impl Admitted {
    /// Notes a request. Returns how much more than the limit was admitted.
    fn add(&mut self, limit: &RequestLimit, weight: u32, at: u64) -> f64 {
        let period = u64::try_from(limit.period().as_micros()).unwrap();
        let rate = f64::from(limit.requests()) / period as f64;
        self.level = (self.level - (at - self.at) as f64 * rate).max(0.0) + f64::from(weight);
        self.at = at;
        self.total += u64::from(weight);
        let window = self.by_window.entry(at / period).or_default();
        *window += u64::from(weight);
        match limit.algorithm() {
            Algorithm::TokenBucket => self.level - f64::from(limit.burst()),
            _ => *window as f64 - f64::from(limit.requests()),
        }
    }
}

/// Up to five processes that take all they can, and exchange at moments of their own.
#[test]
fn the_overshoot_is_at_most_processes_times_rate_times_sync() {
    let Some(server) = RedisServer::start() else { return };
    let mut runner = TestRunner::new(cases(60));
    let algorithms = prop_oneof![
        Just(Algorithm::TokenBucket),
        Just(Algorithm::FixedWindow),
        Just(Algorithm::SlidingWindowCounter)
    ];
    let worst = AtomicUsize::new(0);
    let plan = (algorithms, 1..=5_usize, 1..=60_u32, 20..=500_u64, any::<u64>());
    let played = runner.run(&plan, |(algorithm, processes, requests, sync, seed)| {
        let name = name();
        let limit = RequestLimit::new(algorithm, requests, Duration::from_secs(1)).unwrap();
        let sync = Duration::from_millis(sync);
        let storages: Vec<EventualStorage> = (0..processes)
            .map(|_| EventualStorage::by_hand(redis(&server.url(), &name), sync))
            .collect();
        let bound = processes as f64 * f64::from(requests) * sync.as_secs_f64();
        let mut random = fastrand::Rng::with_seed(seed);
        let sync = u64::try_from(sync.as_micros()).unwrap();
        let mut next: Vec<u64> = (0..processes).map(|_| MIDNIGHT + random.u64(0..sync)).collect();
        let mut admitted = Admitted::default();
        let mut now = MIDNIGHT;
        while now < MIDNIGHT + 3_000_000 {
            now += random.u64(0..10_000);
            for (storage, next) in storages.iter().zip(&mut next) {
                while *next <= now {
                    storage.exchange(Some(UnixMicros::new(now)));
                    *next += sync;
                }
            }
            let storage = &storages[random.usize(0..processes)];
            let weight = random.u32(1..=2);
            if admits(storage, &limit, weight, now) {
                let beyond = admitted.add(&limit, weight, now);
                prop_assert!(beyond <= bound + 1e-6, "{} beyond, at most {}", beyond, bound);
                worst.fetch_max((100.0 * beyond / bound.max(1.0)) as usize, Ordering::Relaxed);
            }
        }
        // And the limit is used. A request of two may not fit where one is left.
        let least = f64::from(requests) * 3.0 * 0.6 - 3.0;
        prop_assert!(admitted.total as f64 >= least.min(300.0), "{} {}", admitted.total, least);
        Ok(())
    });
    played.unwrap();
    // The bound is not far away: the processes really overshoot.
    println!("the worst overshoot was {} % of the bound", worst.load(Ordering::Relaxed));
    assert!(worst.into_inner() >= 30);
}

/// With one process, nothing is admitted beyond the limit.
#[test]
fn one_process_alone_is_exact() {
    let Some(server) = RedisServer::start() else { return };
    let limit = RequestLimit::new(Algorithm::FixedWindow, 50, Duration::from_secs(1)).unwrap();
    let storage =
        EventualStorage::by_hand(redis(&server.url(), &name()), Duration::from_millis(100));
    for second in 0..3 {
        let begin = MIDNIGHT + second * 1_000_000;
        let admitted = (0..1000).filter(|step| {
            let at = begin + step * 1000;
            if step % 100 == 0 {
                storage.exchange(Some(UnixMicros::new(at)));
            }
            admits(&storage, &limit, 1, at)
        });
        assert_eq!(admitted.count(), 50);
    }
}

/// A way to Redis that loses answers, and can be closed.
struct Proxy {
    url: String,
    loses_answers: Arc<AtomicBool>,
    is_closed: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (loses_answers, is_closed) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (loses, closed) = (Arc::clone(&loses_answers), Arc::clone(&is_closed));
        // It ends with the process: the listener has no end of its own.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(mut client), false) = (client, closed.load(Ordering::SeqCst)) else {
                    continue;
                };
                let Ok(mut server) = UnixStream::connect(&server) else { continue };
                let (loses, closed) = (Arc::clone(&loses), Arc::clone(&closed));
                std::thread::spawn(move || {
                    let mut buffer = [0; 65536];
                    // One request, one answer.
                    loop {
                        let Ok(read @ 1..) = client.read(&mut buffer) else { return };
                        if closed.load(Ordering::SeqCst)
                            || server.write_all(&buffer[..read]).is_err()
                        {
                            return;
                        }
                        let Ok(read @ 1..) = server.read(&mut buffer) else { return };
                        if loses.load(Ordering::SeqCst)
                            || client.write_all(&buffer[..read]).is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        let url = format!("unix://{}", path.display());
        Self { url, loses_answers, is_closed, _folder: folder }
    }
}

/// Returns what is left by the counts in Redis.
fn left(server: &RedisServer, name: &str, limit: &RequestLimit, at: u64) -> u32 {
    let taken = redis(&server.url(), name).take(&take(limit, 0, at)).unwrap();
    taken.readings[0].remaining
}

/// A task that may not block its thread knows which verdicts need a trip.
#[test]
fn within_the_credit_a_verdict_needs_no_trip() {
    let Some(server) = RedisServer::start() else { return };
    let limit = RequestLimit::new(Algorithm::FixedWindow, 30, Duration::from_secs(1)).unwrap();
    let storage =
        EventualStorage::by_hand(redis(&server.url(), &name()), Duration::from_millis(100));
    // The credit is three.
    for left in [29, 28, 27] {
        let taken = storage.take_here(&take(&limit, 1, MIDNIGHT)).unwrap().unwrap();
        assert_eq!(taken.readings[0].remaining, left);
    }
    assert!(storage.take_here(&take(&limit, 1, MIDNIGHT)).is_none());
    // By Redis, which knows of the three by then, and there is credit again.
    let taken = storage.take(&take(&limit, 1, MIDNIGHT)).unwrap();
    assert_eq!(taken.readings[0].remaining, 26);
    assert!(storage.take_here(&take(&limit, 1, MIDNIGHT)).is_some());
}

#[test]
fn an_exchange_whose_answer_is_lost_is_counted_once() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.socket());
    let name = name();
    let limit = RequestLimit::new(Algorithm::FixedWindow, 1000, Duration::from_secs(60)).unwrap();
    let storage = EventualStorage::by_hand(redis(&proxy.url, &name), Duration::from_secs(6));
    // There is a connection, and Redis knows the script: what is lost is the answer of an exchange.
    let mut admitted = usize::from(admits(&storage, &limit, 1, MIDNIGHT));
    storage.exchange(Some(UnixMicros::new(MIDNIGHT)));
    for round in 1..=5 {
        let at = MIDNIGHT + round * 100_000;
        admitted += (0..7).filter(|_| admits(&storage, &limit, 1, at)).count();
        proxy.loses_answers.store(true, Ordering::SeqCst);
        storage.exchange(Some(UnixMicros::new(at)));
        assert!(storage.status().is_away);
        // Redis has counted it, and does not count it again.
        assert_eq!(left(&server, &name, &limit, at), 1000 - u32::try_from(admitted).unwrap());
        admitted += (0..3).filter(|_| admits(&storage, &limit, 1, at)).count();
        proxy.loses_answers.store(false, Ordering::SeqCst);
        // The pause after a connection that failed is on the machine's clock.
        while storage.status().is_away {
            storage.exchange(Some(UnixMicros::new(at)));
            std::thread::yield_now();
        }
        storage.exchange(Some(UnixMicros::new(at)));
        assert_eq!(left(&server, &name, &limit, at), 1000 - u32::try_from(admitted).unwrap());
        assert_eq!(storage.status().unexchanged_keys, 0);
    }
    assert_eq!(admitted, 51);
}

#[test]
fn it_goes_on_locally_when_redis_is_away_and_says_so() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.socket());
    let name = name();
    let changes: Arc<parking_lot::Mutex<Vec<bool>>> = Arc::default();
    let noted = Arc::clone(&changes);
    let storage = EventualStorage::by_hand(redis(&proxy.url, &name), Duration::from_millis(100))
        .on_change(move |status| noted.lock().push(status.is_away));
    let limit = RequestLimit::new(Algorithm::FixedWindow, 20, Duration::from_secs(60)).unwrap();
    assert!(admits(&storage, &limit, 1, MIDNIGHT));
    proxy.is_closed.store(true, Ordering::SeqCst);
    // The limit holds for this process by itself.
    let admitted = (0..100).filter(|_| admits(&storage, &limit, 1, MIDNIGHT + 1)).count();
    assert_eq!(admitted, 19);
    assert!(storage.status().is_away);
    assert_eq!(storage.status().unexchanged_keys, 1);
    // What is exact or must be closed is not judged without Redis.
    let log = RequestLimit::new(Algorithm::SlidingWindowLog, 20, Duration::from_secs(60)).unwrap();
    assert!(storage.take(&take(&log, 1, MIDNIGHT + 1)).is_err());
    proxy.is_closed.store(false, Ordering::SeqCst);
    while storage.status().is_away {
        storage.exchange(Some(UnixMicros::new(MIDNIGHT + 2)));
        std::thread::yield_now();
    }
    assert_eq!(left(&server, &name, &limit, MIDNIGHT + 2), 0);
    assert_eq!(*changes.lock(), [true, false]);
}

#[test]
fn what_was_admitted_in_a_window_is_not_counted_in_a_later_one() {
    let Some(server) = RedisServer::start() else { return };
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter] {
        let name = name();
        let limit = RequestLimit::new(algorithm, 100, Duration::from_secs(1)).unwrap();
        let storage =
            EventualStorage::by_hand(redis(&server.url(), &name), Duration::from_millis(500));
        let admitted = (0..50).filter(|_| admits(&storage, &limit, 1, MIDNIGHT + 900_000)).count();
        assert_eq!(admitted, 50);
        // Exchanged in the middle of the next window, of which it has nothing, or half the weight.
        storage.exchange(Some(UnixMicros::new(MIDNIGHT + 1_500_000)));
        let expected = if algorithm == Algorithm::FixedWindow { 100 } else { 75 };
        assert_eq!(left(&server, &name, &limit, MIDNIGHT + 1_500_000), expected, "{algorithm}");
    }
}

/// A key of a foreign type under a name of ours is the fault of that key alone.
#[test]
fn a_key_that_cannot_be_read_holds_up_no_other_one() {
    let Some(server) = RedisServer::start() else { return };
    let name = name();
    let limit = RequestLimit::new(Algorithm::FixedWindow, 1000, Duration::from_secs(60)).unwrap();
    let storage = EventualStorage::by_hand(redis(&server.url(), &name), Duration::from_secs(6));
    let of = |user: &'static [(&'static str, &'static str)]| {
        let key = CounterKey { rule: 1, values: Values::new(user) };
        let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
        Take::new([charge]).at(UnixMicros::new(MIDNIGHT))
    };
    storage.take(&of(&[("user", "a")])).unwrap();
    storage.exchange(Some(UnixMicros::new(MIDNIGHT)));
    let keys = server.send("KEYS *");
    let count = |word: &&str| word.starts_with("{lanekeeper:") && !word.contains("node");
    let key = keys.split_whitespace().find(count).unwrap();
    server.send(&format!("DEL {key}"));
    server.send(&format!("RPUSH {key} x"));
    storage.take(&of(&[("user", "a")])).unwrap();
    storage.take(&of(&[("user", "b")])).unwrap();
    storage.exchange(Some(UnixMicros::new(MIDNIGHT)));
    assert!(!storage.status().is_away);
    let others = redis(&server.url(), &name).take(&of(&[("user", "b")])).unwrap();
    assert_eq!(others.readings[0].remaining, 998);
}

/// A thread that read the clock before another one, and takes the lock after it.
#[test]
fn a_thread_that_is_late_sets_no_window_back() {
    let Some(server) = RedisServer::start() else { return };
    let limit = RequestLimit::new(Algorithm::FixedWindow, 5, Duration::from_secs(1)).unwrap();
    // Redis, which would know better, is away.
    let proxy = Proxy::start(server.socket());
    proxy.is_closed.store(true, Ordering::SeqCst);
    let storage = EventualStorage::by_hand(redis(&proxy.url, &name()), Duration::from_secs(1));
    let second = MIDNIGHT + 1_000_000;
    assert_eq!((0..5).filter(|_| admits(&storage, &limit, 1, second)).count(), 5);
    assert!(!admits(&storage, &limit, 1, second - 1));
    assert!(!admits(&storage, &limit, 1, second + 1));
}

/// By the thread and the clock of the machine: what one process admits, another one knows of.
#[test]
fn a_thread_exchanges_the_counts() {
    let Some(server) = RedisServer::start() else { return };
    let name = name();
    let limit =
        RequestLimit::new(Algorithm::FixedWindow, 1000, Duration::from_secs(86_400)).unwrap();
    let key = || CounterKey { rule: 1, values: Values::new(&[("user", "a")]) };
    let ask = |storage: &dyn Storage, weight| {
        let charge = Charge { key: key(), limit: &limit, weight, is_shadow: false };
        storage.take(&Take::new([charge])).unwrap().readings[0].remaining
    };
    // The credit of a day's limit is below one, so each of these is judged by Redis.
    let [first, second] = [(); 2].map(|()| {
        EventualStorage::new(redis(&server.url(), &name), Duration::from_millis(20)).unwrap()
    });
    assert_eq!(ask(&first, 10), 990);
    assert_eq!(ask(&second, 10), 980);
    // These are admitted from memory, and exchanged by the thread.
    let fast =
        RequestLimit::new(Algorithm::TokenBucket, 1_000_000, Duration::from_secs(1)).unwrap();
    let fast = fast.with_burst(1000).unwrap();
    let charge = Charge { key: key(), limit: &fast, weight: 900, is_shadow: false };
    first.take(&Take::new([charge])).unwrap();
    while first.status().unexchanged_keys > 0 {
        std::thread::yield_now();
    }
    assert!(!first.status().is_away);
    // The last exchange is made when the storage goes.
    let charge = Charge { key: key(), limit: &limit, weight: 1, is_shadow: false };
    second.take(&Take::new([charge])).unwrap();
    drop((first, second));
}

/// Tokens are added while others are taken: what is exchanged at the end of a pause was not all taken at its end.
#[test]
fn a_bucket_that_fills_within_an_exchange_keeps_its_rate() {
    let Some(server) = RedisServer::start() else { return };
    for (burst, period) in [(1, 1000), (50, 1000), (100, 100)] {
        let requests = u32::try_from(period).unwrap();
        let period = Duration::from_millis(period);
        let limit = RequestLimit::new(Algorithm::TokenBucket, requests, period).unwrap();
        let limit = limit.with_burst(burst).unwrap();
        let storage =
            EventualStorage::by_hand(redis(&server.url(), &name()), Duration::from_millis(100));
        let admitted = (0..2000).filter(|step| {
            let at = MIDNIGHT + step * 500;
            if step % 200 == 0 {
                storage.exchange(Some(UnixMicros::new(at)));
            }
            admits(&storage, &limit, 1, at)
        });
        // A second of a token each millisecond, and the burst.
        assert_eq!(admitted.count(), 999 + usize::try_from(burst).unwrap(), "{burst}");
    }
}

#[test]
fn a_bucket_is_not_empty_after_an_outage_in_which_it_was_filled() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.socket());
    let limit = RequestLimit::new(Algorithm::TokenBucket, 100, Duration::from_secs(1)).unwrap();
    let storage = EventualStorage::by_hand(redis(&proxy.url, &name()), Duration::from_millis(100));
    assert!(admits(&storage, &limit, 1, MIDNIGHT));
    proxy.is_closed.store(true, Ordering::SeqCst);
    // Eight seconds of 80 requests, each within the limit.
    let mut at = MIDNIGHT;
    for _ in 0..640 {
        at += 12_500;
        assert!(admits(&storage, &limit, 1, at));
    }
    proxy.is_closed.store(false, Ordering::SeqCst);
    storage.exchange(Some(UnixMicros::new(at)));
    while storage.status().is_away {
        storage.exchange(Some(UnixMicros::new(at)));
        std::thread::yield_now();
    }
    storage.exchange(Some(UnixMicros::new(at)));
    assert!(admits(&storage, &limit, 1, at));
}

#[test]
fn a_callback_that_panics_does_not_end_the_exchanges() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.socket());
    let storage = EventualStorage::by_hand(redis(&proxy.url, &name()), Duration::from_millis(100))
        .on_change(|_| panic!("a callback of a user"));
    let limit = RequestLimit::new(Algorithm::FixedWindow, 100, Duration::from_secs(1)).unwrap();
    proxy.is_closed.store(true, Ordering::SeqCst);
    assert!(admits(&storage, &limit, 1, MIDNIGHT));
    storage.exchange(Some(UnixMicros::new(MIDNIGHT)));
    assert!(storage.status().is_away);
}
