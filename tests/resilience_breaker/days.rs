//! Random settings and random days of a breaker, and helpers for both kinds of test.

use std::time::Duration;

use lanekeeper::quota::Moment;
use lanekeeper::resilience::{Admission, BreakerPolicy, CallOutcome, CircuitBreaker};
use proptest::prelude::*;
use proptest::sample::Index;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn at(millis: u64) -> Moment {
    Moment::ORIGIN + ms(millis)
}

pub const QUICK: Duration = ms(10);

/// The settings in a form that the model can read. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub window: u64,
    pub minimum: u32,
    pub failures: Option<u32>,
    pub run: Option<u32>,
    pub slow: Option<(u64, u32)>,
    pub open_for: u64,
    pub growth: u32,
    pub max_open: u64,
    pub probes: u32,
    pub deadline: u64,
    pub max_half_open: u64,
}

impl Settings {
    pub fn config(&self) -> BreakerPolicy {
        let config = BreakerPolicy::default()
            .window(ms(self.window))
            .minimum(self.minimum)
            .failures(self.failures)
            .failures_in_a_row(self.run)
            .open_for(ms(self.open_for))
            .growth(self.growth)
            .max_open(ms(self.max_open))
            .probes(self.probes)
            .probe_deadline(ms(self.deadline))
            .max_half_open(ms(self.max_half_open));
        match self.slow {
            Some((after, percent)) => config.slow(ms(after), percent),
            None => config,
        }
    }

    pub fn breaker(&self, random: u64) -> CircuitBreaker {
        CircuitBreaker::new(self.config(), random).unwrap()
    }
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let percent = 1..=100_u32;
    let seen = (
        (1..=60_u64).prop_map(|window| window * 1000),
        1..=8_u32,
        prop::option::of(percent.clone()),
        1..=6_u32,
        prop::option::of((1..=200_u64, percent)),
    );
    let open = (1..=20_000_u64, 1..=4_u32, 0..=60_000_u64);
    let half_open = (1..=4_u32, 1..=20_000_u64, 1..=40_000_u64);
    (seen, open, half_open).prop_map(
        |(
            (window, minimum, failures, run, slow),
            (open_for, growth, more),
            (probes, deadline, max_half_open),
        )| {
            let max_open = open_for + more;
            // Something must be able to open it.
            let run = (failures.is_none() || run > 2).then_some(run);
            Settings {
                window,
                minimum,
                failures,
                run,
                slow,
                open_for,
                growth,
                max_open,
                probes,
                deadline,
                max_half_open,
            }
        },
    )
}

pub fn outcomes() -> impl Strategy<Value = CallOutcome> {
    prop_oneof![
        4 => Just(CallOutcome::Success),
        5 => Just(CallOutcome::Failure),
        1 => Just(CallOutcome::Ignored),
    ]
}

#[derive(Debug, Clone)]
pub enum Step {
    Admit,
    /// An exit comes, which no automatic breaker refuses.
    Exit,
    Finish {
        which: Index,
        outcome: CallOutcome,
        took: u64,
    },
    Lose {
        which: Index,
    },
    Wait {
        millis: u64,
    },
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Admit),
        2 => Just(Step::Exit),
        6 => (any::<Index>(), outcomes(), 0..=400_u64)
            .prop_map(|(which, outcome, took)| Step::Finish { which, outcome, took }),
        1 => any::<Index>().prop_map(|which| Step::Lose { which }),
        3 => prop_oneof![0..=100_u64, 0..=10_000_u64, 0..=100_000_u64]
            .prop_map(|millis| Step::Wait { millis }),
    ];
    prop::collection::vec(step, 1..300)
}

/// Executes `steps`. Returns the time after them, and the calls that are still in flight.
pub fn run(breaker: &mut CircuitBreaker, steps: Vec<Step>, mut now: u64) -> (u64, Vec<Admission>) {
    let mut out = Vec::new();
    for step in steps {
        match step {
            Step::Wait { millis } => now += millis,
            Step::Admit => out.extend(breaker.admit(at(now))),
            Step::Exit => out.push(breaker.admit_exit(at(now)).unwrap()),
            Step::Finish { which, outcome, took } if !out.is_empty() => {
                let admission = out.swap_remove(which.index(out.len()));
                breaker.record(admission, at(now), outcome, ms(took));
            }
            Step::Lose { which } if !out.is_empty() => {
                drop(out.swap_remove(which.index(out.len())))
            }
            Step::Finish { .. } | Step::Lose { .. } => {}
        }
    }
    (now, out)
}

/// Returns a breaker that opened, and the moment at which its first probe may go.
pub fn opened(settings: Settings, random: u64) -> (CircuitBreaker, Moment) {
    let mut breaker = settings.breaker(random);
    loop {
        match breaker.admit(at(0)) {
            Ok(admission) => breaker.record(admission, at(0), CallOutcome::Failure, QUICK),
            Err(refused) => return (breaker, refused.until().unwrap()),
        }
    }
}
