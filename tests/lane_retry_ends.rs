//! How a call ends that was tried before: its observer hears of one end, whatever ends it. And what else
//! a review of the retries found.

#![allow(clippy::unwrap_used)]

mod support;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::*;
use lanekeeper::proxy::Lanes;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::*;
use std::any::Any;
use std::iter::repeat_n;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use support::failing::*;
use support::lanes::*;
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);
impl Observer for Diary {
    fn submitted(&self, _: &CallInfo<'_>) {
        self.0.lock().unwrap().push("submitted".into());
    }
    fn finished(&self, c: &FinishedCall<'_>) {
        self.0.lock().unwrap().push(format!("finished {}", c.attempt));
    }
    fn failed_attempt(&self, c: &FinishedCall<'_>, _: Duration) {
        self.0.lock().unwrap().push(format!("failed_attempt {}", c.attempt));
    }
    fn refused(&self, _: &CallInfo<'_>, why: &str) {
        self.0.lock().unwrap().push(format!("refused {why}"));
    }
    fn expired(&self, _: &CallInfo<'_>) {
        self.0.lock().unwrap().push("expired".into());
    }
    fn cancelled(&self, _: &CallInfo<'_>) {
        self.0.lock().unwrap().push("cancelled".into());
    }
    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        self.0.lock().unwrap().push("late".into());
    }
}
fn patient() -> RetryPolicy {
    let d = Duration::from_secs(86400);
    RetryPolicy::default().base(d).cap(d)
}
fn setup(
    call: lanekeeper::proxy::Call,
) -> (ManualClock, Arc<Diary>, lanekeeper::proxy::Lanes, Ticket<u32, Failed>, Log) {
    let clock = ManualClock::new();
    let diary = Arc::new(Diary::default());
    let lanes = observed(unlimited(2).retry(patient()), clock.clone(), Some(diary.clone()));
    let log = Log::new(&clock);
    let t = submit_again(&lanes, call, &options(), log.fails("", [NOT_SENT]));
    until(|| status(&lanes).retrying == 1);
    (clock, diary, lanes, t, log)
}
fn check(d: &Diary, what: &str) {
    let h = d.0.lock().unwrap().clone();
    assert_eq!(h.iter().filter(|x| x.starts_with("finished")).count(), 1, "{what} {h:?}");
}
#[test]
fn one_that_is_cancelled_has_one_end() {
    let (_c, d, l, t, _) = setup(WRITE);
    t.cancel();
    let _ = t.wait();
    drop(l);
    check(&d, "cancel");
}
#[test]
fn a_read_that_is_dropped_has_one_end() {
    let (_c, d, l, t, _) = setup(READ);
    drop(t);
    drop(l);
    check(&d, "drop read");
}
#[test]
fn a_write_that_is_dropped_and_then_refused_has_one_end() {
    let (_c, d, l, t, _) = setup(WRITE);
    drop(t);
    drop(l);
    check(&d, "drop write then close");
}
#[test]
fn p_drop_write_later() {
    let (c, d, l, t, _) = setup(WRITE);
    drop(t);
    c.advance(Duration::from_secs(86400));
    until(|| status(&l).retrying == 0);
    drop(l);
    check(&d, "drop write then due");
}
#[test]
fn one_that_a_shutdown_ends_has_one_end() {
    let (_c, d, l, t, _) = setup(WRITE);
    l.shutdown(Shutdown::Drop);
    let _ = t.wait();
    check(&d, "shutdown");
}
#[test]
fn one_that_was_to_go_again_when_its_caller_left_has_one_end() {
    let clock = ManualClock::new();
    let diary = Arc::new(Diary::default());
    let lanes = observed(unlimited(2).retry(patient()), clock.clone(), Some(diary.clone()));
    let (go, held) = mpsc::channel::<()>();
    let (b, begun) = mpsc::channel();
    let t = submit_again(&lanes, WRITE, &options(), move || {
        b.send(()).unwrap();
        let _ = held.recv();
        Err::<(), _>(Failed::Broker(1, NOT_SENT))
    });
    begun.recv().unwrap();
    drop(t);
    go.send(()).unwrap();
    drop(lanes);
    check(&diary, "dropped under way");
}
#[test]
fn one_that_expires_has_one_end() {
    let clock = ManualClock::new();
    let diary = Arc::new(Diary::default());
    let r = RetryPolicy::default().base(ms(900)).cap(ms(900));
    let lanes = observed(unlimited(2).retry(r), clock.clone(), Some(diary.clone()));
    let log = Log::new(&clock);
    let t = submit_again(
        &lanes,
        WRITE,
        &options().deadline(SECOND),
        log.fails("", repeat_n(NOT_SENT, 9)),
    );
    until(|| status(&lanes).retrying == 1);
    the(&lanes).pause();
    clock.advance(SECOND);
    let _ = t.wait();
    drop(lanes);
    check(&diary, "deadline");
}
#[test]
fn the_rate_comes_back_for_a_single_caller() {
    let clock = ManualClock::jumping();
    let lanes =
        one(LaneConfig::new(Quota::per_second(10)).retry(RetryPolicy::none()), clock.clone());
    let mut n = 0;
    for _ in 0..10 {
        n += 1;
        let f = n == 10;
        let _ = lanes.call(
            READ,
            &options(),
            move || if f { Err(Failed::Broker(1, TOO_FAST)) } else { Ok(()) },
            class,
        );
    }
    assert!(status(&lanes).rate_percent < 100);
    for _ in 0..2000 {
        lanes.call(READ, &options(), || Ok::<(), Failed>(()), class).unwrap();
    }
    let s = status(&lanes);
    assert_eq!(s.rate_percent, 100);
}
#[test]
fn an_open_breaker_refuses_what_waits_behind_a_hung_call() {
    let clock = ManualClock::new();
    let b = CircuitBreaker::default().failures_in_a_row(Some(1)).probes(1);
    let lanes = one(unlimited(1).retry(RetryPolicy::none()).breaker(b), clock.clone());
    let h = hold(&lanes, READ);
    let behind = lanes.submit(READ, &options(), || Ok::<(), Failed>(()), class);
    the(&lanes).set_breaker(BreakerMode::ForcedOpen);
    let (d, done) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = d.send(behind.wait());
    });
    let a = done.recv_timeout(Duration::from_secs(2));
    drop(h);
    assert!(a.is_ok(), "not answered though the breaker is open");
}
#[test]
fn a_user_keeps_its_interval_for_attempts_too() {
    let clock = ManualClock::jumping();
    let r = RetryPolicy::default().base(ms(1)).cap(ms(1)).budget_floor(1000);
    let lanes = one(
        unlimited(1).retry(r).breaker(CircuitBreaker::disabled()).user_interval(SECOND),
        clock.clone(),
    );
    let log = Log::new(&clock);
    let u = options().user("a");
    let t = submit_again(&lanes, READ, &u, log.fails("", [TRANSIENT, TRANSIENT]));
    let t2 = submit_again(&lanes, READ, &u, log.fails("", []));
    t.wait().unwrap();
    t2.wait().unwrap();
    let m = log.moments();
    let gaps: Vec<_> = m.windows(2).map(|w| w[1].since(w[0])).collect();
    assert!(gaps.iter().all(|g| *g >= SECOND), "GAPS {gaps:?}");
}
#[test]
fn p_starved_retry() {
    let clock = ManualClock::jumping();
    let r = RetryPolicy::default().base(ms(1)).cap(ms(1));
    let lanes = one(LaneConfig::new(Quota::per_second(10)).in_flight(1).retry(r), clock.clone());
    let log = Log::new(&clock);
    the(&lanes).pause();
    let t = submit_again(&lanes, READ, &options(), log.fails("retry", [TRANSIENT]));
    let mut others: std::collections::VecDeque<_> =
        (0..20).map(|_| submit_again(&lanes, READ, &options(), log.fails("x", []))).collect();
    the(&lanes).resume();
    for _ in 0..2000 {
        others.pop_front().unwrap().wait().unwrap();
        others.push_back(submit_again(&lanes, READ, &options(), log.fails("x", [])));
    }
    let went = log.names().iter().filter(|n| **n == "retry").count();
    let secs = clock.now();
    drop(t);
    assert_eq!(went, 2, "retry not sent in 2000 calls, now {secs:?}");
}

/// One call that makes the next, as long as some are left.
fn next(lanes: &Lanes, log: &Log, left: u32, done: mpsc::Sender<()>) {
    let (own, log2) = (lanes.clone(), log.clone());
    // A write goes on without its ticket.
    drop(lanes.submit(
        WRITE,
        &options(),
        move || {
            log2.note("x");
            if left > 0 {
                next(&own, &log2, left - 1, done)
            } else {
                let _ = done.send(());
            }
            Ok::<(), Failed>(())
        },
        class,
    ));
}
#[test]
fn an_attempt_that_is_due_does_not_starve() {
    let clock = ManualClock::jumping();
    let r = RetryPolicy::default().base(ms(1)).cap(ms(1));
    let lanes = one(LaneConfig::new(Quota::per_second(10)).in_flight(1).retry(r), clock.clone());
    let log = Log::new(&clock);
    let (done, is_done) = mpsc::channel();
    the(&lanes).pause();
    let t = submit_again(&lanes, READ, &options(), log.fails("retry", [TRANSIENT]));
    let begin = clock.now();
    next(&lanes, &log, 2000, done);
    the(&lanes).resume();
    is_done.recv().unwrap();
    t.wait().unwrap();
    let before = log.names().iter().rposition(|n| *n == "retry").unwrap();
    assert!(before < 1000, "{before} calls in {:?} went before it", clock.now().since(begin));
}
