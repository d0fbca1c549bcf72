//! Recovering orders without an answer, in the same process. Over a restart: `tests/journal.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, ErrorDetail, LookupResult, Order, OrderId, OrderRequest, OrderStatus, OrderTags,
};
use lanekeeper::order_guard::RecoveredOutcome;

use super::orders::{echoed, lookup};
use super::shaky::{DUPLICATE, Fate, SETTLE, Shaky, absent, order, transient, without_evidence};

#[test]
fn what_was_unknown_can_be_asked_again() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::ZERO), Fate::LostBefore, Fate::LostRejected]);
    for quantity in 1..=3 {
        broker.blind(20, &transient());
        assert_eq!(lookup(guard.place_order(&order(quantity))).result, LookupResult::Unreadable);
        broker.state().blind.clear();
    }
    let outcomes =
        guard.recover().into_iter().map(|it| (it.order.quantity, without_evidence(it.outcome)));
    let mut outcomes: Vec<_> = outcomes.collect();
    outcomes.sort_by_key(|(quantity, _)| *quantity);
    assert_eq!(
        outcomes,
        [
            (1.into(), RecoveredOutcome::Placed(OrderId::new("000001"))),
            (2.into(), absent()),
            (3.into(), RecoveredOutcome::Rejected(ErrorDetail::new("order 000002: no funds"))),
        ]
    );
    assert_eq!(guard.recover(), []);
    assert_eq!(broker.state().placed, 3);
}

/// Where an order was sent twice, a rejected one may be the second of them, with the first in transit.
#[test]
fn what_was_sent_twice_is_not_settled_by_a_rejected_one() {
    for (late, outcome) in [(true, "placed"), (false, "rejected")] {
        let broker = Shaky::new(OrderTags::unique(48, DUPLICATE));
        let guard = broker.guard();
        broker.fates([Fate::LostBefore, Fate::LostBefore]);
        broker.blind(50, &transient());
        let tag = lookup(guard.place_order(&order(1))).tag.unwrap();
        broker.state().blind.clear();
        let booked =
            |id: &str, status| Order::new(OrderId::new(id), status, &order(1).tag(tag.clone()));
        let now = broker.clock.now();
        broker.state().ledger.push((now, booked("second", OrderStatus::Rejected)));
        if late {
            // The settle time is over, and `recover` reads twice.
            let landing = now + Duration::from_millis(500);
            broker.state().ledger.push((landing, booked("first", OrderStatus::Open)));
        }
        match guard.recover().remove(0).outcome {
            RecoveredOutcome::Placed(id) => assert_eq!((outcome, id.as_str()), ("placed", "first")),
            RecoveredOutcome::Rejected(_) => assert_eq!(outcome, "rejected"),
            other => panic!("{other:?}"),
        }
    }
}

/// It refused the second sending because it has the first, and does not show it for an hour.
#[test]
fn what_the_broker_says_it_has_is_never_absent() {
    let broker = Shaky::new(OrderTags::unique(48, DUPLICATE));
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::from_secs(3600))]);
    assert_eq!(lookup(guard.place_order(&order(1))).result, LookupResult::Unclear);
    let outcome = guard.recover().remove(0).outcome;
    assert!(
        matches!(&outcome, RecoveredOutcome::Unknown(why) if why.message.contains("does not show it")),
        "{outcome:?}"
    );
    broker.clock.advance(Duration::from_secs(3600));
    assert_eq!(guard.recover().remove(0).outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
}

#[test]
fn what_stays_unknown_is_kept() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    broker.blind(1000, &transient());
    guard.place_order(&order(1)).unwrap_err();
    assert!(matches!(guard.recover()[0].outcome, RecoveredOutcome::Unknown(_)));
    broker.state().blind.clear();
    assert_eq!(guard.recover()[0].outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
}

/// The settle time counts from when the answer was lost, whichever call reads, and however the first search ended.
#[test]
fn recover_does_not_wait_for_the_settle_time_again() {
    let broker = echoed();
    let guard = broker.guard();
    for quantity in 1..=3 {
        broker.fates([Fate::LostBefore]);
        broker.blind(50, &transient());
        lookup(guard.place_order(&order(quantity)));
        broker.state().blind.clear();
    }
    let before = broker.clock.now();
    let recovered = guard.recover();
    assert_eq!(recovered.len(), 3);
    for it in recovered {
        let RecoveredOutcome::Absent(absence) = it.outcome else { panic!("{it:?}") };
        assert!(absence.reads >= 2, "by one read alone: {absence}");
    }
    let took = broker.clock.now().since(before);
    assert!(took < SETTLE / 2, "{took:?}");
}

/// The first of the two reads that make an order absent was that of `place_order`.
#[test]
fn reads_of_place_order_count_for_recover() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    broker.state().blind.extend((0..9).map(|_| None));
    broker.blind(50, &transient());
    assert_eq!(lookup(guard.place_order(&order(1))).result, LookupResult::Unreadable);
    broker.state().blind.clear();
    let reads = broker.state().reads;
    let RecoveredOutcome::Absent(absence) = guard.recover().remove(0).outcome else { panic!() };
    assert_eq!((absence.reads, broker.state().reads - reads), (10, 1));
}

#[test]
fn a_book_of_another_day_is_no_evidence() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    guard.place_order(&order(1)).unwrap_err();
    broker.clock.advance(Duration::from_secs(86_400));
    let outcome = guard.recover().remove(0).outcome;
    let RecoveredOutcome::Unknown(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.message.contains("another day"), "{why}");
}

/// A slice of yesterday's order was observed, which is in no book of today.
#[test]
fn a_book_of_today_is_not_stale_for_what_it_lacks_of_yesterday() {
    let broker = echoed();
    let guard = broker.guard();
    let left_unknown = |order: &OrderRequest| {
        broker.fates([Fate::LostBefore]);
        broker.blind(50, &transient());
        lookup(guard.place_order(order));
        broker.state().blind.clear();
    };
    left_unknown(&order(10).autoslice(true).tag("mine"));
    guard.order_update(&Order::new(OrderId::new("1"), OrderStatus::Open, &order(4).tag("mine")));
    broker.clock.advance(Duration::from_secs(86_400));
    left_unknown(&order(2));
    let outcomes: Vec<_> = guard.recover().into_iter().map(|it| it.outcome).collect();
    let absent = outcomes.iter().filter(|outcome| matches!(outcome, RecoveredOutcome::Absent(_)));
    assert_eq!(absent.count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| matches!(outcome, RecoveredOutcome::PartlyPlaced(_))));
}

#[test]
fn what_cannot_be_found_out_can_be_abandoned() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    let error = guard.place_order(&order(1)).unwrap_err();
    let tag = error.detail().unwrap().lookup.clone().unwrap().tag.unwrap();
    assert!(!guard.abandon("another"));
    assert!(guard.abandon(&tag));
    assert_eq!(guard.recover(), []);
    assert!(!guard.abandon(&tag));
    // An order in flight belongs to its caller.
    let (mine, other) = (guard.clone(), guard.clone());
    broker.fates([Fate::LostBefore]);
    broker.meanwhile(move |_| assert!(!other.abandon("mine")));
    mine.place_order(&order(1).tag("mine")).unwrap_err();
    assert!(guard.abandon("mine"));
}

#[test]
fn a_panic_leaves_the_order_to_be_recovered() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::DiesAfter(Duration::from_secs(3))]);
    catch_unwind(AssertUnwindSafe(|| guard.place_order(&order(1)))).unwrap_err();
    assert_eq!(guard.recover()[0].outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
}

#[test]
fn guards_around_one_broker_share_what_is_open() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostBefore]);
    guard.with_inner(broker.clone()).place_order(&order(1)).unwrap_err();
    assert_eq!(guard.recover().len(), 1);
}
