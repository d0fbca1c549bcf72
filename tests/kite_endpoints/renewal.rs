//! The renewal of a session by its refresh token.

use lanekeeper::broker::{Broker, BrokerProxy};
use lanekeeper::brokers::kite::{ExposeSecret, KiteSession};
use lanekeeper::clock::ManualClock;
use lanekeeper::{BrokerError, Kite};

use crate::server::{ReceivedRequest, Reply, Server, TOKEN, json};
use crate::support::success;

const REFRESH: &str = "r3freshT0ken-of-the-day";
const API_SECRET: &str = "s3cret-of-the-app";
const NEW: &str = "n3wAcc3ssT0ken";
const NEXT: &str = "n3xtR3freshT0ken";

/// printf 'keyr3freshT0ken-of-the-days3cret-of-the-app' | sha256sum
const CHECKSUM: &str = "de18a0a3f3f3c288b2ad31c9ee8023d6e3e92ee6f66d10235117d4af898d098f";

fn tokens() -> String {
    success(&format!(r#"{{"user_id":"AB1234","access_token":"{NEW}","refresh_token":"{NEXT}"}}"#))
}

fn check_request(received: &ReceivedRequest) {
    assert_eq!(received.line, "POST /session/refresh_token HTTP/1.1");
    assert_eq!(received.body, format!("api_key=key&refresh_token={REFRESH}&checksum={CHECKSUM}"));
    // The old token may be dead.
    assert_eq!(received.header("authorization"), None);
    assert!(!received.body.contains(API_SECRET));
}

fn check_session(session: &KiteSession) {
    assert_eq!((session.user_id.as_str(), session.access_token.expose_secret()), ("AB1234", NEW));
    assert_eq!(session.refresh_token.as_ref().map(ExposeSecret::expose_secret), Some(NEXT));
    let shown = format!("{session:?}");
    assert!(!shown.contains(NEW) && !shown.contains(NEXT), "{shown}");
}

#[test]
fn a_refresh_token_is_exchanged_with_its_checksum() {
    let server = Server::ok(&[&tokens()]);
    let session = server.builder().renew(REFRESH, API_SECRET).unwrap();
    check_request(&server.only());
    check_session(&session);
}

#[test]
fn a_login_has_a_refresh_token_if_kite_gives_one() {
    for (sent, expected) in [("\"abc\"", Some("abc")), ("\"\"", None), ("null", None)] {
        let data = format!(r#"{{"access_token":"{NEW}","refresh_token":{sent}}}"#);
        let server = Server::ok(&[&success(&data)]);
        let session = server.builder().login("request-token", API_SECRET).unwrap();
        assert_eq!(session.refresh_token.as_ref().map(ExposeSecret::expose_secret), expected);
    }
}

#[test]
fn a_running_adapter_gets_the_new_token_and_its_lanes_go_on() {
    let dead = r#"{"status":"error","message":"Dead","error_type":"TokenException"}"#;
    let server = Server::answering_requests(move |received| {
        match (received.line.as_str(), received.header("authorization")) {
            ("POST /session/refresh_token HTTP/1.1", None) => json(200, &tokens()),
            (_, Some("token key:n3wAcc3ssT0ken")) => json(200, &success("[]")),
            _ => json(403, dead),
        }
    });
    let kite = server.kite();
    let clock = ManualClock::auto_advancing();
    let broker = BrokerProxy::builder(kite.clone()).clock(clock).build().unwrap();
    assert!(matches!(broker.orders(), Err(BrokerError::Unauthorized(_))));
    assert!(broker.status().session_expired);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| broker.orders());
        while broker.status().lanes[0].queued == 0 {
            std::thread::yield_now();
        }
        let renewed = kite.renew_session(REFRESH, API_SECRET);
        let is_held = broker.status().session_expired;
        let trades = kite.clone().trades();
        // Ends the wait, so that a fault fails the test and does not hang it.
        kite.set_access_token(NEW).unwrap();
        assert!(waits.join().unwrap().unwrap().is_empty());
        check_session(&renewed.unwrap());
        assert!(!is_held && trades.is_ok(), "{trades:?}");
    });
}

#[test]
fn a_renewal_that_fails_leaves_the_old_token() {
    let refused =
        r#"{"status":"error","message":"Invalid `checksum`.","error_type":"TokenException"}"#;
    let no_token = success(r#"{"user_id":"AB1234"}"#);
    let unusable = success(r#"{"access_token":"two words"}"#);
    let replies = [
        (json(403, refused), false),
        (json(200, &no_token), true),
        (json(200, &unusable), true),
        (Reply::Close, true),
        (json(504, "{}"), true),
    ];
    for (reply, is_unknown) in replies {
        let server = Server::new([reply, json(200, &success("[]"))]);
        let kite = server.kite();
        let error = kite.renew_session(REFRESH, API_SECRET).unwrap_err();
        assert_eq!(matches!(error, BrokerError::OutcomeUnknown(_)), is_unknown, "{error:?}");
        assert_eq!(matches!(error, BrokerError::Unauthorized(_)), !is_unknown, "{error:?}");
        kite.orders().unwrap();
        let header = format!("token key:{TOKEN}");
        assert_eq!(server.received()[1].header("authorization"), Some(header.as_str()));
    }
}

#[test]
fn a_refresh_token_is_made_invalid_by_its_address() {
    let server = Server::ok(&[&success("true")]);
    server.kite().invalidate_refresh_token("a&b").unwrap();
    let received = server.only();
    assert_eq!(received.line, "DELETE /session/token?api_key=key&refresh_token=a%26b HTTP/1.1");
    assert_eq!(received.header("authorization"), Some(format!("token key:{TOKEN}").as_str()));
}

/// Returns an answer of status 400 whose message has what was sent, with secrets at the place where it is cut.
fn echo(received: &ReceivedRequest) -> Reply {
    let sent = format!("{} {} {NEW} {NEXT}", received.line, received.body);
    let message = sent.repeat(8);
    json(400, &format!(r#"{{"status":"error","message":"{message}","error_type":"X"}}"#))
}

#[test]
fn no_error_of_a_renewal_shows_a_secret() {
    let calls: [fn(&Kite) -> BrokerError; 2] = [
        |kite| kite.renew_session(REFRESH, API_SECRET).unwrap_err(),
        |kite| kite.invalidate_refresh_token(REFRESH).unwrap_err(),
    ];
    for call in calls {
        let server = Server::answering_requests(echo);
        let shown = format!("{0} {0:?}", call(&server.kite()));
        for secret in [REFRESH, CHECKSUM, API_SECRET, TOKEN, "r3fresh"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
