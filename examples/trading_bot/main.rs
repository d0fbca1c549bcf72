//! The main job: a crowd of strategies on one broker account.
//!
//! Sixteen ordinary functions of `&dyn Broker`, each on a thread of its own, together ask for more than the account
//! may have. Without any setup, this starts a simulated exchange on loopback that speaks Kite's wire, with latency
//! and jitter, and refuses clients that come too fast. Then it shows the same crowd on the bare adapter beside it.
//!
//! ```text
//! cargo run --release --features exchange --example trading_bot
//! ```
//!
//! No order is sent twice: an `OrderGuard` finds out what became of one whose answer was lost. With `--journal`
//! (feature `journal`) the next run does so for the orders that this one leaves open.
//!
//! SIGINT, SIGTERM and SIGHUP (under `nohup` too) end a run early: no strategy starts anything new, calls that wait
//! in the lanes are still sent and answered, then the report is written. A second signal ends it at once, without a
//! report.
//!
//! With `--base-url` it works against Kite, or anything that speaks its wire. The keys come from
//! `KITE_API_KEY` and `KITE_ACCESS_TOKEN`. Away from loopback it places no order without `--live`.
#![allow(unreachable_pub)] // A program has no interface to keep small.

mod args;
mod crowd;
mod failure;
mod meter;
mod orders;
mod report;
mod screen;
mod strategy;
mod tap;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(feature = "journal")]
use lanekeeper::PaceFile;
use lanekeeper::PriorUsage;
use lanekeeper::broker::{Broker, BrokerProxy, Instrument};
use lanekeeper::brokers::Kite;
use lanekeeper::cache::QuoteCache;
use lanekeeper::lane::Priority;
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::proxy::CallOptions;

use args::Args;
use crowd::Crowd;
use failure::Failure;
use meter::{LateOrders, QueueMeter, StrategyMeter, WireMeter};
use report::{Report, ReportFile};
use screen::Screen;
use tap::Tap;
use target::Target;

/// How long the bare crowd runs: long enough to be refused a hundred times.
const BARE_FOR: Duration = Duration::from_secs(4);
/// The exit code after a second signal, as shells have it after an interrupt.
const INTERRUPTED: i32 = 130;
const QUOTE_TTL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match Args::read().and_then(|args| args.map_or(Ok(()), |args| run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    end_by_signal(Arc::clone(&stop))?;

    let target = Target::from(args)?;
    // Before the run, not after it: if the report cannot be written, the bot should not trade at all.
    let file = args.report.as_deref().map(ReportFile::create).transpose()?;
    let report = paced(args, &target, &stop)?;
    // Write the report first: whatever fails from here on, it keeps what became of the orders.
    file.as_ref().map_or(Ok(()), |file| file.write(&report, None))?;
    if !target.is_own() || stop.load(Ordering::Relaxed) {
        screen::print(&report, None);
        return Ok(());
    }
    let bare = bare_crowd(args, &stop)?;
    file.as_ref().map_or(Ok(()), |file| file.write(&report, Some(&bare)))?;
    screen::print(&report, Some(&bare));
    Ok(())
}

/// SIGINT, SIGTERM or SIGHUP only ends the run early: what was traded is still reported. A second one ends the
/// program at once, without a report. With `--journal` the next run finds out what became of the orders in flight.
fn end_by_signal(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let on_signal = move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(on_signal)
        .map_err(|error| Failure::new(format!("no signal can be caught: {error}")))
}

/// The usual stack: a guard, a quote cache, and the lanes of the proxy.
type Stack<B> = OrderGuard<QuoteCache<BrokerProxy<B>>>;

fn stack<B: Broker + 'static>(
    args: &Args,
    broker: B,
    queue: &Arc<QueueMeter>,
    late: &Arc<LateOrders>,
) -> Result<Stack<B>, Failure> {
    let late = Arc::clone(late);
    let proxy = BrokerProxy::builder(broker)
        .observer(Arc::clone(queue) as Arc<dyn lanekeeper::proxy::Observer>);
    // The simulated exchange has just begun too, so nothing was used before.
    let proxy = if args.fresh || args.base_url.is_none() {
        proxy.prior_usage(PriorUsage::None)
    } else {
        proxy
    };
    #[cfg(feature = "journal")]
    let proxy = match &args.pace {
        Some(pace) => proxy.pace_log(PaceFile::open(pace)?),
        None => proxy,
    };
    let cache = proxy.quote_ttl(QUOTE_TTL).build()?;
    // A read of the order book for a lost order goes before everything else.
    let urgent = cache.inner().with(CallOptions::new().priority(Priority::URGENT));
    let guard = OrderGuard::builder(cache).lookup_broker(urgent).settle_time(args.settle());
    let guard = guard.on_turned_up(move |order| late.turned_up(order));
    #[cfg(feature = "journal")]
    let guard = match &args.journal {
        Some(journal) => guard.journal(journal),
        None => guard,
    };
    Ok(guard.build()?)
}

/// Runs the crowd behind the whole stack.
fn paced(args: &Args, target: &Target, stop: &AtomicBool) -> Result<Report, Failure> {
    let wire = Arc::new(WireMeter::default());
    let queue = Arc::new(QueueMeter::default());
    let kite = Tap::new(target.kite()?, Arc::clone(&wire));
    let late = Arc::new(LateOrders::default());
    let broker = stack(args, kite, &queue, &late)?;
    // Before anything new: the orders that an earlier run left open.
    let recovered = broker.recover();
    let instruments = target.instruments(&broker)?;
    let strategies = Arc::new(StrategyMeter::new(target.may_trade()));
    let stack = Tap::new(broker, Arc::clone(&strategies));

    let screen = Screen::start(args, &target.describe(), &wire);
    let crowd = Crowd { strategies: args.strategies, length: args.length(), instruments };
    let took = crowd.run(&stack, stop, || screen.tick());
    screen.end();
    let strategies = strategies.summary();
    if strategies.orders.listed.iter().any(|order| order.seen.is_some()) {
        // One last read through the guard, which reports the orders that have appeared since.
        let _ = stack.inner().orders();
    }

    let cache = stack.inner().inner().stats();
    Ok(Report {
        took,
        limits: Kite::limits(),
        strategies,
        wire: wire.summary(),
        queue: queue.summary(),
        cache: Some(cache),
        recovered,
        turned_up: late.summary(),
        refused: target.refused(),
    })
}

/// Runs the same crowd on the bare adapter, against a simulated exchange of its own.
fn bare_crowd(args: &Args, stop: &AtomicBool) -> Result<Report, Failure> {
    let target = Target::own()?;
    let wire = Arc::new(WireMeter::default());
    let strategies = Arc::new(StrategyMeter::new(true));
    let kite = target.kite()?;
    let instruments: Vec<Instrument> = target.instruments(&kite)?;
    let stack = Tap::new(Tap::new(kite, Arc::clone(&wire)), Arc::clone(&strategies));
    let crowd = Crowd { strategies: args.strategies, length: BARE_FOR, instruments };
    let took = crowd.run(&stack as &dyn Broker, stop, || ());
    Ok(Report {
        took,
        limits: Kite::limits(),
        strategies: strategies.summary(),
        wire: wire.summary(),
        queue: Default::default(),
        cache: None,
        recovered: Vec::new(),
        turned_up: Vec::new(),
        refused: target.refused(),
    })
}
