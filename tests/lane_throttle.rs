//! A lane whose broker reports that calls come too fast: for how long it pauses, by how much it slows down, and
//! that it recovers.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::ErrorClass;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneErrorKind, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::quota::{Moment, Quota};
use lanekeeper::resilience::{RetryPolicy, ThrottlePolicy};
use support::failing::{Failed, Fault, Gated, Log, TOO_FAST, class, ended, submit_repeatable};
use support::lanes::{
    READ, SECOND, WRITE, ms, one, options, status, the, unlimited, until, within_reason,
};
use support::oracle::{Algorithm, refused};

const LIMIT: u32 = 10;

const fn slow_down(seconds: u64) -> Fault {
    Some(ErrorClass::Throttled { retry_after: Some(Duration::from_secs(seconds)) })
}

/// Ten a second, all of them at once if necessary, and each sent once.
fn paced() -> LaneConfig {
    LaneConfig::new(Quota::per_second(LIMIT)).in_flight(LIMIT as usize).retry(RetryPolicy::none())
}

/// Returns `calls` calls, all of them in flight.
fn in_flight_calls(lanes: &Lanes, gated: &Gated, calls: usize) -> Vec<Ticket<(), Failed>> {
    let tickets = (0..calls).map(|_| gated.submit(lanes)).collect();
    until(|| gated.begun() == calls);
    tickets
}

/// Ends `calls` of the calls as refused, and waits until the lane has recorded it.
fn refuse(gated: &Gated, tickets: &mut Vec<Ticket<(), Failed>>, calls: usize, fault: Fault) {
    let left = tickets.len() - calls;
    (0..calls).for_each(|_| gated.end(Some(fault)));
    while tickets.len() > left {
        tickets.retain_mut(|ticket| ticket.try_wait().is_none());
        thread::yield_now();
    }
}

/// Makes a call that is answered with `fault`, and sent once.
fn call(lanes: &Lanes, fault: Option<Fault>) -> Result<(), Failed> {
    lanes.call_spec(READ, &options(), move || ended(fault), class)
}

// ---- the cut ------------------------------------------------------------------------------------

#[test]
fn many_refusals_cut_the_rate_once_a_window() {
    let clock = ManualClock::new();
    let lanes = one(paced(), clock.clone());
    let gated = Gated::new();
    let mut tickets = in_flight_calls(&lanes, &gated, 10);
    refuse(&gated, &mut tickets, 10, TOO_FAST);
    let seen = status(&lanes);
    assert_eq!((seen.rate_percent, seen.paused_for), (70, Some(SECOND)));
    assert_eq!(seen.quota, "10/s");

    // The next window has seven, which are refused as well.
    tickets.extend((0..10).map(|_| gated.submit(&lanes)));
    clock.advance(SECOND);
    until(|| gated.begun() == 17);
    refuse(&gated, &mut tickets, 7, TOO_FAST);
    assert_eq!((status(&lanes).rate_percent, gated.begun()), (49, 17));
}

#[test]
fn refusals_of_calls_that_left_before_a_cut_do_not_cut_again() {
    let clock = ManualClock::new();
    let lanes = one(paced(), clock.clone());
    let gated = Gated::new();
    let mut tickets = in_flight_calls(&lanes, &gated, 10);
    for _ in 0..5 {
        refuse(&gated, &mut tickets, 2, TOO_FAST);
        assert_eq!(status(&lanes).rate_percent, 70);
        clock.advance(SECOND * 2);
    }
}

#[test]
fn a_cut_outlives_a_change_of_the_quota() {
    let lanes = one(paced(), ManualClock::new());
    let gated = Gated::new();
    let mut tickets = in_flight_calls(&lanes, &gated, 10);
    refuse(&gated, &mut tickets, 10, TOO_FAST);
    the(&lanes).set_quota(&Quota::per_second(20)).unwrap();
    let seen = status(&lanes);
    assert_eq!((seen.rate_percent, seen.quota.as_str()), (70, "20/s"));
    assert!(seen.windows.iter().any(|window| window.limit == 14), "{:?}", seen.windows);
}

/// A call that costs half of the lane's slots in a second.
const HEAVY: CallSpec = CallSpec { weight: 5, ..READ };

#[test]
fn a_cut_leaves_room_for_the_heaviest_call() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(paced(), clock.clone());
        let heavy = |fault| lanes.call_spec(HEAVY, &options(), move || ended(fault), class);
        // Only five were sent, and that was too fast.
        let _ = heavy(Some(TOO_FAST));
        assert_eq!(status(&lanes).rate_percent, 35);
        let paused = clock.now();
        for _ in 0..3 {
            assert_eq!(heavy(None), Ok(()));
        }
        // Half a call in each second of the cut, where there was capacity for two.
        assert!(clock.now().since(paused) > SECOND * 2, "{:?}", clock.now().since(paused));
    });
}

#[test]
fn a_cut_refuses_no_heavy_call_that_comes_later_or_waits_already() {
    for waits in [false, true] {
        within_reason(move || {
            let clock = ManualClock::new();
            let lanes = Arc::new(one(paced(), clock.clone()));
            let gated = Gated::new();
            let mut tickets = in_flight_calls(&lanes, &gated, 6);
            let heavy = || submit_repeatable(&lanes, HEAVY, &options(), || ended(None));
            let early = waits.then(heavy);
            refuse(&gated, &mut tickets, 6, TOO_FAST);
            assert_eq!(status(&lanes).rate_percent, 42);
            let mut heavy = early.unwrap_or_else(heavy);
            assert_eq!(heavy.try_wait(), None);
            for _ in 0..3 {
                clock.advance(SECOND);
            }
            assert_eq!(heavy.wait(), Ok(()));
        });
    }
}

#[test]
fn a_call_that_could_never_go_changes_no_cut() {
    let lanes = one(paced(), ManualClock::new());
    let gated = Gated::new();
    let mut tickets = in_flight_calls(&lanes, &gated, 10);
    refuse(&gated, &mut tickets, 10, TOO_FAST);
    for weight in [11, u32::MAX] {
        let call = CallSpec { weight, ..READ };
        let error = submit_repeatable(&lanes, call, &options(), || ended(None)).wait().unwrap_err();
        assert!(matches!(&error, Failed::Lane(error) if error.kind == LaneErrorKind::TooHeavy));
        assert_eq!(status(&lanes).windows.iter().map(|window| window.limit).min(), Some(7));
    }
}

/// Returns the percentage after a cut and then `calls` calls of one caller, `gap` apart.
fn after_one_caller(calls: usize, gap: Duration) -> u32 {
    let clock = ManualClock::auto_advancing();
    let lanes = one(paced(), clock.clone());
    // Of ten it is the only one, and that was too fast.
    let _ = call(&lanes, Some(TOO_FAST));
    assert_eq!(status(&lanes).rate_percent, 10);
    for _ in 0..calls {
        clock.advance(gap);
        assert_eq!(call(&lanes, None), Ok(()));
    }
    status(&lanes).rate_percent
}

/// Such a caller leaves no call waiting, but is held up itself, once in each window.
#[test]
fn one_caller_alone_gets_the_rate_back() {
    assert_eq!(after_one_caller(200, Duration::ZERO), 100);
    // As long as it is held up for a third of each window.
    assert!(after_one_caller(100, ms(100)) >= 70);
}

#[test]
fn a_rate_that_is_not_used_does_not_come_back() {
    assert_eq!(after_one_caller(50, SECOND * 2), 10);
}

/// A queued call does not count as another waiting call.
#[test]
fn no_call_waits_behind_one_that_is_alone_in_the_queue() {
    let clock = ManualClock::new();
    let lanes = one(paced(), clock.clone());
    let _ = call(&lanes, Some(TOO_FAST));
    for _ in 0..50 {
        clock.advance(SECOND * 2);
        the(&lanes).pause();
        let alone = lanes.submit_spec(READ, &options(), || ended(None), class);
        // It is queued, and no time passes there.
        assert_eq!(status(&lanes).queued, 1);
        the(&lanes).resume();
        assert_eq!(alone.wait(), Ok(()));
    }
    assert_eq!(status(&lanes).rate_percent, 10);
}

// ---- the pause ----------------------------------------------------------------------------------

#[test]
fn a_shorter_wait_that_comes_later_does_not_shorten_the_pause() {
    let clock = ManualClock::new();
    let lanes = one(unlimited(3).retry(RetryPolicy::none()), clock.clone());
    let gated = Gated::new();
    let mut tickets = in_flight_calls(&lanes, &gated, 3);
    let paused_for = || status(&lanes).paused_for.unwrap().as_secs();
    refuse(&gated, &mut tickets, 1, slow_down(30));
    assert_eq!(paused_for(), 30);
    clock.advance(SECOND);
    refuse(&gated, &mut tickets, 1, slow_down(1));
    assert_eq!(paused_for(), 29);
    refuse(&gated, &mut tickets, 1, slow_down(60));
    assert_eq!(paused_for(), 60);
    clock.advance(SECOND * 60);
    assert_eq!(status(&lanes).paused_for, None);
    assert_eq!(call(&lanes, None), Ok(()));
}

#[test]
fn nothing_of_the_lane_goes_before_the_pause_is_over() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(unlimited(3).retry(RetryPolicy::none()), clock.clone());
    let before = clock.now();
    assert!(call(&lanes, Some(slow_down(30))).is_err());
    let log = Log::new(&clock);
    for call in [READ, WRITE] {
        let urgent = options().priority(lanekeeper::lane::Priority::URGENT);
        assert_eq!(submit_repeatable(&lanes, call, &urgent, log.fails("", [])).wait(), Ok(1));
    }
    let waited: Vec<_> = log.moments().into_iter().map(|at| at.since(before)).collect();
    assert!(waited.iter().all(|waited| *waited >= SECOND * 30), "{waited:?}");
    assert_eq!(waited[0], SECOND * 30);
}

#[test]
fn a_call_is_sent_again_when_the_broker_said() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(unlimited(3), clock.clone());
    let log = Log::new(&clock);
    let work = log.fails("", [slow_down(3), slow_down(7)]);
    assert_eq!(submit_repeatable(&lanes, WRITE, &options(), work).wait(), Ok(3));
    let gaps: Vec<_> = log.moments().windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps[0] >= SECOND * 3 && gaps[1] >= SECOND * 7, "{gaps:?}");
}

#[test]
fn an_absurd_wait_does_not_stop_the_lane_for_as_long() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(unlimited(3), clock.clone());
    let log = Log::new(&clock);
    let forever = Some(ErrorClass::Throttled { retry_after: Some(Duration::MAX) });
    let work = log.fails("", [forever]);
    // No call waits for ever for another attempt.
    let answer = submit_repeatable(&lanes, WRITE, &options(), work).wait();
    assert_eq!((answer, log.len()), (Err(Failed::Broker(1, forever)), 1));
    assert_eq!(status(&lanes).paused_for, Some(SECOND * 300));
}

#[test]
fn a_call_that_cannot_wait_for_the_end_of_the_pause_is_refused_at_once() {
    let lanes = one(unlimited(1).retry(RetryPolicy::none()), ManualClock::new());
    assert!(call(&lanes, Some(slow_down(30))).is_err());
    let soon = options().deadline(SECOND * 10);
    let ticket = lanes.submit_spec(READ, &soon, || ended(None), class);
    let answer = within_reason(move || ticket.wait());
    let Err(Failed::Lane(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.kind, LaneErrorKind::TooLate { retry_in: SECOND * 30 });
}

// ---- the way back -------------------------------------------------------------------------------

/// A broker that admits less than it documents, for a while. It counts exactly.
struct CountingBroker {
    clock: ManualClock,
    bears: fn(Moment) -> usize,
    /// The calls that it answered.
    served: Mutex<Vec<Moment>>,
    /// Everything that arrived, and the lane's rate at that moment.
    seen: Mutex<Vec<(Moment, u32)>>,
}

impl CountingBroker {
    fn new(clock: &ManualClock, bears: fn(Moment) -> usize) -> Arc<Self> {
        let (served, seen) = (Mutex::default(), Mutex::default());
        Arc::new(Self { clock: clock.clone(), bears, served, seen })
    }

    fn work(self: &Arc<Self>, lanes: &Lanes) -> impl FnMut() -> Result<(), Failed> + Send + use<> {
        let (exchange, lanes) = (Arc::clone(self), lanes.clone());
        move || {
            let result = exchange.answer(&lanes);
            exchange.clock.advance(ms(5));
            result
        }
    }

    fn answer(&self, lanes: &Lanes) -> Result<(), Failed> {
        let mut seen = self.seen.lock().unwrap();
        let now = self.clock.now();
        seen.push((now, status(lanes).rate_percent));
        let mut served = self.served.lock().unwrap();
        let lately = served.iter().filter(|at| now.since(**at) < SECOND).count();
        if lately >= (self.bears)(now) {
            return Err(Failed::Broker(1, TOO_FAST));
        }
        served.push(now);
        Ok(())
    }
}

#[test]
fn under_many_refusals_the_rate_falls_once_a_window_and_comes_back_and_the_quota_holds() {
    const CALLS: usize = 900;
    // Half of the documented rate, for a minute.
    let bears = |now: Moment| if now.as_nanos() < 60_000_000_000 { 5 } else { LIMIT as usize };
    let clock = ManualClock::auto_advancing();
    let retry = RetryPolicy::default().attempts(20).budget_percent(100).budget_floor(1000);
    let throttle = ThrottlePolicy::default();
    let lanes = one(paced().in_flight(4).retry(retry).throttle(throttle), clock.clone());
    let exchange = CountingBroker::new(&clock, bears);
    the(&lanes).pause();
    let tickets: Vec<_> = (0..CALLS)
        .map(|_| submit_repeatable(&lanes, WRITE, &options(), exchange.work(&lanes)))
        .collect();
    the(&lanes).resume();
    let answers: Vec<_> = tickets.into_iter().map(Ticket::wait).collect();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");

    let seen = exchange.seen.lock().unwrap();
    assert!(seen.len() > CALLS, "there was no storm");
    let arrivals: Vec<u64> = seen.iter().map(|(at, _)| at.as_nanos()).collect();
    let second = SECOND.as_nanos() as u64;
    for counts in
        [Algorithm::SlidingLog, Algorithm::FixedWindow { phase: 0 }, Algorithm::TokenBucket]
    {
        assert_eq!(refused(&arrivals, LIMIT, second, counts), 0, "{counts:?}");
    }
    // Seen by the next attempt, which waits for the end of a pause that is as long as a window.
    let cuts: Vec<Moment> =
        seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[1].0).collect();
    assert!(cuts.len() > 1, "{cuts:?}");
    assert!(cuts.windows(2).all(|pair| pair[1].since(pair[0]) >= SECOND), "{cuts:?}");
    assert_eq!(seen.last().map(|(_, percent)| *percent), Some(100));
}
