//! Which call goes first, and which is admitted, when the queue is full of others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, OverflowPolicy};
use lanekeeper::proxy::{CallSpec, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};

use super::let_pass;
use super::support::lanes::{READ, WRITE, one, options, priority, submit, the, within_reason};

/// Two writes of one user and one priority, the second made after the first: aging would reverse them.
#[test]
fn the_calls_of_one_user_go_in_the_order_in_which_they_were_made() {
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(LaneConfig::new(Quota::per_second(1)).in_flight(1), clock.clone());
        the(&lanes).pause();
        let others: Vec<_> =
            (0..100).map(|_| submit(&lanes, READ, &options().user("other"), || ())).collect();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mine = |name: &'static str| {
            let order = Arc::clone(&order);
            let alpha = options().user("alpha");
            submit(&lanes, WRITE, &alpha, move || order.lock().unwrap().push(name))
        };
        let sell = mine("sell");
        drop(lanes.status());
        drop(others);
        let buy = mine("buy");
        drop(lanes.status());
        clock.advance(Duration::from_secs(20));
        the(&lanes).resume();
        while order.lock().unwrap().len() < 2 {
            clock.advance(Duration::from_secs(1));
            thread::yield_now();
        }
        sell.wait().unwrap();
        buy.wait().unwrap();
        assert_eq!(*order.lock().unwrap(), ["sell", "buy"]);
    });
}

/// The queue is full and its callers block: the urgent call is one of fifty that want a queue slot.
#[test]
fn an_urgent_call_goes_next_though_the_queue_is_full_and_blocks() {
    within_reason(|| {
        let clock = ManualClock::new();
        let config = LaneConfig::new(Quota::per_second(1))
            .in_flight(1)
            .queue(1)
            .when_full(OverflowPolicy::Block);
        let lanes = one(config, clock.clone());
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = Arc::new(AtomicUsize::new(0));
        let start = |name: &'static str, number: u8| {
            let (lanes, order, threads) = (lanes.clone(), Arc::clone(&order), Arc::clone(&threads));
            thread::spawn(move || {
                threads.fetch_add(1, Ordering::SeqCst);
                let options = priority(number);
                submit(&lanes, WRITE, &options, move || order.lock().unwrap().push(name)).wait()
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
            thread::yield_now();
        }
        let place = order.lock().unwrap().iter().position(|name| *name == "urgent").unwrap();
        // One call was in the queue before it.
        assert!(place <= 1, "{place} went before it");
    });
}

/// A hundred orders wait, of which the budget lets one go today. The scheduler lets a read of the margins pass
/// them, but admission counts them all.
#[test]
fn a_call_that_can_go_in_time_is_not_refused_for_orders_that_cannot() {
    within_reason(|| {
        const ORDER: CallSpec = CallSpec { budgets: &[0], ..WRITE };
        let clock = ManualClock::new();
        let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
        builder.lane(0, LaneConfig::new(Quota::per_second(1)));
        builder.budget(0, Budget::new(Quota::per_day(2)));
        builder.clock(clock.clone().into());
        let lanes = builder.build(Limits::new()).unwrap();
        submit(&lanes, ORDER, &options(), || ()).wait().unwrap();
        the(&lanes).pause();
        let _orders: Vec<_> = (0..100).map(|_| submit(&lanes, ORDER, &options(), || ())).collect();
        let soon = options().deadline(Duration::from_secs(30));
        let margins = submit(&lanes, READ, &soon, || 7);
        // The outcome if it is admitted: one order goes, then the read.
        let free = submit(&lanes, READ, &options(), {
            let clock = clock.clone();
            move || clock.now()
        });
        let before = clock.now();
        the(&lanes).resume();
        // One goes each second, and then the orders are alone.
        for left in (99..the(&lanes).queued()).rev() {
            clock.advance(Duration::from_secs(1));
            // Answered too: its slot is free a second after that.
            while the(&lanes).queued() > left || the(&lanes).status().in_flight > 0 {
                thread::yield_now();
            }
        }
        let went = free.wait().unwrap().since(before);
        let answer = margins.wait();
        assert!(answer.is_ok(), "{answer:?}, and one without a deadline went after {went:?}");
    });
}
