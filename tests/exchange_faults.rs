//! Every fault of the simulated exchange over real HTTP: the error that the Kite adapter returns, beside the orders
//! that the exchange really has. A client must get both right.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "kite")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use lanekeeper::broker::{
    Broker, BrokerError, Exchange as Market, Instrument, OrderChange, OrderId, OrderRequest, Side,
    lanes,
};
use lanekeeper::brokers::Kite;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{ErrorClass, OrderStatus};
use lanekeeper_simulator::{Fault, Faults, RetryAfter, Rule, SimulatedExchange, Target, Timing};
use rust_decimal::Decimal;

const SHORT: Duration = Duration::from_millis(1);
/// A timeout so long that only a hang fails.
const LONG: Duration = Duration::from_secs(60);

fn start(faults: Faults) -> SimulatedExchange {
    let open = lanes::ALL.into_iter().fold(Limits::new(), |limits, lane| {
        limits.lane(lane, Quota::new(1_000_000, Duration::from_secs(1)))
    });
    // Orders rest far from the market.
    let exchange = SimulatedExchange::builder().circuit_limits(false);
    exchange.limits(open).faults(faults).start().unwrap()
}

/// Returns an exchange on which every request to `on` meets `fault`.
fn always(on: Target, fault: &str) -> SimulatedExchange {
    start(Faults::new().rule(Rule::new(on, fault.parse().unwrap())))
}

fn kite(exchange: &SimulatedExchange, timeout: Duration) -> Kite {
    Kite::builder()
        .api_key("key")
        .access_token("token")
        .base_url(exchange.base_url())
        .timeout(timeout)
        .build()
        .unwrap()
}

fn order(tag: &str) -> OrderRequest {
    let instrument = Instrument::new("NSE", "YESBANK");
    OrderRequest::limit(instrument, Side::Buy, 1, Decimal::new(5, 2)).tag(tag)
}

/// Returns how many orders with this tag the exchange has.
fn booked(exchange: &SimulatedExchange, tag: &str) -> usize {
    exchange.orders().iter().filter(|order| order.tag.as_deref() == Some(tag)).count()
}

fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it did not come");
        std::thread::sleep(SHORT);
    }
}

/// Returns the client's timeout for `fault`. Silence is detected only by waiting, and any wait will do, as nothing is
/// in transit.
fn client_timeout(fault: &str) -> Duration {
    if fault.starts_with("hang") { Duration::from_millis(100) } else { LONG }
}

const THROTTLED: ErrorClass = ErrorClass::Throttled { retry_after: None };

/// The fault, the result of a write, how many orders the exchange then has, and the result of a read.
const FAULTS: [(&str, ErrorClass, usize, ErrorClass); 21] = [
    ("reset-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("reset-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("hang-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("hang-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("429", THROTTLED, 0, THROTTLED),
    ("500-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("500-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("502-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("502-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("503-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("503-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("504-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("504-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("page-403-before", ErrorClass::Fatal, 0, ErrorClass::Fatal),
    ("page-429-before", THROTTLED, 0, THROTTLED),
    ("page-503-before", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("page-503-after", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("timed-out:1h", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("error-200", ErrorClass::Unknown, 0, ErrorClass::Transient),
    ("truncated", ErrorClass::Unknown, 1, ErrorClass::Transient),
    ("malformed", ErrorClass::Unknown, 1, ErrorClass::Malformed),
];

#[test]
fn a_write_that_meets_a_fault_is_classed_by_what_may_have_happened() {
    for (fault, write, in_ledger, _) in FAULTS {
        let exchange = always(Target::Place, fault);
        let error = kite(&exchange, client_timeout(fault)).place_order(&order("a1")).unwrap_err();
        assert_eq!(error.class(), write, "{fault}: {error}");
        assert_eq!(booked(&exchange, "a1"), in_ledger, "{fault}: {error}");
        // Sent once, whatever the result.
        assert_eq!(exchange.arrivals().len(), 1, "{fault}");
        assert_eq!(exchange.arrivals()[0].fault, Some(fault.parse().unwrap()));
        // The promise behind the classes: an order that is reported as not executed is not on the exchange.
        assert!(in_ledger == 0 || write == ErrorClass::Unknown, "{fault}");
    }
}

#[test]
fn a_read_that_meets_a_fault_may_be_asked_again_or_not() {
    for (fault, _, _, read) in FAULTS {
        let exchange = always(Target::Reads, fault);
        let kite = kite(&exchange, client_timeout(fault));
        let error = kite.orders().unwrap_err();
        assert_eq!(error.class(), read, "{fault}: {error}");
        assert_eq!(exchange.arrivals().len(), 1, "{fault}");
        exchange.set_faults(&Faults::new()).unwrap();
        assert_eq!(kite.orders(), Ok(vec![].into()), "{fault}");
    }
}

#[test]
fn changes_and_cancellations_meet_faults_too() {
    for (fault, write, in_ledger, _) in FAULTS {
        let exchange = start(Faults::new());
        let id = kite(&exchange, LONG).place_order(&order("a1")).unwrap();
        let kite = kite(&exchange, client_timeout(fault));
        let fault_of = |on| Faults::new().rule(Rule::new(on, fault.parse().unwrap()));
        exchange.set_faults(&fault_of(Target::Modify)).unwrap();
        let error = kite.modify_order(&id, &OrderChange::new().quantity(7)).unwrap_err();
        assert_eq!(error.class(), write, "{fault}: {error}");
        let changed = exchange.orders()[0].quantity == 7.into();
        assert_eq!(changed, in_ledger == 1, "{fault}: {error}");
        exchange.set_faults(&fault_of(Target::Cancel)).unwrap();
        let error = kite.cancel_order(&id).unwrap_err();
        assert_eq!(error.class(), write, "{fault}: {error}");
        let cancelled = exchange.orders()[0].status == OrderStatus::Cancelled;
        assert_eq!(cancelled, in_ledger == 1, "{fault}: {error}");
    }
}

#[test]
fn every_read_of_the_adapter_survives_every_fault() {
    let infy = Instrument::new("NSE", "YESBANK");
    for (fault, _, _, read) in FAULTS {
        let exchange = always(Target::Reads, fault);
        let kite = kite(&exchange, client_timeout(fault));
        let id = OrderId::new("1");
        for (what, error) in [
            ("history", kite.order_history(&id).unwrap_err()),
            ("trades", kite.trades().unwrap_err()),
            ("order trades", kite.order_trades(&id).unwrap_err()),
            ("positions", kite.positions().unwrap_err()),
            ("holdings", kite.holdings().unwrap_err()),
            ("margins", kite.margins().unwrap_err()),
            ("profile", kite.profile().unwrap_err()),
            ("quotes", kite.quotes(std::slice::from_ref(&infy)).unwrap_err()),
        ] {
            // Half of a "no such order" response is an error like any other.
            let refused = error.class() == ErrorClass::Rejected && what != "quotes";
            assert!(error.class() == read || refused, "{fault}: {what}: {error}");
        }
    }
}

#[test]
fn an_order_that_timed_out_lands_later() {
    let exchange = always(Target::Place, "timed-out:50ms");
    let error = kite(&exchange, LONG).place_order(&order("late")).unwrap_err();
    let BrokerError::OutcomeUnknown(detail) = &error else { panic!("{error}") };
    assert_eq!(detail.status, Some(400));
    assert!(detail.message.contains("check the order book and confirm"), "{error}");
    until(|| booked(&exchange, "late") == 1);
}

#[test]
fn an_order_that_timed_out_may_be_bad_and_never_land() {
    let exchange = always(Target::Place, "timed-out:1ms");
    let bad = OrderRequest::market(Instrument::new("NSE", "NOSUCH"), Side::Buy, 1).tag("bad");
    kite(&exchange, LONG).place_order(&bad).unwrap_err();
    kite(&exchange, LONG).place_order(&order("good")).unwrap_err();
    until(|| booked(&exchange, "good") == 1);
    assert_eq!(booked(&exchange, "bad"), 0);
}

#[test]
fn a_slow_answer_is_an_answer_and_one_too_slow_is_none() {
    let exchange = always(Target::Place, "slow:150ms");
    let began = Instant::now();
    assert!(kite(&exchange, LONG).place_order(&order("a1")).is_ok());
    assert!(began.elapsed() >= Duration::from_millis(150));
    exchange.set_faults(&Faults::new().rule("place=slow:1h".parse().unwrap())).unwrap();
    let hasty = kite(&exchange, Duration::from_millis(100));
    let error = hasty.place_order(&order("a2")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unknown, "{error}");
    assert_eq!((booked(&exchange, "a1"), booked(&exchange, "a2")), (1, 1));
}

#[test]
fn a_throttle_asks_to_wait_in_seconds_or_until_a_date() {
    for (fault, least, most) in [("429:2500ms", 2500, 2500), ("429:3s", 3000, 3000)] {
        let wait = wait_of(fault);
        assert!((least..=most).contains(&wait.as_millis()), "{fault}: {wait:?}");
    }
    // A date is in whole seconds, and so is the date of the response that it is counted from.
    let wait = wait_of("429:date:60s");
    assert!((59..=61).contains(&wait.as_secs()), "{wait:?}");
}

fn wait_of(fault: &str) -> Duration {
    let exchange = always(Target::Place, fault);
    let error = kite(&exchange, LONG).place_order(&order("a1")).unwrap_err();
    let BrokerError::Throttled { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(exchange.refused(), 0, "the counters did not refuse it");
    retry_after.unwrap()
}

#[test]
fn the_listing_may_come_as_an_error_with_a_good_status() {
    for (fault, words) in [
        ("error-200", "Something went wrong"),
        ("page-503-before", "Service Unavailable"),
        ("truncated", "broke off"),
    ] {
        let exchange = always(Target::Instruments, fault);
        let error = kite(&exchange, LONG).instruments(Some(&Market::Nse)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{fault}: {error}");
        assert!(error.to_string().contains(words), "{fault}: {error}");
    }
}

#[test]
fn the_edges_page_is_recognised_by_its_title() {
    let exchange = always(Target::All, "page-403-before");
    let error = kite(&exchange, LONG).orders().unwrap_err();
    assert!(error.to_string().contains("Just a moment..."), "{error}");
}

#[test]
fn faults_apply_by_the_number_of_the_request_to_their_route() {
    let cut = Fault::Gateway { status: 502, when: Timing::After };
    let exchange = start(Faults::new().rule(Rule::new(Target::Place, cut).calls([2, 3])));
    let kite = kite(&exchange, LONG);
    let answered: Vec<bool> = (0..5)
        .map(|at| {
            // Other requests do not count.
            kite.orders().unwrap();
            kite.place_order(&order(&format!("a{at}"))).is_ok()
        })
        .collect();
    assert_eq!(answered, [true, false, false, true, true]);
    assert_eq!(exchange.orders().len(), 5);
}

#[test]
fn a_run_can_be_repeated_by_its_seed() {
    let run = |seed| {
        let rule = Rule::new(Target::Place, Fault::Reset(Timing::Before)).share(0.5);
        let exchange = start(Faults::new().seed(seed).rule(rule));
        let kite = kite(&exchange, LONG);
        (0..40).map(|at| kite.place_order(&order(&format!("a{at}"))).is_ok()).collect::<Vec<_>>()
    };
    let first = run(3);
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}

#[test]
fn a_request_that_the_counters_refuse_meets_no_fault() {
    let limits = Limits::new().lane(lanes::TRANSACTIONAL, Quota::new(1, Duration::from_secs(3600)));
    let faults = Faults::new().rule("all=502-before".parse().unwrap());
    let exchange = SimulatedExchange::builder().limits(limits).faults(faults).start().unwrap();
    let kite = kite(&exchange, LONG);
    assert_eq!(kite.orders().unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(kite.orders().unwrap_err().class(), THROTTLED);
    let faults: Vec<bool> = exchange.arrivals().iter().map(|one| one.fault.is_some()).collect();
    assert_eq!((faults, exchange.refused()), (vec![true, false], 1));
}

#[test]
fn a_reset_is_one() {
    let exchange = always(Target::All, "reset-before");
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let request = "GET /orders HTTP/1.1\r\nHost: x\r\nAuthorization: token key:token\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_truncated_answer_breaks_off_in_the_middle_of_what_it_promised() {
    let exchange = always(Target::All, "truncated");
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let request = "GET /user/profile HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: token key:token\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Half of the response is received, however the connection ends.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), promised.parse::<usize>().unwrap() / 2, "{answer}");
}

#[test]
fn a_hung_answer_does_not_keep_the_simulator_from_stopping() {
    for fault in ["hang-before", "hang-after", "slow:1h", "timed-out:1h"] {
        let mut exchange = always(Target::All, fault);
        let patient = kite(&exchange, LONG);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patient.orders());
            until(|| exchange.arrivals().len() == 1);
            let began = Instant::now();
            exchange.shutdown();
            assert!(began.elapsed() < LONG / 2, "{fault}");
            assert_eq!(
                waiting.join().unwrap().unwrap_err().class(),
                ErrorClass::Transient,
                "{fault}"
            );
        });
        // The records can still be read.
        assert_eq!(exchange.arrivals()[0].fault, Some(fault.parse().unwrap()));
    }
}

#[test]
fn a_silent_connection_is_open_until_its_client_goes_and_no_longer() {
    let exchange = always(Target::All, "hang-after");
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let request = "GET /orders HTTP/1.1\r\nHost: x\r\nAuthorization: token key:token\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    until(|| exchange.arrivals().len() == 1);
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the exchange did not let go");
    assert_eq!(exchange.arrivals()[0].status, None);
}

#[test]
fn faults_that_make_no_sense_are_refused_and_change_nothing() {
    let wrong = Faults::new().rule(Rule::new(Target::All, Fault::Malformed).share(2.0));
    let error = SimulatedExchange::builder().faults(wrong.clone()).start().unwrap_err();
    assert_eq!(error.to_string(), "fault rule 1: a share is 0 to 1");
    let date = Fault::Throttled(RetryAfter::Date(SHORT));
    let wrong_date = Faults::new().rule(Rule::new(Target::All, date));
    assert!(SimulatedExchange::builder().faults(wrong_date).start().is_err());
    let exchange = always(Target::All, "429");
    assert!(exchange.set_faults(&wrong).is_err());
    assert_eq!(kite(&exchange, LONG).orders().unwrap_err().class(), THROTTLED);
}
