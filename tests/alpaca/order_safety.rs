//! At most once, and always an answer, at a broker that enforces unique tags: ten thousand orders through guard, cache,
//! lanes, adapter and wire, while a third of what is sent goes wrong. The lanes and the guard run in virtual time.

use std::time::Duration;

use fastrand::Rng;
use lanekeeper::broker::{OrderStatus, TagSupport};
use lanekeeper::lane::LaneConfig;
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::resilience::BreakerPolicy;
use lanekeeper::{
    Alpaca, Broker, BrokerError, BrokerProxy, ManualClock, OrderId, OrderRequest, Quota, Side,
    Stack,
};

use super::check::{AnswerCounts, Booked, check, no_duplicates};
use super::exchange::{Exchange, Fate};
use super::requests::aapl;

const INTENTS: usize = 100;
const DAYS: u64 = 100;

/// Returns an order that is identified by its quantity.
fn order(number: usize) -> OrderRequest {
    OrderRequest::limit(aapl(), Side::Buy, number as u64, 180)
}

fn lane() -> LaneConfig {
    // A third of all writes goes wrong: the breaker would stop nearly everything.
    LaneConfig::new(Quota::per_second(10)).breaker(BreakerPolicy::disabled())
}

/// Returns guard, cache and lanes in front of the adapter, in virtual time.
fn stack(alpaca: Alpaca) -> Stack<Alpaca> {
    BrokerProxy::builder(alpaca)
        .transactional(lane())
        .quote(lane())
        .historical(lane())
        .clock(ManualClock::auto_advancing())
        .quote_ttl(Duration::from_secs(1))
        .order_guard(|guard| guard)
        .build()
        .unwrap()
}

/// Lets 31 % of the writes and 20 % of the reads go wrong.
fn bad_day(exchange: &Exchange, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let fate = |rng: &mut Rng| match rng.u32(0..100) {
        0..4 => Fate::LostAs502,
        4..7 => Fate::LostByCut,
        7..13 => Fate::TakenThen504,
        13..18 => Fate::TakenThenCut,
        18..23 => Fate::TakenAndHidden(rng.usize(1..4)),
        23..26 => Fate::Throttled,
        26..29 => Fate::Rejected,
        29..31 => Fate::SentTwice,
        _ => Fate::Done,
    };
    exchange.fates((0..INTENTS * 4).map(|_| fate(&mut rng)).collect::<Vec<_>>());
    exchange.state().blind.extend((0..INTENTS * 8).map(|_| rng.u32(0..10) < 2));
}

fn ledger(exchange: &Exchange) -> Vec<Booked> {
    let text = |order: &serde_json::Value, name: &str| order[name].as_str().unwrap().to_owned();
    let booked = |order: &serde_json::Value| Booked {
        id: OrderId::new(text(order, "id")),
        tag: Some(text(order, "client_order_id")),
        quantity: text(order, "qty").parse().unwrap(),
        rejected: OrderStatus::from("REJECTED").as_str() == text(order, "status").to_uppercase(),
    };
    exchange.state().orders.iter().map(booked).collect()
}

#[test]
fn ten_thousand_orders_are_neither_doubled_nor_lost_nor_unknown() {
    let (mut total, mut placements) = (AnswerCounts::default(), 0);
    for seed in 0..DAYS {
        let exchange = Exchange::default();
        bad_day(&exchange, seed);
        let server = exchange.server();
        let stack = stack(server.alpaca());
        assert!(matches!(stack.order_tags().support(), TagSupport::Unique { .. }));
        let place = |number: usize| (number as u64, stack.place_order(&order(number)));
        let answers: Vec<_> = (1..=INTENTS).map(place).collect();
        let counts = check(INTENTS as u64, &answers, &ledger(&exchange));
        total.add(counts.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")));
        placements += exchange.state().placements;
    }
    println!("{total:?}, {placements} placements arrived");
    assert_eq!(total.all(), 10_000);
    // The broker can be read within the settle time, so no outcome stays unknown.
    assert_eq!(total.unread, 0, "{total:?}");
    // The faults were there, and most lost orders were placed by the second sending.
    assert!(total.placed > 9000 && total.rejected > 200, "{total:?}");
    assert!(total.absent > 20 && total.absent < 300, "{total:?}");
    assert!(placements > 10_000, "{placements}");
}

fn guard(alpaca: Alpaca) -> OrderGuard<Alpaca> {
    OrderGuard::builder(alpaca).clock(ManualClock::auto_advancing()).build().unwrap()
}

/// The refusal of the second sending proves that the first one is in the market.
#[test]
fn an_order_that_the_broker_knows_and_does_not_show_is_not_absent() {
    let exchange = Exchange::default();
    let server = exchange.server();
    exchange.fates([Fate::TakenAndHidden(1000)]);
    let error = guard(server.alpaca()).place_order(&order(1)).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    assert_eq!(exchange.state().placements, 2);
    assert_eq!(exchange.state().orders.len(), 1);
}

/// A gateway that sends a request again after a timeout of its own. The refusal is that of the second sending.
#[test]
fn an_order_that_something_on_the_way_sent_twice_is_placed() {
    let exchange = Exchange::default();
    let server = exchange.server();
    exchange.fates([Fate::SentTwice]);
    let guard = guard(server.alpaca());
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("order-1")));
    // Without a guard nothing looks for it, and it is no refusal either.
    exchange.fates([Fate::SentTwice]);
    let error = server.alpaca().place_order(&order(2)).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    // With a tag of the caller's own the first order may be of another process.
    exchange.fates([Fate::SentTwice]);
    let error = server.alpaca().place_order(&order(3).tag("mine")).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
    assert_eq!(exchange.state().orders.len(), 3);
}

/// The same code without that meaning proves nothing: the order is not in the market.
#[test]
fn another_refusal_with_the_code_of_a_duplicate_proves_nothing() {
    let exchange = Exchange::default();
    let server = exchange.server();
    exchange.fates([Fate::LostAs502, Fate::RefusedWithThatCode]);
    let error = guard(server.alpaca()).place_order(&order(1)).unwrap_err();
    assert!(matches!(error, BrokerError::Absent(_)), "{error}");
    assert!(exchange.state().orders.is_empty());
}

/// A client that sends again after any error, with a new id each time: the ledger shows it.
#[test]
fn a_client_that_sends_again_on_a_guess_doubles_orders() {
    let exchange = Exchange::default();
    bad_day(&exchange, 0);
    let server = exchange.server();
    let alpaca = server.alpaca();
    for number in 1..=INTENTS {
        for _ in 0..3 {
            match alpaca.place_order(&order(number)) {
                Err(BrokerError::OutcomeUnknown(_)) => {}
                _ => break,
            }
        }
    }
    assert!(no_duplicates(&ledger(&exchange)).is_err());
}
