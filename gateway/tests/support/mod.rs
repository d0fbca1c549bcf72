//! What the tests of the gateway share: a gateway in front of an exchange or of a scripted server, and a plain client.

#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)] // Each test program uses a part of it.

pub mod door;
pub mod http;
pub mod log;
pub mod ops;
pub mod orders;
pub mod upstream;

use std::time::{Duration, Instant};

use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
use lanekeeper_gateway::{Gateway, GatewayBuilder};
use lanekeeper_simulator::SimulatedExchange;

pub use http::{Answer, Client};
pub use upstream::{Request, Upstream};

/// The token of the gateway at the upstream, which no client may see.
pub const TOKEN: &str = "the-broker-token-of-the-day";
/// The API key of the gateway at the upstream.
pub const API_KEY: &str = "gateway-key";

/// Returns the settings of a gateway in front of a server that speaks Kite's wire, on a free port.
pub fn kite(upstream: &str) -> GatewayConfig {
    on_free_port(GatewayConfig::new(AccountConfig::kite(upstream)))
}

/// Returns the settings of a gateway in front of any server: each request goes through a lane without a limit.
pub fn rest(upstream: &str) -> GatewayConfig {
    let text = format!(
        "upstream: {upstream}\nlanes: {{ all: {{ quota: unlimited, in_flight: 64 }} }}\nunmatched: {{ lane: all }}"
    );
    on_free_port(GatewayConfig::from_yaml(&text).unwrap())
}

fn on_free_port(mut config: GatewayConfig) -> GatewayConfig {
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

/// Returns a builder with the secrets of the tests.
pub fn builder(config: GatewayConfig) -> GatewayBuilder {
    Gateway::builder(config).secret("KITE_API_KEY", API_KEY).secret("KITE_ACCESS_TOKEN", TOKEN)
}

/// Starts a gateway with the secrets of the tests.
pub fn start(config: GatewayConfig) -> Gateway {
    builder(config).start().unwrap()
}

/// Starts an exchange without network delays, and a gateway in front of it.
pub fn at_exchange() -> (SimulatedExchange, Gateway) {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let gateway = start(kite(&exchange.base_url()));
    (exchange, gateway)
}

/// Waits until something holds, for at most a minute.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
