//! Every layer of a call, for every method of `Broker`: guard, cache, proxy, lanes, Kite, HTTP, and the simulator at
//! the other end.

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, CandleRequest, Exchange as Market, Instrument, Interval,
    OrderChange, OrderRequest, OrderStatus, OrderType, Product, Side,
};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::{Sent, Stack};
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;

const LANES: [&str; 3] = ["transactional", "quote", "historical"];

fn fast() -> Limits {
    let fast = Quota::per_second(10_000);
    LANES.into_iter().fold(Limits::new(), |limits, lane| limits.lane(lane, fast.clone()))
}

fn kite(exchange: &SimulatedExchange) -> Kite {
    let url = exchange.base_url();
    Kite::builder().api_key("key").access_token("token").base_url(url).build().unwrap()
}

/// Returns a simulator with wide limits, on which orders may rest far from the market, and the stack in front of it.
fn stack() -> (SimulatedExchange, Stack<Kite>) {
    let exchange = SimulatedExchange::builder().limits(fast()).circuit_limits(false);
    let exchange = exchange.start().unwrap();
    let broker = BrokerProxy::builder(kite(&exchange))
        .prior_usage(PriorUsage::None)
        .limits(fast())
        .quote_ttl(Duration::from_secs(60))
        .order_guard(|guard| guard)
        .build()
        .unwrap();
    (exchange, broker)
}

fn yesbank() -> Instrument {
    Instrument::new("NSE", "YESBANK")
}

#[test]
fn a_market_order_is_filled_and_shows_everywhere() {
    let (exchange, broker) = stack();
    let order = OrderRequest::market(yesbank(), Side::Buy, 10).product(Product::Mis).tag("full1");
    let id = broker.place_order(&order).unwrap();

    let order = broker.order(&id).unwrap();
    assert_eq!((&order.id, &order.instrument, order.side), (&id, &yesbank(), Side::Buy));
    assert_eq!(order.status, OrderStatus::Filled);
    assert_eq!(order.tag.as_deref(), Some("full1"));
    assert_eq!((order.quantity, order.filled_quantity), (Decimal::TEN, Decimal::TEN));
    assert_eq!(order.product, Some(Product::Mis));
    let price = order.average_price.unwrap();
    assert!(price > Decimal::ZERO);
    assert!(order.placed_at.is_some());

    assert!(broker.order_history(&id).unwrap().len() >= 2, "it went through more than one state");
    assert!(broker.orders().unwrap().iter().any(|listed| listed.id == id));
    let trades = broker.order_trades(&id).unwrap();
    assert_eq!(trades.iter().map(|trade| trade.quantity).sum::<Decimal>(), Decimal::TEN);
    assert_eq!(trades[0].price, price);
    assert!(broker.trades().unwrap().iter().any(|trade| trade.id == trades[0].id));
    let positions = broker.positions().unwrap();
    let position = positions.net.iter().find(|held| held.instrument == yesbank()).unwrap();
    assert_eq!((position.quantity, position.average_price), (Decimal::TEN, price));

    let ledger = exchange.orders();
    assert_eq!(ledger.len(), 1);
    assert_eq!((&ledger[0].id, ledger[0].tag.as_deref()), (&id, Some("full1")));
}

#[test]
fn a_resting_order_is_changed_and_cancelled() {
    let (_exchange, broker) = stack();
    let low = broker.ltp(&yesbank()).unwrap() / Decimal::TWO;
    let order = OrderRequest::limit(yesbank(), Side::Buy, 5, low.round_dp(1));
    let id = broker.place_order(&order).unwrap();
    assert_eq!(broker.order(&id).unwrap().status, OrderStatus::Open);

    let lower = low.round_dp(1) - Decimal::ONE;
    let id = broker.modify_order(&id, &OrderChange::new().price(lower).quantity(7)).unwrap();
    let changed = broker.order(&id).unwrap();
    assert_eq!((changed.price, changed.quantity), (Some(lower), Decimal::from(7)));

    broker.cancel_order(&id).unwrap();
    let cancelled = broker.order(&id).unwrap();
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    assert_eq!(cancelled.pending_quantity(), Decimal::ZERO);
    // There is nothing left to cancel, and the simulator reports that.
    let error = broker.cancel_order(&id).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error:?}");
}

/// An exit: a limit order that does not fill becomes a market order.
#[test]
fn a_resting_order_is_filled_by_changing_it_to_a_market_order() {
    let (exchange, broker) = stack();
    let order = OrderRequest::limit(yesbank(), Side::Buy, 5, Decimal::ONE);
    let exit = OrderChange::new().order_type(OrderType::Market);

    let bare = Kite::builder().api_key("key").access_token("token").base_url(exchange.base_url());
    let bare = bare.market_protection(None).build().unwrap();
    let id = bare.place_order(&order).unwrap();
    let error = bare.modify_order(&id, &exit).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
    assert!(error.to_string().contains("Market orders without market protection"), "{error}");
    assert_eq!(broker.order(&id).unwrap().status, OrderStatus::Open);

    let id = broker.modify_order(&id, &exit).unwrap();
    assert_eq!(broker.order(&id).unwrap().status, OrderStatus::Filled);
}

#[test]
fn the_account_and_the_market_can_be_read() {
    let (_exchange, broker) = stack();
    assert!(!broker.profile().unwrap().user_id.is_empty());
    assert!(broker.margins().unwrap().segment("equity").unwrap().net > Decimal::ZERO);
    assert!(broker.holdings().unwrap().is_empty());

    let listed = broker.instruments(Some(&Market::Nse)).unwrap();
    assert_eq!(listed.len(), broker.instruments(None).unwrap().len());
    assert!(listed.iter().any(|info| info.instrument == yesbank() && info.token.is_some()));

    let quote = broker.quote(&yesbank()).unwrap();
    assert_eq!(broker.ltp(&yesbank()).unwrap(), quote.last_price);
    assert_eq!(Some(broker.ohlc(&yesbank()).unwrap()), quote.ohlc);
    let ghost = Instrument::new("NSE", "GHOST");
    assert_eq!(broker.ltp(&ghost), Err(BrokerError::NoQuote { instrument: ghost }));

    let sample = Prices::sample();
    let bars: Vec<_> = sample.bars(&yesbank()).take(30).collect();
    let request =
        CandleRequest::new(yesbank(), Interval::Minute, bars[0].at.clone(), bars[29].at.clone());
    let candles = broker.candles(&request).unwrap();
    assert_eq!(candles.len(), 30);
    assert!(candles.iter().zip(bars).all(|(candle, bar)| candle.ohlc == bar.ohlc));
}

#[test]
fn a_rejection_comes_back_as_one() {
    let (_exchange, broker) = stack();
    let ghost = OrderRequest::market(Instrument::new("NSE", "GHOST"), Side::Buy, 1);
    let error = broker.place_order(&ghost).unwrap_err();
    assert!(matches!(error, BrokerError::Rejected(_)), "{error:?}");
    assert_eq!(error.was_sent(), Sent::Yes);
}

#[test]
fn a_bad_order_never_leaves() {
    let (exchange, broker) = stack();
    let order = OrderRequest::market(yesbank(), Side::Buy, 1).tag("not a tag, by Kite's rules");
    let error = broker.place_order(&order).unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error:?}");
    // The guard read the order book, because the order has a tag of its caller.
    assert!(exchange.arrivals().iter().all(|arrival| arrival.method == "GET"));
}

#[test]
fn without_lanekeeper_a_second_call_in_a_second_is_throttled() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let bare = kite(&exchange);
    bare.quotes(&[yesbank()]).unwrap();
    let error = bare.quotes(&[yesbank()]).unwrap_err();
    assert!(matches!(error, BrokerError::Throttled { .. }), "{error:?}");
    assert_eq!(exchange.refused(), 1);
}

#[test]
fn a_thousand_instruments_are_divided_to_fit_the_address() {
    let (exchange, broker) = stack();
    let mut instruments: Vec<_> =
        (0..1000).map(|n| Instrument::new("NFO", format!("NIFTY25JAN{n}CE&"))).collect();
    instruments.push(yesbank());
    let quotes = broker.quotes(&instruments).unwrap();
    assert_eq!(quotes.len(), 1, "the others do not exist");
    let arrivals = exchange.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.status == Some(200)), "{arrivals:?}");
    let bytes: usize =
        instruments.iter().map(|i| broker.adapter().quote_batch_limit().cost(i)).sum();
    assert_eq!(arrivals.len(), bytes.div_ceil(7500).max(3), "{bytes} bytes");
}
