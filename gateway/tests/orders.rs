//! Orders behind the gateway: sent at most once, as their clients wrote them, and answered truly whatever is lost.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::OrderStatus;
use lanekeeper::brokers::PaperBroker;
use lanekeeper::quota::Quota;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;
use lanekeeper_simulator::{PlacedOrder, SimulatedExchange};
use support::orders::{
    account, by, faults, form, id, ids, is_repeated, ledger, open_exchange, open_gateway, place,
    place_with, placements, sent, tagged,
};
use support::upstream::ok;
use support::{Answer, Client, Upstream, kite, start};

/// How long an answer of the exchange may take in these tests.
const TIMEOUT: Duration = Duration::from_millis(700);

/// Returns the settings of a gateway that finds out soon what became of an order, and whose clients wait for that.
fn patient(exchange: &SimulatedExchange) -> GatewayConfig {
    let mut config = open_gateway(exchange);
    account(&mut config).upstream_timeout = TIMEOUT;
    config.door.client_timeout = Duration::from_secs(60);
    config
}

fn with_faults(rules: &[&str]) -> (SimulatedExchange, Gateway) {
    let exchange = open_exchange(rules);
    let gateway = start(patient(&exchange));
    (exchange, gateway)
}

fn is_unknown(answer: &Answer) -> bool {
    let is_unknown = (answer.status, sent(answer)) == (503, "unknown");
    assert_eq!(is_unknown, answer.text().contains("check the order book"), "{}", answer.text());
    is_unknown
}

#[test]
fn a_placement_gets_a_tag_and_is_otherwise_sent_as_it_was_written() {
    let next = AtomicU64::new(1);
    let upstream = Upstream::start(move |request| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let body = match request.method.as_str() {
            "GET" => r#"{"status":"success","data":[]}"#.to_owned(),
            _ => format!(r#"{{"status":"success",  "data":{{"order_id":"15{number}"}}}}"#),
        };
        Some(ok("application/json", body.as_bytes()))
    });
    let gateway = start(kite(&upstream.url()));
    let odd = "exchange=NSE&tradingsymbol=M%26M&transaction_type=BUY&order_type=LIMIT&quantity=1&price=1.50\
               &product=CNC&validity=DAY&of_next_year=%20+x&empty=";
    let bare = place(&gateway, odd);
    // The answer is the broker's own, too.
    assert!(bare.text().starts_with(r#"{"status":"success",  "data""#), "{}", bare.text());
    let own = format!("tag=mine1&{odd}");
    assert_eq!(place(&gateway, &own).status, 200);
    let sent = upstream.requests();
    let bodies: Vec<String> = sent
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| String::from_utf8(request.body.clone()).unwrap())
        .collect();
    let (rest, tag) = bodies[0].split_once("&tag=").unwrap();
    assert_eq!((rest, tag.len()), (odd, 20));
    assert!(tag.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(bodies[1..], [own]);
    let placement = sent.iter().find(|request| request.method == "POST").unwrap();
    assert_eq!(
        placement.header("authorization"),
        Some("token gateway-key:the-broker-token-of-the-day")
    );
}

#[test]
fn an_order_whose_answer_was_lost_is_found_and_answered_as_usual() {
    let lost = [
        "reset-after",
        "502-after",
        "504-after",
        "page-503-after",
        "truncated",
        "malformed",
        "hang-after",
        "timed-out:200ms",
    ];
    for (number, fault) in (1..).zip(lost) {
        let (exchange, gateway) = with_faults(&[&format!("place={fault}@1")]);
        let answer = place(&gateway, &form(number));
        assert_eq!(vec![id(&answer)], ids(&exchange), "{fault}");
        assert_eq!((sent(&answer), placements(&exchange)), ("yes", 1), "{fault}");
        // With a tag of the client's own.
        exchange.set_faults(&faults(1, &[&format!("place={fault}@1")])).unwrap();
        let answer = place(&gateway, &tagged(100 + number, "mine"));
        assert_eq!(id(&answer), ids(&exchange)[1], "{fault}");
        assert_eq!(exchange.orders()[1].tag.as_deref(), Some("mine"));
    }
}

#[test]
fn an_order_that_never_arrived_is_told_so_and_is_sent_again_only_by_its_client() {
    let (exchange, gateway) = with_faults(&["place=reset-before@1"]);
    let first = place(&gateway, &tagged(1, "mine"));
    assert!(is_unknown(&first), "{}", first.text());
    assert!(first.text().contains("does not show the tag"), "{}", first.text());
    assert_eq!(placements(&exchange), 1);
    let again = place(&gateway, &tagged(1, "mine"));
    assert_eq!((vec![id(&again)], is_repeated(&again)), (ids(&exchange), false));
}

#[test]
fn an_order_that_the_book_shows_as_rejected_is_answered_as_rejected() {
    let market = PaperBroker::builder().cash(1000).build().unwrap();
    let exchange = SimulatedExchange::builder().broker(market).circuit_limits(false);
    let exchange = exchange.faults(faults(1, &["place=reset-after@1"])).start().unwrap();
    let gateway = start(patient(&exchange));
    let answer = place(&gateway, &form(5000));
    assert_eq!((answer.status, sent(&answer)), (400, "yes"), "{}", answer.text());
    assert_eq!(answer.json()["error_type"], "OrderException");
    assert_eq!(exchange.orders()[0].status, OrderStatus::Rejected);
}

#[test]
fn without_a_readable_order_book_the_outcome_is_unknown_and_nothing_is_sent_again() {
    let (exchange, gateway) = with_faults(&["place=reset-after@1", "orders=502-before"]);
    let hasty = format!("{}x-lanekeeper-deadline: 1\r\n", by("alpha"));
    for _ in 0..3 {
        let answer = place_with(&gateway, &hasty, &form(1));
        assert!(is_unknown(&answer), "{answer:?}");
        assert_eq!(answer.json()["error_type"], "NetworkException");
    }
    assert_eq!(placements(&exchange), 1);
    exchange.set_faults(&faults(1, &[])).unwrap();
    let answer = place(&gateway, &form(1));
    assert_eq!((vec![id(&answer)], is_repeated(&answer)), (ids(&exchange), true));
}

#[test]
fn an_order_in_slices_is_answered_with_all_of_them() {
    let exchange = SimulatedExchange::builder().freeze_quantity("NSE", 100).circuit_limits(false);
    let exchange = exchange.start().unwrap();
    let gateway = start(patient(&exchange));
    let in_slices = |quantity| format!("{}&autoslice=true", form(quantity));
    let children = |answer: &Answer| -> Vec<String> {
        let data = &answer.json()["data"];
        let children = data["children"].as_array().unwrap();
        let children = children.iter().map(|child| child["order_id"].as_str().unwrap().to_owned());
        std::iter::once(data["order_id"].as_str().unwrap().to_owned()).chain(children).collect()
    };
    let answer = place(&gateway, &in_slices(250));
    assert_eq!(children(&answer), ids(&exchange));
    // Its answer is lost.
    exchange.set_faults(&faults(1, &["place=reset-after@1"])).unwrap();
    let answer = place(&gateway, &in_slices(250));
    assert_eq!(children(&answer), ids(&exchange)[3..]);
    // A slice is refused: the answer is the broker's own.
    exchange.set_faults(&faults(1, &["place=slice-refused:2@1"])).unwrap();
    let answer = place(&gateway, &in_slices(250));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("The slice was refused on purpose."), "{}", answer.text());
    assert_eq!(placements(&exchange), 3);
}

#[test]
fn a_change_whose_answer_was_lost_is_answered_as_usual() {
    let (exchange, gateway) = with_faults(&["modify=reset-after@1", "modify=hang-after@2"]);
    let order = id(&place(&gateway, &form(10)));
    for (quantity, fault) in [(11, "reset"), (12, "hang")] {
        let change = format!("order_type=LIMIT&quantity={quantity}&price=1&validity=DAY");
        let mut client = Client::connect(gateway.address());
        let answer = client.request("PUT", &format!("/orders/regular/{order}"), &change);
        assert_eq!(id(&answer), order, "{fault}");
        assert_eq!(exchange.orders()[0].quantity, quantity.into());
    }
    let changes = exchange.arrivals().iter().filter(|it| it.method == "PUT").count();
    assert_eq!(changes, 2, "a change is never sent twice");
}

#[test]
fn a_cancellation_whose_answer_was_lost_is_answered_as_usual() {
    for fault in ["reset-after", "hang-after", "reset-before", "502-after"] {
        let (exchange, gateway) = with_faults(&[&format!("cancel={fault}@1")]);
        let order = id(&place(&gateway, &form(10)));
        let mut client = Client::connect(gateway.address());
        let answer = client.request("DELETE", &format!("/orders/regular/{order}"), "");
        assert_eq!(id(&answer), order, "{fault}");
        assert_eq!(exchange.orders()[0].status, OrderStatus::Cancelled, "{fault}");
    }
}

#[test]
fn one_tag_on_every_order_confuses_none_of_them() {
    let (exchange, gateway) = with_faults(&["place=reset-after@25%", "place=reset-before@15%"]);
    let quick = format!("{}x-lanekeeper-deadline: 8\r\n", by("alpha"));
    let next = AtomicU64::new(1);
    let answers = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > 60 {
                        return;
                    }
                    let answer = place_with(&gateway, &quick, &tagged(number, "mystrategy"));
                    answers.lock().unwrap().insert(number, answer);
                }
            });
        }
    });
    let (ledger, answers) = (ledger(&exchange), answers.into_inner().unwrap());
    let mut placed = 0;
    for (number, answer) in &answers {
        if is_unknown(answer) {
            // Its repetition may wait for its outcome, and never gets that of another order.
            let again = place_with(&gateway, &quick, &tagged(*number, "mystrategy"));
            assert!(is_unknown(&again) || ledger[number].id.as_str() == id(&again), "{again:?}");
        } else {
            assert_eq!(ledger[number].id.as_str(), id(answer), "order {number}");
            placed += 1;
        }
    }
    assert!(placed > 25 && placed < 60, "{placed} of 60");
    assert_eq!(placements(&exchange), 60, "none was sent twice");
}

#[test]
fn an_order_is_not_taken_for_a_later_one_with_its_tag() {
    // The first one never arrives. Another one with its tag does, while the first is searched for.
    let (exchange, gateway) = with_faults(&["place=reset-before@1"]);
    let first = thread::scope(|scope| {
        let first = scope.spawn(|| place(&gateway, &tagged(1, "shared")));
        support::orders::wait_for_placements(&exchange, 1);
        let second = place(&gateway, &tagged(2, "shared"));
        assert_eq!(vec![id(&second)], ids(&exchange));
        first.join().unwrap()
    });
    assert!(is_unknown(&first), "{}", first.text());
    // Its own repetition is not answered with the other one either, and nothing is sent that may be sent already.
    let again = place(&gateway, &tagged(1, "shared"));
    assert!(is_unknown(&again), "{}", again.text());
    assert_eq!(placements(&exchange), 2);
}

#[test]
fn a_tag_is_guarded_again_after_its_order_was_refused_unsent() {
    let exchange = open_exchange(&[]);
    let mut config = patient(&exchange);
    let lane = lanekeeper::LaneConfig::new(Quota::new(1, Duration::from_secs(2)));
    account(&mut config).lanes = vec![("transactional".to_owned(), lane)];
    let gateway = start(config);
    id(&place(&gateway, &form(1)));
    let hasty = format!("{}x-lanekeeper-deadline: 300ms\r\n", by("alpha"));
    let refused = place_with(&gateway, &hasty, &tagged(2, "mine"));
    assert_eq!((refused.status, sent(&refused)), (429, "no"), "{}", refused.text());
    // The same once more, whose answer is lost: it is found by its tag.
    exchange.set_faults(&faults(1, &["place=reset-after@1"])).unwrap();
    let answer = place(&gateway, &tagged(2, "mine"));
    assert_eq!(id(&answer), ledger(&exchange)[&2].id.as_str());
}

/// 30 % of the writes.
const ON_WRITES: [&str; 19] = [
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

/// Orders of one account, so that its book stays short enough to be read quickly.
const OF_AN_ACCOUNT: u64 = 1000;

/// How many answers there were of each kind.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    placed: u64,
    repeated: u64,
    refused: u64,
    unknown: u64,
}

/// Returns the form of an intent, and the header lines of its client. Some have a tag, some a key, some neither.
fn intent(number: u64) -> (String, String) {
    let client = by(["alpha", "beta", "gamma"][number as usize % 3]);
    let form = match number % 20 {
        0 => form(number).replace("YESBANK", "GHOST"),
        _ => form(number),
    };
    match number % 4 {
        0 => (format!("{form}&tag=mine{number}"), client),
        1 => (format!("{form}&tag=shared"), client),
        2 => (form, format!("{client}idempotency-key: {number}\r\n")),
        _ => (form, client),
    }
}

/// Checks an answer against the ledger.
fn check(number: u64, answer: &Answer, booked: Option<&PlacedOrder>, counts: &mut Counts) {
    let wrong = || {
        panic!("{number}: answered {} {}, in the ledger: {booked:?}", answer.status, answer.text())
    };
    match (answer.status, sent(answer)) {
        (200, "yes") if booked.is_some_and(|order| order.id.as_str() == id(answer)) => {
            counts.placed += 1;
        }
        (503, "unknown") if is_unknown(answer) => counts.unknown += 1,
        (400 | 403 | 429 | 502, _) if booked.is_none() => counts.refused += 1,
        _ => wrong(),
    }
    counts.repeated += u64::from(is_repeated(answer));
}

/// Runs one account. Some clients are hasty, so that they are told that the outcome is unknown, and repeat by themselves.
fn bad_account(seed: u64, intents: u64) -> Counts {
    let exchange = open_exchange(&[]);
    let rules = [&ON_WRITES[..], &ON_READS].concat();
    exchange.set_faults(&faults(seed, &rules)).unwrap();
    let gateway = start(patient(&exchange));
    let next = AtomicU64::new(1);
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > intents {
                        return;
                    }
                    let (form, lines) = intent(number);
                    let hasty = format!("{lines}x-lanekeeper-deadline: 1\r\n");
                    let mut answer = place_with(&gateway, &hasty, &form);
                    for _ in 0..8 {
                        if (answer.status, sent(&answer)) != (503, "unknown") {
                            break;
                        }
                        answer = place_with(&gateway, &lines, &form);
                    }
                    answers.lock().unwrap().push((number, answer));
                }
            });
        }
    });
    // Every order that may still arrive has a fault that delays it for less than that.
    thread::sleep(TIMEOUT);
    let (ledger, answers) = (ledger(&exchange), answers.into_inner().unwrap());
    let mut tags: HashMap<&str, u64> = HashMap::new();
    for order in ledger.values() {
        *tags.entry(order.tag.as_deref().unwrap()).or_default() += 1;
    }
    assert!(tags.iter().all(|(tag, orders)| *tag == "shared" || *orders == 1), "{tags:?}");
    assert_eq!(answers.len() as u64, intents);
    let mut counts = Counts::default();
    for (number, answer) in &answers {
        check(*number, answer, ledger.get(number), &mut counts);
    }
    counts
}

#[test]
fn thousands_of_orders_behind_faults_are_neither_doubled_nor_lost() {
    let intents =
        std::env::var("LANEKEEPER_GATEWAY_INTENTS").map_or(1000, |number| number.parse().unwrap());
    let mut total = Counts::default();
    for account in 0..u64::div_ceil(intents, OF_AN_ACCOUNT) {
        let counts = bad_account(account, (intents - account * OF_AN_ACCOUNT).min(OF_AN_ACCOUNT));
        total.placed += counts.placed;
        total.repeated += counts.repeated;
        total.refused += counts.refused;
        total.unknown += counts.unknown;
    }
    println!("{intents} intents: {total:?}");
    assert_eq!(total.placed + total.refused + total.unknown, intents);
    assert!(total.placed > intents * 7 / 10 && total.repeated > 0, "{total:?}");
}
