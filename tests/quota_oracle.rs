//! Promises 1 and 2 in virtual time: never over the quota where the broker counts, and as much of it as a safe
//! client can use.

mod support;

use std::time::Duration;

use lanekeeper::quota::{Moment, NotYet, Pacer, Quota, RttCredit};
use proptest::prelude::*;
use support::cases::cases;
use support::latency::Latency;
use support::model::{Shares, saturate, saturate_with_failures};
use support::oracle::{Algorithm, refused};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One to three windows, short ones and long ones, narrow and wide, some of them spaced.
fn quotas() -> impl Strategy<Value = Quota> {
    let length = prop_oneof![50..=2_000_u64, 2_000..=60_000_u64];
    let window = (1..=40_u32, length, any::<bool>()).prop_map(|(limit, length, spaced)| {
        let quota = Quota::new(limit, ms(length));
        if spaced { quota.spaced() } else { quota }
    });
    prop::collection::vec(window, 1..=3)
        .prop_map(|windows| windows.into_iter().fold(Quota::unlimited(), Quota::and))
}

fn paths() -> impl Strategy<Value = Latency> {
    let (base, jitter) = (0..=300_u64, 0..=200_u64);
    (base, jitter, 0..=5_u32, 500..=20_000_u64, 0..4).prop_map(
        |(base, jitter, late, every, kind)| {
            let (base, jitter, every) = (ms(base), ms(jitter), ms(every));
            match kind {
                0 => Latency::Constant { base },
                1 => Latency::Exponential { base, jitter, late: f64::from(late) / 100.0 },
                2 => Latency::HeavyTailed { base, jitter },
                _ => Latency::Jumping { base, jitter, every },
            }
        },
    )
}

/// Returns how many calls the broker would have refused, for any way of counting.
fn refusals(arrivals: &[u64], quota: &Quota, phase: u64) -> usize {
    let mut most = 0;
    for window in quota.windows() {
        for algorithm in
            [Algorithm::SlidingLog, Algorithm::FixedWindow { phase }, Algorithm::TokenBucket]
        {
            let length = window.length.as_nanos() as u64;
            most = most.max(refused(arrivals, window.limit, length, algorithm));
        }
    }
    most
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_strict_setting_is_never_over_the_quota(
        quota in quotas(), path in paths(), in_flight in 1..=64_usize,
        seed in any::<u64>(), phase in any::<u32>(),
    ) {
        let stats = saturate(&quota, RttCredit::STRICT, path, in_flight, ms(120_000), seed);
        prop_assert_eq!(refusals(&stats.arrivals, &quota, phase.into()), 0);
    }

    #[test]
    fn calls_without_an_answer_do_not_bring_it_over_the_quota(
        quota in quotas(), path in paths(), in_flight in 1..=64_usize, lost in 0.0..0.5_f64,
        seed in any::<u64>(), phase in any::<u32>(),
    ) {
        let credit = RttCredit::default();
        let shares = Shares { lost, local: 0.0 };
        let stats = saturate_with_failures(&quota, credit, path, in_flight, ms(120_000), seed, shares);
        prop_assume!(stats.assumption_held);
        prop_assert_eq!(refusals(&stats.arrivals, &quota, phase.into()), 0);
    }

    #[test]
    fn slots_of_local_errors_that_are_given_back_do_not_bring_it_over_the_quota(
        quota in quotas(), path in paths(), in_flight in 1..=64_usize, lost in 0.0..0.3_f64,
        local in 0.0..0.7_f64, seed in any::<u64>(), phase in any::<u32>(),
    ) {
        let (credit, shares) = (RttCredit::default(), Shares { lost, local });
        let stats = saturate_with_failures(&quota, credit, path, in_flight, ms(120_000), seed, shares);
        prop_assume!(stats.assumption_held);
        prop_assert_eq!(refusals(&stats.arrivals, &quota, phase.into()), 0);
    }

    #[test]
    fn with_the_credit_it_is_never_over_while_its_assumption_holds(
        quota in quotas(), path in paths(), in_flight in 1..=64_usize, percent in 1..=100_u8,
        seed in any::<u64>(), phase in any::<u32>(),
    ) {
        let stats = saturate(&quota, RttCredit::percent(percent), path, in_flight, ms(120_000), seed);
        prop_assume!(stats.assumption_held);
        prop_assert_eq!(refusals(&stats.arrivals, &quota, phase.into()), 0);
    }
}

/// The three rows of the first table in `docs/benchmarks.md`: round trip base, jitter, share late.
const ROWS: [(u64, u64, f64); 3] = [(10, 2, 0.0), (50, 20, 0.01), (250, 50, 0.02)];
const LENGTH: Duration = ms(600_000);
const WINDOW: Duration = ms(1_000);

fn row(base: u64, jitter: u64, late: f64) -> Latency {
    Latency::Exponential { base: ms(base) / 2, jitter: ms(jitter) / 2, late }
}

#[test]
fn the_credit_uses_98_percent_of_what_a_safe_client_can() {
    for (base, jitter, late) in ROWS {
        let path = row(base, jitter, late);
        let quota = Quota::per_second(10);
        let stats = saturate(&quota, RttCredit::default(), path, 16, LENGTH, 7);
        let used = stats.used(10, WINDOW, Duration::ZERO, LENGTH);
        let bound = 1.0 / (1.0 + (stats.mean() - ms(base)).as_secs_f64());
        println!(
            "{base} ms, {jitter} ms, credit: {:.1} % used, {:.1} % of the bound",
            100.0 * used,
            100.0 * used / bound
        );
        assert!(used >= 0.98 * bound, "{base} ms: used {used}, bound {bound}");
        assert_eq!(refusals(&stats.arrivals, &quota, 0), 0);
    }
}

#[test]
fn the_strict_setting_uses_98_percent_of_its_bound() {
    for (base, jitter, late) in ROWS {
        let path = row(base, jitter, late);
        let quota = Quota::per_second(10);
        let stats = saturate(&quota, RttCredit::STRICT, path, 16, LENGTH, 7);
        let used = stats.used(10, WINDOW, Duration::ZERO, LENGTH);
        let bound = 1.0 / (1.0 + stats.mean().as_secs_f64());
        println!(
            "{base} ms, {jitter} ms, strict: {:.1} % used, {:.1} % of the bound",
            100.0 * used,
            100.0 * used / bound
        );
        assert!(used >= 0.98 * bound, "{base} ms: used {used}, bound {bound}");
        assert_eq!(refusals(&stats.arrivals, &quota, 0), 0);
    }
}

/// A bot that calls rarely opens a new connection each time, and so learns nothing of the minimum round trip. Its
/// first busy minute must not exceed the quota for that.
#[test]
fn a_burst_after_quiet_hours_is_not_let_out_early() {
    let (cold, warm) = (ms(300), ms(50));
    let quota = Quota::per_second(10);
    let mut pacer = Pacer::new(&quota, RttCredit::default()).unwrap();
    let mut now = Moment::ORIGIN;
    for _ in 0..100 {
        let permit = pacer.take(now).unwrap();
        pacer.finish(permit, now + cold);
        now = now + ms(20_000);
    }
    // Ten on new connections, counted just before their answers, and ten on the open ones.
    let burst: Vec<_> = (0..10).map(|_| pacer.take(now).unwrap()).collect();
    let counted = now + cold - warm / 2;
    burst.into_iter().for_each(|permit| pacer.finish(permit, now + cold));
    let NotYet::Until(again) = pacer.take(now + cold).unwrap_err() else {
        panic!("nothing is in flight")
    };
    assert!(again + warm / 2 >= counted + ms(1_000), "{:?} early", counted.since(again));
}

/// A call that was lost, or never left, leaves no open connection behind. So the next one that opens a connection
/// is no evidence of the minimum round trip.
#[test]
fn calls_without_an_answer_leave_no_warm_connection() {
    for never_left in [true, false] {
        let mut pacer = Pacer::new(&Quota::per_second(10), RttCredit::default()).unwrap();
        let mut now = Moment::ORIGIN;
        for _ in 0..100 {
            let failed = pacer.take(now).unwrap();
            now = now + ms(100);
            match never_left {
                true => pacer.finish_unsent(failed, now),
                false => pacer.finish_unanswered(failed, now),
            }
            let cold = pacer.take(now).unwrap();
            assert_eq!(pacer.in_flight(), 1);
            now = now + ms(300);
            pacer.finish(cold, now);
            now = now + ms(5_000);
        }
        assert_eq!(pacer.credit(), Duration::ZERO);
    }
}

/// Shows that the check can fail: the same model, with slots stamped at sending.
#[test]
fn stamping_at_sending_is_over_the_quota() {
    let path = row(50, 20, 0.01);
    let mut rng = fastrand::Rng::with_seed(7);
    // At full load, a log of sending times releases a burst of ten each second.
    let arrivals: Vec<u64> = (0..6_000_u64)
        .map(|call| {
            let sent = call / 10 * 1_000_000_000;
            sent + path.draw(sent, &mut rng)
        })
        .collect();
    let share = refusals(&arrivals, &Quota::per_second(10), 0) as f64 / 6_000.0;
    println!("stamped at sending: {:.1} % refused", 100.0 * share);
    assert!(share > 0.10, "only {share}");
}
