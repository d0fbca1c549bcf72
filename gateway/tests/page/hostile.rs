//! Names and messages that come from elsewhere are texts on the page, whatever is in them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::browser::Browser;
use crate::desk::Desk;
use crate::support::upstream::{answer, ok};
use crate::support::{self, Request, Upstream};

/// Runs a script wherever it is taken for HTML, for the value of an attribute, or for an address.
const HOSTILE: &str = r#""'><img src=x onerror=pwn()><script>pwn()</script><svg onload=pwn()> javascript:pwn() {{7*7}}"#;

/// The page has no element that the text asks for, and the text was shown.
async fn assert_harmless(browser: &Browser) {
    assert_eq!(
        browser
            .value(
                "document.querySelectorAll('img[src=x], body script, [onerror], [onload]').length"
            )
            .await,
        0
    );
    assert_eq!(browser.value("typeof window.pwn").await, "undefined");
    // The policy of the page would have stopped a script too, and said so.
    let complaints = browser.complaints().await;
    let is_one = |text: &&String| text.contains("Content Security Policy") || text.contains("pwn");
    assert_eq!(complaints.iter().filter(is_one).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_symbols_and_messages_of_the_broker_stay_text() {
    let Some(browser) = Browser::start().await else { return };
    let upstream = Upstream::start(|request| {
        let target = &request.target;
        if target.starts_with("/quote") && target.contains("FAIL") {
            let body =
                json!({"status": "error", "message": HOSTILE, "error_type": "InputException"});
            return Some(answer(
                "400 Bad Request",
                "application/json",
                body.to_string().as_bytes(),
            ));
        }
        let names = form(target);
        let rows: Map<String, Value> = names
            .into_iter()
            .map(|name| (name, json!({"instrument_token": 1, "last_price": 7.5, "note": HOSTILE})))
            .collect();
        let body = json!({"status": "success", "data": rows});
        Some(ok("application/json", body.to_string().as_bytes()))
    });
    let gateway = support::start(support::kite(&upstream.url()));
    browser.open(&gateway.page_url()).await;
    let symbol = format!("NSE:{}", HOSTILE.replace([',', ';'], ""));
    browser.enter("price-field", &symbol).await;
    browser.press(thirtyfour::Key::Enter).await;
    browser.until_text("price", "ONERROR=PWN()").await;
    browser.until_text("price", "7.5").await;
    browser.enter("scan-field", &symbol).await;
    browser.click("scan-start").await;
    browser
        .until(
            "its result has the text",
            "all('scan-result').some((row) => row.innerText.includes('ONERROR=PWN()'))",
        )
        .await;
    browser.enter("scan-field", "NSE:FAIL").await;
    browser.click("scan-start").await;
    browser
        .until(
            "the message of the broker is shown",
            "all('scan-result').some((row) => row.innerText.includes('onerror=pwn()'))",
        )
        .await;
    browser.enter("price-field", "NSE:FAIL").await;
    browser.press(thirtyfour::Key::Enter).await;
    browser.until("it is listed too", "all('price').length === 3").await;
    assert_harmless(&browser).await;
}

/// Returns the instruments that a request asks for.
fn form(target: &str) -> Vec<String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| pair.strip_prefix("i=")).map(decode).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().map_or(0, |byte| (byte as char).to_digit(16).unwrap());
        match byte {
            b'%' => bytes.push(u8::try_from(digit() * 16 + digit()).unwrap()),
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A gateway takes no such name for a client, a lane or an account. So this one is made up: it has the files and the
/// status of a real one, with every text of the status replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_in_which_every_text_is_hostile_stays_text() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    support::Client::connect(desk.gateway.address()).request("GET", "/user/margins", "");
    let real: Value = serde_json::from_str(&desk.gateway.status_json()).unwrap();
    let mut status = spoil(&real);
    // What the page reads as a moment or as a choice of its own stays.
    status["at"] = real["at"].clone();
    status["accounts"][0]["preset"] = "kite".into();
    let lane = &mut status["accounts"][0]["lanes"][0];
    lane["queued_by_user"] = json!({HOSTILE: 3, "__proto__": 1, "constructor": 2});
    lane["queued"] = 6.into();
    status["clients"] = json!([
        {"name": HOSTILE, "tier": HOSTILE, "requests": 3, "waiting": 0, "refused": 0, "from_cache": 0},
        {"name": "__proto__", "tier": null, "requests": 1, "waiting": 0, "refused": 0, "from_cache": 0},
    ]);
    status["scans"] =
        json!([{"id": HOSTILE, "state": HOSTILE, "done": 1, "failed": 0, "total": 2}]);
    let notice = json!({
        "at": real["at"], "kind": HOSTILE, "severity": HOSTILE, "account": HOSTILE, "lane": HOSTILE, "text": HOSTILE,
    });
    let events =
        format!("event: notice\nid: 1\ndata: {notice}\n\nevent: status\ndata: {status}\n\n");
    let address = OnceLock::from(desk.gateway.address());
    let fake = Upstream::start(move |request: &Request| match request.target.as_str() {
        "/_lanekeeper/events" => Some(ok("text/event-stream", events.as_bytes())),
        target => {
            // The files of the page.
            let mut stream = TcpStream::connect(address.get()?).ok()?;
            let head =
                format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).ok()?;
            Some(bytes)
        }
    });
    browser.open(&format!("{}/_lanekeeper/", fake.url())).await;
    for (what, id) in [
        ("a lane", "lane"),
        ("a client", "client"),
        ("a notice", "notice"),
        ("a scan", "scan-item"),
        ("a budget", "budget"),
    ] {
        browser
            .until(
                &format!("{what} has the text"),
                &format!("all('{id}').some((node) => node.innerText.includes('onerror=pwn()'))"),
            )
            .await;
    }
    assert_harmless(&browser).await;
}

/// Returns the value with every text in it replaced.
fn spoil(value: &Value) -> Value {
    match value {
        Value::String(_) => HOSTILE.into(),
        Value::Array(values) => values.iter().map(spoil).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), spoil(value))).collect()
        }
        other => other.clone(),
    }
}
