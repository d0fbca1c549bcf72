//! What the client does with connections: it never sends a call twice by itself, except where it is redirected. And
//! what the adapter makes of that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use kiteconnect::{AccessToken, OrderParams, Variety};
use lanekeeper::broker::OrderChange;
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Broker, BrokerError, BrokerProxy, OrderId};

use crate::{blocking, buy};

/// Starts a server that answers each request by its number and first line, and then closes the connection. Returns its
/// address, and the first line and the body of each request.
pub(crate) fn server(
    answer: impl Fn(usize, &str) -> String + Send + 'static,
) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Some(request) = read(&stream) else { continue };
            let line = request.0.clone();
            if requests.send(request).is_err() {
                return;
            }
            stream.write_all(answer(number, &line).as_bytes()).unwrap();
        }
    });
    (base_url, received)
}

fn read(stream: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length: ").map_or(length, |it| it.parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.trim().to_owned(), String::from_utf8(body).unwrap()))
}

/// Returns a response after which the client does not keep the connection.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    kept_open(status, &format!("Connection: close\r\n{headers}"), body)
}

/// Returns a response after which the client believes that it may keep the connection.
fn kept_open(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

const PLACED: &str = r#"{"status":"success","data":{"order_id":"151"}}"#;

/// The next call may be written to a connection that is being closed. Then its outcome is unknown, and it must not be
/// sent on another connection.
#[test]
fn no_order_is_sent_twice_when_connections_are_closed_between_calls() {
    let (base_url, received) = server(|_, _| kept_open("200 OK", "", PLACED));
    let kite = blocking(&base_url);
    for number in 0..200 {
        let result = kite.place_order(&buy(&format!("tag{number}")));
        assert!(matches!(result, Ok(_) | Err(BrokerError::OutcomeUnknown(_))), "{result:?}");
    }
    drop(kite);
    let mut bodies: Vec<_> = received.try_iter().map(|(_, body)| body).collect();
    let all = bodies.len();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), all);
}

#[test]
fn an_answer_about_another_order_confirms_nothing() {
    let (base_url, _received) = server(|_, _| response("200 OK", "", PLACED));
    let kite = blocking(&base_url);
    kite.cancel_order(&OrderId::new("151")).unwrap();
    kite.modify_order(&OrderId::new("amo/151"), &OrderChange::new().quantity(2)).unwrap();
    let cancelled = kite.cancel_order(&OrderId::new("152")).unwrap_err();
    let changed = kite.modify_order(&OrderId::new("152"), &OrderChange::new().quantity(2));
    for error in [cancelled, changed.unwrap_err()] {
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    }
}

/// Why `writes.rs` is there: the client follows redirects and has no switch for it. If this fails, the file can go.
#[test]
fn the_client_itself_sends_a_redirected_order_again() {
    let (base_url, received) = server(|number, _| match number {
        0 => response("307 Temporary Redirect", "Location: /elsewhere\r\n", ""),
        _ => response("200 OK", "", PLACED),
    });
    let kite = blocking(&base_url);
    let params = OrderParams::new().tag("a");
    let client = kite.broker();
    kite.wait(client.read(client.client().place_order(Variety::Regular, params))).unwrap();
    let requests: Vec<_> = received.try_iter().collect();
    assert_eq!((requests.len(), &requests[0].1), (2, &requests[1].1));
    assert!(requests[1].0.starts_with("POST /elsewhere"), "{requests:?}");
}

/// The order may have been taken, and the page that it is redirected to would refuse with anything.
#[test]
fn a_redirected_order_is_sent_once_and_its_outcome_is_unknown() {
    for status in ["301 Moved Permanently", "303 See Other", "307 Temporary Redirect"] {
        let (base_url, received) =
            server(move |_, _| response(status, "Location: /elsewhere\r\n", ""));
        let error = blocking(&base_url).place_order(&buy("a")).unwrap_err();
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{status}: {error}");
        assert_eq!(received.try_iter().count(), 1, "{status}");
    }
}

#[test]
fn an_order_is_placed_only_if_the_answer_says_success() {
    let body = r#"{"status":"error","message":"?","error_type":"GeneralException",
        "data":{"order_id":"151"}}"#;
    let (base_url, _received) = server(move |_, _| response("200 OK", "", body));
    let error = blocking(&base_url).place_order(&buy("a")).unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
}

#[test]
fn an_order_without_a_connection_is_not_sent_and_keeps_its_slots() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = blocking(&format!("http://{nobody}")).place_order(&buy("a")).unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)) && !error.failure().is_local(), "{error}");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}

#[test]
fn a_refused_token_holds_the_calls_until_there_is_a_new_one() {
    let profile = r#"{"status":"success","data":{"user_id":"AB1234","user_name":"A",
        "user_shortname":"A","user_type":"individual","email":"a@b.c","broker":"ZERODHA",
        "meta":{"demat_consent":"consent"},"products":[],"order_types":[],"exchanges":[]}}"#;
    let refusal = r#"{"status":"error","message":"Expired","error_type":"TokenException"}"#;
    let (base_url, received) = server(move |number, _| match number {
        0 => response("403 Forbidden", "", refusal),
        _ => response("200 OK", "", profile),
    });
    let kite = blocking(&base_url);
    let broker = BrokerProxy::builder(kite.clone()).prior_usage(PriorUsage::None).build().unwrap();
    assert!(matches!(broker.profile(), Err(BrokerError::Unauthorized(_))));
    let is_expired = || broker.session().unwrap().is_expired();
    assert!(is_expired());
    let ticket = broker.submit().profile();
    kite.broker().set_access_token(AccessToken::new("new").unwrap());
    assert_eq!(ticket.wait().unwrap().user_id, "AB1234");
    assert!(!is_expired() && received.try_iter().count() == 2);
}

#[test]
fn a_blocking_call_from_an_async_task_is_not_sent_and_a_ticket_is_awaited() {
    let (base_url, received) = server(|_, _| response("200 OK", "", PLACED));
    let kite = blocking(&base_url);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let error = kite.place_order(&buy("a")).unwrap_err();
        assert!(error.failure().is_local(), "{error}");
        let proxy = BrokerProxy::builder(kite).prior_usage(PriorUsage::None).build().unwrap();
        assert_eq!(proxy.submit().place_order(&buy("b")).await.unwrap().as_str(), "151");
        // The last clone of the adapter is dropped here, within an async task.
    });
    assert_eq!(received.try_iter().count(), 1);
}
