//! Exits at a Kite whose responses cannot be used: given as the bytes that a server sends.
//!
//! The requests use real sockets. The lanes are paced by a clock that is advanced manually.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, CandleRequest, Instrument, Interval, OrderId, OrderRequest,
    Side, lanes,
};
use lanekeeper::brokers::Kite;
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Zoned;
use lanekeeper::lane::{CallOptions, Priority};
use lanekeeper::resilience::BreakerState;
use lanekeeper::{LookupResult, OrderGuard, Sent, Throttling};

use crate::server::{Reply, Server, answer, json};

const DONE: &str = r#"{"status":"success","data":{"order_id":"9"}}"#;
const EMPTY: &str = r#"{"status":"success","data":[]}"#;

/// Returns a broker that works: it takes every order and every cancellation. For all other requests, `odd` decides.
fn working(odd: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::answering(move |line| {
        odd(line).unwrap_or_else(|| match line.split(' ').next() {
            Some("GET") => json(200, EMPTY),
            _ => json(200, DONE),
        })
    })
}

fn proxy(server: &Server, clock: &ManualClock) -> BrokerProxy<Kite> {
    BrokerProxy::builder(server.kite()).clock(clock.clone()).build().unwrap()
}

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

fn count(server: &Server, begins: &str) -> usize {
    server.received().iter().filter(|received| received.line.starts_with(begins)).count()
}

/// A minute and a half of one poll and two cancellations a second.
#[test]
fn answers_to_polls_that_cannot_be_read_cost_no_cancellation() {
    let row = r#"{"status":"success","data":[{"order_id":"9","exchange":"NSE","tradingsymbol":"INFY","transaction_type":null,"status":"REJECTED"}]}"#;
    let bodies = [
        row,
        // More responses of that kind.
        r#"{"status":"success","data":[{"order_id":["9"],"exchange":7,"tradingsymbol":{},"status":5}]}"#,
        r#"{"status":"success","data":{"orders":[]}}"#,
        r#"{"status":"success","data":[{"order_id":"9""#,
        "<html><title>We are back soon</title></html>",
    ];
    for body in bodies {
        let server = working(move |line| line.starts_with("GET").then(|| json(200, body)));
        let clock = ManualClock::auto_advancing();
        let broker = proxy(&server, &clock);
        let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
        for second in 0..90 {
            let is_read = match broker.orders() {
                Ok(book) => !book.is_complete(),
                Err(error) => matches!(error, BrokerError::Malformed(_)),
            };
            assert!(is_read, "{body}");
            assert_eq!(broker.cancel_order(&OrderId::new("9")), Ok(()), "second {second}: {body}");
            assert_eq!(urgent.cancel_order(&OrderId::new("9")), Ok(()), "second {second}: {body}");
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!((count(&server, "GET"), count(&server, "DELETE")), (90, 180), "{body}");
        assert_eq!(broker.status().lanes[0].breaker, BreakerState::Closed);
    }
}

#[test]
fn a_row_that_cannot_be_read_is_reported_with_its_own_text_and_costs_no_other() {
    let head = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,\
                tick_size,lot_size,instrument_type,segment,exchange";
    let rows =
        "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n1,2,3\n2,2,TCS,T,0,,0,0.05,1,EQ,NSE,NSE";
    let dump = format!("{head}\n{rows}\n");
    let candles =
        r#"{"status":"success","data":{"candles":[null,["2026-01-05T09:15:00+0530",1,2,1,2,9]]}}"#;
    let order = |id: &str, side: &str| {
        format!(
            r#"{{"order_id":"{id}","exchange":"NSE","tradingsymbol":"INFY","transaction_type":{side},"status":"OPEN"}}"#
        )
    };
    let book = format!(
        r#"{{"status":"success","data":[{},{}]}}"#,
        order("1", "null"),
        order("2", r#""BUY""#)
    );
    let positions = r#"{"status":"success","data":{"net":[{"exchange":"NSE","tradingsymbol":"A","quantity":"x"},
        {"exchange":"NSE","tradingsymbol":"B","quantity":5}],"day":[]}}"#;
    let quotes =
        r#"{"status":"success","data":{"NSE:INFY":{"last_price":1500},"NSE:TCS":"halted"}}"#;
    let server = working(move |line| {
        Some(match line.split(' ').nth(1)? {
            "/instruments" => answer(200, "text/csv", "", dump.clone()),
            path if path.starts_with("/instruments/historical") => json(200, candles),
            "/orders" => json(200, &book),
            "/portfolio/positions" => json(200, positions),
            path if path.starts_with("/quote") => json(200, quotes),
            _ => return None,
        })
    });
    let broker = proxy(&server, &ManualClock::auto_advancing());
    for _ in 0..6 {
        let listed = broker.instruments(None).unwrap();
        assert_eq!((listed.len(), listed.problems[0].text.as_str()), (2, "1,2,3"));
        let at: Zoned = "2026-01-05T09:15:00+05:30[+05:30]".parse().unwrap();
        let request = CandleRequest::new(infy(), Interval::Minute, at.clone(), at);
        let candles = broker.candles(&request).unwrap();
        assert_eq!((candles.len(), candles.problems[0].text.as_str()), (1, "null"));
        let book = broker.orders().unwrap();
        assert_eq!((book.len(), book.problems[0].name.as_deref()), (1, Some("1")));
        assert!(book.problems[0].text.contains(r#""transaction_type":null"#));
        let positions = broker.positions().unwrap();
        assert_eq!((positions.net.len(), positions.problems.len()), (1, 1));
        let quotes = broker.quotes(&[infy(), Instrument::new("NSE", "TCS")]).unwrap();
        assert_eq!((quotes.len(), quotes.problems[0].name.as_deref()), (1, Some("NSE:TCS")));
        let tcs = broker.quote(&Instrument::new("NSE", "TCS"));
        assert!(matches!(tcs, Err(BrokerError::Malformed(_))), "{tcs:?}");
        assert_eq!(broker.cancel_order(&OrderId::new("9")), Ok(()));
    }
    assert!(broker.status().lanes.iter().all(|lane| lane.breaker == BreakerState::Closed));
}

#[test]
fn what_cannot_be_decoded_is_not_fetched_again() {
    let page = "x".repeat(4 << 20);
    let server = working(move |line| {
        line.starts_with("GET /instruments").then(|| answer(200, "text/csv", "", page.clone()))
    });
    let broker = proxy(&server, &ManualClock::auto_advancing());
    let error = broker.instruments(None).unwrap_err();
    assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
    assert!(error.to_string().len() < 1000);
    assert_eq!(server.received().len(), 1);
}

#[test]
fn five_hundreds_on_placing_do_not_block_exits() {
    for status in [500, 502, 503, 504] {
        let server = working(move |line| {
            let error = r#"{"status":"error","message":"Something went wrong","error_type":"GeneralException"}"#;
            line.starts_with("POST").then(|| json(status, error))
        });
        let broker = proxy(&server, &ManualClock::auto_advancing());
        for _ in 0..20 {
            let order = OrderRequest::limit(infy(), Side::Buy, 1, 1500);
            let error = broker.place_order(&order).unwrap_err();
            assert_eq!(error.was_sent(), Sent::Unknown, "{error}");
            assert_eq!(broker.cancel_order(&OrderId::new("9")), Ok(()));
        }
        assert_eq!((count(&server, "POST"), count(&server, "DELETE")), (20, 20), "{status}");
    }
}

/// Refused by the adapter, because no broker could take them.
#[test]
fn orders_that_make_no_sense_do_not_block_those_that_do() {
    let server = working(|_| None);
    let broker = proxy(&server, &ManualClock::auto_advancing());
    for _ in 0..12 {
        let nothing = OrderRequest::limit(infy(), Side::Buy, 0, 1500);
        assert_eq!(broker.place_order(&nothing).unwrap_err().was_sent(), Sent::No);
    }
    assert!(broker.place_order(&OrderRequest::limit(infy(), Side::Buy, 1, 1500)).is_ok());
}

#[test]
fn the_guards_own_reads_do_not_block_exits() {
    let server = working(|line| match line.split(' ').next()? {
        "POST" => Some(json(504, "<html>Gateway timed out</html>")),
        "GET" => Some(json(200, r#"{"status":"success","data":[{"order_id":"9"}]}"#)),
        _ => None,
    });
    let clock = ManualClock::auto_advancing();
    let broker = proxy(&server, &clock);
    let guard = OrderGuard::builder(broker.clone()).clock(clock).build().unwrap();
    let error = guard.place_order(&OrderRequest::limit(infy(), Side::Buy, 1, 1500)).unwrap_err();
    // The row shows no tag, so it may be the order.
    assert!(error.to_string().contains("cannot be read, and may be this order"), "{error}");
    for _ in 0..10 {
        assert_eq!(guard.cancel_order(&OrderId::new("9")), Ok(()));
    }
    assert_eq!(broker.status().lanes[0].breaker, BreakerState::Closed);
}

/// An order that was not in the book before is the one, whatever its date is. Without a baseline, an impossible
/// date counts as no date, and a date that differs is reported in words: the book itself was readable.
#[test]
fn an_order_of_a_wrong_date_is_found_or_reported() {
    let dates = [
        ("0000-01-01 00:00:00", true),
        ("0001-01-01 00:00:00", true),
        ("0000-00-00 00:00:00", true),
        ("2001-01-01 09:15:00", false),
        ("2051-06-30 09:15:00", false),
    ];
    let cases = [true, false].into_iter().flat_map(|known| dates.map(|date| (known, date)));
    for (is_known, (date, has_no_date)) in cases {
        let is_placed = AtomicBool::new(false);
        let server = working(move |line| match line.split(' ').next()? {
            "POST" => {
                is_placed.store(true, Ordering::SeqCst);
                Some(json(504, "<html>Gateway timed out</html>"))
            }
            "GET" if !is_placed.load(Ordering::SeqCst) => {
                (!is_known).then(|| json(502, "<html>Bad gateway</html>"))
            }
            "GET" => Some(json(
                200,
                &format!(
                    r#"{{"status":"success","data":[{{"order_id":"9","exchange":"NSE","tradingsymbol":"INFY",
                    "transaction_type":"BUY","order_type":"LIMIT","product":"CNC","variety":"regular",
                    "validity":"DAY","quantity":1,"price":1500,"status":"OPEN","tag":"mine",
                    "order_timestamp":"{date}"}}]}}"#
                ),
            )),
            _ => None,
        });
        let clock = ManualClock::auto_advancing();
        let guard = OrderGuard::builder(proxy(&server, &clock)).clock(clock.clone());
        let guard = guard.build().unwrap();
        let order = OrderRequest::limit(infy(), Side::Buy, 1, 1500).tag("mine");
        let is_found = is_known || has_no_date;
        match guard.place_order(&order) {
            Ok(id) => assert!(is_found && id.as_str() == "9", "{date}"),
            Err(error) => {
                assert!(
                    !is_found && matches!(error, BrokerError::OutcomeUnknown(_)),
                    "{date}: {error}"
                );
                let trail = error.detail().unwrap().lookup.as_ref().unwrap();
                assert_eq!(trail.result, LookupResult::Unclear, "{date}");
                let words = "order 9 has the tag, the instrument and the side, but another time";
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
}

#[test]
fn a_write_of_unknown_outcome_that_came_too_fast_slows_the_lane_down() {
    let error =
        r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
    let plain = "Access denied because of exceeding access rate";
    for (status, body) in [(200, error), (500, error), (502, plain), (200, plain)] {
        let posts = Arc::new(AtomicUsize::new(0));
        let received = Arc::clone(&posts);
        let server = working(move |line| {
            let is_first = line.starts_with("POST") && received.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| answer(status, "application/json", "Retry-After: 3\r\n", body))
        });
        let clock = ManualClock::auto_advancing();
        let broker = proxy(&server, &clock);
        let order = OrderRequest::limit(infy(), Side::Buy, 1, 1500);
        let unknown = broker.place_order(&order).unwrap_err();
        assert!(matches!(unknown, BrokerError::OutcomeUnknown(_)), "{unknown}");
        let asked = Throttling::new(Some(Duration::from_secs(3)));
        assert_eq!(unknown.failure().throttling, Some(asked), "{status} {body}");
        let status = broker.status();
        let lane = status.lane(lanes::TRANSACTIONAL).unwrap();
        assert!(lane.paused_for.is_some_and(|pause| pause > Duration::from_secs(2)), "{body}");
        let before = clock.now();
        assert!(broker.place_order(&order).is_ok());
        assert!(clock.now().since(before) >= Duration::from_secs(2), "it did not wait");
        // The guard never sends it again.
        assert_eq!(posts.load(Ordering::SeqCst), 2);
    }
}
