//! The batch cache: what a crowd that asks for quotes costs, and what it gets.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{BatchCache, BatchSettings, FetchError};
use lanekeeper::clock::ManualClock;

type Cache = BatchCache<u32, u64, String>;
type Answer = Result<HashMap<u32, u64>, String>;

const TTL: Duration = Duration::from_secs(5);

fn cache(clock: &ManualClock) -> Cache {
    sized(clock, usize::MAX, usize::MAX)
}

fn sized(clock: &ManualClock, most_keys: usize, most_weight: usize) -> Cache {
    let mut settings = BatchSettings::default();
    settings.clock = clock.clone().into();
    settings.most_keys = most_keys;
    settings.most_weight = most_weight;
    BatchCache::new(settings, |key| *key as usize)
}

/// A source that has a value for every key below 1000, and remembers what it was asked.
#[derive(Default)]
struct Source(Mutex<Vec<Vec<u32>>>);

impl Source {
    fn fetch(&self, keys: &[u32]) -> Answer {
        let mut asked = self.0.lock().unwrap();
        asked.push(keys.to_vec());
        let round = asked.len() as u64;
        Ok(keys.iter().filter(|key| **key < 1000).map(|key| (*key, round)).collect())
    }

    /// The keys of each request, sorted, since the last look.
    fn asked(&self) -> Vec<Vec<u32>> {
        let mut asked = std::mem::take(&mut *self.0.lock().unwrap());
        asked.iter_mut().for_each(|keys| keys.sort_unstable());
        asked
    }
}

#[test]
fn a_miss_fetches_everything_that_is_tracked() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    for key in [1, 2, 3] {
        cache.get(&key, |keys| source.fetch(keys)).unwrap();
    }
    // Each new key takes along what is known already: it costs nothing, and keeps all in step.
    assert_eq!(source.asked(), [vec![1], vec![1, 2], vec![1, 2, 3]]);
    clock.advance(TTL);
    cache.get(&2, |keys| source.fetch(keys)).unwrap();
    assert_eq!(source.asked(), [[1, 2, 3]]);
    for key in [1, 3] {
        cache.get(&key, |keys| source.fetch(keys)).unwrap();
    }
    assert_eq!(source.asked().len(), 0, "both came along");
}

#[test]
fn an_answer_is_fresh_for_exactly_its_time() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    let get = || cache.get(&1, |keys| source.fetch(keys)).unwrap();
    get();
    clock.advance(TTL - Duration::from_nanos(1));
    get();
    assert_eq!(source.asked().len(), 1);
    clock.advance(Duration::from_nanos(1));
    get();
    assert_eq!(source.asked().len(), 1);
}

#[test]
fn its_age_counts_from_before_the_request() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    let slow = |keys: &[u32]| {
        clock.advance(Duration::from_secs(3));
        source.fetch(keys)
    };
    cache.get(&1, slow).unwrap();
    clock.advance(Duration::from_secs(2));
    cache.get(&1, slow).unwrap();
    assert_eq!(source.asked().len(), 2);
}

#[test]
fn what_the_source_does_not_have_is_absent_and_not_asked_again() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    for _ in 0..3 {
        let answer = cache.get_many(&[1, 5000], |keys| source.fetch(keys)).unwrap();
        assert_eq!(answer.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(cache.get(&5000, |keys| source.fetch(keys)), Ok(None));
    }
    assert_eq!(source.asked().len(), 1);
}

#[test]
fn a_key_nobody_asks_for_is_dropped_after_a_while() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    cache.get_many(&[1, 2], |keys| source.fetch(keys)).unwrap();
    for _ in 0..100 {
        clock.advance(TTL);
        cache.get(&1, |keys| source.fetch(keys)).unwrap();
    }
    let asked = source.asked();
    assert_eq!(asked[50], [1, 2], "still within five minutes");
    assert_eq!(asked.last().unwrap(), &[1]);
}

#[test]
fn requests_are_divided_by_count() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = sized(&clock, 3, usize::MAX);
    let keys: Vec<u32> = (0..10).collect();
    let answer = cache.get_many(&keys, |keys| source.fetch(keys)).unwrap();
    assert_eq!(answer.len(), 10);
    // The last one has room for two more, and takes along the oldest.
    assert_eq!(source.asked().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 3]);
}

#[test]
fn requests_are_divided_by_weight() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = sized(&clock, usize::MAX, 100);
    let keys = [60, 30, 10, 50, 99, 500];
    let answer = cache.get_many(&keys, |keys| source.fetch(keys)).unwrap();
    assert_eq!(answer.len(), 6);
    for request in source.asked() {
        assert!(request.iter().sum::<u32>() <= 100 || request.len() == 1, "{request:?}");
    }
}

#[test]
fn what_is_waited_for_goes_before_what_is_only_tracked() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = sized(&clock, 4, usize::MAX);
    let keys: Vec<u32> = (0..8).collect();
    cache.get_many(&keys, |keys| source.fetch(keys)).unwrap();
    clock.advance(TTL);
    source.asked();
    cache.get(&7, |keys| source.fetch(keys)).unwrap();
    let asked = source.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains(&7) && asked[0].len() == 4, "{asked:?}");
}

/// Starts `waiters` threads that all ask for one key, holds the fetch until all of them wait for
/// it, and gives what each was told and how many fetches there were.
fn stampede(
    waiters: u64,
    outcome: impl Fn() -> Answer + Sync,
) -> (Vec<Result<u64, FetchError<String>>>, usize) {
    let cache = cache(&ManualClock::new());
    let fetches = AtomicUsize::new(0);
    let (let_go, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let fetch = |_: &[u32]| {
        fetches.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv();
        outcome()
    };
    let answers = thread::scope(|scope| {
        let ask = || Ok(*cache.get(&1, fetch)?.unwrap());
        let threads: Vec<_> = (0..waiters).map(|_| scope.spawn(ask)).collect();
        while cache.stats().misses < waiters {
            thread::yield_now();
        }
        drop(let_go);
        threads.into_iter().map(|t| t.join().unwrap_or(Err(FetchError::Panicked))).collect()
    });
    (answers, fetches.into_inner())
}

#[test]
fn a_thousand_waiters_make_one_fetch() {
    let (answers, fetches) = stampede(1000, || Ok(HashMap::from([(1, 7)])));
    assert_eq!(fetches, 1);
    assert!(answers.len() == 1000 && answers.iter().all(|answer| *answer == Ok(7)));
}

#[test]
fn a_fetch_that_fails_fails_once_for_all() {
    let failed = || Err("no line".to_owned());
    let (answers, fetches) = stampede(1000, failed);
    assert_eq!(fetches, 1);
    let failed = Err(FetchError::Failed("no line".to_owned()));
    assert!(answers.len() == 1000 && answers.iter().all(|answer| *answer == failed));
}

#[test]
fn a_fetch_that_panics_leaves_nobody_waiting() {
    let (answers, fetches) = stampede(100, || panic!("the source is broken"));
    assert_eq!(fetches, 1);
    assert!(answers.len() == 100 && answers.iter().all(|a| *a == Err(FetchError::Panicked)));
}

#[test]
fn an_error_is_not_remembered() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache(&clock);
    cache.get(&1, |_| Err("no line".to_owned())).unwrap_err();
    assert_eq!(cache.get(&1, |keys| source.fetch(keys)).unwrap().as_deref(), Some(&1));
    assert_eq!((cache.stats().fetches, cache.stats().failures), (2, 1));
}

#[test]
fn a_crowd_gets_what_it_asked_for_one_request_at_a_time() {
    let clock = ManualClock::new();
    let cache = sized(&clock, 7, usize::MAX);
    let (under_way, requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fetch = |keys: &[u32]| -> Answer {
        assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "two requests at a time");
        assert!(keys.len() <= 7);
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "asked twice");
        requests.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        let answer = keys.iter().map(|key| (*key, u64::from(*key) * 2)).collect();
        under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(answer)
    };
    thread::scope(|scope| {
        for seed in 0..16 {
            let (cache, fetch, clock) = (&cache, &fetch, &clock);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..200 {
                    let keys: Vec<u32> = (0..rng.usize(1..20)).map(|_| rng.u32(0..50)).collect();
                    let answer = cache.get_many(&keys, fetch).unwrap();
                    for key in keys {
                        assert_eq!(*answer[&key], u64::from(key) * 2);
                    }
                    clock.advance(Duration::from_millis(rng.u64(0..500)));
                }
            });
        }
    });
    assert!(requests.into_inner() > 0);
}
