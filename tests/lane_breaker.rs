//! A lane whose broker fails and recovers: which calls are let through, which are refused, and for how long.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneErrorKind, Observer, OpenBreakerPolicy};
use lanekeeper::proxy::Lanes;
use lanekeeper::resilience::{BreakerMode, BreakerPolicy, BreakerState, RetryPolicy};
use lanekeeper::{ErrorClass, Sent};
use support::failing::{
    Failed, Fault, Gated, TOO_FAST, TRANSIENT, class, ended, submit_repeatable,
};
use support::lanes::{
    READ, SECOND, ms, observed, one, options, status, the, unlimited, until, within_reason,
};

const OPEN_FOR: Duration = Duration::from_secs(8);

/// Opens after three failures in a row, for 6 to 8 seconds, and lets two probes through.
fn breaker() -> BreakerPolicy {
    BreakerPolicy::default().failures_in_a_row(Some(3)).open_for(OPEN_FOR).probes(2)
}

/// A lane without retries, which would only obscure the count.
fn broken(in_flight: usize, breaker: BreakerPolicy) -> LaneConfig {
    let config = unlimited(in_flight).retry(RetryPolicy::none()).breaker(breaker);
    config.when_down(OpenBreakerPolicy::Refuse)
}

/// Makes a call that ends with `fault`, and returns its answer.
fn call(lanes: &Lanes, fault: Option<Fault>) -> Result<(), Failed> {
    lanes.call_spec(READ, &options(), move || ended(fault), class)
}

/// Fails calls until the breaker is open.
fn break_it(lanes: &Lanes) {
    for _ in 0..3 {
        assert_eq!(call(lanes, Some(TRANSIENT)), Err(Failed::Broker(1, TRANSIENT)));
    }
    assert_eq!(status(lanes).breaker, BreakerState::Open);
}

/// Returns in how long a refused caller may retry, if the answer says so.
fn retry_in(answer: Result<(), Failed>) -> Option<Duration> {
    match answer {
        Err(Failed::Lane(error)) => match error.kind {
            LaneErrorKind::BrokerDown { retry_in } => retry_in,
            reason => panic!("{reason}"),
        },
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn when_it_opens_waiting_calls_are_refused_with_the_time_to_retry() {
    let clock = ManualClock::new();
    let lanes = one(broken(1, breaker()), clock.clone());
    the(&lanes).pause();
    let submit = |fault| lanes.submit_spec(READ, &options(), move || ended(fault), class);
    let failing: Vec<_> = (0..3).map(|_| submit(Some(TRANSIENT))).collect();
    let waiting: Vec<_> = (0..5).map(|_| submit(None)).collect();
    the(&lanes).resume();
    for ticket in failing {
        let answer = within_reason(move || ticket.wait());
        assert_eq!(answer, Err(Failed::Broker(1, TRANSIENT)));
    }
    for ticket in waiting {
        let wait = retry_in(within_reason(move || ticket.wait())).unwrap();
        assert!((OPEN_FOR * 3 / 4..=OPEN_FOR).contains(&wait), "{wait:?}");
    }
    // A caller that comes now is not even queued, and gets the same answer.
    let first = retry_in(call(&lanes, None)).unwrap();
    clock.advance(SECOND);
    assert_eq!(retry_in(call(&lanes, None)), Some(first - SECOND));
    clock.advance(first - SECOND - ms(1));
    assert_eq!(retry_in(call(&lanes, None)), Some(ms(1)));
    clock.advance(ms(1));
    assert_eq!(call(&lanes, None), Ok(()));
}

/// Records the states of the breaker.
#[derive(Default)]
struct BreakerLog(Mutex<Vec<BreakerState>>);

impl Observer for BreakerLog {
    fn breaker(&self, _: &'static str, _: &'static str, state: BreakerState) {
        self.0.lock().unwrap().push(state);
    }
}

#[test]
fn each_change_is_reported_once() {
    let (clock, states) = (ManualClock::new(), Arc::new(BreakerLog::default()));
    let config = broken(1, breaker().probes(1));
    let lanes = observed(config, clock.clone(), Some(states.clone()));
    call(&lanes, None).unwrap();
    break_it(&lanes);
    let _ = retry_in(call(&lanes, None));
    clock.advance(OPEN_FOR);
    call(&lanes, None).unwrap();
    call(&lanes, None).unwrap();
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(*states.0.lock().unwrap(), [Open, HalfOpen, Closed]);
}

#[test]
fn a_refused_call_was_not_sent() {
    let lanes = one(broken(1, breaker()), ManualClock::new());
    break_it(&lanes);
    let Err(Failed::Lane(error)) = call(&lanes, None) else { panic!("it went") };
    assert_eq!((error.was_sent(), error.class()), (Sent::No, ErrorClass::NotSent));
}

#[test]
fn half_open_lets_only_the_probes_through() {
    let clock = ManualClock::new();
    let lanes = one(broken(8, breaker()), clock.clone());
    break_it(&lanes);
    clock.advance(OPEN_FOR);
    the(&lanes).pause();
    let gated = Gated::new();
    let mut tickets: Vec<_> = (0..10).map(|_| gated.submit(&lanes)).collect();
    the(&lanes).resume();
    // The other eight are answered, so none is left that could go.
    for ticket in tickets.split_off(2) {
        assert!(retry_in(within_reason(move || ticket.wait())).is_some());
    }
    assert_eq!(status(&lanes).breaker, BreakerState::HalfOpen);
    until(|| gated.begun() == 2);
    assert!(retry_in(call(&lanes, None)).is_some());
    assert_eq!(gated.begun(), 2);
    tickets.iter().for_each(|_| gated.end(None));
    tickets.into_iter().for_each(|ticket| assert_eq!(ticket.wait(), Ok(())));
    assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    (0..10).for_each(|_| assert_eq!(call(&lanes, None), Ok(())));
}

#[test]
fn a_probe_that_fails_opens_it_for_longer() {
    let clock = ManualClock::new();
    let lanes = one(broken(2, breaker()), clock.clone());
    break_it(&lanes);
    clock.advance(OPEN_FOR);
    assert!(matches!(call(&lanes, Some(TRANSIENT)), Err(Failed::Broker(..))));
    let wait = retry_in(call(&lanes, None)).unwrap();
    assert!((OPEN_FOR * 3 / 2..=OPEN_FOR * 2).contains(&wait), "{wait:?}");
}

#[test]
fn a_hung_probe_blocks_no_call_and_its_late_result_changes_nothing() {
    let clock = ManualClock::new();
    // One failure opens it, so that a probe too many shows.
    let breaker = breaker().probes(1).failures_in_a_row(Some(1)).probe_deadline(SECOND);
    let lanes = one(broken(2, breaker), clock.clone());
    assert!(call(&lanes, Some(TRANSIENT)).is_err());
    clock.advance(OPEN_FOR);
    let gated = Gated::new();
    let hung = gated.submit(&lanes);
    until(|| gated.begun() == 1);
    // No other call goes, and none waits for it either: time does not advance.
    assert_eq!(retry_in(call(&lanes, None)), Some(SECOND));
    clock.advance(SECOND);
    assert_eq!(status(&lanes).breaker, BreakerState::Open);
    clock.advance(OPEN_FOR * 2);
    assert_eq!(call(&lanes, None), Ok(()));
    assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    gated.end(Some(TRANSIENT));
    assert_eq!(hung.wait(), Err(Failed::Broker(1, TRANSIENT)));
    assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    assert_eq!(call(&lanes, None), Ok(()));
}

#[test]
fn a_success_of_before_it_opened_does_not_close_it() {
    let lanes = one(broken(2, breaker()), ManualClock::new());
    let gated = Gated::new();
    let old = gated.submit(&lanes);
    until(|| gated.begun() == 1);
    break_it(&lanes);
    gated.end(None);
    assert_eq!(old.wait(), Ok(()));
    assert_eq!(status(&lanes).breaker, BreakerState::Open);
    assert!(retry_in(call(&lanes, None)).is_some());
}

#[test]
fn a_lane_whose_only_slot_hangs_keeps_deadlines() {
    let clock = ManualClock::new();
    let lanes = one(broken(1, breaker().probes(1)), clock.clone());
    break_it(&lanes);
    clock.advance(OPEN_FOR);
    the(&lanes).pause();
    let gated = Gated::new();
    let hung = gated.submit(&lanes);
    let soon = options().deadline(SECOND);
    let behind = lanes.submit_spec(READ, &soon, || ended(None), class);
    the(&lanes).resume();
    until(|| gated.begun() == 1);
    clock.advance(SECOND);
    let answer = within_reason(move || behind.wait());
    let Err(Failed::Lane(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.was_sent(), Sent::No);
    gated.end(None);
    assert_eq!(hung.wait(), Ok(()));
}

#[test]
fn it_can_be_forced_open_and_closed_and_switched_off() {
    let clock = ManualClock::new();
    let lanes = one(broken(1, breaker()), clock.clone());
    let gated = Gated::new();
    let held = gated.submit(&lanes);
    until(|| gated.begun() == 1);
    gated.end(None);
    assert_eq!(held.wait(), Ok(()));

    the(&lanes).pause();
    let waiting = lanes.submit_spec(READ, &options(), || ended(None), class);
    the(&lanes).set_breaker(BreakerMode::ForcedOpen);
    the(&lanes).resume();
    // It is unknown when the breaker will be released.
    assert_eq!(retry_in(within_reason(move || waiting.wait())), None);
    clock.advance(OPEN_FOR * 100);
    assert_eq!(retry_in(call(&lanes, None)), None);
    assert_eq!(status(&lanes).breaker, BreakerState::Open);

    for mode in [BreakerMode::ForcedClosed, BreakerMode::Disabled] {
        the(&lanes).set_breaker(mode);
        for _ in 0..20 {
            assert_eq!(call(&lanes, Some(TRANSIENT)), Err(Failed::Broker(1, TRANSIENT)));
        }
        assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    }
    // Earlier failures are forgotten.
    the(&lanes).set_breaker(BreakerMode::Automatic);
    assert_eq!(call(&lanes, None), Ok(()));
    break_it(&lanes);
}

#[test]
fn one_that_is_forced_open_refuses_calls_that_wait_behind_a_hung_one() {
    let lanes = one(broken(1, breaker()), ManualClock::new());
    let gated = Gated::new();
    let hung = gated.submit(&lanes);
    until(|| gated.begun() == 1);
    let behind = lanes.submit_spec(READ, &options(), || ended(None), class);
    the(&lanes).set_breaker(BreakerMode::ForcedOpen);
    assert_eq!(retry_in(within_reason(move || behind.wait())), None);
    gated.end(None);
    assert_eq!(hung.wait(), Ok(()));
}

#[test]
fn refusals_of_the_broker_do_not_open_it() {
    let lanes = one(broken(1, breaker()), ManualClock::auto_advancing());
    for fault in [TOO_FAST, Some(ErrorClass::Rejected), Some(ErrorClass::Fatal)] {
        for _ in 0..10 {
            assert_eq!(call(&lanes, Some(fault)), Err(Failed::Broker(1, fault)));
        }
        assert_eq!(status(&lanes).breaker, BreakerState::Closed, "{fault:?}");
    }
}

// ---- 64 threads ---------------------------------------------------------------------------------

const ALIVE: u8 = 0;
const HANGS: u8 = 1;
const FAILS: u8 = 2;
const OVER: u8 = 3;

/// A broker, and 64 threads that call it, in a time that advances only when no thread is late.
struct Crowd {
    clock: ManualClock,
    lanes: Lanes,
    broker: AtomicU8,
    /// Held while time advances, and while it must not.
    steps: Mutex<()>,
    step: Condvar,
    /// By when each thread has moved on: the deadline of its call, or the end of its pause.
    due: Vec<AtomicU64>,
    answers: Vec<AtomicUsize>,
    /// Attempts that reached a failing broker.
    failed: AtomicUsize,
}

impl Crowd {
    const THREADS: usize = 64;
    const STEP: Duration = ms(100);

    fn new(lanes: Lanes, clock: ManualClock) -> Self {
        Self {
            clock,
            lanes,
            broker: AtomicU8::new(ALIVE),
            steps: Mutex::default(),
            step: Condvar::new(),
            due: (0..Self::THREADS).map(|_| AtomicU64::new(0)).collect(),
            answers: (0..Self::THREADS).map(|_| AtomicUsize::new(0)).collect(),
            failed: AtomicUsize::new(0),
        }
    }

    fn is(&self, state: u8) -> bool {
        self.broker.load(Ordering::SeqCst) == state
    }

    fn becomes(&self, state: u8) {
        self.broker.store(state, Ordering::SeqCst);
    }

    fn live(self: &Arc<Self>, me: usize) {
        while !self.is(OVER) {
            let call = {
                let _still = self.steps.lock().unwrap();
                self.due[me].store((self.clock.now() + SECOND).as_nanos(), Ordering::SeqCst);
                let broker = Arc::clone(self);
                let work = move || broker.answer();
                submit_repeatable(&self.lanes, READ, &options().deadline(SECOND), work)
            };
            if call.wait().is_ok() {
                self.answers[me].fetch_add(1, Ordering::SeqCst);
            }
            let mut still = self.steps.lock().unwrap();
            let rested = self.clock.now() + Self::STEP;
            self.due[me].store(rested.as_nanos(), Ordering::SeqCst);
            while self.clock.now() < rested && !self.is(OVER) {
                still = self.step.wait(still).unwrap();
            }
        }
    }

    fn answer(&self) -> Result<(), Failed> {
        until(|| !self.is(HANGS));
        if self.is(FAILS) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(Failed::Broker(1, TRANSIENT));
        }
        Ok(())
    }

    fn step(&self) {
        let _still = self.steps.lock().unwrap();
        self.clock.advance(Self::STEP);
        self.step.notify_all();
    }

    /// Advances time, but not while a thread waits whose deadline has passed.
    fn advance(&self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.step();
            let now = self.clock.now().as_nanos();
            until(|| self.due.iter().all(|due| due.load(Ordering::SeqCst) > now));
            // Nor while a broker that answers has not.
            until(|| {
                let lane = status(&self.lanes);
                self.is(HANGS) || (lane.queued, lane.in_flight) == (0, 0)
            });
        }
    }

    /// Returns how many of the threads the broker answers in a while.
    fn answered(&self) -> usize {
        self.answers.iter().for_each(|answers| answers.store(0, Ordering::SeqCst));
        self.advance(OPEN_FOR * 2);
        self.answers.iter().filter(|answers| answers.load(Ordering::SeqCst) > 0).count()
    }
}

#[test]
fn sixty_four_threads_outlive_a_broker_that_dies_and_comes_back() {
    within_reason(|| {
        let clock = ManualClock::new();
        let breaker = breaker().probe_deadline(SECOND).max_open(OPEN_FOR);
        let lanes = one(unlimited(4).breaker(breaker), clock.clone());
        let crowd = Arc::new(Crowd::new(lanes, clock));
        let threads: Vec<_> = (0..Crowd::THREADS)
            .map(|me| {
                let crowd = Arc::clone(&crowd);
                thread::spawn(move || crowd.live(me))
            })
            .collect();
        assert_eq!(crowd.answered(), Crowd::THREADS);
        for dead in [HANGS, FAILS, HANGS] {
            crowd.becomes(dead);
            crowd.advance(SECOND * 30);
            crowd.becomes(ALIVE);
            assert_eq!(crowd.answered(), Crowd::THREADS);
        }
        // Those that opened it and those beside them, and two probes each time: it is open for 6 s at the least.
        let failed = crowd.failed.load(Ordering::SeqCst);
        assert!(
            (3 + 3..=3 + 3 + 2 * 5).contains(&failed),
            "{failed} calls to a broker that is down"
        );
        crowd.becomes(OVER);
        crowd.step();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_share_of_failures_opens_it_however_they_are_spread() {
    let clock = ManualClock::new();
    let share = BreakerPolicy::default().failures_in_a_row(None).failures(Some(50)).minimum(6);
    let lanes = one(broken(1, share.window(SECOND * 10)), clock.clone());
    // Two of five are too few to judge by. Then two of six are a third, and four of eight are half.
    for fault in [Some(TRANSIENT), None, Some(TRANSIENT), None, None, None, Some(TRANSIENT)] {
        let _ = call(&lanes, fault);
        assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    }
    let _ = call(&lanes, Some(TRANSIENT));
    assert_eq!(status(&lanes).breaker, BreakerState::Open);
    assert!(retry_in(call(&lanes, None)).is_some());
}

#[test]
fn calls_that_are_answered_too_slowly_open_it_as_well() {
    let clock = ManualClock::new();
    let slow = BreakerPolicy::default().slow(ms(500), 50).minimum(4).window(SECOND * 60);
    let lanes = one(broken(1, slow), clock.clone());
    let takes = |time| {
        let passes = clock.clone();
        let answer = move || {
            passes.advance(time);
            ended(None)
        };
        assert_eq!(lanes.call_spec(READ, &options(), answer, class), Ok(()));
        status(&lanes).breaker
    };
    // At 500 ms a call is not yet slow.
    let quick = [ms(500), ms(1), ms(501)].map(takes);
    assert_eq!(quick, [BreakerState::Closed; 3]);
    assert_eq!(takes(SECOND), BreakerState::Open);
    assert!(retry_in(call(&lanes, None)).is_some());
}
