//! Calls that are no order pass through unchanged.

use lanekeeper::broker::{Broker, OrderTags};

use super::shaky::Shaky;

#[test]
fn what_the_broker_says_of_itself_goes_through() {
    let broker = Shaky::new(OrderTags::unique(30, "7"));
    let guard = broker.guard();
    assert_eq!(guard.quote_batch_limit().count, 77);
    assert_eq!(guard.order_tags(), OrderTags::unique(30, "7"));
    assert!(guard.documented_limits().of_lane("quote").is_some());
    let rewrapped = lanekeeper::QuoteCache::new(guard);
    assert_eq!(rewrapped.order_tags(), OrderTags::unique(30, "7"));
}

/// A write that the guard forwards is not guarded: a new one must be written in the guard, or be decided on here.
#[test]
fn the_guard_writes_every_write_of_the_trait_itself() {
    let (source, guard) =
        (include_str!("../../src/broker/mod.rs"), include_str!("../../src/order_guard/guard.rs"));
    let (_, guard) = guard.split_once("impl<B: Broker> Broker for OrderGuard<B> {").unwrap();
    let (_, excepted) = guard.split_once("except").unwrap();
    let (excepted, _) = excepted.split_once('}').unwrap();
    let excepted: Vec<&str> = excepted.split(',').map(str::trim).collect();
    let writes: Vec<&str> = source
        .split("#[lane(")
        .skip(1)
        .filter(|method| method.split_once(')').unwrap().0.contains(" write"))
        .map(|method| method.split_once("fn ").unwrap().1.split_once('(').unwrap().0)
        .collect();
    assert!(writes.contains(&"place_order") && writes.len() >= 5, "{writes:?}");
    for write in writes {
        assert!(excepted.contains(&write), "`{write}` goes past the guard");
    }
}

/// Each method calls the same method of the inner broker, including those with a default body.
#[cfg(feature = "mock")]
#[test]
fn every_other_call_goes_through() {
    use lanekeeper::broker::{
        BrokerError, CandleRequest, ErrorDetail, Exchange, Instrument, Interval, MockBroker,
        OrderCancel, OrderId,
    };
    use lanekeeper::order_guard::OrderGuard;

    fn refuse<A>(what: &str) -> Result<A, BrokerError> {
        Err(BrokerError::Rejected(ErrorDetail::new(what)))
    }
    macro_rules! goes_through {
        ($($method:ident($($argument:expr),*) as $closure:expr, $expect:ident;)+) => {$({
            let mut mock = MockBroker::new();
            mock.expect_order_tags().returning(OrderTags::none);
            mock.$expect().times(1).returning($closure);
            let guard = OrderGuard::builder(mock).build().unwrap();
            let error = guard.$method($($argument),*).err().unwrap();
            assert_eq!(error.detail().unwrap().message, stringify!($method));
        })+};
    }
    let infy = Instrument::new("NSE", "INFY");
    let id = OrderId::new("1");
    let day = "2026-01-05T09:15:00+05:30[+05:30]".parse::<lanekeeper::jiff::Zoned>().unwrap();
    let candles = CandleRequest::new(infy.clone(), Interval::Day, day.clone(), day);
    let cancel = OrderCancel::new().extra("parent_order_id", "7");
    goes_through! {
        cancel_order_with(&id, &cancel) as |_, cancel: &OrderCancel| {
            assert_eq!(cancel.extra["parent_order_id"], "7");
            refuse("cancel_order_with")
        }, expect_cancel_order_with;
        order_history(&id) as |_| refuse("order_history"), expect_order_history;
        orders() as || refuse("orders"), expect_orders;
        trades() as || refuse("trades"), expect_trades;
        order_trades(&id) as |_| refuse("order_trades"), expect_order_trades;
        positions() as || refuse("positions"), expect_positions;
        holdings() as || refuse("holdings"), expect_holdings;
        margins() as || refuse("margins"), expect_margins;
        profile() as || refuse("profile"), expect_profile;
        instruments(Some(&Exchange::from("NSE"))) as |_| refuse("instruments"), expect_instruments;
        quotes(std::slice::from_ref(&infy)) as |_| refuse("quotes"), expect_quotes;
        candles(&candles) as |_| refuse("candles"), expect_candles;
        quote(&infy) as |_| refuse("quote"), expect_quote;
        quote_after(&infy, None) as |_, _| refuse("quote_after"), expect_quote_after;
        ltp(&infy) as |_| refuse("ltp"), expect_ltp;
        ohlc(&infy) as |_| refuse("ohlc"), expect_ohlc;
        order(&id) as |_| refuse("order"), expect_order;
    }
}
