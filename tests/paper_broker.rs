//! What the paper broker does with orders, in virtual time.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "paper")]

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, BrokerTime, CandleRequest, Exchange, Holding, Instrument,
    Interval, OrderChange, OrderRequest, OrderStatus, OrderType, Product, Side, TimeInForce, lanes,
};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::{PaperBuildError, Prices};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::civil::date;
use lanekeeper::jiff::tz::TimeZone;
use lanekeeper::jiff::{Timestamp, ToSpan};
use lanekeeper::proxy::BuildError;
use lanekeeper::quota::{Limits, Quota};
use rust_decimal::Decimal;

fn x() -> Instrument {
    Instrument::new("NSE", "X")
}

/// Returns a broker whose X costs `closes` in turn, a second each.
fn paper(closes: &[i64]) -> (PaperBroker, ManualClock) {
    let mut csv = "time,exchange,symbol,open,high,low,close,volume\n".to_owned();
    for (minute, close) in closes.iter().enumerate() {
        csv += &format!(
            "2019-01-01T09:{minute:02}:00+05:30,NSE,X,{close},{close},{close},{close},5\n"
        );
    }
    let clock = ManualClock::new();
    let paper = PaperBroker::builder()
        .prices(Prices::from_csv(&csv).unwrap())
        .cash(1000)
        .clock(clock.clone())
        .starts_at("2026-01-05T09:15:00+05:30[+05:30]".parse().unwrap())
        .build()
        .unwrap();
    (paper, clock)
}

fn statuses(paper: &PaperBroker, id: &lanekeeper::broker::OrderId) -> Vec<String> {
    paper.order_history(id).unwrap().iter().map(|order| order.status.to_string()).collect()
}

fn rejected(result: Result<impl std::fmt::Debug, BrokerError>) -> String {
    match result {
        Err(BrokerError::Rejected(detail)) => detail.message,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_market_order_fills_at_once_at_the_replayed_price() {
    let (paper, clock) = paper(&[10, 20, 30]);
    clock.advance(SECOND);
    let id = paper.place_order(&OrderRequest::market(x(), Side::Buy, 3).tag("t1")).unwrap();
    assert_eq!(statuses(&paper, &id), ["PUT ORDER REQ RECEIVED", "OPEN", "FILLED"]);
    let order = paper.order(&id).unwrap();
    assert_eq!(order.average_price, Some(Decimal::from(20)));
    assert_eq!((order.filled_quantity, order.pending_quantity()), (3.into(), 0.into()));
    assert_eq!(order.tag.as_deref(), Some("t1"));
    assert_eq!(
        order.placed_at.unwrap().strftime("%FT%T%z").to_string(),
        "2026-01-05T09:15:01+0530"
    );
    let trade = paper.order_trades(&id).unwrap().remove(0);
    assert_eq!((trade.order_id.clone(), trade.quantity, trade.price), (id, 3.into(), 20.into()));
}

#[test]
fn a_limit_order_fills_when_the_replay_crosses_it_however_late_it_is_read() {
    let (paper, clock) = paper(&[10, 9, 7, 20]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 1, 8)).unwrap();
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    clock.advance(SECOND * 1000);
    let order = paper.order(&id).unwrap();
    assert_eq!(order.status, OrderStatus::Filled);
    assert_eq!(order.average_price, Some(Decimal::from(7)));
    assert_eq!(order.updated_at.unwrap().strftime("%T").to_string(), "09:15:02");
}

#[test]
fn a_sell_limit_waits_for_the_price_to_rise() {
    let (paper, clock) = paper(&[10, 11, 12]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Sell, 1, 12)).unwrap();
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().average_price, Some(Decimal::from(12)));
}

#[test]
fn a_limit_that_is_good_already_fills_at_placement_at_the_better_price() {
    let (paper, _) = paper(&[10]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 1, 15)).unwrap();
    assert_eq!(paper.order(&id).unwrap().average_price, Some(Decimal::from(10)));
}

#[test]
fn a_stop_waits_for_its_trigger_and_then_is_a_market_order() {
    let (paper, clock) = paper(&[10, 9, 6]);
    let id = paper.place_order(&OrderRequest::stop(x(), Side::Sell, 2, 8)).unwrap();
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::TriggerPending);
    clock.advance(SECOND);
    assert_eq!(
        statuses(&paper, &id),
        ["PUT ORDER REQ RECEIVED", "TRIGGER PENDING", "OPEN", "FILLED"]
    );
    assert_eq!(paper.order(&id).unwrap().average_price, Some(Decimal::from(6)));
}

#[test]
fn a_stop_limit_waits_twice() {
    let (paper, clock) = paper(&[10, 13, 12, 11]);
    let order = OrderRequest::stop_limit(x(), Side::Buy, 1, 12, 11);
    let id = paper.place_order(&order).unwrap();
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    clock.advance(SECOND);
    assert_eq!(paper.order(&id).unwrap().average_price, Some(Decimal::from(11)));
}

#[test]
fn a_stop_limit_fills_in_the_second_round_of_the_replay_after_a_long_silence() {
    // The trigger is met at the end of the first round, and the limit only far into the second.
    let (paper, clock) = paper(&[12, 10, 9]);
    clock.advance(SECOND);
    let order = OrderRequest::stop_limit(x(), Side::Buy, 1, 12, 9);
    let id = paper.place_order(&order).unwrap();
    clock.advance(SECOND * 1_000_000);
    let order = paper.order(&id).unwrap();
    assert_eq!(order.status, OrderStatus::Filled);
    assert_eq!(order.updated_at.unwrap().strftime("%T").to_string(), "09:15:05");
}

#[test]
fn what_does_not_fill_at_once_is_cancelled_if_asked() {
    let (paper, _) = paper(&[10]);
    for time_in_force in [TimeInForce::Ioc, TimeInForce::Fok] {
        let order = OrderRequest::limit(x(), Side::Buy, 4, 9).time_in_force(time_in_force);
        let order = paper.order(&paper.place_order(&order).unwrap()).unwrap();
        assert_eq!(order.status, OrderStatus::Cancelled);
        assert_eq!(order.cancelled_quantity, Decimal::from(4));
    }
    assert_eq!(paper.trades().unwrap().rows, []);
}

#[test]
fn an_order_can_be_changed_until_it_is_done() {
    let (paper, _) = paper(&[10]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 4, 9)).unwrap();
    let change = OrderChange::new().quantity(2).price(8);
    assert_eq!(paper.modify_order(&id, &change).unwrap(), id);
    let order = paper.order(&id).unwrap();
    assert_eq!((order.quantity, order.price), (2.into(), Some(8.into())));
    assert_eq!(order.status, OrderStatus::Open);
    paper.modify_order(&id, &OrderChange::new().order_type(OrderType::Market)).unwrap();
    assert_eq!(paper.order(&id).unwrap().filled_quantity, Decimal::from(2));
    assert_eq!(
        rejected(paper.modify_order(&id, &change)),
        "The order cannot be changed: it is FILLED already."
    );
}

#[test]
fn the_twenty_sixth_change_is_refused() {
    let (paper, _) = paper(&[10]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 1, 1)).unwrap();
    for price in 1..=25 {
        let change = OrderChange::new().price(Decimal::new(price, 1));
        paper.modify_order(&id, &change).unwrap();
    }
    let message = rejected(paper.modify_order(&id, &OrderChange::new().price(2)));
    assert_eq!(message, "Maximum allowed order modifications exceeded.");
}

#[test]
fn a_cancelled_order_never_fills() {
    let (paper, clock) = paper(&[10, 1]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 4, 9)).unwrap();
    paper.cancel_order(&id).unwrap();
    clock.advance(SECOND);
    let order = paper.order(&id).unwrap();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.cancelled_quantity, Decimal::from(4));
    assert_eq!(
        rejected(paper.cancel_order(&id)),
        "The order cannot be changed: it is CANCELLED already."
    );
    assert_eq!(paper.margins().unwrap().segment("equity").unwrap().net, Decimal::from(1000));
}

#[test]
fn orders_that_make_no_sense_leave_no_trace() {
    let (paper, _) = paper(&[10]);
    let mut no_price = OrderRequest::limit(x(), Side::Buy, 1, 1);
    no_price.price = None;
    let mut strange = OrderRequest::market(x(), Side::Buy, 1);
    strange.order_type = "PEGGED".into();
    for (order, expected) in [
        (OrderRequest::market(Instrument::new("NSE", "Y"), Side::Buy, 1), "NSE:Y does not exist"),
        (OrderRequest::market(x(), Side::Buy, 0), "`quantity`"),
        (OrderRequest::market(x(), Side::Buy, -1), "`quantity`"),
        (OrderRequest::market(x(), Side::Buy, Decimal::MAX), "`quantity`"),
        (OrderRequest::limit(x(), Side::Buy, 1, 0), "`price`"),
        (OrderRequest::limit(x(), Side::Buy, 1, Decimal::MAX), "`price`"),
        (OrderRequest::stop(x(), Side::Buy, 1, -1), "`trigger_price`"),
        (OrderRequest::market(x(), Side::Buy, 1).disclosed_quantity(2), "`disclosed_quantity`"),
        (no_price, "a LIMIT order needs it"),
        (strange, "`PEGGED` is unknown"),
    ] {
        let message = rejected(paper.place_order(&order));
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(paper.orders().unwrap().rows, []);
}

#[test]
fn an_order_without_funds_is_in_the_book_as_rejected() {
    let (paper, _) = paper(&[10]);
    let id = paper.place_order(&OrderRequest::market(x(), Side::Buy, 101)).unwrap();
    let order = paper.order(&id).unwrap();
    assert_eq!(order.status, OrderStatus::Rejected);
    assert_eq!(
        order.status_message.as_deref(),
        Some("Insufficient funds. Required margin is 1010 but available margin is 1000.")
    );
    // Resting orders tie up money too, and release it.
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 100, 9)).unwrap();
    let second = paper.place_order(&OrderRequest::market(x(), Side::Buy, 11)).unwrap();
    assert_eq!(paper.order(&second).unwrap().status, OrderStatus::Rejected);
    paper.cancel_order(&id).unwrap();
    let third = paper.place_order(&OrderRequest::market(x(), Side::Buy, 11)).unwrap();
    assert_eq!(paper.order(&third).unwrap().status, OrderStatus::Filled);
}

#[test]
fn a_change_beyond_the_funds_is_refused_and_changes_nothing() {
    let (paper, _) = paper(&[10]);
    let id = paper.place_order(&OrderRequest::limit(x(), Side::Buy, 100, 9)).unwrap();
    let message = rejected(paper.modify_order(&id, &OrderChange::new().quantity(200)));
    assert!(message.starts_with("Insufficient funds."), "{message}");
    assert_eq!(paper.order(&id).unwrap().quantity, Decimal::from(100));
    let net = paper.margins().unwrap().segment("equity").unwrap().net;
    assert_eq!(net, Decimal::from(100));
}

#[test]
fn positions_and_margins_follow_the_fills() {
    let (paper, clock) = paper(&[10, 14]);
    paper.place_order(&OrderRequest::market(x(), Side::Buy, 10)).unwrap();
    clock.advance(SECOND);
    paper.place_order(&OrderRequest::market(x(), Side::Sell, 4)).unwrap();
    let short = OrderRequest::market(x(), Side::Sell, 1).product(Product::Mis);
    paper.place_order(&short).unwrap();
    let positions = paper.positions().unwrap();
    assert_eq!(positions.net, positions.day);
    let [cnc, mis] = &positions.net[..] else { panic!("{positions:?}") };
    assert_eq!((cnc.quantity, cnc.average_price), (6.into(), 10.into()));
    assert_eq!((cnc.realised, cnc.unrealised), (Some(16.into()), Some(24.into())));
    assert_eq!(cnc.pnl, Some(40.into()));
    assert_eq!((mis.product.clone(), mis.quantity), (Some(Product::Mis), (-1).into()));
    let margins = paper.margins().unwrap();
    // 1000 + 16 realised - 60 held long - 14 held short.
    assert_eq!(margins.segment("equity").unwrap().net, Decimal::from(942));
}

#[test]
fn the_rest_of_the_account_can_be_read() {
    let clock = ManualClock::new();
    let yes = Instrument::new("NSE", "YESBANK");
    let paper = PaperBroker::builder()
        .clock(clock)
        .holding(Holding::new(yes.clone(), 10.into(), 90.into()))
        .build()
        .unwrap();
    let holding = paper.holdings().unwrap().remove(0);
    let price = paper.ltp(&yes).unwrap();
    assert_eq!(holding.last_price, Some(price));
    assert_eq!(holding.pnl, Some((price - Decimal::from(90)) * Decimal::from(10)));
    assert_eq!(paper.profile().unwrap().exchanges, ["NSE"]);
    assert_eq!(paper.instruments(None).unwrap().len(), 2);
    assert_eq!(paper.instruments(Some(&Exchange::Bse)).unwrap().len(), 0);
    let unknown = Instrument::new("NSE", "Y");
    assert_eq!(paper.ltp(&unknown), Err(BrokerError::NoQuote { instrument: unknown }));
}

#[test]
fn ids_are_fifteen_digits_and_tags_may_repeat() {
    let (paper, _) = paper(&[10]);
    let order = OrderRequest::limit(x(), Side::Buy, 1, 1).tag("same");
    let ids: std::collections::HashSet<_> =
        (0..100).map(|_| paper.place_order(&order).unwrap().to_string()).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 15 && id.bytes().all(|b| b.is_ascii_digit())));
    assert!(paper.orders().unwrap().iter().all(|order| order.tag.as_deref() == Some("same")));
}

#[test]
fn ten_thousand_orders_do_not_wait_for_each_other() {
    let clock = ManualClock::new();
    let resting = OrderRequest::limit(x(), Side::Sell, 1, 500);
    let crossing = OrderRequest::limit(x(), Side::Sell, 1, 11);
    // Short sales tie up money, so this needs an account with more of it.
    let rich = PaperBroker::builder().cash(100_000_000).clock(clock.clone());
    let prices = Prices::from_csv(
        "time,exchange,symbol,open,high,low,close,volume\n\
         2019-01-01T09:15:00+05:30,NSE,X,10,10,10,10,1\n\
         2019-01-01T09:16:00+05:30,NSE,X,11,11,11,11,1\n",
    );
    let rich = rich.prices(prices.unwrap()).build().unwrap();
    for n in 0..10_000 {
        rich.place_order(if n % 2 == 0 { &resting } else { &crossing }).unwrap();
        // Each placement reads the clock, and now and then the replay moves.
        clock.advance(Duration::from_micros(1));
    }
    clock.advance(SECOND * 3600);
    assert_eq!(rich.trades().unwrap().len(), 5_000);
    assert_eq!(rich.orders().unwrap().len(), 10_000);
}

#[test]
fn a_new_trigger_is_waited_for_and_a_new_price_behind_an_old_one_is_not() {
    let (paper, clock) = paper(&[10, 13, 11]);
    let id = paper.place_order(&OrderRequest::stop_limit(x(), Side::Buy, 1, 12, 9)).unwrap();
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::TriggerPending);
    clock.advance(SECOND * 2);
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    paper.modify_order(&id, &OrderChange::new().price(8)).unwrap();
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::Open);
    paper.modify_order(&id, &OrderChange::new().trigger_price(12)).unwrap();
    assert_eq!(paper.order(&id).unwrap().status, OrderStatus::TriggerPending);
}

#[test]
fn the_lanes_are_those_of_the_trait() {
    let (paper, _) = paper(&[100]);
    let limits = Limits::new().lane("no such lane", Quota::unlimited());
    match BrokerProxy::builder(paper).limits(limits).build() {
        Err(BuildError::Unknown { what: "lane", known, .. }) => {
            assert_eq!(known, lanes::ALL.join(", "))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_zone_that_is_not_known_is_no_zone() {
    let nowhere =
        "2019-01-01T09:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::unknown());
    let start = PaperBroker::builder().starts_at(nowhere.clone()).build();
    assert_eq!(start.unwrap_err(), PaperBuildError::NoZone);

    let (paper, _) = paper(&[10, 20, 30]);
    let candles = |from: BrokerTime, to: BrokerTime| {
        paper.candles(&CandleRequest::new(x(), Interval::Minute, from, to))
    };
    let nine = date(2019, 1, 1).at(9, 0, 0, 0);
    for (from, to) in [(nowhere.clone().into(), nine.into()), (nine.into(), nowhere.into())] {
        let error = candles(from, to).unwrap_err();
        let BrokerError::NotSent(detail) = &error else { panic!("{error}") };
        assert!(detail.local && detail.message.contains("09:00 would mean UTC"), "{error}");
    }
    // A time without a zone is in the broker's.
    let one = nine.checked_add(1.minute()).unwrap();
    assert_eq!(candles(nine.into(), one.into()).unwrap().len(), 2);
    assert!(matches!(candles(one.into(), nine.into()), Err(BrokerError::Rejected(_))));
}
