//! The bound of the keys, the overflow, and several limits at once.

use std::time::Duration;

use super::super::Values;
use super::*;
use crate::clock::ManualClock;
use crate::quota::request_limit::Algorithm;

const MIDNIGHT: u64 = 20_000 * 86_400_000_000;

fn limit(algorithm: Algorithm, requests: u32) -> RequestLimit {
    RequestLimit::new(algorithm, requests, Duration::from_secs(1)).unwrap()
}

fn charge<'l, 'v>(rule: u128, value: &'v str, limit: &'l RequestLimit) -> Charge<'l, 'v> {
    // Leaked: an entry that is not a variable of the test.
    let entries: &'static [(&str, &str)] =
        Box::leak(Box::new([("user", &*value.to_owned().leak())]));
    let key = CounterKey { rule, values: Values::new(entries) };
    Charge { key, limit, weight: 1, is_shadow: false }
}

fn admits(storage: &MemoryStorage, charges: &[Charge<'_, '_>], at: u64) -> bool {
    let take = Take::new(charges.iter().cloned()).at(UnixMicros::new(MIDNIGHT + at));
    let taken = storage.take(&take).unwrap();
    let mut all = take.charges().iter().zip(&taken.readings);
    all.all(|(charge, reading)| charge.is_shadow || reading.is_admitted())
}

#[test]
fn a_request_that_one_limit_refuses_is_counted_in_none() {
    let storage = MemoryStorage::new();
    let (wide, narrow) = (limit(Algorithm::SlidingWindowLog, 3), limit(Algorithm::FixedWindow, 1));
    let both = [charge(1, "a", &wide), charge(2, "a", &narrow)];
    assert!(admits(&storage, &both, 0));
    for _ in 0..10 {
        assert!(!admits(&storage, &both, 0));
    }
    // Two of three are left.
    assert!(admits(&storage, &both[..1], 0) && admits(&storage, &both[..1], 0));
    assert!(!admits(&storage, &both[..1], 0));
}

#[test]
fn a_limit_in_shadow_mode_refuses_nothing_and_counts_what_it_admits() {
    let storage = MemoryStorage::new();
    let (wide, narrow) = (limit(Algorithm::FixedWindow, 3), limit(Algorithm::FixedWindow, 1));
    let shadow = Charge { is_shadow: true, ..charge(2, "a", &narrow) };
    let both = [charge(1, "a", &wide), shadow];
    assert_eq!([0; 5].map(|at| admits(&storage, &both, at)), [true, true, true, false, false]);
}

#[test]
fn the_same_key_twice_counts_twice() {
    let storage = MemoryStorage::new();
    let four = limit(Algorithm::TokenBucket, 4);
    let twice = [charge(1, "a", &four), charge(1, "a", &four)];
    assert_eq!([0; 3].map(|at| admits(&storage, &twice, at)), [true, true, false]);
}

#[test]
fn a_flood_of_keys_shares_one_overflow_and_opens_no_limit_again() {
    for algorithm in [
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindowLog,
        Algorithm::SlidingWindowCounter,
    ] {
        let storage = MemoryStorage::new().max_keys(640);
        let five = limit(algorithm, 5);
        for _ in 0..5 {
            assert!(admits(&storage, &[charge(1, "victim", &five)], 0));
        }
        let flood: Vec<String> = (0..100_000).map(|number| format!("key {number}")).collect();
        let admitted: Vec<bool> =
            flood.iter().map(|key| admits(&storage, &[charge(1, key, &five)], 1)).collect();
        assert_eq!(storage.len(), 640, "{algorithm}");
        // One for each key with room, and the overflow's five for all others.
        assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 639 + 5, "{algorithm}");
        assert!(!admits(&storage, &[charge(1, "victim", &five)], 2), "{algorithm}");
        // Another rule has an overflow of its own.
        assert!(admits(&storage, &[charge(2, "new", &five)], 2), "{algorithm}");
        // When the flood is over there is room, and what was shared is not forgotten.
        let last = flood.last().unwrap();
        assert!(!admits(&storage, &[charge(1, last, &five)], 3), "{algorithm}");
        assert!(admits(&storage, &[charge(1, last, &five)], 3_000_000), "{algorithm}");
        assert!(storage.len() < 640, "{algorithm}");
    }
}

#[test]
fn a_key_that_leaves_the_overflow_takes_along_what_it_may_have_used() {
    let storage = MemoryStorage::new().max_keys(1);
    let (long, short) = (
        RequestLimit::new(Algorithm::SlidingWindowLog, 3, Duration::from_secs(60)).unwrap(),
        limit(Algorithm::FixedWindow, 1),
    );
    // A key with a short life in the shard of a second one, for as many shards as there are.
    let keys: Vec<String> = (0..10_000).map(|number| format!("key {number}")).collect();
    for key in &keys {
        admits(&storage, &[charge(1, key, &short)], 0);
    }
    let late = charge(2, "late", &long);
    for _ in 0..3 {
        assert!(admits(&storage, &[late], 1));
    }
    assert!(!admits(&storage, &[late], 2));
    // The short keys are forgotten, and the late one gets room: with its three requests.
    assert!(!admits(&storage, &[late], 2_000_000));
    assert!(!admits(&storage, &[late], 60_000_000));
    assert!(admits(&storage, &[late], 60_000_001));
}

#[test]
fn keys_with_short_lives_are_forgotten_among_those_with_long_ones() {
    let storage = MemoryStorage::new().max_keys(64 * 8);
    let day = RequestLimit::new(Algorithm::FixedWindow, 1, Duration::from_secs(86_400)).unwrap();
    let second = limit(Algorithm::FixedWindow, 1);
    let keys: Vec<String> = (0..10_000).map(|number| format!("key {number}")).collect();
    for key in &keys[..64] {
        assert!(admits(&storage, &[charge(1, key, &day)], 0));
    }
    let fill =
        |at| keys.iter().filter(|key| admits(&storage, &[charge(2, key, &second)], at)).count();
    let first = fill(500_000);
    assert!(first >= 64 * 7, "{first}");
    assert_eq!(fill(1_500_000), first);
}

#[test]
fn two_new_keys_of_one_rule_are_counted_together_in_the_overflow() {
    let storage = MemoryStorage::new().max_keys(1);
    let long = RequestLimit::new(Algorithm::FixedWindow, 3, Duration::from_secs(60)).unwrap();
    let keys: Vec<String> = (0..10_000).map(|number| format!("key {number}")).collect();
    for key in &keys {
        admits(&storage, &[charge(1, key, &long)], 0);
    }
    let both = [charge(2, "a", &long), charge(2, "b", &long)];
    assert!(admits(&storage, &both, 1));
    assert!(!admits(&storage, &both, 1), "three of four would be admitted");
    assert!(admits(&storage, &both[..1], 1) && !admits(&storage, &both[..1], 1));
}

#[test]
fn time_is_that_of_the_clock_and_windows_begin_with_the_wall_clock() {
    let clock = ManualClock::new();
    let storage = MemoryStorage::with_clock(clock.clone());
    let one = limit(Algorithm::FixedWindow, 1);
    let taken = || storage.take(&Take::new([charge(1, "a", &one)])).unwrap();
    let first = taken();
    let wall = Clock::from(clock.clone()).wall_clock().timestamp.as_microsecond();
    assert_eq!(first.at, UnixMicros::new(wall.try_into().unwrap()));
    assert!(first.readings[0].is_admitted() && !taken().readings[0].is_admitted());
    let retry = taken().readings[0].retry_at.unwrap().since(first.at);
    clock.advance(retry - Duration::from_micros(1));
    assert!(!taken().readings[0].is_admitted());
    clock.advance(Duration::from_micros(1));
    assert!(taken().readings[0].is_admitted());
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<(u128, Counter)>(), 48);
}

#[test]
fn a_thread_that_was_stopped_between_clock_and_lock_sets_nothing_back() {
    let manual = ManualClock::new();
    let clock = UnixClock::new(manual.clone().into());
    let mut shard = Shard::default();
    let before = clock.now();
    manual.advance(Duration::from_secs(10));
    let now = shard.monotonic(clock.now(), &clock);
    // The clock was read ten seconds ago, and was not set back.
    assert_eq!(shard.monotonic(before, &clock), now);
    assert_eq!(shard.latest, now);
    // Now it was.
    shard.latest = UnixMicros::new(now.get() + 10 * MAX_SKEW);
    assert_eq!(shard.monotonic(now, &clock), now);
    assert_eq!(shard.latest, now);
}

#[test]
fn a_shard_of_one_key_gives_its_room_to_another_one_again() {
    let storage = MemoryStorage::new().max_keys(1);
    let (one, zero) = (limit(Algorithm::FixedWindow, 1), limit(Algorithm::FixedWindow, 0));
    let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let shard = |value: &str| MemoryStorage::shard_of(storage.hash(&charge(1, value, &one).key));
    let mut same = names.iter().filter(|name| shard(name) == shard("0"));
    let [a, b] = [(); 2].map(|()| same.next().unwrap());
    let closed = names.iter().find(|name| {
        MemoryStorage::shard_of(storage.hash(&charge(2, name, &zero).key)) == shard("0")
    });
    assert!(admits(&storage, &[charge(1, a, &one)], 0));
    // The key is over, and is swept for the other one, which has no use of the room.
    let shadow = Charge { is_shadow: true, ..charge(2, closed.unwrap(), &zero) };
    assert!(admits(&storage, &[charge(1, a, &one), shadow], 5_000_000));
    // The next key has room of its own: its hash is known.
    assert!(admits(&storage, &[charge(1, b, &one)], 9_000_000));
    let hash = storage.hash(&charge(1, b, &one).key);
    assert!(storage.shards[shard(b)].lock().keys.contains_key(&hash));
}
