//! The batch cache and many threads that all want the same at once.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{BatchBuilder, BatchCache, FetchError, GetOptions};
use lanekeeper::clock::ManualClock;
use source::{Answer, Cache, Fake, settings};

type Answered = Result<u64, FetchError<String>>;

/// Returns how many callers were or are waiting.
fn waiters(cache: &Cache) -> u64 {
    cache.stats().misses + cache.stats().joined
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

/// Returns a source that answers only once it is released, and counts its requests.
fn held(
    outcome: impl Fn(&[u32]) -> Answer + Send + Sync + 'static,
) -> (impl Fn(&[u32]) -> Answer + Send + Sync + 'static, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (let_go, held) = mpsc::channel::<()>();
    let fetches = Arc::new(AtomicUsize::new(0));
    let (held, counted) = (Mutex::new(held), Arc::clone(&fetches));
    let fetch = move |keys: &[u32]| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv();
        outcome(keys)
    };
    (fetch, let_go, fetches)
}

/// Starts threads that all ask for one key, holds the fetch until all of them wait for it, and returns what each
/// got and how many fetches there were.
fn stampede(
    crowd: u64,
    outcome: impl Fn(&[u32]) -> Answer + Send + Sync + 'static,
) -> (Vec<Answered>, usize) {
    let (fetch, let_go, fetches) = held(outcome);
    let cache = BatchCache::new(settings(&ManualClock::new()), fetch);
    let answers = thread::scope(|scope| {
        let ask = || Ok(*cache.get(&1)?.unwrap().value);
        let threads: Vec<_> = (0..crowd).map(|_| scope.spawn(ask)).collect();
        until(|| waiters(&cache) == crowd);
        drop(let_go);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (answers, fetches.load(Ordering::SeqCst))
}

#[test]
fn a_thousand_waiters_make_one_fetch() {
    let (answers, fetches) = stampede(1000, |_| Ok(HashMap::from([(1, 7)])));
    assert_eq!(fetches, 1);
    assert!(answers.len() == 1000 && answers.iter().all(|answer| *answer == Ok(7)));
}

#[test]
fn a_fetch_that_fails_fails_once_for_all() {
    let (answers, fetches) = stampede(1000, |_| Err("no line".to_owned()));
    assert_eq!(fetches, 1);
    let failed = Err(FetchError::Failed("no line".to_owned()));
    assert!(answers.len() == 1000 && answers.iter().all(|answer| *answer == failed));
}

#[test]
fn a_fetch_that_panics_leaves_no_waiter_and_the_next_one_works() {
    let (answers, fetches) = stampede(1000, |_| panic!("the source is broken"));
    assert_eq!(fetches, 1);
    let message = "the source is broken".to_owned();
    let panicked = Err(FetchError::Panicked { message });
    assert!(answers.len() == 1000 && answers.iter().all(|answer| *answer == panicked));

    let calls = AtomicUsize::new(0);
    let cache = BatchCache::new(settings(&ManualClock::new()), move |keys: &[u32]| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
        Ok::<_, String>(keys.iter().map(|key| (*key, 0_u64)).collect())
    });
    assert!(matches!(cache.get(&1), Err(FetchError::Panicked { .. })));
    assert!(cache.get(&1).unwrap().is_some());
}

#[test]
fn when_a_fetch_hangs_each_leaves_at_its_own_deadline() {
    const GROUPS: u64 = 10;
    const EACH: u64 = 100;
    let clock = ManualClock::new();
    let (fetch, let_go, fetches) = held(|_| Ok(HashMap::from([(1, 7)])));
    let cache: Cache = BatchCache::new(settings(&clock), fetch);
    let began = clock.now();
    let patient = thread::scope(|scope| {
        let threads: Vec<_> = (0..GROUPS * EACH)
            .map(|number| {
                let limit = Duration::from_secs(1 + number % GROUPS);
                let (cache, ask) = (&cache, GetOptions::new().deadline(limit));
                scope.spawn(move || (limit, cache.get_with(&1, &ask).map(|_| ())))
            })
            .collect();
        let patient = scope.spawn(|| cache.get(&1).unwrap().map(|answer| *answer.value));
        until(|| waiters(&cache) == GROUPS * EACH + 1 && fetches.load(Ordering::SeqCst) == 1);
        for second in 1..=GROUPS {
            clock.advance(Duration::from_secs(1) - Duration::from_nanos(1));
            assert_eq!(cache.stats().timed_out, (second - 1) * EACH, "no caller leaves early");
            clock.advance(Duration::from_nanos(1));
            until(|| cache.stats().timed_out == second * EACH);
        }
        for thread in threads {
            let (limit, answer) = thread.join().unwrap();
            let Err(FetchError::TimedOut { waited, maybe_sent }) = answer else {
                panic!("{answer:?}")
            };
            assert!(maybe_sent && waited == limit, "{waited:?} of {limit:?}");
        }
        drop(let_go);
        patient.join().unwrap()
    });
    assert_eq!(patient, Some(7), "a caller without a deadline is still answered");
    assert_eq!(clock.now().since(began), Duration::from_secs(GROUPS));
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

/// A source that has to wait before it may send, as in a lane.
struct Queued {
    cache: Cache,
    source: Arc<Fake>,
    turns: Arc<AtomicUsize>,
    chosen: Arc<AtomicUsize>,
    go: mpsc::Sender<()>,
}

fn queued(clock: &ManualClock) -> Queued {
    let (source, turns) = (Arc::new(Fake::default()), Arc::new(AtomicUsize::new(0)));
    let chosen = Arc::new(AtomicUsize::new(0));
    let choice = Arc::clone(&chosen);
    let (go, permits) = mpsc::channel::<()>();
    let (permits, asked, begun) = (Mutex::new(permits), Arc::clone(&source), Arc::clone(&turns));
    let cache = BatchBuilder::new(settings(clock)).build_late(move |batch| {
        begun.fetch_add(1, Ordering::SeqCst);
        permits.lock().unwrap().recv().map_err(|_| "closed".to_owned())?;
        let keys = batch.keys();
        choice.fetch_add(1, Ordering::SeqCst);
        match keys {
            none if none.is_empty() => Ok(HashMap::new()),
            keys => asked.fetch(&keys),
        }
    });
    Queued { cache, source, turns, chosen, go }
}

#[test]
fn what_is_asked_for_while_a_request_waits_for_its_turn_goes_with_it() {
    let clock = ManualClock::new();
    let Queued { cache, source, turns, go, .. } = queued(&clock);
    thread::scope(|scope| {
        let cache = &cache;
        let first = scope.spawn(move || cache.get(&0).unwrap().unwrap());
        until(|| turns.load(Ordering::SeqCst) == 1);
        let others: Vec<_> =
            (1..500).map(|key| scope.spawn(move || cache.get(&key).unwrap().unwrap())).collect();
        until(|| waiters(cache) == 500);
        clock.advance(Duration::from_secs(9));
        let sent = clock.now();
        go.send(()).unwrap();
        for thread in others.into_iter().chain([first]) {
            let answer = thread.join().unwrap();
            assert_eq!(
                (*answer.value, answer.sent),
                (1, sent),
                "one request, as old as its sending"
            );
        }
    });
    assert_eq!(source.asked(), [(0..500).collect::<Vec<_>>()]);
}

#[test]
fn a_request_without_waiters_is_not_sent() {
    let clock = ManualClock::new();
    let Queued { cache, source, turns, chosen, go } = queued(&clock);
    let at_once = GetOptions::new().deadline(Duration::ZERO);
    let left = FetchError::TimedOut { waited: Duration::ZERO, maybe_sent: false };
    thread::scope(|scope| {
        let hurried =
            scope.spawn(|| cache.get_with(&1, &GetOptions::new().deadline(Duration::from_secs(1))));
        until(|| turns.load(Ordering::SeqCst) == 1);
        assert_eq!(cache.get_with(&2, &at_once), Err(left));
        clock.advance(Duration::from_secs(1));
        assert!(hurried.join().unwrap().is_err());
    });
    go.send(()).unwrap();
    until(|| chosen.load(Ordering::SeqCst) == 1);
    // The next caller makes the next request, and gets no error of the one that was never made.
    go.send(()).unwrap();
    assert!(cache.get(&3).unwrap().is_some());
    assert_eq!(source.asked(), [[3]]);
}

#[test]
fn a_fetch_that_fails_before_it_was_sent_is_reported_to_its_waiters() {
    let Queued { cache, turns, go, .. } = queued(&ManualClock::new());
    drop(go);
    assert_eq!(cache.get(&1), Err(FetchError::Failed("closed".to_owned())));
    assert_eq!(cache.get_many(&[1, 2]).complete(), Err(FetchError::Failed("closed".to_owned())));
    assert_eq!(turns.load(Ordering::SeqCst), 2);
    assert_eq!((cache.stats().batches, cache.stats().failures), (0, 2));
}

#[test]
fn what_is_untracked_before_its_request_goes_is_answered_and_not_stored() {
    let clock = ManualClock::new();
    let Queued { cache, source, turns, go, .. } = queued(&clock);
    go.send(()).unwrap();
    cache.get(&5).unwrap();
    source.asked();
    thread::scope(|scope| {
        let cache = &cache;
        let first = scope.spawn(move || cache.get_many(&[5, 1, 2]).complete().unwrap().len());
        until(|| turns.load(Ordering::SeqCst) == 2 && waiters(cache) == 3);
        cache.untrack(&[1, 2, 5]);
        let second = scope.spawn(move || cache.get(&2).unwrap().is_some());
        until(|| waiters(cache) == 4);
        go.send(()).unwrap();
        assert!(first.join().unwrap() == 3 && second.join().unwrap());
    });
    assert_eq!(source.asked(), [[1, 2]], "5 was to come along, for it was tracked");
    assert_eq!(cache.stats().entries, 1, "2 was asked for since");
    go.send(()).unwrap();
    assert!(cache.get(&1).unwrap().is_some());
    assert_eq!(source.asked(), [[1]]);
}

#[test]
fn a_deadline_says_whether_any_request_was_sent() {
    let clock = ManualClock::new();
    let (fetch, let_go, fetches) = held(|keys| Ok(keys.iter().map(|key| (*key, 7)).collect()));
    let mut settings = settings(&clock);
    settings.max_batch_keys = 1;
    let cache: Cache = BatchCache::new(settings, fetch);
    let answers = thread::scope(|scope| {
        let ask = GetOptions::new().deadline(Duration::from_secs(1));
        let cache = &cache;
        let many = scope.spawn(move || cache.get_many_with(&[1, 2], &ask).complete());
        until(|| fetches.load(Ordering::SeqCst) == 1);
        let one = scope.spawn(move || cache.get_with(&3, &ask).map(|_| HashMap::new()));
        until(|| waiters(cache) == 3);
        clock.advance(Duration::from_secs(1));
        let answers = [many.join().unwrap(), one.join().unwrap()];
        drop(let_go);
        answers
    });
    // The request for 1 is in flight, those for 2 and for 3 were never sent.
    let left =
        |maybe_sent| Err(FetchError::TimedOut { waited: Duration::from_secs(1), maybe_sent });
    assert_eq!(answers, [left(true), left(false)]);
}

#[test]
fn a_fetch_for_nothing_that_fails_is_no_callers_failure() {
    let clock = ManualClock::new();
    let (go, permits) = mpsc::channel::<()>();
    let (permits, turns) = (Mutex::new(permits), Arc::new(AtomicUsize::new(0)));
    let begun = Arc::clone(&turns);
    let cache: Cache = BatchBuilder::new(settings(&clock)).build_late(move |batch| {
        begun.fetch_add(1, Ordering::SeqCst);
        let _ = permits.lock().unwrap().recv();
        let keys = batch.keys();
        if keys.is_empty() {
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = permits.lock().unwrap().recv();
            return Err("there was nothing to ask for".to_owned());
        }
        Ok(keys.into_iter().map(|key| (key, 7)).collect())
    });
    thread::scope(|scope| {
        let hurried =
            scope.spawn(|| cache.get_with(&1, &GetOptions::new().deadline(Duration::from_secs(1))));
        until(|| turns.load(Ordering::SeqCst) == 1);
        clock.advance(Duration::from_secs(1));
        assert!(hurried.join().unwrap().is_err());
        go.send(()).unwrap();
        until(|| turns.load(Ordering::SeqCst) == 2);
        let next = scope.spawn(|| cache.get(&2));
        until(|| waiters(&cache) == 2);
        drop(go);
        assert_eq!(*next.join().unwrap().unwrap().unwrap().value, 7);
    });
}

#[test]
fn a_fetch_that_takes_no_keys_is_an_error() {
    let cache: Cache = BatchBuilder::new(settings(&ManualClock::new()))
        .build_late(|_| Ok::<_, String>(HashMap::new()));
    assert_eq!(cache.get(&1), Err(FetchError::KeysNotTaken));
}

#[test]
fn a_batch_that_is_kept_for_too_long_is_empty() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let cache: Cache = BatchBuilder::new(settings(&ManualClock::new())).build_late(move |batch| {
        *keep.lock().unwrap() = Some(batch.clone());
        Ok::<_, String>(batch.keys().into_iter().map(|key| (key, 1)).collect())
    });
    cache.get(&1).unwrap();
    let late = kept.lock().unwrap().take().unwrap();
    // A key is due, but nothing would fetch it.
    cache.track(&[9]).unwrap();
    assert!(late.keys().is_empty() && late.sent().is_none());
    drop(cache);
    assert!(late.keys().is_empty());
}
