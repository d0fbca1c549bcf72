//! What the tests of the door share: refusals in the broker's form, requests byte for byte, and clients with keys.

use std::collections::BTreeMap;

use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::{ClientConfig, GatewayConfig};

use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper_simulator::SimulatedExchange;

use super::{Answer, Client};

/// The header with the name under which an open gateway knows the client.
pub const ALPHA: &str = "authorization: token alpha:secret\r\n";

/// Checks that an answer is one of the gateway's own, in the broker's form, and returns its message.
pub fn refusal(answer: &Answer, status: u16, sent: &str) -> String {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{text}");
    assert_eq!(answer.header("x-lanekeeper-sent"), Some(sent), "{text}");
    // Only what was certainly not sent may be made again after a time.
    assert_eq!(answer.header("retry-after").is_some(), status == 429, "{text}");
    let body = answer.json();
    assert_eq!(body["status"], "error", "{text}");
    let kind = body["error_type"].as_str().unwrap();
    assert!(kind.ends_with("Exception"), "{text}");
    let message = body["message"].as_str().unwrap();
    assert!(!message.is_empty(), "{text}");
    message.to_owned()
}

/// Starts an exchange at which orders can be placed.
pub fn exchange() -> SimulatedExchange {
    let broker = PaperBroker::builder().prices(Prices::sample()).synthetic(1).build().unwrap();
    SimulatedExchange::builder().broker(broker).start().unwrap()
}

/// Gives clients of these names keys of their own, and the operator one. Returns the secrets by name.
pub fn keyed(config: &mut GatewayConfig, names: &[&str]) -> BTreeMap<String, String> {
    let mut secrets = BTreeMap::new();
    for name in names {
        let key = NewKey::generate().unwrap();
        config.clients.insert((*name).to_owned(), ClientConfig::new(key.hash.to_string()));
        secrets.insert((*name).to_owned(), key.secret);
    }
    let admin = NewKey::generate().unwrap();
    config.admin_key = Some(admin.hash.to_string());
    secrets.insert("admin".to_owned(), admin.secret);
    secrets
}

impl Client {
    /// Sends these bytes, and reads an answer. `None` if the connection ends without one.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) -> Option<Answer> {
        self.send(bytes);
        self.try_read("GET")
    }

    /// Makes a `GET` with these further header lines.
    pub fn get(&mut self, target: &str, lines: &str) -> Answer {
        self.request_with("GET", target, &format!("{ALPHA}{lines}"), "")
    }
}
