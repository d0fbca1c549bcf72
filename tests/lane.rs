//! One lane, with real threads and a clock that jumps: what a caller may rely on.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, CallOptions, Effect, FinishedCall, LaneConfig, LaneConfigError, LaneError, Observer,
    Reason,
};
use lanekeeper::proxy::{BuildError, Call, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota, QuotaError};
use support::oracle::{Algorithm, refused};

const SECOND: u64 = 1_000_000_000;

fn build(
    config: LaneConfig,
    clock: impl Into<Clock>,
    observer: Option<Arc<dyn Observer>>,
) -> Result<Lanes, BuildError> {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, config);
    builder.clock(clock.into());
    if let Some(observer) = observer {
        builder.observer(observer);
    }
    builder.build(Limits::new())
}

fn lane(config: LaneConfig, clock: &ManualClock) -> Lanes {
    build(config, clock.clone(), None).unwrap()
}

const METHOD: Call =
    Call { lane: 0, method: "method", effect: Effect::Write, priority: 5, weight: 1, budgets: &[] };

/// A call that does `work`, of which nothing more is known.
fn call<R: Send + 'static>(
    lanes: &Lanes,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, LaneError> {
    lanes.call(METHOD, &CallOptions::new(), || Ok(work()), |error: &LaneError| Some(error.class()))
}

fn queued(lanes: &Lanes) -> usize {
    lanes.lane("test").unwrap().queued()
}

#[test]
fn four_hundred_calls_of_sixteen_threads_stay_within_every_window() {
    let clock = ManualClock::jumping();
    let quota = Quota::per_second(10).and(Quota::per_minute(100));
    let lane = lane(LaneConfig::new(quota), &clock);
    let arrivals = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let clock = clock.clone();
                    let at = call(&lane, move || clock.now().as_nanos()).unwrap();
                    arrivals.lock().unwrap().push(at);
                }
            });
        }
    });
    let arrivals = arrivals.into_inner().unwrap();
    assert_eq!(arrivals.len(), 400);
    for (limit, length) in [(10, SECOND), (100, 60 * SECOND)] {
        assert_eq!(refused(&arrivals, limit, length, Algorithm::SlidingLog), 0);
    }
    // And none of the quota was left lying: the last of 400 goes as the fourth minute begins.
    let first = arrivals.iter().min().unwrap();
    let last = arrivals.iter().max().unwrap();
    assert!(last - first <= 190 * SECOND, "{} s", (last - first) / SECOND);
}

#[test]
fn calls_run_at_once_up_to_the_number_in_flight() {
    let clock = ManualClock::jumping();
    let lane = lane(LaneConfig::new(Quota::unlimited()).in_flight(4), &clock);
    // Each of the four waits for the other three: one worker alone would never come back.
    let together = Arc::new(Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            let together = Arc::clone(&together);
            scope.spawn(|| call(&lane, move || together.wait().is_leader()).unwrap());
        }
    });
}

#[test]
fn no_more_calls_run_at_once_than_the_number_in_flight() {
    let clock = ManualClock::jumping();
    let lane = lane(LaneConfig::new(Quota::unlimited()).in_flight(3), &clock);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let lane = &lane;
            scope.spawn(move || {
                for _ in 0..50 {
                    let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                    call(lane, move || {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    })
                    .unwrap();
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[test]
fn the_first_in_is_the_first_out() {
    let clock = ManualClock::jumping();
    let lane = lane(LaneConfig::new(Quota::per_second(1)), &clock);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (let_go, held) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            call(&lane, move || {
                begun.send(()).unwrap();
                held.recv().unwrap();
            })
        });
        began.recv().unwrap();
        // With the only slot held, the next ones queue up one after the other.
        for number in 0..8 {
            let order = Arc::clone(&order);
            let lane = &lane;
            scope.spawn(move || call(lane, move || order.lock().unwrap().push(number)));
            while queued(lane) <= number {
                thread::yield_now();
            }
        }
        let_go.send(()).unwrap();
    });
    assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_refuses_and_says_that_nothing_was_sent() {
    let clock = ManualClock::new();
    let lane = lane(LaneConfig::new(Quota::per_second(1)).queue(2), &clock);
    call(&lane, || ()).unwrap();
    thread::scope(|scope| {
        // Time stands still and the slot is used up, so these two wait.
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| call(&lane, || ()))).collect();
        while queued(&lane) < 2 {
            thread::yield_now();
        }
        let refused = call(&lane, || panic!("must not run")).unwrap_err();
        assert_eq!(refused.reason, Reason::QueueFull { capacity: 2 });
        assert_eq!((refused.lane, refused.method), ("test", "method"));
        assert_eq!(refused.was_sent(), Sent::No);
        while queued(&lane) > 0 {
            clock.advance(Duration::from_secs(1));
            thread::yield_now();
        }
        assert!(waiting.into_iter().all(|call| call.join().unwrap().is_ok()));
    });
}

#[test]
fn a_panic_costs_its_caller_one_answer_and_nobody_else_anything() {
    let clock = ManualClock::jumping();
    let lane = lane(LaneConfig::new(Quota::per_second(10)).in_flight(1), &clock);
    for _ in 0..50 {
        let error = call(&lane, || -> u8 { panic!("the broker's code is broken") }).unwrap_err();
        let message = "the broker's code is broken".to_owned();
        assert_eq!(error.reason, Reason::Panicked { message });
        assert_eq!(error.was_sent(), Sent::Unknown);
    }
    assert_eq!(call(&lane, || 7), Ok(7));
}

#[test]
fn every_call_is_answered_once() {
    let clock = ManualClock::jumping();
    let lane = lane(LaneConfig::new(Quota::unlimited()).queue(64), &clock);
    let runs = Arc::new(AtomicUsize::new(0));
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..64 {
            let (lane, runs, sum) = (&lane, &runs, &sum);
            scope.spawn(move || {
                for number in 0..200 {
                    let runs = Arc::clone(runs);
                    let mine = thread * 1_000 + number;
                    let answer = call(lane, move || {
                        runs.fetch_add(1, Ordering::Relaxed);
                        mine
                    });
                    assert_eq!(answer, Ok(mine));
                    sum.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((runs.load(Ordering::SeqCst), sum.into_inner()), (12_800, 12_800));
}

#[test]
fn dropping_the_lane_ends_its_threads() {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    impl Observer for Alive {}

    let alive = Arc::new(AtomicUsize::new(1));
    // Held by the lane and through it by every worker: gone when the last of them is.
    let observer = Arc::new(Alive(Arc::clone(&alive)));
    let config = LaneConfig::new(Quota::per_second(100));
    let lane = build(config, Clock::system(), Some(observer)).unwrap();
    call(&lane, || ()).unwrap();
    drop(lane);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

type Heard = (String, Effect, Sent, Duration, Duration);

#[derive(Default)]
struct Records(Mutex<Vec<Heard>>);

impl Observer for Records {
    fn finished(&self, call: &FinishedCall<'_>) {
        let FinishedCall { call: CallInfo { lane, method, effect, .. }, .. } = *call;
        let name = format!("{lane}.{method}");
        self.0.lock().unwrap().push((name, effect, call.sent, call.queued, call.round_trip));
        panic!("an observer that panics");
    }
}

#[test]
fn the_observer_hears_of_a_call_before_its_caller_does_and_may_panic() {
    let clock = ManualClock::jumping();
    let records = Arc::new(Records::default());
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let lane = build(config, clock.clone(), Some(records.clone())).unwrap();
    for _ in 0..2 {
        let clock = clock.clone();
        call(&lane, move || clock.advance(Duration::from_millis(40))).unwrap();
    }
    let heard = records.0.lock().unwrap().clone();
    let expected = |queued| {
        let round_trip = Duration::from_millis(40);
        ("test.method".to_owned(), Effect::Write, Sent::Yes, queued, round_trip)
    };
    assert_eq!(heard, [expected(Duration::ZERO), expected(Duration::from_secs(1))]);
}

#[test]
fn an_observer_whose_panic_panics_again_costs_no_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("and again");
        }
    }
    struct Thrower;
    impl Observer for Thrower {
        fn finished(&self, _: &FinishedCall<'_>) {
            std::panic::panic_any(Bomb);
        }
    }
    let clock = ManualClock::jumping();
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(1);
    let lane = build(config, clock, Some(Arc::new(Thrower))).unwrap();
    for number in 0..20 {
        assert_eq!(call(&lane, move || number), Ok(number));
    }
}

#[test]
fn bad_settings_are_refused_when_the_lane_is_built() {
    let refused = |config: LaneConfig| match build(config, Clock::system(), None) {
        Err(BuildError::Lane { lane: "test", source }) => source,
        other => panic!("{other:?}"),
    };
    let ten = || LaneConfig::new(Quota::per_second(10));
    assert_eq!(refused(ten().in_flight(0)), LaneConfigError::InFlight { calls: 0 });
    assert_eq!(
        refused(ten().in_flight(usize::MAX)),
        LaneConfigError::InFlight { calls: usize::MAX }
    );
    assert_eq!(refused(ten().queue(0)), LaneConfigError::Queue { calls: 0 });
    assert_eq!(refused(ten().queue(usize::MAX)), LaneConfigError::Queue { calls: usize::MAX });
    assert!(matches!(
        refused(LaneConfig::new(Quota::per_second(0))),
        LaneConfigError::Quota(QuotaError::NoCalls { .. })
    ));
}
