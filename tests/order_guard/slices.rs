//! Placing an order that the broker divides into slices: the guard answers for the complete order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderRequest, OrderStatus,
    Slice, SliceOutcome, SlicedOrder,
};
use lanekeeper::order_guard::RecoveredOutcome;

use super::orders::{absence, echoed, lookup};
use super::shaky::{Fate, SENT, SETTLE, Shaky, order, transient};

/// Returns an order of 10 that is to be sliced.
fn large() -> OrderRequest {
    order(10).autoslice(true).tag("mine")
}

/// Books a slice some seconds from now. The first has no parent.
fn booked(broker: &Shaky, id: &str, quantity: u64, status: &str, seconds: u64) {
    let request = order(quantity as usize).tag("mine");
    let mut slice = Order::new(OrderId::new(id), OrderStatus::from(status), &request);
    slice.parent = Some(OrderId::new("1")).filter(|_| id != "1");
    let at = broker.clock.now() + SENT + Duration::from_secs(seconds);
    broker.state().ledger.push((at, slice));
}

/// Returns a broker that lost the answer to its slicing.
fn lost(slices: &[(&str, u64, &str, u64)]) -> Shaky {
    let broker = echoed();
    for (id, quantity, status, seconds) in slices {
        booked(&broker, id, *quantity, status, *seconds);
    }
    broker.fates([Fate::LostBefore]);
    broker
}

fn partly(answer: Result<OrderId, BrokerError>) -> SlicedOrder {
    match answer {
        Err(BrokerError::PartlyPlaced(order)) => *order,
        other => panic!("{other:?}"),
    }
}

fn placed(order: &SlicedOrder) -> Vec<&str> {
    order.placed().map(OrderId::as_str).collect()
}

const WHOLE: [(&str, u64, &str, u64); 3] =
    [("1", 4, "OPEN", 0), ("2", 4, "FILLED", 3), ("3", 2, "CANCELLED", 8)];

#[test]
fn an_order_whose_slices_are_all_in_the_book_is_placed() {
    let broker = lost(&WHOLE);
    let before = broker.clock.now();
    assert_eq!(broker.guard().place_order(&large()), Ok(OrderId::new("1")));
    assert!(broker.clock.now().since(before) >= Duration::from_secs(8));

    let order = lost(&WHOLE).guard().place_sliced(&large()).unwrap();
    assert_eq!(order.parent, Some(OrderId::new("1")));
    assert_eq!(placed(&order), ["1", "2", "3"]);
    let quantities: Vec<_> = order.slices.iter().map(|slice| slice.quantity).collect();
    assert_eq!(quantities, [4, 4, 2].map(|quantity| Some(quantity.into())));
}

/// The id of one slice would be mistaken for the complete order.
#[test]
fn an_order_of_which_a_slice_is_missing_is_not_reported_as_placed() {
    for shown in [&WHOLE[..1], &WHOLE[..2], &WHOLE[1..]] {
        let broker = lost(shown);
        let before = broker.clock.now();
        let order = partly(broker.guard().place_order(&large()));
        assert!(broker.clock.now().since(before) >= SETTLE);
        assert_eq!(placed(&order), shown.iter().map(|it| it.0).collect::<Vec<_>>());
        let of_shown: u64 = shown.iter().map(|it| it.1).sum();
        assert_eq!(order.placed_quantity(), Some(of_shown.into()));
        assert_eq!(order.absent_quantity(), Some((10 - of_shown).into()));
        let absent = order.absent().next().unwrap();
        let lookup = absent.lookup.as_ref().unwrap();
        assert!(
            matches!(lookup.result, LookupResult::Absent(absence) if absence.reads > 5),
            "{lookup:?}"
        );
        assert_eq!(lookup.tag.as_deref(), Some("mine"));
        assert!(absent.message.contains(&format!("no {} of 10", 10 - of_shown)), "{absent}");
        assert_eq!(broker.state().placed, 1);
        // Reported slice by slice, the result is the same.
        assert_eq!(lost(shown).guard().place_sliced(&large()), Ok(order));
    }
}

#[test]
fn a_slice_that_was_rejected_is_reported_beside_the_live_ones() {
    let broker = lost(&[("1", 4, "OPEN", 0), ("2", 6, "REJECTED", 1)]);
    let order = partly(broker.guard().place_order(&large()));
    assert_eq!((placed(&order), order.rejected().count()), (vec!["1"], 1));
    assert_eq!(order.rejected_quantity(), Some(6.into()));
}

#[test]
fn an_order_of_which_every_slice_was_rejected_is_rejected_in_the_end() {
    let all = [("1", 4, "REJECTED", 0), ("2", 6, "REJECTED", 0)];
    let broker = lost(&all);
    let before = broker.clock.now();
    let answer = broker.guard().place_order(&large());
    let why = "all 2 slices were rejected, first: order 1: the order book does not say why";
    assert_eq!(answer, Err(BrokerError::Rejected(ErrorDetail::new(why))));
    assert!(broker.clock.now().since(before) >= SETTLE);
    assert!(matches!(lost(&all).guard().place_sliced(&large()), Err(BrokerError::Rejected(_))));
    // The missing quantity is absent.
    absence(lost(&all[..1]).guard().place_order(&large()));
}

#[test]
fn an_order_of_which_nothing_is_in_the_book_is_absent() {
    absence(lost(&[]).guard().place_order(&large()));
    absence(lost(&[]).guard().place_sliced(&large()));
}

/// It completes what was observed of the order before.
#[test]
fn a_slice_that_lands_late_completes_the_order() {
    for asked_after in [false, true] {
        let broker = lost(&[WHOLE[0], WHOLE[1], ("3", 2, "OPEN", 60)]);
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&reported);
        let guard = broker.guarded().on_turned_up(move |late| {
            sink.lock().unwrap().push((late.tag.clone(), late.outcome.clone()));
        });
        let guard = guard.build().unwrap();
        assert_eq!(partly(guard.place_order(&large())).absent_quantity(), Some(2.into()));
        if asked_after {
            let outcome = guard.recover().remove(0).outcome;
            let RecoveredOutcome::PartlyPlaced(order) = outcome else { panic!("{outcome:?}") };
            assert_eq!(order.absent_quantity(), Some(2.into()));
            assert_eq!(guard.recover(), []);
        }
        let last = broker.ledger().remove(2);
        guard.order_update(&last);
        guard.orders().unwrap();
        guard.orders().unwrap();
        let whole = RecoveredOutcome::Placed(OrderId::new("1"));
        assert_eq!(*reported.lock().unwrap(), [("mine".to_owned(), whole)]);
        assert_eq!(guard.recover(), []);
    }
}

fn unknown_and_absent(order: &SlicedOrder) -> [Option<u64>; 2] {
    [order.unknown_quantity(), order.absent_quantity()]
        .map(|quantity| quantity.map(|it| it.try_into().unwrap()))
}

/// An order without a quantity may be all of the missing quantity.
#[test]
fn what_shows_no_quantity_makes_nothing_absent() {
    let broker = lost(&[WHOLE[0], ("2", 0, "OPEN", 0)]);
    let order = broker.guard().place_sliced(&large()).unwrap();
    assert_eq!(placed(&order), ["1", "2"]);
    assert_eq!(unknown_and_absent(&order), [Some(6), Some(0)]);
}

/// The book may be read from a server that is behind another.
#[test]
fn what_was_observed_once_stays_known() {
    let broker = lost(&[WHOLE[0]]);
    let (behind, began) = (broker.clone(), broker.clock.now());
    broker.meanwhile(move |_| {
        if behind.clock.now().since(began) > SETTLE / 2 {
            behind.state().ledger.clear();
        }
    });
    let order = broker.guard().place_sliced(&large()).unwrap();
    assert_eq!(placed(&order), ["1"]);
    // The last book lacks what is there, so it is no evidence about the missing quantity.
    assert_eq!(unknown_and_absent(&order), [Some(6), Some(0)]);
    assert_eq!(broker.state().ledger.len(), 0);
}

#[test]
fn what_was_observed_is_reported_when_the_book_cannot_be_read_any_more() {
    let broker = lost(&[WHOLE[0]]);
    let blind = broker.clone();
    broker.meanwhile(move |read| {
        // The first is the baseline.
        if read == 3 {
            blind.blind(100, &transient());
        }
    });
    let guard = broker.guard();
    let order = partly(guard.place_order(&large()));
    assert_eq!((placed(&order), unknown_and_absent(&order)), (vec!["1"], [Some(6), Some(0)]));
    // Nor can it be read now.
    let outcome = guard.recover().remove(0).outcome;
    let RecoveredOutcome::PartlyPlaced(order) = outcome else { panic!("{outcome:?}") };
    assert_eq!((placed(&order), unknown_and_absent(&order)), (vec!["1"], [Some(6), Some(0)]));
    broker.state().blind.clear();
    broker.meanwhile(|_| ());
    booked(&broker, "2", 6, "OPEN", 0);
    assert_eq!(guard.recover().remove(0).outcome, RecoveredOutcome::Placed(OrderId::new("1")));
}

/// An order that needed no slicing is one order, and another broker may not slice at all.
#[test]
fn an_order_in_one_piece_is_found_as_ever() {
    for sliced in [true, false] {
        let broker = echoed();
        broker.fates([Fate::LostAfter(Duration::ZERO)]);
        let request = order(10).autoslice(sliced);
        let found = broker.guard().place_sliced(&request);
        assert_eq!(found, Ok(SlicedOrder::single(OrderId::new("000001"), 10)));
    }
}

#[cfg(feature = "mock")]
mod answered {
    use lanekeeper::broker::{MockBroker, OrderTags, RowProblem, Rows};
    use lanekeeper::clock::ManualClock;
    use lanekeeper::order_guard::OrderGuard;

    use super::*;

    fn guard(mock: MockBroker) -> OrderGuard<MockBroker> {
        let clock = ManualClock::auto_advancing();
        let guard = OrderGuard::builder(mock).settle_time(SETTLE).clock(clock).build();
        guard.unwrap()
    }

    fn mock() -> MockBroker {
        let mut mock = MockBroker::new();
        mock.expect_order_tags().returning(|| OrderTags::echoed(20));
        mock
    }

    fn sliced(last: Slice) -> SlicedOrder {
        let slices = [Slice::placed(OrderId::new("1")).quantity(4), last.quantity(6)];
        SlicedOrder::new(Some(OrderId::new("1")), 10, slices)
    }

    #[test]
    fn an_answer_in_slices_goes_through_and_nothing_is_sent_again() {
        let answer = sliced(Slice::rejected(ErrorDetail::new("no funds")));
        let mut mock = mock();
        let (first, second) = (answer.clone(), answer.clone());
        mock.expect_place_order()
            .times(1)
            .returning(move |_| Err(BrokerError::PartlyPlaced(Box::new(first.clone()))));
        mock.expect_place_sliced().times(1).returning(move |_| Ok(second.clone()));
        let guard = guard(mock);
        assert_eq!(partly(guard.place_order(&large())), answer);
        assert_eq!(guard.place_sliced(&large().tag("other")), Ok(answer));
        // Both are answered: nothing is left to recover.
        assert_eq!(guard.recover(), []);
    }

    #[test]
    fn a_slice_of_unknown_outcome_is_asked_after() {
        let mut mock = mock();
        mock.expect_place_order().times(1).returning(|_| {
            let answer = sliced(Slice::unknown(ErrorDetail::new("timed out")));
            Err(BrokerError::PartlyPlaced(Box::new(answer)))
        });
        // Nothing is in the book before.
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        mock.expect_orders().returning(|| {
            let book = [("1", 4), ("2", 6)].map(|(id, quantity)| {
                let request = order(quantity).tag("mine");
                let mut slice = Order::new(OrderId::new(id), OrderStatus::Open, &request);
                slice.parent = Some(OrderId::new("1")).filter(|_| id != "1");
                slice
            });
            Ok(Rows::from(Vec::from(book)))
        });
        let guard = guard(mock);
        let order = partly(guard.place_order(&large()));
        let lookup = order.unknown().next().unwrap().lookup.clone().unwrap();
        assert_eq!(
            (lookup.tag.as_deref(), lookup.result),
            (Some("mine"), LookupResult::Unreadable)
        );
        assert_eq!(guard.recover()[0].outcome, RecoveredOutcome::Placed(OrderId::new("1")));
        assert_eq!(guard.recover(), []);
    }

    #[test]
    fn a_row_that_cannot_be_read_may_be_the_slice_that_is_missing() {
        let mut mock = mock();
        mock.expect_place_order()
            .returning(|_| Err(BrokerError::OutcomeUnknown(ErrorDetail::new("reset"))));
        // Nothing is in the book before.
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        mock.expect_orders().returning(|| {
            let first = Order::new(OrderId::new("1"), OrderStatus::Open, &order(4).tag("mine"));
            let problem = RowProblem::new(1, "it has no status", "{..}").tag("mine");
            Ok(Rows::from(vec![first]).with_problems([problem]))
        });
        let guard = guard(mock);
        let order = partly(guard.place_order(&large()));
        let unknown = order.unknown().next().unwrap();
        assert_eq!(unknown.lookup.as_ref().unwrap().result, LookupResult::Unclear);
        assert!(unknown.message.contains("it has no status"), "{unknown}");
        // Nor is it reported as absent later.
        let RecoveredOutcome::PartlyPlaced(order) = guard.recover().remove(0).outcome else {
            panic!()
        };
        assert!(matches!(order.slices[1].outcome, SliceOutcome::Unknown(_)));
        assert_eq!(guard.recover().len(), 1, "it is asked after again");
    }
}

#[test]
fn what_is_found_later_is_reported_completely() {
    for (shown, whole) in [(&WHOLE[..], true), (&WHOLE[..2], false)] {
        let broker = lost(shown);
        let guard = broker.guard();
        broker.blind(100, &transient());
        assert_eq!(lookup(guard.place_order(&large())).result, LookupResult::Unreadable);
        broker.state().blind.clear();
        match guard.recover().remove(0).outcome {
            RecoveredOutcome::Placed(id) => assert_eq!((id, whole), (OrderId::new("1"), true)),
            RecoveredOutcome::PartlyPlaced(order) => {
                assert!(!whole);
                assert_eq!(placed(&order), ["1", "2"]);
                // Long after it was sent, an absent order is not recovered again.
                assert_eq!(order.absent_quantity(), Some(2.into()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(guard.recover(), []);
    }
}
