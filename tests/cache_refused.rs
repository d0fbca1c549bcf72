//! A key that makes the source refuse a whole request: what it costs the others.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::cache::{BatchBuilder, FetchError};
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
