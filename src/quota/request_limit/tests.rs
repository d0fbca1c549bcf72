//! Each algorithm by hand-written moments. `tests/limiter_oracle` has the random ones.

use super::*;

const SECOND: u64 = 1_000_000;
/// A whole number of days after 1970.
const MIDNIGHT: u64 = 20_000 * DAY;

fn limit(algorithm: Algorithm, requests: u32) -> RequestLimit {
    RequestLimit::new(algorithm, requests, Duration::from_secs(1)).unwrap()
}

/// Returns whether a request at this many microseconds after midnight is admitted. It is charged if it is.
fn take(limit: &RequestLimit, state: &mut LimitState, weight: u32, at: u64) -> bool {
    let now = UnixMicros::new(MIDNIGHT + at);
    let admitted = limit.read(state, weight, now).is_admitted();
    if admitted {
        limit.charge(state, weight, now);
    }
    admitted
}

fn retry_after(limit: &RequestLimit, state: &mut LimitState, weight: u32, at: u64) -> Option<u64> {
    let reading = limit.read(state, weight, UnixMicros::new(MIDNIGHT + at));
    reading.retry_at.map(|retry| retry.get() - MIDNIGHT - at)
}

const ALL: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter,
];

#[test]
fn a_limit_of_zero_admits_nothing_and_a_heavier_request_than_the_limit_never_passes() {
    for algorithm in ALL {
        let (zero, three) = (limit(algorithm, 0), limit(algorithm, 3));
        let mut state = LimitState::default();
        for weight in [0, 1] {
            assert!(!take(&zero, &mut state, weight, 0), "{algorithm}");
            assert_eq!(retry_after(&zero, &mut state, weight, 0), None);
        }
        zero.charge(&mut state, 5, UnixMicros::new(MIDNIGHT));
        assert_eq!(state, LimitState::default());
        assert!(!take(&three, &mut state, 4, 0), "{algorithm}");
        assert_eq!(retry_after(&three, &mut state, 4, 0), None);
        assert!(take(&three, &mut state, 3, 0), "{algorithm}");
    }
    let bucket = limit(Algorithm::TokenBucket, 0).with_burst(1);
    assert!(!take(&bucket.unwrap(), &mut LimitState::default(), 1, 0));
}

#[test]
fn a_token_bucket_has_its_burst_and_then_its_rate() {
    let limit = limit(Algorithm::TokenBucket, 3).with_burst(2).unwrap();
    let mut state = LimitState::default();
    assert!(take(&limit, &mut state, 1, 0) && take(&limit, &mut state, 1, 0));
    // A third of a second is no whole number of microseconds, and no error adds up.
    assert_eq!(retry_after(&limit, &mut state, 1, 0), Some(333_334));
    assert!(!take(&limit, &mut state, 1, 333_333));
    assert!(take(&limit, &mut state, 1, 333_334));
    assert!(!take(&limit, &mut state, 1, 666_666));
    assert!(take(&limit, &mut state, 1, 666_667));
    assert!(take(&limit, &mut state, 1, SECOND));
    assert_eq!(limit.fresh_at(&state), UnixMicros::new(MIDNIGHT + SECOND + 666_667));
}

#[test]
fn a_fixed_window_begins_at_multiples_of_its_period() {
    let limit = limit(Algorithm::FixedWindow, 2);
    let mut state = LimitState::default();
    assert!(take(&limit, &mut state, 2, 900_000));
    assert_eq!(retry_after(&limit, &mut state, 1, 900_000), Some(100_000));
    assert!(!take(&limit, &mut state, 1, 999_999));
    assert!(take(&limit, &mut state, 1, SECOND));
}

#[test]
fn a_log_has_any_period_and_a_weight_ends_with_its_request() {
    let limit = limit(Algorithm::SlidingWindowLog, 4);
    let mut state = LimitState::default();
    assert!(take(&limit, &mut state, 1, 0));
    assert!(take(&limit, &mut state, 3, 500_000));
    assert_eq!(retry_after(&limit, &mut state, 1, 700_000), Some(300_000));
    assert_eq!(retry_after(&limit, &mut state, 2, 700_000), Some(800_000));
    assert!(!take(&limit, &mut state, 1, 999_999));
    assert!(take(&limit, &mut state, 1, SECOND));
    assert!(!take(&limit, &mut state, 1, SECOND + 499_999));
    assert!(take(&limit, &mut state, 3, SECOND + 500_000));
}

#[test]
fn a_counter_weighs_the_window_before_by_what_is_left_of_this_one() {
    let limit = limit(Algorithm::SlidingWindowCounter, 10);
    let mut state = LimitState::default();
    assert!(take(&limit, &mut state, 10, 900_000));
    // Inverted, the weight would admit 10 more here.
    assert!(!take(&limit, &mut state, 1, SECOND));
    assert_eq!(retry_after(&limit, &mut state, 1, SECOND), Some(100_000));
    assert!(!take(&limit, &mut state, 1, SECOND + 99_999));
    assert!(take(&limit, &mut state, 1, SECOND + 100_000));
    assert_eq!(
        limit.read(&mut state, 1, UnixMicros::new(MIDNIGHT + SECOND + 900_000)).remaining,
        8
    );
}

#[test]
fn failures_are_delayed_twice_as_long_each_time_and_never_for_ever() {
    let delays = Backoff { max_delay: Duration::from_secs(5), ..Backoff::default() };
    let limit = RequestLimit::backoff(2, delays).unwrap();
    let mut state = LimitState::default();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let wait = retry_after(&limit, &mut state, 1, now).unwrap();
        assert!(wait == 0 || !take(&limit, &mut state, 1, now + wait - 1));
        now += wait;
        assert!(take(&limit, &mut state, 1, now));
        waits.push(wait / SECOND);
    }
    assert_eq!(waits, [0, 0, 0, 1, 2, 4, 5]);
    // One success takes its own attempt back. An hour after the last delay all is forgotten.
    limit.forgive(&mut state, UnixMicros::new(MIDNIGHT + now));
    assert!(take(&limit, &mut state, 1, now));
    let forgotten = limit.fresh_at(&state).get() - MIDNIGHT;
    assert_eq!(forgotten, now + 5 * SECOND + 3600 * SECOND);
    assert_eq!(limit.read(&mut state, 1, UnixMicros::new(MIDNIGHT + forgotten)).remaining, 2);
}

#[test]
fn a_clock_that_is_set_back_forgets_nothing_and_locks_nothing_out() {
    for algorithm in ALL {
        let limit = limit(algorithm, 3);
        let mut state = LimitState::default();
        assert!(take(&limit, &mut state, 3, 7200 * SECOND + 500_000));
        assert!(!take(&limit, &mut state, 1, 500_000), "{algorithm}");
        let wait = retry_after(&limit, &mut state, 1, 500_000).unwrap();
        assert!(wait <= 2 * SECOND, "{algorithm}: {wait}");
        assert!(take(&limit, &mut state, 1, 500_000 + wait), "{algorithm}");
        assert!(!take(&limit, &mut state, 3, 500_000 + wait), "{algorithm}");
    }
}

#[test]
fn no_token_bucket_is_empty_for_longer_than_its_burst_takes() {
    let hour = Duration::from_secs(3600);
    let of = |requests| RequestLimit::new(Algorithm::TokenBucket, requests, hour).unwrap();
    // Set back by less than its period.
    let (slow, mut state) = (of(4), LimitState::default());
    assert!(take(&slow, &mut state, 4, 3000 * SECOND));
    assert_eq!(retry_after(&slow, &mut state, 1, 0), Some(900 * SECOND));
    // Raised: four tokens that were taken are four tokens of the new limit.
    let (fast, mut state) = (of(3600).with_burst(4).unwrap(), LimitState::default());
    assert!(take(&slow, &mut state, 4, 0));
    assert_eq!(retry_after(&fast, &mut state, 1, 0), Some(SECOND));
}

#[test]
fn a_state_is_fresh_when_nothing_tells_it_from_an_unused_key() {
    for algorithm in ALL {
        let limit = limit(algorithm, 3);
        let mut state = LimitState::default();
        assert!(take(&limit, &mut state, 2, 300_000));
        assert!(take(&limit, &mut state, 1, 400_000));
        let fresh = limit.fresh_at(&state);
        for weight in [1, 3] {
            let unused = limit.read(&mut LimitState::default(), weight, fresh);
            assert_eq!(limit.read(&mut state, weight, fresh), unused, "{algorithm}");
        }
        let before = UnixMicros::new(fresh.get() - 1);
        let unused = limit.read(&mut LimitState::default(), 3, before);
        assert_ne!(limit.read(&mut state, 3, before), unused, "{algorithm}");
    }
}

#[test]
fn what_cannot_be_counted_exactly_is_refused() {
    let of = |algorithm, requests, seconds| {
        RequestLimit::new(algorithm, requests, Duration::from_secs(seconds)).map(|_| ())
    };
    use RequestLimitError as E;
    assert_eq!(of(Algorithm::FixedWindow, 1, 0), Err(E::Period));
    assert_eq!(of(Algorithm::FixedWindow, 1, 367 * 86_400), Err(E::Period));
    assert_eq!(of(Algorithm::SlidingWindowCounter, 1, 86_401), Err(E::CounterPeriod));
    assert_eq!(of(Algorithm::SlidingWindowLog, 100_001, 1), Err(E::LogTooLong));
    assert_eq!(of(Algorithm::TokenBucket, 1_000_000_001, 1), Err(E::TooMany));
    assert_eq!(of(Algorithm::Backoff, 1, 1), Err(E::NoPeriod));
    let reversed = Backoff { base_delay: Duration::from_secs(9), ..Backoff::default() };
    let reversed = Backoff { max_delay: Duration::from_secs(8), ..reversed };
    assert_eq!(RequestLimit::backoff(1, reversed), Err(E::Delays));
    assert_eq!(limit(Algorithm::FixedWindow, 1).with_burst(2), Err(E::NoBurst));
    assert_eq!(limit(Algorithm::TokenBucket, 1).with_burst(0), Err(E::Burst));
    assert_eq!(limit(Algorithm::TokenBucket, 1).with_burst(1_000_000_000), Err(E::SlowBurst));
}

#[test]
fn a_state_is_small() {
    assert!(size_of::<LimitState>() <= 24, "{}", size_of::<LimitState>());
}
