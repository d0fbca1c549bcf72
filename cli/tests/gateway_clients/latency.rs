//! How long a call for a price takes with the official Python client: at the exchange, through the gateway, and from its
//! memory.

use std::time::Duration;

use lanekeeper::brokers::PaperBroker;
use lanekeeper_simulator::SimulatedExchange;
use serde_json::{Value, json};

use crate::gateway::{GatewayProcess, Script};
use crate::python;

/// In each direction, and without jitter, so that the runs can be compared.
const LATENCY: Duration = Duration::from_millis(40);
/// Kite takes one request for quotes a second.
const PAUSE: f64 = 1.3;

/// Returns the times of calls for the price of each instrument, in milliseconds, in order of size.
fn times(script: &mut Script, root: &str, instruments: &[String], pause: f64) -> Vec<f64> {
    script.tell(&json!({
        "root": root, "api_key": "bot", "access_token": "anything",
        "instruments": instruments, "pause": pause,
    }));
    let times = script.answer();
    let seconds = times.as_array().unwrap().iter().filter_map(Value::as_f64);
    let mut millis: Vec<f64> = seconds.map(|seconds| 1000.0 * seconds).collect();
    millis.sort_by(f64::total_cmp);
    millis
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
fn a_price_from_memory_takes_the_python_client_a_fraction_of_a_call_to_the_exchange() {
    let Some(python) = python::with_client() else { return };
    // The synthetic instruments beside the real ones.
    let broker = PaperBroker::builder().synthetic(1).build().unwrap();
    let exchange = SimulatedExchange::builder().broker(broker).latency(LATENCY).start().unwrap();
    let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
    let mut script = Script::python(&python, "gateway_latency.py");
    script.wait_until_ready();
    let symbols = ["INFY", "TCS", "SBIN", "ITC", "CIPLA", "WIPRO", "LT", "HDFCBANK"];
    let symbols: Vec<String> = symbols.iter().map(|symbol| format!("NSE:{symbol}")).collect();
    let one = vec![symbols[0].clone(); 200];

    let bare = times(&mut script, &exchange.base_url(), &symbols, PAUSE);
    let fetched = times(&mut script, &gateway.url, &symbols, PAUSE);
    let before = exchange.counts("quote").admitted;
    let kept = times(&mut script, &gateway.url, &one, 0.0);
    let fetches = exchange.counts("quote").admitted - before;
    println!("`ltp` with the official Python client, in milliseconds:");
    println!("| answered by | calls | p50 | p90 |\n|---|--:|--:|--:|");
    for (name, times) in [
        ("the exchange, 40 ms away, without a gateway", &bare),
        ("the exchange, through the gateway", &fetched),
        ("the gateway's memory", &kept),
    ] {
        let [half, most] = [50, 90].map(|percent| percentile(times, percent));
        println!("| {name} | {} | {half:.1} | {most:.1} |", times.len());
    }
    assert_eq!(exchange.refused(), 0);
    // A row is young enough for a second.
    let seconds = kept.iter().sum::<f64>() / 1000.0;
    assert!(fetches as f64 <= seconds + 2.0, "{fetches} fetches in {seconds} s");
    assert!(percentile(&kept, 50) < percentile(&bare, 50));
}
