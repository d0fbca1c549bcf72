//! The official client decodes the same as the adapter that lanekeeper has.

use kiteconnect_adapter::{Blocking, OfficialKite};
use lanekeeper::broker::{
    BrokerError, BrokerTime, CandleRequest, Interval, OrderChange, OrderRequest, Side, Variety,
};
use lanekeeper::quota::PriorUsage;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{Broker, BrokerProxy, Instrument, Kite};
use lanekeeper_simulator::SimulatedExchange;

use crate::transport::{response, server};
use crate::{blocking, buy, unlimited, yes_bank};

/// Returns an exchange with two orders, and both adapters.
fn both() -> (SimulatedExchange, Blocking<OfficialKite>, Kite) {
    let exchange = unlimited();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(exchange.base_url());
    let (official, kite) = (blocking(&exchange.base_url()), kite.build().unwrap());
    official.place_order(&buy("alpha1")).unwrap();
    let price = official.ltp(&yes_bank()).unwrap() * Decimal::new(9, 1);
    let order = OrderRequest::limit(yes_bank(), Side::Buy, 3, price.round_dp(1)).tag("alpha2");
    official.place_order(&order).unwrap();
    (exchange, official, kite)
}

#[test]
fn reads_are_those_of_the_other_adapter() {
    let (_exchange, official, kite) = both();
    let orders = official.orders().unwrap();
    assert_eq!(orders.len(), 2);
    assert_eq!(orders, kite.orders().unwrap());
    for order in &orders {
        assert_eq!(official.order_history(&order.id), kite.order_history(&order.id));
    }
    assert_eq!(official.trades(), kite.trades());
    assert_eq!(official.profile(), kite.profile());
    assert_eq!(official.holdings(), kite.holdings());
    let margins = official.margins().unwrap();
    assert!(margins.segment("equity").unwrap().net > Decimal::ZERO);
    // Prices move between the calls of the two, and what is worth something with them.
    let positions = official.positions().unwrap();
    assert_eq!(positions.net.len(), 1);
    assert_eq!(positions.net[0].quantity, kite.positions().unwrap().net[0].quantity);
    let quotes = official.quotes(&[yes_bank()]).unwrap();
    assert_eq!(
        quotes[&yes_bank()].ohlc.unwrap().open,
        kite.quote(&yes_bank()).unwrap().ohlc.unwrap().open
    );
}

/// The client alone refuses the whole order book. A missing one must not look like an empty one.
#[test]
fn an_odd_row_costs_no_other_row_and_a_missing_order_book_is_not_empty() {
    let (_exchange, sample, _) = both();
    let client = sample.broker();
    let mut book = sample.wait(client.read(client.client().orders().raw())).unwrap();
    book[0]["transaction_type"] = "SWAP".into();
    book[1]["quantity"] = "three".into();
    let odd = format!(r#"{{"status":"success","data":{book}}}"#);
    book[1]["quantity"] = 3.into();
    let half = format!(r#"{{"status":"success","data":{book}}}"#);
    let missing = r#"{"status":"success","data":null}"#.to_owned();
    let answers = [odd, half, missing];
    let (base_url, _received) = server(move |number, _| response("200 OK", "", &answers[number]));
    let kite = blocking(&base_url);
    let odd = kite.orders().unwrap();
    assert_eq!((odd.len(), odd.problems.len()), (0, 2));
    let half = kite.orders().unwrap();
    assert_eq!((half.len(), half[0].quantity, half.problems.len()), (1, 3.into(), 1));
    let problem = &half.problems[0];
    assert_eq!(problem.tag.as_deref(), Some("alpha1"));
    assert!(problem.name.is_some() && problem.reason.contains("SWAP"), "{problem}");
    assert!(matches!(kite.orders(), Err(BrokerError::Malformed(_))));
}

/// Against the server of a few lines, because this client reads the listing without its credentials, as Kite allows,
/// and the simulator does not.
#[test]
fn candles_fetch_the_listing_through_the_lanes_once() {
    const LISTING: &str = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,\
        tick_size,lot_size,instrument_type,segment,exchange\n\
        408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n";
    const CANDLES: &str = r#"{"status":"success","data":{"candles":[
        ["2026-01-05T09:15:00+0530",1500.1,1510,1499.95,1505.05,1200]]}}"#;
    let (base_url, received) = server(|_, line| match line.contains("historical") {
        true => response("200 OK", "", CANDLES),
        false => response("200 OK", "", LISTING),
    });
    let kite = blocking(&base_url);
    let broker = BrokerProxy::builder(kite).prior_usage(PriorUsage::None).build().unwrap();
    let day: BrokerTime = "2026-01-05".parse().unwrap();
    let candles = |symbol: &str| {
        let instrument = Instrument::new("NSE", symbol);
        broker.candles(&CandleRequest::new(instrument, Interval::Minute, day.clone(), day.clone()))
    };
    for _ in 0..2 {
        let candles = candles("INFY").unwrap();
        assert_eq!(candles[0].at.to_string(), "2026-01-05T09:15:00+05:30[+05:30]");
        assert_eq!(candles[0].ohlc.close.to_string(), "1505.05");
    }
    // Not listed: neither the candles nor the listing are requested again.
    assert!(candles("NONE").unwrap_err().failure().is_local());
    let lines: Vec<_> = received.try_iter().map(|(line, _)| line).collect();
    let candles = "GET /instruments/historical/408065/minute\
        ?from=2026-01-05+00%3A00%3A00&to=2026-01-05+23%3A59%3A59&";
    assert!(lines.len() == 3 && lines[0] == "GET /instruments/NSE HTTP/1.1", "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.starts_with(candles)), "{lines:?}");
}

#[test]
fn an_order_is_changed_and_cancelled() {
    let (exchange, official, _) = both();
    let id = official.orders().unwrap()[1].id.clone();
    assert_eq!(official.modify_order(&id, &OrderChange::new().quantity(5)), Ok(id.clone()));
    assert_eq!(exchange.orders()[1].quantity, 5.into());
    official.cancel_order(&id).unwrap();
    assert_eq!(exchange.orders()[1].status, lanekeeper::broker::OrderStatus::Cancelled);
}

#[test]
fn what_the_client_cannot_say_is_not_sent() {
    let (exchange, official, _) = both();
    let arrived = exchange.arrivals().len();
    let too_precise: Decimal = "1500.0000000000000001".parse().unwrap();
    for order in [
        buy("a").autoslice(true),
        buy("a").extra("algo_id", "7"),
        buy("a").variety(Variety::Other("new".into())),
        OrderRequest::market(yes_bank(), Side::Buy, Decimal::new(15, 1)),
        OrderRequest::limit(yes_bank(), Side::Buy, 1, too_precise),
    ] {
        let error = official.place_order(&order).unwrap_err();
        assert!(error.failure().is_local(), "{error}");
    }
    let error = official.modify_order(&lanekeeper::OrderId::new("1"), &OrderChange::new());
    assert!(matches!(error, Err(BrokerError::NotSent(_))));
    assert_eq!(exchange.arrivals().len(), arrived);
}
