//! The batch cache against a plain model of what it should do, in virtual time.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::cache::{BatchBuilder, BatchCache, FetchError, GetOptions, Origin};
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::Moment;
use proptest::prelude::*;
use source::settings;

const TTL: u64 = 5000;
const ABSENT_TTL: u64 = 12_000;
/// The hard limit: no value may be older.
const HARD: u64 = 20_000;
/// Keys from here on have no value.
const ABSENT_FROM: u32 = 10;

/// A step of the test. Times are in milliseconds.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Ask { keys: BTreeSet<u32>, max_age: Option<u64>, takes: u64, fails: bool },
    Forget(u32),
    Track(u32),
    Untrack(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = prop::collection::btree_set(0..14_u32, 1..6);
    let max_age = prop::option::of(prop_oneof![Just(0), 0..25_000_u64]);
    let takes = prop_oneof![4 => 0..300_u64, 1 => 0..30_000_u64];
    let asks = (keys, max_age, takes, prop::bool::weighted(0.1))
        .prop_map(|(keys, max_age, takes, fails)| Step::Ask { keys, max_age, takes, fails });
    prop_oneof![
        3 => (0..7000_u64).prop_map(Step::Wait),
        5 => asks,
        1 => (0..14_u32).prop_map(Step::Forget),
        1 => (0..14_u32).prop_map(Step::Track),
        1 => (0..14_u32).prop_map(Step::Untrack),
    ]
}

/// What the cache should hold: for each key the number of the request that fetched it, and when that was sent.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    known: BTreeMap<u32, (u64, u64)>,
    tracked: BTreeSet<u32>,
}

impl Model {
    fn allowed(key: u32, max_age: Option<u64>) -> u64 {
        let ttl = if key < ABSENT_FROM { TTL } else { ABSENT_TTL };
        max_age.unwrap_or(ttl).min(HARD)
    }

    fn is_fresh(&self, key: u32, max_age: Option<u64>) -> bool {
        let known = self.known.get(&key);
        known.is_some_and(|(_, sent)| self.now - sent < Self::allowed(key, max_age))
    }

    fn due(&self) -> BTreeSet<u32> {
        let old = |(key, (_, sent)): (&u32, &(u64, u64))| {
            let due = if *key < ABSENT_FROM { TTL / 2 } else { ABSENT_TTL };
            (self.now - sent >= due).then_some(*key)
        };
        let unknown = self.tracked.iter().filter(|key| !self.known.contains_key(*key));
        self.known.iter().filter_map(old).chain(unknown.copied()).collect()
    }
}

/// What the source is to do next, and the requests that it got.
#[derive(Debug, Default)]
struct Script {
    takes: Duration,
    fails: bool,
    requests: Vec<BTreeSet<u32>>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_does_as_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let clock = ManualClock::new();
        let script = Arc::new(Mutex::new(Script::default()));
        let mut settings = settings(&clock);
        settings.ttl = Duration::from_millis(TTL);
        settings.negative_ttl = Duration::from_millis(ABSENT_TTL);
        settings.max_age = Some(Duration::from_millis(HARD));
        settings.time_to_idle = Duration::from_secs(1 << 30);
        let (source_script, time) = (Arc::clone(&script), clock.clone());
        let cache = BatchCache::new(settings, move |keys: &[u32]| {
            let mut script = source_script.lock().unwrap();
            script.requests.push(keys.iter().copied().collect());
            assert_eq!(script.requests.last().unwrap().len(), keys.len(), "a key twice");
            time.advance(script.takes);
            let number = script.requests.len() as u64;
            let present = keys.iter().filter(|key| **key < ABSENT_FROM);
            match script.fails {
                true => Err("no line".to_owned()),
                false => Ok(present.map(|key| (*key, number)).collect()),
            }
        });

        let origin = clock.now();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Wait(time) => {
                    clock.advance(Duration::from_millis(time));
                    model.now += time;
                }
                Step::Forget(key) => {
                    cache.invalidate(&key);
                    model.known.remove(&key);
                }
                Step::Track(key) => {
                    cache.track(&[key]).unwrap();
                    model.tracked.insert(key);
                }
                Step::Untrack(key) => {
                    cache.untrack(&[key]);
                    model.tracked.remove(&key);
                    model.known.remove(&key);
                }
                Step::Ask { keys, max_age, takes, fails } => {
                    let before = {
                        let mut script = script.lock().unwrap();
                        script.takes = Duration::from_millis(takes);
                        script.fails = fails;
                        script.requests.len()
                    };
                    let missing = keys.iter().filter(|key| !model.is_fresh(**key, max_age)).count();
                    let mut ask = GetOptions::new();
                    if let Some(max_age) = max_age {
                        ask = ask.max_age(Duration::from_millis(max_age));
                    }
                    let list: Vec<u32> = keys.iter().copied().collect();
                    let answer = cache.get_many_with(&list, &ask).complete();
                    let requests = script.lock().unwrap().requests[before..].to_vec();
                    if missing == 0 {
                        prop_assert!(requests.is_empty(), "all of it was fresh");
                    } else {
                        let wanted: BTreeSet<u32> = keys.union(&model.due()).copied().collect();
                        prop_assert_eq!(&requests[..], std::slice::from_ref(&wanted), "one request, for all due");
                        let sent = model.now;
                        model.now += takes;
                        if fails {
                            prop_assert_eq!(answer, Err(FetchError::Failed("no line".to_owned())));
                            continue;
                        }
                        let number = before as u64 + 1;
                        model.known.extend(wanted.into_iter().map(|key| (key, (number, sent))));
                        if takes > HARD {
                            let age = Duration::from_millis(takes);
                            prop_assert_eq!(answer, Err(FetchError::TooOld { age }));
                            continue;
                        }
                    }
                    let answer = answer.unwrap();
                    for key in keys {
                        let (number, sent) = model.known[&key];
                        let Some(cached) = answer.get(&key) else {
                            prop_assert!(key >= ABSENT_FROM, "{} is not absent", key);
                            continue;
                        };
                        prop_assert!(key < ABSENT_FROM);
                        prop_assert_eq!((*cached.value, cached.sent), (number, origin + Duration::from_millis(sent)));
                        prop_assert_eq!(cached.age, Duration::from_millis(model.now - sent));
                        prop_assert_eq!(cached.origin == Origin::Fetched, missing > 0);
                    }
                }
            }
        }
    }
}

/// One request, as the source saw it.
#[derive(Debug)]
struct Request {
    sent: Moment,
    keys: BTreeSet<u32>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Many threads in an unknown order: checks what holds in every order. The source refuses a request that names a
    /// bad key.
    #[test]
    fn a_caller_is_answered_by_a_request_that_named_its_key_and_is_young_enough(
        seed in any::<u64>(),
        room in 3..20_usize,
        bad in prop::collection::hash_set(0..30_u32, 0..12),
    ) {
        const THREADS: u64 = 8;
        const ASKS: usize = 30;
        let clock = ManualClock::new();
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let mut settings = settings(&clock);
        settings.ttl = Duration::from_secs(1);
        settings.max_batch_keys = room;
        // The threads advance time for one another, by as much as the machine's speed allows.
        settings.max_age = Some(Duration::MAX);
        let (requests, time) = (Arc::clone(&log), clock.clone());
        let in_flight = Mutex::new(());
        let latency = Mutex::new(fastrand::Rng::with_seed(seed));
        let refused = bad.clone();
        let builder = BatchBuilder::new(settings).split_on(|error: &String| error == "refused");
        let cache = builder.build(move |keys: &[u32]| {
            let _one_at_a_time = in_flight.try_lock().map_err(|_| "two at a time".to_owned())?;
            let number = {
                let mut requests = requests.lock().unwrap();
                requests.push(Request { sent: time.now(), keys: keys.iter().copied().collect() });
                requests.len() as u64 - 1
            };
            time.advance(Duration::from_millis(latency.lock().unwrap().u64(0..400)));
            if keys.iter().any(|key| refused.contains(key)) {
                return Err("refused".to_owned());
            }
            Ok::<_, String>(keys.iter().map(|key| (*key, number)).collect::<HashMap<_, _>>())
        });
        let ask_all = |number: u64| {
            let mut rng = fastrand::Rng::with_seed(seed ^ number);
            let mut answered = 0;
            for _ in 0..ASKS {
                let allowed = Duration::from_millis(rng.u64(0..1500));
                let keys: Vec<u32> = (0..rng.usize(1..10)).map(|_| rng.u32(0..30)).collect();
                let asked = clock.now();
                let answers = cache.get_many_with(&keys, &GetOptions::new().max_age(allowed));
                for key in &keys {
                    if bad.contains(key) {
                        assert_eq!(answers.failed[key], FetchError::KeyFailed("refused".to_owned()));
                        continue;
                    }
                    let cached = &answers.values[key];
                    let log = log.lock().unwrap();
                    let request = &log[*cached.value as usize];
                    assert!(request.keys.contains(key), "{key} was not in {request:?}");
                    assert!(request.keys.len() <= room);
                    assert!(cached.sent <= request.sent, "younger than it is");
                    assert!(cached.sent >= asked || cached.age < allowed, "{cached:?} of {allowed:?}");
                }
                answered += keys.len() as u64;
                clock.advance(Duration::from_millis(rng.u64(0..200)));
            }
            answered
        };
        let ask_all = &ask_all;
        let answered = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|number| scope.spawn(move || ask_all(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        });
        // A caller that comes too late for the request in flight asks twice.
        let stats = cache.stats();
        prop_assert!(stats.lookups() >= answered);
        prop_assert_eq!(stats.batches as usize, log.lock().unwrap().len());
    }
}
