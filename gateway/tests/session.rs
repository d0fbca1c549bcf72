//! A session that ends, and the next one: every client is told at once, exits are still tried, and nothing has to be
//! started again.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

mod support;

use std::thread;
use std::time::Duration;

use lanekeeper::LaneConfig;
use lanekeeper::broker::lanes;
use lanekeeper::quota::Quota;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_simulator::SimulatedExchange;
use support::orders::{
    account, by, form, id, lane_status, open_exchange, open_gateway, place, place_with, placements,
    sent, wait_until,
};
use support::upstream::answer;
use support::{API_KEY, Answer, Client, TOKEN, Upstream, builder, kite, start};

/// Ends the session of a token, as another login of its owner does.
fn end_session(exchange: &SimulatedExchange, token: &str) {
    let target = format!("/session/token?api_key={API_KEY}&access_token={token}");
    let ended = Client::connect(exchange.address()).request_with("DELETE", &target, "", "");
    assert_eq!(ended.status, 200, "{}", ended.text());
}

fn readyz(gateway: &Gateway) -> u16 {
    Client::connect(gateway.address()).request("GET", "/_lanekeeper/readyz", "").status
}

fn assert_token_exception(answer: &Answer, sent_word: &str) {
    assert_eq!((answer.status, sent(answer)), (403, sent_word), "{}", answer.text());
    assert_eq!(answer.json()["error_type"], "TokenException");
}

/// Lets the gateway notice that its session has ended.
fn notice(gateway: &Gateway) {
    assert_token_exception(&place(gateway, &form(900)), "yes");
}

fn log_in(gateway: &Gateway, secret: &str) -> Answer {
    let body = r#"{"account":"main","request_token":"request-token-1"}"#;
    let mut client = Client::connect(gateway.address());
    client.send(format!(
        "POST /_lanekeeper/login HTTP/1.1\r\nhost: 127.0.0.1\r\nx-lanekeeper-request: 1\r\n\
         authorization: Bearer admin:{secret}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.read("POST")
}

/// Starts a gateway at which an operator can log in. Returns the secret of the admin key.
fn with_admin(exchange: &SimulatedExchange, lane: LaneConfig) -> (Gateway, String) {
    let key = NewKey::generate().unwrap();
    let mut config = open_gateway(exchange);
    account(&mut config).lanes = vec![(lanes::TRANSACTIONAL.to_owned(), lane)];
    config.admin_key = Some(key.hash.to_string());
    let gateway = builder(config).secret("KITE_API_SECRET", "the-api-secret").start().unwrap();
    (gateway, key.secret)
}

#[test]
fn every_client_is_told_at_once_and_those_that_wait_too() {
    let exchange = open_exchange(&[]);
    let (gateway, _) =
        with_admin(&exchange, LaneConfig::new(Quota::new(1, Duration::from_secs(1))));
    let order = id(&place(&gateway, &form(1)));
    assert_eq!(readyz(&gateway), 200);
    let patient = format!("{}x-lanekeeper-deadline: 60\r\n", by("alpha"));
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..12)
            .map(|number| {
                let (gateway, lines) = (&gateway, &patient);
                scope.spawn(move || place_with(gateway, lines, &form(100 + number)))
            })
            .collect();
        wait_until("they wait", || lane_status(&gateway)["queued"].as_u64() >= Some(8));
        end_session(&exchange, TOKEN);
        let answers: Vec<Answer> = waiting.into_iter().map(|it| it.join().unwrap()).collect();
        let of = |word| answers.iter().filter(|it| it.status == 403 && sent(it) == word).count();
        // The first one to be sent found it out.
        assert_eq!(of("yes"), 1, "{answers:?}");
        assert!(of("no") >= 6, "{answers:?}");
        assert!(answers.iter().all(|it| it.status == 200 || it.text().contains("TokenException")));
    });
    assert_eq!(readyz(&gateway), 503);
    // Not sent, and no wait.
    let before = exchange.arrivals().len();
    for client in ["alpha", "beta"] {
        assert_token_exception(&place_with(&gateway, &by(client), &form(2)), "no");
    }
    let read = Client::connect(gateway.address()).request("GET", "/orders", "");
    assert_token_exception(&read, "no");
    assert_eq!(exchange.arrivals().len(), before);
    // Exits are tried: only the broker can decide.
    let target = format!("/orders/regular/{order}");
    let exit = Client::connect(gateway.address()).request("DELETE", &target, "");
    assert_token_exception(&exit, "yes");
    let urgent = format!("{}x-lanekeeper-priority: 1\r\n", by("alpha"));
    assert_token_exception(&place_with(&gateway, &urgent, &form(3)), "yes");
    assert_eq!(exchange.arrivals().len(), before + 2);
}

#[test]
fn after_a_login_the_lanes_go_on() {
    let exchange = open_exchange(&[]);
    let (gateway, secret) = with_admin(&exchange, support::orders::open_lane());
    id(&place(&gateway, &form(1)));
    end_session(&exchange, TOKEN);
    notice(&gateway);
    assert_eq!(readyz(&gateway), 503);
    assert_eq!(log_in(&gateway, "wrong").status, 403);
    assert_token_exception(&place(&gateway, &form(2)), "no");
    let answer = log_in(&gateway, &secret);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"status":"success"}"#));
    assert_eq!(readyz(&gateway), 200);
    id(&place(&gateway, &form(2)));
    assert_eq!(exchange.orders().len(), 2);
    // The present session, too, may end.
    end_session(&exchange, &format!("paper{:027}", 1));
    notice(&gateway);
    assert_eq!(log_in(&gateway, &secret).status, 200);
    id(&place(&gateway, &form(3)));
}

#[test]
fn what_waited_is_sent_with_the_new_token() {
    let exchange = open_exchange(&[]);
    let (gateway, secret) =
        with_admin(&exchange, LaneConfig::new(Quota::new(1, Duration::from_secs(3))));
    id(&place(&gateway, &form(1)));
    let patient = format!("{}x-lanekeeper-deadline: 60\r\n", by("alpha"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| place_with(&gateway, &patient, &form(2)));
        wait_until("it waits", || lane_status(&gateway)["queued"] == 1);
        end_session(&exchange, TOKEN);
        // The login goes before it, and takes the slot that it waits for.
        assert_eq!(log_in(&gateway, &secret).status, 200);
        id(&waiting.join().unwrap());
    });
    assert_eq!(placements(&exchange), 2);
}

#[test]
fn a_token_that_is_written_to_its_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let exchange = open_exchange(&[]);
    let mut config = open_gateway(&exchange);
    account(&mut config).token_file = Some(file.clone());
    let gateway = start(config);
    id(&place(&gateway, &form(1)));
    end_session(&exchange, TOKEN);
    notice(&gateway);
    // Half a file changes nothing, and neither does an empty one.
    std::fs::write(&file, "").unwrap();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(readyz(&gateway), 503);
    std::fs::write(&file, "the-broker-token-of-tomorrow\n").unwrap();
    wait_until("the new token is used", || readyz(&gateway) == 200);
    id(&place(&gateway, &form(2)));
}

#[test]
fn no_output_has_the_old_token_or_the_new_one() {
    let next = "the-broker-token-of-tomorrow";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    // A broker that echoes what it was sent, and refuses the first token.
    let upstream = Upstream::start(|request| {
        let token = request.header("authorization").unwrap_or_default().to_owned();
        let body = format!(
            r#"{{"status":"error","message":"no session {token}","error_type":"TokenException"}}"#
        );
        let status = if token.contains(TOKEN) { "403 Forbidden" } else { "400 Bad Request" };
        Some(answer(status, "application/json", body.as_bytes()))
    });
    let mut config = kite(&upstream.url());
    account(&mut config).token_file = Some(file.clone());
    let gateway = start(config);
    let mut outputs = Vec::new();
    let mut ask = |method: &str, target: &str, body: &str| {
        let answer = Client::connect(gateway.address()).request(method, target, body);
        outputs.push(format!("{method} {target}: {:?} {}", answer.headers, answer.text()));
        answer.status
    };
    for _ in 0..2 {
        ask("POST", "/orders/regular", &form(1));
        ask("DELETE", "/orders/regular/1", "");
        ask("GET", "/orders", "");
        ask("GET", "/quote?i=NSE:INFY", "");
        ask("GET", "/next/year", "");
        ask("GET", "/_lanekeeper/status", "");
        ask("GET", "/_lanekeeper/metrics", "");
        if std::fs::read_to_string(&file).unwrap() == TOKEN {
            std::fs::write(&file, next).unwrap();
            wait_until("the new token is used", || ask("GET", "/_lanekeeper/readyz", "") == 200);
        }
    }
    let sent_with = |token: &str| {
        let header = format!("token {API_KEY}:{token}");
        upstream.requests().iter().any(|it| it.header("authorization") == Some(&header))
    };
    assert!(sent_with(TOKEN) && sent_with(next));
    assert!(outputs.iter().any(|output| output.contains("****")), "{outputs:#?}");
    outputs.push(gateway.status_json());
    outputs.push(format!("{gateway:?}"));
    for output in outputs {
        assert!(!output.contains(TOKEN) && !output.contains(next), "{output}");
    }
}
