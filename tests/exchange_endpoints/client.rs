//! A client that adds nothing of its own to a request.

use std::io::{Read, Write};
use std::net::TcpStream;

use lanekeeper::broker::lanes;
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::PaperBuilder;
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{SimulatedExchange, SimulatorBuilder};
use serde_json::Value;

/// A response: its status and its body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    /// Returns the `data` of a success.
    #[track_caller]
    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        let json: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(json["status"], "success");
        json["data"].clone()
    }

    /// Returns the type and the message of an error in Kite's envelope.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String, String) {
        let json: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(json["status"], "error", "{}", self.body);
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        (self.status, text("error_type"), text("message"))
    }
}

/// Sends a request as the account `key`.
pub(crate) fn send_as(
    key: &str,
    exchange: &SimulatedExchange,
    method: &str,
    path: &str,
    body: &[u8],
) -> Reply {
    let mut stream = TcpStream::connect(exchange.address()).unwrap();
    let length = body.len();
    let kind = match path.starts_with("/margins") || path.starts_with("/charges") {
        true => "application/json",
        false => "application/x-www-form-urlencoded",
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: token {key}:token\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Reply { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() }
}

pub(crate) fn send(exchange: &SimulatedExchange, method: &str, path: &str, body: &str) -> Reply {
    send_as("key", exchange, method, path, body.as_bytes())
}

pub(crate) fn get(exchange: &SimulatedExchange, path: &str) -> Reply {
    send(exchange, "GET", path, "")
}

/// Returns the names of an object's fields, sorted: serde_json's `preserve_order`, which any crate of a build may turn on,
/// decides their order.
pub(crate) fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Encodes a form.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

/// Returns a broker whose prices stand still: YESBANK and JUNIORBEES, a bar a minute.
pub(crate) fn still() -> PaperBuilder {
    PaperBroker::builder().clock(ManualClock::new())
}

/// Returns an exchange in front of `broker` that refuses nothing for its rate.
pub(crate) fn roomy(broker: PaperBuilder) -> SimulatorBuilder {
    let limits = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()));
    SimulatedExchange::builder().broker(broker.build().unwrap()).limits(limits)
}
