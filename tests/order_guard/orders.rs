//! Placing an order.

use std::time::Duration;

use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Absence, Broker, BrokerError, BrokerProxy, ErrorDetail, LookupResult, Order, OrderId,
    OrderLookup, OrderStatus, OrderTags, Side, lanes,
};
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::Priority;
use lanekeeper::order_guard::{CallerTags, GuardBuildError, OrderGuard, RecoveredOutcome};
use lanekeeper::quota::{Limits, Moment, Quota};

use super::shaky::{DUPLICATE, Fate, SENT, SETTLE, Shaky, order, transient};

pub(super) fn echoed() -> Shaky {
    Shaky::new(OrderTags::echoed(20))
}

/// Returns what is known of an order whose outcome is unknown.
pub(super) fn lookup(answer: Result<OrderId, BrokerError>) -> OrderLookup {
    match answer {
        Err(BrokerError::OutcomeUnknown(detail)) => {
            let lookup = *detail.lookup.expect("a trail");
            assert!(!matches!(lookup.result, LookupResult::Absent(_)), "{lookup:?}");
            lookup
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the evidence that an order did not reach the broker.
pub(super) fn absence<A: std::fmt::Debug>(answer: Result<A, BrokerError>) -> Absence {
    match answer {
        Err(error @ BrokerError::Absent(_)) => *error.absence().expect("the evidence"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answered_order_is_searched_for_nowhere() {
    let broker = echoed();
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!(broker.state().reads, 0);
}

#[test]
fn an_order_without_a_tag_gets_one_and_no_two_the_same() {
    let broker = echoed();
    let (one, other) = (broker.guard(), broker.guard());
    for quantity in 1..=100 {
        one.place_order(&order(quantity)).unwrap();
        other.place_order(&order(quantity)).unwrap();
    }
    let mut tags: Vec<String> = broker.ledger().into_iter().filter_map(|o| o.tag).collect();
    assert!(tags.iter().all(|tag| tag.len() == 20));
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 200);
}

#[test]
fn a_lost_answer_is_found_in_the_book() {
    let broker = echoed();
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!(broker.placed_and_reads(), (1, 1));
}

#[test]
fn an_order_that_appears_late_is_waited_for() {
    let broker = echoed();
    broker.fates([Fate::LostAfter(Duration::from_secs(8))]);
    let before = broker.clock.now();
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    assert!(broker.clock.now().since(before) >= Duration::from_secs(8));
    assert_eq!(broker.state().placed, 1);
}

#[test]
fn an_order_that_appears_at_the_last_moment_is_found() {
    // Exactly as late as is assumed: the last read must not be sent before.
    let broker = echoed();
    broker.fates([Fate::LostAfter(SETTLE)]);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
}

#[test]
fn an_order_found_rejected_is_rejected() {
    let broker = echoed();
    broker.fates([Fate::LostRejected]);
    let answer = broker.guard().place_order(&order(1));
    assert_eq!(answer, Err(BrokerError::Rejected(ErrorDetail::new("order 000001: no funds"))));
}

/// A broker that slices orders books one slice after the other.
#[test]
fn a_rejected_slice_is_not_conclusive() {
    for others_live in [true, false] {
        let broker = echoed();
        let booked = |id: &str, status, parent: Option<&str>| {
            let mut order = Order::new(OrderId::new(id), status, &order(1).tag("mine"));
            order.parent = parent.map(OrderId::new);
            order
        };
        let now = broker.clock.now();
        let mut ledger = vec![(now + SENT, booked("slice", OrderStatus::Rejected, Some("parent")))];
        if others_live {
            let later = now + Duration::from_secs(3);
            ledger.push((later, booked("other", OrderStatus::Open, Some("parent"))));
        }
        broker.state().ledger = ledger;
        broker.fates([Fate::LostBefore]);
        let answer = broker.guard().place_order(&order(1).tag("mine"));
        if others_live {
            // Slicing was not requested, and the id of one slice is not that of the order.
            let Err(BrokerError::PartlyPlaced(order)) = answer else { panic!("{answer:?}") };
            assert_eq!(order.parent, Some(OrderId::new("parent")));
            assert_eq!(order.placed().collect::<Vec<_>>(), [&OrderId::new("other")]);
        } else {
            assert!(matches!(answer, Err(BrokerError::Rejected(_))), "{answer:?}");
            assert!(broker.clock.now().since(now) >= SETTLE);
        }
    }
}

#[test]
fn a_lost_order_is_not_sent_again() {
    let broker = echoed();
    broker.fates([Fate::LostBefore]);
    let before = broker.clock.now();
    let answer = broker.guard().place_order(&order(1));
    assert!(broker.clock.now().since(before) >= SETTLE);
    let Err(BrokerError::Absent(detail)) = answer.clone() else { panic!("{answer:?}") };
    assert_eq!(detail.status, Some(504));
    let tag = detail.lookup.unwrap().tag.unwrap();
    let absence = absence(answer);
    let shown = format!("the order book does not show the tag {tag} 10s later: {absence}");
    assert_eq!(detail.message, format!("connection reset; {shown}"));
    // The first read was sent a quarter of a second after the answer was lost, or later, the last one now.
    assert_eq!(absence.reads as usize, broker.state().reads);
    assert!(absence.span >= SETTLE - Duration::from_secs(1) && absence.span <= SETTLE * 2);
    // A manual clock begins with the year.
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let last = began + broker.clock.now().since(Moment::ORIGIN) - Duration::from_millis(20);
    assert_eq!(absence.last_at, last);
    assert_eq!(broker.state().placed, 1);
    assert_eq!(broker.ledger(), []);
}

#[test]
fn a_book_that_cannot_be_read_is_no_evidence() {
    for (blind, found) in [(6, true), (500, false)] {
        let broker = echoed();
        broker.fates([Fate::LostAfter(Duration::ZERO)]);
        broker.blind(blind, &transient());
        let answer = broker.guard().place_order(&order(1));
        if found {
            assert_eq!(answer, Ok(OrderId::new("000001")));
        } else {
            assert_eq!(lookup(answer).result, LookupResult::Unreadable);
        }
        assert_eq!(broker.state().placed, 1);
    }
}

#[test]
fn a_known_failure_passes_as_it_is() {
    for fate in [Fate::Throttled, Fate::NotSent, Fate::Rejected] {
        let broker = echoed();
        broker.fates([fate]);
        let answer = broker.guard().place_order(&order(1)).unwrap_err();
        assert_eq!(answer.detail(), Some(&ErrorDetail::new("as it was fated")), "{fate:?}");
        assert_eq!(broker.placed_and_reads(), (1, 0));
    }
}

#[test]
fn reads_go_by_the_lookup_broker() {
    let (broker, other) = (echoed(), echoed());
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    let guard = broker.guarded().lookup_broker(other.clone()).build().unwrap();
    // The lookup broker has another book, in which the order is absent.
    absence(guard.place_order(&order(1)));
    assert_eq!(broker.state().reads, 0);
    assert!(other.state().reads > 1);
}

#[test]
fn at_a_broker_with_unique_tags_the_order_is_sent_again() {
    let unique = || Shaky::new(OrderTags::unique(48, DUPLICATE));
    // It was not there: now it is.
    let broker = unique();
    broker.fates([Fate::LostBefore]);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!((broker.ledger().len(), broker.state().reads), (1, 0));
    // It was there: the broker says so, and the book says under which id.
    let broker = unique();
    broker.fates([Fate::LostAfter(Duration::from_secs(1))]);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
    assert_eq!((broker.ledger().len(), broker.state().placed), (1, 2));
    // Neither: a refusal of the second is no evidence about the first.
    let broker = unique();
    broker.fates([Fate::LostBefore, Fate::Rejected]);
    absence(broker.guard().place_order(&order(1)));
    assert_eq!(broker.state().placed, 2);
    // It is there, and its id cannot be found.
    let broker = unique();
    broker.fates([Fate::LostAfter(SETTLE * 2)]);
    let answer = broker.guard().place_order(&order(1));
    assert!(answer.clone().unwrap_err().to_string().contains("the broker has an order"));
    assert_eq!(lookup(answer).result, LookupResult::Unclear);
}

#[test]
fn at_a_broker_without_tags_nothing_can_be_found_out() {
    let broker = Shaky::new(OrderTags::none());
    broker.fates([Fate::LostAfter(Duration::ZERO)]);
    let guard = broker.guard();
    let lookup = lookup(guard.place_order(&order(1)));
    assert_eq!(lookup.result, LookupResult::Unreadable);
    assert_eq!(lookup.tag, broker.ledger()[0].tag);
    assert_eq!(broker.placed_and_reads(), (1, 0));
    assert!(matches!(guard.recover()[0].outcome, RecoveredOutcome::Unknown(_)));
}

#[test]
fn a_callers_tag_is_used_once() {
    let broker = echoed();
    let guard = broker.guard();
    guard.place_order(&order(1).tag("mine")).unwrap();
    let again = guard.place_order(&order(2).tag("mine")).unwrap_err();
    assert!(matches!(&again, BrokerError::NotSent(_)), "{again}");
    assert_eq!(broker.ledger()[0].tag.as_deref(), Some("mine"));
    assert_eq!(broker.ledger().len(), 1);
    // The tag of an order that certainly does not exist is free again.
    for fate in [Fate::NotSent, Fate::Throttled] {
        broker.fates([fate]);
        guard.place_order(&order(3).tag("another")).unwrap_err();
    }
    guard.place_order(&order(3).tag("another")).unwrap();
    // The tag of one that is in the book as rejected is not: the next order would be mistaken for it.
    for (tag, fate) in [("a", Fate::LostRejected), ("b", Fate::Rejected), ("c", Fate::LostBefore)] {
        broker.fates([fate]);
        guard.place_order(&order(4).tag(tag)).unwrap_err();
        let again = guard.place_order(&order(4).tag(tag)).unwrap_err();
        assert!(matches!(again, BrokerError::NotSent(_)), "{fate:?}: {again}");
    }
}

#[test]
fn another_order_under_a_callers_tag_does_not_deceive() {
    let broker = echoed();
    let mut other = order(1).tag("mine");
    other.side = Side::Sell;
    broker.place_order(&other).unwrap();
    broker.fates([Fate::LostBefore]);
    absence(broker.guard().place_order(&order(1).tag("mine")));
}

#[test]
fn a_prefix_begins_the_tag_of_each_of_its_orders() {
    let broker = echoed();
    let guard = broker.guarded().caller_tags(CallerTags::Prefix).build().unwrap();
    for quantity in 1..=2 {
        broker.fates([Fate::LostAfter(Duration::ZERO)]);
        guard.place_order(&order(quantity).tag("alpha")).unwrap();
    }
    let tags: Vec<String> = broker.ledger().into_iter().filter_map(|o| o.tag).collect();
    assert!(tags.iter().all(|tag| tag.starts_with("alpha") && tag.len() == 20), "{tags:?}");
    assert_ne!(tags[0], tags[1]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let none = echoed().guarded().settle_time(Duration::ZERO).build();
    assert!(matches!(none, Err(GuardBuildError::NoSettleTime)));
    let short = OrderGuard::builder(Shaky::new(OrderTags::echoed(8))).build();
    assert!(matches!(short, Err(GuardBuildError::ShortTags { longest: 8 })));
    let tags = OrderTags::echoed(20).zone(lanekeeper::jiff::tz::TimeZone::unknown());
    let nowhere = OrderGuard::builder(Shaky::new(tags)).build();
    assert!(matches!(nowhere, Err(GuardBuildError::NoZone)));
}

#[test]
fn a_broker_that_calls_a_lost_order_transient_is_not_believed() {
    // The contract forbids it. If a broker does so anyway, the order may have been sent.
    let broker = echoed();
    broker.fates([Fate::Mislabelled]);
    assert_eq!(broker.guard().place_order(&order(1)), Ok(OrderId::new("000001")));
}

#[test]
fn through_the_lanes_it_is_the_same() {
    let broker = echoed();
    let limits = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(2)));
    let proxy = BrokerProxy::builder(broker.clone())
        .limits(limits.budget(lanes::ORDERS, Quota::unlimited()))
        .clock(broker.clock.clone())
        .build()
        .unwrap();
    let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    let guard = OrderGuard::builder(proxy)
        .lookup_broker(urgent)
        .settle_time(SETTLE)
        .clock(broker.clock.clone())
        .build()
        .unwrap();
    broker.fates([Fate::LostAfter(Duration::from_secs(8)), Fate::LostBefore]);
    assert_eq!(guard.place_order(&order(1)), Ok(OrderId::new("000001")));
    absence(guard.place_order(&order(2)));
    assert_eq!(broker.state().placed, 2);
}
