//! A call that its adapter refuses before anything is tried: it costs no slot, and counts nowhere.

#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::{
    CallOptions, FinishedCall, LaneConfig, LaneError, Observer, OpenBreakerPolicy, PaceLog,
    RecordedCall, RecordedUsage,
};
use lanekeeper::proxy::{CallSpec, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, PaceSnapshot, PriorUsage, Quota, RttCredit};
use lanekeeper::resilience::{BreakerPolicy, BreakerState, RetryPolicy};
use lanekeeper::{ErrorClass, Failure, Reachability, Sent, Throttling};
use support::lanes::{READ, SECOND, WRITE, observed, one, options, priority, status, unlimited};
#[cfg(target_os = "linux")]
use support::stepped::{Course, Failure as CallFailure, Stepped};

/// An error that is what the test says.
#[derive(Debug, Clone, PartialEq)]
enum Failed {
    Adapter(Failure),
    Lane(LaneError),
}

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

fn failure(error: &Failed) -> Option<Failure> {
    match error {
        Failed::Adapter(failure) => Some(*failure),
        Failed::Lane(error) => Some(error.class().into()),
    }
}

/// Failures that resemble a local one.
fn not_local() -> [Failure; 4] {
    let local = Failure::local();
    [
        // A connection that failed may have reached a counter of the broker.
        ErrorClass::NotSent.into(),
        // These contradict themselves, and are not believed.
        local.with_throttling(Some(Throttling::new(Some(Duration::ZERO)))),
        Failure::from(ErrorClass::Unknown).with_reachability(Reachability::NotTried),
        Failure::from(ErrorClass::Rejected).with_reachability(Reachability::NotTried),
    ]
}

#[cfg(target_os = "linux")]
const ORDER: CallSpec = CallSpec { budgets: &[0], weight: 2, ..WRITE };

/// A lane and a budget with windows of different kinds, each of which has room for two orders.
#[cfg(target_os = "linux")]
fn with_budget() -> Stepped {
    let quota = Quota::new(4, SECOND).and(Quota::token_bucket(4, 60 * SECOND, 4));
    let config = LaneConfig::new(quota).credit(RttCredit::STRICT).in_flight(4);
    let config = config.retry(RetryPolicy::none());
    let budget = Budget::new(Quota::per_minute(4).and(Quota::per_day(4)));
    Stepped::new(&[config], &[budget])
}

#[cfg(target_os = "linux")]
#[test]
fn a_local_error_leaves_the_whole_quota_of_lane_and_budgets() {
    let mut lane = with_budget();
    for course in [Course::fails(Failure::local()); 5] {
        let answer = lane.submit(ORDER, &options(), course).try_wait();
        assert_eq!(answer, Some(Err(CallFailure::Broker(Failure::local()))));
    }
    let status = lane.lanes.status();
    let windows = status.lanes[0].windows.iter().chain(&status.budgets[0].windows);
    assert!(windows.clone().count() == 4 && windows.clone().all(|it| it.used == 0), "{status:?}");
    assert_eq!(status.lanes[0].min_round_trip, None);
    // All that the quota holds goes out at once.
    let began = lane.now();
    let tickets = [(); 2].map(|()| lane.submit(ORDER, &options(), Course::INSTANT));
    let third = lane.submit(ORDER, &options(), Course::INSTANT);
    assert_eq!((lane.sent_at(5), lane.sent_at(6)), (Some(began), Some(began)));
    assert_eq!(lane.sent_at(7), None, "and no more than that");
    drop((tickets, third));
}

#[cfg(target_os = "linux")]
#[test]
fn a_call_that_waits_gets_the_slots_of_a_local_error_as_it_ends() {
    let mut lane = with_budget();
    let takes = Duration::from_millis(5);
    let local = Course { takes, ..Course::fails(Failure::local()) };
    let first = [(); 2].map(|()| lane.submit(ORDER, &options(), local));
    let waiting = lane.submit(ORDER, &options(), Course::INSTANT);
    assert_eq!(lane.sent_at(2), None);
    let ends = lane.now() + takes.as_nanos() as u64;
    lane.move_to(ends);
    assert_eq!(lane.sent_at(2), Some(ends));
    drop((first, waiting));
}

#[cfg(target_os = "linux")]
#[test]
fn any_other_failure_keeps_its_slots() {
    for failure in not_local() {
        let mut lane = with_budget();
        let failed = [(); 2].map(|()| lane.submit(ORDER, &options(), Course::fails(failure)));
        let next = lane.submit(ORDER, &options(), Course::INSTANT);
        assert_eq!(lane.sent_at(2), None, "{failure:?}");
        drop((failed, next));
    }
}

/// Makes a call that always fails, and returns how often it was attempted.
fn attempts(call: CallSpec, options: &CallOptions, with: Failure) -> u32 {
    let lanes = one(unlimited(1).breaker(BreakerPolicy::disabled()), ManualClock::auto_advancing());
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let work = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>(Failed::Adapter(with))
    };
    let answer = lanes.call_spec_repeatable(call, options, work, failure);
    assert_eq!(answer, Err(Failed::Adapter(with)));
    count.load(Ordering::SeqCst)
}

#[test]
fn a_local_error_is_attempted_once() {
    for call in [READ, WRITE] {
        for options in [options(), priority(1)] {
            assert_eq!(attempts(call, &options, Failure::local()), 1);
            assert_eq!(attempts(call, &options, ErrorClass::NotSent.into()), 4);
        }
    }
}

#[test]
fn local_errors_count_neither_for_nor_against_a_breaker() {
    let policy = BreakerPolicy::default().failures_in_a_row(Some(3));
    let config = unlimited(1).retry(RetryPolicy::none()).breaker(policy);
    let config = config.when_down(OpenBreakerPolicy::Refuse);
    let lanes = one(config, ManualClock::new());
    let fail = |with: Failure| {
        let work = move || Err::<(), _>(Failed::Adapter(with));
        lanes.call_spec(READ, &options(), work, failure).unwrap_err();
    };
    (0..100).for_each(|_| fail(Failure::local()));
    assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    for _ in 0..3 {
        assert_eq!(status(&lanes).breaker, BreakerState::Closed);
        // It is no answer either, so the row goes on after it.
        fail(Failure::local());
        fail(ErrorClass::Transient.into());
    }
    assert_eq!(status(&lanes).breaker, BreakerState::Open);
}

#[test]
fn local_errors_earn_no_retries() {
    // Two calls earn a retry.
    let policy = RetryPolicy::default().budget_floor(0).budget_percent(50);
    let lanes = one(unlimited(1).retry(policy), ManualClock::auto_advancing());
    let attempts = Arc::new(AtomicU32::new(0));
    let fail = |with: Failure| {
        let attempts = Arc::clone(&attempts);
        let work = move || {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Failed::Adapter(with))
        };
        lanes.call_spec_repeatable(READ, &options(), work, failure).unwrap_err();
    };
    (0..10).for_each(|_| fail(Failure::local()));
    fail(ErrorClass::Transient.into());
    assert_eq!(attempts.load(Ordering::SeqCst), 11);
    fail(ErrorClass::Transient.into());
    assert_eq!(attempts.load(Ordering::SeqCst), 13, "two real calls earned one");
}

#[test]
fn local_errors_are_not_among_the_calls_that_a_rate_cut_is_measured_by() {
    let percent_after = |local_errors: u32| {
        let config = LaneConfig::new(Quota::per_second(10)).retry(RetryPolicy::none());
        let lanes = one(config, ManualClock::new());
        let fail = |with: Failure| {
            let work = move || Err::<(), _>(Failed::Adapter(with));
            lanes.call_spec(READ, &options(), work, failure).unwrap_err();
        };
        (0..local_errors).for_each(|_| fail(Failure::local()));
        (0..4).for_each(|_| fail(ErrorClass::Rejected.into()));
        fail(ErrorClass::Throttled { retry_after: None }.into());
        status(&lanes).rate_percent
    };
    assert_eq!((percent_after(0), percent_after(5)), (35, 35));
}

#[derive(Default)]
struct Ends(Mutex<Vec<(Option<ErrorClass>, Sent, bool)>>);

impl Observer for Ends {
    fn finished(&self, end: &FinishedCall<'_>) {
        self.0.lock().unwrap().push((end.failure, end.sent, end.local));
    }
}

#[test]
fn an_observer_is_told_that_the_error_is_local() {
    let ends = Arc::new(Ends::default());
    let config = unlimited(1).retry(RetryPolicy::none());
    let lanes = observed(config, ManualClock::new(), Some(ends.clone()));
    for with in [Failure::local(), ErrorClass::NotSent.into()] {
        let work = move || Err::<(), _>(Failed::Adapter(with));
        lanes.call_spec(READ, &options(), work, failure).unwrap_err();
    }
    let not_sent = Some(ErrorClass::NotSent);
    let expected = [(not_sent, Sent::No, true), (not_sent, Sent::No, false)];
    assert_eq!(*ends.0.lock().unwrap(), expected);
}

/// Records what it is told. Unless `knows`, it is a log without `given_back` of its own.
#[derive(Debug, Clone)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    knows: bool,
}

impl Diary {
    fn write(&self, line: String) -> io::Result<()> {
        self.lines.lock().unwrap().push(line);
        Ok(())
    }
}

impl PaceLog for Diary {
    fn begin(
        &self,
        now: Timestamp,
        _: &[(&str, Duration)],
        _: PriorUsage,
    ) -> io::Result<RecordedUsage> {
        Ok(RecordedUsage { used: PaceSnapshot::at(now), since: None })
    }
    fn taken(&self, call: &RecordedCall<'_>, _: Timestamp) -> io::Result<()> {
        self.write(format!("taken {}", call.number))
    }
    fn urgent(&self, call: &RecordedCall<'_>, _: Timestamp, _: Timestamp) -> io::Result<()> {
        self.write(format!("urgent {}", call.number))
    }
    fn finished(&self, number: u64, _: Timestamp) -> io::Result<()> {
        self.write(format!("finished {number}"))
    }
    fn given_back(&self, number: u64, taken_at: Timestamp) -> io::Result<()> {
        match self.knows {
            true => self.write(format!("given back {number}")),
            // As the trait does.
            false => self.finished(number, taken_at),
        }
    }
}

#[test]
fn the_record_of_a_local_error_is_taken_back_and_an_urgent_one_is_not_made() {
    for (knows, last) in [(true, "given back 0"), (false, "finished 0")] {
        let diary = Diary { lines: Arc::default(), knows };
        let mut builder = LanesBuilder::new("Test", &["test"], &[]);
        builder.lane(0, unlimited(1).retry(RetryPolicy::none()));
        builder.clock(ManualClock::new().into());
        builder.pace_log(Arc::new(diary.clone()));
        let lanes = builder.build(Limits::new()).unwrap();
        for (options, with) in [
            (options(), Failure::local()),
            (priority(1), Failure::local()),
            (options(), ErrorClass::NotSent.into()),
        ] {
            let work = move || Err::<(), _>(Failed::Adapter(with));
            lanes.call_spec(WRITE, &options, work, failure).unwrap_err();
        }
        // The ends are recorded after the answers, maybe by another worker than the next call.
        drop(lanes);
        let mut lines = diary.lines.lock().unwrap().clone();
        lines.sort_unstable();
        let mut expected = ["taken 0", last, "taken 2", "finished 2"];
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}
