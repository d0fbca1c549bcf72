//! What a lane retries, how often and until when, and that nothing else is sent twice.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::iter::repeat_n;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use lanekeeper::ErrorClass;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneErrorKind, Shutdown, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::quota::Quota;
use lanekeeper::resilience::{BreakerPolicy, BreakerState, RetryPolicy, ThrottlePolicy};
use support::diary::{Diary, DiaryEvent};
use support::failing::{
    DAY, Failed, Fault, Log, NOT_SENT, TOO_FAST, TRANSIENT, class, patient, submit_repeatable,
    waiting,
};
use support::lanes::{
    READ, SECOND, WRITE, ms, observed, one, options, priority, status, submit, the, unlimited,
    until, within_reason,
};
use support::oracle::{Algorithm, refused};

/// Retries with no limit that matters, after hardly any delay.
fn eager() -> RetryPolicy {
    RetryPolicy::default().attempts(4).base_delay(ms(1)).max_delay(ms(1)).budget_floor(1000)
}

/// Returns a lane that only tests retries.
fn retrying(config: LaneConfig, retry: RetryPolicy) -> LaneConfig {
    let throttle = ThrottlePolicy::default().default_pause(ms(1)).keep_percent(100);
    config.retry(retry).breaker(BreakerPolicy::disabled()).throttle(throttle)
}

// ---- what is retried -----------------------------------------------------------------------------

#[test]
fn what_is_sent_again_follows_from_what_it_does_and_how_it_failed() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(retrying(unlimited(2), eager()), clock.clone());
    let cases: [(Fault, bool, bool); 7] = [
        // How it failed, whether a write is retried, whether a read is.
        (TOO_FAST, true, true),
        (NOT_SENT, true, true),
        (TRANSIENT, false, true),
        (Some(ErrorClass::Unknown), false, true),
        (None, false, true),
        (Some(ErrorClass::Rejected), false, false),
        (Some(ErrorClass::Fatal), false, false),
    ];
    for (fault, write, read) in cases {
        for (call, is_again) in [(WRITE, write), (READ, read)] {
            let log = Log::new(&clock);
            let answer =
                submit_repeatable(&lanes, call, &options(), log.fails("", repeat_n(fault, 99)))
                    .wait();
            let attempts = if is_again { 4 } else { 1 };
            let last = Err(Failed::Broker(attempts, fault));
            assert_eq!((answer, log.len()), (last, attempts as usize), "{call:?} {fault:?}");
        }
    }
}

#[test]
fn what_is_to_be_sent_once_is_sent_once() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(retrying(unlimited(2), eager()), clock.clone());
    for fault in [TOO_FAST, NOT_SENT, TRANSIENT, Some(ErrorClass::Unknown), None] {
        for call in [WRITE, READ] {
            let log = Log::new(&clock);
            let failed = Err(Failed::Broker(1, fault));
            let work = || log.fails("", repeat_n(fault, 9));
            assert_eq!(lanes.submit_spec(call, &options(), work(), class).wait(), failed);
            assert_eq!(lanes.call_spec(call, &options(), work(), class), failed);
            assert_eq!(log.len(), 2, "{call:?} {fault:?}");
        }
    }
}

#[test]
fn the_answer_is_that_of_the_attempt_that_worked() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(retrying(unlimited(2), eager()), clock.clone());
    let log = Log::new(&clock);
    let work = log.fails("", [NOT_SENT, TOO_FAST]);
    assert_eq!(lanes.call_spec_repeatable(WRITE, &options(), work, class), Ok(3));
    assert_eq!(log.len(), 3);
}

#[test]
fn a_panic_is_not_repeated_and_opens_no_breaker() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(unlimited(2).retry(eager()), clock.clone());
    let log = Log::new(&clock);
    for _ in 0..20 {
        let log = log.clone();
        let work = move || -> Result<u32, Failed> {
            log.note("panics");
            std::panic::panic_any("a bug of ours")
        };
        let answer = submit_repeatable(&lanes, READ, &options(), work).wait();
        let Err(Failed::Lane(error)) = answer else { panic!("{answer:?}") };
        assert!(matches!(error.kind, LaneErrorKind::Panicked { .. }), "{error}");
    }
    assert_eq!((log.len(), status(&lanes).breaker), (20, BreakerState::Closed));
}

// ---- until when, and how often ------------------------------------------------------------------

#[test]
fn one_deadline_spans_all_attempts() {
    let clock = ManualClock::auto_advancing();
    let policy = eager().attempts(20).base_delay(ms(300)).max_delay(ms(300));
    for _ in 0..20 {
        let lanes = one(retrying(unlimited(2), policy), clock.clone());
        let log = Log::new(&clock);
        let deadline = clock.now() + SECOND;
        let soon = options().deadline(SECOND);
        let answer = submit_repeatable(&lanes, READ, &soon, log.fails("", repeat_n(TRANSIENT, 99)));
        let answer = answer.wait();
        let moments = log.moments();
        assert_eq!(answer, Err(Failed::Broker(moments.len() as u32, TRANSIENT)));
        assert!(moments.iter().all(|at| *at < deadline), "{moments:?}");
        assert!(clock.now() <= deadline);
    }
}

#[test]
fn a_wait_beyond_the_deadline_is_not_begun() {
    let clock = ManualClock::new();
    let lanes = one(retrying(unlimited(2), eager()), clock.clone());
    let slow_down = Some(ErrorClass::Throttled { retry_after: Some(ms(1000)) });
    let log = Log::new(&clock);
    let soon = options().deadline(SECOND);
    let ticket = submit_repeatable(&lanes, WRITE, &soon, log.fails("", repeat_n(slow_down, 9)));
    // The clock does not advance: it is answered at once, or never.
    assert_eq!(within_reason(move || ticket.wait()), Err(Failed::Broker(1, slow_down)));
}

#[test]
fn a_call_whose_deadline_passes_before_its_next_permit_has_the_last_error() {
    let clock = ManualClock::auto_advancing();
    let once_in_ten = LaneConfig::new(Quota::new(1, Duration::from_secs(10)));
    let lanes = one(retrying(once_in_ten, eager()), clock.clone());
    let log = Log::new(&clock);
    let before = clock.now();
    let soon = options().deadline(Duration::from_secs(5));
    let ticket = submit_repeatable(&lanes, READ, &soon, log.fails("", repeat_n(TRANSIENT, 9)));
    assert_eq!(within_reason(move || ticket.wait()), Err(Failed::Broker(1, TRANSIENT)));
    assert_eq!((log.len(), clock.now().since(before)), (1, Duration::from_secs(5)));
}

#[test]
fn in_an_outage_retries_are_a_small_share_of_the_calls() {
    let clock = ManualClock::auto_advancing();
    let policy = eager().attempts(20).budget_percent(10).budget_floor(3).budget_life(DAY);
    let lanes = one(retrying(unlimited(2), policy), clock.clone());
    let log = Log::new(&clock);
    for _ in 0..200 {
        let work = log.fails("", repeat_n(TRANSIENT, 99));
        assert!(submit_repeatable(&lanes, READ, &options(), work).wait().is_err());
    }
    assert_eq!(log.len(), 200 + 200 / 10 + 3);
}

// ---- the quota and the queue --------------------------------------------------------------------

#[test]
fn every_attempt_passes_the_pacer() {
    const LIMIT: u32 = 5;
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(LIMIT)).in_flight(4);
    let lanes = one(retrying(config, eager()), clock.clone());
    let log = Log::new(&clock);
    let tickets: Vec<_> = [READ, WRITE]
        .into_iter()
        .cycle()
        .take(40)
        .map(|call| {
            let mut work = log.fails("", [NOT_SENT, TOO_FAST]);
            let clock = clock.clone();
            submit_repeatable(&lanes, call, &options(), move || {
                let result = work();
                clock.advance(ms(10));
                result
            })
        })
        .collect();
    for ticket in tickets {
        assert_eq!(ticket.wait(), Ok(3));
    }
    let (arrivals, second) = (log.nanos(), SECOND.as_nanos() as u64);
    assert_eq!(arrivals.len(), 120);
    for counts in [
        Algorithm::SlidingLog,
        Algorithm::FixedWindow { phase: 0 },
        Algorithm::FixedWindow { phase: second / 3 },
        Algorithm::TokenBucket,
    ] {
        assert_eq!(refused(&arrivals, LIMIT, second, counts), 0, "{counts:?}");
    }
}

/// Returns the order of attempts when `first` fails once, and two calls of the default priority wait.
fn order_with(first: u8) -> Vec<&'static str> {
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let lanes = one(retrying(config, eager()), clock.clone());
    let log = Log::new(&clock);
    the(&lanes).pause();
    let tickets = [
        submit_repeatable(&lanes, READ, &priority(first), log.fails("fails", [TRANSIENT])),
        submit_repeatable(&lanes, READ, &priority(5), log.fails("b", [])),
        submit_repeatable(&lanes, READ, &priority(5), log.fails("c", [])),
    ];
    the(&lanes).resume();
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    log.names()
}

#[test]
fn first_attempts_go_before_retries_of_their_priority() {
    assert_eq!(order_with(5), ["fails", "b", "c", "fails"]);
}

#[test]
fn a_retry_keeps_its_priority() {
    assert_eq!(order_with(1), ["fails", "fails", "b", "c"]);
}

#[test]
fn a_user_keeps_its_interval_for_every_attempt() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = one(retrying(unlimited(1), eager()).user_interval(SECOND), clock.clone());
        let log = Log::new(&clock);
        let user = options().user("a");
        the(&lanes).pause();
        let fails =
            submit_repeatable(&lanes, READ, &user, log.fails("fails", [TRANSIENT, TRANSIENT]));
        let other = submit_repeatable(&lanes, READ, &user, log.fails("other", []));
        the(&lanes).resume();
        assert_eq!((fails.wait(), other.wait()), (Ok(3), Ok(1)));
        let gaps: Vec<_> = log.moments().windows(2).map(|two| two[1].since(two[0])).collect();
        assert_eq!(gaps, [SECOND; 3]);
    });
}

/// Returns lanes of ten calls a second, one at a time.
fn busy(clock: &ManualClock) -> Lanes {
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(1);
    one(retrying(config, eager()), clock.clone())
}

/// Checks that a retry lets first attempts go before it for ten seconds. A hundred go in those, and ten each in the
/// seconds in which they begin and end.
fn assert_retried_in_time(log: &Log) {
    let names = log.names();
    let attempts: Vec<usize> = (0..names.len()).filter(|at| names[*at] == "it").collect();
    assert!(matches!(attempts[..], [_, ..=120]), "attempts {attempts:?} of {} calls", names.len());
}

#[test]
fn a_retry_does_not_starve_behind_a_queue_that_is_never_empty() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let (lanes, log) = (busy(&clock), Log::new(&clock));
        let other = || submit_repeatable(&lanes, READ, &options(), log.fails("other", []));
        the(&lanes).pause();
        let retried = submit_repeatable(&lanes, READ, &options(), log.fails("it", [TRANSIENT]));
        let mut others: VecDeque<_> = (0..20).map(|_| other()).collect();
        the(&lanes).resume();
        for _ in 0..2_000 {
            others.pop_front().unwrap().wait().unwrap();
            others.push_back(other());
        }
        assert_eq!(retried.wait(), Ok(2));
        assert_retried_in_time(&log);
    });
}

/// Submits a call that submits the next, as long as some are left.
fn chain(lanes: &Lanes, log: &Log, left: u32, done: mpsc::Sender<()>) {
    let (own, log) = (lanes.clone(), log.clone());
    // A write goes on without its ticket.
    drop(submit(lanes, WRITE, &options(), move || {
        log.note("other");
        match left {
            0 => done.send(()).unwrap(),
            left => chain(&own, &log, left - 1, done),
        }
    }));
}

#[test]
fn a_retry_does_not_starve_behind_calls_that_come_one_by_one() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let (lanes, log) = (busy(&clock), Log::new(&clock));
        let (done, is_done) = mpsc::channel();
        the(&lanes).pause();
        let retried = submit_repeatable(&lanes, READ, &options(), log.fails("it", [TRANSIENT]));
        chain(&lanes, &log, 2_000, done);
        the(&lanes).resume();
        is_done.recv().unwrap();
        assert_eq!(retried.wait(), Ok(2));
        assert_retried_in_time(&log);
    });
}

/// A call of the lowest priority fails, while sixty of a higher one are submitted, each during the one before. One
/// a second may go. Returns how many of those had gone when it was retried.
fn ahead_of_a_retry(aging: Option<u32>) -> usize {
    within_reason(move || {
        let clock = ManualClock::auto_advancing();
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(1).aging(aging);
        let (lanes, log) = (one(config, clock.clone()), Log::new(&clock));
        let (begun, began) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let mut fails = log.fails("low", [TRANSIENT]);
        let low = submit_repeatable(&lanes, READ, &priority(10), move || {
            begun.send(()).unwrap();
            // The second time the receiver is gone.
            let _ = gone.recv();
            fails()
        });
        began.recv().unwrap();
        let (done, is_done) = mpsc::channel();
        chain(&lanes, &log, 59, done);
        drop(go);
        assert_eq!(low.wait(), Ok(2));
        is_done.recv().unwrap();
        let names = log.names();
        let again = names.iter().rposition(|name| *name == "low").unwrap();
        again - 1
    })
}

#[test]
fn a_retry_goes_before_a_higher_priority_only_when_it_is_overdue() {
    assert_eq!(ahead_of_a_retry(None), 60);
    // Its fair wait is a second or two.
    let with_aging = ahead_of_a_retry(Some(2));
    assert!((1..10).contains(&with_aging), "{with_aging}");
}

// ---- while it waits for another attempt ---------------------------------------------------------

/// Advances time far enough that every call that may go is sent.
fn much_later(clock: &ManualClock, lanes: &Lanes) {
    for _ in 0..4 {
        clock.advance(Duration::from_secs(43_200));
        let work = || Ok(());
        assert_eq!(submit_repeatable(lanes, READ, &options(), work).wait(), Ok(()));
    }
}

#[test]
fn one_that_waits_to_be_sent_again_is_seen() {
    let clock = ManualClock::new();
    let lanes = one(unlimited(2).retry(patient()), clock.clone());
    let log = Log::new(&clock);
    let ticket = waiting(&lanes, WRITE, &log);
    let seen = status(&lanes);
    assert_eq!((seen.retrying, seen.queued, seen.in_flight), (1, 0, 0));
    clock.advance(DAY);
    assert_eq!(within_reason(move || ticket.wait()), Ok(2));
    assert_eq!(status(&lanes).retrying, 0);
}

#[test]
fn one_that_is_cancelled_is_answered_with_the_last_error_and_not_sent_again() {
    for call in [READ, WRITE] {
        let clock = ManualClock::new();
        let lanes = one(unlimited(2).retry(patient()), clock.clone());
        let log = Log::new(&clock);
        let ticket = waiting(&lanes, call, &log);
        // It was attempted, so it must not be reported as never sent.
        assert!(!ticket.cancel());
        assert!(!ticket.cancel());
        assert_eq!(within_reason(move || ticket.wait()), Err(Failed::Broker(1, NOT_SENT)));
        much_later(&clock, &lanes);
        assert_eq!((log.len(), status(&lanes).retrying), (1, 0));
    }
}

#[test]
fn one_that_is_cancelled_takes_no_other_along() {
    let clock = ManualClock::new();
    let lanes = one(unlimited(2).retry(patient()), clock.clone());
    let log = Log::new(&clock);
    let calls = ["first", "second", "third"].map(|name| {
        let before = status(&lanes).retrying;
        let ticket = submit_repeatable(&lanes, WRITE, &options(), log.fails(name, [NOT_SENT]));
        until(|| status(&lanes).retrying == before + 1);
        ticket
    });
    assert!(!calls[1].cancel());
    assert_eq!(status(&lanes).retrying, 2);
    clock.advance(DAY);
    let answers = within_reason(move || calls.map(Ticket::wait));
    assert_eq!(answers, [Ok(2), Err(Failed::Broker(1, NOT_SENT)), Ok(2)]);
}

#[test]
fn a_read_without_a_waiter_is_not_sent_again() {
    let clock = ManualClock::new();
    let lanes = one(unlimited(2).retry(patient()), clock.clone());
    let log = Log::new(&clock);
    drop(waiting(&lanes, READ, &log));
    much_later(&clock, &lanes);
    assert_eq!((log.len(), status(&lanes).retrying), (1, 0));
}

#[test]
fn one_whose_deadline_passes_has_the_last_error() {
    let clock = ManualClock::new();
    // A manual pause, so that the deadline comes first.
    let lanes =
        one(retrying(unlimited(2), eager().base_delay(ms(900)).max_delay(ms(900))), clock.clone());
    let log = Log::new(&clock);
    let soon = options().deadline(SECOND);
    let ticket = submit_repeatable(&lanes, WRITE, &soon, log.fails("", repeat_n(NOT_SENT, 9)));
    until(|| status(&lanes).retrying == 1);
    the(&lanes).pause();
    clock.advance(SECOND);
    assert_eq!(within_reason(move || ticket.wait()), Err(Failed::Broker(1, NOT_SENT)));
    the(&lanes).resume();
    much_later(&clock, &lanes);
    assert_eq!((log.len(), status(&lanes).retrying), (1, 0));
}

#[test]
fn one_in_a_lane_that_is_shut_has_the_last_error() {
    let ends: [fn(Lanes); 3] = [
        |lanes| assert_eq!(lanes.shutdown(Shutdown::Now).rejected, 1),
        |lanes| assert_eq!(lanes.shutdown(Shutdown::Drain(Duration::ZERO)).rejected, 1),
        drop,
    ];
    for end in ends {
        let clock = ManualClock::new();
        let lanes = one(unlimited(2).retry(patient()), clock.clone());
        let log = Log::new(&clock);
        let ticket = waiting(&lanes, WRITE, &log);
        end(lanes);
        assert_eq!(within_reason(move || ticket.wait()), Err(Failed::Broker(1, NOT_SENT)));
        clock.advance(DAY);
        assert_eq!(log.len(), 1);
    }
}

#[test]
fn a_lane_that_drains_makes_the_attempts_that_are_left() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(retrying(unlimited(2), eager()), clock.clone());
    let log = Log::new(&clock);
    let ticket = submit_repeatable(&lanes, WRITE, &options(), log.fails("", [NOT_SENT, NOT_SENT]));
    let drained = lanes.shutdown(Shutdown::Drain(Duration::from_secs(3600)));
    assert_eq!((drained.rejected, ticket.wait()), (0, Ok(3)));
}

// ---- the events of an observer -------------------------------------------------------------------

#[test]
fn an_observer_is_notified_of_each_attempt_and_of_the_end_once() {
    let clock = ManualClock::auto_advancing();
    let diary = Arc::new(Diary::default());
    let config = retrying(unlimited(2), eager());
    let lanes = observed(config, clock.clone(), Some(diary.clone()));
    let log = Log::new(&clock);
    let works = log.fails("", [NOT_SENT, TOO_FAST]);
    assert_eq!(submit_repeatable(&lanes, WRITE, &options(), works).wait(), Ok(3));
    let fails = log.fails("", repeat_n(NOT_SENT, 9));
    assert!(submit_repeatable(&lanes, WRITE, &options(), fails).wait().is_err());
    drop(lanes);
    assert_eq!(
        diary.events(),
        [
            DiaryEvent::FailedAttempt(1, NOT_SENT),
            DiaryEvent::Throttled(ms(1)),
            DiaryEvent::FailedAttempt(2, TOO_FAST),
            DiaryEvent::Finished(3, None),
            DiaryEvent::FailedAttempt(1, NOT_SENT),
            DiaryEvent::FailedAttempt(2, NOT_SENT),
            DiaryEvent::FailedAttempt(3, NOT_SENT),
            DiaryEvent::Finished(4, NOT_SENT),
        ]
    );
}

#[test]
fn a_call_that_waits_for_another_attempt_is_counted_before_and_after_the_delay() {
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(2)).in_flight(2);
    let lanes = one(retrying(config, eager()), clock.clone());
    let log = Log::new(&clock);
    let tickets =
        [(); 2].map(|()| submit_repeatable(&lanes, READ, &options(), log.fails("it", [TRANSIENT])));
    until(|| status(&lanes).retrying == 2);
    // The delay is over, and there is no slot: they are polled, and stay queued.
    clock.advance(SECOND / 2);
    for _ in 0..200 {
        let seen = status(&lanes);
        assert_eq!((seen.retrying, seen.queued_by_priority.len()), (2, 0));
        std::thread::yield_now();
    }
    // A lost call may arrive within a second, as long as no answer has shown how long one travels.
    clock.advance(2 * SECOND);
    for ticket in tickets {
        assert_eq!(within_reason(move || ticket.wait()), Ok(2));
    }
    assert_eq!(status(&lanes).retrying, 0);
}

#[test]
fn a_call_that_has_become_too_heavy_for_another_attempt_is_refused_and_others_go_on() {
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(4)).in_flight(2);
    let lanes = one(retrying(config, eager()), clock.clone());
    let log = Log::new(&clock);
    let submit = |weight| {
        submit_repeatable(
            &lanes,
            CallSpec { weight, ..READ },
            &options(),
            log.fails("it", [TRANSIENT]),
        )
    };
    let [light, heavy] = [1, 3].map(submit);
    until(|| status(&lanes).retrying == 2);
    clock.advance(SECOND / 2);
    the(&lanes).set_quota(&Quota::per_second(2)).unwrap();
    assert_eq!(within_reason(move || heavy.wait()), Err(Failed::Broker(1, TRANSIENT)));
    clock.advance(2 * SECOND);
    assert_eq!(within_reason(move || light.wait()), Ok(2));
}
