//! Calls that tasks make themselves, each after a wait for its turn: on which thread, in which order, and every point at which
//! such a call ends or its future is dropped.
#![cfg(target_os = "linux")] // `support/stepped.rs`, whose error is used here, is.
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, CallOptions, FinishedCall, LaneConfig, LaneErrorKind, LaneState, Observer,
    OverflowPolicy, Priority, Shutdown,
};
use lanekeeper::proxy::{LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerMode, BreakerPolicy, BreakerState, RetryPolicy};
use lanekeeper::{ErrorClass, Session};
use support::lanes::{
    READ, Recorder, SECOND, hold, ms, observed, one, options, priority, status, submit, the,
    unlimited, until, within_reason,
};
use support::notes::{Event, EventLog};
use support::stepped::Failure;
use support::tasks::Woken;

type Answer = Result<u32, Failure>;

fn write() -> LaneCall {
    LaneCall::write("test").name("write")
}

fn read() -> LaneCall {
    LaneCall::read("test").name("read")
}

type Task = support::tasks::Task<Answer>;

/// The attempts that were begun.
#[derive(Clone, Default)]
struct Made(Arc<AtomicUsize>);

impl Made {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns a read that counts its attempts. The first of them is never sent, and the next one is answered.
    fn call_that_is_retried(&self, lanes: &Lanes) -> impl Future<Output = Answer> + use<> {
        let (made, lanes) = (self.clone(), lanes.clone());
        async move {
            let attempt = || {
                let number = made.0.fetch_add(1, Ordering::SeqCst);
                async move { if number == 0 { Err(Failure::NotSent) } else { Ok(9) } }
            };
            lanes.run(&read(), &options(), attempt).await
        }
    }

    /// Returns a call that counts its attempts, and whose answer is `answer`.
    fn call(
        &self,
        lanes: &Lanes,
        call: LaneCall,
        options: CallOptions,
        answer: u32,
    ) -> impl Future<Output = Answer> + use<> {
        let (made, lanes) = (self.clone(), lanes.clone());
        async move {
            let attempt = || {
                made.0.fetch_add(1, Ordering::SeqCst);
                async move { Ok(answer) }
            };
            lanes.run(&call, &options, attempt).await
        }
    }
}

fn ready(answer: Poll<Answer>) -> Answer {
    match answer {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it is not over"),
    }
}

fn lane_error(answer: Answer) -> LaneErrorKind {
    match answer {
        Err(Failure::Lane(error)) => error.kind,
        other => panic!("{other:?}"),
    }
}

/// A lane of one call a second whose slot is used, and its clock.
fn used_up() -> (Lanes, ManualClock, Arc<EventLog>) {
    let (clock, log) = (ManualClock::new(), Arc::new(EventLog::default()));
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(2);
    let lanes = observed(config, clock.clone(), Some(log.clone()));
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    (lanes, clock, log)
}

#[test]
fn a_call_waits_for_its_turn_and_is_made_by_its_own_task() {
    let (lanes, clock, log) = used_up();
    let here = thread::current().id();
    let call = {
        let lanes = lanes.clone();
        async move {
            let attempt = || async {
                assert_eq!(thread::current().id(), here);
                Ok(7)
            };
            lanes.run(&write(), &options(), attempt).await
        }
    };
    let mut task = Task::waiting(call);
    clock.advance(SECOND - ms(1));
    assert!(task.poll().is_pending());
    clock.advance(ms(1));
    assert_eq!(task.run(), Ok(7));
    assert_eq!(status(&lanes).in_flight, 0);
    assert_eq!(log.of("test", 1), [Event::Submitted, Event::Dispatched, Event::Finished]);
    // Its slot counts from the answer, as that of any call.
    let next = submit(&lanes, READ, &options(), || ());
    clock.advance(SECOND);
    next.wait().unwrap();
}

#[test]
fn on_an_idle_lane_the_first_poll_makes_the_call() {
    let lanes = one(unlimited(1), Clock::system());
    let made = Made::default();
    let (_, answer) = Task::begin(made.call(&lanes, read(), options(), 3));
    assert_eq!((answer, made.count()), (Poll::Ready(Ok(3)), 1));
}

#[test]
fn a_future_that_is_dropped_before_its_turn_is_never_sent_and_takes_no_slot() {
    let (lanes, clock, log) = used_up();
    let made = Made::default();
    let first = Task::waiting(made.call(&lanes, write(), options(), 1));
    let mut second = Task::waiting(made.call(&lanes, write(), options(), 2));
    drop(first);
    assert_eq!(status(&lanes).queued, 1);
    clock.advance(SECOND);
    assert_eq!(second.run(), Ok(2));
    assert_eq!(made.count(), 1);
    assert_eq!(log.of("test", 1), [Event::Submitted, Event::Cancelled]);
}

#[test]
fn a_future_that_is_dropped_with_its_turn_is_never_sent_and_gives_its_slot_back_at_once() {
    let (lanes, clock, log) = used_up();
    let made = Made::default();
    let first = Task::waiting(made.call(&lanes, write(), options(), 1));
    let mut second = Task::waiting(made.call(&lanes, write(), options(), 2));
    clock.advance(SECOND);
    until(|| first.is_woken());
    assert_eq!(status(&lanes).in_flight, 1);
    drop(first);
    // No time passes.
    assert_eq!(second.run(), Ok(2));
    assert_eq!((made.count(), status(&lanes).in_flight), (1, 0));
    assert_eq!(log.of("test", 1), [Event::Submitted, Event::Cancelled]);
}

#[test]
fn a_task_that_does_not_take_its_turn_loses_it_and_gets_another_one() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let mut first = Task::waiting(made.call(&lanes, write(), options(), 1));
    clock.advance(SECOND);
    until(|| first.is_woken());
    let mut second = Task::waiting(made.call(&lanes, write(), options(), 2));
    clock.advance(ms(99));
    assert!(!second.is_woken());
    clock.advance(ms(1));
    assert_eq!(second.run(), Ok(2));
    // The first is parked: it is offered no turn, however long its task sleeps.
    clock.advance(10 * SECOND);
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    assert_eq!(status(&lanes).queued, 1);
    assert!(first.poll().is_pending());
    clock.advance(SECOND);
    assert_eq!(first.run(), Ok(1));
    assert_eq!(made.count(), 2);
}

#[test]
fn a_future_that_is_dropped_while_its_call_is_parked_leaves_nothing_behind() {
    let (lanes, clock, log) = used_up();
    let made = Made::default();
    let task = Task::waiting(made.call(&lanes, write(), options(), 1));
    clock.advance(SECOND);
    until(|| task.is_woken());
    clock.advance(ms(100));
    until(|| status(&lanes).in_flight == 0);
    drop(task);
    assert_eq!((status(&lanes).queued, made.count()), (0, 0));
    assert_eq!(log.of("test", 1), [Event::Submitted, Event::Cancelled]);
}

#[test]
fn a_future_that_is_dropped_under_way_is_a_lost_call_and_holds_its_slot() {
    let (lanes, clock, log) = used_up();
    let call = {
        let lanes = lanes.clone();
        async move { lanes.run(&write(), &options(), pending::<Answer>).await }
    };
    let mut task = Task::waiting(call);
    clock.advance(SECOND);
    assert!(task.poll_once_woken().is_pending());
    clock.advance(SECOND);
    drop(task);
    assert_eq!(status(&lanes).in_flight, 0);
    // Its outcome is unknown, which is an answer that came too late for its caller.
    let events = [Event::Submitted, Event::Dispatched, Event::Finished, Event::Late];
    assert_eq!(log.of("test", 1), events);
    // It was in flight for a second, and may arrive for as long again.
    let next = submit(&lanes, READ, &options(), || ());
    clock.advance(2 * SECOND - ms(1));
    assert_eq!(status(&lanes).queued, 1);
    clock.advance(ms(1));
    next.wait().unwrap();
}

#[test]
fn a_retry_waits_for_another_turn_and_makes_another_future() {
    let clock = ManualClock::new();
    let policy = RetryPolicy::default();
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(2).retry(policy);
    let lanes = one(config, clock.clone());
    let made = Made::default();
    let mut task = Task::waiting(made.call_that_is_retried(&lanes));
    assert_eq!(made.count(), 1);
    // Its delay is at most some seconds.
    for _ in 0..100 {
        clock.advance(ms(100));
    }
    assert_eq!(task.run(), Ok(9));
    assert_eq!(made.count(), 2);
}

#[test]
fn a_deadline_that_passes_while_the_call_waits_is_an_error_and_nothing_is_sent() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let deadline = options().deadline(3 * SECOND);
    let mut task = Task::waiting(made.call(&lanes, write(), deadline, 2));
    the(&lanes).pause();
    clock.advance(3 * SECOND);
    let kind = lane_error(task.run());
    assert!(matches!(kind, LaneErrorKind::DeadlinePassed { .. }), "{kind:?}");
    assert_eq!(made.count(), 0);
}

#[test]
fn a_panic_of_the_closure_or_of_its_future_is_the_answer() {
    let lanes = one(unlimited(1), Clock::system());
    let closure = {
        let lanes = lanes.clone();
        async move {
            let attempt = || -> std::future::Ready<Answer> { panic!("no future") };
            lanes.run(&write(), &options(), attempt).await
        }
    };
    let kind = lane_error(ready(Task::begin(closure).1));
    assert!(
        matches!(&kind, LaneErrorKind::Panicked { message } if message == "no future"),
        "{kind:?}"
    );
    let future = {
        let lanes = lanes.clone();
        async move {
            let attempt = || async { poll_fn(|_| panic!("no answer")).await };
            lanes.run::<u32, Failure, _, _>(&write(), &options(), attempt).await
        }
    };
    let kind = lane_error(ready(Task::begin(future).1));
    assert!(
        matches!(&kind, LaneErrorKind::Panicked { message } if message == "no answer"),
        "{kind:?}"
    );
    assert_eq!(status(&lanes).in_flight, 0);
}

#[test]
fn a_shutdown_answers_those_that_wait_that_have_a_turn_and_that_are_parked() {
    for how in [Shutdown::Now, Shutdown::Drain(Duration::ZERO)] {
        let clock = ManualClock::new();
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(3);
        let lanes = one(config, clock.clone());
        submit(&lanes, READ, &options(), || ()).wait().unwrap();
        let made = Made::default();
        let mut parked = Task::waiting(made.call(&lanes, write(), options(), 1));
        clock.advance(SECOND);
        until(|| parked.is_woken());
        clock.advance(ms(100));
        until(|| status(&lanes).in_flight == 0);
        submit(&lanes, READ, &options(), || ()).wait().unwrap();
        let mut offered = Task::waiting(made.call(&lanes, write(), options(), 2));
        clock.advance(SECOND);
        until(|| offered.is_woken());
        let mut waiting = Task::waiting(made.call(&lanes, write(), options(), 3));
        the(&lanes).shutdown(how);
        for task in [&mut parked, &mut offered, &mut waiting] {
            assert_eq!(lane_error(ready(task.poll())), LaneErrorKind::Closed);
        }
        assert_eq!((made.count(), status(&lanes).queued, status(&lanes).in_flight), (0, 0, 0));
    }
}

#[test]
fn an_urgent_call_of_either_kind_is_the_next() {
    let (lanes, clock, _) = used_up();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(name)
    };
    let task = |name, options: CallOptions| {
        let (lanes, note) = (lanes.clone(), note(name));
        Task::waiting(async move {
            let attempt = || {
                note();
                async { Ok(0) }
            };
            lanes.run(&write(), &options, attempt).await
        })
    };
    let mut bulk = task("task", options());
    let thread = submit(&lanes, READ, &options(), note("thread"));
    let urgent_thread = submit(&lanes, READ, &priority(1), note("urgent thread"));
    let mut urgent_task = task("urgent task", options().priority(Priority::URGENT));
    clock.advance(SECOND);
    urgent_thread.wait().unwrap();
    clock.advance(SECOND);
    urgent_task.run().unwrap();
    clock.advance(SECOND);
    bulk.run().unwrap();
    clock.advance(SECOND);
    thread.wait().unwrap();
    assert_eq!(*order.lock().unwrap(), ["urgent thread", "urgent task", "task", "thread"]);
}

#[test]
fn tasks_that_are_polled_and_dropped_at_any_moment_lose_no_slot_and_send_nothing_twice() {
    within_reason(|| {
        let lanes = one(unlimited(4), Clock::system());
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..8)
            .map(|seed| {
                let (lanes, begun, ended) = (lanes.clone(), Arc::clone(&begun), Arc::clone(&ended));
                thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..400 {
                        let (begun, ended, lanes) =
                            (Arc::clone(&begun), Arc::clone(&ended), lanes.clone());
                        let steps = random.usize(..4);
                        let call = async move {
                            let attempt = || async {
                                begun.fetch_add(1, Ordering::SeqCst);
                                let mut left = steps;
                                poll_fn(|context| {
                                    if left == 0 {
                                        return Poll::Ready(());
                                    }
                                    left -= 1;
                                    context.waker().wake_by_ref();
                                    Poll::Pending
                                })
                                .await;
                                ended.fetch_add(1, Ordering::SeqCst);
                                Ok(1)
                            };
                            lanes.run(&write(), &options(), attempt).await
                        };
                        let mut task = Task::new(call);
                        let polls = random.usize(..12);
                        for _ in 0..polls {
                            if task.poll().is_ready() {
                                break;
                            }
                            if random.bool() {
                                thread::yield_now();
                            }
                        }
                        drop(task);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        until(|| status(&lanes).in_flight == 0 && status(&lanes).queued == 0);
        assert!(begun.load(Ordering::SeqCst) >= ended.load(Ordering::SeqCst));
        assert!(ended.load(Ordering::SeqCst) > 0);
        // All slots are there.
        let held: Vec<_> = (0..4).map(|_| hold(&lanes, READ)).collect();
        held.into_iter().for_each(|held| held.let_go().wait().unwrap());
        assert_eq!(the(&lanes).shutdown(Shutdown::Drain(SECOND)).in_flight, 0);
    });
}

#[test]
fn the_broker_counts_no_call_too_many_of_threads_and_tasks_together() {
    const LIMIT: usize = 40;
    const WINDOW: Duration = Duration::from_millis(100);
    const CALLS: usize = 400;
    within_reason(|| {
        let quota = Quota::new(LIMIT as u32, WINDOW);
        let lanes = one(LaneConfig::new(quota).in_flight(LIMIT), Clock::system());
        let (counted, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(CALLS)));
        // The broker counts a call at some moment while it is under way, and then it goes on for a while.
        let count = |counted: &Mutex<Vec<Instant>>| counted.lock().unwrap().push(Instant::now());
        let is_more = |left: &AtomicUsize| {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
        };
        let threads = (0..4).map(|_| {
            let (lanes, counted, left) = (lanes.clone(), Arc::clone(&counted), Arc::clone(&left));
            thread::spawn(move || {
                while is_more(&left) {
                    let counted = Arc::clone(&counted);
                    let work = move || {
                        count(&counted);
                        Ok::<_, Failure>(())
                    };
                    lanes.call(&read(), &options(), work).unwrap();
                }
            })
        });
        let executors = (0..2).map(|seed| {
            let (lanes, counted, left) = (lanes.clone(), Arc::clone(&counted), Arc::clone(&left));
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut tasks: Vec<Option<Task>> = (0..16).map(|_| None).collect();
                loop {
                    let mut is_over = true;
                    for slot in &mut tasks {
                        if slot.is_none() && is_more(&left) {
                            let (lanes, counted) = (lanes.clone(), Arc::clone(&counted));
                            let (before, after) = (random.u64(..20), random.u64(..20));
                            let call = async move {
                                let attempt = || async {
                                    pause(ms(before)).await;
                                    count(&counted);
                                    pause(ms(after)).await;
                                    Ok(0)
                                };
                                lanes.run(&write(), &options(), attempt).await
                            };
                            *slot = Some(Task::new(call));
                        }
                        if slot.as_mut().is_some_and(|task| task.poll().is_ready()) {
                            *slot = None;
                        }
                        is_over &= slot.is_none();
                    }
                    if is_over {
                        return;
                    }
                    thread::yield_now();
                }
            })
        });
        let all: Vec<_> = threads.chain(executors).collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
        let mut counted = std::mem::take(&mut *counted.lock().unwrap());
        counted.sort();
        assert_eq!(counted.len(), CALLS);
        for span in counted.windows(LIMIT + 1) {
            let took = span[LIMIT].duration_since(span[0]);
            assert!(took >= WINDOW, "{} calls in {took:?}", LIMIT + 1);
        }
        let took = counted[CALLS - 1].duration_since(counted[0]);
        println!(
            "{CALLS} calls in {took:?}, of {:?} at least",
            WINDOW * (CALLS / LIMIT - 1) as u32
        );
    });
}

/// Is ready after a time. Its task is polled again and again.
async fn pause(time: Duration) {
    let until = Instant::now() + time;
    poll_fn(|_| if Instant::now() < until { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// An observer that holds its thread at one kind of event, until the test lets it go.
struct Gate {
    log: EventLog,
    at: fn(&Event) -> bool,
    came: Mutex<mpsc::Sender<()>>,
    go: Mutex<mpsc::Receiver<()>>,
}

/// The side of the test.
struct Held {
    came: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

impl Gate {
    fn new(at: fn(&Event) -> bool) -> (Arc<Self>, Held) {
        let ((came_tx, came), (go, go_rx)) = (mpsc::channel(), mpsc::channel());
        let log = EventLog::default();
        let gate = Self { log, at, came: Mutex::new(came_tx), go: Mutex::new(go_rx) };
        (Arc::new(gate), Held { came, go })
    }

    fn pass(&self, event: Event) {
        if (self.at)(&event) {
            let _ = self.came.lock().unwrap().send(());
            let _ = self.go.lock().unwrap().recv();
        }
    }
}

impl Observer for Gate {
    fn dispatched(&self, call: &CallInfo<'_>, queued: Duration) {
        self.log.dispatched(call, queued);
        self.pass(Event::Dispatched);
    }
    fn finished(&self, call: &FinishedCall<'_>) {
        self.log.finished(call);
    }
    fn cancelled(&self, call: &CallInfo<'_>) {
        self.log.cancelled(call);
    }
    fn late_result(&self, call: &CallInfo<'_>, answer: &dyn Any) {
        self.log.late_result(call, answer);
    }
    fn breaker(&self, _: &'static str, _: &'static str, state: BreakerState) {
        if state == BreakerState::HalfOpen {
            // An event that a call has no name for.
            self.pass(Event::Submitted);
        }
    }
}

#[test]
fn a_task_that_is_polled_while_its_offer_ends_gets_another_turn() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (gate, held) = Gate::new(|event| *event == Event::Submitted);
        let breaker = BreakerPolicy::default().failures_in_a_row(Some(1)).open_for(SECOND);
        let config = LaneConfig::new(Quota::new(1, 10 * SECOND)).in_flight(2).breaker(breaker);
        let lanes = observed(config, clock.clone(), Some(gate));
        let lost = {
            let lanes = lanes.clone();
            async move { lanes.run(&write(), &options(), || async { Err(Failure::Lost) }).await }
        };
        assert_eq!(Task::begin(lost).1, Poll::Ready(Err(Failure::Lost)));
        let made = Made::default();
        let urgent = options().priority(Priority::URGENT);
        let mut task = Task::waiting(made.call(&lanes, write(), urgent, 2));
        // The lost call may arrive within a second.
        clock.advance(11 * SECOND);
        until(|| task.is_woken());
        // The worker that takes the turn back reports the breaker, which the call was to probe.
        clock.advance(ms(100));
        held.came.recv().unwrap();
        assert!(task.poll().is_pending());
        held.go.send(()).unwrap();
        assert_eq!((task.run(), made.count()), (Ok(2), 1));
    });
}

#[test]
fn a_call_with_a_turn_is_not_sent_after_its_deadline() {
    let (lanes, clock, log) = used_up();
    let made = Made::default();
    let deadline = options().deadline(SECOND + ms(50));
    let mut task = Task::waiting(made.call(&lanes, write(), deadline, 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    clock.advance(ms(50));
    let answer = match task.poll() {
        Poll::Pending => task.run(),
        Poll::Ready(answer) => answer,
    };
    let kind = lane_error(answer);
    assert!(matches!(kind, LaneErrorKind::DeadlinePassed { .. }), "{kind:?}");
    assert_eq!(made.count(), 0);
    log.wait_for("test", 1, &[Event::Submitted, Event::Expired]);
}

#[test]
fn the_deadline_of_a_parked_call_frees_its_queue_slot() {
    let (lanes, clock, log) = used_up();
    let made = Made::default();
    let deadline = options().deadline(2 * SECOND);
    let mut task = Task::waiting(made.call(&lanes, write(), deadline, 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    clock.advance(ms(100));
    until(|| status(&lanes).in_flight == 0);
    clock.advance(ms(899));
    assert_eq!(status(&lanes).queued, 1);
    clock.advance(ms(1));
    until(|| status(&lanes).queued == 0);
    let kind = lane_error(ready(task.poll()));
    assert!(matches!(kind, LaneErrorKind::DeadlinePassed { .. }), "{kind:?}");
    log.wait_for("test", 1, &[Event::Submitted, Event::Expired]);
}

#[test]
fn a_lane_that_is_paused_sends_no_call_that_has_a_turn() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let mut task = Task::waiting(made.call(&lanes, write(), options(), 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    the(&lanes).pause();
    assert!(task.poll().is_pending());
    assert_eq!((made.count(), status(&lanes).in_flight), (0, 0));
    the(&lanes).resume();
    assert_eq!(task.run(), Ok(2));
}

#[test]
fn a_breaker_that_is_forced_open_refuses_a_call_that_has_a_turn() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let urgent = options().priority(Priority::URGENT);
    let mut task = Task::waiting(made.call(&lanes, write(), urgent, 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    the(&lanes).set_breaker(BreakerMode::ForcedOpen);
    assert!(task.poll().is_pending());
    let kind = lane_error(task.run());
    assert!(matches!(kind, LaneErrorKind::BrokerDown { .. }), "{kind:?}");
    assert_eq!(made.count(), 0);
}

/// A lane of two calls a second, with a call that has a turn, beside one that is under way and answers with what is sent.
fn offered_beside_another(
    session: Session,
) -> (Lanes, ManualClock, mpsc::Sender<Failure>, Task, Made) {
    let clock = ManualClock::new();
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, LaneConfig::new(Quota::per_second(2)).in_flight(3));
    builder.clock(clock.clone().into());
    builder.session(session);
    let lanes = builder.build(Limits::new()).unwrap();
    let (answer, answers) = mpsc::channel();
    let _detached =
        lanes.submit_once(&write(), &options(), move || Err::<(), _>(answers.recv().unwrap()));
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    let made = Made::default();
    let task = Task::waiting(made.call(&lanes, write(), options(), 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    (lanes, clock, answer, task, made)
}

#[test]
fn a_call_that_has_a_turn_waits_if_the_broker_throttles_another_one_first() {
    let (lanes, clock, other, mut task, made) = offered_beside_another(Session::new());
    let throttled = ErrorClass::Throttled { retry_after: Some(5 * SECOND) };
    other.send(Failure::Broker(throttled.into())).unwrap();
    until(|| status(&lanes).paused_for.is_some());
    assert!(task.poll().is_pending());
    assert_eq!(made.count(), 0);
    clock.advance(10 * SECOND);
    assert_eq!(task.run(), Ok(2));
}

#[test]
fn a_session_that_expires_holds_a_call_that_has_a_turn() {
    let session = Session::new();
    let (_lanes, clock, other, mut task, made) = offered_beside_another(session.clone());
    other.send(Failure::Broker(ErrorClass::Unauthorized.into())).unwrap();
    until(|| session.is_expired());
    assert!(task.poll().is_pending());
    assert_eq!(made.count(), 0);
    session.renew();
    clock.advance(10 * SECOND);
    assert_eq!(task.run(), Ok(2));
}

#[test]
fn a_task_that_is_always_late_gets_its_turn_all_the_same() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let urgent = options().priority(Priority::URGENT);
    let mut exit = Task::waiting(made.call(&lanes, write(), urgent, 2));
    clock.advance(SECOND);
    for _ in 0..10 {
        until(|| exit.is_woken());
        clock.advance(ms(150));
        if exit.poll().is_ready() {
            assert_eq!(made.count(), 1);
            return;
        }
    }
    panic!("it was never made");
}

#[test]
fn the_time_in_which_a_turn_is_offered_is_no_part_of_the_round_trip() {
    let (lanes, clock, _) = used_up();
    let made = Made::default();
    let mut task = Task::waiting(made.call(&lanes, write(), options(), 2));
    clock.advance(SECOND);
    until(|| task.is_woken());
    clock.advance(ms(90));
    assert_eq!(task.poll(), Poll::Ready(Ok(2)));
    assert_eq!(status(&lanes).mean_round_trip, Some(Duration::ZERO));
}

/// A lane whose calls are recorded: their begin is reported before the turn is offered.
fn recorded(config: LaneConfig, clock: &ManualClock, observer: Arc<Gate>) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, config);
    builder.clock(clock.clone().into());
    builder.session(Session::new());
    builder.observer(observer);
    builder.pace_log(Arc::new(Recorder));
    builder.build(Limits::new()).unwrap()
}

#[test]
fn a_turn_that_is_offered_as_the_lane_closes_leaves_no_slot_taken() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (gate, held) = Gate::new(|event| *event == Event::Dispatched);
        let lanes = recorded(unlimited(1), &clock, gate);
        let made = Made::default();
        let mut task = Task::waiting(made.call(&lanes, write(), options(), 2));
        held.came.recv().unwrap();
        the(&lanes).shutdown(Shutdown::Now);
        held.go.send(()).unwrap();
        until(|| status(&lanes).in_flight == 0);
        assert_eq!(lane_error(task.run()), LaneErrorKind::Closed);
        assert_eq!(made.count(), 0);
    });
}

#[test]
fn a_future_that_is_dropped_as_its_retry_is_dispatched_has_the_outcome_of_its_last_attempt() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (gate, held) = Gate::new(|event| *event == Event::Dispatched);
        let config = unlimited(1).retry(RetryPolicy::default());
        let lanes = recorded(config, &clock, gate.clone());
        let call = {
            let lanes = lanes.clone();
            async move { lanes.run(&read(), &options(), || async { Err(Failure::NotSent) }).await }
        };
        let mut task = Task::waiting(call);
        held.came.recv().unwrap();
        held.go.send(()).unwrap();
        assert!(task.poll_once_woken().is_pending());
        for _ in 0..100 {
            clock.advance(ms(100));
        }
        held.came.recv().unwrap();
        drop(task);
        held.go.send(()).unwrap();
        until(|| status(&lanes).in_flight == 0);
        let events = [Event::Dispatched, Event::Dispatched, Event::Finished, Event::Late];
        let mut all = gate.log.of("test", 0);
        all.sort();
        assert_eq!(all, events);
    });
}

#[test]
fn a_drain_waits_for_a_parked_call_that_waits_for_another_attempt() {
    within_reason(|| {
        let clock = ManualClock::new();
        let config = unlimited(1).retry(RetryPolicy::default());
        let lanes = one(config, clock.clone());
        let made = Made::default();
        let mut task = Task::waiting(made.call_that_is_retried(&lanes));
        for _ in 0..100 {
            clock.advance(ms(100));
        }
        until(|| task.is_woken());
        clock.advance(ms(100));
        until(|| status(&lanes).in_flight == 0);
        let draining = lanes.clone();
        let drain = thread::spawn(move || the(&draining).shutdown(Shutdown::Drain(SECOND)));
        until(|| status(&lanes).state == LaneState::Draining);
        assert!(task.poll().is_pending());
        assert_eq!(task.run(), Ok(9));
        assert_eq!(drain.join().unwrap().rejected, 0);
    });
}

#[test]
fn a_task_that_finds_the_queue_full_does_not_block_its_thread() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let lanes = one(config, Clock::system());
        let made = Made::default();
        // All are tasks of one thread: if it blocks, none of them ends.
        let under_way = {
            let lanes = lanes.clone();
            let mut polls = 0;
            async move {
                let attempt = || {
                    poll_fn(move |_| {
                        polls += 1;
                        if polls == 1 { Poll::Pending } else { Poll::Ready(Ok(1)) }
                    })
                };
                lanes.run(&write(), &options(), attempt).await
            }
        };
        let mut first = Task::waiting(under_way);
        let mut second = Task::waiting(made.call(&lanes, write(), options(), 2));
        let mut third = Task::waiting(made.call(&lanes, write(), options(), 3));
        assert_eq!(first.poll(), Poll::Ready(Ok(1)));
        assert_eq!(second.run(), Ok(2));
        assert_eq!(third.run(), Ok(3));
    });
}

#[test]
fn a_blocking_call_within_an_attempt_is_refused_if_it_would_wait_for_itself() {
    within_reason(|| {
        for in_flight in [1, 2] {
            let lanes = one(unlimited(in_flight), Clock::system());
            let inner = lanes.clone();
            let outer = async move {
                let attempt = || async {
                    match inner.call(&read(), &options(), || Ok::<_, Failure>(5)) {
                        Err(Failure::Lane(error)) if error.kind == LaneErrorKind::Reentrant => {
                            Ok(0)
                        }
                        other => other,
                    }
                };
                inner.run(&write(), &options(), attempt).await
            };
            let expected = if in_flight == 1 { 0 } else { 5 };
            assert_eq!(Task::begin(outer).1, Poll::Ready(Ok(expected)));
        }
    });
}

#[test]
fn a_waker_that_polls_its_task_on_the_thread_of_the_worker_loses_nothing() {
    type Shared = Arc<Mutex<Option<Pin<Box<dyn Future<Output = Answer> + Send>>>>>;
    struct Inline(Shared, Arc<Mutex<Option<Answer>>>);
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
            let Ok(mut future) = self.0.try_lock() else { return };
            let Some(polled) = future.as_mut() else { return };
            if let Poll::Ready(answer) = polled.as_mut().poll(&mut Context::from_waker(&waker)) {
                *self.1.lock().unwrap() = Some(answer);
                *future = None;
            }
        }
    }
    within_reason(|| {
        let (lanes, clock, _) = used_up();
        let inner = lanes.clone();
        // The future is `Send`, as executors of several threads need it.
        let call = async move {
            let attempt = || async {
                // The last owner of the lanes may be dropped there too.
                Ok(4)
            };
            inner.run(&write(), &options(), attempt).await
        };
        let answer = Arc::new(Mutex::new(None));
        let shared: Shared = Arc::new(Mutex::new(Some(Box::pin(call))));
        Arc::new(Inline(shared, Arc::clone(&answer))).wake();
        assert_eq!(*answer.lock().unwrap(), None);
        clock.advance(SECOND);
        until(|| answer.lock().unwrap().is_some());
        assert_eq!(*answer.lock().unwrap(), Some(Ok(4)));
        until(|| status(&lanes).in_flight == 0);
        clock.advance(SECOND);
        submit(&lanes, READ, &options(), || ()).wait().unwrap();
    });
}

#[test]
fn a_probe_of_an_open_breaker_is_made_by_the_task_that_has_its_turn() {
    let clock = ManualClock::new();
    let breaker =
        BreakerPolicy::default().failures_in_a_row(Some(1)).open_for(SECOND).max_open(SECOND);
    let lanes = one(unlimited(2).breaker(breaker), clock.clone());
    let lost = {
        let lanes = lanes.clone();
        async move { lanes.run(&write(), &options(), || async { Err(Failure::Lost) }).await }
    };
    assert_eq!(Task::begin(lost).1, Poll::Ready(Err(Failure::Lost)));
    let made = Made::default();
    let mut probe = Task::waiting(made.call(&lanes, write(), options(), 2));
    // The open time has a random part.
    clock.advance(2 * SECOND);
    assert_eq!(probe.run(), Ok(2));
}

#[test]
fn a_waker_that_shuts_the_lane_on_the_thread_of_a_worker_has_its_task_answered() {
    struct Shuts(Lanes, Arc<Woken>);
    impl Wake for Shuts {
        fn wake(self: Arc<Self>) {
            the(&self.0).shutdown(Shutdown::Now);
            Arc::clone(&self.1).wake();
        }
    }
    within_reason(|| {
        let (lanes, clock, _) = used_up();
        let made = Made::default();
        let mut task = Task::waiting(made.call(&lanes, write(), options(), 1));
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::new(Shuts(lanes, Arc::clone(&woken))));
        assert!(task.poll_with(&waker).is_pending());
        clock.advance(SECOND);
        until(|| woken.is_set());
        assert_eq!((lane_error(ready(task.poll())), made.count()), (LaneErrorKind::Closed, 0));
    });
}
