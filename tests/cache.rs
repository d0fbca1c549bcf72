//! The batch cache: what is stored and for how long, and which keys a request carries.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{BatchBuilder, BatchCache, FetchError, GetOptions, Origin};
use lanekeeper::clock::ManualClock;
use source::{Cache, Fake, settings};

const TTL: Duration = Duration::from_secs(5);
const NANO: Duration = Duration::from_nanos(1);

/// Returns a cache in front of a source that answers at once.
fn cache(clock: &ManualClock) -> (Cache, Arc<Fake>) {
    tuned(clock, |_| ())
}

fn tuned(
    clock: &ManualClock,
    tune: impl FnOnce(&mut lanekeeper::cache::BatchConfig),
) -> (Cache, Arc<Fake>) {
    let source = Arc::new(Fake::default());
    let mut settings = settings(clock);
    tune(&mut settings);
    let asked = Arc::clone(&source);
    let builder = BatchBuilder::new(settings).weigher(|key: &u32| *key as usize);
    (builder.build(move |keys| asked.fetch(keys)), source)
}

#[test]
fn a_miss_fetches_all_that_is_due() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.get_many(&[1, 2]).complete().unwrap();
    cache.get(&3).unwrap();
    assert_eq!(source.asked(), [vec![1, 2], vec![3]], "the others are as good as new");
    clock.advance(TTL / 2);
    cache.get(&4).unwrap();
    assert_eq!(source.asked(), [[1, 2, 3, 4]], "half their time is over");
    clock.advance(TTL);
    cache.get(&2).unwrap();
    for key in [1, 3, 4] {
        assert_eq!(cache.get(&key).unwrap().unwrap().origin, Origin::Memory);
    }
    assert_eq!(source.asked(), [[1, 2, 3, 4]], "all came along");
}

#[test]
fn an_answer_is_fresh_for_exactly_its_time() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.get(&1).unwrap();
    clock.advance(TTL - NANO);
    let known = cache.get(&1).unwrap().unwrap();
    assert_eq!((known.origin, known.age), (Origin::Memory, TTL - NANO));
    assert_eq!(source.asked().len(), 1);
    clock.advance(NANO);
    let new = cache.get(&1).unwrap().unwrap();
    assert_eq!((new.origin, new.age), (Origin::Fetched, Duration::ZERO));
    assert_eq!(source.asked().len(), 1);
}

#[test]
fn its_age_counts_from_before_the_request() {
    let clock = ManualClock::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, slow) = (Arc::clone(&requests), clock.clone());
    let cache = BatchCache::new(settings(&clock), move |keys: &[u32]| {
        counted.fetch_add(1, Ordering::SeqCst);
        slow.advance(Duration::from_secs(3));
        Ok::<_, String>(keys.iter().map(|key| (*key, 0_u64)).collect())
    });
    assert_eq!(cache.get(&1).unwrap().unwrap().age, Duration::from_secs(3));
    clock.advance(Duration::from_secs(2));
    cache.get(&1).unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn a_caller_that_names_an_age_gets_nothing_older() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    let young = |secs| GetOptions::new().max_age(Duration::from_secs(secs));
    cache.get(&1).unwrap();
    clock.advance(Duration::from_secs(3));
    assert_eq!(cache.get_with(&1, &young(4)).unwrap().unwrap().origin, Origin::Memory);
    assert_eq!(cache.get_with(&1, &young(3)).unwrap().unwrap().origin, Origin::Fetched);
    assert_eq!(cache.get_with(&1, &young(0)).unwrap().unwrap().origin, Origin::Fetched);
    assert_eq!(source.asked().len(), 3);
    // A caller may also accept an older value than the cache would return by default.
    clock.advance(TTL * 2);
    assert_eq!(cache.get_with(&1, &young(11)).unwrap().unwrap().age, TTL * 2);
}

#[test]
fn nothing_is_older_than_the_hard_limit_whatever_happens() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| {
        settings.max_age = Some(Duration::from_secs(8));
        settings.stale_while_revalidate = Duration::from_secs(60);
    });
    let patient = GetOptions::new().max_age(Duration::from_secs(100));
    cache.get(&1).unwrap();
    source.fail(true);
    clock.advance(Duration::from_secs(8) - NANO);
    assert_eq!(cache.get_with(&1, &patient).unwrap().unwrap().origin, Origin::Memory);
    clock.advance(NANO);
    for ask in [GetOptions::new(), patient] {
        assert_eq!(cache.get_with(&1, &ask), Err(FetchError::Failed("no line".to_owned())));
    }
}

#[test]
fn an_answer_that_was_in_flight_for_too_long_is_an_error() {
    let clock = ManualClock::new();
    let mut settings = settings(&clock);
    settings.max_age = Some(Duration::from_secs(8));
    let slow = clock.clone();
    let cache = BatchCache::new(settings, move |keys: &[u32]| {
        slow.advance(Duration::from_secs(9));
        Ok::<_, String>(keys.iter().map(|key| (*key, 0_u64)).collect())
    });
    assert_eq!(cache.get(&1), Err(FetchError::TooOld { age: Duration::from_secs(9) }));
}

#[test]
fn what_the_source_does_not_have_is_absent_and_has_a_time_of_its_own() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.negative_ttl = TTL * 3);
    for _ in 0..3 {
        let answer = cache.get_many(&[1, 5000]).complete().unwrap();
        assert_eq!(answer.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(cache.get(&5000), Ok(None));
    }
    assert_eq!(source.asked().len(), 1);
    clock.advance(TTL * 3 - NANO);
    assert_eq!(cache.get(&5000), Ok(None));
    cache.get(&1).unwrap();
    assert_eq!(source.asked(), [[1]], "what is known to be absent is not piggybacked");
    clock.advance(NANO);
    assert_eq!(cache.get(&5000), Ok(None));
    assert_eq!(source.asked(), [[5000]]);
}

#[test]
fn a_share_of_the_time_to_live_may_be_left_to_chance() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.ttl_jitter = 0.5);
    let keys: Vec<u32> = (0..200).collect();
    cache.get_many(&keys).complete().unwrap();
    source.fail(true);
    let fresh = |cache: &Cache| keys.iter().filter(|key| cache.get(key).is_ok()).count();
    clock.advance(TTL / 2 - NANO);
    assert_eq!(fresh(&cache), 200);
    clock.advance(TTL / 4);
    let left = fresh(&cache);
    assert!((50..150).contains(&left), "{left} of 200 at three quarters of the time");
}

#[test]
fn a_key_that_is_not_asked_for_is_dropped_after_a_while() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.get_many(&[1, 2]).complete().unwrap();
    for _ in 0..100 {
        clock.advance(TTL);
        cache.get(&1).unwrap();
    }
    let asked = source.asked();
    assert_eq!(asked[50], [1, 2], "still within five minutes");
    assert_eq!(asked.last().unwrap(), &[1]);
    assert_eq!(cache.stats().entries, 1);
}

#[test]
fn a_key_that_is_tracked_explicitly_is_piggybacked_until_it_is_not() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.track(&[8, 9]).unwrap();
    assert_eq!(source.asked().len(), 0, "no caller asked yet");
    for _ in 0..100 {
        cache.get(&1).unwrap();
        clock.advance(TTL);
    }
    assert!(source.asked().iter().all(|keys| *keys == [1, 8, 9]));
    cache.untrack(&[9]);
    cache.get(&1).unwrap();
    assert_eq!(source.asked(), [[1, 8]]);
}

#[test]
fn when_the_store_is_full_the_least_recently_used_keys_go() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.max_capacity = 3);
    cache.track(&[9]).unwrap();
    for key in [1, 2, 3] {
        cache.get(&key).unwrap();
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(cache.stats().entries, 3);
    source.asked();
    for key in [2, 3, 9] {
        cache.get(&key).unwrap();
    }
    assert_eq!(source.asked().len(), 0);
    cache.get(&1).unwrap();
    assert_eq!(source.asked().len(), 1, "it was the first to go");

    let full = cache.track(&[4, 5, 6]).unwrap_err();
    assert_eq!((full.wanted, full.capacity), (4, 3));
    cache.track(&[9, 4, 5]).unwrap();
    let answer = cache.get_many(&[10, 11, 12, 13]).complete().unwrap();
    assert_eq!(answer.len(), 4, "a caller is answered, whether its key is stored or not");
}

#[test]
fn requests_are_split_by_count() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.max_batch_keys = 3);
    let keys: Vec<u32> = (0..10).collect();
    assert_eq!(cache.get_many(&keys).complete().unwrap().len(), 10);
    assert_eq!(source.asked().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
}

#[test]
fn requests_are_split_by_weight() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.max_batch_weight = 100);
    assert_eq!(cache.get_many(&[60, 30, 10, 50, 99, 500]).complete().unwrap().len(), 6);
    for request in source.asked() {
        assert!(request.iter().sum::<u32>() <= 100 || request.len() == 1, "{request:?}");
    }
}

#[test]
fn what_is_waited_for_goes_before_what_is_only_tracked() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.max_batch_keys = 4);
    let keys: Vec<u32> = (0..8).collect();
    cache.get_many(&keys).complete().unwrap();
    clock.advance(TTL);
    source.asked();
    cache.get(&7).unwrap();
    let asked = source.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains(&7) && asked[0].len() == 4, "{asked:?}");
}

#[test]
fn a_question_for_many_is_answered_of_one_moment() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.get_many(&[1, 2, 3]).complete().unwrap();
    clock.advance(Duration::from_secs(1));
    let answer = cache.get_many(&[1, 2, 4]).complete().unwrap();
    assert_eq!(source.asked(), [vec![1, 2, 3], vec![1, 2, 4]], "the fresh ones came along");
    assert_eq!(answer.values().map(|a| a.sent).collect::<HashSet<_>>().len(), 1);
    assert!(answer.values().all(|a| *a.value == 2), "and their new values are given");
}

#[test]
fn an_error_is_not_stored_and_what_came_is() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.max_batch_keys = 1);
    source.fail(true);
    assert_eq!(cache.get(&1), Err(FetchError::Failed("no line".to_owned())));
    source.fail(false);
    assert_eq!(*cache.get(&1).unwrap().unwrap().value, 2);
    source.fail_on(Some(3));
    assert!(cache.get_many(&[2, 3]).complete().is_err());
    source.asked();
    cache.get_many(&[1, 2]).complete().unwrap();
    assert_eq!(source.asked().len(), 0, "the request for 2 did not fail");
    assert_eq!((cache.stats().batches, cache.stats().failures), (4, 2));
}

#[test]
fn what_is_invalidated_is_fetched_again_even_if_it_was_in_flight() {
    let clock = ManualClock::new();
    let (cache, source) = cache(&clock);
    cache.get(&1).unwrap();
    cache.invalidate(&1);
    cache.get(&1).unwrap();
    assert_eq!(source.asked().len(), 2);

    // The request is in flight while its key is invalidated.
    let itself: Arc<Mutex<Option<Arc<Cache>>>> = Arc::default();
    let of_fetch = Arc::clone(&itself);
    let cache: Arc<Cache> = Arc::new(BatchCache::new(settings(&clock), move |keys: &[u32]| {
        if let Some(cache) = &*of_fetch.lock().unwrap() {
            cache.invalidate(&1);
        }
        Ok(keys.iter().map(|key| (*key, 0)).collect())
    }));
    *itself.lock().unwrap() = Some(Arc::clone(&cache));
    for _ in 0..3 {
        assert_eq!(cache.get(&1).unwrap().unwrap().origin, Origin::Fetched);
    }
    *itself.lock().unwrap() = None;
    cache.get(&1).unwrap();
    assert_eq!(cache.get(&1).unwrap().unwrap().origin, Origin::Memory);
}

#[test]
fn what_is_untracked_while_it_is_in_flight_stays_untracked() {
    let clock = ManualClock::new();
    let itself: Arc<Mutex<Option<Arc<Cache>>>> = Arc::default();
    let of_fetch = Arc::clone(&itself);
    let requests: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
    let log = Arc::clone(&requests);
    let cache: Arc<Cache> = Arc::new(BatchCache::new(settings(&clock), move |keys: &[u32]| {
        log.lock().unwrap().push(keys.to_vec());
        if let Some(cache) = of_fetch.lock().unwrap().take() {
            cache.untrack(&[1, 8]);
        }
        Ok(keys.iter().map(|key| (*key, 0)).collect())
    }));
    *itself.lock().unwrap() = Some(Arc::clone(&cache));
    cache.track(&[8]).unwrap();
    assert!(cache.get(&1).unwrap().is_some(), "a waiter is answered");
    assert_eq!(cache.stats().entries, 0);
    clock.advance(TTL);
    cache.get(&2).unwrap();
    assert_eq!(*requests.lock().unwrap(), [vec![1, 8], vec![2]]);
    // The next `get` tracks it again.
    cache.get(&1).unwrap();
    clock.advance(TTL);
    cache.get(&2).unwrap();
    assert_eq!(requests.lock().unwrap().last().unwrap().len(), 2);
}

/// Gets the value until it is that of the second request.
fn until_renewed(cache: &Cache) {
    while *cache.get(&1).unwrap().unwrap().value < 2 {
        thread::yield_now();
    }
}

#[test]
fn a_stale_answer_is_given_while_a_new_one_is_fetched() {
    let clock = ManualClock::new();
    let (cache, source) = tuned(&clock, |settings| settings.stale_while_revalidate = TTL);
    cache.get(&1).unwrap();
    clock.advance(TTL);
    let stale = cache.get(&1).unwrap().unwrap();
    assert_eq!((stale.origin, stale.age), (Origin::Stale, TTL));
    until_renewed(&cache);
    assert_eq!(source.asked(), [[1], [1]]);
    assert_eq!(cache.stats().misses, 1, "no caller waited");
    clock.advance(TTL * 2);
    assert_eq!(cache.get(&1).unwrap().unwrap().origin, Origin::Fetched, "too stale");
}

#[test]
fn a_hot_key_is_refreshed_ahead_when_there_is_idle_capacity() {
    let clock = ManualClock::new();
    let (source, is_idle) = (Arc::new(Fake::default()), Arc::new(AtomicBool::new(false)));
    let polls = Arc::new(AtomicUsize::new(0));
    let mut settings = settings(&clock);
    settings.refresh_ahead = Some(0.8);
    let (asked, idle, counted) = (Arc::clone(&source), Arc::clone(&is_idle), Arc::clone(&polls));
    let cache: Cache = BatchBuilder::new(settings)
        .refresh_if(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            idle.load(Ordering::SeqCst)
        })
        .build(move |keys| asked.fetch(keys));
    cache.get(&1).unwrap();
    clock.advance(TTL * 4 / 5 - NANO);
    cache.get(&1).unwrap();
    clock.advance(NANO);
    cache.get(&1).unwrap();
    while polls.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(source.asked().len(), 1, "there is nothing to spare");
    is_idle.store(true, Ordering::SeqCst);
    // Asking again at once requests no refresh: that would be a poll of the lane for each hit.
    clock.advance(TTL / 10);
    cache.get(&1).unwrap();
    until_renewed(&cache);
    assert_eq!(cache.stats().misses, 1, "no caller waited");
}

#[test]
fn a_crowd_gets_what_it_asked_for_one_request_at_a_time() {
    let clock = ManualClock::new();
    let mut settings = settings(&clock);
    settings.max_batch_keys = 7;
    // The threads advance time for one another, by as much as the machine's speed allows.
    settings.max_age = Some(Duration::MAX);
    let in_flight = AtomicUsize::new(0);
    let cache = BatchCache::new(settings, move |keys: &[u32]| {
        assert_eq!(in_flight.fetch_add(1, Ordering::SeqCst), 0, "two requests at a time");
        assert!(keys.len() <= 7);
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "asked twice");
        thread::yield_now();
        let answer = keys.iter().map(|key| (*key, u64::from(*key) * 2)).collect();
        in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok::<_, String>(answer)
    });
    thread::scope(|scope| {
        for seed in 0..16 {
            let (cache, clock) = (&cache, &clock);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..200 {
                    let keys: Vec<u32> = (0..rng.usize(1..20)).map(|_| rng.u32(0..50)).collect();
                    let answer = cache.get_many(&keys).complete().unwrap();
                    for key in keys {
                        assert_eq!(*answer[&key].value, u64::from(key) * 2);
                    }
                    clock.advance(Duration::from_millis(rng.u64(0..500)));
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.batches > 0 && stats.largest_batch <= 7, "{stats:?}");
    assert!(stats.keys_per_batch() > 1.0 && stats.calls_saved() > 0, "{stats:?}");
}

#[test]
fn what_was_fresh_when_it_was_asked_and_is_not_when_it_is_answered_is_fetched_too() {
    let clock = ManualClock::new();
    let requests: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
    let (log, slow) = (Arc::clone(&requests), clock.clone());
    let mut settings = settings(&clock);
    settings.max_batch_keys = 1;
    let cache = BatchCache::new(settings, move |keys: &[u32]| {
        log.lock().unwrap().push(keys.to_vec());
        slow.advance(Duration::from_secs(3));
        Ok::<_, String>(keys.iter().map(|key| (*key, 0_u64)).collect())
    });
    cache.get(&1).unwrap();
    let began = clock.now();
    let answer = cache.get_many(&[1, 2]).complete().unwrap();
    assert_eq!(*requests.lock().unwrap(), [[1], [2], [1]]);
    assert!(answer.values().all(|answer| answer.sent >= began), "{answer:?}");
}

#[test]
fn what_grew_too_old_while_its_caller_waited_is_given_at_the_deadline_all_the_same() {
    let clock = ManualClock::new();
    let itself: Arc<OnceLock<Weak<Cache>>> = Arc::default();
    let (of_fetch, slow, requests) = (Arc::clone(&itself), clock.clone(), AtomicUsize::new(0));
    let mut settings = settings(&clock);
    settings.max_batch_keys = 1;
    let cache: Arc<Cache> = Arc::new(BatchCache::new(settings, move |keys: &[u32]| {
        slow.advance(Duration::from_secs(1));
        if requests.fetch_add(1, Ordering::SeqCst) == 2 {
            // The last request returns after its caller has left.
            slow.advance(Duration::from_secs(9));
            let cache = of_fetch.get().and_then(Weak::upgrade).unwrap();
            while cache.stats().timed_out == 0 {
                thread::yield_now();
            }
        }
        Ok(keys.iter().map(|key| (*key, 0)).collect())
    }));
    itself.set(Arc::downgrade(&cache)).unwrap();
    cache.get(&1).unwrap();
    clock.advance(Duration::from_secs(3));
    // 1 is four seconds old. Once 2 has come it is five, and is fetched again.
    let answers = cache.get_many_with(&[1, 2], &GetOptions::new().deadline(Duration::from_secs(2)));
    assert_eq!(answers.failed, HashMap::new());
    let ages = [1, 2].map(|key| answers.values[&key].age.as_secs());
    assert_eq!(ages, [15, 11]);
}

#[test]
fn a_key_that_failed_alone_fails_no_longer_than_its_time() {
    let clock = ManualClock::new();
    let mut settings = settings(&clock);
    settings.stale_while_revalidate = TTL * 10;
    let requests = AtomicUsize::new(0);
    let cache: Cache = BatchBuilder::new(settings).build_each(move |batch| {
        let fails = requests.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = |key| if fails && key == 1 { Err("odd".to_owned()) } else { Ok(7) };
        Ok(batch.keys().into_iter().map(|key| (key, answer(key))).collect())
    });
    let answers = cache.get_many(&[1, 2]);
    assert_eq!(answers.failed, HashMap::from([(1, FetchError::KeyFailed("odd".to_owned()))]));
    assert_eq!(*answers.values[&2].value, 7);
    clock.advance(TTL - NANO);
    assert_eq!(cache.get(&1), Err(FetchError::KeyFailed("odd".to_owned())), "from the cache");
    clock.advance(NANO);
    assert_eq!(
        cache.get(&1).unwrap().unwrap().origin,
        Origin::Fetched,
        "an error is not served stale"
    );
}
