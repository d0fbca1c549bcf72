//! A whole faulty run through every layer: no secret is in anything that is printed or written to disk, be it an
//! error, a `Debug`, a line of a log or a journal. The adapter alone is in `kite_secrets.rs`.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "kite", feature = "journal"))]

#[path = "support/printed.rs"]
mod printed;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerProxy, Instrument, OrderChange, OrderId, OrderRequest, Side, lanes,
};
use lanekeeper::brokers::Kite;
use lanekeeper::cache::QuoteCache;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::FinishedCall;
use lanekeeper::lane::{LaneConfig, Priority};
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{CallOptions, Observer};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange, Target};
use printed::{Printed, TOKEN};

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

/// Records what the lanes report of every call.
#[derive(Default)]
struct CallReports(Mutex<Vec<String>>);

impl Observer for CallReports {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.lock().unwrap().push(format!("{call:?}"));
    }
}

fn lane() -> LaneConfig {
    LaneConfig::new(Quota::per_second(10_000)).retry(RetryPolicy::none())
}

#[test]
fn nothing_that_any_layer_prints_or_writes_down_holds_the_token() {
    let mut printed = Printed::with_log();
    for fault in FAULTS {
        let open = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(10_000)));
        let faults = Faults::new().rule(Rule::new(Target::All, fault.parse().unwrap()));
        let exchange = SimulatedExchange::builder().limits(open).faults(faults).start().unwrap();
        let kite = Kite::builder().api_key("key").access_token(TOKEN).base_url(exchange.base_url());
        let kite = kite.timeout(Duration::from_millis(50)).build().unwrap();
        let reports = Arc::new(CallReports::default());
        let builder = BrokerProxy::builder(kite)
            .prior_usage(PriorUsage::None)
            .transactional(lane())
            .quote(lane())
            .historical(lane())
            .orders(Quota::unlimited())
            .observer(Arc::clone(&reports) as Arc<dyn Observer>);
        printed.add(&builder);
        let proxy = builder.build().unwrap();
        let urgent = proxy.with(CallOptions::new().user("alpha").priority(Priority::URGENT));
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("orders.journal");
        let builder = OrderGuard::builder(QuoteCache::new(proxy.clone()))
            .lookup_broker(urgent.clone())
            // The book cannot be read, and the test need not wait in real time until the guard gives up.
            .clock(ManualClock::auto_advancing())
            .journal(&journal);
        printed.add(&builder);
        let broker = builder.build().unwrap();

        let share = Instrument::new("NSE", "YESBANK");
        let id = OrderId::new("1");
        printed.error(broker.place_order(&OrderRequest::market(share.clone(), Side::Buy, 1)));
        printed.error(broker.modify_order(&id, &OrderChange::new().quantity(2)));
        printed.error(broker.cancel_order(&id));
        printed.error(broker.orders());
        printed.error(broker.ltp(&share));
        printed.add(&broker.recover());
        // A dead token, so that the broker's message about it is among what is printed.
        exchange.set_faults(&Faults::new()).unwrap();
        // On a slow machine it may time out, and still be done.
        let _ = proxy.inner().invalidate_session();
        printed.error(broker.place_order(&OrderRequest::market(share, Side::Buy, 1)));
        // A second guard finds the journal in use, and its error names it.
        let second = OrderGuard::builder(QuoteCache::new(proxy.clone())).journal(&journal).build();
        printed.text(second.err().unwrap().to_string());

        printed.add(&broker);
        printed.add(&proxy);
        printed.add(&urgent);
        printed.add(&proxy.status());
        reports.0.lock().unwrap().drain(..).for_each(|call| printed.text(call));
        let text = fs::read_to_string(&journal).unwrap();
        assert!(text.contains("YESBANK"), "nothing was written down");
        printed.text(text);
    }
    printed.assert_clean(FAULTS.len() * 4, 500);
}
