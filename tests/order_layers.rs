//! What an order, a change or a cancellation carries reaches the adapter through every layer, or is refused with a
//! message: nothing is dropped on the way.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, Candle, CandleRequest, ErrorDetail, Exchange, Holding,
    Instrument, InstrumentInfo, Margins, MarketProtection, Order, OrderCancel, OrderChange,
    OrderId, OrderRequest, Partial, Positions, Profile, Quotes, Rows, Side, Slice, SlicedOrder,
    Trade, lanes,
};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{CallOptions, HasLanes, LaneCall, OrderGuard, QuoteCache, Stack};

/// An adapter that implements only the required methods, and records its calls.
#[derive(Clone, Default)]
struct Plain(Arc<Mutex<Vec<String>>>);

impl Plain {
    fn record(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn recorded(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn nothing<A>() -> Result<A, BrokerError> {
    Err(BrokerError::Rejected(ErrorDetail::new("nothing here")))
}

impl Broker for Plain {
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.record(format!("place {:?} {:?}", order.market_protection, order.extra));
        Ok(OrderId::new("1"))
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.record(format!("modify {id} {:?} {:?}", change.market_protection, change.extra));
        Ok(id.clone())
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.record(format!("cancel {id}"));
        Ok(())
    }

    fn order_history(&self, _: &OrderId) -> Result<Rows<Order>, BrokerError> {
        nothing()
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        nothing()
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        nothing()
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        nothing()
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        nothing()
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        nothing()
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        nothing()
    }

    fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        nothing()
    }

    fn quotes(&self, _: &[Instrument]) -> Result<Quotes, BrokerError> {
        nothing()
    }

    fn candles(&self, _: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        nothing()
    }
}

/// Returns an adapter with all the layers in front of it.
fn stack<B: Broker + 'static>(adapter: B) -> Stack<B> {
    let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
    let limits = lanes::ALL.into_iter().fold(Limits::new(), unlimited);
    let limits = limits.budget(lanes::ORDERS, Quota::unlimited());
    let broker = BrokerProxy::builder(adapter).limits(limits).quote_ttl(Duration::from_secs(1));
    broker.order_guard(|guard| guard).build().unwrap()
}

fn market() -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10)
}

#[test]
fn protection_and_extra_fields_reach_the_adapter() {
    let plain = Plain::default();
    let (broker, id) = (stack(plain.clone()), OrderId::new("1"));
    let own = MarketProtection::AUTO;
    broker.place_order(&market().market_protection(own).extra("a", "1")).unwrap();
    broker.modify_order(&id, &OrderChange::new().market_protection(own).extra("b", "2")).unwrap();
    let own = "Some(MarketProtection(None))";
    let placed = format!(r#"place {own} {{"a": "1"}}"#);
    assert_eq!(plain.recorded(), [placed, format!(r#"modify 1 {own} {{"b": "2"}}"#)]);
}

#[test]
fn an_adapter_that_sends_nothing_with_a_cancellation_refuses_it() {
    let plain = Plain::default();
    let id = OrderId::new("1");
    for broker in [&plain as &dyn Broker, &stack(plain.clone())] {
        let cancel = OrderCancel::new();
        assert_eq!(broker.cancel_order_with(&id, &cancel), Ok(()));
        assert_eq!(plain.recorded(), ["cancel 1"]);
        let error = broker.cancel_order_with(&id, &cancel.extra("parent", "7")).unwrap_err();
        let BrokerError::NotSent(detail) = &error else { panic!("{error}") };
        assert!(detail.local && detail.message.contains("\"parent\""), "{error}");
        assert_eq!(plain.recorded(), [""; 0]);
    }
}

#[cfg(feature = "mock")]
#[test]
fn what_goes_with_a_cancellation_reaches_the_adapter() {
    let mut mock = lanekeeper::MockBroker::new();
    mock.expect_order_tags().returning(lanekeeper::broker::OrderTags::none);
    mock.expect_cancel_order().never();
    mock.expect_cancel_order_with().times(1).returning(|id, cancel| {
        assert_eq!((id.as_str(), &*cancel.extra["parent_order_id"]), ("1", "7"));
        Ok(())
    });
    let cancel = OrderCancel::new().extra("parent_order_id", "7");
    assert_eq!(stack(mock).cancel_order_with(&OrderId::new("1"), &cancel), Ok(()));
}

#[cfg(feature = "paper")]
#[test]
fn the_paper_broker_takes_what_it_has_no_use_for() {
    let paper = lanekeeper::PaperBroker::builder().build().unwrap();
    let yesbank = Instrument::new("NSE", "YESBANK");
    let id = paper.place_order(&OrderRequest::limit(yesbank, Side::Buy, 1, 1)).unwrap();
    let change = OrderChange::new().quantity(2).market_protection(MarketProtection::AUTO);
    paper.modify_order(&id, &change.extra("parent_order_id", "7")).unwrap();
    let cancel = OrderCancel::new().extra("parent_order_id", "7");
    assert_eq!(stack(paper).cancel_order_with(&id, &cancel), Ok(()));
}

#[test]
fn an_order_in_one_piece_is_one_slice() {
    let plain = Plain::default();
    for broker in [&plain as &dyn Broker, &stack(plain.clone())] {
        let placed = SlicedOrder::single(OrderId::new("1"), 10);
        assert_eq!(broker.place_sliced(&market()), Ok(placed));
        assert_eq!(plain.recorded().len(), 1);
    }
}

#[cfg(feature = "mock")]
#[test]
fn what_became_of_slices_reaches_the_strategy() {
    let slices = [Slice::placed(OrderId::new("1")), Slice::rejected(ErrorDetail::new("no funds"))];
    let order = SlicedOrder::new(Some(OrderId::new("1")), 10, slices);
    let mut mock = lanekeeper::MockBroker::new();
    mock.expect_order_tags().returning(lanekeeper::broker::OrderTags::none);
    let (placed, partly) = (order.clone(), order.clone());
    mock.expect_place_sliced().times(1).returning(move |order| {
        assert!(order.autoslice);
        Ok(placed.clone())
    });
    mock.expect_place_order()
        .times(1)
        .returning(move |_| Err(BrokerError::PartlyPlaced(Box::new(partly.clone()))));
    let broker = stack(mock);
    assert_eq!(broker.place_sliced(&market().autoslice(true)), Ok(order.clone()));
    let error = broker.place_order(&market().autoslice(true)).unwrap_err();
    assert_eq!(error, BrokerError::PartlyPlaced(Box::new(order)));
}

#[cfg(feature = "paper")]
#[test]
fn a_broker_that_divides_no_orders_says_so() {
    let paper = lanekeeper::PaperBroker::builder().build().unwrap();
    let order = market().autoslice(true);
    for error in [
        paper.place_order(&order).unwrap_err(),
        paper.place_sliced(&order).unwrap_err(),
        stack(paper).place_sliced(&order).unwrap_err(),
    ] {
        let BrokerError::NotSent(detail) = &error else { panic!("{error}") };
        assert!(detail.local, "{error}");
    }
}

/// The endpoints that the trait lacks must not need the adapter behind the layers.
#[test]
fn the_lanes_are_in_reach_of_every_layer() {
    let stack = stack(Plain::default());
    let proxy = stack.proxy().clone();
    let cache = QuoteCache::builder(proxy.clone()).build();
    let guard = OrderGuard::builder(cache.clone()).build().unwrap();
    let layers: [&dyn HasLanes; 6] =
        [&stack, &stack.for_exits(), &proxy, &cache, &guard, stack.lanes()];
    let call = LaneCall::write(lanes::TRANSACTIONAL).budget(lanes::ORDERS);
    for (number, layer) in layers.into_iter().enumerate() {
        let work = move || Ok::<_, BrokerError>(number);
        assert_eq!(layer.lanes().call(&call, &CallOptions::new(), work), Ok(number));
        // And another adapter can share them.
        let other = BrokerProxy::builder(Plain::default()).lanes_of(layer).build().unwrap();
        assert_eq!(other.cancel_order(&OrderId::new("1")), Ok(()));
    }
    // The methods of the layers do not need the trait.
    assert!(std::ptr::eq(cache.lanes(), guard.lanes()));
}
