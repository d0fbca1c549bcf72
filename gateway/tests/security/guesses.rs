//! Attempts to guess a key: they are held up, and nothing else is.

use std::sync::Barrier;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;

use crate::support::door::{exchange, keyed, refusal};
use crate::support::ops::{bearer, call, own};
use crate::support::upstream::Upstream;
use crate::support::{Answer, Client, builder, kite, rest};

const OWN: &str = "x-lanekeeper-request: 1\r\n";
const LOGIN: &str = r#"{"request_token":"abc"}"#;
const ORDER: &str = "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&quantity=1\
                     &order_type=LIMIT&price=80&product=MIS&validity=DAY";

fn start(config: GatewayConfig) -> (Gateway, ManualClock) {
    let clock = ManualClock::new();
    (builder(config).clock(clock.clone()).start().unwrap(), clock)
}

fn wait(answer: &Answer) -> u64 {
    refusal(answer, 429, "no");
    answer.header("retry-after").unwrap().parse().unwrap()
}

fn log_in(gateway: &Gateway, secret: &str) -> Answer {
    own(gateway, "POST", "/login", &format!("{}{OWN}", bearer("admin", secret)), LOGIN)
}

fn refusals(gateway: &Gateway, lines: &str) -> f64 {
    let scrape = own(gateway, "GET", "/metrics", lines, "").text();
    let line =
        scrape.lines().find(|line| line.starts_with("lanekeeper_gateway_login_refusals_total"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn guesses_at_a_client_get_no_answers_and_its_own_orders_go_out() {
    let exchange = exchange();
    let mut config = kite(&exchange.base_url());
    let keys = keyed(&mut config, &["alpha"]);
    let (gateway, clock) = start(config);
    let guess = || call(gateway.address(), "GET", "/orders", &bearer("alpha", "wrong"));
    let right = bearer("alpha", &keys["alpha"]);
    let place = |tag: &str| {
        let order = format!("{ORDER}&tag={tag}");
        Client::connect(gateway.address()).request_with("POST", "/orders/regular", &right, &order)
    };
    for _ in 0..5 {
        refusal(&guess(), 403, "no");
    }
    let mut placed = Vec::new();
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        assert_eq!(wait(&guess()), seconds);
        // Of the interface too, and under every form of the credentials.
        let read = own(&gateway, "GET", "/status", "x-lanekeeper-key: alpha:guess\r\n", "");
        assert_eq!(wait(&read), seconds);
        // The client is not held up, whatever an attacker does with its name.
        let answer = place(&format!("t{}", placed.len()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        placed.push(answer.json()["data"]["order_id"].as_str().unwrap().to_owned());
        assert_eq!(own(&gateway, "GET", "/status", &right, "").status, 200);
        clock.advance(Duration::from_secs(seconds));
        refusal(&guess(), 403, "no");
    }
    // Nor are its exits.
    assert!(wait(&guess()) > 0);
    let cancel =
        call(gateway.address(), "DELETE", &format!("/orders/regular/{}", placed[0]), &right);
    assert_eq!(cancel.status, 200, "{}", cancel.text());
    assert_eq!(exchange.orders().len(), placed.len());
    assert_eq!(refusals(&gateway, &right), 25.0);
}

#[test]
fn of_a_thousand_guesses_at_the_admin_key_at_the_same_time_five_are_looked_at() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let (gateway, clock) = start(config);
    let begin = Barrier::new(50);
    let looked_at: usize = std::thread::scope(|scope| {
        let attack = |_| {
            scope.spawn(|| {
                begin.wait();
                (0..20).filter(|_| log_in(&gateway, "guess").status == 403).count()
            })
        };
        let attackers: Vec<_> = (0..50).map(attack).collect();
        attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum()
    });
    assert_eq!(looked_at, 5);
    // The right key is not looked at either, or the answer would tell it.
    assert_eq!(wait(&log_in(&gateway, &keys["admin"])), 1);
    let alpha = bearer("alpha", &keys["alpha"]);
    assert_eq!(refusals(&gateway, &alpha), 996.0);
    // It still does everything else.
    let lines = format!("{}{OWN}", bearer("admin", &keys["admin"]));
    let pause = "/accounts/main/lanes/quote/pause";
    assert_eq!(own(&gateway, "POST", pause, &lines, "").status, 200);
    clock.advance(Duration::from_secs(1));
    // It passes, to what is no fault of it: there is no secret to log in with.
    for _ in 0..100 {
        assert!(log_in(&gateway, &keys["admin"]).text().contains("KITE_API_SECRET"));
    }
    // A success takes back its own attempt, and not those of the attacker.
    refusal(&log_in(&gateway, "guess"), 403, "no");
    assert_eq!(wait(&log_in(&gateway, "guess")), 2);
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_unknown_name_is_held_up_like_a_known_one() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    keyed(&mut config, &["alpha"]);
    let (gateway, _) = start(config);
    let answers = |name: &str| {
        let guess = |_| {
            let answer = call(gateway.address(), "GET", "/orders", &bearer(name, "wrong"));
            (answer.status, answer.header("retry-after").map(str::to_owned), answer.text())
        };
        (0..8).map(guess).collect::<Vec<_>>()
    };
    assert_eq!(answers("alpha"), answers("unknown"));
}

#[test]
fn an_address_that_tries_many_names_is_held_up_and_others_are_not() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let (gateway, clock) = start(config);
    let guess = |user: usize, from: &str| {
        let lines = format!("{}{from}", bearer(&format!("user{user}"), "wrong"));
        call(gateway.address(), "GET", "/orders", &lines)
    };
    let attacker = "x-forwarded-for: 203.0.113.9\r\n";
    for user in 0..20 {
        refusal(&guess(user, attacker), 403, "no");
    }
    assert_eq!(wait(&guess(99, attacker)), 1);
    // What the attacker writes into the header itself stands before what the proxy adds.
    assert_eq!(wait(&guess(99, "x-forwarded-for: 198.51.100.1, 203.0.113.9\r\n")), 1);
    assert_eq!(wait(&guess(99, "x-forwarded-for: \u{fffd}, 203.0.113.9\r\n")), 1);
    assert_eq!(wait(&guess(99, "x-forwarded-for: 203.0.113.9:4711\r\n")), 1);
    refusal(&guess(99, "x-forwarded-for: 198.51.100.1\r\n"), 403, "no");
    // Of IPv6, a network is one address.
    let of_network = |host: usize| format!("x-forwarded-for: 2001:db8:0:1::{host:x}\r\n");
    for user in 20..40 {
        refusal(&guess(user, &of_network(user)), 403, "no");
    }
    assert_eq!(wait(&guess(98, &of_network(98))), 1);
    // A right key passes from there, too. A strict login does not.
    let right = format!("{}{attacker}", bearer("alpha", &keys["alpha"]));
    assert_eq!(call(gateway.address(), "GET", "/user/margins", &right).status, 200);
    let admin = format!("{}{OWN}", bearer("admin", &keys["admin"]));
    let log_in = |from: &str| own(&gateway, "POST", "/login", &format!("{admin}{from}"), LOGIN);
    assert_eq!(wait(&log_in(attacker)), 1);
    assert_eq!(log_in("x-forwarded-for: 198.51.100.2\r\n").status, 400);
    // The machine itself, and a proxy that says nothing, are no attackers: programs that share them have their names.
    for user in 100..150 {
        refusal(&guess(user, ""), 403, "no");
    }
    assert_eq!(log_in("").status, 400);
    clock.advance(Duration::from_secs(1));
    assert_eq!(log_in(attacker).status, 400);
}

#[test]
fn a_login_of_a_client_at_the_broker_is_a_failed_one_and_its_calls_go_on() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha", "beta"]);
    let (gateway, clock) = start(config);
    let right = bearer("alpha", &keys["alpha"]);
    let log_in = |lines: &str| {
        let mut client = Client::connect(gateway.address());
        client.request_with("POST", "/session/token", lines, "request_token=a")
    };
    for _ in 0..5 {
        refusal(&log_in(&right), 403, "no");
    }
    // Neither a right key nor a wrong one is looked at.
    assert_eq!((wait(&log_in(&right)), wait(&log_in(&bearer("alpha", "wrong")))), (1, 1));
    refusal(&log_in(&bearer("beta", &keys["beta"])), 403, "no");
    assert_eq!(call(gateway.address(), "GET", "/user/margins", &right).status, 200);
    clock.advance(Duration::from_secs(1));
    refusal(&log_in(&right), 403, "no");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_address_of_an_upstream_that_is_no_login_of_the_gateway_is_none() {
    let upstream = Upstream::json("{}");
    let (gateway, _) = start(rest(&upstream.url()));
    for _ in 0..20 {
        let answer = call(gateway.address(), "POST", "/session/token", "x-lanekeeper-key: a:b\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_request_without_a_key_or_for_the_health_is_never_held_up() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    keyed(&mut config, &["alpha"]);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let (gateway, _) = start(config);
    let from = "x-forwarded-for: 203.0.113.9\r\n";
    for _ in 0..30 {
        refusal(&call(gateway.address(), "GET", "/orders", from), 401, "no");
        refusal(&own(&gateway, "GET", "/status", from, ""), 401, "no");
    }
    for user in 0..30 {
        let lines = format!("{}{from}", bearer(&format!("user{user}"), "wrong"));
        call(gateway.address(), "GET", "/orders", &lines);
    }
    let lines = format!("{}{from}", bearer("alpha", "wrong"));
    assert_eq!(wait(&call(gateway.address(), "GET", "/orders", &lines)), 1);
    for path in ["/healthz", "/readyz", "/", "/app.js"] {
        assert_eq!(own(&gateway, "GET", path, &lines, "").status, 200, "{path}");
    }
}

/// Without a word on proxies, as on a machine where the programs run beside the gateway.
#[test]
fn a_program_with_a_wrong_key_delays_no_other_one_of_the_same_machine() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let (gateway, _) = start(config);
    let guess = |name: &str| call(gateway.address(), "GET", "/orders", &bearer(name, "wrong"));
    for user in 0..50 {
        refusal(&guess(&format!("user{user}")), 403, "no");
    }
    for _ in 0..100 {
        guess("alpha");
    }
    assert_eq!(wait(&guess("alpha")), 1);
    refusal(&guess("beta"), 403, "no");
    assert_eq!(log_in(&gateway, &keys["admin"]).status, 400);
}
