//! One lane, with real threads and an auto-advancing clock: what a caller may rely on.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::Effect;
use lanekeeper::Sent;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallInfo, FinishedCall, LaneConfig, LaneError, LaneErrorKind, Observer};
use lanekeeper::proxy::Lanes;
use lanekeeper::quota::Quota;
use support::lanes::{
    SECOND, WRITE, hold, ms, observed, one, options, submit, the, unlimited, within_reason,
};
use support::oracle::{Algorithm, refused};

/// Returns a call that does `work`, of which nothing more is known.
fn call<R: Send + 'static>(
    lanes: &Lanes,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, LaneError> {
    lanes.call_spec(WRITE, &options(), || Ok(work()), |error: &LaneError| Some(error.class()))
}

#[test]
fn four_hundred_calls_of_sixteen_threads_stay_within_every_window() {
    let clock = ManualClock::auto_advancing();
    let quota = Quota::per_second(10).and(Quota::per_minute(100));
    let lane = one(LaneConfig::new(quota), clock.clone());
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
    const NANOS: u64 = 1_000_000_000;
    for (limit, length) in [(10, NANOS), (100, 60 * NANOS)] {
        assert_eq!(refused(&arrivals, limit, length, Algorithm::SlidingLog), 0);
    }
    // And no quota was left unused: the last of 400 goes as the fourth minute begins.
    let first = arrivals.iter().min().unwrap();
    let last = arrivals.iter().max().unwrap();
    assert!(last - first <= 190 * NANOS, "{} s", (last - first) / NANOS);
}

#[test]
fn calls_run_at_once_up_to_the_number_in_flight() {
    let clock = ManualClock::auto_advancing();
    let lane = one(unlimited(4), clock.clone());
    // Each of the four waits for the other three: one worker alone would never return.
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
    let clock = ManualClock::auto_advancing();
    let lane = one(unlimited(3), clock.clone());
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
    let clock = ManualClock::auto_advancing();
    let lane = one(LaneConfig::new(Quota::per_second(1)), clock.clone());
    let order = Arc::new(Mutex::new(Vec::new()));
    // With the only slot held, the next calls queue one after the other.
    let held = hold(&lane, WRITE);
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let order = Arc::clone(&order);
            submit(&lane, WRITE, &options(), move || order.lock().unwrap().push(number))
        })
        .collect();
    held.let_go().wait().unwrap();
    calls.into_iter().for_each(|call| call.wait().unwrap());
    assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_refuses_and_says_that_nothing_was_sent() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lane = one(LaneConfig::new(Quota::per_second(1)).queue(2), clock.clone());
        call(&lane, || ()).unwrap();
        // Time does not advance and the slot is used up, so these two wait.
        let waiting = [1, 2].map(|number| submit(&lane, WRITE, &options(), move || number));
        let refused = call(&lane, || panic!("must not run")).unwrap_err();
        assert_eq!(refused.kind, LaneErrorKind::QueueFull { capacity: 2 });
        assert_eq!((refused.lane, refused.method), ("test", "write"));
        assert_eq!(refused.was_sent(), Sent::No);
        while the(&lane).queued() > 0 {
            clock.advance(SECOND);
            thread::yield_now();
        }
        assert_eq!(waiting.map(|call| call.wait().unwrap()), [1, 2]);
    });
}

#[test]
fn a_panic_costs_its_caller_one_answer_and_others_nothing() {
    let clock = ManualClock::auto_advancing();
    let lane = one(LaneConfig::new(Quota::per_second(10)).in_flight(1), clock.clone());
    for _ in 0..50 {
        let error = call(&lane, || -> u8 { panic!("the broker's code is broken") }).unwrap_err();
        let message = "the broker's code is broken".to_owned();
        assert_eq!(error.kind, LaneErrorKind::Panicked { message });
        assert_eq!(error.was_sent(), Sent::Unknown);
    }
    assert_eq!(call(&lane, || 7), Ok(7));
}

type DiaryEvent = (String, Effect, Sent, Duration, Duration);

#[derive(Default)]
struct Records(Mutex<Vec<DiaryEvent>>);

impl Observer for Records {
    fn finished(&self, call: &FinishedCall<'_>) {
        let FinishedCall { call: CallInfo { lane, method, effect, .. }, .. } = *call;
        let name = format!("{lane}.{method}");
        self.0.lock().unwrap().push((name, effect, call.sent, call.queued, call.round_trip));
        panic!("an observer that panics");
    }
}

#[test]
fn the_observer_is_notified_of_a_call_before_its_caller_is_and_may_panic() {
    let clock = ManualClock::auto_advancing();
    let records = Arc::new(Records::default());
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let lane = observed(config, clock.clone(), Some(records.clone()));
    for _ in 0..2 {
        let clock = clock.clone();
        call(&lane, move || clock.advance(ms(40))).unwrap();
    }
    let heard = records.0.lock().unwrap().clone();
    let expected = |queued| {
        let round_trip = ms(40);
        ("test.write".to_owned(), Effect::Write, Sent::Yes, queued, round_trip)
    };
    assert_eq!(heard, [expected(Duration::ZERO), expected(SECOND)]);
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
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(1);
    let lane = observed(config, clock, Some(Arc::new(Thrower)));
    for number in 0..20 {
        assert_eq!(call(&lane, move || number), Ok(number));
    }
}
