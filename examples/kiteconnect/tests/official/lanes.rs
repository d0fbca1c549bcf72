//! What the lanes add to the client: the quota, and an answer for every order.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use kiteconnect_adapter::{Blocking, OfficialKite, OrderMargins, OrderMarginsProxy};
use lanekeeper::quota::PriorUsage;
use lanekeeper::{Broker, BrokerProxy, CallOptions, LaneCall, Stack};
use lanekeeper_simulator::{Fault, SimulatedExchange, Target, Timing};

use crate::{blocking, buy, first, unlimited, yes_bank};

const THREADS: usize = 8;
const ROUNDS: usize = 5;

fn strict() -> SimulatedExchange {
    let builder = SimulatedExchange::builder().latency(Duration::from_millis(3));
    builder.jitter(Duration::from_millis(2)).start().unwrap()
}

fn stack(kite: Blocking<OfficialKite>) -> Stack<Blocking<OfficialKite>> {
    BrokerProxy::builder(kite)
        .prior_usage(PriorUsage::None)
        .quote_ttl(Duration::from_secs(1))
        .order_guard(|guard| guard.settle_time(Duration::from_secs(1)))
        .build()
        .unwrap()
}

#[test]
fn no_call_of_many_threads_is_refused_and_every_order_is_placed_once() {
    let exchange = strict();
    let broker = stack(blocking(&exchange.base_url()));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let broker = &broker;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    broker.ltp(&yes_bank()).unwrap();
                    broker.place_order(&buy(&format!("t{thread}r{round}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(exchange.refused(), 0);
    let orders = exchange.orders();
    let ids: HashSet<_> = orders.iter().map(|order| &order.id).collect();
    let tags: HashSet<_> = orders.iter().map(|order| &order.tag).collect();
    assert_eq!((orders.len(), ids.len(), tags.len()), (40, 40, 40));
}

/// Shows that the exchange above is strict.
#[test]
fn the_bare_client_is_refused() {
    let exchange = strict();
    let kite = blocking(&exchange.base_url());
    let refused = thread::scope(|scope| {
        let order = |thread: usize| kite.place_order(&buy(&format!("t{thread}")));
        let threads: Vec<_> = (0..40).map(|thread| scope.spawn(move || order(thread))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.filter(Result::is_err).count()
    });
    assert!(refused > 0 && exchange.refused() == refused as u64, "{refused}");
}

#[test]
fn an_order_whose_answer_is_lost_is_found_by_the_guard() {
    for fault in [Fault::Reset(Timing::After), Fault::Truncated, Fault::Malformed] {
        let exchange = unlimited();
        exchange.set_faults(&first(Target::Place, fault)).unwrap();
        let id = stack(blocking(&exchange.base_url())).place_order(&buy("alpha1")).unwrap();
        let orders = exchange.orders();
        assert_eq!((orders.len(), &orders[0].id), (1, &id), "{fault}");
    }
}

#[test]
fn endpoints_that_the_trait_lacks_use_the_same_lanes() {
    let exchange = unlimited();
    let kite = blocking(&exchange.base_url());
    let broker = stack(kite.clone());
    let calculator = OrderMarginsProxy::builder(kite.broker().clone()).lanes_of(&broker);
    let calculator = calculator.build().unwrap();
    let used = || broker.status().lanes[0].windows[0].used;

    let margins = kite.wait(calculator.order_margins(&[buy("a"), buy("b")])).unwrap();
    assert!(margins.len() == 2 && margins[0] > 0.into(), "{margins:?}");
    assert_eq!(used(), 1);

    let call = LaneCall::read("transactional").name("gtts");
    let triggers = broker.lanes().submit(&call, &CallOptions::new(), move || {
        kite.wait(kite.broker().read(kite.broker().client().gtts()))
    });
    assert_eq!(triggers.wait().unwrap().len(), 0);
    assert_eq!(used(), 2);
}
