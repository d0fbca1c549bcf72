//! A whole run in which everything goes wrong: no secret is in anything that can be printed, be it an error, a
//! `Debug` or a line of a log.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "kite")]

#[path = "support/printed.rs"]
mod printed;

use std::time::Duration;

use lanekeeper::broker::{
    Broker, CandleRequest, Instrument, Interval, OrderChange, OrderId, OrderRequest, Side, lanes,
};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::KiteBuilder;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange, Target};
use printed::{Printed, TOKEN};

const API_SECRET: &str = "s3cretQZXsecretQZX";
const REQUEST_TOKEN: &str = "r3questQZXrequestQZX";

const FAULTS: [&str; 18] = [
    "reset-before",
    "reset-after",
    "hang-before",
    "hang-after",
    "slow:1ms",
    "429",
    "429:1s",
    "429:date:1s",
    "500-after",
    "502-before",
    "503-after",
    "504-after",
    "page-403-before",
    "page-503-after",
    "timed-out:1ms",
    "error-200",
    "truncated",
    "malformed",
];

fn builder(exchange: &SimulatedExchange) -> KiteBuilder {
    Kite::builder()
        .api_key("key")
        .access_token(TOKEN)
        .base_url(exchange.base_url())
        .timeout(Duration::from_millis(100))
}

fn every_call(kite: &Kite, printed: &mut Printed) {
    let share = Instrument::new("NSE", "YESBANK");
    let id = OrderId::new("1");
    let day = "2019-01-01T09:15:00+05:30[+05:30]".parse::<lanekeeper::jiff::Zoned>().unwrap();
    let candles = CandleRequest::new(share.clone(), Interval::Minute, day.clone(), day.clone());
    printed.error(kite.place_order(&OrderRequest::market(share.clone(), Side::Buy, 1)));
    printed.error(kite.modify_order(&id, &OrderChange::new().quantity(2)));
    printed.error(kite.cancel_order(&id));
    printed.error(kite.order_history(&id));
    printed.error(kite.orders());
    printed.error(kite.trades());
    printed.error(kite.order_trades(&id));
    printed.error(kite.positions());
    printed.error(kite.holdings());
    printed.error(kite.margins());
    printed.error(kite.profile());
    printed.error(kite.instruments(None));
    printed.error(kite.quotes(&[share]));
    printed.error(kite.candles(&candles));
}

#[test]
fn nothing_that_is_printed_in_a_faulty_run_holds_a_secret() {
    let mut printed = Printed::with_log();
    for fault in FAULTS {
        let open = lanes::ALL.into_iter().fold(Limits::new(), |limits, lane| {
            limits.lane(lane, Quota::new(1_000_000, Duration::from_secs(1)))
        });
        let faults = Faults::new().rule(Rule::new(Target::All, fault.parse().unwrap()));
        let exchange = SimulatedExchange::builder().limits(open).faults(faults).start().unwrap();
        let builder = builder(&exchange);
        let kite = builder.clone().build().unwrap();
        every_call(&kite, &mut printed);
        let login = builder.login(REQUEST_TOKEN, API_SECRET);
        if let Ok(session) = &login {
            printed.add(session);
        }
        printed.error(login);
        printed.error(kite.invalidate_session());
        // Once without faults, so that a dead token is certainly among what is tried.
        exchange.set_faults(&Faults::new()).unwrap();
        kite.invalidate_session().unwrap_or_else(|error| printed.error::<()>(Err(error)));
        printed.error(kite.orders());
        printed.add(&kite);
        printed.add(&builder);
        printed.add(&exchange);
        printed.add(&exchange.arrivals());
    }
    printed.assert_clean(FAULTS.len() * 9, 1000);
}
