//! Which process fetches, and what the others get.

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use lanekeeper::cache::{GetOptions, Origin};
use lanekeeper::clock::ManualClock;

use super::process::{
    Cache, Source, millis, process, processes, secs, settings, value, wait_until_unclaimed,
};
use super::redis::RedisServer;

#[test]
fn three_processes_that_ask_for_the_same_make_one_request_in_each_ttl() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let caches: [Cache; 3] = processes(&server.url(), &clock, &source);
    for round in 1..=10 {
        for turn in 0..3 {
            let cache = &caches[(round + turn) % 3];
            assert_eq!(value(cache, 1), round as u64);
            wait_until_unclaimed(&server, "test");
            clock.advance(millis(10));
        }
        clock.advance(secs(5));
    }
    assert_eq!(source.asked().len(), 10);
    let shared: u64 = caches.iter().map(|cache| cache.stats().shared).sum();
    let batches: u64 = caches.iter().map(|cache| cache.stats().batches).sum();
    assert_eq!((shared, batches), (20, 10));
}

#[test]
fn a_value_of_another_process_has_its_age_and_origin() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    clock.advance(secs(100));
    let own = first.get(&1).unwrap().unwrap();
    assert_eq!((own.origin, own.age), (Origin::Fetched, secs(0)));
    wait_until_unclaimed(&server, "test");
    clock.advance(secs(2));
    let shared = second.get(&1).unwrap().unwrap();
    assert_eq!((shared.origin, *shared.value), (Origin::Shared, 1));
    // 2 ms and a thousandth are added for clocks that are not alike.
    assert_eq!(shared.age, millis(2004));
    clock.advance(secs(1));
    let again = second.get(&1).unwrap().unwrap();
    assert_eq!((again.origin, again.age), (Origin::Memory, millis(3004)));
    clock.advance(secs(2));
    assert_eq!(value(&second, 1), 2);
}

#[test]
fn one_request_fetches_all_if_one_value_is_missing() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    first.get_many(&[1, 2, 3]);
    second.get_many(&[1, 2, 3, 4]);
    assert_eq!(source.asked(), [(0, vec![1, 2, 3]), (1, vec![1, 2, 3, 4])]);
}

#[test]
fn keys_that_are_due_are_taken_along_from_what_another_process_fetched() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    second.track(&[1, 2, 3]).unwrap();
    first.get_many(&[1, 2, 3]);
    assert_eq!(value(&second, 2), 1);
    assert_eq!(second.stats().entries, 3);
    assert_eq!(second.stats().shared, 3);
    assert!(second.cached_many(&[1, 3], &GetOptions::new()).is_some());
}

/// Makes a first process whose requests take a second, and a second one whose caller asks for `key` meanwhile. Returns what that
/// caller gets.
fn ask_during_a_request(
    server: &RedisServer,
    source: &Arc<Source>,
    key: u32,
    asks: GetOptions,
) -> u64 {
    let clock = ManualClock::auto_advancing();
    let [second] = processes(&server.url(), &clock, source);
    let second = Arc::new(second);
    let (answer_tx, answer_rx) = mpsc::channel();
    let during = {
        let (clock, second, began) = (clock.clone(), Arc::clone(&second), OnceLock::new());
        move || {
            if began.set(()).is_ok() {
                let (asking, answer_tx) = (Arc::clone(&second), answer_tx.clone());
                thread::spawn(move || {
                    let value = asking.get_with(&key, &asks).unwrap().unwrap();
                    answer_tx.send(*value.value).unwrap();
                });
                // From then on the clock advances only while the second process waits.
                while second.stats().misses == 0 {
                    thread::yield_now();
                }
            }
            lanekeeper::Clock::from(clock.clone()).sleep(secs(1));
        }
    };
    let first = process(&server.url(), settings(&clock), source, 1, Box::new(during));
    assert_eq!(value(&first, 1), 1);
    answer_rx.recv().unwrap()
}

#[test]
fn a_caller_that_asks_during_a_request_of_another_process_gets_its_value() {
    let Some(server) = RedisServer::start() else { return };
    let source = Arc::new(Source::default());
    assert_eq!(ask_during_a_request(&server, &source, 1, GetOptions::new()), 1);
    assert_eq!(source.asked(), [(1, vec![1])]);
}

#[test]
fn a_caller_that_wants_a_later_value_waits_for_the_request_and_then_fetches() {
    let Some(server) = RedisServer::start() else { return };
    let source = Arc::new(Source::default());
    let asks = GetOptions::new().max_age(secs(0));
    assert_eq!(ask_during_a_request(&server, &source, 1, asks), 2);
    assert_eq!(source.asked(), [(1, vec![1]), (0, vec![1])]);
}

#[test]
fn what_a_waiting_process_wants_is_in_the_next_request_of_another() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    // The fetch is claimed, and its process says nothing.
    let [silent, fetching] = processes(&server.url(), &clock, &source);
    assert_eq!(value(&silent, 9), 1);
    // Otherwise the next process may have to wait for it, and tells what it wants itself.
    wait_until_unclaimed(&server, "test");
    let (claimed_tx, claimed_rx) = mpsc::channel::<()>();
    let (go_tx, go_rx) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new((claimed_tx, go_rx));
    // Its keys are chosen when another process already waits.
    let quota = lanekeeper::SharedQuota::redis(&server.url(), "a").unwrap().timeout(secs(2));
    let values = lanekeeper::cache::SharedValues::new(
        &quota,
        "test",
        super::process::encode,
        super::process::decode,
    );
    let late = lanekeeper::cache::BatchBuilder::new(settings(&clock)).build_shared(
        values.unwrap(),
        move |batch| {
            let gate = gate.lock().unwrap();
            gate.0.send(()).unwrap();
            gate.1.recv().unwrap();
            let mut keys = batch.keys();
            keys.sort_unstable();
            let sum = keys.iter().map(|key| u64::from(*key)).sum::<u64>();
            Ok::<_, String>(keys.into_iter().map(|key| (key, Ok(sum))).collect())
        },
    );
    thread::scope(|scope| {
        let own = scope.spawn(|| *late.get(&10).unwrap().unwrap().value);
        claimed_rx.recv().unwrap();
        let others = scope.spawn(|| value(&fetching, 20));
        while server.send("ZCARD lanekeeper:{a}:test-wanted").starts_with(":0") {
            thread::yield_now();
        }
        go_tx.send(()).unwrap();
        assert_eq!(own.join().unwrap(), 30);
        // It looks again.
        while !others.is_finished() {
            clock.advance(millis(5));
            thread::sleep(millis(1));
        }
        assert_eq!(others.join().unwrap(), 30);
    });
    assert_eq!(fetching.stats().batches, 0);
    // The key is not one of that process.
    assert_eq!(late.stats().entries, 1);
}

#[test]
fn a_process_that_dies_while_it_fetches_is_waited_for_three_seconds() {
    let Some(server) = RedisServer::start() else { return };
    let source = Arc::new(Source::default());
    let (began_tx, began_rx) = mpsc::channel();
    // Its clock is its own: it stands still.
    let dead = process(
        &server.url(),
        settings(&ManualClock::new()),
        &source,
        0,
        Box::new(move || {
            began_tx.send(()).unwrap();
            loop {
                thread::park();
            }
        }),
    );
    let dead = Arc::new(dead);
    let asking = Arc::clone(&dead);
    thread::spawn(move || asking.get(&1));
    began_rx.recv().unwrap();
    let clock = ManualClock::auto_advancing();
    let [next] = processes(&server.url(), &clock, &source);
    let began = clock.now();
    assert_eq!(value(&next, 1), 2);
    assert_eq!(clock.now().since(began), secs(3));
    assert_eq!(source.asked(), [(0, vec![1]), (0, vec![1])]);
    // The claim has ended, and the next request waits for nothing.
    assert_eq!(value(&next, 2), 3);
    assert_eq!(clock.now().since(began), secs(3));
    std::mem::forget(dead);
}

#[test]
fn a_request_that_fails_lets_the_next_process_fetch_at_once() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    source.fail(true);
    assert!(first.get(&1).is_err());
    source.fail(false);
    // The clock does not advance: a wait would not end.
    assert_eq!(value(&second, 1), 2);
    assert_eq!(value(&first, 1), 2);
}

#[test]
fn what_the_source_has_nothing_for_is_not_shared() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    assert!(first.get(&1000).unwrap().is_none());
    assert!(second.get(&1000).unwrap().is_none());
    assert_eq!(source.asked().len(), 2);
}

#[test]
fn a_cache_that_does_not_share_makes_requests_of_its_own() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first] = processes(&server.url(), &clock, &source);
    let mut alone = settings(&clock);
    alone.share = false;
    let alone = process(&server.url(), alone, &source, 1, Box::new(|| {}));
    assert_eq!([value(&first, 1), value(&alone, 1)], [1, 2]);
}

#[test]
fn a_cache_that_is_dropped_while_it_waits_ends() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    assert_eq!(value(&first, 1), 1);
    // Another process has the fetch for an hour, as it seems.
    let wall = lanekeeper::Clock::from(clock.clone()).wall_clock().timestamp;
    let until = wall.as_microsecond() + 3_600_000_000;
    server.send(&format!("HSET lanekeeper:{{a}}:test-state fetcher other until {until}"));
    let asks = GetOptions::new().deadline(secs(1));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| second.get_with(&7, &asks));
        while server.send("ZCARD lanekeeper:{a}:test-wanted").starts_with(":0") {
            thread::yield_now();
        }
        clock.advance(secs(1));
        assert!(waiting.join().unwrap().is_err());
    });
    drop(second);
    assert_eq!(source.asked().len(), 1);
}
