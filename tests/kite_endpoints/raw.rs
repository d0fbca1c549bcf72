//! Raw requests: what is sent, what is refused, how they are paced, and that the route table says the same as the
//! traits.

use std::sync::{Arc, Mutex};

use lanekeeper::broker::{
    Broker, BrokerProxy, OrderCancel, OrderChange, OrderId, OrderRequest, Product,
};
use lanekeeper::brokers::kite::{
    BasketOptions, ChargedOrder, FundOrderId, FundOrderRequest, GttId, GttLeg, GttRequest,
    HoldingsAuthorisation, KiteGtt, KiteGttProxy, KiteMargins, KiteMarginsProxy, KiteMutualFunds,
    KiteMutualFundsProxy, KitePortfolio, KitePortfolioProxy, KiteQuotes, KiteQuotesProxy, KiteRaw,
    KiteRawProxy, MarginSegment, PositionConversion, RawRequest, SipChange, SipFrequency, SipId,
    SipRequest, routes,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallInfo, Observer};
use lanekeeper::{BrokerError, CallOptions, Effect, HasLanes, Kite, LaneConfig, Quota, Side};

use crate::server::{Reply, Server, TOKEN, answer, json};
use crate::support::{
    UNUSABLE, call, check_answer, infy, is_malformed, is_unknown, refused, success,
};

#[test]
fn a_request_is_sent_as_it_is_written() {
    let request = RawRequest::get("/alerts").query("status", "a&b").query("page", "1");
    let (received, data) = call("[1,2]", |kite| kite.request(&request)?.data::<Vec<u8>>());
    assert_eq!(received.line, "GET /alerts?status=a%26b&page=1 HTTP/1.1");
    assert_eq!(received.header("x-kite-version"), Some("3"));
    assert!(received.header("authorization").unwrap().contains(TOKEN));
    assert_eq!(data, Ok(vec![1, 2]));

    let request = RawRequest::post("/alerts").form("name", "über 1 %").form("type", "simple");
    let (received, _) = call("{}", |kite| kite.request(&request));
    assert_eq!(received.body, "name=%C3%BCber+1+%25&type=simple");
    assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));

    let request = RawRequest::new("PATCH", "/alerts/1").json(r#"{"name":"x"}"#);
    let (received, _) = call("{}", |kite| kite.request(&request));
    assert_eq!(
        (received.body.as_str(), received.line.as_str()),
        (r#"{"name":"x"}"#, "PATCH /alerts/1 HTTP/1.1")
    );
    assert_eq!(received.header("content-type"), Some("application/json"));

    let (received, _) = call("{}", |kite| kite.request(&RawRequest::put("/alerts/1")));
    assert_eq!((received.header("content-length"), received.body.as_str()), (Some("0"), ""));
    let request = RawRequest::delete("/alerts").query("uuid", "1");
    let (received, _) = call("{}", |kite| kite.request(&request));
    assert_eq!(received.line, "DELETE /alerts?uuid=1 HTTP/1.1");
}

#[test]
fn what_a_server_could_read_as_another_request_is_not_sent() {
    for path in
        ["alerts", "/quote/../orders/regular", "//orders", "/orders/", "/%6Frders", "/a?b=c"]
    {
        refused("path", |kite| kite.request(&RawRequest::post(path)));
    }
    refused("capital letters", |kite| kite.request(&RawRequest::new("post", "/alerts")));
    refused("CONNECT", |kite| kite.request(&RawRequest::new("CONNECT", "/alerts")));
    refused("no body", |kite| kite.request(&RawRequest::get("/alerts").form("a", "b")));
    refused("no body", |kite| kite.request(&RawRequest::delete("/alerts").json("{}")));
}

/// Kite's documentation writes the tokens of a logout into the query.
#[test]
fn no_text_of_a_request_shows_a_secret() {
    let request = RawRequest::delete("/session/token?api_key=k&access_token=hunter2");
    let server = Server::new([]);
    let error = server.kite().request(&request).unwrap_err();
    let shown = format!("{error} {error:?} {request:?}");
    assert!(shown.contains("/session/token") && !shown.contains("hunter2"), "{shown}");

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Wrong {
        access_token: u8,
    }
    let request = RawRequest::post("/session/token").form("request_token", "r");
    let (_, wrong) =
        call(r#"{"access_token":"hunter2"}"#, |kite| kite.request(&request)?.data::<Wrong>());
    let error = wrong.unwrap_err();
    assert!(is_unknown(&error), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn an_unusable_answer_leaves_a_write_open() {
    for body in UNUSABLE.into_iter().filter(|body| !body.contains("data")) {
        let success_without_data = body.contains("success");
        let write = RawRequest::post("/alerts");
        if !success_without_data {
            check_answer(body, |kite| kite.request(&write), is_unknown);
            check_answer(body, |kite| kite.request(&RawRequest::get("/alerts")), is_malformed);
        }
        check_answer(body, |kite| kite.request(&write)?.data::<u8>(), is_unknown);
    }
    check_answer("<html>", |kite| kite.request(&RawRequest::get("/instruments")), is_malformed);
}

#[test]
fn a_listing_has_no_envelope() {
    let csv = "instrument_token,tradingsymbol\n1,INFY\n";
    let server = Server::new([answer(200, "text/csv", "", csv)]);
    let listing = server.kite().request(&RawRequest::get("/instruments/NSE")).unwrap();
    assert_eq!(listing.body, csv.as_bytes());
}

#[test]
fn the_answer_to_an_order_has_to_name_that_order() {
    let answers = |request: RawRequest, id: &str| {
        let server = Server::ok(&[
            &success(
                r#"[{"order_id":"7","exchange":"NSE","tradingsymbol":"INFY","transaction_type":"BUY","status":"OPEN","quantity":1}]"#,
            ),
            &success(&format!(r#"{{"order_id":"{id}"}}"#)),
        ]);
        let kite = server.kite();
        assert_eq!(kite.orders().unwrap().len(), 1);
        kite.request(&request).map(drop)
    };
    let place = || RawRequest::post("/orders/regular").form("quantity", "1");
    assert_eq!(answers(place(), "8"), Ok(()));
    assert!(is_unknown(&answers(place(), "7").unwrap_err()), "it is another order's");
    let cancel = || RawRequest::delete("/orders/regular/7");
    assert_eq!(answers(cancel(), "7"), Ok(()));
    assert!(is_unknown(&answers(cancel(), "8").unwrap_err()));
    // An order that was placed by a raw request is known from then on.
    let server = Server::ok(&[&success(r#"{"order_id":"9"}"#), &success(r#"{"order_id":"9"}"#)]);
    let kite = server.kite();
    kite.request(&place()).unwrap();
    let market = OrderRequest::market(infy(), Side::Buy, 1);
    assert!(is_unknown(&kite.place_order(&market).unwrap_err()));
}

#[test]
fn no_secret_is_shown() {
    let request =
        RawRequest::post("/session/token").form("request_token", "hunter2").query("k", "hunter3");
    assert!(!format!("{request:?} {:?}", request.clone().json("hunter4")).contains("hunter"));
    let (_, answer) = call(r#"{"access_token":"hunter5"}"#, |kite| kite.request(&request));
    assert!(!format!("{answer:?}").contains("hunter"));
    let server = Server::new([json(200, r#"{"access_token":"hunter6"}"#)]);
    let error = server.kite().request(&request).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
}

/// What the lanes were told of each call.
#[derive(Default)]
struct Submitted(Mutex<Vec<String>>);

impl Observer for Submitted {
    fn submitted(&self, call: &CallInfo<'_>) {
        let CallInfo { lane, effect, route, priority, .. } = call;
        self.0.lock().unwrap().push(format!("{lane} {effect:?} {route} {priority}"));
    }
}

/// All doors to one set of lanes.
struct Doors {
    server: Server,
    submitted: Arc<Submitted>,
    broker: BrokerProxy<Kite>,
    raw: KiteRawProxy<Kite>,
}

impl Doors {
    fn new(server: Server) -> Self {
        let submitted = Arc::new(Submitted::default());
        let ample = || LaneConfig::new(Quota::per_second(1_000));
        let broker = BrokerProxy::builder(server.kite())
            .transactional(ample())
            .quote(ample())
            .orders(Quota::per_day(1_000))
            .clock(ManualClock::auto_advancing())
            .observer(submitted.clone())
            .build()
            .unwrap();
        let raw = KiteRawProxy::new(server.kite(), &broker).unwrap();
        Self { server, submitted, broker, raw }
    }

    fn orders_used(&self) -> u32 {
        self.broker.status().budgets[0].windows[0].used
    }

    /// Makes a call of a trait and then the same request as a raw one, and checks that the lanes were told the same.
    fn compare(&self, call: &dyn Fn()) -> String {
        let (before, used) = (self.submitted.0.lock().unwrap().len(), self.orders_used());
        call();
        let by_trait = self.submitted.0.lock().unwrap()[before..].to_vec();
        let (charged, line) =
            (self.orders_used() - used, self.server.received().pop().unwrap().line);
        assert_eq!(by_trait.len(), 1, "{line}");
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.split('?').next().unwrap();
        let used = self.orders_used();
        let _ = self.raw.request(&RawRequest::new(method, path));
        let raw = self.submitted.0.lock().unwrap()[before + 1..].to_vec();
        assert_eq!(raw, by_trait, "{line}");
        assert_eq!(self.orders_used() - used, charged, "{line}");
        format!("{method} {path}")
    }
}

#[test]
fn the_route_table_says_of_a_request_what_the_traits_say_of_the_method() {
    // An answer that is a success and cannot be used, so that nothing is repeated.
    let doors = Doors::new(Server::answering(|_| json(200, &success(r#""soon""#))));
    let broker = &doors.broker;
    let kite = || doors.server.kite();
    let gtts = KiteGttProxy::builder(kite()).lanes_of(broker).build().unwrap();
    let margins = KiteMarginsProxy::builder(kite()).lanes_of(broker).build().unwrap();
    let portfolio = KitePortfolioProxy::builder(kite()).lanes_of(broker).build().unwrap();
    let quotes = KiteQuotesProxy::builder(kite()).lanes_of(broker).build().unwrap();
    let funds = KiteMutualFundsProxy::builder(kite()).lanes_of(broker).build().unwrap();
    let (id, order) = (OrderId::new("7"), OrderRequest::market(infy(), Side::Buy, 1));
    let gtt = GttRequest::single(infy(), 2, GttLeg::new(Side::Buy, 1, 1, 1));
    let charged = ChargedOrder::new(id.clone(), infy(), Side::Buy, 1, 1);
    let conversion = PositionConversion::new(infy(), Side::Buy, 1, Product::Mis, Product::Cnc);
    let (fund_order, sip_id) = (FundOrderId::new("a-1"), SipId::new("1"));
    let sip = SipRequest::new("INF1", 1_000, SipFrequency::Monthly);
    let calls: [&dyn Fn(); 40] = [
        &|| drop(broker.place_order(&order)),
        &|| drop(broker.place_sliced(&order)),
        &|| drop(broker.modify_order(&id, &OrderChange::new().price(1))),
        &|| drop(broker.cancel_order(&id)),
        &|| drop(broker.cancel_order_with(&id, &OrderCancel::new().extra("a", "b"))),
        &|| drop(broker.order_history(&id)),
        &|| drop(broker.orders()),
        &|| drop(broker.trades()),
        &|| drop(broker.order_trades(&id)),
        &|| drop(broker.positions()),
        &|| drop(broker.holdings()),
        &|| drop(broker.margins()),
        &|| drop(broker.profile()),
        &|| drop(broker.instruments(None)),
        &|| drop(broker.instruments(Some(&"NSE".into()))),
        &|| drop(broker.quotes(&[infy()])),
        &|| drop(gtts.place_gtt(&gtt)),
        &|| drop(gtts.modify_gtt(GttId::new(1), &gtt)),
        &|| drop(gtts.delete_gtt(GttId::new(1))),
        &|| drop(gtts.gtt(GttId::new(1))),
        &|| drop(gtts.gtts()),
        &|| drop(margins.order_margins(std::slice::from_ref(&order))),
        &|| drop(margins.basket_margins(std::slice::from_ref(&order), BasketOptions::new())),
        &|| drop(margins.order_charges(std::slice::from_ref(&charged))),
        &|| drop(margins.segment_margins(&MarginSegment::Equity)),
        &|| drop(portfolio.convert_position(&conversion)),
        &|| drop(portfolio.auction_holdings()),
        &|| drop(portfolio.authorise_holdings(&HoldingsAuthorisation::new())),
        &|| drop(portfolio.trigger_ranges(Side::Buy, &[infy()])),
        &|| drop(quotes.last_prices(&[infy()])),
        &|| drop(quotes.day_prices(&[infy()])),
        &|| drop(funds.place_fund_order(&FundOrderRequest::buy("INF1", 1_000))),
        &|| drop(funds.cancel_fund_order(&fund_order)),
        &|| drop(funds.fund_order(&fund_order)),
        &|| drop(funds.place_sip(&sip)),
        &|| drop(funds.modify_sip(&sip_id, &SipChange::new().amount(1_000))),
        &|| drop(funds.cancel_sip(&sip_id)),
        &|| drop(funds.sips()),
        &|| drop(funds.fund_holdings()),
        &|| drop(funds.fund_instruments()),
    ];
    let mut seen: Vec<_> = calls.iter().map(|call| doors.compare(*call)).collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() >= 36, "{seen:?}");
    // The number of an instrument has to be known for candles.
    let table = routes();
    let candles = table.find("GET", "/instruments/historical/408065/day").unwrap();
    assert_eq!((candles.lane_name(), candles.effect()), ("historical", Effect::Read));
}

#[test]
fn a_raw_write_is_sent_once_and_a_raw_read_again() {
    let lost = || json(504, "{}");
    let server = Server::new([Reply::Close, lost(), lost(), json(200, &success("[]"))]);
    let doors = Doors::new(server);
    assert!(is_unknown(&doors.raw.request(&RawRequest::post("/alerts")).unwrap_err()));
    assert!(is_unknown(&doors.raw.request(&RawRequest::post("/orders/regular")).unwrap_err()));
    assert!(doors.raw.request(&RawRequest::get("/alerts")).is_ok());
    assert_eq!(doors.server.received().len(), 4);
}

#[test]
fn a_raw_request_has_the_options_of_its_handle_and_ends_with_its_broker() {
    let doors = Doors::new(Server::answering(|_| json(200, &success("{}"))));
    let lane = doors.raw.lanes().lane("transactional").unwrap();
    lane.pause();
    let by_alpha = doors.raw.with(CallOptions::new().user("alpha"));
    let waits = by_alpha.submit(&RawRequest::post("/alerts")).unwrap();
    let exit = by_alpha.submit(&RawRequest::delete("/orders/regular/7")).unwrap();
    let status = lane.status();
    assert_eq!(status.queued_by_user["alpha"], 2);
    assert_eq!(exit.position(), Some(0));
    doors.broker.shutdown(lanekeeper::lane::Shutdown::Now);
    for ticket in [waits, exit] {
        assert!(matches!(ticket.wait(), Err(BrokerError::NotSent(_))));
    }
    assert!(matches!(doors.raw.request(&RawRequest::get("/alerts")), Err(BrokerError::NotSent(_))));
}
