//! Candles of Kite without a call of `instruments` before, over HTTP: the simulator counts what arrives.

#![cfg(feature = "kite")]
#![allow(clippy::unwrap_used)]

use std::sync::Barrier;
use std::thread;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, CandleRequest, Instrument, Interval, OrderChange, OrderId,
    OrderRequest, Side,
};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::cache::QuoteCache;
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::order_guard::OrderGuard;
use lanekeeper::quota::PriorUsage;
use lanekeeper::resilience::BreakerState;
use lanekeeper::{LaneConfig, Quota, delegate_broker};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange};
use rust_decimal::Decimal;

const TRANSACTIONAL: usize = 0;
const HISTORICAL: usize = 2;

fn share(number: usize) -> Instrument {
    Instrument::new("NSE", format!("SHARE{number}"))
}

/// Eight shares, each with one bar at its own price.
fn exchange(faults: &[&str]) -> SimulatedExchange {
    let bar = |number| {
        let price = 100 + number;
        format!("2026-01-05T09:15:00+05:30,NSE,SHARE{number},{price},{price},{price},{price},1\n")
    };
    let header = "time,exchange,symbol,open,high,low,close,volume\n";
    let prices = header.to_owned() + &(0..8).map(bar).collect::<String>();
    let rules = faults.iter().map(|rule| rule.parse::<Rule>().unwrap());
    SimulatedExchange::builder()
        .prices(Prices::from_csv(&prices).unwrap())
        .limits(Kite::limits().lane("historical", Quota::per_second(100)))
        .faults(rules.fold(Faults::new(), Faults::rule))
        .start()
        .unwrap()
}

fn kite(exchange: &SimulatedExchange) -> Kite {
    let url = exchange.base_url();
    Kite::builder().api_key("key").access_token("token").base_url(url).build().unwrap()
}

/// Time stands still, so a slot that is used stays used.
fn proxy<B: Broker + 'static>(adapter: B) -> BrokerProxy<B> {
    BrokerProxy::builder(adapter)
        .prior_usage(PriorUsage::None)
        .historical(LaneConfig::new(Quota::per_second(8)))
        .clock(ManualClock::new())
        .build()
        .unwrap()
}

fn day_of(instrument: Instrument) -> CandleRequest {
    let (from, to) = ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    CandleRequest::new(instrument, Interval::Minute, at(from), at(to))
}

/// Returns how many requests came for the listing, and how many for candles.
fn arrived(exchange: &SimulatedExchange) -> (usize, usize) {
    let arrivals = exchange.arrivals();
    let count = |of: &dyn Fn(&str) -> bool| arrivals.iter().filter(|it| of(&it.path)).count();
    let is_candles = |path: &str| path.starts_with("/instruments/historical/");
    (count(&|path| path.starts_with("/instruments") && !is_candles(path)), count(&is_candles))
}

/// Asks for the candles of all shares from eight threads at once.
fn crowd(broker: &dyn Broker) {
    let together = Barrier::new(8);
    thread::scope(|scope| {
        for number in 0..8 {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                let candles = broker.candles(&day_of(share(number))).unwrap();
                let closes: Vec<_> = candles.iter().map(|candle| candle.ohlc.close).collect();
                assert_eq!(closes, [Decimal::from(100 + number)]);
            });
        }
    });
}

/// A decorator that knows nothing of listings.
struct Decorated(Kite);

impl Broker for Decorated {
    delegate_broker! { to self.kite() }
}

impl Decorated {
    fn kite(&self) -> &Kite {
        &self.0
    }
}

/// Returns the layers in front of a simulator.
type Stack = fn(&SimulatedExchange) -> Box<dyn Broker>;

#[test]
fn eight_threads_at_once_cause_one_listing_and_eight_right_answers() {
    let in_front: [Stack; 3] = [
        |exchange| Box::new(proxy(kite(exchange))),
        |exchange| Box::new(proxy(Decorated(kite(exchange)))),
        |exchange| {
            let cache =
                QuoteCache::new(proxy(Box::new(Decorated(kite(exchange))) as Box<dyn Broker>));
            Box::new(OrderGuard::builder(cache).build().unwrap())
        },
    ];
    for stack in in_front {
        let exchange = exchange(&[]);
        crowd(&*stack(&exchange));
        assert_eq!(arrived(&exchange), (1, 8));
        assert!(exchange.arrivals().iter().any(|arrival| arrival.path == "/instruments/NSE"));
        assert_eq!(exchange.refused(), 0);
    }
}

#[test]
fn a_share_that_is_not_listed_is_a_local_error_and_costs_one_listing() {
    let exchange = exchange(&[]);
    let broker = proxy(kite(&exchange));
    for _ in 0..20 {
        let error = broker.candles(&day_of(Instrument::new("NSE", "GHOST"))).unwrap_err();
        assert!(error.failure().is_local(), "{error}");
        let words = "not sent: NSE:GHOST is not in the listing of NSE of 20";
        assert!(error.to_string().starts_with(words), "{error}");
    }
    assert_eq!(arrived(&exchange), (1, 0));
    let historical = broker.status().lanes.remove(HISTORICAL);
    assert_eq!((historical.windows[0].used, historical.breaker), (0, BreakerState::Closed));
    // The whole quota goes out at once.
    crowd(&broker);
    assert_eq!(arrived(&exchange), (1, 8));
}

#[test]
fn a_listing_that_fails_is_the_answer_and_the_next_call_tries_again() {
    let exchange = exchange(&["instruments=page-403-before@1"]);
    let broker = proxy(kite(&exchange));
    let error = broker.candles(&day_of(share(0))).unwrap_err();
    assert!(matches!(error, BrokerError::Fatal(_)), "{error}");
    assert_eq!(arrived(&exchange), (1, 0));
    assert_eq!(broker.candles(&day_of(share(0))).unwrap().len(), 1);
    assert_eq!(arrived(&exchange), (2, 1));
}

#[test]
fn a_bare_adapter_makes_one_request_for_one_call() {
    let exchange = exchange(&[]);
    let kite = kite(&exchange);
    let error = kite.candles(&day_of(share(0))).unwrap_err();
    assert!(error.failure().is_local() && error.to_string().contains("`instruments`"), "{error}");
    assert_eq!(arrived(&exchange), (0, 0));
    kite.instruments(None).unwrap();
    kite.candles(&day_of(share(0))).unwrap();
    assert_eq!(arrived(&exchange), (1, 1));
}

/// Every mistake that the adapter finds by itself leaves the quota whole, and nothing arrives.
#[test]
fn mistakes_of_every_kind_cost_no_slot() {
    let exchange = exchange(&[]);
    let broker = proxy(kite(&exchange));
    let id = OrderId::new("1");
    let order = || OrderRequest::market(share(0), Side::Buy, 1);
    let odd = OrderId::new("no/such/../id");
    let mistakes: [(&str, Result<(), BrokerError>); 6] = [
        ("a tag", broker.place_order(&order().tag("not a tag, by Kite's rules")).map(drop)),
        ("a variety", broker.place_order(&order().variety("a/b".into())).map(drop)),
        ("a field", broker.place_order(&order().extra("tag", "x")).map(drop)),
        ("a change", broker.modify_order(&id, &OrderChange::new().extra("tag", "x")).map(drop)),
        ("an id", broker.cancel_order(&odd)),
        ("an exchange", broker.instruments(Some(&"../orders".into())).map(drop)),
    ];
    for (what, result) in mistakes {
        let error = result.unwrap_err();
        assert!(error.failure().is_local(), "{what}: {error}");
    }
    assert_eq!(exchange.arrivals().len(), 0);
    let status = broker.status();
    let windows = status.lanes[TRANSACTIONAL].windows.iter().chain(&status.budgets[0].windows);
    assert!(windows.clone().all(|window| window.used == 0), "{status:?}");
    assert_eq!(status.lanes[TRANSACTIONAL].breaker, BreakerState::Closed);
}
