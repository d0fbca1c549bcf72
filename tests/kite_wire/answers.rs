//! The results of good responses, as Kite sends them.

use std::sync::{Arc, Barrier};

use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderStatus, OrderType, Product, Variety,
};
use lanekeeper::quota::Quota;

use crate::server::{Reply, Server, answer, json};

fn text(number: rust_decimal::Decimal) -> String {
    number.to_string()
}

#[test]
fn an_order_book() {
    let server = Server::ok(&[include_str!("../data/kite/orders.json")]);
    let orders = server.kite().orders().unwrap();
    let ids: Vec<_> = orders.iter().map(|order| order.id.as_str()).collect();
    assert_eq!(ids, ["100000000000000", "amo/700000000000000", "1512200000000001234"]);
    let [filled, amo, odd] = &orders[..] else { panic!("three orders") };

    assert_eq!(filled.status, OrderStatus::Filled);
    assert_eq!(filled.tag.as_deref(), Some("alpha1"));
    assert_eq!(text(filled.average_price.unwrap()), "1470.05000000002");
    assert_eq!(filled.exchange_order_id.as_deref(), Some("1300000001887410"));
    assert_eq!(filled.placed_at.as_ref().unwrap().to_string(), "2021-05-31T09:16:39+05:30[+05:30]");
    assert_eq!(filled.updated_at.as_ref().unwrap().strftime("%H:%M:%S").to_string(), "09:16:40");

    assert_eq!((&amo.status, &amo.variety), (&OrderStatus::Cancelled, &Variety::Amo));
    assert_eq!(amo.order_type, OrderType::Stop);
    assert_eq!(amo.trigger_price, Some(1400.into()));
    assert_eq!(amo.status_message.as_deref(), Some("Cancelled by the user"));

    assert_eq!(odd.status, OrderStatus::Other("MODIFY VALIDATION PENDING".into()));
    assert_eq!(odd.product, Some(Product::Other("BO".into())));
    assert_eq!(odd.pending_quantity(), 70.into());
}

#[test]
fn positions_and_holdings() {
    let server = Server::ok(&[
        include_str!("../data/kite/positions.json"),
        include_str!("../data/kite/holdings.json"),
    ]);
    let kite = server.kite();
    let positions = kite.positions().unwrap();
    assert_eq!((positions.net.len(), positions.day.len()), (1, 0));
    let short = &positions.net[0];
    assert_eq!(short.quantity, (-75).into());
    assert_eq!(text(short.pnl.unwrap()), "-99725.05000000002");
    assert_eq!(short.product, Some(Product::Nrml));

    let holdings = kite.holdings().unwrap();
    assert_eq!(holdings[0].isin.as_deref(), Some("INE009A01021"));
    assert_eq!((holdings[0].quantity, holdings[0].unsettled_quantity), (10.into(), 2.into()));
}

#[test]
fn quotes_of_a_share_and_an_index() {
    let server = Server::ok(&[include_str!("../data/kite/quote.json")]);
    let infy = Instrument::new("NSE", "INFY");
    let nifty = Instrument::new("NSE", "NIFTY 50");
    let unknown = Instrument::new("NSE", "NOSUCH");
    let quotes = server.kite().quotes(&[infy.clone(), nifty.clone(), unknown.clone()]).unwrap();
    assert_eq!(quotes.len(), 2);
    assert!(!quotes.contains_key(&unknown));
    let quote = &quotes[&infy];
    assert_eq!(text(quote.last_price), "1412.95");
    assert_eq!(quote.depth.as_ref().unwrap().asks[0].orders, 25);
    assert_eq!(quote.token.as_deref(), Some("408065"));
    assert_eq!(quotes[&nifty].depth, None);
    assert_eq!(text(quotes[&nifty].ohlc.unwrap().close), "15751.65");
}

#[test]
fn a_missing_quote_is_no_quote() {
    let server = Server::ok(&[r#"{"status":"success","data":{}}"#]);
    let infy = Instrument::new("NSE", "INFY");
    assert_eq!(server.kite().ltp(&infy), Err(BrokerError::NoQuote { instrument: infy }));
}

fn packed() -> Reply {
    let body = include_bytes!("../data/kite/instruments.csv.gz").to_vec();
    answer(200, "text/csv", "Content-Encoding: gzip\r\n", body)
}

#[test]
fn the_listing_may_be_packed() {
    let plain = include_str!("../data/kite/instruments.csv");
    let server = Server::new([answer(200, "text/csv", "", plain), packed()]);
    let kite = server.kite();
    let listed = kite.instruments(None).unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[1].instrument.as_str(), "NSE:M&M");
    assert_eq!(listed[2].expiry.unwrap().to_string(), "2021-06-24");
    assert_eq!(kite.instruments(None).unwrap(), listed);
}

#[test]
fn connections_are_kept() {
    let empty = r#"{"status":"success","data":[]}"#;
    let placed = r#"{"status":"success","data":{"order_id":"1"}}"#;
    let refused = r#"{"status":"error","message":"no","error_type":"InputException"}"#;
    let server =
        Server::new([json(200, empty), json(200, placed), json(400, refused), json(200, empty)]);
    let kite = server.kite();
    kite.orders().unwrap();
    kite.cancel_order(&lanekeeper::broker::OrderId::new("1")).unwrap();
    kite.orders().unwrap_err();
    kite.clone().trades().unwrap();
    assert_eq!((server.received().len(), server.connections()), (4, 1));
}

#[test]
fn a_burst_keeps_its_connections_for_the_next() {
    const CALLS: usize = 12;
    let empty = r#"{"status":"success","data":[]}"#;
    let bursts = [Arc::new(Barrier::new(CALLS)), Arc::new(Barrier::new(CALLS))];
    let script = bursts.iter().flat_map(|barrier| vec![Arc::clone(barrier); CALLS]);
    let server = Server::new(script.map(|barrier| Reply::Together(barrier, empty)));
    let kite = server.kite();
    for _ in bursts {
        std::thread::scope(|scope| {
            for _ in 0..CALLS {
                scope.spawn(|| kite.orders().unwrap());
            }
        });
    }
    assert_eq!((server.received().len(), server.connections()), (2 * CALLS, CALLS));
}

#[test]
fn the_documented_limits_are_reported() {
    let kite = Server::new([]).kite();
    let limits = kite.documented_limits();
    assert_eq!(limits.of_lane("transactional"), Some(&Quota::per_second(10)));
    assert_eq!(limits.of_lane("quote"), Some(&Quota::per_second(1)));
    assert_eq!(limits.of_lane("historical"), Some(&Quota::per_second(3)));
    assert_eq!((kite.quote_batch_limit().count, kite.quote_batch_limit().overhead), (500, 3));
}
