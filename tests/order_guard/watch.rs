//! Orders that appear after their callers were answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, Order, OrderId, OrderStatus, OrderTags,
};
use lanekeeper::order_guard::{OrderGuard, RecoveredOrder, RecoveredOutcome};

use super::orders::{absence, echoed, lookup};
use super::shaky::{DUPLICATE, Fate, SENT, SETTLE, Shaky, order, transient};

/// The late orders that the hook reported.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<Vec<RecoveredOrder>>>);

impl Late {
    fn guard(&self, broker: &Shaky) -> OrderGuard<Shaky> {
        let late = self.clone();
        let guard = broker.guarded();
        guard.on_turned_up(move |it| late.0.lock().unwrap().push(it.clone())).build().unwrap()
    }

    /// Returns what was reported since the last call.
    fn reported(&self) -> Vec<(u64, RecoveredOutcome)> {
        let reported = std::mem::take(&mut *self.0.lock().unwrap());
        let short = |it: RecoveredOrder| (it.order.quantity.try_into().unwrap(), it.outcome);
        reported.into_iter().map(short).collect()
    }
}

fn placed(id: &str) -> RecoveredOutcome {
    RecoveredOutcome::Placed(OrderId::new(id))
}

/// Places an order that lands only after its caller was told that it is absent.
fn told_absent(broker: &Shaky, guard: &OrderGuard<Shaky>, quantity: usize) {
    broker.fates([Fate::LostAfter(SETTLE * 2)]);
    absence(guard.place_order(&order(quantity)));
}

/// Places an order whose caller gets an unknown outcome: no book could be read.
fn told_unknown(broker: &Shaky, guard: &OrderGuard<Shaky>, quantity: usize) {
    broker.blind(50, &transient());
    lookup(guard.place_order(&order(quantity)));
    broker.state().blind.clear();
}

#[test]
fn an_absent_order_that_lands_late_is_reported_once() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    told_absent(&broker, &guard, 1);
    let tag = broker.state().ledger[0].1.tag.clone().unwrap();
    assert_eq!((guard.orders().unwrap().rows.len(), late.reported()), (0, vec![]));
    broker.clock.advance(SETTLE * 2);
    assert_eq!(guard.orders().unwrap().rows.len(), 1);
    let reported = late.0.lock().unwrap().clone();
    assert_eq!((reported[0].tag.as_str(), &reported[0].order), (tag.as_str(), &order(1).tag(&tag)));
    assert_eq!(late.reported(), [(1, placed("000001"))]);
    guard.orders().unwrap();
    assert_eq!((late.reported(), guard.recover()), (vec![], vec![]));
    assert_eq!(broker.state().placed, 1);
}

#[test]
fn an_order_of_unknown_outcome_is_reported_and_not_recovered_again() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostAfter(Duration::ZERO), Fate::LostRejected]);
    for quantity in 1..=2 {
        broker.blind(50, &transient());
        lookup(guard.place_order(&order(quantity)));
        broker.state().blind.clear();
    }
    guard.orders().unwrap();
    let mut reported = late.reported();
    reported.sort_by_key(|(quantity, _)| *quantity);
    let refused = RecoveredOutcome::Rejected(ErrorDetail::new("order 000002: no funds"));
    assert_eq!(reported, [(1, placed("000001")), (2, refused)]);
    assert_eq!((guard.recover(), late.reported()), (vec![], vec![]));
}

#[test]
fn a_read_for_another_order_reports_it_too() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    told_absent(&broker, &guard, 1);
    broker.clock.advance(SETTLE * 2);
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    // The order that is being searched for has a caller, which gets the answer.
    assert_eq!(guard.place_order(&order(2)), Ok(OrderId::new("000002")));
    assert_eq!(late.reported(), [(1, placed("000001"))]);
}

#[test]
fn a_postback_is_enough() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    told_absent(&broker, &guard, 1);
    let landed = broker.state().ledger[0].1.clone();
    let reads = broker.state().reads;
    guard.order_update(&Order::new(
        OrderId::new("other"),
        OrderStatus::Open,
        &order(9).tag("other"),
    ));
    assert_eq!(late.reported(), []);
    guard.order_update(&landed);
    guard.order_update(&landed);
    assert_eq!(late.reported(), [(1, placed("000001"))]);
    assert_eq!(broker.state().reads, reads, "nothing is read for it");
}

#[test]
fn what_recover_found_absent_is_watched_for() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostAfter(Duration::from_secs(3600))]);
    told_unknown(&broker, &guard, 1);
    assert!(matches!(guard.recover().remove(0).outcome, RecoveredOutcome::Absent(_)));
    broker.clock.advance(Duration::from_secs(3600));
    guard.orders().unwrap();
    assert_eq!(late.reported(), [(1, placed("000001"))]);
}

/// An order belongs to its caller as long as that waits.
#[test]
fn a_waiting_caller_is_answered_and_no_hook_is_called() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    let (other, within) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == 1 {
            let landed = within.state().ledger[0].1.clone();
            other.order_update(&landed);
        }
    });
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!(late.reported(), []);
}

#[test]
fn another_order_of_the_callers_tag_is_not_it() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostBefore]);
    absence(guard.place_order(&order(1).tag("mine")));
    let mut sold = Order::new(OrderId::new("sold"), OrderStatus::Open, &order(1).tag("mine"));
    sold.side = lanekeeper::Side::Sell;
    guard.order_update(&sold);
    assert_eq!(late.reported(), []);
}

/// Where an order is sent twice under one tag, a rejected one may be the second of them.
#[test]
fn one_rejected_of_two_sendings_is_not_conclusive() {
    let (broker, late) = (Shaky::new(OrderTags::unique(48, DUPLICATE)), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostBefore, Fate::LostBefore]);
    let tag = match guard.place_order(&order(1)) {
        Err(error) => error.detail().unwrap().lookup.clone().unwrap().tag.unwrap(),
        Ok(id) => panic!("{id}"),
    };
    let mut known = Order::new(OrderId::new("1"), OrderStatus::Rejected, &order(1).tag(&tag));
    guard.order_update(&known);
    assert_eq!(late.reported(), []);
    known.id = OrderId::new("2");
    known.status = OrderStatus::Open;
    guard.order_update(&known);
    assert_eq!(late.reported(), [(1, placed("2"))]);
}

/// Postbacks come within a second, and the book may be stale for longer.
#[test]
fn what_a_postback_shows_while_its_caller_waits_makes_no_order_absent() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::from_secs(3600))]);
    let (postback, other) = (guard.clone(), broker.clone());
    broker.meanwhile(move |read| {
        if read == 2 {
            let order = other.state().ledger[0].1.clone();
            postback.order_update(&order);
        }
    });
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!(broker.state().reads, 2);
}

#[test]
fn what_a_book_showed_between_is_not_absent_to_recover() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    told_unknown(&broker, &guard, 1);
    assert_eq!(guard.orders().unwrap().rows.len(), 1);
    broker.state().ledger.clear();
    assert_eq!(guard.recover().remove(0).outcome, placed("000001"));
}

/// The absent order may appear under the tag, and would be mistaken for the other.
#[test]
fn the_tag_of_an_absent_order_is_not_used_again() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostAfter(Duration::from_secs(3600))]);
    told_unknown(&broker, &guard, 1);
    let absent = guard.recover().remove(0);
    assert!(matches!(absent.outcome, RecoveredOutcome::Absent(_)));
    let again = guard.place_order(&absent.order);
    assert!(matches!(again, Err(BrokerError::NotSent(_))), "{again:?}");
    assert_eq!(guard.place_order(&order(2)), Ok(OrderId::new("000002")));
    broker.clock.advance(Duration::from_secs(3600));
    guard.orders().unwrap();
    assert_eq!(late.reported(), [(1, placed("000001"))]);
}

/// The slices of an order of ten, which appear one after the other.
const SLICES: [(&str, u64); 3] = [("1", 4), ("2", 4), ("3", 2)];

fn slice((id, quantity): (&str, u64)) -> Order {
    let request = order(quantity as usize).tag("mine");
    let mut slice = Order::new(OrderId::new(id), OrderStatus::Open, &request);
    slice.parent = Some(OrderId::new("1")).filter(|_| id != "1");
    slice
}

/// Returns the ids of the slices that are in the market, and the unknown quantity.
fn in_part(outcome: &RecoveredOutcome) -> (Vec<&str>, u64) {
    let RecoveredOutcome::PartlyPlaced(order) = outcome else { panic!("{outcome:?}") };
    let rest = order.unknown_quantity().unwrap();
    (order.placed().map(OrderId::as_str).collect(), rest.try_into().unwrap())
}

/// In the book, or by a postback each.
#[test]
fn each_slice_that_turns_up_is_reported_and_the_last_settles_the_order() {
    for by_postback in [true, false] {
        let (broker, late) = (echoed(), Late::default());
        let guard = late.guard(&broker);
        broker.fates([Fate::LostBefore]);
        absence(guard.place_order(&order(10).autoslice(true).tag("mine")));
        let mut reported = Vec::new();
        for known in SLICES {
            if !by_postback {
                let now = broker.clock.now();
                broker.state().ledger.push((now, slice(known)));
            }
            for _ in 0..2 {
                match by_postback {
                    true => guard.order_update(&slice(known)),
                    false => drop(guard.orders().unwrap()),
                }
            }
            let now = late.reported();
            assert_eq!(now.len(), 1, "{known:?} {by_postback}");
            reported.extend(now);
        }
        assert_eq!(in_part(&reported[0].1), (vec!["1"], 6));
        assert_eq!(in_part(&reported[1].1), (vec!["1", "2"], 2));
        assert_eq!(reported[2], (10, placed("1")));
        assert_eq!(guard.recover(), []);
    }
}

#[test]
fn a_slice_that_its_caller_knows_is_no_finding() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    let sent = broker.clock.now() + SENT;
    broker.state().ledger.push((sent, slice(SLICES[0])));
    broker.fates([Fate::LostBefore]);
    let order = guard.place_sliced(&order(10).autoslice(true).tag("mine")).unwrap();
    assert_eq!(order.placed().count(), 1);
    guard.orders().unwrap();
    assert_eq!(late.reported(), []);
    guard.order_update(&slice(SLICES[1]));
    assert_eq!(in_part(&late.reported()[0].1), (vec!["1", "2"], 2));
}

#[test]
fn what_was_abandoned_is_not_reported() {
    let (broker, late) = (echoed(), Late::default());
    let guard = late.guard(&broker);
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    broker.blind(50, &transient());
    let tag = lookup(guard.place_order(&order(1))).tag.unwrap();
    broker.state().blind.clear();
    assert!(guard.abandon(&tag));
    guard.orders().unwrap();
    assert_eq!(late.reported(), []);
}

#[test]
fn the_hook_may_use_the_guard_and_panic() {
    let broker = echoed();
    let within: Arc<Mutex<Option<OrderGuard<Shaky>>>> = Arc::default();
    let inner = Arc::clone(&within);
    let guard = broker.guarded().on_turned_up(move |late| {
        let guard = inner.lock().unwrap().take().expect("called once");
        // The exit of an order that was no longer expected in the market.
        let RecoveredOutcome::Placed(id) = &late.outcome else { panic!("{late:?}") };
        guard.cancel_order(id).unwrap();
        assert!(guard.orders().unwrap().rows[0].status.is_final());
        panic!("and then it dies");
    });
    let guard = guard.build().unwrap();
    *within.lock().unwrap() = Some(guard.clone());
    told_absent(&broker, &guard, 1);
    broker.clock.advance(SETTLE * 2);
    assert_eq!(guard.orders().unwrap().rows.len(), 1, "the caller that read the book gets it");
    assert!(within.lock().unwrap().is_none());
    assert_eq!(broker.state().cancelled, 1);
    guard.orders().unwrap();
}

/// Without a hook, `recover` still returns it.
#[test]
fn without_a_hook_recover_still_reports() {
    let broker = echoed();
    let guard = broker.guard();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    told_unknown(&broker, &guard, 1);
    guard.orders().unwrap();
    assert_eq!(guard.recover().remove(0).outcome, placed("000001"));
}
