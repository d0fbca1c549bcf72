//! Responses to another call, and order ids that are none: neither may be mistaken for the requested order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderChange, OrderId, OrderRequest, Side, SliceOutcome,
};
use lanekeeper::brokers::Kite;

use crate::server::{Reply, Server, TOKEN, json};

fn order() -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1)
}

fn placed(id: &str) -> String {
    format!(r#"{{"status":"success","data":{{"order_id":"{id}"}}}}"#)
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Several responses in one write, on a connection that stays open.
fn at_once(answers: &[String]) -> Reply {
    Reply::Answer { head: answers.concat(), body: Vec::new() }
}

fn assert_unknown<T: std::fmt::Debug>(result: Result<T, BrokerError>, words: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(error.was_sent(), Sent::Unknown);
    assert!(error.to_string().contains(words), "{error}");
}

/// A server that writes when the test tells it to. It takes connections one after the other, answers each request
/// with the next of `answers`, and writes on the present connection what the test sends it.
struct Prompted {
    address: SocketAddr,
    write_tx: Sender<String>,
    written: Receiver<()>,
    thread: JoinHandle<Vec<usize>>,
}

impl Prompted {
    fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (write_tx, to_say) = channel::<String>();
        let (written_tx, written) = channel();
        let answers: Vec<String> = answers.into_iter().collect();
        let mut answers = answers.into_iter();
        let thread = spawn(move || {
            let mut requests = Vec::new();
            loop {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut count = 0;
                while read_request(&mut reader) {
                    count += 1;
                    let Some(answer) = answers.next() else { break };
                    (&stream).write_all(answer.as_bytes()).unwrap();
                    if let Ok(more) = to_say.recv() {
                        let _ = (&stream).write_all(more.as_bytes());
                        written_tx.send(()).unwrap();
                    }
                }
                if count == 0 {
                    return requests;
                }
                requests.push(count);
            }
        });
        Self { address, write_tx, written, thread }
    }

    fn kite(&self) -> Kite {
        let url = format!("http://{}", self.address);
        let builder = Kite::builder().api_key("key").access_token(TOKEN).base_url(url);
        builder.timeout(Duration::from_secs(5)).build().unwrap()
    }

    /// Makes the server write this on the connection that it has just answered.
    fn write_tx(&self, text: &str) {
        self.write_tx.send(text.to_owned()).unwrap();
        self.written.recv().unwrap();
    }

    /// Returns how many requests came over each connection. The client must be gone.
    fn requests(self) -> Vec<usize> {
        drop(self.write_tx);
        // A connection without a request ends the server.
        drop(TcpStream::connect(self.address));
        self.thread.join().unwrap()
    }
}

/// Reads a request to its end. Returns `false` if there is none.
fn read_request(reader: &mut BufReader<TcpStream>) -> bool {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return false;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
}

#[test]
fn a_connection_with_more_than_its_answer_is_not_used_again() {
    let twice = [http(&placed("1")), http(&placed("666"))];
    let server = Server::new([at_once(&twice), json(200, &placed("2"))]);
    let kite = server.kite();
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("1")));
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("2")));
    assert_eq!((server.received().len(), server.connections()), (2, 2));
}

#[test]
fn what_an_idle_connection_sends_unasked_is_no_answer() {
    let server = Prompted::new([http(&placed("1")), http(&placed("2"))]);
    let kite = server.kite();
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("1")));
    server.write_tx(&http(&placed("666")));
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("2")));
    drop(kite);
    assert_eq!(server.requests(), [1, 1]);
}

/// The second response to the first request arrives after the second request was sent, and looks like the response
/// to that. Only its id shows the difference.
#[test]
fn the_id_of_an_earlier_order_is_not_that_of_a_new_one() {
    let late = [http(&placed("1")), http(&placed("2"))];
    let server = Server::new([json(200, &placed("1")), at_once(&late), json(200, &placed("3"))]);
    let kite = server.kite();
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("1")));
    assert_unknown(kite.place_order(&order()), "\"1\" is that of another order");
    // That connection is out of step, so no call uses it again.
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("3")));
    assert_eq!((server.received().len(), server.connections()), (3, 2));
}

#[test]
fn no_connection_outlives_an_answer_to_another_call() {
    // The bytes that would show it arrive later still.
    let server = Prompted::new([http(&placed("1")), http(&placed("1")), http(&placed("3"))]);
    let kite = server.kite();
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("1")));
    server.write_tx("");
    assert_unknown(kite.place_order(&order()), "another order");
    server.write_tx("");
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("3")));
    drop(kite);
    assert_eq!(server.requests(), [2, 1]);
}

#[test]
fn an_id_that_is_known_from_any_other_call_is_not_that_of_a_new_order() {
    let book = r#"{"status":"success","data":[{"order_id":"7","exchange":"NSE","tradingsymbol":"INFY",
        "transaction_type":"BUY","status":"OPEN"}]}"#;
    let server = Server::ok(&[book, &placed("7"), &placed("8"), &placed("8"), &placed("9")]);
    let kite = server.kite();
    kite.orders().unwrap();
    assert_unknown(kite.place_order(&order()), "another order");
    kite.cancel_order(&OrderId::new("amo/8")).unwrap();
    assert_unknown(kite.place_order(&order()), "another order");
    assert_eq!(kite.place_order(&order()), Ok(OrderId::new("9")));
}

#[test]
fn a_slice_has_an_id_of_its_own() {
    let sliced = |children: &str| {
        format!(r#"{{"status":"success","data":{{"order_id":"2","children":[{children}]}}}}"#)
    };
    let children = r#"{"order_id":"3"},{"order_id":"3"},{"order_id":"2"},{"order_id":"1"},{"order_id":"../4"}"#;
    let server = Server::ok(&[&placed("1"), &sliced(children)]);
    let kite = server.kite();
    kite.place_order(&order()).unwrap();
    let sliced = kite.place_sliced(&order()).unwrap();
    let ids: Vec<&str> = sliced.placed().map(OrderId::as_str).collect();
    assert_eq!(ids, ["2", "3"]);
    assert_eq!(sliced.unknown().count(), 4);
    assert!(matches!(sliced.slices[2].outcome, SliceOutcome::Unknown(_)));
}

#[test]
fn a_change_is_done_only_if_the_answer_names_the_order() {
    let bodies = [
        placed("2"),
        r#"{"status":"success","data":[]}"#.to_owned(),
        r#"{"status":"success","data":true}"#.to_owned(),
        r#"{"status":"success"}"#.to_owned(),
    ];
    for body in bodies {
        let server = Server::ok(&[&body, &body, &placed("1"), &placed("1")]);
        let kite = server.kite();
        let (id, change) = (OrderId::new("amo/1"), OrderChange::new().quantity(2));
        assert_unknown(kite.modify_order(&id, &change), "");
        assert_unknown(kite.cancel_order(&id), "");
        assert_eq!(kite.modify_order(&id, &change), Ok(id.clone()), "{body}");
        assert_eq!(kite.cancel_order(&id), Ok(()), "{body}");
    }
}

#[test]
fn what_is_reported_of_one_order_is_about_that_order() {
    let row = r#"{"status":"success","data":[{"order_id":"2","exchange":"NSE","tradingsymbol":"INFY",
        "transaction_type":"BUY","status":"OPEN","trade_id":"9","quantity":1,"average_price":1}]}"#;
    let server = Server::ok(&[row, row, row, row]);
    let kite = server.kite();
    for error in [
        kite.order_history(&OrderId::new("1")).unwrap_err(),
        kite.order_trades(&OrderId::new("1")).unwrap_err(),
    ] {
        // The next response may be the right one.
        assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    }
    assert_eq!(kite.order_history(&OrderId::new("amo/2")).unwrap().len(), 1);
    assert_eq!(kite.order_trades(&OrderId::new("amo/2")).unwrap().len(), 1);
}

#[test]
fn quotes_of_other_names_are_no_quotes_of_these() {
    let others = r#"{"status":"success","data":{"NSE:TCS":{"last_price":1}}}"#;
    let mixed =
        r#"{"status":"success","data":{"NSE:TCS":{"last_price":1},"NSE:INFY":{"last_price":2}}}"#;
    let server = Server::ok(&[others, mixed]);
    let kite = server.kite();
    let [infy, sbin] = ["INFY", "SBIN"].map(|name| Instrument::new("NSE", name));
    let error = kite.quotes(&[infy.clone(), sbin.clone()]).unwrap_err();
    assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    let quotes = kite.quotes(&[infy.clone(), sbin]).unwrap();
    assert_eq!(quotes.keys().collect::<Vec<_>>(), [&infy]);
    // Nor does such a response mean that the other instrument has none.
    let names: Vec<_> = quotes.problems.iter().filter_map(|it| it.name.as_deref()).collect();
    assert_eq!(names, ["NSE:TCS"]);
}

/// Returns values that may stand where an id should be, as JSON.
fn no_ids() -> Vec<String> {
    let odd = [
        "../../user/margins",
        "1/2",
        ".",
        "..",
        "%2e%2e",
        "1?x=1",
        "1#",
        " ",
        "1 2",
        "1\\r\\nX: y",
        "\\u0000",
        "1\\u202e",
        "१",
        "",
    ];
    let mut odd: Vec<String> = odd.map(str::to_owned).into();
    odd.extend(["1".repeat(65), "1".repeat(1024 * 1024)]);
    odd
}

#[test]
fn what_is_no_id_is_not_handed_out_as_one() {
    for odd in no_ids() {
        let row = format!(
            r#"{{"status":"success","data":[{{"order_id":"{odd}","exchange":"NSE","tradingsymbol":"INFY",
            "transaction_type":"BUY","status":"OPEN","trade_id":"9","quantity":1,"average_price":1}}]}}"#
        );
        let server = Server::ok(&[&placed(&odd), &row, &row]);
        let kite = server.kite();
        let error = kite.place_order(&order()).unwrap_err();
        assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
        let text = error.to_string();
        assert!(text.len() < 1000 && !text.contains(char::is_control), "{text:?}");
        let orders = kite.orders().unwrap();
        assert_eq!((orders.len(), orders.problems.len()), (0, 1), "{odd:.70}");
        let trades = kite.trades().unwrap();
        assert_eq!((trades.len(), trades.problems.len()), (0, 1), "{odd:.70}");
        for problem in [&orders.problems[0], &trades.problems[0]] {
            let text = problem.to_string();
            assert!(text.len() < 4000 && !text.contains(char::is_control), "{text:?}");
        }
    }
}

/// An id that did not come from the broker is not sent to another route.
#[test]
fn an_id_made_by_hand_that_is_none_is_not_sent() {
    let server = Server::new([]);
    let kite = server.kite();
    for odd in no_ids() {
        let odd: String = serde_json::from_str(&format!("\"{odd}\"")).unwrap();
        for id in [odd.clone(), format!("amo/{odd}"), format!("{odd}/1")] {
            // Two plain parts are a variety and a number.
            if id == "1/2" {
                continue;
            }
            let id = OrderId::new(id);
            for error in [
                kite.modify_order(&id, &OrderChange::new().quantity(2)).unwrap_err(),
                kite.cancel_order(&id).unwrap_err(),
                kite.order_history(&id).unwrap_err(),
                kite.order_trades(&id).unwrap_err(),
            ] {
                assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
                assert!(error.to_string().len() < 1000, "{error:.200}");
            }
        }
    }
    assert!(server.received().is_empty());
}
