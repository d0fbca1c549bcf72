//! Random requests for random limits, aimed at the edges.

use std::time::Duration;

use lanekeeper::limiter::storage::{Charge, CounterKey, Take, Taken, Values};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit, UnixMicros};
use proptest::prelude::*;

/// A whole number of days after 1970.
const MIDNIGHT: u64 = 20_000 * 86_400_000_000;

#[derive(Debug, Clone)]
pub struct Trace {
    limits: Vec<RequestLimit>,
    steps: Vec<StepPlan>,
}

#[derive(Debug, Clone)]
struct StepPlan {
    after: After,
    /// Which limits, and for each the value and the weight.
    charges: Vec<(usize, u8, u32, bool)>,
}

/// When a request comes.
#[derive(Debug, Clone)]
enum After {
    /// At this share of the period of the first limit after the one before, in thousandths.
    Share(u64),
    /// This many microseconds after the one before.
    Micros(u64),
    /// When the last refused request is to be repeated, plus one less than this many microseconds.
    Retry(u64),
    /// At the end of a window of the first limit, plus one less than this many microseconds.
    WindowEnd(u64),
}

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter,
];

fn limit() -> impl Strategy<Value = RequestLimit> {
    let period = prop_oneof![
        Just(1_000_000_u64),
        Just(60_000_000),
        Just(86_400_000_000),
        1_000..=5_000_000_u64,
    ];
    let requests = prop_oneof![1 => Just(0_u32), 8 => 1..=12_u32, 1 => 13..=100_000_u32];
    let burst = prop_oneof![Just(None), (1..=20_u32).prop_map(Some)];
    (0..4_usize, requests, period, burst).prop_map(|(algorithm, requests, period, burst)| {
        let limit =
            RequestLimit::new(ALGORITHMS[algorithm], requests, Duration::from_micros(period));
        let limit = limit.unwrap();
        burst.and_then(|burst| limit.with_burst(burst).ok()).unwrap_or(limit)
    })
}

/// Traces in which a request has up to this many limits.
pub fn traces(limits: usize) -> impl Strategy<Value = Trace> {
    let after = prop_oneof![
        3 => (0..=2_500_u64).prop_map(After::Share),
        2 => (0..=3_u64).prop_map(After::Micros),
        4 => (0..=2_u64).prop_map(After::Retry),
        2 => (0..=2_u64).prop_map(After::WindowEnd),
    ];
    let weight = prop_oneof![6 => Just(1_u32), 3 => 0..=13_u32, 1 => 13..=100_001_u32];
    let shadow = prop::bool::weighted(0.1);
    let charge = (0..limits, 0..2_u8, weight, shadow);
    let charges = prop::collection::vec(charge, 1..=limits);
    let step = (after, charges).prop_map(|(after, charges)| StepPlan { after, charges });
    (prop::collection::vec(limit(), limits), prop::collection::vec(step, 1..120))
        .prop_map(|(limits, steps)| Trace { limits, steps })
}

impl Trace {
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        for limit in &mut self.limits {
            *limit =
                RequestLimit::new(algorithm, limit.requests().min(1000), limit.period()).unwrap();
        }
        self
    }
}

/// A trace that is being played. The moments depend on the verdicts.
pub struct Play<'t> {
    trace: &'t Trace,
    next: usize,
    now: u64,
    retry: Option<u64>,
}

pub struct Step<'t> {
    pub take: Take<'t, 't>,
    pub at: UnixMicros,
}

const VALUES: [[(&str, &str); 1]; 2] = [[("user", "a")], [("user", "b")]];

impl<'t> Play<'t> {
    pub fn new(trace: &'t Trace) -> Self {
        Self { trace, next: 0, now: MIDNIGHT + 1_234_567, retry: None }
    }

    #[allow(clippy::should_implement_trait)] // Each step depends on what was seen of the one before.
    pub fn next(&mut self) -> Option<Step<'t>> {
        let plan = self.trace.steps.get(self.next)?;
        self.next += 1;
        let period = u64::try_from(self.trace.limits[0].period().as_micros()).unwrap();
        let next = match plan.after {
            After::Share(thousandths) => self.now + period * thousandths / 1000,
            After::Micros(micros) => self.now + micros,
            After::Retry(micros) => (self.retry.unwrap_or(self.now) + micros).saturating_sub(1),
            After::WindowEnd(micros) => self.now - self.now % period + period + micros - 1,
        };
        self.now = self.now.max(next);
        let charges = plan.charges.iter().map(|&(index, value, weight, is_shadow)| Charge {
            key: CounterKey {
                rule: index as u128,
                values: Values::new(&VALUES[usize::from(value)]),
            },
            limit: &self.trace.limits[index],
            weight,
            is_shadow,
        });
        let at = UnixMicros::new(self.now);
        Some(Step { take: Take::new(charges).at(at), at })
    }

    pub fn saw(&mut self, taken: &Taken) {
        let refused = taken.readings.iter().filter(|reading| !reading.is_admitted());
        let retry = refused.filter_map(|reading| reading.retry_at).max();
        // Not into years that have no end.
        if let Some(retry) = retry.filter(|retry| retry.get() < self.now + 400 * 86_400_000_000) {
            self.retry = Some(retry.get());
        }
    }
}
