//! A crowd of strategies on one broker account, behind lanekeeper and without.
//!
//! Sixteen ordinary functions of `&dyn Broker`, each on its own thread, together make more calls than the account
//! allows. Without an address, [`run`] starts a simulated exchange on loopback that speaks Kite's wire, with latency and
//! jitter, and refuses requests over the limit. Then it runs the same crowd on the bare adapter and prints both results
//! side by side.
//!
//! No order is sent twice: an `OrderGuard` looks up an order whose answer was lost. With `--journal` the next run looks
//! up the orders that this run leaves open.
//!
//! SIGINT, SIGTERM and SIGHUP (under `nohup` too) end a run early: the strategies make no new calls, the calls that
//! wait in the lanes are still sent and answered, and the report is printed. A second signal ends it at once,
//! without a report.
//!
//! With `--base-url` it trades at Kite, or at any server that speaks its wire. The keys come from
//! `KITE_API_KEY` and `KITE_ACCESS_TOKEN`. With `--broker alpaca` it speaks Alpaca's wire there, with the keys
//! `APCA_API_KEY_ID` and `APCA_API_SECRET_KEY`. Away from loopback it places no order without `--live`.
//!
//! - `strategy.rs` is one strategy, `crowd.rs` many of them, `target.rs` where they trade.
//! - `tap.rs` and `meter.rs` measure, `orders.rs` keeps the outcome of each order.
//! - `report.rs` and `screen.rs` show the results, to programs and to people.

pub mod args;
mod crowd;
pub mod failure;
mod meter;
mod orders;
mod report;
mod screen;
pub mod strategy;
pub mod tap;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerProxy, Instrument};
use lanekeeper::{PaceFile, PriorUsage, Stack};

use args::BotArgs;
use crowd::Crowd;
use failure::Failure;
use meter::{LateOrders, QueueMeter, StrategyMeter, WireMeter};
use report::{Report, ReportFile};
use screen::Screen;
use tap::Tap;
use target::Target;

use crate::command::print;
use crate::shared::ModeLog;
use crate::signal;

/// How long the bare crowd runs: long enough to be refused a hundred times.
const BARE_FOR: Duration = Duration::from_secs(4);
const QUOTE_TTL: Duration = Duration::from_secs(2);

/// Runs the program `trading_bot`.
pub fn main() -> ExitCode {
    match BotArgs::read().and_then(|args| args.map_or(Ok(()), |args| run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the crowd behind lanekeeper, then without unless it trades at an address, and shows the results.
pub fn run(args: &BotArgs) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    end_by_signal(Arc::clone(&stop))?;

    let target = Target::from(args)?;
    // Checked before the run: without a writable report the run would be for nothing.
    let file = args.report.as_deref().map(ReportFile::create).transpose()?;
    let report = paced(args, &target, &stop)?;
    // Written first, so that the outcomes of the orders are kept whatever fails after this.
    file.as_ref().map_or(Ok(()), |file| file.write(&report, None))?;
    if !target.is_own() || stop.load(Ordering::Relaxed) {
        return show(args, &report, None);
    }
    let bare = bare_crowd(args, &stop)?;
    file.as_ref().map_or(Ok(()), |file| file.write(&report, Some(&bare)))?;
    show(args, &report, Some(&bare))
}

/// Prints the results, as a table or as JSON.
fn show(args: &BotArgs, report: &Report, bare: Option<&Report>) -> Result<(), Failure> {
    let text = match args.json {
        true => report.to_json(bare)?,
        false => screen::table(report, bare),
    };
    print(text.as_bytes()).map_err(|error| Failure::new(format!("the results: {error}")))
}

/// Ends the run early on SIGINT, SIGTERM or SIGHUP; the run is still reported. A second signal ends the program at
/// once, without a report. With `--journal` the next run looks up the orders that were in flight.
fn end_by_signal(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    signal::on_first(move || stop.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(format!("no signal can be caught: {error}")))
}

/// Builds the layers: an order guard, a quote cache, and the lanes of the proxy.
fn stack<B: Broker + 'static>(
    args: &BotArgs,
    broker: B,
    queue: &Arc<QueueMeter>,
    late: &Arc<LateOrders>,
) -> Result<Stack<B>, Failure> {
    let late = Arc::clone(late);
    let observers: Vec<Arc<dyn lanekeeper::Observer>> = vec![queue.clone(), Arc::new(ModeLog)];
    let observers: Arc<dyn lanekeeper::Observer> = Arc::new(observers);
    let proxy = BrokerProxy::builder(broker).observer(observers);
    // The own exchange has just started, so it has counted no calls.
    let proxy = if args.fresh || args.base_url.is_none() {
        proxy.prior_usage(PriorUsage::None)
    } else {
        proxy
    };
    let proxy = match &args.pace {
        Some(pace) => proxy.pace_log(PaceFile::open(pace)?),
        None => proxy,
    };
    let proxy = match args.shared_quota()? {
        Some(shared) => proxy.shared(shared),
        None => proxy,
    };
    let stack = proxy.quote_ttl(QUOTE_TTL).order_guard(|guard| {
        let guard = guard.settle_time(args.settle());
        let guard = guard.on_turned_up(move |order| late.turned_up(order));
        match &args.journal {
            Some(journal) => guard.journal(journal),
            None => guard,
        }
    });
    Ok(stack.build()?)
}

/// Runs the crowd behind the whole stack.
fn paced(args: &BotArgs, target: &Target, stop: &AtomicBool) -> Result<Report, Failure> {
    let wire = Arc::new(WireMeter::default());
    let queue = Arc::new(QueueMeter::default());
    let adapter = target.adapter()?;
    let limits = adapter.documented_limits();
    let adapter = Tap::new(adapter, Arc::clone(&wire));
    let late = Arc::new(LateOrders::default());
    let broker = stack(args, adapter, &queue, &late)?;
    // Before any new order: the orders that an earlier run left open.
    let recovered = broker.recover();
    let instruments = target.instruments(&broker)?;
    let strategies = Arc::new(StrategyMeter::new(target.may_trade()));
    let stack = Tap::new(broker, Arc::clone(&strategies));

    let updates = stack.inner().subscribe(instruments.get(..1).unwrap_or_default());
    let mut screen = Screen::start(args, &target.describe(), &wire, updates);
    let crowd = Crowd { strategies: args.strategies, length: args.length(), instruments };
    let took = crowd.run(&stack, stop, || screen.tick());
    screen.end();
    let strategies = strategies.summary();
    if strategies.orders.listed.iter().any(|order| order.seen.is_some()) {
        // A last read of the order book through the guard, which then reports orders that turned up late.
        let _ = stack.inner().orders();
    }

    let cache = stack.inner().quote_stats();
    Ok(Report {
        took,
        limits,
        strategies,
        wire: wire.summary(),
        queue: queue.summary(),
        cache,
        recovered,
        turned_up: late.summary(),
        refused: target.refused(),
    })
}

/// Runs the same crowd on the bare adapter, against an exchange of its own.
fn bare_crowd(args: &BotArgs, stop: &AtomicBool) -> Result<Report, Failure> {
    let target = Target::own()?;
    let wire = Arc::new(WireMeter::default());
    let strategies = Arc::new(StrategyMeter::new(true));
    let adapter = target.adapter()?;
    let limits = adapter.documented_limits();
    let instruments: Vec<Instrument> = target.instruments(&adapter)?;
    let stack = Tap::new(Tap::new(adapter, Arc::clone(&wire)), Arc::clone(&strategies));
    let crowd = Crowd { strategies: args.strategies, length: BARE_FOR, instruments };
    let took = crowd.run(&stack as &dyn Broker, stop, || ());
    Ok(Report {
        took,
        limits,
        strategies: strategies.summary(),
        wire: wire.summary(),
        queue: Default::default(),
        cache: None,
        recovered: Vec::new(),
        turned_up: Vec::new(),
        refused: target.refused(),
    })
}
