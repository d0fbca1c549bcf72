//! No token in anything that can be printed.

use lanekeeper::broker::{Broker, Instrument, OrderRequest, Side};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::KiteSession;

use crate::server::{Reply, Server, TOKEN, answer, json};

fn assert_clean(what: &dyn std::fmt::Debug, secret: &str) {
    for text in [format!("{what:?}"), format!("{what:#?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn an_echoed_token_is_redacted_in_every_error() {
    let echo = format!("Authorization: token key:{TOKEN}");
    let error = |status, code: &str| {
        json(status, &format!(r#"{{"status":"error","message":"{echo}","error_type":"{code}"}}"#))
    };
    let escaped = echo.replace('s', "\\u0073");
    let sliced = |children: &str| {
        json(
            200,
            &format!(r#"{{"status":"success","data":{{"order_id":"1","children":{children}}}}}"#),
        )
    };
    let long = format!("{}{echo}", "x".repeat(380));
    let replies = [
        error(400, "InputException"),
        error(403, "TokenException"),
        error(429, "NetworkException"),
        error(503, "NetworkException"),
        error(400, TOKEN),
        json(400, &format!(r#"{{"status":"error","message":"{escaped}","error_type":"X"}}"#)),
        json(200, &echo),
        json(200, &format!(r#"{{"status":"success","data":"{echo}"}}"#)),
        answer(403, "text/html", "", format!("<html><title>{echo}</title>")),
        answer(500, "text/plain", "", format!("{}{echo}", "x".repeat(380))),
        Reply::Raw(echo.clone().into_bytes()),
        sliced(&format!(
            r#"[{{"error":{{"code":400,"error_type":"InputException","message":"{long}"}}}}]"#
        )),
        sliced(&format!(r#"[{{"error":{{"code":504,"error_type":"{echo}","message":"No"}}}}]"#)),
        sliced(&format!(r#"[{{"what":"{long}"}},{{"order_id":"{echo}"}}]"#)),
        sliced(&format!(r#""{long}""#)),
        json(
            200,
            &format!(r#"{{"status":"success","data":{{"children":[{{"order_id":"{echo}"}}]}}}}"#),
        ),
    ];
    let count = replies.len();
    let server = Server::new(replies);
    let kite = server.kite();
    let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1);
    for at in 0..count {
        let error = kite.place_order(&order).unwrap_err();
        assert_clean(&error, TOKEN);
        assert!(!error.to_string().contains(TOKEN), "{at}: {error}");
        // Nor a part of it that truncation might leave.
        assert!(!error.to_string().contains(&TOKEN[..6]), "{at}: {error}");
    }
    assert_eq!(server.received().len(), count);
    assert_clean(&kite, TOKEN);
    assert_clean(&server.builder(), TOKEN);
}

/// A short token is a letter of other words, and a token is no id of an order.
#[test]
fn a_short_token_tears_no_word_apart() {
    let error = r#"{"status":"error","message":"timeout","error_type":"InputException"}"#;
    let named = format!(r#"{{"status":"success","data":{{"order_id":"{TOKEN}"}}}}"#);
    let server = Server::new([json(503, error), json(200, &named)]);
    let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1);
    let short = server.builder().access_token("t").build().unwrap();
    let error = short.place_order(&order).unwrap_err().to_string();
    assert!(error.contains("timeout"), "{error}");
    let error = server.kite().place_order(&order).unwrap_err();
    assert!(error.to_string().contains("[secret]"), "{error}");
}

#[test]
fn an_echoed_token_is_redacted_in_the_errors_of_slices() {
    let body = format!(
        r#"{{"status":"success","data":{{"order_id":"1","children":[{{"error":{{"code":400,
        "error_type":"InputException","message":"{}{TOKEN}"}}}},{{"what":"{TOKEN}"}}]}}}}"#,
        "x".repeat(395)
    );
    let server = Server::ok(&[&body]);
    let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1);
    let sliced = server.kite().place_sliced(&order).unwrap();
    assert_eq!(sliced.slices.len(), 3);
    assert_clean(&sliced, TOKEN);
    assert_clean(&sliced, &TOKEN[..6]);
}

/// Wherever the row is truncated: half a token would not be found any more.
#[test]
fn an_echoed_token_is_redacted_in_rows_that_cannot_be_read() {
    for before in (0..20).chain(320..420) {
        let long = "x".repeat(before);
        let book = format!(
            r#"{{"status":"success","data":[{{"order_id":"9","status":7,"status_message":"{long}{TOKEN}"}}]}}"#
        );
        let listing = format!("instrument_token,exchange,tradingsymbol\n1,{long}{TOKEN}\n");
        let server = Server::new([json(200, &book), answer(200, "text/csv", "", listing)]);
        let kite = server.kite();
        let problems = [kite.orders().unwrap().problems, kite.instruments(None).unwrap().problems];
        for problem in problems.iter().flatten() {
            for part in [&TOKEN[..5], &TOKEN[TOKEN.len() - 5..]] {
                assert!(!format!("{problem:?}").contains(part), "{before}: {problem:?}");
            }
        }
        assert_eq!(problems.map(|problems| problems.len()), [1, 1]);
    }
}

#[test]
fn the_key_of_the_app_is_not_shown_either() {
    let key = "zq8keyofanapp";
    let echo = format!("Cannot DELETE /session/token?api_key={key}&access_token=");
    let server = Server::new([answer(404, "text/plain", "", echo)]);
    let builder = server.builder().api_key(key);
    let kite = builder.clone().build().unwrap();
    let error = kite.invalidate_session().unwrap_err();
    assert!(error.to_string().contains("api_key=[secret]&"), "{error}");
    assert_clean(&error, key);
    assert_clean(&builder, key);
    assert_clean(&kite, key);
}

#[test]
fn an_echoed_address_does_not_show_the_token_of_a_logout() {
    let gone = "Cannot DELETE /session/token?api_key=key&access_token=";
    for spelled in ["a%2Bb%2Fsecret%3D", "a%2bb%2fsecret%3d", "a+b/secret=", r"a+b\/secret="] {
        let server = Server::new([answer(404, "text/plain", "", format!("{gone}{spelled}"))]);
        let kite = server.builder().access_token("a+b/secret=").build().unwrap();
        let error = kite.invalidate_session().unwrap_err();
        assert_clean(&error, "secret%3");
        assert!(error.to_string().contains("access_token=[secret]"), "{error}");
    }
}

#[test]
fn an_answer_to_a_login_is_not_quoted() {
    const FRESH: &str = "FRESHTOKEN";
    let mut replies = Vec::new();
    for name in ["access_token", "enctoken", "refresh_token", "public_token"] {
        for body in [
            format!(r#"{{"status":"success","data":{{"{name}":"{FRESH}","x":NaN}}}}"#),
            format!(r#"{{"status":"success","data":{{"{name}":"{FRESH}""#),
            format!(r#"{{"status":"error","{name}":"{FRESH}","error_type":"{FRESH}"}}"#),
            format!("{name}={FRESH}"),
        ] {
            replies.extend([200, 302, 400, 403, 429, 500].map(|status| json(status, &body)));
        }
    }
    for body in [
        format!(r#"{{"status":"success","data":"{FRESH}"}}"#),
        format!(r#"{{"status":"success","data":["{FRESH}"]}}"#),
        format!(r#"{{"status":"success","message":"{FRESH}","data":{{}}}}"#),
        format!(r#"{{"status":"{FRESH}","data":{{"user_id":"AB"}}}}"#),
        format!(r#"{{"status":"success","data":{{}},"error_type":"{FRESH}"}}"#),
        format!(r#"{{"status":"error","message":"{FRESH}","data":"{FRESH}","error_type":"X"}}"#),
        format!("<html><title>{FRESH}</title>"),
    ] {
        replies.extend([200, 400, 500].map(|status| json(status, &body)));
    }
    let error = format!(r#"{{"status":"error","message":"{FRESH}","error_type":"X"}}"#);
    replies.push(json(200, &error));
    let count = replies.len();
    let server = Server::new(replies);
    for at in 0..count {
        let error = server.builder().login("request-t0ken", "ap1-secret").unwrap_err();
        assert_clean(&error, FRESH);
        let text = error.to_string();
        assert!(!text.contains(FRESH), "{at}: {text}");
        assert!(text.contains("the login's answer cannot be read"), "{at}: {text}");
        assert!(error.detail().unwrap().status.is_some(), "{at}: {text}");
    }
    assert_eq!(server.received().len(), count);
}

/// ureq does not quote it. This test checks that of the next version too.
#[test]
fn nor_is_its_head() {
    let raw = |head: &str| Reply::Raw(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes());
    let replies = [
        raw("302 X\r\nLocation: ::::FRESHTOKEN bad\r\nContent-Length: 0"),
        raw("200 OK\r\nContent-Length: FRESHTOKEN"),
        raw("200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFRESHTOKEN"),
        raw("200 OK\r\nFRESHTOKEN"),
        raw("FRESHTOKEN"),
    ];
    let count = replies.len();
    let server = Server::new(replies);
    for at in 0..count {
        let error = server.builder().login("request-t0ken", "ap1-secret").unwrap_err();
        assert_clean(&error, "FRESHTOKEN");
        assert!(!error.to_string().contains("FRESHTOKEN"), "{at}: {error}");
    }
}

#[test]
fn a_refused_login_says_why() {
    let body = r#"{"status":"error","message":"Invalid `checksum`.","data":null,"error_type":"InputException"}"#;
    let server = Server::new([json(400, body)]);
    let error = server.builder().login("request-t0ken", "ap1-secret").unwrap_err();
    assert!(error.to_string().contains("Invalid `checksum`. (HTTP 400, InputException"), "{error}");
}

#[test]
fn a_login_and_a_logout_show_nothing() {
    let echo = r#"{"status":"error","message":"bad: request-t0ken ap1-secret","error_type":"X"}"#;
    let fine = r#"{"status":"success","data":{"access_token":"fresh-t0ken"}}"#;
    let server = Server::new([json(400, echo), json(200, fine), Reply::Close]);
    let builder = Kite::builder().api_key("key").base_url(format!("http://{}", server.address));
    let error = builder.login("request-t0ken", "ap1-secret").unwrap_err();
    for secret in ["request-t0ken", "ap1-secret"] {
        assert_clean(&error, secret);
        assert!(!error.to_string().contains(secret), "{error}");
    }
    let session: KiteSession = builder.login("r", "s").unwrap();
    assert_clean(&session, "fresh-t0ken");
    let kite = builder.access_token(session.access_token).build().unwrap();
    let error = kite.invalidate_session().unwrap_err();
    assert_clean(&error, "fresh-t0ken");
    assert!(!error.to_string().contains("fresh-t0ken"), "{error}");
}
