//! Turns of tasks that come late, hang, or are dropped at odd times: no call too many, no exit that waits, no slot lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{CallOptions, LaneConfig, LaneErrorKind, Priority, Shutdown};
use lanekeeper::proxy::{LaneCall, Lanes};
use lanekeeper::quota::{Moment, Quota};
use support::lanes::{READ, SECOND, WRITE, ms, one, options, status, submit, unlimited, until};
use support::stepped::Failure;

type Answer = Result<u32, Failure>;
type Task = support::tasks::Task<Answer>;
type Arrivals = Arc<Mutex<Vec<(&'static str, Moment)>>>;

fn write() -> LaneCall {
    LaneCall::write("test").name("write")
}

fn read() -> LaneCall {
    LaneCall::read("test").name("read")
}

fn urgent() -> CallOptions {
    options().priority(Priority::URGENT)
}

/// A lane whose only slot is used.
fn used_up(quota: Quota) -> (Lanes, ManualClock) {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(quota).in_flight(2), clock.clone());
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    (lanes, clock)
}

/// A call that notes when it is sent. `hangs`: it never ends.
fn call(
    lanes: &Lanes,
    name: &'static str,
    options: CallOptions,
    arrivals: &Arrivals,
    clock: &ManualClock,
    hangs: bool,
) -> impl Future<Output = Answer> + use<> {
    let (lanes, arrivals, clock) = (lanes.clone(), Arc::clone(arrivals), clock.clone());
    async move {
        let attempt = || {
            arrivals.lock().unwrap().push((name, clock.now()));
            async move { if hangs { pending().await } else { Ok(1) } }
        };
        lanes.run(&write(), &options, attempt).await
    }
}

/// Waits until the task has a turn that it has not taken.
fn offered(task: &mut Task, lanes: &Lanes) {
    loop {
        until(|| task.is_woken());
        if status(lanes).in_flight == 1 {
            return;
        }
        assert!(task.poll().is_pending());
    }
}

/// Lets a task come too late for so many turns. It has the next one then. Returns for how long.
fn miss(task: &mut Task, lanes: &Lanes, clock: &ManualClock, turns: u32) -> Duration {
    let mut length = ms(100);
    for _ in 0..turns {
        offered(task, lanes);
        clock.advance(length);
        until(|| status(lanes).in_flight == 0);
        assert!(task.poll().is_pending());
        length *= 2;
    }
    offered(task, lanes);
    length
}

fn gap(arrivals: &Arrivals) -> Duration {
    let arrivals = arrivals.lock().unwrap();
    arrivals[1].1.since(arrivals[0].1)
}

/// A call of a task that was sent at the end of its offer, and hangs.
#[test]
fn the_slot_of_a_call_is_borrowed_only_a_window_after_it_was_sent() {
    let (lanes, clock) = used_up(Quota::per_second(1));
    let arrivals = Arrivals::default();
    let mut late = Task::waiting(call(&lanes, "task", options(), &arrivals, &clock, true));
    clock.advance(SECOND);
    offered(&mut late, &lanes);
    clock.advance(ms(99));
    assert!(late.poll().is_pending());
    assert_eq!(arrivals.lock().unwrap().len(), 1, "it took its turn");
    let (own, now) = (Arc::clone(&arrivals), clock.clone());
    let exit = submit(&lanes, WRITE, &urgent(), move || {
        own.lock().unwrap().push(("exit", now.now()));
    });
    thread::sleep(ms(50));
    clock.advance(ms(901));
    // By now 2.0 s: a window after the turn was given, 0.901 s after it was used.
    thread::sleep(ms(200));
    clock.advance(ms(99));
    exit.wait().unwrap();
    assert!(gap(&arrivals) >= SECOND, "one call a second is the limit");
}

/// A call that is offered, and was not sent at all.
#[test]
fn the_slot_of_a_call_that_was_not_sent_is_not_borrowed() {
    let (lanes, clock) = used_up(Quota::per_second(1));
    let arrivals = Arrivals::default();
    let mut late = Task::waiting(call(&lanes, "task", options(), &arrivals, &clock, false));
    clock.advance(SECOND);
    assert_eq!(miss(&mut late, &lanes, &clock, 4), ms(1600));
    let (own, now) = (Arc::clone(&arrivals), clock.clone());
    let exit = submit(&lanes, WRITE, &urgent(), move || {
        own.lock().unwrap().push(("exit", now.now()));
    });
    // It takes the turn that the task has not taken, at once.
    exit.wait().unwrap();
    assert!(late.poll().is_pending());
    clock.advance(SECOND);
    assert_eq!(late.run(), Ok(1));
    assert!(gap(&arrivals) >= SECOND, "one call a second is the limit");
}

/// An exit waits for a turn of a normal call that nobody takes, and of which nothing was sent.
#[test]
fn an_exit_does_not_wait_for_a_turn_that_is_not_taken() {
    let (lanes, clock) = used_up(Quota::per_minute(1));
    let arrivals = Arrivals::default();
    let mut late = Task::waiting(call(&lanes, "task", options(), &arrivals, &clock, false));
    clock.advance(60 * SECOND);
    assert_eq!(miss(&mut late, &lanes, &clock, 6), ms(6400));
    let mut exit = Task::waiting(call(&lanes, "exit", urgent(), &arrivals, &clock, false));
    assert_eq!(exit.run(), Ok(1));
    assert!(late.poll().is_pending());
    clock.advance(60 * SECOND);
    assert_eq!(late.run(), Ok(1), "its turn comes after the exit");
}

/// An exit whose task came 100 ms late goes behind all exits that come later.
#[test]
fn an_exit_that_missed_its_turn_keeps_its_place() {
    let (lanes, clock) = used_up(Quota::per_second(1));
    let arrivals = Arrivals::default();
    let exit = |name| Task::waiting(call(&lanes, name, urgent(), &arrivals, &clock, false));
    let mut first = exit("first");
    let mut others = VecDeque::from([exit("other")]);
    clock.advance(SECOND);
    offered(&mut first, &lanes);
    clock.advance(ms(100));
    // The turn goes to the next one.
    assert_eq!(others.pop_front().unwrap().run(), Ok(1));
    // Here the first is polled, a moment after its offer has ended.
    assert!(first.poll().is_pending());
    let mut passed = 0;
    loop {
        others.push_back(exit("other"));
        clock.advance(SECOND);
        until(|| first.is_woken() || others.front().unwrap().is_woken());
        if first.is_woken() {
            assert_eq!(first.run_now(), Ok(1));
            break;
        }
        assert_eq!(others.pop_front().unwrap().run(), Ok(1));
        passed += 1;
    }
    assert!(passed <= 1);
}

/// A call that awaits another call of its own lane.
#[test]
fn an_awaited_call_within_an_attempt_is_refused_if_it_would_wait_for_itself() {
    let lanes = one(unlimited(1), Clock::system());
    let inner = lanes.clone();
    let outer = async move {
        let attempt = || async {
            match inner.run(&read(), &options(), || async { Ok::<_, Failure>(5) }).await {
                Err(Failure::Lane(error)) if error.kind == LaneErrorKind::Reentrant => Ok(0),
                other => other,
            }
        };
        inner.run(&write(), &options(), attempt).await
    };
    let (mut outer, mut poll) = Task::begin(outer);
    for _ in 0..30 {
        if poll.is_ready() {
            break;
        }
        thread::sleep(ms(100));
        poll = outer.poll();
    }
    assert_eq!(poll, Poll::Ready(Ok(0)), "it hangs, and the lane with it");
}

/// A cancellation whose adapter reads the order first, in a lane of one call a second.
#[test]
fn an_exit_that_awaits_a_read_of_its_lane_ends() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(1)), clock.clone());
    let inner = lanes.clone();
    let outer = async move {
        let attempt = || async {
            inner.run(&read(), &options(), || async { Ok::<_, Failure>(5) }).await?;
            Ok(7)
        };
        inner.run(&write().exit(), &options(), attempt).await
    };
    let (mut outer, mut poll) = Task::begin(outer);
    for _ in 0..100 {
        if poll.is_ready() {
            break;
        }
        clock.advance(SECOND);
        thread::sleep(ms(5));
        poll = outer.poll();
    }
    assert!(poll.is_ready(), "the exit hangs after 100 s");
}

/// A drain answers each caller at its limit.
#[test]
fn a_drain_answers_a_task_whose_call_hangs() {
    let lanes = one(unlimited(2), Clock::system());
    let own = lanes.clone();
    let mut task = Task::waiting(async move {
        own.run(&write(), &options(), || async { pending::<Answer>().await }).await
    });
    let summary = lanes.shutdown(Shutdown::Drain(ms(10)));
    assert_eq!(summary.in_flight, 1, "its caller has been answered, says the summary");
    let poll = task.poll();
    assert!(poll.is_ready(), "its caller was not answered: {poll:?}");
}

thread_local! {
    /// A task that is dropped as its thread ends.
    static KEPT: RefCell<Option<Task>> = const { RefCell::new(None) };
}

#[test]
fn a_call_that_is_dropped_as_its_thread_ends_gives_its_slot_back() {
    let (lanes, clock) = used_up(Quota::per_second(1));
    clock.advance(SECOND);
    let (own, time) = (lanes.clone(), clock.clone());
    thread::spawn(move || {
        // Its destructor is registered before those of the lanes.
        KEPT.with_borrow(|kept| assert!(kept.is_none()));
        let arrivals = Arrivals::default();
        let task = Task::waiting(call(&own, "kept", options(), &arrivals, &time, true));
        assert_eq!(arrivals.lock().unwrap().len(), 1, "it is under way");
        KEPT.set(Some(task));
    })
    .join()
    .unwrap();
    for _ in 0..100 {
        clock.advance(SECOND);
        thread::sleep(ms(1));
    }
    let mut next = submit(&lanes, READ, &options(), || ());
    for _ in 0..100 {
        clock.advance(SECOND);
        thread::sleep(ms(10));
        if let Some(answer) = next.try_wait() {
            return answer.unwrap();
        }
    }
    panic!("200 s later the lane of one call a second sends nothing");
}

/// Spacing.
#[test]
fn two_calls_of_a_spaced_quota_leave_a_gap() {
    let clock = ManualClock::new();
    let lanes = one(LaneConfig::new(Quota::per_second(10).spaced()).in_flight(10), clock.clone());
    let arrivals = Arrivals::default();
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    let task = |name| Task::waiting(call(&lanes, name, options(), &arrivals, &clock, true));
    let (mut one, mut two) = (task("one"), task("two"));
    clock.advance(ms(100));
    until(|| one.is_woken());
    clock.advance(ms(99));
    assert!(one.poll().is_pending());
    // The clock may advance past an offer before its task is woken. Then there is another one.
    while arrivals.lock().unwrap().len() < 2 {
        if two.is_woken() {
            assert!(two.poll().is_pending());
        } else {
            clock.advance(ms(1));
            thread::yield_now();
        }
    }
    assert!(gap(&arrivals) >= ms(100));
}

/// A breaker that opens while a turn is offered.
#[test]
fn a_call_that_has_a_turn_is_held_by_a_breaker_that_opens() {
    use lanekeeper::resilience::{BreakerPolicy, RetryPolicy};
    let clock = ManualClock::new();
    let breaker = BreakerPolicy::default()
        .failures_in_a_row(Some(1))
        .open_for(10 * SECOND)
        .max_open(10 * SECOND);
    let config = LaneConfig::new(Quota::per_second(2)).in_flight(3);
    let lanes = one(config.breaker(breaker).retry(RetryPolicy::none()), clock.clone());
    let (answer, answers) = std::sync::mpsc::channel();
    let _detached = lanes
        .submit_once(&write(), &options(), move || Err::<(), Failure>(answers.recv().unwrap()));
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    let arrivals = Arrivals::default();
    let mut task = Task::waiting(call(&lanes, "task", options(), &arrivals, &clock, false));
    clock.advance(SECOND);
    until(|| task.is_woken());
    answer.send(Failure::Lost).unwrap();
    until(|| format!("{:?}", status(&lanes).breaker).contains("Open"));
    let (mut polls, began) = (0, std::time::Instant::now());
    assert!(task.poll().is_pending());
    while began.elapsed() < ms(500) {
        if task.is_woken() {
            polls += 1;
            assert!(task.poll().is_pending());
        }
        thread::yield_now();
    }
    println!(
        "woken {polls} times in half a second, in which the clock stands still; {:?}",
        status(&lanes).breaker
    );
    assert!(polls < 5);
}

#[test]
fn a_drain_after_that_does_not_panic() {
    let lanes = one(unlimited(2), Clock::system());
    let own = lanes.clone();
    thread::spawn(move || {
        KEPT.with_borrow(|kept| assert!(kept.is_none()));
        KEPT.set(Some(Task::waiting(async move {
            own.run(&write(), &options(), || async { pending::<Answer>().await }).await
        })));
    })
    .join()
    .unwrap();
}

/// The same for a call of a thread whose record for the next process is slow to write.
#[derive(Debug)]
struct SlowDisk {
    came: std::sync::mpsc::SyncSender<()>,
    go: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl lanekeeper::lane::PaceLog for SlowDisk {
    fn begin(
        &self,
        now: lanekeeper::jiff::Timestamp,
        _: &[(&str, Duration)],
        _: lanekeeper::PriorUsage,
    ) -> std::io::Result<lanekeeper::lane::RecordedUsage> {
        let used = lanekeeper::quota::PaceSnapshot::at(now);
        Ok(lanekeeper::lane::RecordedUsage { used, since: None })
    }
    fn taken(
        &self,
        _: &lanekeeper::lane::RecordedCall<'_>,
        _: lanekeeper::jiff::Timestamp,
    ) -> std::io::Result<()> {
        let _ = self.came.send(());
        let _ = self.go.lock().unwrap().recv();
        Ok(())
    }
    fn urgent(
        &self,
        _: &lanekeeper::lane::RecordedCall<'_>,
        _: lanekeeper::jiff::Timestamp,
        _: lanekeeper::jiff::Timestamp,
    ) -> std::io::Result<()> {
        Ok(())
    }
    fn finished(&self, _: u64, _: lanekeeper::jiff::Timestamp) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_slot_of_a_call_whose_record_is_being_written_is_not_borrowed() {
    use lanekeeper::proxy::LanesBuilder;
    let clock = ManualClock::new();
    let (came, comes) = std::sync::mpsc::sync_channel(9);
    let (go, goes) = std::sync::mpsc::channel();
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, LaneConfig::new(Quota::per_second(1)).in_flight(2));
    builder.clock(clock.clone().into());
    builder.session(lanekeeper::Session::new());
    builder.pace_log(Arc::new(SlowDisk { came, go: Mutex::new(goes) }));
    builder.prior_usage(lanekeeper::PriorUsage::None);
    let lanes = builder.build(lanekeeper::quota::Limits::new()).unwrap();
    clock.advance(60 * SECOND);
    let arrivals = Arrivals::default();
    let note = |name| {
        let (own, now) = (Arc::clone(&arrivals), clock.clone());
        move || own.lock().unwrap().push((name, now.now()))
    };
    let mut normal = submit(&lanes, WRITE, &options(), note("normal"));
    comes.recv().unwrap();
    let exit = submit(&lanes, WRITE, &urgent(), note("exit"));
    thread::sleep(ms(50));
    clock.advance(SECOND);
    exit.wait().unwrap();
    clock.advance(ms(100));
    go.send(()).unwrap();
    // Its permit is too old by now: it gets another one.
    go.send(()).unwrap();
    while normal.try_wait().is_none() {
        clock.advance(ms(100));
        thread::yield_now();
    }
    assert!(gap(&arrivals) >= SECOND, "one call a second is the limit");
}
