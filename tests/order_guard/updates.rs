//! Order updates from elsewhere, such as postbacks, for callers that wait for a lost answer.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError, OrderId, OrderStatus, OrderTags, SlicedOrder};
use lanekeeper::clock::ManualClock;
use lanekeeper::order_guard::{OrderGuard, RecoveredOutcome};

use super::orders::{absence, echoed, lookup};
use super::shaky::{DUPLICATE, Fate, Shaky, order, to_price, transient};

/// The order appears in the book long after the search is over.
const LATE: Fate = Fate::LostAfter(Duration::from_secs(3600));

/// Passes the only order to the guard, in this state, in the middle of the first read.
fn update_during_first_read(broker: &Shaky, guard: &OrderGuard<Shaky>, status: OrderStatus) {
    let (guard, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == 1 {
            let mut order = within.state().ledger[0].1.clone();
            order.status = status.clone();
            guard.order_update(&order);
        }
    });
}

#[test]
fn an_update_of_the_whole_order_ends_the_search_without_another_read() {
    let broker = echoed();
    let guard = broker.guard();
    update_during_first_read(&broker, &guard, OrderStatus::Open);
    broker.fates([LATE]);
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!(broker.placed_and_reads(), (1, 1));
}

/// The clock of the guard stands still, so the pause after the first read ends by the update or never.
#[test]
fn an_update_ends_the_pause_of_a_search_at_once() {
    let broker = echoed();
    let guard = broker.guarded().clock(ManualClock::new()).build().unwrap();
    broker.fates([LATE]);
    let (answered, answer) = mpsc::channel();
    let caller = guard.clone();
    thread::spawn(move || answered.send(caller.place_order(&order(1))));
    while broker.state().reads == 0 {
        thread::yield_now();
    }
    let landed = broker.state().ledger[0].1.clone();
    guard.order_update(&landed);
    let answer = answer.recv_timeout(Duration::from_secs(600)).expect("it hangs");
    assert_eq!(answer, Ok(OrderId::new("000001")));
}

#[test]
fn an_update_that_comes_before_the_answer_is_lost_saves_the_search() {
    for tags in [OrderTags::echoed(20), OrderTags::unique(48, DUPLICATE)] {
        let broker = Shaky::new(tags);
        let guard = broker.guard();
        let told = guard.clone();
        broker.landed(move |order| told.order_update(order));
        broker.fates([LATE]);
        assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
        // It is not sent again either.
        assert_eq!(broker.placed_and_reads(), (1, 0));
    }
}

#[test]
fn an_update_of_a_rejected_order_is_its_answer() {
    let broker = echoed();
    let guard = broker.guard();
    update_during_first_read(&broker, &guard, OrderStatus::Rejected);
    broker.fates([LATE]);
    assert!(matches!(guard.place_order(&order(1)), Err(BrokerError::Rejected(_))));
    assert_eq!(broker.placed_and_reads(), (1, 1));
}

#[test]
fn an_update_of_another_order_proves_nothing() {
    let broker = echoed();
    let guard = broker.guard();
    let told = guard.clone();
    let other = lanekeeper::broker::Order::new(
        OrderId::new("other"),
        OrderStatus::Open,
        &order(1).tag("other"),
    );
    broker.meanwhile(move |_| told.order_update(&other));
    broker.fates([Fate::LostBefore]);
    let absence = absence(guard.place_order(&order(1)));
    assert!(absence.reads >= 2, "{absence}");
}

#[test]
fn an_update_of_one_slice_leaves_the_others_open() {
    let broker = echoed();
    let guard = broker.guard();
    let (told, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == 1 {
            let mut slice = within.state().ledger[0].1.clone();
            slice.parent = Some(slice.id.clone());
            slice.quantity = 1.into();
            told.order_update(&slice);
        }
    });
    broker.fates([LATE]);
    let placed: SlicedOrder = guard.place_sliced(&order(2).autoslice(true)).unwrap();
    assert_eq!(placed.unknown().count() + placed.absent().count(), 1, "{placed}");
    assert!(broker.placed_and_reads().1 > 1);
}

#[test]
fn a_final_update_settles_a_cancellation() {
    for (status, is_cancelled) in [(OrderStatus::Cancelled, true), (OrderStatus::Filled, false)] {
        let broker = echoed();
        let guard = broker.guard();
        let id = broker.place_order(&order(1)).unwrap();
        update_during_first_read(&broker, &guard, status);
        // It is sent twice, and both answers are lost.
        broker.fates([LATE, Fate::LostBefore]);
        match guard.cancel_order(&id) {
            Ok(()) => assert!(is_cancelled),
            Err(BrokerError::Rejected(_)) => assert!(!is_cancelled),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(broker.state().reads, 1);
    }
}

/// Brokers deliver updates twice and out of order, so this one may be older than the change.
#[test]
fn an_update_of_an_open_order_does_not_settle_a_change() {
    let broker = echoed();
    let guard = broker.guard();
    let id = broker.place_order(&order(1)).unwrap();
    let (told, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == 1 {
            let mut old = within.state().ledger[0].1.clone();
            old.price = Some(1600.into());
            told.order_update(&old);
        }
    });
    broker.fates([Fate::LostBefore]);
    absence(guard.modify_order(&id, &to_price(1600)).map(drop).map(|()| id));
    assert!(broker.state().reads > 2);
}

#[test]
fn recover_takes_an_earlier_update_for_the_answer() {
    let broker = echoed();
    // Without a hook, an update is only recorded.
    let guard = broker.guard();
    broker.fates([LATE]);
    broker.blind(50, &transient());
    lookup(guard.place_order(&order(1)));
    let landed = broker.state().ledger[0].1.clone();
    guard.order_update(&landed);
    let reads = broker.state().reads;
    let recovered = guard.recover();
    assert_eq!(recovered[0].outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
    assert_eq!((broker.state().reads, guard.recover()), (reads, vec![]));
}

/// Brokers deliver updates out of order: one from before the end of an order says nothing after it.
#[test]
fn an_older_update_does_not_bring_a_rejected_order_back() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([LATE]);
    broker.blind(50, &transient());
    lookup(guard.place_order(&order(1)));
    let mut landed = broker.state().ledger[0].1.clone();
    for status in ["REJECTED", "OPEN PENDING"] {
        landed.status = status.into();
        guard.order_update(&landed);
    }
    let recovered = guard.recover();
    assert!(matches!(recovered[0].outcome, RecoveredOutcome::Rejected(_)), "{recovered:?}");
}

/// Each fill of an order is an update, and the cancellation of that order needs a read that works.
#[test]
fn many_updates_do_not_end_a_search_whose_reads_fail() {
    let broker = echoed();
    let guard = broker.guard();
    let id = broker.place_order(&order(1)).unwrap();
    let (told, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |_| {
        let order = within.state().ledger[0].1.clone();
        told.order_update(&order);
    });
    // A gateway shows an error page for two seconds.
    let began = broker.clock.now();
    let fatal = BrokerError::Fatal(lanekeeper::broker::ErrorDetail::new("an error page"));
    broker.blind(5, &fatal);
    broker.fates([Fate::LostAfter(Duration::from_secs(1)), Fate::LostBefore]);
    let answer = guard.cancel_order(&id);
    let took = broker.clock.now().since(began);
    assert!(answer.is_ok() || took > Duration::from_secs(2), "{answer:?} after {took:?}");
}

/// A broker that asks for a pause gets it, whatever updates come.
#[test]
fn an_update_does_not_cut_the_wait_short_that_the_broker_asked_for() {
    let broker = echoed();
    let guard = broker.guard();
    let id = broker.place_order(&order(1)).unwrap();
    let (told, within) = (guard.clone(), broker.clone());
    let reads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let read_at = reads.clone();
    broker.meanwhile(move |_| {
        read_at.lock().unwrap().push(within.clock.now());
        let order = within.state().ledger[0].1.clone();
        told.order_update(&order);
    });
    let throttled = BrokerError::Throttled {
        retry_after: Some(Duration::from_secs(5)),
        detail: lanekeeper::broker::ErrorDetail::new("too many"),
    };
    broker.blind(1, &throttled);
    broker.fates([Fate::LostAfter(Duration::from_secs(1)), Fate::LostBefore]);
    assert_eq!(guard.cancel_order(&id), Ok(()));
    let reads = reads.lock().unwrap();
    let gap = reads[1].since(reads[0]);
    assert!(gap >= Duration::from_secs(5), "{gap:?}");
}

#[test]
fn an_update_of_one_order_leaves_the_others_of_a_recovery_to_be_read() {
    let broker = echoed();
    let guard = broker.guard();
    let hasty = guard.clone().max_search_wait(Duration::ZERO);
    broker.fates([LATE, Fate::LostAfter(Duration::from_secs(3))]);
    for number in 1..3 {
        lookup(hasty.place_order(&order(number)));
    }
    let before = broker.state().reads;
    let (told, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == before + 1 {
            let landed = within.state().ledger[0].1.clone();
            told.order_update(&landed);
        }
    });
    let outcomes: Vec<_> = guard.recover().into_iter().map(|order| order.outcome).collect();
    let placed = |id| RecoveredOutcome::Placed(OrderId::new(id));
    assert_eq!(outcomes, [placed("000001"), placed("000002")]);
}
