//! Admission, rest and wait of every verdict of the limiter, against a model that is written in another way, and Redis against memory.
//!
//! `model.rs` decides each request by brute force, in rational numbers, over all that was admitted so far. The random
//! traces aim at the edges: the same microsecond, one before and one after a wait that was named, ends of windows.
#![cfg(feature = "limiter")]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/cases.rs"]
mod cases;
#[cfg(all(unix, feature = "redis"))]
mod eventual;
mod model;
#[cfg(all(unix, feature = "redis"))]
mod redis;
#[cfg(all(unix, feature = "redis"))]
#[path = "../support/redis.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;
mod threads;
mod trace;

use std::collections::HashMap;

use lanekeeper::limiter::MemoryStorage;
use lanekeeper::limiter::storage::Storage;
#[cfg(all(unix, feature = "redis"))]
use lanekeeper::limiter::storage::Taken;
use lanekeeper::quota::request_limit::{Algorithm, UnixMicros};
use proptest::prelude::*;

use crate::cases::cases;
use crate::model::Model;
use crate::trace::{Play, Trace, traces};

proptest! {
    #![proptest_config(cases(400))]

    /// Each verdict of one limit is that of the model: whether it admits, what remains, and when to retry.
    #[test]
    fn every_verdict_is_that_of_the_model(trace in traces(1)) {
        agrees_with_the_model(&trace, &MemoryStorage::new())?;
    }

    /// The same for up to four limits at once, of which all are counted or none.
    #[test]
    fn every_verdict_of_several_limits_is_that_of_the_model(trace in traces(4)) {
        agrees_with_the_model(&trace, &MemoryStorage::new())?;
    }

    /// A counter is an estimate. It admits at most the limit in each of its windows, and twice that in any period.
    #[test]
    fn a_counter_is_within_its_bound(trace in traces(1)) {
        let trace = trace.with_algorithm(Algorithm::SlidingWindowCounter);
        let storage = MemoryStorage::new();
        let mut by_value: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        let mut play = Play::new(&trace);
        while let Some(step) = play.next() {
            let taken = storage.take(&step.take).unwrap();
            let limit = step.take.charges()[0].limit;
            let period = u64::try_from(limit.period().as_micros()).unwrap();
            let now = step.at.get();
            let value = step.take.charges()[0].key.values.iter().next().unwrap().to_owned();
            let admitted = by_value.entry(value).or_default();
            if taken.readings[0].is_admitted() {
                admitted.push((now, step.take.charges()[0].weight.into()));
            }
            let sum = |from: u64| -> u64 {
                admitted.iter().filter(|(at, _)| *at > from).map(|(_, weight)| weight).sum()
            };
            let in_period = sum(now.saturating_sub(period));
            let in_window: u64 = admitted
                .iter()
                .filter(|(at, _)| at / period == now / period)
                .map(|(_, weight)| weight)
                .sum();
            prop_assert!(in_window <= limit.requests().into());
            prop_assert!(in_period <= 2 * u64::from(limit.requests()));
            play.saw(&taken);
        }
    }
}

/// Plays a trace, and compares each verdict of the storage with the model.
fn agrees_with_the_model(trace: &Trace, storage: &impl Storage) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut play = Play::new(trace);
    while let Some(step) = play.next() {
        let expected = model.judge(&step.take, step.at);
        let taken = storage.take(&step.take).unwrap();
        prop_assert_eq!(taken.readings.len(), expected.len());
        for (reading, expected) in taken.readings.iter().zip(&expected) {
            prop_assert_eq!(
                reading.is_admitted(),
                expected.admitted,
                "{:?} {:?}",
                reading,
                expected
            );
            prop_assert_eq!(reading.remaining, expected.remaining, "{:?} {:?}", reading, expected);
            if let (false, Some(at)) = (expected.admitted, reading.retry_at) {
                // Both ways: admitted then, and not a microsecond before.
                prop_assert!(expected.admits_at(at), "{:?} {:?}", reading, expected);
                prop_assert!(!expected.admits_at(UnixMicros::new(at.get() - 1)), "{:?}", reading);
            }
            if reading.retry_at.is_none() {
                prop_assert!(!expected.ever_admits(), "{:?} {:?}", reading, expected);
            }
        }
        play.saw(&taken);
    }
    Ok(())
}

/// What two storages have to agree in.
#[cfg(all(unix, feature = "redis"))]
fn lines(taken: &Taken) -> Vec<String> {
    taken.readings.iter().map(|reading| format!("{} {reading:?}", taken.at.get())).collect()
}
