//! The stack in front of a broker in virtual time, which loses answers on demand.

use fastrand::Rng;
use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, LookupResult, OrderTags, TagSupport,
};
use lanekeeper::cache::QuoteCache;
use lanekeeper::lane::{LaneConfig, Priority};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::BreakerPolicy;
use std::time::Duration;

use super::check::{Answer, AnswerCounts, Booked, check};
use super::shaky::{Fate, SETTLE, Shaky, order, transient};

const INTENTS: usize = 100;
const DAYS: u64 = 100;

fn lane() -> LaneConfig {
    // A third of all writes goes wrong: the breaker would stop nearly everything.
    LaneConfig::new(Quota::per_second(10)).breaker(BreakerPolicy::disabled())
}

/// Returns guard, cache and lanes, all on the clock of `broker`.
fn stack(broker: &Shaky) -> OrderGuard<QuoteCache<BrokerProxy<Shaky>>> {
    let proxy = BrokerProxy::builder(broker.clone())
        .transactional(lane())
        .quote(lane())
        .historical(lane())
        .orders(Quota::per_minute(400))
        .clock(broker.clock.clone())
        .build()
        .unwrap();
    let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    let cache = QuoteCache::builder(proxy).clock(broker.clock.clone()).build();
    OrderGuard::builder(cache)
        .lookup_broker(urgent)
        .settle_time(SETTLE)
        .clock(broker.clock.clone())
        .build()
        .unwrap()
}

/// Runs a day on which 30 % of the writes and 20 % of the reads go wrong, and now and then the book cannot be read
/// for a long time.
pub(super) fn bad_day(broker: &Shaky, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let fate = |rng: &mut Rng| match rng.u32(0..100) {
        0..7 => Fate::LostBefore,
        7..14 => Fate::LostAfter(Duration::ZERO),
        14..20 => Fate::LostAfter(SETTLE.mul_f64(rng.f64())),
        20..23 => Fate::LostRejected,
        23..26 => Fate::Throttled,
        26..28 => Fate::NotSent,
        28..30 => Fate::Rejected,
        _ => Fate::Done,
    };
    broker.fates((0..INTENTS * 4).map(|_| fate(&mut rng)).collect::<Vec<_>>());
    let failures = [
        transient(),
        BrokerError::NotSent(ErrorDetail::new("no connection")),
        BrokerError::Throttled { retry_after: None, detail: ErrorDetail::new("too many") },
    ];
    let mut state = broker.state();
    for _ in 0..INTENTS {
        if rng.u32(0..100) == 0 {
            state.blind.extend((0..30).map(|_| Some(transient())));
        }
        for _ in 0..3 {
            let faulty = rng.u32(0..10) < 2;
            state.blind.push_back(faulty.then(|| failures[rng.usize(0..failures.len())].clone()));
        }
    }
}

pub(super) fn ledger(broker: &Shaky) -> Vec<Booked> {
    broker.ledger().iter().map(Booked::from).collect()
}

fn is_unread(answer: &Answer) -> bool {
    let Err(BrokerError::OutcomeUnknown(detail)) = answer else { return false };
    detail.lookup.as_ref().is_some_and(|lookup| lookup.result == LookupResult::Unreadable)
}

#[test]
fn ten_thousand_orders_in_process_are_neither_doubled_nor_lost() {
    let mut total = AnswerCounts::default();
    for seed in 0..DAYS {
        let broker = Shaky::new(OrderTags::echoed(20));
        bad_day(&broker, seed);
        let stack = stack(&broker);
        assert_eq!(*stack.order_tags().support(), TagSupport::Echoed);
        let mut answers = Vec::new();
        for number in 1..=INTENTS {
            let answer = stack.place_order(&order(number));
            // Unknown only where the book could not be read in time.
            let failed = broker.state().failed_reads;
            assert!(!is_unread(&answer) || failed >= 5, "seed {seed}: {failed} reads, {answer:?}");
            answers.push((number as u64, answer));
        }
        let counts = check(INTENTS as u64, &answers, &ledger(&broker));
        total.add(counts.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")));
    }
    // The faults were there.
    assert_eq!(total.all(), 10_000);
    assert!(total.placed > 7000 && total.rejected > 100, "{total:?}");
    assert!(total.absent > 300 && total.unread > 10, "{total:?}");
}
