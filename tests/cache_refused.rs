//! A key that makes the source refuse a whole request: what it costs the others.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use lanekeeper::cache::{Ask, Batch, BatchBuilder, FetchError, Origin};
use lanekeeper::clock::ManualClock;
use source::{Cache, settings};

const TTL: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<Vec<u32>>>>);

impl Requests {
    fn look(&self) -> Vec<Vec<u32>> {
        let mut requests = std::mem::take(&mut *self.0.lock().unwrap());
        requests.iter_mut().for_each(|keys| keys.sort_unstable());
        requests
    }
}

/// A source that refuses whatever has a bad key in it, and what it was asked.
fn cache(
    clock: &ManualClock,
    bad: impl Fn(u32) -> bool + Send + Sync + 'static,
) -> (Cache, Requests) {
    let requests = Requests::default();
    let log = requests.clone();
    let cache = BatchBuilder::new(settings(clock))
        .refuses(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            match keys.iter().any(|key| bad(*key)) {
                true => Err("refused".to_owned()),
                false => Ok(keys.iter().map(|key| (*key, 0)).collect()),
            }
        });
    (cache, requests)
}

fn refused<T>() -> Result<T, FetchError<String>> {
    Err(FetchError::Failed("refused".to_owned()))
}

#[test]
fn a_bad_key_alone_is_refused_at_once() {
    let (cache, requests) = cache(&ManualClock::new(), |key| key == 7);
    assert_eq!(cache.get(&7), refused());
    assert_eq!(requests.look().len(), 1);
}

#[test]
fn keys_that_nobody_waits_for_are_left_out_first() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 7);
    cache.track(&[7]).unwrap();
    assert!(cache.get_many(&[1, 2]).unwrap().len() == 2);
    assert_eq!(requests.look(), [vec![1, 2, 7], vec![1, 2]]);
    clock.advance(TTL);
    cache.get(&1).unwrap();
    assert_eq!(requests.look(), [[1, 2]], "it is not taken along any more");
    clock.advance(Duration::from_secs(30));
    cache.get(&1).unwrap();
    assert_eq!(requests.look().len(), 2, "after a while it is tried again");
}

#[test]
fn one_bad_key_costs_seven_requests_and_is_then_on_its_own() {
    let clock = ManualClock::new();
    let (cache, requests) = cache(&clock, |key| key == 77);
    let keys: Vec<u32> = (0..80).collect();
    // One question for all: it fails, but what came is kept.
    assert_eq!(cache.get_many(&keys), refused());
    assert_eq!(requests.look().len(), 7);
    assert_eq!(cache.stats().divided, 3);
    let good = |key: &u32| *key / 10 != 7;
    let healthy: Vec<u32> = keys.iter().copied().filter(good).collect();
    assert_eq!(cache.get_many(&healthy).unwrap().len(), 70);
    assert_eq!(requests.look().len(), 0, "all but its own part came");
    // Its neighbours are found out one by one, and those who do not ask for it wait for nothing.
    for key in 70..80 {
        assert_eq!(cache.get(&key).is_ok(), key != 77, "{key}");
    }
    requests.look();
    clock.advance(TTL);
    assert_eq!(cache.get_many(&healthy).unwrap().len(), 70);
    let asked = requests.look();
    assert!(asked.len() == 1 && !asked[0].contains(&77), "{asked:?}");
}

#[test]
fn however_many_are_bad_the_requests_are_bounded() {
    let (cache, requests) = cache(&ManualClock::new(), |key| key % 3 == 0);
    let keys: Vec<u32> = (0..500).collect();
    assert_eq!(cache.get_many(&keys), refused());
    assert_eq!(requests.look().len(), 1 + 2 + 4 + 8);
}

#[test]
fn a_request_that_is_lost_is_not_divided() {
    let asked = Requests::default();
    let log = asked.clone();
    let cache: Cache = BatchBuilder::new(settings(&ManualClock::new()))
        .refuses(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            Err::<HashMap<_, _>, _>("lost".to_owned())
        });
    assert_eq!(cache.get_many(&[1, 2, 3]), Err(FetchError::Failed("lost".to_owned())));
    assert_eq!(asked.look().len(), 1);
}

#[test]
fn those_who_wait_for_a_good_key_do_not_hear_of_the_bad_one() {
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
            let told = thread.join().unwrap();
            match key {
                7 => assert_eq!(told, refused()),
                _ => assert!(told.unwrap().is_some()),
            }
        }
    });
}

/// A cache that renews what is asked for in advance, and whose key 7 is bad while it is said to be.
fn renewing(clock: &ManualClock, is_bad: &Arc<AtomicBool>) -> (Cache, Requests) {
    let (requests, bad) = (Requests::default(), Arc::clone(is_bad));
    let log = requests.clone();
    let mut settings = settings(clock);
    settings.refresh_ahead = Some(0.5);
    settings.serve_stale = TTL * 2;
    let cache = BatchBuilder::new(settings)
        .refuses(|error: &String| error == "refused")
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
fn a_key_in_doubt_comes_along_again_although_nobody_misses_anything() {
    let (clock, is_bad) = (ManualClock::new(), Arc::new(AtomicBool::new(true)));
    let (cache, requests) = renewing(&clock, &is_bad);
    cache.track(&[7]).unwrap();
    cache.get(&1).unwrap();
    assert_eq!(requests.look(), [vec![1, 7], vec![1]]);
    is_bad.store(false, Ordering::SeqCst);
    let misses = cache.stats().misses;
    let mut renewals = Vec::new();
    for _ in 0..11 {
        clock.advance(Duration::from_secs(3));
        // Renewed in advance, and nobody waits for it.
        while cache.get(&1).unwrap().unwrap().sent < clock.now() {
            std::thread::yield_now();
        }
        renewals.extend(requests.look());
    }
    assert_eq!(cache.stats().misses, misses);
    assert_eq!(renewals[..9], vec![[1]; 9], "for 30 s it is not taken along");
    assert_eq!(renewals[9], [1, 7]);
}

#[test]
fn nobody_goes_for_a_stale_key_in_doubt() {
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
        // The next look of the fetcher is over.
        cache.get(&key).unwrap();
    }
    assert!(requests.look().iter().all(|keys| !keys.is_empty()), "a turn for nothing");
}

#[test]
fn who_leaves_a_divided_request_leaves_its_parts_too() {
    let clock = ManualClock::new();
    let (let_go, held) = mpsc::channel::<()>();
    let (requests, held) = (Requests::default(), Mutex::new(held));
    let log = requests.clone();
    let cache: Cache = BatchBuilder::new(settings(&clock))
        .refuses(|error: &String| error == "refused")
        .build(move |keys: &[u32]| {
            log.0.lock().unwrap().push(keys.to_vec());
            if keys.len() == 4 {
                return Err("refused".to_owned());
            }
            let _ = held.lock().unwrap().recv();
            Ok(keys.iter().map(|key| (*key, 0)).collect())
        });
    std::thread::scope(|scope| {
        let (cache, hurried) = (&cache, Ask::new().deadline(Duration::from_secs(1)));
        let asking = scope.spawn(move || cache.ask_many(&[1, 2, 3, 4], &hurried));
        // The first part is under way, the other waits for its turn.
        while requests.0.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(1));
        let left = FetchError::TimedOut { waited: Duration::from_secs(1), under_way: true };
        assert_eq!(asking.join().unwrap(), Err(left), "a request for it was sent");
    });
    drop(let_go);
    cache.get(&9).unwrap();
    assert_eq!(requests.look(), [vec![1, 2, 3, 4], vec![1, 2], vec![9]]);
}
