//! The official client at full load, at an exchange that counts strictly, 40 ms and 30 ms of mean jitter away in each
//! direction: 32 tasks through the lanes are never refused and use nearly all of the quota, and the same tasks with the
//! bare client are refused most of the time. It takes about 25 s, and is a program of its own, so that no other test
//! runs beside it.
//!
//! ```text
//! cargo test --manifest-path examples/kiteconnect/Cargo.toml --test saturation -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiteconnect_adapter::OfficialKite;
use lanekeeper::broker::{AsyncBroker, AsyncBrokerProxy};
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Instrument, OrderRequest, Side};
use lanekeeper_simulator::SimulatedExchange;
use tokio::task::JoinSet;

const TASKS: usize = 32;
const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
const LENGTH: Duration = Duration::from_secs(16);
const BARE_LENGTH: Duration = Duration::from_secs(3);
/// Calls in a second: the limit of the lane `transactional` at Kite and at the exchange.
const LIMIT: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_the_official_client_use_the_quota_and_are_not_refused() {
    let exchange = exchange(1);
    let proxy = AsyncBrokerProxy::builder(kite(&exchange)).prior_usage(PriorUsage::None).build();
    crowd(Arc::new(proxy.unwrap()), LENGTH).await;

    let bare_exchange = self::exchange(2);
    crowd(Arc::new(kite(&bare_exchange)), BARE_LENGTH).await;

    let used = used(&exchange);
    // The best that a safe client can do: a slot is in use for a second, and for as much of the call's way as varies.
    let bound = 1.0 / (1.0 + 2.0 * JITTER.as_secs_f64());
    let (arrived, refused) = (exchange.arrivals().len(), exchange.refused());
    println!(
        "{TASKS} tasks through the lanes: {refused} of {arrived} calls refused, {:.1} % of the quota used, {:.1} % of the bound",
        100.0 * used,
        100.0 * used / bound
    );
    let (bare_arrived, bare_refused) = (bare_exchange.arrivals().len(), bare_exchange.refused());
    println!("{TASKS} tasks, the bare client: {bare_refused} of {bare_arrived} calls refused");
    assert_eq!(refused, 0);
    // Of the bound: on a machine whose cores are busy, tasks and the exchange wake late, and the share of the quota falls.
    assert!(used >= 0.92 * bound, "used {used}");
    assert!(bare_refused * 2 > bare_arrived as u64, "the exchange is strict");
}

fn exchange(seed: u64) -> SimulatedExchange {
    let builder = SimulatedExchange::builder().latency(LATENCY).jitter(JITTER);
    builder.seed(seed).start().unwrap()
}

fn kite(exchange: &SimulatedExchange) -> OfficialKite {
    OfficialKite::new("key", "token", &exchange.base_url(), Duration::from_secs(15)).unwrap()
}

/// Runs tasks that trade and read the account as fast as they may. Four of them ask for prices, whose lane is another.
async fn crowd(broker: Arc<dyn AsyncBroker>, length: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (broker, stop) = (Arc::clone(&broker), Arc::clone(&stop));
        tasks.spawn(async move {
            let instrument = Instrument::new("NSE", "YESBANK");
            let order = OrderRequest::market(instrument.clone(), Side::Buy, 1);
            while !stop.load(Ordering::Relaxed) {
                let _ = match number % 8 {
                    0 => broker.ltp(&instrument).await.map(drop),
                    1..4 => broker.place_order(&order).await.map(drop),
                    4 | 5 => broker.positions().await.map(drop),
                    _ => broker.margins().await.map(drop),
                };
            }
        });
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
}

/// Returns the share of the transactional quota that was used. Calls come in bursts of the limit, so it is taken from the
/// first arrival to the last one that is a multiple of the limit later. At the exchange, that many calls take at least a
/// second for each `LIMIT`.
fn used(exchange: &SimulatedExchange) -> f64 {
    let arrivals = exchange.arrivals();
    let lane = arrivals.iter().filter(|arrival| arrival.lane == Some("transactional"));
    let mut at: Vec<Duration> = lane.map(|arrival| arrival.at).collect();
    at.sort_unstable();
    let seconds = (at.len() - 1) / LIMIT;
    seconds as f64 / (at[seconds * LIMIT] - at[0]).as_secs_f64()
}
