//! Callers of the batch cache that wait for newer values: one request in each `ttl` for all of them, no busy loop, and
//! always an answer.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{
    BatchBuilder, BatchCache, BatchConfig, BatchResult, BatchSubscription, Cached, FetchError,
    GetOptions, Origin,
};
use lanekeeper::clock::ManualClock;
use source::{Cache, Fake, settings};
use support::lanes::within_reason;

const TTL: Duration = Duration::from_secs(5);
const NANO: Duration = Duration::from_nanos(1);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

/// Returns a cache in front of a source that answers at once.
fn cache(clock: &ManualClock) -> (Cache, Arc<Fake>) {
    tuned(clock, |_| ())
}

fn tuned(clock: &ManualClock, tune: impl FnOnce(&mut BatchConfig)) -> (Cache, Arc<Fake>) {
    let source = Arc::new(Fake::default());
    let mut settings = settings(clock);
    tune(&mut settings);
    let asked = Arc::clone(&source);
    let builder = BatchBuilder::new(settings).split_on(|error: &String| error == "refused");
    (builder.build(move |keys| asked.fetch(keys)), source)
}

/// Returns a cache whose source answers once it is let go, and how many requests it got. The value of a key is the
/// number of the request.
fn held(clock: &ManualClock) -> (Cache, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (let_go, held) = mpsc::channel::<()>();
    let (requests, held) = (Arc::new(AtomicUsize::new(0)), Mutex::new(held));
    let counted = Arc::clone(&requests);
    let mut settings = settings(clock);
    settings.max_age = Some(Duration::MAX);
    let cache = BatchCache::new(settings, move |keys: &[u32]| {
        let number = counted.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        let _ = held.lock().unwrap().recv();
        Ok(keys.iter().map(|key| (*key, number)).collect())
    });
    (cache, let_go, requests)
}

fn get_after(cache: &Cache, key: u32, seen: Option<u64>) -> Cached<u64> {
    cache.get_after(&key, seen).unwrap().unwrap()
}

fn no_line() -> FetchError<String> {
    FetchError::Failed("no line".to_owned())
}

fn within(deadline: Duration) -> GetOptions {
    GetOptions::new().deadline(deadline)
}

/// Returns the options of a lookup that requests a key although the cache holds a fresh value.
fn anew() -> GetOptions {
    GetOptions::new().max_age(Duration::ZERO)
}

#[test]
fn all_callers_that_wait_for_a_key_share_one_request_in_each_ttl() {
    within_reason(|| {
        const THREADS: usize = 16;
        const ROUNDS: u64 = 25;
        let clock = ManualClock::new();
        let (cache, source) = cache(&clock);
        let values: Vec<Mutex<Vec<u64>>> = (0..THREADS).map(|_| Mutex::default()).collect();
        thread::scope(|scope| {
            for own in &values {
                let cache = &cache;
                scope.spawn(move || {
                    let mut seen = None;
                    for _ in 0..ROUNDS {
                        let new = get_after(cache, 1, seen);
                        seen = Some(new.batch);
                        own.lock().unwrap().push(*new.value);
                    }
                });
            }
            for round in 1..=ROUNDS {
                until(|| values.iter().all(|own| own.lock().unwrap().len() as u64 == round));
                // The callers may be waiting again by now, or may begin to during the next lines: the key is not due yet.
                clock.advance(TTL - NANO);
                assert_eq!(cache.stats().batches, round);
                clock.advance(NANO);
            }
        });
        assert_eq!(source.asked().len() as u64, ROUNDS);
        let each: Vec<u64> = (1..=ROUNDS).collect();
        for own in values {
            assert_eq!(own.into_inner().unwrap(), each, "each value once, and none missed");
        }
        let stats = cache.stats();
        assert_eq!(stats.lookups(), THREADS as u64 * ROUNDS, "one lookup a round: {stats:?}");
    });
}

#[test]
fn a_loop_over_new_values_goes_at_the_pace_of_the_ttl() {
    let clock = ManualClock::auto_advancing();
    let (cache, _) = cache(&clock);
    let began = clock.now();
    let mut seen = None;
    for round in 0..10_u32 {
        let new = get_after(&cache, 1, seen);
        seen = Some(new.batch);
        assert_eq!(clock.now().since(began), TTL * round);
        assert_eq!(new.age, Duration::ZERO);
    }
    assert_eq!((cache.stats().lookups(), cache.stats().batches), (10, 10));
}

/// By the real clock: only a notification can end this wait before the `ttl` of an hour.
#[test]
fn the_request_of_another_caller_ends_the_wait() {
    within_reason(|| {
        let mut settings = BatchConfig::default();
        settings.ttl = secs(3600);
        let requests = AtomicU64::new(0);
        let cache = BatchCache::new(settings, move |keys: &[u32]| {
            let number = requests.fetch_add(1, Ordering::SeqCst) + 1;
            Ok::<_, String>(keys.iter().map(|key| (*key, number)).collect())
        });
        const ROUNDS: u64 = 100;
        let (rounds, calls) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = None;
                for _ in 0..ROUNDS {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let new = get_after(&cache, 1, seen);
                    seen = Some(new.batch);
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            });
            for round in 1..=ROUNDS {
                until(|| calls.load(Ordering::SeqCst) >= round);
                // The caller is about to wait, or waits.
                cache.get_with(&1, &anew()).unwrap();
                until(|| rounds.load(Ordering::SeqCst) >= round);
            }
        });
        assert!(cache.stats().batches <= ROUNDS + 1);
    });
}

#[test]
fn a_value_that_the_caller_does_not_have_is_returned_at_once() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    let first = get_after(&cache, 1, None);
    let again = get_after(&cache, 1, None);
    assert_eq!((again.batch, again.origin), (first.batch, Origin::Memory));
    clock.advance(secs(3));
    cache.get_with(&1, &anew()).unwrap();
    let second = get_after(&cache, 1, Some(first.batch));
    assert_eq!((*second.value, second.origin), (2, Origin::Memory));
    assert!(second.batch > first.batch);
    assert_eq!(source.asked().len(), 2);
}

#[test]
fn a_value_that_was_served_stale_is_not_returned_again() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = tuned(&clock, |settings| settings.stale_while_revalidate = TTL * 10);
    let first = get_after(&cache, 1, None);
    clock.advance(TTL * 3);
    let unseen = get_after(&cache, 1, None);
    assert_eq!((*unseen.value, unseen.origin), (1, Origin::Stale), "as a lookup returns it");
    let second = get_after(&cache, 1, Some(first.batch));
    assert_eq!((*second.value, source.asked().len()), (2, 2));
}

#[test]
fn the_age_that_a_caller_names_is_the_pace_if_it_is_less_than_the_ttl() {
    for (max_age, pace) in [(2, 2), (4, 4), (60, 5)] {
        let clock = ManualClock::auto_advancing();
        let (cache, _) = cache(&clock);
        let options = GetOptions::new().max_age(secs(max_age));
        let (began, mut seen) = (clock.now(), None);
        for round in 0..4 {
            let new = cache.get_after_with(&1, seen, &options).unwrap().unwrap();
            assert_eq!((*new.value, clock.now().since(began)), (round + 1, secs(pace * round)));
            seen = Some(new.batch);
        }
    }
}

#[test]
fn the_wait_ends_at_the_deadline() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    let seen = Some(get_after(&cache, 1, None).batch);
    let error = cache.get_after_with(&1, seen, &within(secs(2))).unwrap_err();
    assert_eq!(error, FetchError::TimedOut { waited: secs(2), maybe_sent: false });
    assert_eq!(cache.stats().timed_out, 1);
    assert_eq!(source.asked().len(), 1, "the key was not due");
    let new = cache.get_after_with(&1, seen, &within(secs(3) + NANO)).unwrap().unwrap();
    assert_eq!(*new.value, 2, "it is due before the deadline");
}

#[test]
fn the_wait_for_a_request_ends_at_the_deadline_as_well() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (cache, let_go, requests) = held(&clock);
        thread::scope(|scope| {
            let waits = scope.spawn(|| cache.get_after_with(&1, None, &within(secs(2))));
            until(|| requests.load(Ordering::SeqCst) == 1);
            clock.advance(secs(2));
            let error = waits.join().unwrap().unwrap_err();
            assert_eq!(error, FetchError::TimedOut { waited: secs(2), maybe_sent: true });
            drop(let_go);
        });
    });
}

#[test]
fn a_failed_request_is_answered_once_to_each_caller_and_not_repeated_at_once() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 10;
    within_reason(|| {
        let clock = ManualClock::new();
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let cache: Cache = BatchCache::new(settings(&clock), move |_| {
            let _ = held.lock().unwrap().recv();
            Err("no line".to_owned())
        });
        let errors = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        assert_eq!(cache.get_after(&1, None), Err(no_line()));
                        errors.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for round in 1..=ROUNDS {
                until(|| cache.stats().lookups() == THREADS * round);
                let_go.send(()).unwrap();
                until(|| errors.load(Ordering::SeqCst) == THREADS * round);
                clock.advance(TTL - NANO);
                assert_eq!(cache.stats().batches, round);
                clock.advance(NANO);
            }
        });
        assert_eq!(cache.stats().batches, ROUNDS);
    });
}

#[test]
fn a_value_ends_the_pause_after_an_error() {
    let (cache, source) = cache(&ManualClock::new());
    source.fail(true);
    assert_eq!(cache.get_after(&1, None), Err(no_line()));
    source.fail(false);
    assert!(cache.get(&1).unwrap().is_some());
    assert!(cache.get_after(&2, None).unwrap().is_some(), "although no time passed");
}

#[test]
fn a_loop_over_errors_goes_at_the_pace_of_the_ttl() {
    for (ttl, pace) in [(5000, 5000), (60_000, 30_000), (200, 1000), (0, 1000)] {
        let clock = ManualClock::auto_advancing();
        let (cache, source) = tuned(&clock, |settings| settings.ttl = Duration::from_millis(ttl));
        source.fail(true);
        let began = clock.now();
        for round in 0..4 {
            assert_eq!(cache.get_after(&1, None), Err(no_line()));
            assert_eq!(clock.now().since(began), Duration::from_millis(pace) * round);
        }
        assert_eq!(source.asked().len(), 4);
    }
}

#[test]
fn a_loop_over_a_key_that_the_source_does_not_have_is_no_busy_loop() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    let (began, mut answered_at) = (clock.now(), Vec::new());
    for _ in 0..8 {
        assert_eq!(cache.get_after(&5000, None), Ok(None));
        answered_at.push(clock.now().since(began).as_secs());
    }
    assert_eq!(
        answered_at,
        [0, 5, 10, 15, 20, 25, 30, 35],
        "a lookup each, from memory but for two"
    );
    assert_eq!((source.asked().len(), cache.stats().lookups()), (2, 8));
    let error = cache.get_after_with(&5000, None, &within(secs(1)));
    assert_eq!(error, Ok(None), "what is known, and no error");
}

#[test]
fn a_loop_over_a_key_that_was_refused_is_no_busy_loop() {
    let clock = ManualClock::auto_advancing();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let cache =
        BatchBuilder::new(settings(&clock)).split_on(|_| true).build(move |keys: &[u32]| {
            counted.fetch_add(1, Ordering::SeqCst);
            match keys.contains(&2) {
                true => Err("refused".to_owned()),
                false => Ok(keys.iter().map(|key| (*key, 0_u64)).collect()),
            }
        });
    let began = clock.now();
    for round in 0..6 {
        let refused = FetchError::KeyFailed("refused".to_owned());
        assert_eq!(cache.get_after(&2, None), Err(refused));
        assert_eq!(clock.now().since(began), TTL * round);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    // It delays no other key.
    assert!(cache.get_after(&1, None).unwrap().is_some());
    assert_eq!(clock.now().since(began), TTL * 5);
}

#[test]
fn an_answer_that_is_too_old_for_a_caller_is_fetched_again() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (cache, let_go, requests) = held(&clock);
        thread::scope(|scope| {
            let first = scope.spawn(|| get_after(&cache, 1, None));
            until(|| requests.load(Ordering::SeqCst) == 1);
            clock.advance(secs(3));
            let second = scope.spawn(|| get_after(&cache, 1, None));
            until(|| cache.stats().joined == 1);
            clock.advance(secs(3));
            let_go.send(()).unwrap();
            // The first caller asked before it was sent. For the other it was sent six seconds ago.
            assert_eq!(*first.join().unwrap().value, 1);
            let_go.send(()).unwrap();
            let second = second.join().unwrap();
            assert_eq!((*second.value, second.age), (2, Duration::ZERO));
        });
    });
}

#[test]
fn a_key_that_is_untracked_or_invalidated_meanwhile_is_answered_all_the_same() {
    for invalidate in [false, true] {
        within_reason(move || {
            let clock = ManualClock::new();
            let (cache, _) = cache(&clock);
            let seen = Some(get_after(&cache, 1, None).batch);
            thread::scope(|scope| {
                let waits = scope.spawn(|| get_after(&cache, 1, seen));
                // The entry goes at any time of the wait, and may be gone before it.
                if invalidate {
                    cache.invalidate(&1)
                } else {
                    cache.untrack(&[1])
                }
                clock.advance(TTL);
                assert_eq!(*waits.join().unwrap().value, 2);
            });
        });
    }
}

/// For example one of another cache.
#[test]
fn a_number_that_no_request_had_ends_with_the_next_request() {
    let clock = ManualClock::auto_advancing();
    let (cache, _) = cache(&clock);
    get_after(&cache, 1, None);
    let began = clock.now();
    assert_eq!(*get_after(&cache, 1, Some(u64::MAX)).value, 2);
    assert_eq!(clock.now().since(began), TTL);
}

fn values(result: Option<BatchResult<u32, u64, String>>) -> Vec<(u32, u64)> {
    let result = result.unwrap();
    assert_eq!(result.failed, HashMap::new());
    let mut values: Vec<_> = result.values.iter().map(|(key, new)| (*key, *new.value)).collect();
    values.sort_unstable();
    values
}

#[test]
fn a_subscription_yields_the_values_of_each_request_once() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    let began = clock.now();
    let mut subscription = cache.subscribe(&[1, 2, 1]);
    for round in 1..=5 {
        assert_eq!(values(subscription.next()), [(1, round), (2, round)]);
        assert_eq!(clock.now().since(began), TTL * (round as u32 - 1));
    }
    assert_eq!(source.asked(), [[1, 2]; 5]);
    assert_eq!(cache.stats().lookups(), 10, "a lookup of each key in each round");
}

#[test]
fn keys_of_different_ages_soon_come_together() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    cache.get(&1).unwrap();
    clock.advance(secs(3));
    let mut subscription = cache.subscribe(&[1, 2]);
    assert_eq!(values(subscription.next()), [(1, 1)], "what the cache holds");
    assert_eq!(values(subscription.next()), [(1, 2), (2, 2)]);
    assert_eq!(values(subscription.next()), [(1, 3), (2, 3)]);
    assert_eq!(source.asked(), [vec![1], vec![1, 2], vec![1, 2]]);
}

#[test]
fn a_slow_subscriber_gets_the_latest_values_and_holds_up_no_other() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    let mut slow = cache.subscribe(&[1, 2]);
    assert_eq!(values(slow.next()), [(1, 1), (2, 1)]);
    let mut quick = cache.subscribe(&[1, 2]);
    for round in 1..=10 {
        assert_eq!(values(quick.next()), [(1, round), (2, round)]);
    }
    assert_eq!(values(slow.next()), [(1, 10), (2, 10)], "those in between are lost");
    assert!(slow.try_next().is_none());
    assert_eq!(source.asked().len(), 10);
}

#[test]
fn more_keys_than_fit_into_a_request_come_request_by_request() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = tuned(&clock, |settings| settings.max_batch_keys = 2);
    let began = clock.now();
    let mut subscription = cache.subscribe(&[1, 2, 3, 4]);
    let mut keys = Vec::new();
    while keys.len() < 8 {
        keys.extend(values(subscription.next()).into_iter().map(|(key, _)| key));
    }
    keys[..4].sort_unstable();
    keys[4..].sort_unstable();
    assert_eq!(keys, [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!((source.asked().len(), clock.now().since(began)), (4, TTL));
}

#[test]
fn a_key_that_the_cache_has_no_room_for_is_requested_at_the_same_pace() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = tuned(&clock, |settings| settings.max_capacity = 1);
    let began = clock.now();
    let mut subscription = cache.subscribe(&[1, 2]);
    for round in 1..=3 {
        assert_eq!(values(subscription.next()), [(1, round), (2, round)]);
        assert_eq!(clock.now().since(began), TTL * (round as u32 - 1));
    }
    assert_eq!(source.asked().len(), 3);
}

#[test]
fn a_wait_with_a_timeout_ends_then_and_its_request_goes_on() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (cache, let_go, requests) = held(&clock);
        let mut subscription = cache.subscribe(&[1]);
        assert!(subscription.try_next().is_none());
        until(|| requests.load(Ordering::SeqCst) == 1);
        let mut subscription = thread::scope(|scope| {
            let waits = scope.spawn(move || {
                let news = subscription.next_timeout(secs(3));
                (news.is_none(), subscription)
            });
            // The clock advances while it waits, or before: then it waits from there.
            until(|| {
                clock.advance(secs(1));
                waits.is_finished()
            });
            let (timed_out, subscription) = waits.join().unwrap();
            assert!(timed_out);
            subscription
        });
        let_go.send(()).unwrap();
        let news = subscription.next();
        assert_eq!(values(news), [(1, 1)]);
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_error_is_an_item_and_not_the_end() {
    let clock = ManualClock::auto_advancing();
    let (cache, source) = cache(&clock);
    let mut subscription = cache.subscribe(&[1, 2]);
    source.fail(true);
    let began = clock.now();
    for round in 0..4 {
        let failed = subscription.next().unwrap();
        let all = HashMap::from([(1, no_line()), (2, no_line())]);
        assert!(failed.values.is_empty() && failed.failed == all, "{failed:?}");
        assert_eq!(clock.now().since(began), TTL * round);
    }
    source.fail(false);
    assert_eq!(values(subscription.next()), [(1, 5), (2, 5)]);
    assert_eq!(source.asked().len(), 5);
}

#[test]
fn a_subscription_with_a_deadline_says_so_when_nothing_is_new() {
    let clock = ManualClock::auto_advancing();
    let (cache, _) = cache(&clock);
    let mut subscription = cache.subscribe_with(&[1], &within(secs(3)));
    assert_eq!(values(subscription.next()), [(1, 1)]);
    let late = FetchError::TimedOut { waited: secs(3), maybe_sent: false };
    assert_eq!(subscription.next().unwrap().failed, HashMap::from([(1, late)]));
    assert_eq!(values(subscription.next()), [(1, 2)]);
}

#[test]
fn a_cache_that_is_dropped_ends_its_subscriptions() {
    within_reason(|| {
        // While a request is in flight that never returns, and while no key is due.
        let clock = ManualClock::new();
        let (stuck, let_go, requests) = held(&clock);
        let (idle, _) = cache(&clock);
        for cache in [stuck, idle] {
            let mut subscription: BatchSubscription<u32, u64, String> = cache.subscribe(&[1]);
            let in_time = cache.stats().batches == 0;
            assert!(in_time && !subscription.is_closed());
            let ended = thread::spawn(move || {
                let items = subscription.by_ref().count();
                (items, subscription.is_closed(), subscription.next().is_none())
            });
            until(|| cache.stats().batches == 1);
            drop(cache);
            let (items, is_closed, is_over) = ended.join().unwrap();
            assert!(items <= 1 && is_closed && is_over, "{items} items");
        }
        assert_eq!(requests.load(Ordering::SeqCst), 1);
        drop(let_go);
    });
}

#[test]
fn a_subscription_to_nothing_ends_at_once() {
    let (cache, _) = cache(&ManualClock::new());
    let mut subscription = cache.subscribe(&[]);
    assert!(subscription.is_closed() && subscription.next().is_none());
}

#[test]
fn a_subscription_that_is_dropped_requests_nothing_more() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (cache, let_go, requests) = held(&clock);
        thread::scope(|scope| {
            let first = scope.spawn(|| cache.get(&1).unwrap());
            until(|| requests.load(Ordering::SeqCst) == 1);
            // It waits for the next request, which is not sent for it alone.
            let mut subscription = cache.subscribe(&[2]);
            assert!(subscription.try_next().is_none());
            drop(subscription);
            drop(let_go);
            first.join().unwrap();
            cache.get(&3).unwrap();
        });
        assert_eq!((requests.load(Ordering::SeqCst), cache.stats().fetched), (2, 2));
    });
}
