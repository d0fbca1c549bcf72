//! Trades from tasks: the official client behind `AsyncBroker`, at an exchange or at a gateway that runs already.
//!
//! At a simulated exchange it logs in, with made-up keys, and puts all layers in front of the client. While calls wait in the
//! lanes it logs in again, and they are sent with the new token. A gateway has the account and the lanes itself, so the client
//! is pointed at it without them. The tasks are the same, because both are an `AsyncBroker`.
//!
//! ```text
//! cargo run --release --bin lanekeeper -- exchange
//! cargo run --release --manifest-path examples/kiteconnect/Cargo.toml --bin tasks -- exchange http://127.0.0.1:8080
//!
//! KITE_API_KEY=key KITE_ACCESS_TOKEN=token cargo run --release --bin lanekeeper -- \
//!     gateway --preset kite --upstream http://127.0.0.1:8080
//! cargo run --release --manifest-path examples/kiteconnect/Cargo.toml --bin tasks -- gateway http://127.0.0.1:8800
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiteconnect::ApiSecret;
use kiteconnect_adapter::OfficialKite;
use lanekeeper::broker::{AsyncBroker, AsyncBrokerProxy, BrokerError};
use lanekeeper::quota::PriorUsage;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{CallOptions, Instrument, OrderRequest, Side};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// At most ten calls a second: eight tasks of four calls each take at least three seconds.
const TASKS: usize = 8;
/// What a caller waits for its turn. The time of the call itself is bounded by the timeout of the client.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["exchange", url] => {
            let kite = OfficialKite::new("key", "none yet", url, timeout())?;
            login(&kite).await?;
            let (traded, renewed) = tokio::join!(trade_all(with_lanes(&kite)?), login_again(&kite));
            traded.and(renewed)
        }
        // The key is the name of this client at the gateway, and the token its key there, if it has one.
        ["gateway", url] => {
            trade_all(Arc::new(OfficialKite::new("tasks", "x", url, timeout())?)).await
        }
        _ => Err("usage: tasks exchange URL | tasks gateway URL".into()),
    }
}

/// Puts lanes with Kite's limits, a quote cache and an order guard in front of the client.
fn with_lanes(kite: &OfficialKite) -> Result<Arc<dyn AsyncBroker>, Box<dyn Error>> {
    let stack = AsyncBrokerProxy::builder(kite.clone())
        // This exchange is new. At a broker, use `.pace_log(..)` in its place: without either, orders are held for 61 s, which
        // is longer than the deadline.
        .prior_usage(PriorUsage::None)
        .quote_ttl(Duration::from_secs(1))
        // At a broker, it gets a journal too: `guard.journal("orders.journal")`, with the feature `journal`.
        .order_guard(|guard| guard)
        .build()?;
    Ok(Arc::new(stack.with(CallOptions::new().user("tasks").deadline(DEADLINE))))
}

/// Logs in with a request token. It comes from the page of `kite.client().login_url()`, and a simulated exchange takes any.
async fn login(kite: &OfficialKite) -> Result<(), Box<dyn Error>> {
    Ok(kite.login("request-token", &ApiSecret::new("secret")?).await?)
}

async fn login_again(kite: &OfficialKite) -> Result<(), Box<dyn Error>> {
    sleep(Duration::from_millis(1500)).await;
    login(kite).await?;
    println!("logged in again");
    Ok(())
}

/// Runs the tasks.
async fn trade_all(broker: Arc<dyn AsyncBroker>) -> Result<(), Box<dyn Error>> {
    let yes = Instrument::new("NSE", "YESBANK");
    // Far enough below the price that the orders stay open, and in steps of ten paise, as the exchange takes them.
    let price = (broker.ltp(&yes).await? * Decimal::new(9, 1)).round_dp(1);
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let broker = Arc::clone(&broker);
        let order = OrderRequest::limit(yes.clone(), Side::Buy, 1, price);
        tasks.spawn(async move { trade(&*broker, &order.tag(format!("task{number}"))).await });
    }
    while let Some(traded) = tasks.join_next().await {
        println!("{}", traded??);
    }
    println!("{} calls in {:.1?}", 4 * TASKS, begin.elapsed());
    Ok(())
}

/// The timeout of a whole request. It is longer than the 6 s in which a gateway answers.
fn timeout() -> Duration {
    Duration::from_secs(15)
}

/// Places an order, reads it, cancels it, and reads it again.
async fn trade(broker: &dyn AsyncBroker, order: &OrderRequest) -> Result<String, BrokerError> {
    let id = broker.place_order(order).await?;
    let open = broker.order(&id).await?.status;
    broker.cancel_order(&id).await?;
    let closed = broker.order(&id).await?.status;
    Ok(format!("order {id} was {open}, then {closed}"))
}
