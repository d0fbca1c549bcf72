//! What a caller of a lane may rely on whatever the others do: observers and tasks that block, callers
//! that leave, drains from within.

#![allow(clippy::unwrap_used, missing_docs)]

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallInfo, CallOptions, Effect, LaneConfig, LaneError, Observer, Priority, Shutdown, WhenFull,
};
use lanekeeper::proxy::{Call, Lanes, LanesBuilder, Ticket};
use lanekeeper::quota::{Budget, Limits, Quota};

/// Nothing here takes as long, unless it hangs.
const LONG: Duration = Duration::from_secs(30);

const METHOD: Call =
    Call { lane: 0, method: "method", effect: Effect::Write, priority: 5, weight: 1, budgets: &[] };
const READ: Call = Call { effect: Effect::Read, ..METHOD };

fn build(
    config: LaneConfig,
    clock: impl Into<Clock>,
    observer: Option<Arc<dyn Observer>>,
) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, config);
    builder.clock(clock.into());
    if let Some(observer) = observer {
        builder.observer(observer);
    }
    builder.build(Limits::new()).unwrap()
}

fn submit<R: Send + 'static>(
    lanes: &Lanes,
    call: Call,
    options: &CallOptions,
    work: impl FnOnce() -> R + Send + 'static,
) -> Ticket<R, LaneError> {
    lanes.submit(call, options, || Ok(work()), |error: &LaneError| Some(error.class()))
}

/// The answer of `code` on a thread of its own; `None`: it hangs.
fn within<R: Send + 'static>(code: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (done, answer) = mpsc::channel();
    thread::spawn(move || done.send(code()));
    answer.recv_timeout(LONG).ok()
}

/// An observer that blocks in one place until it is let go.
#[derive(Default)]
struct Blocks {
    late: bool,
    expired: bool,
    entered: Mutex<Option<mpsc::Sender<()>>>,
    until: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Blocks {
    fn block(&self) {
        let entered = self.entered.lock().unwrap().take();
        if let Some(entered) = entered {
            entered.send(()).unwrap();
            let until = self.until.lock().unwrap().take().unwrap();
            let _ = until.recv();
        }
    }
}

impl Observer for Blocks {
    fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
        if self.late {
            self.block();
        }
    }
    fn expired(&self, _: &CallInfo<'_>) {
        if self.expired {
            self.block();
        }
    }
}

fn blocks(late: bool, expired: bool) -> (Arc<Blocks>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (entered, is_in) = mpsc::channel();
    let (let_go, until) = mpsc::channel();
    let (entered, until) = (Mutex::new(Some(entered)), Mutex::new(Some(until)));
    (Arc::new(Blocks { late, expired, entered, until }), is_in, let_go)
}

/// A write whose ticket is dropped while it is under way, so that its answer is late.
fn abandon(lanes: &Lanes) {
    // The workers are all there, and asleep.
    let_pass();
    let (begun, began) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let ticket = submit(lanes, METHOD, &CallOptions::new(), move || {
        begun.send(()).unwrap();
        held.recv().unwrap();
    });
    began.recv().unwrap();
    drop(ticket);
    let_go.send(()).unwrap();
}

// ---- code that is not ours ----------------------------------------------------------------------

/// The observer of a late result asks the broker what became of it.
#[test]
fn an_observer_of_a_late_result_may_call() {
    #[derive(Default)]
    struct Asks {
        lanes: OnceLock<Lanes>,
        asked: Mutex<Option<mpsc::Sender<Result<u8, LaneError>>>>,
    }
    impl Observer for Asks {
        fn late_result(&self, _: &CallInfo<'_>, _: &dyn Any) {
            let lanes = self.lanes.get().unwrap();
            let answer = submit(lanes, READ, &CallOptions::new(), || 7).wait();
            let _ = self.asked.lock().unwrap().take().unwrap().send(answer);
        }
    }
    let (asked, answer) = mpsc::channel();
    let observer = Arc::new(Asks { asked: Mutex::new(Some(asked)), ..Asks::default() });
    let config = LaneConfig::new(Quota::unlimited()).in_flight(4);
    let lanes = build(config, Clock::system(), Some(observer.clone()));
    observer.lanes.set(lanes.clone()).unwrap();
    abandon(&lanes);
    let answer = answer.recv_timeout(LONG);
    std::mem::forget(lanes);
    assert_eq!(answer, Ok(Ok(7)), "three workers of four are idle");
}

/// While one worker is in the observer, three are idle.
#[test]
fn a_slow_observer_of_a_late_result_holds_up_no_call() {
    let (observer, is_in, let_go) = blocks(true, false);
    let config = LaneConfig::new(Quota::unlimited()).in_flight(4);
    let lanes = build(config, Clock::system(), Some(observer));
    abandon(&lanes);
    is_in.recv_timeout(LONG).unwrap();
    let other = lanes.clone();
    let urgent = CallOptions::new().priority(Priority::URGENT);
    let answer = within(move || submit(&other, METHOD, &urgent, || 7).wait());
    let_go.send(()).unwrap();
    std::mem::forget(lanes);
    assert_eq!(answer, Some(Ok(7)));
}

/// The same with the quota in the way: the slot came free, and nobody looks.
#[test]
fn a_slot_that_comes_free_is_used_while_a_late_result_is_told() {
    let (observer, is_in, let_go) = blocks(true, false);
    let quota = Quota::new(1, Duration::from_millis(20));
    let lanes = build(LaneConfig::new(quota).in_flight(4), Clock::system(), Some(observer));
    let (begun, began) = mpsc::channel();
    let (end, held) = mpsc::channel::<()>();
    let ticket = submit(&lanes, METHOD, &CallOptions::new(), move || {
        begun.send(()).unwrap();
        held.recv().unwrap();
    });
    began.recv().unwrap();
    // Waits for the only slot, which is in flight.
    let second = submit(&lanes, METHOD, &CallOptions::new(), || 7);
    thread::sleep(Duration::from_millis(50));
    drop(ticket);
    end.send(()).unwrap();
    is_in.recv_timeout(LONG).unwrap();
    let answer = within(move || second.wait());
    let_go.send(()).unwrap();
    std::mem::forget(lanes);
    assert_eq!(answer, Some(Ok(7)));
}

/// A waker is code of the executor's.
#[test]
fn a_waker_that_blocks_holds_up_no_call() {
    struct Slow(Mutex<Option<mpsc::Sender<()>>>, Mutex<mpsc::Receiver<()>>);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            if let Some(entered) = self.0.lock().unwrap().take() {
                entered.send(()).unwrap();
                let _ = self.1.lock().unwrap().recv();
            }
        }
    }
    let lanes = build(LaneConfig::new(Quota::unlimited()).in_flight(4), Clock::system(), None);
    let (entered, is_in) = mpsc::channel();
    let (let_go, until) = mpsc::channel();
    let waker = Waker::from(Arc::new(Slow(Mutex::new(Some(entered)), Mutex::new(until))));
    let (end, held) = mpsc::channel::<()>();
    let_pass();
    let mut ticket = submit(&lanes, METHOD, &CallOptions::new(), move || held.recv().unwrap());
    assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    end.send(()).unwrap();
    is_in.recv_timeout(LONG).unwrap();
    let other = lanes.clone();
    let answer = within(move || submit(&other, METHOD, &CallOptions::new(), || 7).wait());
    let_go.send(()).unwrap();
    std::mem::forget((lanes, ticket));
    assert_eq!(answer, Some(Ok(7)));
}

/// The leader tells the observer of expired calls in its seat, where nobody can wake it.
#[test]
fn a_slow_observer_of_an_expired_call_holds_up_no_call() {
    let (observer, is_in, let_go) = blocks(false, true);
    let config = LaneConfig::new(Quota::unlimited()).in_flight(4);
    let lanes = build(config, Clock::system(), Some(observer));
    let lane = lanes.lane("test").unwrap();
    lane.pause();
    let soon = CallOptions::new().deadline(Duration::from_millis(50));
    let expires = submit(&lanes, METHOD, &soon, || 1);
    is_in.recv_timeout(LONG).unwrap();
    lane.resume();
    let other = lanes.clone();
    let answer = within(move || submit(&other, METHOD, &CallOptions::new(), || 7).wait());
    let_go.send(()).unwrap();
    assert_eq!(expires.wait().unwrap_err().was_sent(), Sent::No);
    std::mem::forget(lanes);
    assert_eq!(answer, Some(Ok(7)));
}

/// An observer that is told of an expired call runs before the call that was chosen in the same look.
#[test]
fn a_chosen_call_is_sent_before_others_are_told_that_theirs_expired() {
    let (observer, is_in, let_go) = blocks(false, true);
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let lanes = build(config, clock.clone(), Some(observer));
    submit(&lanes, METHOD, &CallOptions::new(), || ()).wait().unwrap();
    let lane = lanes.lane("test").unwrap();
    lane.pause();
    let goes = submit(&lanes, METHOD, &CallOptions::new(), || 7);
    let soon = CallOptions::new().priority(Priority::LOWEST).deadline(Duration::from_millis(2500));
    let expires = submit(&lanes, METHOD, &soon, || 1);
    let_pass();
    lane.resume();
    let_pass();
    // Now the slot of the one comes free and the deadline of the other passes.
    clock.advance(Duration::from_secs(3));
    is_in.recv_timeout(LONG).unwrap();
    let answer = within(move || goes.wait());
    let in_flight = lanes.status().lanes[0].in_flight;
    let_go.send(()).unwrap();
    drop(expires);
    std::mem::forget(lanes);
    assert_eq!((answer, in_flight), (Some(Ok(7)), 0));
}

fn let_pass() {
    thread::sleep(Duration::from_millis(100));
}

// ---- order --------------------------------------------------------------------------------------

/// Two writes of one user and one priority, the second made after the first: aging turns them round.
#[test]
fn the_calls_of_one_user_go_in_the_order_in_which_they_were_made() {
    let clock = ManualClock::new();
    let lanes = build(LaneConfig::new(Quota::per_second(1)).in_flight(1), clock.clone(), None);
    let lane = lanes.lane("test").unwrap();
    lane.pause();
    let others: Vec<_> =
        (0..100).map(|_| submit(&lanes, READ, &CallOptions::new().user("other"), || ())).collect();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mine = |name: &'static str| {
        let order = Arc::clone(&order);
        let alpha = CallOptions::new().user("alpha");
        submit(&lanes, METHOD, &alpha, move || order.lock().unwrap().push(name))
    };
    let sell = mine("sell");
    drop(lanes.status());
    drop(others);
    let buy = mine("buy");
    drop(lanes.status());
    clock.advance(Duration::from_secs(20));
    lane.resume();
    while order.lock().unwrap().len() < 2 {
        clock.advance(Duration::from_secs(1));
        thread::yield_now();
    }
    sell.wait().unwrap();
    buy.wait().unwrap();
    assert_eq!(*order.lock().unwrap(), ["sell", "buy"]);
}

/// The queue is full and its callers block: the urgent call is one of fifty who want a place.
#[test]
fn an_urgent_call_goes_next_though_the_queue_is_full_and_blocks() {
    let clock = ManualClock::new();
    let config =
        LaneConfig::new(Quota::per_second(1)).in_flight(1).queue(1).when_full(WhenFull::Block);
    let lanes = build(config, clock.clone(), None);
    submit(&lanes, METHOD, &CallOptions::new(), || ()).wait().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let threads = Arc::new(AtomicUsize::new(0));
    let start = |name: &'static str, priority: u8| {
        let (lanes, order, threads) = (lanes.clone(), Arc::clone(&order), Arc::clone(&threads));
        thread::spawn(move || {
            threads.fetch_add(1, Ordering::SeqCst);
            let options = CallOptions::new().priority(Priority::new(priority).unwrap());
            submit(&lanes, METHOD, &options, move || order.lock().unwrap().push(name)).wait()
        });
    };
    (0..20).for_each(|_| start("bulk", 10));
    while threads.load(Ordering::SeqCst) < 20 {
        thread::yield_now();
    }
    let_pass();
    start("urgent", 1);
    let_pass();
    while order.lock().unwrap().len() < 21 {
        clock.advance(Duration::from_secs(1));
        thread::sleep(Duration::from_millis(2));
    }
    let place = order.lock().unwrap().iter().position(|name| *name == "urgent").unwrap();
    // One was in the queue before it.
    assert!(place <= 1, "{place} went before it");
}

// ---- estimates ----------------------------------------------------------------------------------

/// A hundred orders wait, of which the budget lets one go today. A look at the margins passes the
/// others, as the schedule has it, but the entrance counts them all.
#[test]
fn a_call_that_can_go_in_time_is_not_refused_for_orders_that_cannot() {
    const ORDER: Call = Call { budgets: &[0], ..METHOD };
    let clock = ManualClock::jumping();
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, LaneConfig::new(Quota::per_second(1)));
    builder.budget(0, Budget::new(Quota::per_day(2)));
    builder.clock(clock.clone().into());
    let lanes = builder.build(Limits::new()).unwrap();
    let lane = lanes.lane("test").unwrap();
    submit(&lanes, ORDER, &CallOptions::new(), || ()).wait().unwrap();
    lane.pause();
    let orders: Vec<_> =
        (0..100).map(|_| submit(&lanes, ORDER, &CallOptions::new(), || ())).collect();
    let soon = CallOptions::new().deadline(Duration::from_secs(30));
    let margins = submit(&lanes, READ, &soon, || 7);
    // What would have come of it: one order goes, then the read.
    let free = submit(&lanes, READ, &CallOptions::new(), {
        let clock = clock.clone();
        move || clock.now()
    });
    let before = clock.now();
    lane.resume();
    let went = free.wait().unwrap().since(before);
    let answer = margins.wait();
    std::mem::forget((lanes, orders));
    assert!(answer.is_ok(), "{answer:?}, and one without a deadline went after {went:?}");
}

// ---- shutdown -----------------------------------------------------------------------------------

/// A call that shuts its own lane: it is under way itself, so it waits for itself.
#[test]
fn a_call_may_drain_its_own_lane() {
    let lanes = build(LaneConfig::new(Quota::unlimited()), Clock::system(), None);
    let own = lanes.clone();
    let answer = within(move || {
        let inner = own.clone();
        submit(&own, METHOD, &CallOptions::new(), move || {
            inner.shutdown(Shutdown::Drain(Duration::from_secs(3600)))
        })
        .wait()
    });
    std::mem::forget(lanes);
    assert!(answer.is_some(), "it waits an hour for itself");
}

/// A lane that somebody paused by hand.
#[test]
fn a_paused_lane_that_drains_sends_nothing_unasked() {
    let lanes = build(LaneConfig::new(Quota::unlimited()), Clock::system(), None);
    lanes.lane("test").unwrap().pause();
    let ticket = submit(&lanes, METHOD, &CallOptions::new(), || ());
    lanes.shutdown(Shutdown::Drain(Duration::from_millis(200)));
    assert_eq!(ticket.wait().map_err(|error| error.was_sent()), Err(Sent::No));
}

// ---- storms ----------------------------------------------------------------------------------

/// Everything at once: nobody is left without an answer, nothing runs twice, and nothing runs of
/// which it was said that it never would.
#[test]
fn in_a_storm_every_call_is_answered_truly() {
    fn run(round: u64) {
        let full = [WhenFull::Refuse, WhenFull::Block, WhenFull::Shed][(round % 3) as usize];
        let config = LaneConfig::new(Quota::new(20, Duration::from_millis(2)))
            .in_flight(3)
            .queue(8)
            .when_full(full);
        let lanes = build(config, Clock::system(), None);
        let runs: Arc<Vec<AtomicUsize>> =
            Arc::new((0..4000).map(|_| AtomicUsize::new(0)).collect());
        let mut threads = Vec::new();
        for thread in 0..8_usize {
            let (lanes, runs) = (lanes.clone(), Arc::clone(&runs));
            threads.push(thread::spawn(move || {
                let mut random = round.wrapping_mul(7919) + thread as u64 + 1;
                let mut next = || {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random
                };
                for number in 0..500 {
                    let mine = thread * 500 + number;
                    let mut options = CallOptions::new()
                        .priority(Priority::new((next() % 10 + 1) as u8).unwrap());
                    if next() % 2 == 0 {
                        options = options.deadline(Duration::from_micros(next() % 1500));
                    }
                    if next() % 3 == 0 {
                        options = options.user(format!("{}", next() % 3));
                    }
                    let call = if next() % 2 == 0 { READ } else { METHOD };
                    let counted = Arc::clone(&runs);
                    let ticket = submit(&lanes, call, &options, move || {
                        counted[mine].fetch_add(1, Ordering::SeqCst);
                    });
                    match next() % 6 {
                        0 => {
                            if ticket.cancel() {
                                assert_eq!(runs[mine].load(Ordering::SeqCst), 0);
                                runs[mine].fetch_add(1_000, Ordering::SeqCst);
                            }
                        }
                        1 => drop(ticket),
                        _ => match ticket.wait() {
                            Ok(()) => assert_eq!(runs[mine].load(Ordering::SeqCst), 1),
                            Err(error) if error.was_sent() == Sent::No => {
                                runs[mine].fetch_add(1_000, Ordering::SeqCst);
                            }
                            Err(_) => {}
                        },
                    }
                    match next() % 60 {
                        0 => lanes.lane("test").unwrap().pause(),
                        1..=9 => lanes.lane("test").unwrap().resume(),
                        10 => {
                            let quota =
                                Quota::new((next() % 20 + 1) as u32, Duration::from_millis(1));
                            lanes.lane("test").unwrap().set_quota(&quota).unwrap();
                        }
                        11 => drop(lanes.status()),
                        _ => {}
                    }
                    if thread == 0 {
                        lanes.lane("test").unwrap().resume();
                    }
                }
                lanes.lane("test").unwrap().resume();
            }));
        }
        if round % 4 == 3 {
            thread::sleep(Duration::from_millis(20));
            lanes.shutdown(Shutdown::Drain(Duration::from_millis(10)));
        }
        // Paused by one that was quicker than all the others.
        while threads.iter().any(|thread| !thread.is_finished()) {
            lanes.lane("test").unwrap().resume();
            thread::sleep(Duration::from_millis(1));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(lanes);
        for (number, runs) in runs.iter().enumerate() {
            let runs = runs.load(Ordering::SeqCst);
            assert!(matches!(runs, 0 | 1 | 1_000), "call {number}: {runs}");
        }
    }
    let (progress, last) = mpsc::channel();
    thread::spawn(move || {
        for round in 0..24 {
            run(round);
            let _ = progress.send(round);
        }
    });
    for round in 0..24 {
        assert_eq!(last.recv_timeout(Duration::from_secs(20)), Ok(round), "stuck");
    }
}

#[test]
fn the_last_handle_may_be_dropped_by_a_worker() {
    for _ in 0..50 {
        let lanes = build(LaneConfig::new(Quota::unlimited()).in_flight(3), Clock::system(), None);
        let own = lanes.clone();
        let (end, held) = mpsc::channel::<()>();
        let ticket = submit(&lanes, METHOD, &CallOptions::new(), move || {
            held.recv().unwrap();
            drop(own);
            7
        });
        let waiting: Vec<_> =
            (0..5).map(|_| submit(&lanes, METHOD, &CallOptions::new(), || ())).collect();
        drop(lanes);
        end.send(()).unwrap();
        assert_eq!(within(move || ticket.wait()), Some(Ok(7)));
        for ticket in waiting {
            assert!(within(move || ticket.wait()).is_some());
        }
    }
}

#[test]
fn a_lane_wakes_for_a_budget_that_another_lane_frees() {
    const A: Call = Call { budgets: &[0], ..METHOD };
    const B: Call = Call { lane: 1, ..A };
    let mut builder = LanesBuilder::new("Test", &["a", "b"], &["shared"]);
    builder.lane(0, LaneConfig::new(Quota::unlimited()));
    builder.lane(1, LaneConfig::new(Quota::unlimited()));
    builder.budget(0, Budget::new(Quota::new(1, Duration::from_millis(10))));
    let lanes = builder.build(Limits::new()).unwrap();
    for _ in 0..30 {
        let (begun, began) = mpsc::channel();
        let (end, held) = mpsc::channel::<()>();
        let first = submit(&lanes, A, &CallOptions::new(), move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        began.recv().unwrap();
        let second = submit(&lanes, B, &CallOptions::new(), || 7);
        thread::sleep(Duration::from_millis(2));
        end.send(()).unwrap();
        first.wait().unwrap();
        assert_eq!(within(move || second.wait()), Some(Ok(7)));
    }
}

#[test]
fn a_new_quota_wakes_a_leader_that_sleeps_for_a_day() {
    let lanes = build(LaneConfig::new(Quota::per_day(1)), Clock::system(), None);
    submit(&lanes, METHOD, &CallOptions::new(), || ()).wait().unwrap();
    let ticket = submit(&lanes, METHOD, &CallOptions::new(), || 7);
    let_pass();
    lanes.lane("test").unwrap().set_quota(&Quota::per_second(1000)).unwrap();
    assert_eq!(within(move || ticket.wait()), Some(Ok(7)));
}

#[test]
fn deadlines_are_kept_while_all_that_may_run_hang() {
    #[derive(Default)]
    struct Counts(AtomicUsize);
    impl Observer for Counts {
        fn expired(&self, _: &CallInfo<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counts = Arc::new(Counts::default());
    let config = LaneConfig::new(Quota::unlimited()).in_flight(2);
    let lanes = build(config, Clock::system(), Some(counts.clone()));
    let (begun, began) = mpsc::channel();
    let mut ends = Vec::new();
    let hung: Vec<_> = (0..2)
        .map(|_| {
            let (end, held) = mpsc::channel::<()>();
            ends.push(end);
            let begun = begun.clone();
            let ticket = submit(&lanes, METHOD, &CallOptions::new(), move || {
                begun.send(()).unwrap();
                held.recv().unwrap();
            });
            began.recv().unwrap();
            ticket
        })
        .collect();
    for number in 1..=20_usize {
        let soon = CallOptions::new().deadline(Duration::from_millis(3));
        let ticket = submit(&lanes, METHOD, &soon, || ());
        let counts = Arc::clone(&counts);
        let told = within(move || {
            while counts.0.load(Ordering::SeqCst) < number {
                thread::yield_now();
            }
        });
        assert!(told.is_some());
        assert_eq!(ticket.wait().unwrap_err().was_sent(), Sent::No);
    }
    ends.iter().for_each(|end| end.send(()).unwrap());
    hung.into_iter().for_each(|ticket| ticket.wait().unwrap());
}

#[test]
fn absurd_times_panic_nobody() {
    let lanes = build(LaneConfig::new(Quota::per_second(1000)), Clock::system(), None);
    let far = CallOptions::new().deadline(Duration::MAX);
    for _ in 0..5 {
        assert_eq!(submit(&lanes, METHOD, &far, || 7).wait(), Ok(7));
    }
    let mut ticket = submit(&lanes, METHOD, &far, || 7);
    assert_eq!(ticket.wait_timeout(Duration::MAX), Some(Ok(7)));
    let drained = lanes.shutdown(Shutdown::Drain(Duration::MAX));
    assert_eq!((drained.refused, drained.under_way), (0, 0));
}
