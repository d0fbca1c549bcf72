//! The counters against plain models, which evaluate the complete history each time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Returns whether the model admits an arrival at `now` after the `admitted` ones.
fn model(algorithm: Algorithm, limit: u64, length: u64, admitted: &[u64], now: u64) -> bool {
    let count =
        |counts: &dyn Fn(u64) -> bool| admitted.iter().filter(|&&at| counts(at)).count() as u64;
    match algorithm {
        Algorithm::SlidingLog => count(&|at| now - at < length) < limit,
        Algorithm::FixedWindow => count(&|at| at / length == now / length) < limit,
        // A bucket of N that refills at N/W admits exactly the calls after which no interval of the
        // past that ends now holds more than N + N/W times its length.
        Algorithm::TokenBucket => (0..=admitted.len()).all(|first| {
            let begin = admitted.get(first).copied().unwrap_or(now);
            let calls = (admitted.len() - first) as u64 + 1;
            calls * length <= limit * length + limit * (now - begin)
        }),
    }
}

fn gaps() -> impl Strategy<Value = Vec<u64>> {
    // Short gaps, long gaps, and gaps exactly at the edges of the windows below.
    let gap =
        prop_oneof![4 => 0_u64..8, 2 => 0_u64..60, 1 => Just(10), 1 => Just(20), 1 => Just(9)];
    prop::collection::vec(gap, 1..120)
}

fn times(gaps: Vec<u64>) -> Vec<u64> {
    gaps.into_iter()
        .scan(0, |now, gap| {
            *now += gap;
            Some(*now)
        })
        .collect()
}

fn quota(windows: &[(u32, u64)]) -> Quota {
    windows.iter().fold(Quota::unlimited(), |quota, &(limit, length)| {
        quota.and(Quota::new(limit, Duration::from_nanos(length)))
    })
}

proptest! {
    #[test]
    fn each_counter_admits_what_its_model_admits(
        gaps in gaps(),
        windows in prop::collection::vec((1_u32..6, prop_oneof![Just(10_u64), Just(20), 1_u64..50]), 1..3),
    ) {
        for algorithm in Algorithm::ALL {
            let mut strict = StrictCounter::new(algorithm, &quota(&windows));
            let mut admitted = Vec::new();
            for now in times(gaps.clone()) {
                let expected = windows.iter().all(|&(limit, length)| {
                    model(algorithm, u64::from(limit), length, &admitted, now)
                });
                prop_assert_eq!(
                    strict.admit(Moment::from_nanos(now)), expected,
                    "{} at {} after {:?}", algorithm, now, admitted
                );
                if expected {
                    admitted.push(now);
                }
            }
        }
    }

    #[test]
    fn when_refused_calls_count_the_sliding_log_counts_all_arrivals(
        gaps in gaps(),
        limit in 1_u32..6,
        length in 1_u64..50,
    ) {
        let mut strict =
            StrictCounter::new(Algorithm::SlidingLog, &quota(&[(limit, length)])).count_refused(true);
        let times = times(gaps);
        for (i, &now) in times.iter().enumerate() {
            let expected =
                model(Algorithm::SlidingLog, u64::from(limit), length, &times[..i], now);
            prop_assert_eq!(strict.admit(Moment::from_nanos(now)), expected);
        }
    }
}

#[test]
fn two_bursts_around_a_border_tell_the_algorithms_apart() {
    let quota = Quota::per_second(10);
    let second = 1_000_000_000;
    // Ten just before the border of a fixed window and ten just after it.
    for (algorithm, expected) in
        [(Algorithm::SlidingLog, 10), (Algorithm::FixedWindow, 0), (Algorithm::TokenBucket, 10)]
    {
        let mut strict = StrictCounter::new(algorithm, &quota);
        let arrivals = (0..20).map(|n| Moment::from_nanos(second - 10 + n));
        let refused = arrivals.filter(|&at| !strict.admit(at)).count();
        assert_eq!(refused, expected, "{algorithm}");
    }
}

#[test]
fn a_call_a_whole_second_old_is_forgotten() {
    let mut strict = StrictCounter::new(Algorithm::SlidingLog, &Quota::per_second(1));
    assert!(strict.admit(Moment::from_nanos(0)));
    assert!(!strict.admit(Moment::from_nanos(999_999_999)));
    assert!(strict.admit(Moment::from_nanos(1_000_000_000)));
}

#[test]
fn a_bucket_refills_to_the_nanosecond() {
    // 3 does not divide a second: the fourth token is available after 333,333,334 ns and not earlier.
    let mut early = StrictCounter::new(Algorithm::TokenBucket, &Quota::per_second(3));
    for _ in 0..3 {
        assert!(early.admit(Moment::ORIGIN));
    }
    let mut late = early.clone();
    assert!(!early.admit(Moment::from_nanos(333_333_333)));
    assert!(late.admit(Moment::from_nanos(333_333_334)));
}

#[test]
fn a_call_that_one_window_refuses_costs_nothing_in_the_others() {
    let mut strict = StrictCounter::new(Algorithm::FixedWindow, &quota(&[(1, 10), (2, 100)]));
    let arrive = |strict: &mut StrictCounter, at| strict.admit(Moment::from_nanos(at));
    assert!(arrive(&mut strict, 0));
    for _ in 0..5 {
        assert!(!arrive(&mut strict, 5));
    }
    assert!(arrive(&mut strict, 10), "the refused calls must not have used the second window");
    assert!(!arrive(&mut strict, 20));
}

#[test]
fn a_full_bucket_is_emptied_by_refused_calls_if_they_count() {
    let mut strict =
        StrictCounter::new(Algorithm::TokenBucket, &quota(&[(1, 10)])).count_refused(true);
    assert!(strict.admit(Moment::from_nanos(0)));
    assert!(!strict.admit(Moment::from_nanos(9)));
    assert!(!strict.admit(Moment::from_nanos(10)));
    assert!(strict.admit(Moment::from_nanos(20)));
}

#[test]
fn absurd_windows_and_times_do_not_panic() {
    for algorithm in Algorithm::ALL {
        for window in [(0, 0), (u32::MAX, u64::MAX), (1, u64::MAX)] {
            let mut strict = StrictCounter::new(algorithm, &quota(&[window])).count_refused(true);
            for at in [0, u64::MAX, 5, u64::MAX] {
                strict.admit(Moment::from_nanos(at));
            }
        }
    }
}

#[test]
fn algorithms_are_named_as_on_the_command_line() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
    }
    let error = "leaky".parse::<Algorithm>().unwrap_err().to_string();
    assert!(error.contains("sliding-log, fixed-window or token-bucket"), "{error}");
}
