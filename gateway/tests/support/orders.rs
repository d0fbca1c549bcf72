//! Orders over the gateway: forms, answers, and the exchange's own ledger.

use std::collections::HashMap;
use std::time::Duration;

use lanekeeper::LaneConfig;
use lanekeeper::broker::lanes;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
use lanekeeper_simulator::{Faults, PlacedOrder, Rule, SimulatedExchange};

use super::{Answer, Client, kite};

/// The header line of a client.
pub fn by(client: &str) -> String {
    format!("authorization: token {client}:secret\r\n")
}

/// Returns the form of an order that rests far from the market. Its quantity names it.
pub fn form(quantity: u64) -> String {
    format!(
        "exchange=NSE&tradingsymbol=YESBANK&transaction_type=BUY&order_type=LIMIT&quantity={quantity}&price=1\
         &product=CNC&validity=DAY"
    )
}

/// Returns the same with a tag.
pub fn tagged(quantity: u64, tag: &str) -> String {
    format!("{}&tag={tag}", form(quantity))
}

/// Places an order of the client `alpha` over a connection of its own.
pub fn place(gateway: &Gateway, form: &str) -> Answer {
    place_with(gateway, &by("alpha"), form)
}

/// Places an order with these header lines over a connection of its own.
pub fn place_with(gateway: &Gateway, lines: &str, form: &str) -> Answer {
    Client::connect(gateway.address()).request_with("POST", "/orders/regular", lines, form)
}

/// Returns the id in the answer to a write that succeeded.
pub fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"]["order_id"].as_str().unwrap().to_owned()
}

/// Returns the header that says whether a call was sent.
pub fn sent(answer: &Answer) -> &str {
    answer.header("x-lanekeeper-sent").unwrap()
}

/// Returns whether the answer is that of an earlier placement.
pub fn is_repeated(answer: &Answer) -> bool {
    answer.header("x-lanekeeper-repeated") == Some("yes")
}

/// Returns rules of faults.
pub fn faults(seed: u64, rules: &[&str]) -> Faults {
    let rules = rules.iter().map(|rule| rule.parse::<Rule>().unwrap());
    rules.fold(Faults::new().seed(seed), Faults::rule)
}

/// Starts an exchange without limits and with these faults, at which orders may rest far from the market.
pub fn open_exchange(rules: &[&str]) -> SimulatedExchange {
    let open = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100_000)));
    let exchange = SimulatedExchange::builder().limits(open).circuit_limits(false);
    exchange.faults(faults(1, rules)).start().unwrap()
}

/// Returns the settings of a gateway without limits.
pub fn open_gateway(exchange: &SimulatedExchange) -> GatewayConfig {
    let mut config = kite(&exchange.base_url());
    account(&mut config).lanes = vec![(lanes::TRANSACTIONAL.to_owned(), open_lane())];
    account(&mut config).budgets = vec![(lanes::ORDERS.to_owned(), Quota::unlimited().into())];
    config
}

/// Returns a lane without a limit, a breaker or a cut of its rate.
pub fn open_lane() -> LaneConfig {
    LaneConfig::new(Quota::per_second(50_000))
        .in_flight(64)
        .queue(8192)
        .retry(RetryPolicy::default().base_delay(Duration::from_millis(5)).budget_percent(100))
        .breaker(BreakerPolicy::disabled())
        .throttle(
            ThrottlePolicy::default().default_pause(Duration::from_millis(5)).keep_percent(100),
        )
}

/// Returns the only account of a configuration.
pub fn account(config: &mut GatewayConfig) -> &mut AccountConfig {
    config.accounts.get_mut("main").unwrap()
}

/// Waits until something holds. Fails if it never does.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came that {what}");
}

/// Waits until so many placements have arrived at the exchange.
pub fn wait_for_placements(exchange: &SimulatedExchange, count: usize) {
    let arrived = || placements(exchange);
    wait_until(&format!("{count} placements arrive"), || arrived() >= count);
}

/// Returns how many placements arrived at the exchange.
pub fn placements(exchange: &SimulatedExchange) -> usize {
    let arrivals = exchange.arrivals();
    arrivals.iter().filter(|it| it.method == "POST" && it.path.starts_with("/orders/")).count()
}

/// Returns the orders of the ledger by their quantities. No quantity is there twice.
pub fn ledger(exchange: &SimulatedExchange) -> HashMap<u64, PlacedOrder> {
    let mut ledger = HashMap::new();
    for order in exchange.orders() {
        let quantity = order.quantity.to_string().parse().unwrap();
        if let Some(first) = ledger.insert(quantity, order.clone()) {
            panic!("an order was placed twice: {first:?} and {order:?}");
        }
    }
    ledger
}

/// Returns the ids in the ledger, in their order.
pub fn ids(exchange: &SimulatedExchange) -> Vec<String> {
    exchange.orders().iter().map(|order| order.id.to_string()).collect()
}

/// Returns the status of the lane `transactional`.
pub fn lane_status(gateway: &Gateway) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&gateway.status_json()).unwrap();
    let lanes = status["accounts"][0]["lanes"].as_array().unwrap();
    lanes.iter().find(|lane| lane["lane"] == lanes::TRANSACTIONAL).unwrap().clone()
}
