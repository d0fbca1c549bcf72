//! Looks into the book that fail, are refused, or hang.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, LookupResult, OrderId, OrderTags, lanes,
};
use lanekeeper::lane::{LaneConfig, OpenBreakerPolicy};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy};

use super::shaky::{Fate, SETTLE, Shaky, order, transient};

fn echoed() -> Shaky {
    Shaky::new(OrderTags::echoed(20))
}

fn seen(answer: &Result<OrderId, BrokerError>) -> LookupResult {
    match answer {
        Err(BrokerError::OutcomeUnknown(detail)) => detail.lookup.as_ref().unwrap().result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_in_the_way_does_not_end_the_search() {
    let page = BrokerError::Fatal(ErrorDetail::new("<html>you are blocked").status(403));
    let broker = echoed();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    broker.blind(4, &page);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    // If nothing works, nobody waits for the settle time.
    let broker = echoed();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    broker.blind(500, &page);
    let before = broker.clock.now();
    let answer = broker.guard().place_order(&order(1));
    assert_eq!((seen(&answer), broker.state().looks), (LookupResult::Unreadable, 5));
    assert!(answer.unwrap_err().to_string().contains("you are blocked"));
    assert!(broker.clock.now().since(before) < SETTLE);
}

/// The breaker of the way by which the guard looks opens at the first look.
#[test]
fn an_open_breaker_is_waited_for() {
    for (open_for, found) in [(35, true), (600, false)] {
        let open_for = Duration::from_secs(open_for);
        let broker = echoed();
        let breaker = BreakerPolicy::default().failures_in_a_row(Some(1)).max_open(open_for);
        let lane = LaneConfig::new(Quota::per_second(10))
            .retry(RetryPolicy::none())
            .breaker(breaker.open_for(open_for))
            .when_down(OpenBreakerPolicy::Refuse);
        let limits = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(10)));
        let proxy = BrokerProxy::builder(broker.clone())
            .limits(limits.budget(lanes::ORDERS, Quota::unlimited()))
            .transactional(lane)
            .clock(broker.clock.clone())
            .build()
            .unwrap();
        let guard = OrderGuard::builder(proxy).settle_time(SETTLE).clock(broker.clock.clone());
        let guard = guard.build().unwrap();
        broker.fates([Fate::LostAfter(Duration::ZERO)]);
        broker.blind(1, &transient());
        let before = broker.clock.now();
        let answer = guard.place_order(&order(1));
        if found {
            assert_eq!(answer, Ok(OrderId::new("000001")));
            assert_eq!(broker.state().looks, 2);
        } else {
            // But not for ever.
            assert_eq!(seen(&answer), LookupResult::Unreadable);
            assert!(broker.clock.now().since(before) <= SETTLE * 6);
        }
    }
}

/// A look that does not end before it is told to, and how to tell.
pub(super) fn hanging(
    broker: &Shaky,
    hangs: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> Hanging {
    let (go_on, told) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    let (told, began) = (Mutex::new(told), Mutex::new(began));
    broker.meanwhile(move |look| {
        if hangs(look) {
            began.lock().unwrap().send(()).unwrap();
            // Until the other end is dropped.
            let told = told.lock().unwrap();
            let _ = told.recv();
        }
    });
    Hanging { begins, go_on }
}

pub(super) struct Hanging {
    pub(super) begins: Receiver<()>,
    pub(super) go_on: Sender<()>,
}

/// Moves time on until `thread` is over.
pub(super) fn pass_until_over<T>(broker: &Shaky, thread: &thread::ScopedJoinHandle<'_, T>) {
    while !thread.is_finished() {
        broker.clock.advance(Duration::from_millis(10));
        thread::sleep(Duration::from_micros(100)); // Nobody waits for it: others need the machine.
    }
}

#[test]
fn a_look_that_hangs_holds_nobody_else_up_for_ever() {
    let broker = echoed();
    let guard = broker.guard();
    let Hanging { begins, go_on } = hanging(&broker, |look| look == 1);
    broker.fates([Fate::LostAfter(Duration::ZERO); 2]);
    thread::scope(|scope| {
        let first = scope.spawn(|| guard.place_order(&order(1)));
        begins.recv().unwrap();
        let second = scope.spawn(|| guard.place_order(&order(2)));
        pass_until_over(&broker, &second);
        assert_eq!(second.join().unwrap(), Ok(OrderId::new("000002")));
        assert!(!first.is_finished());
        drop(go_on);
        assert_eq!(first.join().unwrap(), Ok(OrderId::new("000001")));
    });
}

#[test]
fn where_every_look_hangs_whoever_waits_for_one_leaves() {
    let broker = echoed();
    let guard = broker.guard();
    let Hanging { begins, go_on } = hanging(&broker, |_| true);
    broker.fates([Fate::LostAfter(Duration::ZERO); 2]);
    thread::scope(|scope| {
        let first = scope.spawn(|| guard.place_order(&order(1)));
        begins.recv().unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                broker.fates([Fate::LostAfter(Duration::ZERO)]);
                let guard = &guard;
                scope.spawn(move || guard.place_order(&order(2)))
            })
            .collect();
        while broker.state().placed < 3 {
            thread::yield_now();
        }
        // One of them looks by itself, the other one keeps to its own time.
        while !others.iter().any(thread::ScopedJoinHandle::is_finished) {
            broker.clock.advance(Duration::from_millis(10));
            thread::sleep(Duration::from_micros(100));
        }
        begins.recv().unwrap();
        let (left, held): (Vec<_>, Vec<_>) = others.into_iter().partition(|it| it.is_finished());
        assert_eq!((left.len(), held.len(), first.is_finished()), (1, 1, false));
        for left in left {
            let answer = left.join().unwrap();
            assert_eq!(seen(&answer), LookupResult::Unreadable);
            assert!(
                answer
                    .unwrap_err()
                    .to_string()
                    .contains("the read of the order book by another call")
            );
        }
        drop(go_on);
    });
}

/// A broker that calls the guard from within a look does not wait for itself for ever.
#[test]
fn a_look_within_a_look_ends() {
    let broker = echoed();
    let guard = broker.guard();
    let inner = Arc::new(Mutex::new(None));
    let (within, said) = (guard.clone(), Arc::clone(&inner));
    broker.meanwhile(move |look| {
        if look == 1 {
            *said.lock().unwrap() = Some(within.place_order(&order(2)));
        }
    });
    broker.fates([Fate::LostAfter(Duration::ZERO); 2]);
    thread::scope(|scope| {
        let outer = scope.spawn(|| guard.place_order(&order(1)));
        pass_until_over(&broker, &outer);
        assert_eq!(outer.join().unwrap(), Ok(OrderId::new("000001")));
    });
    assert_eq!(inner.lock().unwrap().take(), Some(Ok(OrderId::new("000002"))));
}
