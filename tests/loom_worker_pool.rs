//! Model checks the worker pool of a lane: no call is missed, in any interleaving with at most two preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p lanekeeper --no-default-features --test loom_worker_pool --target-dir target/loom
//! ```
#![cfg(loom)]
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/lane/workers/pool.rs"]
mod pool;
#[path = "../src/lane/sync.rs"]
mod sync;

// The neighbours that `pool.rs` expects.
mod lane {
    pub(crate) use crate::sync;
}
mod clock {
    #[derive(Debug)]
    pub(crate) struct Parker;

    impl Parker {
        pub(crate) fn unpark(&self) {}
        pub(crate) fn clear(&self) {}
        pub(crate) fn park_until(&self, _: Option<crate::quota::Moment>) {}
        pub(crate) fn mark_idle(&self) {}
        pub(crate) fn mark_active(&self) {}
    }
}
mod quota {
    pub(crate) use lanekeeper::quota::Moment;
}

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use pool::{LeaderFollowers, NextWork, Park, Role, WorkSource};
use quota::Moment;

/// A parker without a clock: a parked thread sleeps until it is unparked.
#[derive(Default)]
struct CondvarParker {
    unparked: Mutex<bool>,
    condvar: Condvar,
}

impl Park for CondvarParker {
    fn unpark(&self) {
        *self.unparked.lock().unwrap() = true;
        self.condvar.notify_one();
    }

    fn clear(&self) {
        *self.unparked.lock().unwrap() = false;
    }

    fn park_until(&self, until: Option<Moment>) {
        assert_eq!(until, None);
        let mut unparked = self.unparked.lock().unwrap();
        while !*unparked {
            unparked = self.condvar.wait(unparked).unwrap();
        }
        *unparked = false;
    }
}

/// A minimal lane: counters of the arrivals and of the calls in the queue.
struct Lane {
    pool: LeaderFollowers<CondvarParker>,
    arrivals: AtomicUsize,
    queue: Mutex<Queue>,
    unseen_moves: AtomicBool,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    deferred_done: AtomicUsize,
    begun: Mutex<usize>,
    done: Mutex<usize>,
    begun_changed: Condvar,
    done_changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: usize,
    closed: bool,
    /// The deferred work. Each poll adds one item for each call that arrived.
    deferred: usize,
}

impl Lane {
    fn new(max_in_flight: usize) -> Arc<Self> {
        Arc::new(Self {
            pool: LeaderFollowers::new(CondvarParker::default()),
            arrivals: AtomicUsize::new(0),
            queue: Mutex::new(Queue::default()),
            unseen_moves: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            max_in_flight,
            deferred_done: AtomicUsize::new(0),
            begun: Mutex::new(0),
            done: Mutex::new(0),
            begun_changed: Condvar::new(),
            done_changed: Condvar::new(),
        })
    }

    fn submit(&self) {
        self.arrivals.fetch_add(1, Ordering::Release);
        self.pool.notify_arrival(|| self.in_flight.load(Ordering::SeqCst) < self.max_in_flight);
    }

    /// Moves arrivals into the queue, on a thread that is not a worker.
    fn lock_queue(&self) {
        let mut queue = self.queue.lock().unwrap();
        if self.arrivals.load(Ordering::Acquire) > 0 {
            self.unseen_moves.store(true, Ordering::SeqCst);
            queue.waiting += self.arrivals.swap(0, Ordering::Acquire);
        }
    }

    /// Runs the worker loop until the lane is closed. A call finishes once `together` calls have begun.
    fn work(&self, together: usize) {
        self.pool.begin_search();
        while self.pool.next_call(self).is_some() {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            self.begun_changed.notify_all();
            while *begun < together {
                begun = self.begun_changed.wait(begun).unwrap();
            }
            drop(begun);
            // In the order of `LaneCore::run_attempt`: the call is not in flight any more, its worker begins to search,
            // and then its answer is visible.
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.pool.begin_search();
            *self.done.lock().unwrap() += 1;
            self.done_changed.notify_all();
        }
    }

    /// Dispatches a call that its caller makes.
    fn begin_own(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    /// Its caller has made it. In the order of `InFlightGuard` and `LaneCore::wake_for_waiting`.
    fn end_own(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.arrivals.load(Ordering::Acquire) > 0 || self.queue.lock().unwrap().waiting > 0 {
            self.pool.wake_one();
        }
    }

    fn wait_until_done(&self, calls: usize) {
        let mut done = self.done.lock().unwrap();
        while *done < calls {
            done = self.done_changed.wait(done).unwrap();
        }
    }

    fn close(&self) {
        self.queue.lock().unwrap().closed = true;
        self.pool.close();
    }
}

impl WorkSource for Lane {
    type Call = ();

    fn poll(&self, role: Role) -> NextWork<()> {
        let mut queue = self.queue.lock().unwrap();
        if queue.closed {
            return NextWork::Closed;
        }
        self.unseen_moves.store(false, Ordering::SeqCst);
        let arrived = self.arrivals.swap(0, Ordering::Acquire);
        queue.waiting += arrived;
        queue.deferred += arrived;
        if queue.waiting == 0 || self.in_flight.load(Ordering::SeqCst) >= self.max_in_flight {
            return NextWork::Sleep(None);
        }
        queue.waiting -= 1;
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        let more = queue.waiting > 0 && in_flight < self.max_in_flight;
        drop(queue);
        if more && role == Role::Other {
            self.pool.wake_one();
        }
        NextWork::Run(())
    }

    fn has_unseen_calls(&self) -> bool {
        self.arrivals.load(Ordering::Acquire) > 0 || self.unseen_moves.load(Ordering::SeqCst)
    }

    fn has_deferred(&self) -> bool {
        self.queue.lock().unwrap().deferred > 0
    }

    fn run_deferred(&self) {
        let deferred = std::mem::take(&mut self.queue.lock().unwrap().deferred);
        self.deferred_done.fetch_add(deferred, Ordering::SeqCst);
    }

    fn needs_leader(&self) -> bool {
        let queue = self.queue.lock().unwrap();
        let can_take_more =
            queue.waiting > 0 && self.in_flight.load(Ordering::SeqCst) < self.max_in_flight;
        self.has_unseen_calls() || can_take_more
    }
}

struct PoolModel {
    workers: usize,
    /// The maximum number of calls in flight at once.
    max_in_flight: usize,
    /// A call finishes once this many calls have begun.
    together: usize,
}

/// Runs `check` against a lane with its workers, then closes the lane and joins the workers.
fn model(pool: PoolModel, check: impl Fn(&Arc<Lane>) + Sync + Send + 'static) {
    let PoolModel { workers, max_in_flight, together } = pool;
    let mut builder = loom::model::Builder::new();
    // LOOM_MAX_PREEMPTIONS raises the bound, at a much longer run time.
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(move || {
        let lane = Lane::new(max_in_flight);
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                let lane = Arc::clone(&lane);
                thread::spawn(move || lane.work(together))
            })
            .collect();
        check(&lane);
        lane.close();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// One call in flight at a time, two calls submitted one after the other: a missed call would hang the model.
#[test]
fn no_call_is_missed() {
    model(PoolModel { workers: 2, max_in_flight: 1, together: 0 }, |lane| {
        lane.submit();
        lane.submit();
        lane.wait_until_done(2);
    });
}

/// A caller that calls again as soon as it has its answer may rely on the worker that published the answer.
#[test]
fn a_caller_that_calls_again_at_once_is_seen() {
    model(PoolModel { workers: 2, max_in_flight: 1, together: 0 }, |lane| {
        for calls in 1..=2 {
            lane.submit();
            lane.wait_until_done(calls);
        }
    });
}

/// Two callers, and two calls in flight at a time.
#[test]
fn two_concurrent_submitters_are_both_seen() {
    model(PoolModel { workers: 1, max_in_flight: 2, together: 0 }, |lane| {
        let caller = {
            let lane = Arc::clone(lane);
            thread::spawn(move || lane.submit())
        };
        lane.submit();
        lane.wait_until_done(2);
        caller.join().unwrap();
    });
}

/// Two calls that finish only once both have begun: the worker that executes the first must leave another
/// worker searching for the second.
#[test]
fn a_call_that_hangs_holds_up_no_other() {
    model(PoolModel { workers: 2, max_in_flight: 2, together: 2 }, |lane| {
        lane.submit();
        lane.submit();
        lane.wait_until_done(2);
    });
}

/// A status query drains the arrivals, so the workers do not see a call in the channel for a moment.
#[test]
fn a_status_query_loses_no_call() {
    model(PoolModel { workers: 1, max_in_flight: 1, together: 0 }, |lane| {
        let other = {
            let lane = Arc::clone(lane);
            thread::spawn(move || lane.lock_queue())
        };
        lane.submit();
        lane.wait_until_done(1);
        other.join().unwrap();
    });
}

/// A caller makes its own call while another one is submitted, which has to wait for it. That caller polls for no other
/// call, so it must wake a worker.
#[test]
fn a_call_that_waits_for_one_that_its_caller_makes_is_seen() {
    model(PoolModel { workers: 2, max_in_flight: 1, together: 0 }, |lane| {
        lane.begin_own();
        let caller = {
            let lane = Arc::clone(lane);
            thread::spawn(move || lane.end_own())
        };
        lane.submit();
        lane.wait_until_done(1);
        caller.join().unwrap();
    });
}
