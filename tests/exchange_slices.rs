//! Orders that the exchange divides into slices, over real HTTP: the results of the adapter and of the guard, compared
//! with the exchange's own records.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "kite")]

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, Instrument, LookupResult, OrderChange, OrderId, OrderRequest, OrderStatus,
    Side, SliceCancel, SlicedOrder, lanes,
};
use lanekeeper::brokers::{Kite, PaperBroker};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{Faults, SimulatedExchange, SimulatorBuilder, SimulatorError};

/// Returns a builder with a freeze quantity of 10, an account with `cash`, and no circuit limits: orders rest far from
/// the market.
fn builder(cash: u64) -> SimulatorBuilder {
    let open = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100_000)));
    let market = PaperBroker::builder().cash(cash).build().unwrap();
    SimulatedExchange::builder()
        .broker(market)
        .limits(open)
        .freeze_quantity("NSE", 10)
        .circuit_limits(false)
}

fn start(fault: &str) -> SimulatedExchange {
    let faults = match fault {
        "" => Faults::new(),
        fault => Faults::new().rule(format!("place={fault}").parse().unwrap()),
    };
    builder(1_000_000).faults(faults).start().unwrap()
}

fn kite(exchange: &SimulatedExchange) -> Kite {
    let url = exchange.base_url();
    Kite::builder().api_key("key").access_token("token").base_url(url).build().unwrap()
}

/// Returns an order that rests far below the market.
fn order(quantity: u64) -> OrderRequest {
    OrderRequest::limit(Instrument::new("NSE", "YESBANK"), Side::Buy, quantity, 1)
}

fn sliced(quantity: u64) -> OrderRequest {
    order(quantity).autoslice(true).tag("mine")
}

fn refused(answer: Result<OrderId, BrokerError>) -> String {
    match answer {
        Err(BrokerError::Rejected(detail)) => {
            assert_eq!(
                (detail.status, detail.code.as_deref()),
                (Some(400), Some("InputException"))
            );
            detail.message
        }
        other => panic!("{other:?}"),
    }
}

fn partly(answer: Result<OrderId, BrokerError>) -> SlicedOrder {
    match answer {
        Err(BrokerError::PartlyPlaced(order)) => *order,
        other => panic!("{other:?}"),
    }
}

/// Returns the ids of the exchange's orders, oldest first.
fn ledger(exchange: &SimulatedExchange) -> Vec<OrderId> {
    exchange.orders().into_iter().map(|order| order.id).collect()
}

#[test]
fn an_order_above_the_freeze_quantity_is_sliced_if_it_asks_for_it() {
    let exchange = start("");
    let kite = kite(&exchange);
    let placed = kite.place_sliced(&sliced(25)).unwrap();
    let ids = ledger(&exchange);
    assert_eq!(placed.placed().cloned().collect::<Vec<_>>(), ids);
    assert_eq!((placed.parent.as_ref(), placed.is_placed()), (Some(&ids[0]), true));
    assert_eq!(placed.placed_quantity(), Some(25.into()));

    let of = |quantity: u64| {
        exchange.orders().iter().filter(|it| it.quantity == quantity.into()).count()
    };
    assert_eq!((of(10), of(5)), (2, 1));
    for (at, booked) in exchange.orders().iter().enumerate() {
        assert_eq!(booked.tag.as_deref(), Some("mine"));
        assert_eq!(booked.parent, Some(ids[0].clone()).filter(|_| at > 0));
    }
    // Kite shows slices by tags, from which the adapter reads the parent.
    for (shown, booked) in kite.orders().unwrap().iter().zip(exchange.orders()) {
        assert_eq!((&shown.tag, &shown.parent), (&booked.tag, &booked.parent));
    }
    assert_eq!(kite.place_order(&sliced(11)), Ok(exchange.orders()[3].id.clone()));
    assert_eq!(exchange.orders().len(), 5);
}

#[test]
fn an_order_that_cannot_be_sliced_is_refused_in_kites_words() {
    let exchange = start("");
    let kite = kite(&exchange);
    assert_eq!(
        refused(kite.place_order(&order(11))),
        "The order quantity 11 (11 lots) is higher than the maximum quantity of 10 (10 lots) allowed \
         by the exchanges. Please reduce the order quantity or use iceberg orders."
    );
    let words = refused(kite.place_order(&sliced(10)));
    assert_eq!(words, "Quantity should be greater than 10 for order slicing.");
    assert!(refused(kite.place_order(&sliced(101))).contains("more than 10 slices"));
    let id = kite.place_order(&order(10)).unwrap();
    let more = refused(kite.modify_order(&id, &OrderChange::new().quantity(11)));
    assert!(more.starts_with("The order quantity 11"), "{more}");
    assert_eq!(exchange.orders().len(), 1);
    assert_eq!(kite.place_sliced(&sliced(100)).unwrap().slices.len(), 10);
}

#[test]
fn slices_beyond_the_funds_are_refused_and_the_others_stay() {
    let exchange = builder(22).start().unwrap();
    let placed = partly(kite(&exchange).place_order(&sliced(40)));
    assert_eq!(placed.placed().cloned().collect::<Vec<_>>(), ledger(&exchange));
    assert_eq!((placed.slices.len(), placed.rejected().count()), (4, 2));
    let why = placed.rejected().next().unwrap();
    assert_eq!((why.status, why.code.as_deref()), (Some(400), Some("MarginException")));
    assert!(why.message.starts_with("Insufficient funds. Required margin is 10"), "{why}");

    // Without the first slice, none is placed.
    let poor = builder(5).start().unwrap();
    let error = kite(&poor).place_order(&sliced(40)).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
    assert_eq!(ledger(&poor), []);
}

#[test]
fn a_slice_with_a_fault_is_reported_and_the_ledger_agrees() {
    let exchange = start("slice-refused:2");
    let placed = partly(kite(&exchange).place_order(&sliced(25)));
    assert_eq!(placed.placed().cloned().collect::<Vec<_>>(), ledger(&exchange));
    assert_eq!((placed.slices.len(), placed.rejected().count()), (3, 1));

    let exchange = start("slice-lost:2");
    let placed = partly(kite(&exchange).place_order(&sliced(25)));
    assert_eq!((placed.placed().count(), placed.unknown().count()), (2, 1));
    assert!(placed.unknown().next().unwrap().message.contains("check the order book"));
    assert_eq!(ledger(&exchange).len(), 3, "the one of unknown outcome is in the market");
    // A fault of a slice does not apply to an undivided order.
    assert!(kite(&exchange).place_order(&order(5)).is_ok());
}

#[test]
fn all_slices_are_followed_by_one_read_and_cancelled() {
    let exchange = start("slice-lost:2");
    let kite = kite(&exchange);
    let placed = partly(kite.place_order(&sliced(35)));
    let ids = ledger(&exchange);
    let known = [&ids[0], &ids[2], &ids[3]];
    let at_market = OrderChange::new().order_type(lanekeeper::broker::OrderType::Market);
    kite.modify_order(&ids[3], &at_market).unwrap();

    let reads_before = exchange.arrivals().len();
    let state = placed.follow(&kite).unwrap();
    assert_eq!(exchange.arrivals().len(), reads_before + 1);
    let shown: Vec<_> = state.slices.iter().flatten().map(|order| &order.id).collect();
    assert_eq!(shown, known);
    assert!(matches!(state.slices[1], Err(BrokerError::OutcomeUnknown(_))));
    // The slice of unknown outcome is found by its parent.
    assert_eq!(state.others.iter().map(|order| &order.id).collect::<Vec<_>>(), [&ids[1]]);
    assert_eq!((state.filled, state.pending), (5.into(), 30.into()));

    let ends = placed.cancel_all(&kite);
    assert!(matches!(&ends[0], SliceCancel::Cancelled(id) if *id == ids[0]));
    assert!(matches!(&ends[1], SliceCancel::Unknown(_)));
    assert!(matches!(&ends[3], SliceCancel::Final(id, OrderStatus::Filled) if *id == ids[3]));
    assert!(matches!(&ends[4], SliceCancel::Cancelled(id) if *id == ids[1]));
    assert_eq!(placed.follow(&kite).unwrap().pending, 0.into());
}

fn guard(exchange: &SimulatedExchange) -> OrderGuard<Kite> {
    let settle = Duration::from_millis(300);
    OrderGuard::builder(kite(exchange)).settle_time(settle).build().unwrap()
}

#[test]
fn a_lost_answer_is_recovered_completely() {
    let exchange = start("reset-after");
    let guard = guard(&exchange);
    let placed = guard.place_sliced(&sliced(25)).unwrap();
    let ids = ledger(&exchange);
    assert_eq!(placed.placed().cloned().collect::<Vec<_>>(), ids);
    assert_eq!(
        placed.slices.iter().map(|it| it.quantity).collect::<Vec<_>>(),
        [10, 10, 5].map(|it| Some(it.into()))
    );
    let second = guard.place_order(&sliced(25).tag("other")).unwrap();
    assert_eq!(second, exchange.orders()[3].id);
    assert_eq!(exchange.orders().len(), 6, "nothing was sent again");
    assert_eq!(guard.recover(), []);
}

#[test]
fn of_a_lost_answer_what_the_book_does_not_show_is_absent() {
    // Two of four slices are rejected for lack of funds, and the order book does not show those.
    let faults = Faults::new().rule("place=reset-after".parse().unwrap());
    let exchange = builder(22).faults(faults).start().unwrap();
    let placed = partly(guard(&exchange).place_order(&sliced(40)));
    assert_eq!(placed.placed().cloned().collect::<Vec<_>>(), ledger(&exchange));
    assert_eq!(placed.placed_quantity(), Some(20.into()));
    assert_eq!(placed.absent_quantity(), Some(20.into()));
    let lookup = placed.absent().next().unwrap().lookup.clone().unwrap();
    assert!(matches!(lookup.result, LookupResult::Absent(_)), "{lookup:?}");
    assert_eq!(lookup.tag.as_deref(), Some("mine"));

    let exchange = start("reset-before");
    let error = guard(&exchange).place_order(&sliced(25)).unwrap_err();
    assert!(matches!(error, BrokerError::Absent(_)), "{error}");
}

#[test]
fn a_freeze_quantity_that_no_order_can_meet_is_refused() {
    let error = SimulatedExchange::builder().freeze_quantity("NFO", 0).start().unwrap_err();
    assert!(matches!(error, SimulatorError::Freeze { .. }), "{error}");
    assert!(error.to_string().contains("NFO"), "{error}");
}
