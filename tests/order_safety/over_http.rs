//! The stack over real HTTP, in front of a simulator each of whose faults has been seen at a real broker.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, Instrument, LookupResult, OrderRequest, Product, Side, lanes,
};
use lanekeeper::brokers::{Kite, PaperBroker};
use lanekeeper::cache::QuoteCache;
use lanekeeper::lane::{LaneConfig, Priority};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange};

use super::check::{Answer, AnswerCounts, Booked, check};

/// 30 % of the writes. If two faults apply to a request, the first is injected.
pub(super) const ON_WRITES: [&str; 19] = [
    "writes=reset-before@3%",
    "writes=reset-after@3%",
    "writes=429@1%",
    "writes=429:5ms@1%",
    "writes=502-before@2%",
    "writes=502-after@2%",
    "writes=503-before@1%",
    "writes=503-after@2%",
    "writes=504-before@2%",
    "writes=504-after@3%",
    "writes=timed-out:600ms@3%",
    "writes=page-403-before@1%",
    "writes=page-502-before@1%",
    "writes=page-503-after@2%",
    "writes=error-200@1%",
    "writes=truncated@2%",
    "writes=malformed@2%",
    "writes=hang-before@1%",
    "writes=hang-after@1%",
];

/// 20 % of the reads.
const ON_READS: [&str; 12] = [
    "reads=reset-before@2%",
    "reads=reset-after@2%",
    "reads=429@1%",
    "reads=429:5ms@1%",
    "reads=502-before@2%",
    "reads=503-before@2%",
    "reads=504-after@2%",
    "reads=page-503-before@2%",
    "reads=truncated@3%",
    "reads=malformed@3%",
    "reads=hang-before@1%",
    "reads=slow:50ms@2%",
];

/// The client gives up a call without an answer after this.
const TIMEOUT: Duration = Duration::from_millis(400);
/// Longer than a call may take, and than an order may take to land.
const SETTLE: Duration = Duration::from_millis(1500);
/// Orders of one account, so that its book stays short enough to be read quickly.
const OF_AN_ACCOUNT: u64 = 1000;
const CALLERS: usize = 250;

pub(super) fn faults(seed: u64, rules: &[&str]) -> Faults {
    let rules = rules.iter().map(|rule| rule.parse::<Rule>().unwrap());
    rules.fold(Faults::new().seed(seed), Faults::rule)
}

/// Returns a simulator with wide limits and no circuit limits, and a rich account there.
pub(super) fn exchange(faults: Faults) -> SimulatedExchange {
    let open = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100_000)));
    let market = PaperBroker::builder().cash(500_000_000).build().unwrap();
    let exchange = SimulatedExchange::builder().broker(market).circuit_limits(false);
    exchange.limits(open).faults(faults).start().unwrap()
}

/// Returns lanes that are as wide: pacing is not tested here.
pub(super) fn lane() -> LaneConfig {
    LaneConfig::new(Quota::per_second(50_000))
        .in_flight(64)
        .queue(8192)
        .retry(RetryPolicy::default().base_delay(Duration::from_millis(5)).budget_percent(100))
        // A third of all writes goes wrong: the breaker would stop nearly everything.
        .breaker(BreakerPolicy::disabled())
        .throttle(
            ThrottlePolicy::default().default_pause(Duration::from_millis(5)).keep_percent(100),
        )
}

/// Returns the stack in front of the simulator, without the guard.
pub(super) fn proxy(exchange: &SimulatedExchange, transactional: LaneConfig) -> BrokerProxy<Kite> {
    let kite = Kite::builder()
        .api_key("key")
        .access_token("token")
        .base_url(exchange.base_url())
        .timeout(TIMEOUT)
        .build()
        .unwrap();
    BrokerProxy::builder(kite)
        .prior_usage(PriorUsage::None)
        .transactional(transactional)
        .quote(lane())
        .historical(lane())
        .orders(Quota::unlimited())
        .build()
        .unwrap()
}

fn stack(exchange: &SimulatedExchange) -> OrderGuard<QuoteCache<BrokerProxy<Kite>>> {
    stack_of(exchange, lane())
}

fn stack_of(
    exchange: &SimulatedExchange,
    transactional: LaneConfig,
) -> OrderGuard<QuoteCache<BrokerProxy<Kite>>> {
    let proxy = proxy(exchange, transactional);
    let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    let cache = QuoteCache::builder(proxy).ttl(Duration::from_millis(20)).build();
    OrderGuard::builder(cache).lookup_broker(urgent).settle_time(SETTLE).build().unwrap()
}

/// Returns the order of an intent, which its quantity identifies. Most rest far below the market, some are filled,
/// some are rejected for want of money, and some are for instruments that are not traded. Every other one has a
/// caller's tag, some of which Kite does not take.
pub(super) fn order(number: u64) -> OrderRequest {
    let yesbank = Instrument::new("NSE", "YESBANK");
    let order = match number % 20 {
        0 => OrderRequest::market(Instrument::new("NSE", "GHOST"), Side::Buy, number),
        1 => OrderRequest::limit(yesbank, Side::Buy, number, 1_000_000_000),
        2..5 => OrderRequest::market(yesbank, Side::Buy, number),
        _ => OrderRequest::limit(yesbank, Side::Buy, number, 1),
    };
    let order = order.product(Product::Mis);
    match number % 40 {
        6 => order.tag(format!("mine, number {number}")),
        even if even % 2 == 0 => order.tag(format!("mine{number}")),
        _ => order,
    }
}

/// An intent and its answer, and when it was placed and answered, since the simulator started.
struct Answered {
    number: u64,
    answer: Answer,
    from: Duration,
    to: Duration,
}

/// Runs one account, and returns the answers to `intents` orders from many threads at once.
fn trade(started: Instant, broker: &impl Broker, intents: u64) -> Vec<Answered> {
    let next = AtomicU64::new(1);
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CALLERS.min(intents as usize) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > intents {
                        return;
                    }
                    let order = order(number);
                    if number % 8 == 0 {
                        // Quotes have their own tests. Their contents are not checked here.
                        let _ = broker.ltp(&order.instrument);
                    }
                    let from = started.elapsed();
                    let answer = broker.place_order(&order);
                    let to = started.elapsed();
                    answers.lock().unwrap().push(Answered { number, answer, from, to });
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

pub(super) fn ledger(exchange: &SimulatedExchange) -> Vec<Booked> {
    exchange.orders().iter().map(Booked::from).collect()
}

fn is_unread(answer: &Answer) -> bool {
    let Err(BrokerError::OutcomeUnknown(detail)) = answer else { return false };
    detail.lookup.as_ref().is_some_and(|lookup| lookup.result == LookupResult::Unreadable)
}

/// Checks that an outcome is unknown only where the book could not be read: the guard concludes that after five
/// failed reads.
fn unread_was_unreadable(exchange: &SimulatedExchange, answers: &[Answered]) {
    let failed: Vec<Duration> = exchange
        .arrivals()
        .into_iter()
        .filter(|it| it.method == "GET" && it.path == "/orders" && it.fault.is_some())
        .map(|it| it.at)
        .collect();
    for it in answers.iter().filter(|it| is_unread(&it.answer)) {
        let reads = failed.iter().filter(|&&at| it.from <= at && at <= it.to).count();
        assert!(reads >= 5, "after {reads} reads that failed: {:?}", it.answer);
    }
}

fn checked(exchange: &SimulatedExchange, intents: u64, answers: Vec<Answered>) -> AnswerCounts {
    unread_was_unreadable(exchange, &answers);
    let answers: Vec<(u64, Answer)> =
        answers.into_iter().map(|it| (it.number, it.answer)).collect();
    check(intents, &answers, &ledger(exchange)).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Checks that the share of the requests by `method` that met a fault is between the bounds.
fn check_fault_share(exchange: &SimulatedExchange, method: &str, bounds: Range<f64>) {
    let arrivals = exchange.arrivals();
    let asked = arrivals.iter().filter(|it| it.method == method);
    let (all, check_fault_share) = asked.fold((0, 0), |(all, check_fault_share), it| {
        (all + 1, check_fault_share + i32::from(it.fault.is_some()))
    });
    let share = f64::from(check_fault_share) / f64::from(all.max(1));
    assert!(bounds.contains(&share), "{check_fault_share} of {all} {method} were struck");
}

fn bad_account(seed: u64, intents: u64) -> AnswerCounts {
    let rules = [&ON_WRITES[..], &ON_READS].concat();
    let exchange = exchange(faults(seed, &rules));
    let started = Instant::now();
    let answers = trade(started, &stack(&exchange), intents);
    check_fault_share(&exchange, "POST", 0.24..0.36);
    check_fault_share(&exchange, "GET", 0.05..0.4);
    checked(&exchange, intents, answers)
}

#[test]
fn thousands_of_orders_over_http_are_neither_doubled_nor_lost() {
    let intents =
        std::env::var("LANEKEEPER_INTENTS").map_or(2000, |number| number.parse().unwrap());
    let accounts = u64::div_ceil(intents, OF_AN_ACCOUNT);
    let next = AtomicU64::new(0);
    let total = Mutex::new(AnswerCounts::default());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let account = next.fetch_add(1, Ordering::Relaxed);
                    if account >= accounts {
                        return;
                    }
                    let left = intents - account * OF_AN_ACCOUNT;
                    let counts = bad_account(account, left.min(OF_AN_ACCOUNT));
                    total.lock().unwrap().add(counts);
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{intents} intents: {total:?}");
    assert_eq!(total.all() as u64, intents);
    let percent = |count: usize| count as u64 * 100 / intents;
    assert!(percent(total.placed) > 70 && percent(total.rejected) >= 3, "{total:?}");
    assert!(percent(total.absent) >= 3 && percent(total.not_sent) >= 2, "{total:?}");
    assert!(percent(total.unread) < 3, "{total:?}");
}

/// Where the book cannot be read, no caller is told that an order is not there.
#[test]
fn while_the_book_cannot_be_read_nothing_is_concluded() {
    let rules = [&ON_WRITES[..], &["orders=503-before"]].concat();
    let exchange = exchange(faults(99, &rules));
    let started = Instant::now();
    let answers = trade(started, &stack(&exchange), 200);
    let counts = checked(&exchange, 200, answers);
    assert_eq!(counts.absent, 0, "{counts:?}");
    assert!(counts.unread > 20, "{counts:?}");
    assert!(counts.placed > 100, "{counts:?}");
}

/// Many callers of a lane with few queue slots: a caller that finds it full is told so, and nothing of its order is
/// in the book.
#[test]
fn what_a_full_lane_refuses_never_left() {
    let exchange = exchange(faults(7, &ON_WRITES));
    let narrow = lane().in_flight(4).queue(32);
    let answers = trade(Instant::now(), &stack_of(&exchange, narrow), 1000);
    let answers: Vec<(u64, Answer)> =
        answers.into_iter().map(|it| (it.number, it.answer)).collect();
    let counts =
        check(1000, &answers, &ledger(&exchange)).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(counts.not_sent > 100, "{counts:?}");
}

/// Without faults each kind of order has its own answer.
#[test]
fn without_faults_only_what_is_not_traded_is_refused() {
    let exchange = exchange(Faults::new());
    let answers = trade(Instant::now(), &stack(&exchange), 40);
    let counts = checked(&exchange, 40, answers);
    assert_eq!((counts.placed, counts.rejected, counts.not_sent), (37, 2, 1), "{counts:?}");
    let rejected = ledger(&exchange).into_iter().filter(|order| order.rejected);
    assert_eq!(rejected.count(), 2, "for want of money");
}
