//! A few strategies on threads trade for some seconds through the lanes, and the same calls are made by the bare client
//! beside it. The exchange is the strict simulator. The program ends with an error if it refused a call of the lanes.
//! `bin/tasks.rs` trades from tasks.
//!
//! ```text
//! cargo run --release --manifest-path examples/kiteconnect/Cargo.toml --bin trade
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kiteconnect_adapter::{Blocking, OfficialKite, OrderMargins, OrderMarginsProxy};
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Broker, BrokerProxy, CallOptions, Instrument, LaneCall, OrderRequest, Side};
use lanekeeper_simulator::SimulatedExchange;

const STRATEGIES: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
const TRADE_FOR: Duration = Duration::from_secs(6);

fn main() -> Result<(), Box<dyn Error>> {
    let exchange = exchange()?;
    let kite = connect(&exchange)?;
    let broker = BrokerProxy::builder(kite.clone())
        .prior_usage(PriorUsage::None) // the exchange has just begun, so nothing was used before
        .quote_ttl(Duration::from_secs(1))
        .order_guard(|guard| guard)
        .build()?;
    // Two ways to what `Broker` has not, both through the lanes of `broker`: a trait, and a single call by its lane.
    let calculator = OrderMarginsProxy::builder(kite.broker().clone()).lanes_of(&broker).build()?;
    let gtts = LaneCall::read("transactional").name("gtts");
    let client = kite.clone();
    let triggers = broker.lanes().submit(&gtts, &CallOptions::new(), move || {
        client.wait(client.broker().read(client.broker().client().gtts()))
    });

    let begin = Instant::now();
    let (rounds, failed) = crowd(|name, _| {
        let strategy = broker.with(CallOptions::new().user(name));
        (begin.elapsed() < TRADE_FOR).then(|| trade(&strategy, &kite, &calculator))
    });
    println!("through the lanes: {rounds} rounds, {failed} failures, {:.1?}", begin.elapsed());
    println!("  GTTs of the account: {}", triggers.wait()?.len());
    let through_lanes = report(&exchange);

    // As many rounds, with the same client and no lanes, at an exchange that has just begun too.
    let other = self::exchange()?;
    let bare = connect(&other)?;
    let begin = Instant::now();
    let (rounds, failed) =
        crowd(|_, round| (round < rounds).then(|| trade(&bare, &bare, bare.broker())));
    println!("the bare client: {rounds} rounds, {failed} failures, {:.1?}", begin.elapsed());
    report(&other);

    if through_lanes > 0 { Err("the exchange refused a call of the lanes".into()) } else { Ok(()) }
}

/// Kite's limits, counted strictly, at the end of a path that is uneven enough to break a limiter that stamps
/// departures.
fn exchange() -> Result<SimulatedExchange, Box<dyn Error>> {
    let builder = SimulatedExchange::builder().latency(Duration::from_millis(4));
    Ok(builder.jitter(Duration::from_millis(3)).start()?)
}

/// Lets each strategy trade until `round` returns `None`. Returns how many rounds there were, and how many calls
/// failed.
fn crowd(round: impl Fn(&'static str, usize) -> Option<usize> + Sync) -> (usize, usize) {
    let (begun, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for name in STRATEGIES {
            let (begun, done, failed, round) = (&begun, &done, &failed, &round);
            scope.spawn(move || {
                while let Some(failures) = round(name, begun.fetch_add(1, Ordering::Relaxed)) {
                    done.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(failures, Ordering::Relaxed);
                }
            });
        }
    });
    (done.into_inner(), failed.into_inner())
}

fn connect(exchange: &SimulatedExchange) -> Result<Blocking<OfficialKite>, Box<dyn Error>> {
    let timeout = Duration::from_secs(15);
    let kite = OfficialKite::new("key", "token", &exchange.base_url(), timeout)?;
    Ok(Blocking::new(kite)?)
}

/// One round: a price, what an order would block, and the order with its state. Returns how many of them failed.
fn trade(
    broker: &dyn Broker,
    kite: &Blocking<OfficialKite>,
    calculator: &impl OrderMargins,
) -> usize {
    let yes = Instrument::new("NSE", "YESBANK");
    let order = OrderRequest::market(yes.clone(), Side::Buy, 1);
    let price = broker.ltp(&yes).err();
    let margin = kite.wait(calculator.order_margins(std::slice::from_ref(&order))).err();
    let placed = broker.place_order(&order).and_then(|id| broker.order(&id)).err();
    [price, margin, placed].into_iter().flatten().count()
}

/// Prints what the exchange counted. Returns how many calls it refused.
fn report(exchange: &SimulatedExchange) -> u64 {
    let (arrived, refused) = (exchange.arrivals().len(), exchange.refused());
    println!(
        "  {arrived} calls, {refused} refused, {} orders in the market",
        exchange.orders().len()
    );
    refused
}
