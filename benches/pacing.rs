//! Measures the decision whether a call may go, beside the check of a plain limiter.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench pacing
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use governor::clock::FakeRelativeClock;
use governor::{Quota as Cells, RateLimiter};
use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::{Cost, Moment, PacingState, Quota, RttCredit, WallClockSample};
use support::{each, paired};

const CALL: Cost = Cost::to_lane(0);
/// The time from one call to the next: slow enough for every window.
const STEP: Duration = Duration::from_millis(20);

fn quota(windows: u32) -> Quota {
    (1..windows).fold(Quota::per_second(100), |quota, more| {
        quota.and(Quota::new(100 * (more + 1), Duration::from_secs(u64::from(more) + 1)))
    })
}

/// Returns the pacing state of one lane that has been in use for a while.
fn pacing_state(windows: u32) -> (PacingState, Moment) {
    let mut now = Moment::ORIGIN;
    let mut pacing_state =
        PacingState::new(WallClockSample { moment: now, timestamp: Timestamp::UNIX_EPOCH });
    pacing_state.add_lane(&quota(windows), RttCredit::default()).unwrap();
    for _ in 0..10_000 {
        call(&mut pacing_state, &mut now);
    }
    (pacing_state, now)
}

/// Makes one call: takes its permit, and records its answer.
fn call(pacing_state: &mut PacingState, now: &mut Moment) {
    *now = *now + STEP;
    let permit = pacing_state.take(CALL, *now).unwrap();
    pacing_state.finish(permit, *now);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    let mut group = criterion.benchmark_group("decision");
    group.sample_size(30).measurement_time(Duration::from_secs(2));

    let clock = FakeRelativeClock::default();
    let per_second = Cells::per_second(NonZeroU32::new(100).unwrap());
    let governor = RateLimiter::direct_with_clock(per_second, clock.clone());
    group.bench_function("governor, a check that counts", |b| {
        b.iter(|| {
            clock.advance(STEP);
            black_box(governor.check()).is_ok()
        });
    });
    for windows in [1, 3, 6] {
        let (mut pacing_state, mut now) = pacing_state(windows);
        group.bench_function(BenchmarkId::new("whether it may go", windows), |b| {
            b.iter(|| {
                now = now + STEP;
                black_box(pacing_state.available_at(CALL, now))
            });
        });
        group.bench_function(BenchmarkId::new("its permit and its answer", windows), |b| {
            b.iter(|| call(&mut pacing_state, &mut now));
        });
    }
    group.finish();

    for windows in [1, 3, 6] {
        let (mut pacing_state, mut now) = pacing_state(windows);
        let check = || {
            clock.advance(STEP);
            let _ = black_box(governor.check());
        };
        paired(
            &format!("permit and answer, {windows} windows"),
            60,
            || each(20_000, || call(&mut pacing_state, &mut now)),
            || each(20_000, check),
        );
        let (mut pacing_state, mut now) = self::pacing_state(windows);
        paired(
            &format!("whether it may go, {windows} windows"),
            60,
            || {
                each(20_000, || {
                    now = now + STEP;
                    let _ = black_box(pacing_state.available_at(CALL, now));
                })
            },
            || each(20_000, check),
        );
    }
    criterion.final_summary();
}
