//! What a lane does with calls while the broker fails: which are held, for how long, and which are refused at once.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallOptions, LaneConfig, LaneErrorKind, OpenBreakerPolicy, OverflowPolicy, Priority, Shutdown,
    Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::resilience::{BreakerMode, BreakerPolicy, BreakerState, RetryPolicy};
use support::failing::{Failed, Fault, Gated, TRANSIENT, class, ended};
use support::lanes::{
    READ, SECOND, WRITE, ms, one, options, status, the, unlimited, until, within_reason,
};

/// Opens after two failures in a row, for 6 to 8 seconds and longer each time, and lets one probe through.
fn config(when_down: OpenBreakerPolicy) -> LaneConfig {
    let breaker =
        BreakerPolicy::default().failures_in_a_row(Some(2)).open_for(8 * SECOND).probes(1);
    unlimited(2).retry(RetryPolicy::none()).breaker(breaker).when_down(when_down)
}

fn broken(when_down: OpenBreakerPolicy) -> (Lanes, ManualClock) {
    let clock = ManualClock::new();
    let lanes = one(config(when_down), clock.clone());
    for _ in 0..2 {
        submit(&lanes, READ, &options(), Some(TRANSIENT)).wait().unwrap_err();
    }
    assert_eq!(status(&lanes).breaker, BreakerState::Open);
    (lanes, clock)
}

/// Queues a call that ends with `fault`.
fn submit(
    lanes: &Lanes,
    call: CallSpec,
    options: &CallOptions,
    fault: Option<Fault>,
) -> Ticket<(), Failed> {
    lanes.submit_spec(call, options, move || ended(fault), class)
}

fn reason(answer: Result<(), Failed>) -> LaneErrorKind {
    match answer {
        Err(Failed::Lane(error)) => error.kind,
        other => panic!("{other:?}"),
    }
}

/// A call of another route class.
const ELSEWHERE: CallSpec = CallSpec { route: "elsewhere", ..WRITE };

fn is_held(ticket: &mut Ticket<(), Failed>) -> bool {
    ticket.try_wait().is_none()
}

#[test]
fn by_default_a_caller_that_can_wait_is_held_until_the_next_half_open_period() {
    within_reason(|| {
        let (lanes, clock) = broken(OpenBreakerPolicy::default());
        let mut held = submit(&lanes, READ, &options(), None);
        let planned = submit(&lanes, READ, &options().deadline(100 * SECOND), None);
        let LaneErrorKind::BrokerDown { retry_in: Some(wait) } = reason(planned.wait()) else {
            panic!()
        };
        assert!((6 * SECOND..=8 * SECOND).contains(&wait), "{wait:?}");
        // Calls of another route go.
        assert_eq!(submit(&lanes, ELSEWHERE, &options(), None).wait(), Ok(()));
        clock.advance(wait - ms(1));
        assert!(is_held(&mut held));
        assert_eq!((status(&lanes).queued, status(&lanes).oldest_wait), (1, Some(wait - ms(1))));
        clock.advance(ms(1));
        assert_eq!(held.wait(), Ok(()));
        assert_eq!(status(&lanes).breaker, BreakerState::Closed);
    });
}

#[test]
fn a_caller_that_waited_through_a_failed_half_open_period_is_refused_and_later_ones_wait_for_the_next()
 {
    within_reason(|| {
        let (lanes, clock) = broken(OpenBreakerPolicy::Hold);
        let first = Gated::new();
        let probe = first.submit(&lanes);
        let waited = submit(&lanes, READ, &options(), None);
        let mut with_time = submit(&lanes, READ, &options().deadline(600 * SECOND), None);
        clock.advance(8 * SECOND);
        until(|| first.begun() == 1);
        clock.advance(ms(1));
        // Its probe is in flight: no other call goes.
        let mut later = submit(&lanes, READ, &options(), None);
        until(|| the(&lanes).queued() == 3);
        first.end(Some(TRANSIENT));
        assert_eq!(probe.wait(), Err(Failed::Broker(1, TRANSIENT)));
        let LaneErrorKind::BrokerDown { retry_in: Some(wait) } = reason(waited.wait()) else {
            panic!()
        };
        let LaneErrorKind::BrokerDown { .. } = reason(with_time.wait_timeout(SECOND).unwrap())
        else {
            panic!()
        };
        assert!(is_held(&mut later));
        clock.advance(wait);
        assert_eq!(later.wait(), Ok(()));
    });
}

/// An unmodified bot got 2.8 million refusals in ten seconds from a broker whose writes failed.
#[test]
fn a_strategy_in_a_loop_is_refused_by_an_open_breaker_once_in_each_time_that_it_is_open() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(config(OpenBreakerPolicy::default()), clock.clone());
        let began = clock.now();
        let (mut refused, mut failed) = (0, 0);
        while clock.now().since(began) < 600 * SECOND {
            let takes = Clock::from(clock.clone());
            let work = move || {
                takes.sleep(ms(50));
                ended(Some(TRANSIENT))
            };
            match lanes.submit_spec(READ, &options(), work, class).wait() {
                Err(Failed::Lane(error)) => {
                    assert!(matches!(error.kind, LaneErrorKind::BrokerDown { .. }));
                    refused += 1;
                }
                Err(Failed::Broker(..)) => failed += 1,
                Ok(()) => panic!("it fails"),
            }
            // It is open for 6 s at the least, each time.
            assert!(refused + failed < 150, "{refused} refused and {failed} failed");
        }
        assert!(failed > 2, "it is tried again and again");
    });
}

#[test]
fn many_held_calls_go_in_their_order_once_the_broker_is_back() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(config(OpenBreakerPolicy::default()).in_flight(1), clock.clone());
        for _ in 0..2 {
            submit(&lanes, READ, &options(), Some(TRANSIENT)).wait().unwrap_err();
        }
        let order = Arc::new(AtomicU32::new(0));
        let calls: Vec<_> = (0..300)
            .map(|number| {
                let order = Arc::clone(&order);
                let work = move || Ok::<_, Failed>((number, order.fetch_add(1, Ordering::SeqCst)));
                let level = if number % 2 == 0 { 5 } else { 3 };
                let options = options().priority(Priority::new(level).unwrap());
                lanes.submit_spec(READ, &options, work, class)
            })
            .collect();
        clock.advance(8 * SECOND);
        for call in calls {
            let (number, place) = call.wait().unwrap();
            // Calls of higher priority first, and within a priority first in, first out.
            let expected = if number % 2 == 1 { number / 2 } else { 150 + number / 2 };
            assert_eq!(place, expected, "{number}");
        }
    });
}

#[test]
fn a_held_call_can_detach_expire_be_shed_and_be_shut_out() {
    within_reason(|| {
        let (lanes, clock) = broken(OpenBreakerPolicy::Hold);
        let cancelled = submit(&lanes, READ, &options(), None);
        let mut late = submit(&lanes, READ, &options().deadline(20 * SECOND), None);
        let short = submit(&lanes, READ, &options().deadline(SECOND), None);
        let mut stays = submit(&lanes, READ, &options(), None);
        // It could not be in time.
        assert!(matches!(reason(short.wait()), LaneErrorKind::BrokerDown { .. }));
        assert!(cancelled.cancel());
        assert_eq!(reason(cancelled.wait()), LaneErrorKind::Cancelled);
        assert_eq!(the(&lanes).queued(), 2);
        // The lane is paused manually, so that there is no half-open period.
        the(&lanes).pause();
        clock.advance(20 * SECOND);
        until(|| the(&lanes).queued() == 1);
        assert!(matches!(
            reason(late.wait_timeout(SECOND).unwrap()),
            LaneErrorKind::DeadlinePassed { .. }
        ));
        assert!(is_held(&mut stays));
        assert_eq!(lanes.shutdown(Shutdown::Now).rejected, 1);
        assert_eq!(reason(stays.wait()), LaneErrorKind::Closed);

        let clock = ManualClock::new();
        let lanes =
            one(config(OpenBreakerPolicy::Hold).queue(6).when_full(OverflowPolicy::Shed), clock);
        for _ in 0..2 {
            submit(&lanes, READ, &options(), Some(TRANSIENT)).wait().unwrap_err();
        }
        let level = |level| options().priority(Priority::new(level).unwrap());
        let low = submit(&lanes, READ, &level(9), None);
        let mut held = [(); 2].map(|()| submit(&lanes, READ, &options(), None));
        // The other half of the queue is for calls that can go.
        let refused = submit(&lanes, READ, &options(), None).wait();
        assert!(matches!(reason(refused), LaneErrorKind::BrokerDown { .. }));
        the(&lanes).pause();
        let mut others = [(); 3].map(|()| submit(&lanes, ELSEWHERE, &options(), None));
        let mut higher = submit(&lanes, ELSEWHERE, &level(2), None);
        assert_eq!(reason(low.wait()), LaneErrorKind::Shed);
        assert!(held.iter_mut().chain(&mut others).chain([&mut higher]).all(is_held));
    });
}

#[test]
fn an_exit_goes_and_by_its_answer_the_held_calls_do() {
    within_reason(|| {
        let (lanes, _clock) = broken(OpenBreakerPolicy::default());
        let held = submit(&lanes, READ, &options(), None);
        let urgent = options().priority(Priority::URGENT);
        assert_eq!(submit(&lanes, READ, &urgent, None).wait(), Ok(()));
        assert_eq!(held.wait(), Ok(()));
    });
}

#[test]
fn a_breaker_that_is_forced_open_or_switched_off_holds_no_call() {
    within_reason(|| {
        for (mode, goes) in [(BreakerMode::ForcedOpen, false), (BreakerMode::Disabled, true)] {
            let (lanes, _clock) = broken(OpenBreakerPolicy::Hold);
            let held = submit(&lanes, READ, &options(), None);
            the(&lanes).set_breaker(mode);
            let (held, new) = (held.wait(), submit(&lanes, READ, &options(), None).wait());
            for answer in [held, new] {
                match goes {
                    true => assert_eq!(answer, Ok(())),
                    false => {
                        assert_eq!(reason(answer), LaneErrorKind::BrokerDown { retry_in: None })
                    }
                }
            }
        }
    });
}

#[test]
fn a_caller_that_does_not_wait_is_refused_at_once() {
    let (lanes, _clock) = broken(OpenBreakerPolicy::Refuse);
    let answer = submit(&lanes, READ, &options(), None).wait();
    assert!(matches!(reason(answer), LaneErrorKind::BrokerDown { retry_in: Some(_) }));
}

/// A broker that fails and recovers in virtual time, behind callers of two routes that never give up: they are all
/// served, none spins, and the working route is never held up.
#[test]
fn a_crowd_of_loops_outlives_a_broker_that_dies_and_comes_back() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(config(OpenBreakerPolicy::default()).in_flight(4), clock.clone());
        let dead = Arc::new(AtomicBool::new(true));
        let began = clock.now();
        let loops = 8;
        std::thread::scope(|scope| {
            // They participate before any of them runs, or the clock would advance without them.
            for number in 0..loops {
                let (lanes, dead, clock) = (&lanes, &dead, &clock);
                scope.spawn(move || {
                    let is_well = number % 2 == 0;
                    let call = if is_well { ELSEWHERE } else { READ };
                    let (mut answers, mut served) = (0, 0);
                    while served < 50 {
                        let (takes, its) = (Clock::from(clock.clone()), Arc::clone(dead));
                        let back = clock.now().since(began) >= 60 * SECOND;
                        if back {
                            dead.store(false, Ordering::SeqCst);
                        }
                        let work = move || {
                            takes.sleep(ms(100));
                            let fails = !is_well && its.load(Ordering::SeqCst);
                            ended(fails.then_some(TRANSIENT))
                        };
                        served += i32::from(
                            lanes.submit_spec(call, &options(), work, class).wait().is_ok(),
                        );
                        answers += 1;
                        assert!(!is_well || answers == served, "a call that could go was refused");
                        assert!(answers < 400, "it spins");
                    }
                });
            }
        });
        assert!(clock.now().since(began) < Duration::from_secs(600));
    });
}
