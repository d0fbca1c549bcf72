//! Each trait has a proxy, in lanes of the names of `Broker`.

use lanekeeper::broker::{Broker, BrokerProxy, lanes};
use lanekeeper::brokers::kite::{
    GttId, GttLeg, GttRequest, KiteGtt, KiteGttProxy, KiteMargins, KiteMarginsProxy,
    KiteMutualFunds, KiteMutualFundsProxy, KitePortfolio, KitePortfolioProxy, KiteQuotes,
    KiteQuotesProxy,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::{BrokerError, HasLanes, Quota, RetryPolicy, Side};

use crate::server::{Reply, Server, json};
use crate::support::{infy, is_unknown, success};

/// Returns the names of the lanes of a proxy.
macro_rules! lanes_of {
    ($proxy:ident, $kite:expr) => {{
        let proxy = $proxy::builder($kite).build().unwrap();
        let lanes: Vec<String> =
            proxy.status().lanes.iter().map(|lane| lane.lane.to_string()).collect();
        lanes
    }};
}

#[test]
fn the_lanes_have_the_names_of_those_of_broker() {
    let kite = Server::new([]).kite();
    assert_eq!(lanes_of!(KiteGttProxy, kite.clone()), [lanes::TRANSACTIONAL]);
    assert_eq!(lanes_of!(KiteMarginsProxy, kite.clone()), [lanes::TRANSACTIONAL]);
    assert_eq!(lanes_of!(KitePortfolioProxy, kite.clone()), [lanes::TRANSACTIONAL]);
    assert_eq!(lanes_of!(KiteMutualFundsProxy, kite.clone()), [lanes::TRANSACTIONAL]);
    assert_eq!(lanes_of!(KiteQuotesProxy, kite), [lanes::QUOTE]);
}

#[test]
fn the_documented_limits_and_the_session_are_those_of_kite() {
    let kite = Server::new([]).kite();
    assert_eq!(kite.gtt_limits().of_lane(lanes::TRANSACTIONAL), Some(&Quota::per_second(10)));
    assert_eq!(kite.quote_limits().of_lane(lanes::QUOTE), Some(&Quota::per_second(1)));
    let limits = [kite.gtt_limits(), kite.margin_limits(), kite.portfolio_limits()];
    assert!(limits.into_iter().all(|limits| limits == kite.fund_limits()));
    let sessions = [
        kite.gtt_session(),
        kite.margin_session(),
        kite.portfolio_session(),
        kite.quote_session(),
        kite.fund_session(),
    ];
    assert!(sessions.iter().all(Option::is_some));
}

fn gtt() -> GttRequest {
    GttRequest::single(infy(), 2, GttLeg::new(Side::Buy, 1, 1, 1))
}

/// A proxy with retries, whose clock advances by itself.
fn proxy(server: &Server) -> KiteGttProxy<lanekeeper::Kite> {
    let clock = ManualClock::auto_advancing();
    KiteGttProxy::builder(server.kite())
        .clock(clock)
        .transactional(
            lanekeeper::LaneConfig::new(Quota::per_second(10)).retry(RetryPolicy::default()),
        )
        .build()
        .unwrap()
}

#[test]
fn a_lost_trigger_is_not_sent_again_and_a_read_is() {
    let empty = success("[]");
    let server = Server::new([Reply::Close, json(504, "{}"), json(504, "{}"), json(200, &empty)]);
    let gtts = proxy(&server);
    assert!(is_unknown(&gtts.place_gtt(&gtt()).unwrap_err()));
    assert!(is_unknown(&gtts.delete_gtt(GttId::new(1)).unwrap_err()));
    assert!(gtts.gtts().unwrap().is_empty());
    let lines: Vec<String> = server.received().into_iter().map(|one| one.line).collect();
    assert_eq!(
        lines,
        [
            "POST /gtt/triggers HTTP/1.1",
            "DELETE /gtt/triggers/1 HTTP/1.1",
            "GET /gtt/triggers HTTP/1.1",
            "GET /gtt/triggers HTTP/1.1",
        ]
    );
}

#[test]
fn a_deletion_is_urgent_and_a_computation_is_a_read() {
    let server = Server::new([json(504, "{}"), json(200, &success("[]"))]);
    let clock = ManualClock::auto_advancing();
    let margins = KiteMarginsProxy::builder(server.kite()).clock(clock).build().unwrap();
    let order = lanekeeper::OrderRequest::market(infy(), Side::Buy, 1);
    // It goes by POST, and is repeated: it changes nothing.
    assert!(margins.order_margins(&[order]).unwrap().is_empty());
    assert_eq!(server.received().len(), 2);

    let server = Server::ok(&[&success(r#"{"trigger_id":1}"#)]);
    let gtts = proxy(&server);
    gtts.transactional_lane().pause();
    let waits = gtts.submit().place_gtt(&gtt());
    let exit = gtts.submit().delete_gtt(GttId::new(1));
    assert_eq!(exit.position(), Some(0), "before the placement that was called first");
    assert!(waits.cancel());
    gtts.transactional_lane().resume();
    assert_eq!(exit.wait(), Ok(()));
}

#[test]
fn a_local_error_is_returned_through_the_proxy() {
    let server = Server::new([]);
    let clock = ManualClock::auto_advancing();
    let quotes = KiteQuotesProxy::builder(server.kite()).clock(clock.clone()).build().unwrap();
    assert!(matches!(quotes.last_prices(&[]), Err(BrokerError::NotSent(detail)) if detail.local));
    let portfolio = KitePortfolioProxy::builder(server.kite()).clock(clock).build().unwrap();
    let none = portfolio.trigger_ranges(Side::Buy, &[]);
    assert!(matches!(none, Err(BrokerError::NotSent(detail)) if detail.local));
    assert_eq!(server.connections(), 0);
}

/// Returns how many slots of each lane are in use, by name.
fn used(of: &impl HasLanes) -> Vec<(&'static str, u32)> {
    let status = of.lanes().status();
    status.lanes.iter().map(|lane| (lane.lane, lane.windows[0].used)).collect()
}

#[test]
fn the_calls_count_in_the_lanes_of_a_broker() {
    let empty = success("[]");
    let prices = success(r#"{"NSE:INFY":{"last_price":1}}"#);
    let placed = success(r#"{"trigger_id":1}"#);
    let server = Server::ok(&[&empty, &placed, &empty, &empty, &empty, &prices]);
    let kite = server.kite();
    let clock = ManualClock::auto_advancing();
    let broker = BrokerProxy::builder(kite.clone()).clock(clock).build().unwrap();
    let gtts = KiteGttProxy::builder(kite.clone()).lanes_of(&broker).build().unwrap();
    let margins = KiteMarginsProxy::builder(kite.clone()).lanes_of(&broker).build().unwrap();
    let portfolio = KitePortfolioProxy::builder(kite.clone()).lanes_of(&broker).build().unwrap();
    let funds = KiteMutualFundsProxy::builder(kite.clone()).lanes_of(&broker).build().unwrap();
    let quotes = KiteQuotesProxy::builder(kite).lanes_of(&broker).build().unwrap();
    broker.orders().unwrap();
    gtts.place_gtt(&gtt()).unwrap();
    margins.order_margins(&[lanekeeper::OrderRequest::market(infy(), Side::Buy, 1)]).unwrap();
    portfolio.auction_holdings().unwrap();
    funds.fund_orders().unwrap();
    quotes.last_prices(&[infy()]).unwrap();
    assert_eq!(used(&broker), [("transactional", 5), ("quote", 1), ("historical", 0)]);
    assert!(broker.status().budgets.iter().all(|budget| budget.windows[0].used == 0));
}
