//! The workers of a lane, in every order of events that there is with two interruptions at most: no
//! call is slept through.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --no-default-features --test loom_crew --target-dir target/loom
//! ```
#![cfg(loom)]
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/lane/workers/pool.rs"]
mod pool;
#[path = "../src/lane/sync.rs"]
mod sync;

// Where `crew.rs` expects its neighbours.
mod clock {
    #[derive(Debug)]
    pub(crate) struct Alarm;

    impl Alarm {
        pub(crate) fn ring(&self) {}
        pub(crate) fn quiet(&self) {}
        pub(crate) fn sleep_until(&self, _: Option<crate::quota::Moment>) {}
        pub(crate) fn rest(&self) {}
        pub(crate) fn rise(&self) {}
    }
}
mod quota {
    pub(crate) use lanekeeper::quota::Moment;
}

use crew::{Bell, Crew, Look, Lookout, Role};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use quota::Moment;

/// A bell without a clock: it sleeps until it is rung.
#[derive(Default)]
struct Gong {
    rung: Mutex<bool>,
    told: Condvar,
}

impl Bell for Gong {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.told.notify_one();
    }

    fn quiet(&self) {
        *self.rung.lock().unwrap() = false;
    }

    fn sleep_until(&self, until: Option<Moment>) {
        assert_eq!(until, None);
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.told.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A lane that is nothing but arrivals: those not looked at, and those in the queue.
struct Lane {
    crew: Crew<Gong>,
    arrivals: AtomicUsize,
    queue: Mutex<Queue>,
    moved: AtomicBool,
    running: AtomicUsize,
    most_running: usize,
    chores_done: AtomicUsize,
    begun: Mutex<usize>,
    done: Mutex<usize>,
    told: Condvar,
    told_done: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: usize,
    closed: bool,
    /// What a look left to be done: it leaves one chore for each call.
    chores: usize,
}

impl Lane {
    fn new(most_running: usize) -> Arc<Self> {
        Arc::new(Self {
            crew: Crew::new(Gong::default()),
            arrivals: AtomicUsize::new(0),
            queue: Mutex::new(Queue::default()),
            moved: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            most_running,
            chores_done: AtomicUsize::new(0),
            begun: Mutex::new(0),
            done: Mutex::new(0),
            told: Condvar::new(),
            told_done: Condvar::new(),
        })
    }

    fn bring(&self) {
        self.arrivals.fetch_add(1, Ordering::Release);
        self.crew.arrived(|| self.running.load(Ordering::SeqCst) < self.most_running);
    }

    /// Somebody who is no worker moves arrivals into the queue.
    fn take_stock(&self) {
        let mut queue = self.queue.lock().unwrap();
        if self.arrivals.load(Ordering::Acquire) > 0 {
            self.moved.store(true, Ordering::SeqCst);
            queue.waiting += self.arrivals.swap(0, Ordering::Acquire);
        }
    }

    /// Works until the lane is closed. A call comes to an end when `together` of them have begun.
    fn work(&self, together: usize) {
        self.crew.will_look();
        while self.crew.next(self).is_some() {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            self.told.notify_all();
            while *begun < together {
                begun = self.told.wait(begun).unwrap();
            }
            drop(begun);
            // As the lane does: first a looker, then done, and room for another last.
            self.crew.will_look();
            *self.done.lock().unwrap() += 1;
            self.told_done.notify_all();
            self.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wait_until_done(&self, calls: usize) {
        let mut done = self.done.lock().unwrap();
        while *done < calls {
            done = self.told_done.wait(done).unwrap();
        }
    }

    fn close(&self) {
        self.queue.lock().unwrap().closed = true;
        self.crew.shut();
    }
}

impl Lookout for Lane {
    type Chosen = ();

    fn look(&self, role: Role) -> Look<()> {
        let mut queue = self.queue.lock().unwrap();
        if queue.closed {
            return Look::Closed;
        }
        self.moved.store(false, Ordering::SeqCst);
        let arrived = self.arrivals.swap(0, Ordering::Acquire);
        queue.waiting += arrived;
        queue.chores += arrived;
        if queue.waiting == 0 || self.running.load(Ordering::SeqCst) >= self.most_running {
            return Look::Wait(None);
        }
        queue.waiting -= 1;
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let more = queue.waiting > 0 && running < self.most_running;
        drop(queue);
        if more && role == Role::Other {
            self.crew.ring();
        }
        Look::Go(())
    }

    fn has_news(&self) -> bool {
        self.arrivals.load(Ordering::Acquire) > 0 || self.moved.load(Ordering::SeqCst)
    }

    fn has_chores(&self) -> bool {
        self.queue.lock().unwrap().chores > 0
    }

    fn do_chores(&self) {
        let chores = std::mem::take(&mut self.queue.lock().unwrap().chores);
        self.chores_done.fetch_add(chores, Ordering::SeqCst);
    }

    fn wants_leader(&self) -> bool {
        let queue = self.queue.lock().unwrap();
        let can_take_more =
            queue.waiting > 0 && self.running.load(Ordering::SeqCst) < self.most_running;
        self.has_news() || can_take_more
    }
}

struct Staff {
    workers: usize,
    /// How many calls may run at once.
    most_running: usize,
    /// A call comes to an end when so many have begun.
    together: usize,
}

/// A lane with its workers, for as long as `check` lasts: then it is closed and they are gone.
fn model(staff: Staff, check: impl Fn(&Arc<Lane>) + Sync + Send + 'static) {
    let Staff { workers, most_running, together } = staff;
    let mut builder = loom::model::Builder::new();
    // More with LOOM_MAX_PREEMPTIONS, and much longer.
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(move || {
        let lane = Lane::new(most_running);
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

/// One call at a time, and two that come one after the other: a lost one would hang the model.
#[test]
fn no_call_is_slept_through() {
    model(Staff { workers: 2, most_running: 1, together: 0 }, |lane| {
        lane.bring();
        lane.bring();
        lane.wait_until_done(2);
    });
}

/// A caller that calls again as soon as it has its answer: it may rely on the worker that gave it.
#[test]
fn who_calls_again_at_once_is_seen() {
    model(Staff { workers: 2, most_running: 1, together: 0 }, |lane| {
        for calls in 1..=2 {
            lane.bring();
            lane.wait_until_done(calls);
        }
    });
}

/// Two callers, and two calls at a time.
#[test]
fn two_who_bring_calls_at_once_are_both_seen() {
    model(Staff { workers: 1, most_running: 2, together: 0 }, |lane| {
        let caller = {
            let lane = Arc::clone(lane);
            thread::spawn(move || lane.bring())
        };
        lane.bring();
        lane.wait_until_done(2);
        caller.join().unwrap();
    });
}

/// Two calls of which neither comes to an end before the other has begun: whoever makes the first
/// has to have somebody look for the second.
#[test]
fn a_call_that_hangs_holds_up_no_other() {
    model(Staff { workers: 2, most_running: 2, together: 2 }, |lane| {
        lane.bring();
        lane.bring();
        lane.wait_until_done(2);
    });
}

/// Somebody looks at the status, and so takes a call out of the workers' sight for a moment.
#[test]
fn a_look_at_the_status_loses_no_call() {
    model(Staff { workers: 1, most_running: 1, together: 0 }, |lane| {
        let other = {
            let lane = Arc::clone(lane);
            thread::spawn(move || lane.take_stock())
        };
        lane.bring();
        lane.wait_until_done(1);
        other.join().unwrap();
    });
}
