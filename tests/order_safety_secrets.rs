//! A whole faulty run through every layer, and no secret in anything that can be printed or is written
//! down: no error, no `Debug`, no line of a log, no journal. The adapter alone is in `kite_secrets`.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "kite", feature = "exchange", feature = "journal"))]

use std::fmt::Debug;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, Instrument, OrderChange, OrderId, OrderRequest, Side, lanes,
};
use lanekeeper::brokers::Kite;
use lanekeeper::cache::QuoteCache;
use lanekeeper::clock::ManualClock;
use lanekeeper::exchange::{Exchange, Faults, Rule, Target};
use lanekeeper::lane::{LaneConfig, Priority};
use lanekeeper::proxy::{CallOptions, FinishedCall, Observer};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::resilience::guard::OrderGuard;
use log::{LevelFilter, Log, Metadata, Record};

/// Spelled so that no part of it is found anywhere else.
const TOKEN: &str = "t0kenQZXtokenQZX";
const MARK: &str = "QZX";

const FAULTS: [&str; 15] = [
    "reset-before",
    "reset-after",
    "hang-after",
    "429",
    "429:10ms",
    "502-before",
    "503-after",
    "504-after",
    "page-403-before",
    "page-503-after",
    "timed-out:1ms",
    "error-200",
    "truncated",
    "malformed",
    "slow:1ms",
];

/// What anybody logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

/// What the lanes tell of every call.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.lock().unwrap().push(format!("{call:?}"));
    }
}

/// All that can be printed of a run.
#[derive(Default)]
struct Printed(Vec<String>);

impl Printed {
    fn add(&mut self, what: &dyn Debug) {
        self.0.extend([format!("{what:?}"), format!("{what:#?}")]);
    }

    fn error<T>(&mut self, result: Result<T, BrokerError>) -> usize {
        let Err(error) = result else { return 0 };
        self.0.push(error.to_string());
        self.add(&error);
        1
    }
}

fn lane() -> LaneConfig {
    LaneConfig::new(Quota::per_second(10_000)).retry(RetryPolicy::none())
}

#[test]
fn nothing_that_any_layer_prints_or_writes_down_holds_the_token() {
    log::set_logger(&LINES).unwrap();
    // At the trace level the HTTP client writes all that it sends, as the documents of `Kite` say.
    log::set_max_level(LevelFilter::Debug);
    let mut printed = Printed::default();
    let mut errors = 0;
    for fault in FAULTS {
        let open = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(10_000)));
        let faults = Faults::new().rule(Rule::new(Target::All, fault.parse().unwrap()));
        let exchange = Exchange::builder().limits(open).faults(faults).start().unwrap();
        let kite = Kite::builder().api_key("key").access_token(TOKEN).base_url(exchange.base_url());
        let kite = kite.timeout(Duration::from_millis(50)).build().unwrap();
        let heard = Arc::new(Heard::default());
        let builder = BrokerProxy::builder(kite)
            .transactional(lane())
            .quote(lane())
            .historical(lane())
            .orders(Quota::unlimited())
            .observer(Arc::clone(&heard) as Arc<dyn Observer>);
        printed.add(&builder);
        let proxy = builder.build().unwrap();
        let urgent = proxy.with(CallOptions::new().user("alpha").priority(Priority::URGENT));
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("orders.journal");
        let builder = OrderGuard::builder(QuoteCache::new(proxy.clone()))
            .lookups(urgent.clone())
            // The book cannot be read: nobody here waits until the guard believes it.
            .clock(ManualClock::jumping())
            .journal(&journal);
        printed.add(&builder);
        let broker = builder.build().unwrap();

        let share = Instrument::new("NSE", "YESBANK");
        let id = OrderId::new("1");
        errors +=
            printed.error(broker.place_order(&OrderRequest::market(share.clone(), Side::Buy, 1)));
        errors += printed.error(broker.modify_order(&id, &OrderChange::new().quantity(2)));
        errors += printed.error(broker.cancel_order(&id));
        errors += printed.error(broker.orders());
        errors += printed.error(broker.ltp(&share));
        printed.add(&broker.recover());
        // A dead token, so that the broker's words about it are among what is printed.
        exchange.set_faults(&Faults::new()).unwrap();
        // On a slow machine it may time out, and be done all the same.
        let _ = proxy.inner().invalidate_session();
        errors += printed.error(broker.place_order(&OrderRequest::market(share, Side::Buy, 1)));
        // A second guard finds the journal in use, and says so.
        let second = OrderGuard::builder(QuoteCache::new(proxy.clone())).journal(&journal).build();
        printed.0.push(second.err().unwrap().to_string());

        printed.add(&broker);
        printed.add(&proxy);
        printed.add(&urgent);
        printed.add(&proxy.status());
        printed.0.append(&mut heard.0.lock().unwrap());
        let text = fs::read_to_string(&journal).unwrap();
        assert!(text.contains("YESBANK"), "nothing was written down");
        printed.0.push(text);
    }
    assert!(errors > FAULTS.len() * 4, "only {errors} errors: the run was not faulty");
    let tried = printed.0.len();
    printed.0.append(&mut LINES.0.lock().unwrap());
    assert!(printed.0.len() > tried + 500, "nothing was logged");
    for text in &printed.0 {
        assert!(!text.contains(MARK), "{text}");
    }
}
