//! The simulated exchange over real HTTP, with a client that adds nothing of its own to a request.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lanekeeper::broker::{Broker, lanes};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{
    Algorithm, Fault, Faults, Rule, SimulatedExchange, SimulatorBuilder, Target, Timing,
};
use serde_json::Value;
use support::oracle;

const AUTH: &str = "Authorization: token key:token\r\n";
const ORDER: &str = "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&order_type=LIMIT&quantity=1&product=CNC&price=0.05";

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn send(
    exchange: &SimulatedExchange,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has refused the request already may have closed the connection.
    let _ = stream.write_all(body);
    stream
}

fn ask(
    exchange: &SimulatedExchange,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Reply {
    let mut answer = String::new();
    send(exchange, method, path, headers, body).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn get(exchange: &SimulatedExchange, path: &str) -> Reply {
    ask(exchange, "GET", path, AUTH, b"")
}

fn post(exchange: &SimulatedExchange, path: &str, form: &str) -> Reply {
    ask(exchange, "POST", path, AUTH, form.as_bytes())
}

/// Returns an exchange whose windows are so long that the duration of a test does not matter. Orders far from the market
/// rest, so it has no circuit limits.
fn tight(limit: u32) -> SimulatorBuilder {
    let quota = Quota::new(limit, Duration::from_secs(3600));
    let limits =
        lanes::ALL.into_iter().fold(Limits::new(), |limits, lane| limits.lane(lane, quota.clone()));
    SimulatedExchange::builder().limits(limits).circuit_limits(false)
}

/// Waits for an event that will happen. The timeout is so long that only a hang fails.
fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "it did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn one_request_too_many_is_refused_in_kites_words() {
    for algorithm in Algorithm::ALL {
        let exchange = tight(3).algorithm(algorithm).start().unwrap();
        for _ in 0..3 {
            assert_eq!(get(&exchange, "/user/profile").status, 200);
        }
        let reply = get(&exchange, "/orders");
        assert_eq!(reply.status, 429);
        assert_eq!(
            reply.json(),
            serde_json::json!({
                "status": "error",
                "message": "Too many requests",
                "error_type": "NetworkException",
            })
        );
        assert!(reply.head.contains("content-type: application/json"));
        assert!(!reply.head.contains("retry-after"));
        assert_eq!(exchange.refused(), 1);
    }
}

#[test]
fn each_lane_has_its_own_count_and_logins_have_none() {
    let exchange = tight(1).start().unwrap();
    for path in ["/trades", "/quote/ltp?i=NSE:YESBANK", "/instruments/historical/1/day"] {
        assert_ne!(get(&exchange, path).status, 429);
        assert_eq!(get(&exchange, path).status, 429);
    }
    let form = format!("api_key=k&request_token=r&checksum={}", "0a".repeat(32));
    for _ in 0..3 {
        assert_eq!(ask(&exchange, "POST", "/session/token", "", form.as_bytes()).status, 200);
    }
    for lane in lanes::ALL {
        assert_eq!((exchange.counts(lane).admitted, exchange.counts(lane).refused), (1, 1));
        assert_eq!(exchange.quota_used(lane), Some(1.0));
    }
    assert_eq!(exchange.refused(), 3);
}

#[test]
fn a_refused_order_is_not_executed() {
    let exchange = tight(1).start().unwrap();
    assert_eq!(post(&exchange, "/orders/regular", ORDER).status, 200);
    assert_eq!(post(&exchange, "/orders/regular", ORDER).status, 429);
    assert_eq!(exchange.orders().len(), 1);
}

const UNPROTECTED: &str = "Market orders without market protection are not allowed via API. Please set \
                           market protection or use a Limit order.";

#[test]
fn a_market_order_without_protection_is_refused_in_kites_words() {
    let exchange = tight(1000).start().unwrap();
    let market = ORDER.replace("order_type=LIMIT", "order_type=MARKET");
    let stop = ORDER.replace("order_type=LIMIT", "order_type=SL-M") + "&trigger_price=9999";
    for form in [&market, &stop] {
        for none in ["", "&market_protection=0"] {
            let reply = post(&exchange, "/orders/regular", &format!("{form}{none}"));
            let json = reply.json();
            assert_eq!((reply.status, &json["message"]), (400, &UNPROTECTED.into()), "{form}");
            assert_eq!(json["error_type"], "InputException");
        }
        let form = format!("{form}&market_protection=-1");
        assert_eq!(post(&exchange, "/orders/regular", &form).status, 200, "{form}");
    }
    let reply = post(&exchange, "/orders/regular", &format!("{market}&market_protection=True"));
    assert_eq!(
        reply.json()["message"],
        "Invalid request (failed to decode market_protection, got: True (expected decimal))"
    );
    assert_eq!(exchange.orders().len(), 2);
}

#[test]
fn a_limit_order_becomes_a_market_order_only_with_a_protection() {
    let exchange = tight(1000).start().unwrap();
    let placed = post(&exchange, "/orders/regular", ORDER).json();
    let path = format!("/orders/regular/{}", placed["data"]["order_id"].as_str().unwrap());
    let put = |form: &str| ask(&exchange, "PUT", &path, AUTH, form.as_bytes());
    let reply = put("order_type=MARKET");
    assert_eq!((reply.status, &reply.json()["message"]), (400, &UNPROTECTED.into()));
    assert_eq!(exchange.orders()[0].status, lanekeeper::OrderStatus::Open);
    assert_eq!(put("order_type=SL-M&trigger_price=9999&market_protection=2.5").status, 200);
    // A change keeps the present protection.
    assert_eq!(put("quantity=2").status, 200);
    assert_eq!(get(&exchange, "/orders").json()["data"][0]["market_protection"], 2.5);
    assert_eq!(put("order_type=MARKET").status, 200);
    assert_eq!(exchange.orders()[0].status, lanekeeper::OrderStatus::Filled);
}

#[test]
fn arrivals_are_recorded_without_secrets_and_agree_with_the_oracle() {
    // One quota refills while the test runs, and the other does not.
    let lanes = [
        ("transactional", "/orders", (3, Duration::from_millis(20))),
        ("quote", "/quote/ltp", (9, Duration::from_secs(3600))),
    ];
    for (algorithm, expected) in [
        (Algorithm::SlidingLog, oracle::Algorithm::SlidingLog),
        (Algorithm::FixedWindow, oracle::Algorithm::FixedWindow { phase: 0 }),
        (Algorithm::TokenBucket, oracle::Algorithm::TokenBucket),
    ] {
        let limits = lanes.iter().fold(Limits::new(), |limits, &(lane, _, (limit, length))| {
            limits.lane(lane, Quota::new(limit, length))
        });
        let exchange =
            SimulatedExchange::builder().limits(limits).algorithm(algorithm).start().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        for (_, path, _) in lanes {
                            get(&exchange, &format!("{path}?i=NSE:YESBANK&api_key=secret"));
                        }
                    }
                });
            }
        });
        let arrivals = exchange.arrivals();
        assert_eq!(arrivals.len(), 80);
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        for arrival in &arrivals {
            assert_eq!(arrival.method, "GET");
            assert_eq!(arrival.status, Some(if arrival.admitted { 200 } else { 429 }));
        }
        for (lane, path, (limit, length)) in lanes {
            let counted = arrivals.iter().filter(|arrival| arrival.lane == Some(lane));
            let counted: Vec<_> = counted.collect();
            assert!(counted.iter().all(|arrival| arrival.path == path));
            let times: Vec<_> = counted.iter().map(|a| a.at.as_nanos() as u64).collect();
            assert_eq!(times.len(), 40);
            let refused = oracle::refused(&times, limit, length.as_nanos() as u64, expected);
            assert_eq!(exchange.counts(lane).refused, refused as u64, "{algorithm}, {lane}");
        }
        assert_eq!(exchange.counts("quote").refused, 31);
    }
}

#[test]
fn messages_travel_at_least_the_latency_each_way() {
    let latency = Duration::from_millis(60);
    let exchange = SimulatedExchange::builder().latency(latency).start().unwrap();
    let sent = Instant::now();
    assert_eq!(get(&exchange, "/user/profile").status, 200);
    assert!(sent.elapsed() >= 2 * latency);
}

#[test]
fn delays_do_not_hold_up_other_requests() {
    let exchange = tight(1000).latency(Duration::from_millis(250)).start().unwrap();
    let sent = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(get(&exchange, "/user/profile").status, 200));
        }
    });
    // In sequence they would take twenty seconds.
    assert!(sent.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_order_arrives_even_if_its_sender_has_hung_up() {
    let exchange = tight(10).latency(Duration::from_millis(50)).start().unwrap();
    let form = format!("{ORDER}&tag=lost");
    drop(send(&exchange, "POST", "/orders/regular", AUTH, form.as_bytes()));
    until(|| !exchange.orders().is_empty());
    assert_eq!(exchange.orders()[0].tag.as_deref(), Some("lost"));
    assert_eq!(exchange.broker().orders().unwrap().len(), 1);
}

#[test]
fn half_a_request_never_arrives() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let head = format!(
        "POST /orders/regular HTTP/1.1\r\nHost: x\r\n{AUTH}Content-Length: 1000\r\n\r\n{ORDER}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(get(&exchange, "/orders").json()["data"], serde_json::json!([]));
    assert_eq!(exchange.arrivals().len(), 1);
}

#[test]
fn a_request_without_a_token_is_not_counted() {
    let exchange = tight(1).start().unwrap();
    for headers in [
        "",
        "Authorization: \r\n",
        "Authorization: token \r\n",
        "Authorization: token key\r\n",
        "Authorization: token :\r\n",
        "Authorization: token key:\r\n",
        "Authorization: Bearer key:token\r\n",
        "Authorization: token \u{e9}:\u{e9}\r\n",
    ] {
        let reply = ask(&exchange, "GET", "/orders", headers, b"");
        assert_eq!((reply.status, &reply.json()["error_type"]), (403, &"TokenException".into()));
    }
    assert_eq!(exchange.counts("transactional"), Default::default());
    assert_eq!(get(&exchange, "/orders").status, 200);
}

#[test]
fn a_session_that_was_ended_is_over() {
    let exchange = tight(100).start().unwrap();
    assert_eq!(get(&exchange, "/orders").status, 200);
    let path = "/session/token?api_key=key&access_token=token";
    assert_eq!(ask(&exchange, "DELETE", path, AUTH, b"").status, 200);
    assert_eq!(get(&exchange, "/orders").status, 403);
}

#[test]
fn whatever_is_sent_is_answered_in_json() {
    let exchange = tight(1000).start().unwrap();
    let keys = |count: usize| vec!["i=NSE:X"; count].join("&");
    for (method, path, body, status, kind) in [
        ("GET", "/nowhere", "", 404, "GeneralException"),
        ("GET", "/orders/nowhere", "", 404, "GeneralException"),
        ("GET", "/orders/1/trades", "", 404, "GeneralException"),
        ("PATCH", "/orders", "", 405, "GeneralException"),
        ("POST", "/quote", "", 405, "GeneralException"),
        ("GET", "/quote", "", 400, "InputException"),
        ("GET", "/user/margins/crypto", "", 400, "InputException"),
        ("POST", "/orders/regular", "", 400, "InputException"),
        ("POST", "/orders/regular", "{\"quantity\":1}", 400, "InputException"),
        ("POST", "/orders/regular", "%%%&&&==&\u{0}", 400, "InputException"),
        ("PUT", "/orders/regular/1", "quantity=1", 404, "GeneralException"),
        ("DELETE", "/orders/regular/1", "", 404, "GeneralException"),
        (
            "GET",
            "/instruments/historical/x/day?from=2019-01-01&to=2019-01-02",
            "",
            400,
            "InputException",
        ),
        (
            "POST",
            "/session/token",
            "api_key=k&request_token=r&checksum=short",
            403,
            "TokenException",
        ),
    ] {
        let reply = ask(&exchange, method, path, AUTH, body.as_bytes());
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
        assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
        let json = reply.json();
        assert_eq!((&json["status"], &json["error_type"]), (&"error".into(), &kind.into()));
        assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    assert_eq!(get(&exchange, &format!("/quote?{}", keys(501))).status, 400);
    assert_eq!(
        get(&exchange, &format!("/quote/ltp?{}", keys(501))).json()["data"],
        serde_json::json!({})
    );
    assert_eq!(get(&exchange, &format!("/quote/ltp?{}", keys(1001))).status, 400);
    assert_eq!(get(&exchange, &format!("/quote/ltp?{}", keys(1200))).status, 414);
    let large = vec![b'a'; 100 * 1024];
    assert_eq!(ask(&exchange, "POST", "/orders/regular", AUTH, &large).status, 413);
}

#[test]
fn a_form_of_any_bytes_is_answered() {
    let exchange = tight(100_000).start().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let fields = ["quantity", "price", "trigger_price", "disclosed_quantity", "market_protection"];
    for _ in 0..200 {
        let value: String = (0..random.usize(0..40))
            .map(|_| *random.choice(&['0', '9', '.', '-', 'e', '%', '&', '=', '+']).unwrap())
            .collect();
        let field = random.choice(&fields).unwrap();
        let form = format!("{ORDER}&{field}={value}");
        let status = post(&exchange, "/orders/regular", &form).status;
        assert!([200, 400].contains(&status), "{form}: {status}");
    }
}

#[test]
fn connections_are_kept_alive() {
    let exchange = tight(10).start().unwrap();
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    for _ in 0..3 {
        let request = format!("GET /trades HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let end = br#"{"status":"success","data":[]}"#;
        while !answer.ends_with(end) && !answer.ends_with(br#"{"data":[],"status":"success"}"#) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
    assert_eq!(exchange.counts("transactional").admitted, 3);
}

#[test]
fn it_is_gone_after_shutdown_but_its_records_are_not() {
    let mut exchange = tight(10).latency(Duration::from_secs(600)).start().unwrap();
    let address = exchange.address();
    let mut waiting = send(&exchange, "GET", "/orders", AUTH, b"");
    exchange.shutdown();
    exchange.shutdown();
    assert!(TcpStream::connect(address).is_err());
    // The connection is reset or closed, and does not hang for ten minutes.
    let _ = waiting.read(&mut [0]);
    assert_eq!(exchange.arrivals(), []);
}

#[test]
fn it_is_not_for_others() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let error =
            SimulatedExchange::builder().listen(address.parse().unwrap()).start().unwrap_err();
        assert!(error.to_string().contains("is not a loopback address"), "{error}");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let start =
        |limits| SimulatedExchange::builder().limits(limits).start().unwrap_err().to_string();
    let error = start(Limits::new().lane("orders", Quota::per_second(1)));
    assert!(error.contains("no lane `orders`; the lanes are transactional, quote"), "{error}");
    let error = start(Limits::new().lane("quote", Quota::per_second(0)));
    assert!(error.contains("allows no calls"), "{error}");
}

/// Returns the message of a request that is rejected, and checks that it is not in the ledger.
fn rejection_message(exchange: &SimulatedExchange, method: &str, path: &str, form: &str) -> String {
    let before: Vec<_> = exchange.orders();
    let reply = ask(exchange, method, path, AUTH, form.as_bytes());
    let json = reply.json();
    assert_eq!((reply.status, &json["error_type"]), (400, &"InputException".into()), "{form}");
    assert_eq!(exchange.orders(), before, "{form}");
    json["message"].as_str().unwrap().to_owned()
}

/// Returns an exchange with one resting order, and the path of that order.
fn with_order() -> (SimulatedExchange, String) {
    let exchange = tight(1000).start().unwrap();
    let placed = post(&exchange, "/orders/regular", ORDER).json();
    let path = format!("/orders/regular/{}", placed["data"]["order_id"].as_str().unwrap());
    (exchange, path)
}

#[test]
fn a_price_that_is_no_multiple_of_the_tick_size_is_refused_in_kites_words() {
    let (exchange, path) = with_order();
    let words = |what: &str| {
        format!(
            "Tick size for this script is 0.05. Kindly enter {what} in the multiple of tick size for \
             this script"
        )
    };
    for (form, what) in [
        (ORDER.replace("price=0.05", "price=0.07"), "price"),
        (ORDER.replace("LIMIT", "SL") + "&trigger_price=9.99", "trigger price"),
        (
            ORDER.replace("LIMIT", "SL-M") + "&trigger_price=9.01&market_protection=-1",
            "trigger price",
        ),
    ] {
        assert_eq!(rejection_message(&exchange, "POST", "/orders/regular", &form), words(what));
    }
    assert_eq!(rejection_message(&exchange, "PUT", &path, "price=1.02"), words("price"));
    assert_eq!(
        rejection_message(&exchange, "PUT", &path, "order_type=SL&trigger_price=9.99"),
        words("trigger price")
    );
    assert_eq!(ask(&exchange, "PUT", &path, AUTH, b"price=1.1").status, 200);
}

#[test]
fn fields_that_are_unknown_or_repeated_are_refused() {
    let (exchange, path) = with_order();
    for (more, what) in [
        ("&quantity=1000", "repeated field `quantity`"),
        ("&price=0.05", "repeated field `price`"),
        ("&tag=a&tag=b", "repeated field `tag`"),
        ("&stoploss=1", "unknown field `stoploss`"),
        ("&Quantity=1", "unknown field `Quantity`"),
    ] {
        let words =
            rejection_message(&exchange, "POST", "/orders/regular", &format!("{ORDER}{more}"));
        assert_eq!(words, format!("Invalid request ({what})"));
    }
    for (form, what) in [
        ("quantity=2&quantity=3", "repeated field `quantity`"),
        ("quantity=2&tag=x", "unknown field `tag`"),
        ("quantity=2&autoslice=true", "unknown field `autoslice`"),
    ] {
        assert_eq!(
            rejection_message(&exchange, "PUT", &path, form),
            format!("Invalid request ({what})")
        );
    }
    for query in ["price=1", "parent_order_id=1&parent_order_id=1"] {
        let words = rejection_message(&exchange, "DELETE", &format!("{path}?{query}"), "");
        assert!(words.starts_with("Invalid request ("), "{words}");
    }
    assert!(rejection_message(&exchange, "DELETE", &path, "quantity=1").contains("unknown field"));
}

/// The fields that a client repeats must match the order, above all its parent.
#[test]
fn names_that_are_not_those_of_the_order_are_refused() {
    let (exchange, path) = with_order();
    for form in [
        "variety=amo",
        "order_id=1",
        "parent_order_id=1",
        "tradingsymbol=JUNIORBEES",
        "product=MIS",
    ] {
        let words = rejection_message(&exchange, "PUT", &path, &format!("quantity=2&{form}"));
        assert_eq!(words, format!("Invalid `{}`.", form.split_once('=').unwrap().0));
    }
    assert!(
        rejection_message(&exchange, "POST", "/orders/regular", &format!("{ORDER}&variety=amo"))
            .contains("variety")
    );
    assert!(
        rejection_message(&exchange, "DELETE", &format!("{path}?parent_order_id=1"), "")
            .contains("parent")
    );
    let id = path.rsplit('/').next().unwrap();
    let same =
        format!("quantity=2&variety=regular&order_id={id}&exchange=NSE&tradingsymbol=YESBANK");
    assert_eq!(ask(&exchange, "PUT", &path, AUTH, same.as_bytes()).status, 200);
    let same = format!("{path}?variety=regular&order_id={id}&parent_order_id=");
    assert_eq!(ask(&exchange, "DELETE", &same, AUTH, b"").status, 200);
}

#[test]
fn a_variety_that_is_not_simulated_is_refused() {
    let (exchange, path) = with_order();
    let iceberg = format!("{ORDER}&iceberg_legs=2&iceberg_quantity=1");
    for (variety, form, words) in [
        ("amo", ORDER, "After market orders (AMO) cannot be placed while the market is open"),
        (
            "co",
            ORDER,
            "Cover orders are blocked for the day. Try placing an order in CNC, MIS, or NRML product type.",
        ),
        ("iceberg", iceberg.as_str(), "Iceberg orders are not simulated."),
        ("auction", ORDER, "Auction orders are not simulated"),
    ] {
        let message = rejection_message(&exchange, "POST", &format!("/orders/{variety}"), form);
        assert!(message.starts_with(words), "{message}");
    }
    // The variety is a part of the route, so Kite answers an unknown one like a wrong method.
    let before = exchange.orders();
    for (method, path) in [
        ("POST", "/orders/urgent".to_owned()),
        ("POST", "/orders/REGULAR".to_owned()),
        ("PUT", path.replace("regular", "urgent")),
        ("DELETE", path.replace("regular", "urgent")),
    ] {
        let reply = ask(&exchange, method, &path, AUTH, ORDER.as_bytes());
        let json = reply.json();
        assert_eq!((reply.status, &json["error_type"]), (405, &"GeneralException".into()));
        assert_eq!(json["message"], "Request method not allowed");
    }
    assert_eq!(exchange.orders(), before);
    // The fields of another variety show that the client chose the wrong one.
    for field in ["iceberg_legs", "iceberg_quantity", "auction_number"] {
        let form = format!("{ORDER}&{field}=2");
        assert_eq!(
            rejection_message(&exchange, "POST", "/orders/regular", &form),
            format!("Invalid request (unknown field `{field}`)")
        );
    }
}

#[test]
fn a_price_beyond_the_circuit_limits_is_refused_in_kites_words() {
    let exchange = tight(1000).circuit_limits(true).start().unwrap();
    let quote = &get(&exchange, "/quote?i=NSE:YESBANK").json()["data"]["NSE:YESBANK"];
    let limit = |name: &str| quote[name].as_f64().unwrap();
    let [lower, upper] = ["lower_circuit_limit", "upper_circuit_limit"].map(limit);
    let last = limit("last_price");
    assert!(0.75 * last < lower && lower < last && last < upper && upper < 1.25 * last, "{quote}");

    let order = |price: f64| ORDER.replace("price=0.05", &format!("price={price:.2}"));
    for price in [lower, upper] {
        assert_eq!(post(&exchange, "/orders/regular", &order(price)).status, 200);
    }
    // A market order has no price, whatever its client sends.
    let market = ORDER.replace("LIMIT", "MARKET") + "&market_protection=-1";
    assert_eq!(post(&exchange, "/orders/regular", &market).status, 200);
    let refused = |form: &str| rejection_message(&exchange, "POST", "/orders/regular", form);
    let low = format!(
        "Your order price is lower than the current lower circuit limit of {lower:.2}. Place an order within the \
         daily range."
    );
    assert_eq!(refused(&order(lower - 0.05)), low);
    assert_eq!(
        refused(&order(upper + 0.05)),
        format!(
            "Your order price is higher than the current upper circuit limit of {upper:.2}. Place an order within \
             the daily range."
        )
    );
    let stop = |trigger: f64| {
        let form = ORDER.replace("LIMIT", "SL-M").replace("BUY", "SELL");
        format!("{form}&market_protection=-1&trigger_price={trigger:.2}").replace("&price=0.05", "")
    };
    assert_eq!(
        refused(&stop(lower - 0.05)),
        format!(
            "Trigger price for stoploss sell orders cannot be below the lower circuit price. Please try placing the \
             order with trigger price above {lower:.2}."
        )
    );
    let placed = post(&exchange, "/orders/regular", &stop(lower)).json();
    let path = format!("/orders/regular/{}", placed["data"]["order_id"].as_str().unwrap());
    let change = format!("order_type=SL&price={:.2}", lower - 0.05);
    assert_eq!(rejection_message(&exchange, "PUT", &path, &change), low);
}

#[test]
fn an_observer_is_told_of_each_request_without_secrets() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let faults = Faults::new().rule(Rule::new(Target::Holdings, Fault::Reset(Timing::Before)));
    let exchange = tight(1)
        .faults(faults)
        .on_request(move |arrival, latency| log.lock().unwrap().push((arrival.clone(), latency)))
        .latency(Duration::from_millis(2))
        .start()
        .unwrap();
    get(&exchange, "/quote/ltp?i=NSE:YESBANK&access_token=secret");
    get(&exchange, "/quote/ltp?i=NSE:YESBANK");
    ask(&exchange, "GET", "/nowhere", "", b"");
    let mut reset = send(&exchange, "GET", "/portfolio/holdings", AUTH, b"");
    let _ = reset.read(&mut [0]);
    until(|| seen.lock().unwrap().len() == 4);
    let seen = seen.lock().unwrap();
    let told: Vec<_> =
        seen.iter().map(|(it, _)| (it.path.as_str(), it.lane, it.route, it.status)).collect();
    assert_eq!(
        told,
        [
            ("/quote/ltp", Some("quote"), Some(Target::Quotes), Some(200)),
            ("/quote/ltp", Some("quote"), Some(Target::Quotes), Some(429)),
            ("/nowhere", None, None, Some(403)),
            ("/portfolio/holdings", Some("transactional"), Some(Target::Holdings), None),
        ]
    );
    assert!(seen.iter().all(|(_, latency)| *latency >= Duration::from_millis(4)));
    assert!(!format!("{seen:?}").contains("secret"));
}

#[test]
fn each_account_has_its_own_counters() {
    let exchange = tight(2).start().unwrap();
    let get = |key: &str| {
        let auth = format!("Authorization: token {key}:token\r\n");
        ask(&exchange, "GET", "/user/profile", &auth, b"").status
    };
    assert_eq!([get("a"), get("a"), get("a")], [200, 200, 429]);
    assert_eq!([get("b"), get("b")], [200, 200]);
    let (a, b) = (exchange.account("a"), exchange.account("b"));
    let of = |counts: lanekeeper_simulator::RequestCounts| (counts.admitted, counts.refused);
    assert_eq!((of(a.counts("transactional")), of(b.counts("transactional"))), ((2, 1), (2, 0)));
    assert_eq!((a.refused(), b.refused(), exchange.refused()), (1, 0, 1));
    assert_eq!(of(exchange.counts("transactional")), (4, 1));
    assert_eq!((a.arrivals().len(), b.arrivals().len(), exchange.arrivals().len()), (3, 2, 5));
    assert_eq!((a.quota_used("transactional"), b.quota_used("quote")), (Some(1.0), None));
    assert_eq!(exchange.account("c").counts("transactional"), Default::default());
}

/// Reads until the exchange closes the connection. Fails if the exchange does not, or only after hyper's own
/// timeout (30 s).
fn until_closed(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    // The connection may end in any way.
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it is still open"),
        _ => answer,
    }
}

/// Returns a connection on which `text`, the beginning of a request, was sent.
fn begin(exchange: &SimulatedExchange, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

#[test]
fn a_client_that_sends_half_a_request_is_cut_off() {
    let exchange = tight(10).read_timeout(Duration::from_millis(50)).start().unwrap();
    let begun = |text: &str| begin(&exchange, text);
    // Many at once, as such connections would pile up.
    let half = format!("POST /orders/regular HTTP/1.1\r\nHost: x\r\n{AUTH}");
    let open: Vec<_> = (0..50).map(|_| begun(&half)).collect();
    for stream in open {
        assert_eq!(until_closed(stream), "");
    }
    assert_eq!(until_closed(begun("")), "");
    let late = format!("{half}Content-Length: 1000\r\n\r\n{ORDER}");
    assert!(until_closed(begun(&late)).starts_with("HTTP/1.1 408 "), "a body that does not come");
    assert_eq!((exchange.orders(), exchange.arrivals().len()), (vec![], 0));
    // The timeout applies to sending: a response may take longer.
    let slow =
        tight(10).read_timeout(Duration::from_millis(50)).latency(Duration::from_millis(200));
    assert_eq!(get(&slow.start().unwrap(), "/trades").status, 200);
    let error = SimulatedExchange::builder().read_timeout(Duration::ZERO).start().unwrap_err();
    assert!(error.to_string().contains("lets no request in"), "{error}");
}

/// The first half of a head, and the rest of it.
const HALF: [&str; 2] = [
    "GET /user/profile HTTP/1.1\r\nHost: x\r\n",
    "Authorization: token key:token\r\nConnection: close\r\n\r\n",
];

#[test]
fn connections_beyond_the_bound_are_closed_at_once() {
    let exchange = tight(1000).max_connections(3).start().unwrap();
    let held: Vec<_> = (0..3).map(|_| begin(&exchange, HALF[0])).collect();
    for _ in 0..50 {
        assert_eq!(until_closed(begin(&exchange, HALF[0])), "");
    }
    // The open connections continue, and free their permits when they end.
    for mut stream in held {
        stream.write_all(HALF[1].as_bytes()).unwrap();
        assert!(until_closed(stream).starts_with("HTTP/1.1 200 "));
    }
    until(|| until_closed(begin(&exchange, &HALF.concat())).starts_with("HTTP/1.1 200 "));
    let error = SimulatedExchange::builder().max_connections(0).start().unwrap_err();
    assert!(error.to_string().contains("zero connections"), "{error}");
    drop(SimulatedExchange::builder().max_connections(usize::MAX).start().unwrap());
}

#[test]
fn half_sent_requests_do_not_hold_up_the_shutdown() {
    // Requests in flight end in a different order each time.
    (0..20).for_each(|_| stopped_with_half_sent_requests());
}

fn stopped_with_half_sent_requests() {
    // The read timeout is the default, which is longer than `until_closed` waits.
    let exchange = tight(1000).start().unwrap();
    let body =
        format!("POST /orders/regular HTTP/1.1\r\nHost: x\r\n{AUTH}Content-Length: 9\r\n\r\nx");
    let open: Vec<_> =
        (0..100).flat_map(|_| [begin(&exchange, HALF[0]), begin(&exchange, &body)]).collect();
    assert_eq!(get(&exchange, "/user/profile").status, 200);
    drop(exchange);
    for stream in open {
        assert_eq!(until_closed(stream), "");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let exchange = tight(1_000_000).read_timeout(Duration::from_millis(50)).start().unwrap();
    let listing = get(&exchange, "/instruments").body;
    let token = listing.lines().nth(1).and_then(|line| line.split(',').next()).unwrap();
    let days = "from=2019-01-01+00:00:00&to=2019-02-20+00:00:00";
    let path = format!("/instruments/historical/{token}/minute?{days}");
    let answer = get(&exchange, &path);
    assert!(answer.body.len() > 10_000, "{}", answer.body);
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    // Responses pile up until all buffers are full.
    let requests = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n").repeat(100);
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error;
        }
    };
    assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it is still open");
}
