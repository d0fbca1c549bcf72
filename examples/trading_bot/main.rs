//! The main job: a crowd of strategies on one broker account.
//!
//! Sixteen ordinary functions of `&dyn Broker`, each on a thread of its own, together ask for more
//! than the account may have. With nothing to set up, this starts an exchange on loopback that
//! speaks Kite's wire, with latency and jitter, and refuses whoever comes too fast; then it shows
//! the same crowd on the bare adapter beside it.
//!
//! ```text
//! cargo run --release --features exchange --example trading_bot
//! ```
//!
//! With `--base-url` it works against Kite, or anything that speaks its wire. The keys come from
//! `KITE_API_KEY` and `KITE_ACCESS_TOKEN`. Away from loopback it places no order without `--live`.
#![allow(unreachable_pub)] // A program has no interface to keep small.

mod args;
mod crowd;
mod failure;
mod meter;
mod report;
mod screen;
mod strategy;
mod tap;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerProxy, Instrument};
use lanekeeper::brokers::Kite;

use args::Args;
use crowd::Crowd;
use failure::Failure;
use meter::{Desk, Queue, Wire};
use report::Report;
use screen::Screen;
use tap::Tap;
use target::Target;

/// How long the bare crowd is let loose: long enough to be refused a hundred times.
const BARE_FOR: Duration = Duration::from_secs(4);
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
    let target = Target::from(args)?;
    // Before the run, not after: a report that cannot be written is no reason to trade for nothing.
    let report_file = args.report.as_deref().map(report::create).transpose()?;
    let (report, bare) = paced(args, &target)?;
    let bare = bare.then(|| bare_crowd(args)).transpose()?;
    screen::print(&report, bare.as_ref());
    match report_file {
        Some(file) => report.write(file, bare.as_ref()),
        None => Ok(()),
    }
}

/// The crowd behind the proxy and the quote cache.
fn paced(args: &Args, target: &Target) -> Result<(Report, bool), Failure> {
    let wire = Arc::new(Wire::default());
    let queue = Arc::new(Queue::default());
    let kite = Tap::new(target.kite()?, Arc::clone(&wire));
    let broker = BrokerProxy::builder(kite)
        .observer(Arc::clone(&queue) as Arc<dyn lanekeeper::proxy::Observer>)
        .quote_ttl(QUOTE_TTL)
        .build()?;
    let instruments = target.instruments(&broker)?;
    let desk = Arc::new(Desk::new(target.may_trade()));
    let stack = Tap::new(broker, Arc::clone(&desk));

    let screen = Screen::start(args, &target.describe(), &wire);
    let crowd = Crowd { strategies: args.strategies, length: args.length(), instruments };
    let took = crowd.run(&stack, || screen.tick());
    screen.end();

    let cache = stack.within().stats();
    let report = Report {
        took,
        limits: Kite::limits(),
        desk: desk.summary(),
        wire: wire.summary(),
        queue: queue.summary(),
        cache: Some(cache),
        refused: target.refused(),
    };
    Ok((report, target.is_own()))
}

/// The same crowd on the bare adapter, against an exchange of its own.
fn bare_crowd(args: &Args) -> Result<Report, Failure> {
    let target = Target::own()?;
    let wire = Arc::new(Wire::default());
    let desk = Arc::new(Desk::new(true));
    let kite = target.kite()?;
    let instruments: Vec<Instrument> = target.instruments(&kite)?;
    let stack = Tap::new(Tap::new(kite, Arc::clone(&wire)), Arc::clone(&desk));
    let crowd = Crowd { strategies: args.strategies, length: BARE_FOR, instruments };
    let took = crowd.run(&stack as &dyn Broker, || ());
    Ok(Report {
        took,
        limits: Kite::limits(),
        desk: desk.summary(),
        wire: wire.summary(),
        queue: Default::default(),
        cache: None,
        refused: target.refused(),
    })
}
