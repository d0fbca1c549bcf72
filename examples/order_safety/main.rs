//! A program that is killed while it places orders, and that looks up their outcomes afterwards.
//! The test `crash` kills it a few hundred times.
//!
//! ```text
//! order_safety place   URL JOURNAL PREFIX     places orders until it is killed
//! order_safety recover URL JOURNAL            looks up the orders without an answer, and ends
//! order_safety resend  URL JOURNAL            sends those orders again, which must never be done
//! ```
//!
//! Every line is written completely before anything else happens: `ready`; `answer NUMBER WORD ID`
//! with `placed`, `rejected`, `not_sent`, `absent` or `unknown`; `recovered TAG WORD ID` with `placed`,
//! `rejected`, `absent` or `unknown`.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::Stack;
use lanekeeper::broker::{Broker, BrokerError, BrokerProxy, Instrument, OrderRequest, Side};
use lanekeeper::brokers::Kite;
use lanekeeper::lane::LaneConfig;
use lanekeeper::order_guard::RecoveredOutcome;
use lanekeeper::quota::{PriorUsage, Quota};
use lanekeeper::resilience::{BreakerPolicy, ThrottlePolicy};

const CALLERS: usize = 8;
/// The timeout of a call.
const TIMEOUT: Duration = Duration::from_millis(150);
/// Longer than a call may take, and longer than an order may take to reach the order book.
const SETTLE: Duration = Duration::from_millis(700);
const QUOTE_TTL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["place", url, journal, prefix] => stack(url, journal).and_then(|it| place(&it, prefix)),
        ["recover", url, journal] => stack(url, journal).and_then(|it| recover(&it)),
        ["resend", url, journal] => stack(url, journal).and_then(|it| resend(&it)),
        _ => Err("usage: order_safety place|recover|resend URL JOURNAL [PREFIX]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the whole stack, in which only the broker is slow.
fn stack(url: &str, journal: &str) -> Result<Stack<Kite>, Box<dyn Error>> {
    // A third of all writes fail. A breaker or a throttle would stop the traffic that the test needs.
    let lane = || {
        LaneConfig::new(Quota::per_second(10_000))
            .in_flight(CALLERS)
            .breaker(BreakerPolicy::disabled())
            .throttle(ThrottlePolicy::default().keep_percent(100))
    };
    let kite = Kite::builder().api_key("key").access_token("token").base_url(url);
    let stack = BrokerProxy::builder(kite.timeout(TIMEOUT).build()?)
        // The program is restarted often, and the exchange has no limits that count, so prior usage does not matter.
        .prior_usage(PriorUsage::None)
        .transactional(lane())
        .quote(lane())
        .historical(lane())
        .orders(Quota::unlimited())
        .quote_ttl(QUOTE_TTL)
        .order_guard(|guard| guard.settle_time(SETTLE).journal(journal));
    Ok(stack.build()?)
}

/// Places orders. Every second order has a unique tag, which begins with `prefix`.
fn place(broker: &Stack<Kite>, prefix: &str) -> Result<(), Box<dyn Error>> {
    say("ready")?;
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let infy = Instrument::new("NSE", "YESBANK");
                        let mut order = OrderRequest::limit(infy, Side::Buy, 1, 1);
                        if number % 2 == 0 {
                            order = order.tag(format!("{prefix}n{number}"));
                        }
                        let (outcome, id) = match broker.place_order(&order) {
                            Ok(id) => ("placed", id.to_string()),
                            Err(error) => (outcome_name(&error), String::new()),
                        };
                        say(&format!("answer {number} {outcome} {id}"))?;
                    }
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| match caller.join() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err("a caller panicked".into()),
        })
    })
}

fn outcome_name(error: &BrokerError) -> &'static str {
    match error.was_sent() {
        _ if error.absence().is_some() => "absent",
        Sent::No => "not_sent",
        Sent::Yes => "rejected",
        Sent::Unknown => "unknown",
    }
}

fn recover(broker: &Stack<Kite>) -> Result<(), Box<dyn Error>> {
    say("ready")?;
    for recovery in broker.recover() {
        let (outcome, id) = match recovery.outcome {
            RecoveredOutcome::Placed(id) => ("placed", id.to_string()),
            RecoveredOutcome::Rejected(_) => ("rejected", String::new()),
            RecoveredOutcome::Absent(_) => ("absent", String::new()),
            _ => ("unknown", String::new()),
        };
        say(&format!("recovered {} {outcome} {id}", recovery.tag))?;
    }
    Ok(())
}

/// Sends orders without an answer again, which the journal exists to prevent.
fn resend(broker: &Stack<Kite>) -> Result<(), Box<dyn Error>> {
    for recovery in broker.recover() {
        drop(broker.proxy().place_order(&recovery.order));
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    // One write: a line that is cut off by a kill has no newline.
    io::stdout().lock().write_all(format!("{line}\n").as_bytes())
}
