//! What each algorithm admits, by brute force over all that was admitted so far.

use std::collections::HashMap;

use lanekeeper::limiter::storage::Take;
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit, UnixMicros};

/// What was admitted, for each key: its moment and its weight.
#[derive(Debug, Default)]
pub struct Model {
    admitted: HashMap<(u128, String), Vec<(u64, u64)>>,
}

#[derive(Debug)]
pub struct Expected {
    pub admitted: bool,
    pub remaining: u32,
    limit: RequestLimit,
    weight: u32,
    before: Vec<(u64, u64)>,
}

impl Model {
    /// Decides a request, and notes it if all of its limits admit it.
    pub fn judge(&mut self, take: &Take<'_, '_>, at: UnixMicros) -> Vec<Expected> {
        let key = |rule: u128, value: &str| (rule, value.to_owned());
        let mut all: Vec<Expected> = take
            .charges()
            .iter()
            .map(|charge| {
                let before = self
                    .admitted
                    .get(&key(charge.key.rule, charge.key.values.iter().next().unwrap()));
                let before = before.cloned().unwrap_or_default();
                let admitted = admits(charge.limit, &before, charge.weight, at.get());
                let remaining = remaining(charge.limit, &before, at.get());
                let (limit, weight) = (*charge.limit, charge.weight);
                Expected { admitted, remaining, limit, weight, before }
            })
            .collect();
        let counted =
            take.charges().iter().zip(&all).all(|(charge, it)| charge.is_shadow || it.admitted);
        if counted {
            for (charge, expected) in take.charges().iter().zip(&mut all) {
                if expected.admitted {
                    let key = key(charge.key.rule, charge.key.values.iter().next().unwrap());
                    let noted = self.admitted.entry(key).or_default();
                    noted.push((at.get(), charge.weight.into()));
                    expected.remaining = remaining(charge.limit, noted, at.get());
                }
            }
        }
        all
    }
}

impl Expected {
    /// Returns whether the request would be admitted then, if nothing else came.
    pub fn admits_at(&self, at: UnixMicros) -> bool {
        admits(&self.limit, &self.before, self.weight, at.get())
    }

    /// Returns whether it would be admitted by a key that was not used for ages.
    pub fn ever_admits(&self) -> bool {
        let years = 3 * 366 * 86_400_000_000;
        let last = self.before.last().map_or(20_000 * 86_400_000_000, |(at, _)| *at);
        admits(&self.limit, &self.before, self.weight, last + years)
    }
}

fn remaining(limit: &RequestLimit, before: &[(u64, u64)], at: u64) -> u32 {
    // The largest weight that is admitted.
    let (mut low, mut high) = (0, limit.capacity());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match admits(limit, before, middle, at) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    low
}

fn admits(limit: &RequestLimit, before: &[(u64, u64)], weight: u32, at: u64) -> bool {
    let requests = u128::from(limit.requests());
    let weight = u128::from(weight);
    if requests == 0 {
        return false;
    }
    if weight == 0 {
        return true;
    }
    let period = limit.period().as_micros();
    let moments = before.iter().map(|&(at, weight)| (u128::from(at), u128::from(weight)));
    let at = u128::from(at);
    match limit.algorithm() {
        Algorithm::TokenBucket => {
            // The level in parts of a token, of which a period has as many as microseconds.
            let full = u128::from(limit.burst()) * period;
            let (mut level, mut from) = (full, 0);
            for (moment, weight) in moments {
                level = full.min(level + (moment - from) * requests) - weight * period;
                from = moment;
            }
            full.min(level + (at - from) * requests) >= weight * period
        }
        Algorithm::FixedWindow => {
            let here = moments.filter(|(moment, _)| moment / period == at / period);
            here.map(|(_, weight)| weight).sum::<u128>() + weight <= requests
        }
        Algorithm::SlidingWindowLog => {
            let live = moments.filter(|(moment, _)| moment + period > at);
            live.map(|(_, weight)| weight).sum::<u128>() + weight <= requests
        }
        Algorithm::SlidingWindowCounter => {
            let (mut previous, mut current) = (0, 0);
            for (moment, weight) in moments {
                if moment / period == at / period {
                    current += weight;
                } else if moment / period + 1 == at / period {
                    previous += weight;
                }
            }
            let left = period - at % period;
            previous * left + (current + weight) * period <= requests * period
        }
        other => panic!("{other} is not played"),
    }
}
