//! Thousands of orders at a broker that loses its answers, checked against its ledger.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, LookupResult, Order, OrderId, OrderRequest, OrderStatus,
    OrderTags,
};

use super::shaky::{DUPLICATE, Fate, SETTLE, Shaky, order, transient};

/// Runs a day on which 30 % of the writes and 20 % of the reads go wrong, and now and then the book cannot be read
/// for a long time.
fn bad_day(broker: &Shaky, rng: &mut Rng, orders: usize) {
    let fates = (0..orders * 2).map(|_| match rng.u32(0..100) {
        0..7 => Fate::LostBefore,
        7..14 => Fate::LostAfter(Duration::ZERO),
        14..20 => Fate::LostAfter(SETTLE.mul_f64(rng.f64())),
        20..23 => Fate::LostRejected,
        23..26 => Fate::Throttled,
        26..28 => Fate::NotSent,
        28..30 => Fate::Rejected,
        _ => Fate::Done,
    });
    let fates: Vec<Fate> = fates.collect();
    broker.fates(fates);
    let mut state = broker.state();
    for _ in 0..orders {
        let long = rng.u32(0..100) == 0;
        let errors = [
            transient(),
            BrokerError::NotSent(ErrorDetail::new("the queue is full")),
            BrokerError::Throttled { retry_after: None, detail: ErrorDetail::new("too many") },
        ];
        let mut failure = || match rng.u32(0..10) {
            _ if long => Some(transient()),
            0 | 1 => rng.choice(&errors).cloned(),
            _ => None,
        };
        state.blind.extend((0..if long { 30 } else { 3 }).map(|_| failure()));
    }
}

/// How many answers there were of each kind.
#[derive(Debug, Default)]
struct AnswerCounts {
    placed: usize,
    refused: usize,
    absent: usize,
    unread: usize,
}

/// Checks whether the answers, by the quantities of their orders, agree with the ledger.
fn check(
    answers: &HashMap<usize, Result<OrderId, BrokerError>>,
    ledger: &[Order],
) -> Result<AnswerCounts, String> {
    let mut counts = AnswerCounts::default();
    let mut tags = std::collections::HashSet::new();
    for order in ledger {
        if order.tag.as_ref().is_some_and(|tag| !tags.insert(tag)) {
            return Err(format!("two orders of the tag {:?}", order.tag));
        }
    }
    for (quantity, answer) in answers {
        let quantity = rust_decimal(*quantity);
        let booked: Vec<&Order> = ledger.iter().filter(|o| o.quantity == quantity).collect();
        if booked.len() > 1 {
            return Err(format!("{} orders of one intent", booked.len()));
        }
        let live = booked.first().filter(|order| order.status != OrderStatus::Rejected);
        match answer {
            Ok(id) if live.is_some_and(|order| order.id == *id) => counts.placed += 1,
            Err(BrokerError::Absent(_)) if booked.is_empty() => counts.absent += 1,
            Err(BrokerError::OutcomeUnknown(detail)) => {
                match detail.lookup.as_ref().map(|lookup| lookup.result) {
                    Some(LookupResult::Unreadable) => counts.unread += 1,
                    seen => return Err(format!("{seen:?}, but in the ledger: {booked:?}")),
                }
            }
            Err(_) if live.is_none() => counts.refused += 1,
            wrong => return Err(format!("answered {wrong:?}, but in the ledger: {booked:?}")),
        }
    }
    Ok(counts)
}

fn rust_decimal(quantity: usize) -> lanekeeper::rust_decimal::Decimal {
    (quantity as u64).into()
}

/// Places `orders` orders, one after the other, and asserts what only one thread can.
fn run(broker: &Shaky, front: &impl Broker, orders: usize) -> Result<AnswerCounts, String> {
    let mut answers = HashMap::new();
    for quantity in 1..=orders {
        let answer = front.place_order(&order(quantity));
        if let Err(BrokerError::OutcomeUnknown(detail)) = &answer {
            let unread = detail
                .lookup
                .as_ref()
                .is_some_and(|lookup| lookup.result == LookupResult::Unreadable);
            // Unknown only where the book could not be read in time.
            if unread && broker.state().failed_reads < 5 {
                return Err(format!("the book was read, and yet: {detail}"));
            }
        }
        answers.insert(quantity, answer);
    }
    check(&answers, &broker.ledger())
}

/// A blind retry: the most expensive bug in the field.
struct ThreeTimes(Shaky);

impl ThreeTimes {
    fn place(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let mut answer = self.0.place_order(order);
        for _ in 0..2 {
            if answer.is_err() {
                answer = self.0.place_order(order);
            }
        }
        answer
    }
}

#[test]
fn no_order_is_doubled_or_lost_without_a_report() {
    let mut total = AnswerCounts::default();
    for seed in 0..100 {
        let broker = Shaky::new(OrderTags::echoed(20));
        bad_day(&broker, &mut Rng::with_seed(seed), 100);
        let counts = run(&broker, &broker.guard(), 100)
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        assert_eq!(broker.state().placed, 100, "seed {seed}");
        total.placed += counts.placed;
        total.refused += counts.refused;
        total.absent += counts.absent;
        total.unread += counts.unread;
    }
    // The faults were there.
    assert_eq!(total.placed + total.refused + total.absent + total.unread, 10_000);
    assert!(total.placed > 7000 && total.refused > 500, "{total:?}");
    assert!(total.absent > 300 && total.unread > 10, "{total:?}");
}

#[test]
fn nor_is_one_at_a_broker_with_unique_tags() {
    for seed in 0..30 {
        let broker = Shaky::new(OrderTags::unique(48, DUPLICATE));
        bad_day(&broker, &mut Rng::with_seed(seed), 100);
        let mut answers = HashMap::new();
        let guard = broker.guard();
        for quantity in 1..=100 {
            answers.insert(quantity, guard.place_order(&order(quantity)));
        }
        let counts = check(&answers, &broker.ledger())
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        assert!(counts.absent < 10, "most are sent again: {counts:?}");
    }
}

#[test]
fn nor_from_many_threads() {
    for seed in 0..20 {
        let broker = Shaky::new(OrderTags::echoed(20));
        bad_day(&broker, &mut Rng::with_seed(seed), 400);
        let guard = broker.guard();
        let answers = Mutex::new(HashMap::new());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (guard, answers) = (&guard, &answers);
                scope.spawn(move || {
                    for quantity in thread * 50 + 1..=thread * 50 + 50 {
                        let answer = guard.place_order(&order(quantity));
                        assert!(answers.lock().unwrap().insert(quantity, answer).is_none());
                    }
                });
            }
        });
        assert_eq!(broker.state().placed, 400);
        let answers = answers.into_inner().unwrap();
        assert_eq!(answers.len(), 400);
        check(&answers, &broker.ledger()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// Shows that the check can fail: it detects a blind retry on the same days.
#[test]
fn three_times_shows_duplicates() {
    let mut doubled = 0;
    for seed in 0..100 {
        let broker = Shaky::new(OrderTags::echoed(20));
        bad_day(&broker, &mut Rng::with_seed(seed), 100);
        let naive = ThreeTimes(broker.clone());
        let answers = (1..=100).map(|quantity| (quantity, naive.place(&order(quantity))));
        let answers = answers.collect();
        doubled += usize::from(check(&answers, &broker.ledger()).is_err());
    }
    assert_eq!(doubled, 100);
}
