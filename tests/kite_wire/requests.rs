//! What each call sends.

use lanekeeper::broker::{
    Broker, BrokerError, BrokerTime, CandleRequest, Exchange, Instrument, Interval,
    MarketProtection, OrderCancel, OrderChange, OrderId, OrderRequest, OrderType, Product, Side,
    TimeInForce, Variety,
};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::ExposeSecret;
use rust_decimal::Decimal;

use crate::server::{Server, TOKEN, answer};

const PLACED: &str = r#"{"status":"success","data":{"order_id":"151220000000000"}}"#;
const NEXT_PLACED: &str = r#"{"status":"success","data":{"order_id":"151220000000001"}}"#;
const EMPTY: &str = r#"{"status":"success","data":[]}"#;

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn a_placement_is_a_form_under_its_variety() {
    let server = Server::ok(&[PLACED]);
    let order = OrderRequest::limit(Instrument::new("NSE", "M&M"), Side::Buy, 10, dec("1500.50"))
        .product(Product::Mis)
        .tag("alpha1")
        .extra("algo_id", "7");
    let id = server.kite().place_order(&order).unwrap();
    assert_eq!(id.as_str(), "151220000000000");

    let received = server.only();
    assert_eq!(received.line, "POST /orders/regular HTTP/1.1");
    assert_eq!(received.header("x-kite-version"), Some("3"));
    assert_eq!(received.header("authorization"), Some(format!("token key:{TOKEN}").as_str()));
    assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(received.header("content-length"), Some(received.body.len().to_string().as_str()));
    assert_eq!(received.header("transfer-encoding"), None);
    assert_eq!(received.header("expect"), None);
    assert_eq!(
        received.header("user-agent"),
        Some(concat!("lanekeeper/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(
        received.body,
        "exchange=NSE&tradingsymbol=M%26M&transaction_type=BUY&quantity=10&product=MIS\
         &order_type=LIMIT&validity=DAY&price=1500.5&tag=alpha1&algo_id=7"
    );
}

#[test]
fn the_variety_travels_in_the_id() {
    let server = Server::ok(&[PLACED, PLACED, PLACED, EMPTY, EMPTY]);
    let kite = server.builder().default_product(Product::Nrml).build().unwrap();
    let order = OrderRequest::stop_limit(infy(), Side::Sell, 1, dec("100"), dec("99.5"))
        .variety(Variety::Amo)
        .time_in_force(TimeInForce::Ioc);
    let id = kite.place_order(&order).unwrap();
    assert_eq!(id.as_str(), "amo/151220000000000");
    let change = OrderChange::new()
        .quantity(2)
        .price(dec("98.0"))
        .trigger_price(dec("99"))
        .order_type(OrderType::StopLimit);
    assert_eq!(kite.modify_order(&id, &change), Ok(id.clone()));
    kite.cancel_order(&id).unwrap();
    kite.order_history(&id).unwrap();
    kite.order_trades(&id).unwrap();

    let received = server.received();
    let lines: Vec<_> = received.iter().map(|received| received.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /orders/amo HTTP/1.1",
            "PUT /orders/amo/151220000000000 HTTP/1.1",
            "DELETE /orders/amo/151220000000000 HTTP/1.1",
            "GET /orders/151220000000000 HTTP/1.1",
            "GET /orders/151220000000000/trades HTTP/1.1",
        ]
    );
    assert_eq!(
        received[0].body,
        "exchange=NSE&tradingsymbol=INFY&transaction_type=SELL&quantity=1&product=NRML\
         &order_type=SL&validity=IOC&price=99.5&trigger_price=100"
    );
    assert_eq!(received[1].body, "quantity=2&price=98&trigger_price=99&order_type=SL");
    assert_eq!(received[2].header("content-length"), None);
}

#[test]
fn market_orders_go_with_a_protection_unless_that_is_switched_off() {
    let stop = OrderRequest::stop(infy(), Side::Sell, 1, dec("100"));
    let exit = OrderChange::new().order_type(OrderType::Market);
    let own = MarketProtection::percent(dec("3.5")).unwrap();
    for (default, expected) in
        [(Some(MarketProtection::AUTO), "-1"), (Some(own), "3.5"), (None, "none")]
    {
        let server = Server::ok(&[PLACED, NEXT_PLACED, PLACED]);
        let kite = server.builder().market_protection(default).build().unwrap();
        let id = kite.place_order(&OrderRequest::market(infy(), Side::Buy, 1)).unwrap();
        kite.place_order(&stop).unwrap();
        kite.modify_order(&id, &exit).unwrap();
        for received in server.received() {
            let sent = received.body.split_once("&market_protection=").map_or("none", |(_, it)| it);
            assert_eq!(sent, expected, "{}", received.body);
        }
    }
    // By default the broker chooses. What is set at the order takes precedence.
    let server = Server::ok(&[PLACED, NEXT_PLACED]);
    server.kite().place_order(&stop).unwrap();
    server.kite().place_order(&stop.market_protection(own)).unwrap();
    let received = server.received();
    assert!(received[0].body.ends_with("&market_protection=-1"), "{}", received[0].body);
    assert!(received[1].body.ends_with("&market_protection=3.5"), "{}", received[1].body);
}

#[test]
fn extra_fields_go_with_a_change_and_with_a_cancellation() {
    let server = Server::ok(&[PLACED, PLACED, PLACED]);
    let (kite, id) = (server.kite(), OrderId::new("co/151220000000000"));
    let change = OrderChange::new().trigger_price(dec("99")).extra("parent_order_id", "15122");
    kite.modify_order(&id, &change).unwrap();
    let cancel = OrderCancel::new().extra("parent_order_id", "15122");
    kite.cancel_order_with(&id, &cancel).unwrap();
    kite.cancel_order_with(&id, &OrderCancel::new()).unwrap();
    let received = server.received();
    assert_eq!(received[0].body, "trigger_price=99&parent_order_id=15122");
    assert_eq!(
        received[1].line,
        "DELETE /orders/co/151220000000000?parent_order_id=15122 HTTP/1.1"
    );
    assert_eq!(received[2].line, "DELETE /orders/co/151220000000000 HTTP/1.1");
}

#[test]
fn an_autosliced_order_goes_by_its_parent() {
    let server = Server::ok(&[r#"{"status":"success","data":{"order_id":"1","children":[
        {"order_id":"2"}]}}"#]);
    let order = OrderRequest::market(infy(), Side::Buy, 5000).autoslice(true).tag("t1");
    assert_eq!(server.kite().place_order(&order), Ok(OrderId::new("1")));
    let body = server.only().body;
    assert!(body.ends_with("&market_protection=-1&autoslice=true&tag=t1"), "{body}");
}

#[test]
fn reads_have_their_paths() {
    let object = r#"{"status":"success","data":{}}"#;
    let positions = r#"{"status":"success","data":{"net":[],"day":[]}}"#;
    let profile = r#"{"status":"success","data":{"user_id":"AB1234"}}"#;
    let server = Server::ok(&[EMPTY, EMPTY, positions, EMPTY, object, profile]);
    let kite = server.kite();
    kite.orders().unwrap();
    kite.trades().unwrap();
    kite.positions().unwrap();
    kite.holdings().unwrap();
    kite.margins().unwrap();
    assert_eq!(kite.profile().unwrap().user_id, "AB1234");
    let received = server.received();
    let lines: Vec<_> = received.iter().map(|received| received.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /orders HTTP/1.1",
            "GET /trades HTTP/1.1",
            "GET /portfolio/positions HTTP/1.1",
            "GET /portfolio/holdings HTTP/1.1",
            "GET /user/margins HTTP/1.1",
            "GET /user/profile HTTP/1.1",
        ]
    );
    assert!(received.iter().all(|received| received.header("accept-encoding") == Some("gzip")));
    assert!(received.iter().all(|received| received.header("content-type").is_none()));
}

#[test]
fn quotes_name_each_instrument() {
    let server = Server::ok(&[r#"{"status":"success","data":{}}"#]);
    let asked = [infy(), Instrument::new("NSE", "NIFTY 50"), Instrument::new("NSE", "M&M")];
    assert!(server.kite().quotes(&asked).unwrap().is_empty());
    assert_eq!(
        server.only().line,
        "GET /quote?i=NSE%3AINFY&i=NSE%3ANIFTY+50&i=NSE%3AM%26M HTTP/1.1"
    );
}

#[test]
fn candles_go_by_the_number_learned_before() {
    let quote =
        r#"{"status":"success","data":{"NSE:INFY":{"instrument_token":408065,"last_price":1}}}"#;
    let candles = r#"{"status":"success","data":{"candles":[]}}"#;
    let csv = "instrument_token,tradingsymbol,exchange\n738561,RELIANCE,NSE\n";
    let server = Server::new([
        crate::server::json(200, quote),
        crate::server::json(200, candles),
        answer(200, "text/csv", "", csv),
        crate::server::json(200, candles),
    ]);
    let kite = server.kite();
    let from = "2017-12-15T03:45:00Z".parse::<jiff::Timestamp>().unwrap();
    let from = from.to_zoned(jiff::tz::TimeZone::UTC);
    let of = |instrument: Instrument| {
        CandleRequest::new(instrument, Interval::FiveMinutes, from.clone(), from.clone())
    };

    let error = kite.candles(&of(infy())).unwrap_err();
    assert!(matches!(&error, BrokerError::NotSent(_)), "{error}");
    assert!(error.to_string().contains("`instruments` or `quotes` first"), "{error}");
    assert_eq!(server.received().len(), 0);

    kite.quotes(&[infy()]).unwrap();
    kite.candles(&of(infy()).continuous().open_interest()).unwrap();
    kite.instruments(Some(&Exchange::Bse)).unwrap();
    // A clone has the instrument tokens that the original learned.
    kite.clone().candles(&of(Instrument::new("NSE", "RELIANCE"))).unwrap();
    let received = server.received();
    assert_eq!(
        received[1].line,
        "GET /instruments/historical/408065/5minute?from=2017-12-15+09%3A15%3A00\
         &to=2017-12-15+09%3A15%3A00&continuous=1&oi=1 HTTP/1.1"
    );
    assert_eq!(received[2].line, "GET /instruments/BSE HTTP/1.1");
    assert!(received[3].line.starts_with("GET /instruments/historical/738561/5minute?"));
    assert!(received[3].line.contains("&continuous=0&oi=0"));
}

#[test]
fn a_time_without_a_zone_is_read_in_india_and_one_of_an_unknown_zone_is_not_sent() {
    let quote =
        r#"{"status":"success","data":{"NSE:INFY":{"instrument_token":408065,"last_price":1}}}"#;
    let candles = r#"{"status":"success","data":{"candles":[]}}"#;
    let server = Server::new([crate::server::json(200, quote), crate::server::json(200, candles)]);
    let kite = server.kite();
    kite.quotes(&[infy()]).unwrap();
    let civil = jiff::civil::date(2017, 12, 15).at(9, 15, 0, 0);
    // At the same time, in New York.
    let there = civil.in_tz("Asia/Kolkata").unwrap().in_tz("America/New_York").unwrap();
    kite.candles(&CandleRequest::new(infy(), Interval::FiveMinutes, civil, there)).unwrap();
    let times = "?from=2017-12-15+09%3A15%3A00&to=2017-12-15+09%3A15%3A00&";
    assert!(server.received()[1].line.contains(times), "{}", server.received()[1].line);

    let unknown = civil.to_zoned(jiff::tz::TimeZone::unknown()).unwrap();
    for (from, to) in [(civil.into(), unknown.clone().into()), (unknown.into(), civil.into())] {
        let request: (BrokerTime, BrokerTime) = (from, to);
        let request = CandleRequest::new(infy(), Interval::FiveMinutes, request.0, request.1);
        let error = kite.candles(&request).unwrap_err();
        let BrokerError::NotSent(detail) = &error else { panic!("{error}") };
        assert!(detail.local && detail.message.contains("09:15 would mean UTC"), "{error}");
    }
    assert_eq!(server.received().len(), 2, "it was not sent");
}

#[test]
fn a_login_proves_the_secret_without_sending_it() {
    let server = Server::ok(&[
        r#"{"status":"success","data":{"user_id":"AB1234","access_token":"fresh",
            "login_time":"2021-05-31 09:18:57"}}"#,
        r#"{"status":"success","data":true}"#,
    ]);
    let builder = Kite::builder().api_key("a").base_url(format!("http://{}/", server.address));
    let session = builder.login("b", "c").unwrap();
    assert_eq!(session.user_id, "AB1234");
    assert_eq!(session.access_token.expose_secret(), "fresh");
    let kite = builder.access_token(session.access_token).build().unwrap();
    kite.invalidate_session().unwrap();

    let received = server.received();
    assert_eq!(received[0].line, "POST /session/token HTTP/1.1");
    assert_eq!(received[0].header("authorization"), None);
    assert_eq!(
        received[0].body,
        "api_key=a&request_token=b&checksum=\
         ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(received[1].line, "DELETE /session/token?api_key=a&access_token=fresh HTTP/1.1");
    assert_eq!(received[1].header("authorization"), Some("token a:fresh"));
}

#[test]
fn what_is_refused_here_is_not_sent() {
    let server = Server::new([]);
    let kite = server.kite();
    let order = OrderRequest::market(infy(), Side::Buy, 1);
    let many: Vec<_> = (0..501).map(|n| Instrument::new("NSE", format!("S{n}"))).collect();
    let refusals = [
        kite.place_order(&order.clone().tag("not a tag")).unwrap_err(),
        kite.place_order(&order.clone().variety("../user".into())).unwrap_err(),
        kite.place_order(&OrderRequest::market(infy(), Side::Buy, dec("0.5"))).unwrap_err(),
        kite.place_order(&order.clone().extra("quantity", "1000")).unwrap_err(),
        kite.place_order(&order.clone().extra("market_protection", "0")).unwrap_err(),
        kite.place_order(&order.extra("autoslice", "true")).unwrap_err(),
        kite.modify_order(&OrderId::new("1"), &OrderChange::new().extra("price", "1")).unwrap_err(),
        kite.cancel_order_with(&OrderId::new("1"), &OrderCancel::new().extra("variety", "co"))
            .unwrap_err(),
        kite.modify_order(&OrderId::new("1"), &OrderChange::new()).unwrap_err(),
        kite.cancel_order(&OrderId::new("../../session/token")).unwrap_err(),
        kite.order_history(&OrderId::new("1?x")).unwrap_err(),
        kite.instruments(Some(&Exchange::from("NSE/.."))).unwrap_err(),
        kite.quotes(&many).unwrap_err(),
    ];
    for error in refusals {
        assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    }
    assert!(kite.quotes(&[]).unwrap().is_empty());
    assert_eq!((server.connections(), server.received().len()), (0, 0));
}
