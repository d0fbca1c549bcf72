//! A key for which the source refuses a whole request, and what it costs the others.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use lanekeeper::cache::{Batch, BatchBuilder, FetchError, GetOptions, Origin};
use lanekeeper::clock::ManualClock;
use source::{Cache, settings};

const TTL: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<Vec<u32>>>>);

impl Requests {
    fn take(&self) -> Vec<Vec<u32>> {
        let mut requests = std::mem::take(&mut *self.0.lock().unwrap());
        requests.iter_mut().for_each(|keys| keys.sort_unstable());
        requests
    }
}

/// Returns a source that refuses every request with a bad key in it, and the requests that it got.
fn cache(
    clock: &ManualClock,
    bad: impl Fn(u32) -> bool + Send + Sync + 'static,
) -> (Cache, Requests) {
    let requests = Requests::default();
    let log = requests.clone();
    let cache = BatchBuilder::new(settings(clock))
        .split_on(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            match keys.iter().any(|key| bad(*key)) {
                true => Err("refused".to_owned()),
                false => Ok(keys.iter().map(|key| (*key, 0)).collect()),
            }
        });
    (cache, requests)
}

/// Returns the error that callers of a bad key get.
fn bad_key() -> FetchError<String> {
    FetchError::KeyFailed("refused".to_owned())
}

fn sorted(keys: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut keys: Vec<u32> = keys.into_iter().collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_bad_key_alone_is_refused_at_once() {
    let (cache, requests) = cache(&ManualClock::new(), |key| key == 7);
    for _ in 0..3 {
        assert_eq!(cache.get(&7), Err(bad_key()));
    }
    assert_eq!(requests.take().len(), 1, "and from then on from the cache");
}

#[test]
fn keys_without_a_waiter_are_left_out_first() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 7);
    cache.track(&[7]).unwrap();
    assert!(cache.get_many(&[1, 2]).complete().unwrap().len() == 2);
    assert_eq!(requests.take(), [vec![1, 2, 7], vec![1, 2]]);
    clock.advance(TTL);
    cache.get(&1).unwrap();
    assert_eq!(requests.take(), [[1, 2]], "it is not piggybacked any more");
    clock.advance(Duration::from_secs(30));
    cache.get(&1).unwrap();
    assert_eq!(requests.take(), [vec![1, 2, 7], vec![1]], "after a while it is tried again");
    clock.advance(Duration::from_secs(59));
    cache.get(&1).unwrap();
    assert_eq!(requests.take(), [[1, 2]], "and after that not so soon");
    clock.advance(Duration::from_secs(5));
    cache.get(&1).unwrap();
    assert_eq!(requests.take()[0], [1, 2, 7]);
}

#[test]
fn a_quarantined_key_is_asked_for_apart_until_it_is_answered() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 7);
    cache.track(&[7, 8]).unwrap();
    assert_eq!(cache.get_many(&[1, 2]).values.len(), 2);
    assert_eq!(requests.take(), [vec![1, 2, 7, 8], vec![1, 2]]);
    assert_eq!(cache.get_many(&[3, 8]).values.len(), 2);
    assert_eq!(requests.take(), [[3], [8]]);
    clock.advance(TTL);
    assert_eq!(cache.get_many(&[3, 8]).values.len(), 2);
    assert_eq!(requests.take(), [[1, 2, 3, 8]]);
}

#[test]
fn one_bad_key_is_found_and_costs_the_others_no_answer() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 77);
    let keys: Vec<u32> = (0..80).collect();
    let answers = cache.get_many(&keys);
    assert_eq!(
        sorted(answers.values.into_keys()),
        sorted(keys.iter().copied().filter(|k| *k != 77))
    );
    assert_eq!(answers.failed, HashMap::from([(77, bad_key())]));
    let asked = requests.take();
    // 80 keys are split in halves seven times.
    assert!(asked.len() <= 1 + 2 * 7, "{} requests", asked.len());
    assert!(asked.contains(&vec![77]), "only a request for it alone shows that it is bad");
    // All others go together from now on, and the bad key is answered from the cache.
    clock.advance(TTL);
    let answers = cache.get_many(&keys);
    assert_eq!((answers.values.len(), &answers.failed[&77]), (79, &bad_key()));
    let asked = requests.take();
    assert!(asked.len() == 1 && !asked[0].contains(&77), "{asked:?}");
}

#[test]
fn a_half_that_is_known_to_have_the_bad_key_is_not_asked_for() {
    let (cache, requests) = cache(&ManualClock::new(), |key| key == 3);
    assert_eq!(cache.get_many(&[0, 1, 2, 3]).values.len(), 3);
    // The halves of 0 and 1, and of 2 and 3: the first is answered, so the second has the bad key.
    assert_eq!(requests.take(), [vec![0, 1, 2, 3], vec![0, 1], vec![2], vec![3]]);
}

#[test]
fn a_bad_key_is_tried_again_alone_and_ever_more_seldom() {
    let clock = ManualClock::new();
    let is_bad = Arc::new(AtomicBool::new(true));
    let bad = Arc::clone(&is_bad);
    let (cache, requests) = cache(&clock, move |key| key == 7 && bad.load(Ordering::SeqCst));
    assert_eq!(cache.get_many(&[1, 7]).failed, HashMap::from([(7, bad_key())]));
    let mut attempts = Vec::new();
    let mut seconds = 0;
    requests.take();
    while attempts.len() < 7 {
        clock.advance(Duration::from_secs(1));
        seconds += 1;
        // The age that the caller allows does not apply to a refusal.
        let answers = cache.get_many_with(&[1, 7], &GetOptions::new().max_age(Duration::ZERO));
        assert_eq!((answers.values.len(), &answers.failed[&7]), (1, &bad_key()));
        let asked = requests.take();
        assert!(asked.contains(&vec![1]) && asked.iter().all(|keys| keys.len() == 1), "{asked:?}");
        if asked.contains(&vec![7]) {
            attempts.push(seconds);
            seconds = 0;
        }
    }
    assert_eq!(attempts, [30, 60, 120, 240, 480, 480, 480]);
    // Once it is answered, it is a key like the others.
    is_bad.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(480));
    assert_eq!(cache.get_many(&[1, 7]).values.len(), 2);
    clock.advance(TTL);
    requests.take();
    cache.get(&1).unwrap();
    assert_eq!(requests.take(), [[1, 7]]);
}

#[test]
fn a_bad_key_does_not_come_back_among_the_others_however_long_it_is_not_asked_for() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 7);
    cache.get(&7).unwrap_err();
    for _ in 0..20 {
        clock.advance(Duration::from_secs(60));
        cache.get(&1).unwrap();
    }
    requests.take();
    clock.advance(TTL);
    assert_eq!(cache.get_many(&[1, 2, 7]).values.len(), 2);
    assert_eq!(sorted_requests(&requests), [vec![1, 2], vec![7]]);
    // Nor if its refusal is invalidated: then it is fetched at once.
    cache.invalidate(&7);
    clock.advance(TTL);
    assert_eq!(cache.get_many(&[1, 2, 7]).values.len(), 2);
    assert_eq!(sorted_requests(&requests), [vec![1, 2], vec![7]]);
}

fn sorted_requests(requests: &Requests) -> Vec<Vec<u32>> {
    let mut asked = requests.take();
    asked.sort();
    asked
}

#[test]
fn a_third_of_the_keys_may_be_bad_and_no_good_one_fails() {
    let (cache, requests) = cache(&ManualClock::new(), |key| key % 3 == 0);
    let keys: Vec<u32> = (0..300).collect();
    let answers = cache.get_many(&keys);
    assert_eq!(sorted(answers.values.into_keys()), sorted((0..300).filter(|key| key % 3 != 0)));
    assert!(answers.failed.iter().all(|(key, error)| key % 3 == 0 && *error == bad_key()));
    assert!(requests.take().len() < 2 * 300 + 10);
}

#[test]
fn a_source_that_refuses_everything_is_asked_for_each_key_once() {
    let clock = ManualClock::new();
    let down = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&down);
    let (cache, requests) = cache(&clock, move |_| refuses.load(Ordering::SeqCst));
    let keys: Vec<u32> = (0..200).collect();
    let answers = cache.get_many(&keys);
    assert!(answers.values.is_empty());
    assert!(answers.failed.len() == 200 && answers.failed.values().all(|it| *it == bad_key()));
    // The request, three refusals more, and each key alone: not two for each, as by splitting alone.
    assert_eq!(requests.take().len(), 4 + 200);
    down.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(30));
    assert_eq!(cache.get_many(&keys).values.len(), 200);
}

/// The good keys may be the last that are found, whichever are isolated.
#[test]
fn no_number_of_bad_keys_fails_a_good_one() {
    for (good, bad) in [(1, 16), (1, 60), (10, 90), (50, 100)] {
        for _ in 0..10 {
            let (cache, _) = cache(&ManualClock::new(), move |key| key >= good);
            let keys: Vec<u32> = (0..good + bad).collect();
            let answers = cache.get_many(&keys);
            assert_eq!(sorted(answers.values.into_keys()), sorted(0..good));
            assert!(answers.failed.values().all(|error| *error == bad_key()));
        }
    }
}

#[test]
fn keys_that_were_good_before_show_at_once_that_not_everything_is_refused() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key >= 10);
    cache.get(&3).unwrap();
    clock.advance(TTL * 100);
    requests.take();
    let keys: Vec<u32> = [3].into_iter().chain(10..200).collect();
    let answers = cache.get_many(&keys);
    assert_eq!(sorted(answers.values.into_keys()), [3]);
    let place = requests.take().iter().position(|keys| *keys == [3]);
    assert!(place.is_some_and(|place| place <= 4), "{place:?}");
}

#[test]
fn a_request_that_is_lost_is_not_split() {
    let asked = Requests::default();
    let log = asked.clone();
    let cache: Cache = BatchBuilder::new(settings(&ManualClock::new()))
        .split_on(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            Err::<HashMap<_, _>, _>("lost".to_owned())
        });
    let lost = Err(FetchError::Failed("lost".to_owned()));
    assert_eq!(cache.get_many(&[1, 2, 3]).complete(), lost);
    assert_eq!(asked.take().len(), 1);
}

#[test]
fn waiters_for_a_good_key_get_no_error_of_the_bad_one() {
    let (cache, _) = cache(&ManualClock::new(), |key| key == 7);
    let gate = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let ask = |key: u32| {
            let (cache, gate) = (&cache, &gate);
            scope.spawn(move || {
                gate.wait();
                cache.get(&key)
            })
        };
        let threads: Vec<_> = (0..8).map(|key| (key, ask(key))).collect();
        for (key, thread) in threads {
            let answer = thread.join().unwrap();
            match key {
                7 => assert_eq!(answer, Err(bad_key())),
                _ => assert!(answer.unwrap().is_some()),
            }
        }
    });
}

/// Returns a cache that refreshes ahead, and whose key 7 is bad while `is_bad` is set.
fn renewing(clock: &ManualClock, is_bad: &Arc<AtomicBool>) -> (Cache, Requests) {
    let (requests, bad) = (Requests::default(), Arc::clone(is_bad));
    let log = requests.clone();
    let mut settings = settings(clock);
    settings.refresh_ahead = Some(0.5);
    settings.stale_while_revalidate = TTL * 2;
    let cache = BatchBuilder::new(settings)
        .split_on(|error: &String| error == "refused")
        .build_late(move |batch: &Batch<u32>| {
            let keys = batch.keys();
            log.0.lock().unwrap().push(keys.clone());
            match keys.contains(&7) && bad.load(Ordering::SeqCst) {
                true => Err("refused".to_owned()),
                false => Ok(keys.iter().map(|key| (*key, 0)).collect()),
            }
        });
    (cache, requests)
}

#[test]
fn a_quarantined_key_is_piggybacked_again_although_no_key_is_missed() {
    let (clock, is_bad) = (ManualClock::new(), Arc::new(AtomicBool::new(true)));
    let (cache, requests) = renewing(&clock, &is_bad);
    cache.track(&[7]).unwrap();
    cache.get(&1).unwrap();
    assert_eq!(requests.take(), [vec![1, 7], vec![1]]);
    is_bad.store(false, Ordering::SeqCst);
    let misses = cache.stats().misses;
    let mut renewals = Vec::new();
    for _ in 0..11 {
        clock.advance(Duration::from_secs(3));
        // Refreshed ahead, with no waiter.
        while cache.get(&1).unwrap().unwrap().sent < clock.now() {
            std::thread::yield_now();
        }
        renewals.extend(requests.take());
    }
    assert_eq!(cache.stats().misses, misses);
    assert_eq!(renewals[..9], vec![[1]; 9], "for 30 s it is not piggybacked");
    assert_eq!(renewals[9], [1, 7]);
}

#[test]
fn no_request_is_sent_for_a_stale_quarantined_key() {
    let (clock, is_bad) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let (cache, requests) = renewing(&clock, &is_bad);
    cache.get(&7).unwrap();
    clock.advance(TTL);
    is_bad.store(true, Ordering::SeqCst);
    assert_eq!(cache.get(&7).unwrap().unwrap().origin, Origin::Stale);
    while cache.stats().failures == 0 {
        std::thread::yield_now();
    }
    for key in 100..120 {
        clock.advance(Duration::from_millis(400));
        let _ = cache.get(&7);
        // After this miss the fetcher has searched for due keys once more.
        cache.get(&key).unwrap();
    }
    assert!(requests.take().iter().all(|keys| !keys.is_empty()), "a fetch for nothing");
}

#[test]
fn a_caller_that_leaves_a_split_request_leaves_its_parts_too() {
    let clock = ManualClock::new();
    let (let_go, held) = mpsc::channel::<()>();
    let (requests, held) = (Requests::default(), Mutex::new(held));
    let log = requests.clone();
    let cache: Cache = BatchBuilder::new(settings(&clock))
        .split_on(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            if keys.len() == 4 {
                return Err("refused".to_owned());
            }
            let _ = held.lock().unwrap().recv();
            Ok(keys.iter().map(|key| (*key, 0)).collect())
        });
    std::thread::scope(|scope| {
        let (cache, hurried) = (&cache, GetOptions::new().deadline(Duration::from_secs(1)));
        let asking = scope.spawn(move || cache.get_many_with(&[1, 2, 3, 4], &hurried).complete());
        // The first part is in flight, the other waits for its turn.
        while requests.0.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(1));
        let left = FetchError::TimedOut { waited: Duration::from_secs(1), maybe_sent: true };
        assert_eq!(asking.join().unwrap(), Err(left), "a request for it was sent");
    });
    drop(let_go);
    cache.get(&9).unwrap();
    assert_eq!(requests.take(), [vec![1, 2, 3, 4], vec![1, 2], vec![9]]);
}
