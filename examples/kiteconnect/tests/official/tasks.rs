//! The adapter behind `AsyncBrokerProxy`: what tasks get from the lanes, what the lanes repeat, a new token while calls wait, and
//! futures that are dropped.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiteconnect::ApiSecret;
use kiteconnect_adapter::{OfficialKite, OrderMargins, OrderMarginsProxy};
use lanekeeper::broker::{AsyncBroker, AsyncBrokerProxy, BrokerError, BrokerTime, OrderStatus};
use lanekeeper::broker::{CandleRequest, Interval};
use lanekeeper::lane::FinishedCall;
use lanekeeper::quota::PriorUsage;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{CallOptions, ErrorClass, LaneCall, Observer, OrderRequest, Quota, Sent, Side};
use lanekeeper_simulator::{Fault, RetryAfter, SimulatedExchange, Target, Timing};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::transport::{response, server};
use crate::{buy, first, official, unlimited, yes_bank};

type Proxy = AsyncBrokerProxy<OfficialKite>;

/// Returns the adapter behind lanes with Kite's limits.
fn proxy(base_url: &str) -> Proxy {
    let builder = AsyncBrokerProxy::builder(official(base_url));
    builder.prior_usage(PriorUsage::None).build().unwrap()
}

/// Returns the adapter behind a lane that lets one call through, and what it reports.
fn one_call(exchange: &SimulatedExchange) -> (Proxy, Arc<Ends>) {
    let ends = Arc::<Ends>::default();
    let builder = AsyncBrokerProxy::builder(official(&exchange.base_url()));
    let builder = builder.prior_usage(PriorUsage::None).observer(ends.clone());
    (builder.transactional(Quota::per_hour(1)).build().unwrap(), ends)
}

/// How the calls ended that were sent.
#[derive(Default)]
struct Ends(Mutex<Vec<(Sent, Option<ErrorClass>)>>);

impl Observer for Ends {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.lock().unwrap().push((call.sent, call.failure));
    }
}

fn used(broker: &Proxy) -> u32 {
    broker.transactional_lane().status().windows[0].used
}

/// Waits until so many calls are queued.
async fn queued(broker: &Proxy, calls: usize) {
    while broker.transactional_lane().queued() != calls {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_strategy_over_a_dyn_places_reads_changes_and_cancels() {
    let exchange = unlimited();
    let broker: Arc<dyn AsyncBroker> = Arc::new(proxy(&exchange.base_url()));
    let price = broker.ltp(&yes_bank()).await.unwrap() * Decimal::new(9, 1);
    let order = OrderRequest::limit(yes_bank(), Side::Buy, 3, price.round_dp(1)).tag("alpha1");
    let id = broker.place_order(&order).await.unwrap();
    assert_eq!(broker.order(&id).await.unwrap().status, OrderStatus::Open);
    broker.cancel_order(&id).await.unwrap();
    let orders = broker.orders().await.unwrap();
    assert_eq!((orders.len(), &orders[0].status), (1, &OrderStatus::Cancelled));
}

#[tokio::test]
async fn no_call_of_many_tasks_is_refused_and_every_order_is_placed_once() {
    let exchange = SimulatedExchange::builder().latency(Duration::from_millis(3));
    let exchange = exchange.jitter(Duration::from_millis(2)).start().unwrap();
    let broker = proxy(&exchange.base_url());
    let mut tasks = JoinSet::new();
    for number in 0..30 {
        let broker = broker.clone();
        tasks.spawn(async move { broker.place_order(&buy(&format!("t{number}"))).await });
    }
    let ids: HashSet<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!((ids.len(), exchange.orders().len(), exchange.refused()), (30, 30, 0));
}

#[tokio::test]
async fn a_lane_repeats_only_what_was_surely_not_executed_or_only_reads() {
    use Timing::{After, Before};
    for (fault, ends, arrivals, orders) in [
        (Fault::Reset(After), "unknown", 1, 1),
        (Fault::Reset(Before), "unknown", 1, 0),
        (Fault::Gateway { status: 502, when: After }, "unknown", 1, 1),
        (Fault::Page { status: 403, when: Before }, "fatal", 1, 0),
        (Fault::Throttled(RetryAfter::Unsaid), "placed", 2, 1),
    ] {
        let exchange = unlimited();
        exchange.set_faults(&first(Target::Place, fault)).unwrap();
        let result = proxy(&exchange.base_url()).place_order(&buy("a")).await;
        let end = result.as_ref().map_or_else(|error| error.failure().as_str(), |_| "placed");
        let counts = (exchange.arrivals().len(), exchange.orders().len());
        assert_eq!((end, counts), (ends, (arrivals, orders)), "{fault}: {result:?}");
    }
    for (fault, arrivals) in [(Fault::Reset(Before), 2), (Fault::Malformed, 1)] {
        let exchange = unlimited();
        exchange.set_faults(&first(Target::Orders, fault)).unwrap();
        let result = proxy(&exchange.base_url()).orders().await;
        assert_eq!(result.is_ok(), arrivals == 2, "{fault}: {result:?}");
        assert_eq!(exchange.arrivals().len(), arrivals, "{fault}");
    }
}

/// Five calls wait in a lane while the token is replaced.
#[tokio::test]
async fn calls_that_wait_for_a_new_token_are_sent_with_it() {
    let exchange = unlimited();
    let broker = proxy(&exchange.base_url());
    let kite = broker.inner().clone();
    let secret = ApiSecret::new("secret").unwrap();
    kite.login("first", &secret).await.unwrap();
    broker.profile().await.unwrap();
    kite.read(kite.client().invalidate_access_token()).await.unwrap();
    assert!(matches!(broker.profile().await, Err(BrokerError::Unauthorized(_))));
    assert!(broker.session().unwrap().is_expired());

    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        let broker = broker.clone();
        tasks.spawn(async move { broker.profile().await });
    }
    queued(&broker, 5).await;
    let refused = || exchange.arrivals().iter().filter(|it| it.status == Some(403)).count();
    assert_eq!(refused(), 1);
    kite.login("second", &secret).await.unwrap();
    let results = timeout(Duration::from_secs(10), tasks.join_all()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(!broker.session().unwrap().is_expired() && refused() == 1);
}

#[tokio::test]
async fn a_future_that_is_dropped_while_it_waits_is_never_sent() {
    let exchange = unlimited();
    let (broker, ends) = one_call(&exchange);
    broker.place_order(&buy("sent")).await.unwrap();
    let order = buy("dropped");
    let waited = timeout(Duration::from_millis(50), broker.place_order(&order)).await;
    assert!(waited.is_err());
    assert_eq!((exchange.orders().len(), exchange.arrivals().len()), (1, 1));
    assert_eq!((used(&broker), broker.transactional_lane().queued()), (1, 0));
    assert_eq!(*ends.0.lock().unwrap(), [(Sent::Yes, None)]);
}

/// The order is in the market, and only the order book shows that. So a timer around a write means "unknown".
#[tokio::test]
async fn a_future_that_is_dropped_in_flight_counts_as_sent_and_lost() {
    let exchange = unlimited();
    exchange.set_faults(&first(Target::Place, Fault::Hang(Timing::After))).unwrap();
    let (broker, ends) = one_call(&exchange);
    let order = buy("dropped");
    let waited = timeout(Duration::from_secs(1), broker.place_order(&order)).await;
    assert!(waited.is_err());
    assert_eq!((exchange.orders().len(), exchange.arrivals().len(), used(&broker)), (1, 1, 1));
    assert_eq!(*ends.0.lock().unwrap(), [(Sent::Unknown, Some(ErrorClass::Unknown))]);
}

/// In place of a timer: the wait is bounded by the deadline, and the call by the timeout of the client. Either way the error
/// tells whether the order may have been sent.
#[tokio::test]
async fn a_deadline_and_the_timeout_of_the_client_tell_whether_an_order_was_sent() {
    let exchange = unlimited();
    exchange.set_faults(&first(Target::Place, Fault::Hang(Timing::After))).unwrap();
    let (broker, _) = one_call(&exchange);
    let broker = broker.with(CallOptions::new().deadline(Duration::from_secs(30)));
    let error = broker.place_order(&buy("unknown")).await.unwrap_err();
    assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
    let soon = broker.with(CallOptions::new().deadline(Duration::from_millis(50)));
    let error = soon.place_order(&buy("not sent")).await.unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert_eq!(exchange.orders().len(), 1);
}

#[tokio::test]
async fn candles_of_many_tasks_fetch_the_listing_once() {
    const LISTING: &str = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,\
        tick_size,lot_size,instrument_type,segment,exchange\n\
        12,1,YESBANK,YES BANK,0,,0,0.05,1,EQ,NSE,NSE\n";
    const CANDLES: &str = r#"{"status":"success","data":{"candles":[]}}"#;
    let (base_url, received) = server(|_, line| match line.contains("historical") {
        true => response("200 OK", "", CANDLES),
        false => response("200 OK", "", LISTING),
    });
    let broker = proxy(&base_url);
    let day: BrokerTime = "2026-01-05".parse().unwrap();
    let request = CandleRequest::new(yes_bank(), Interval::Minute, day.clone(), day);
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (broker, request) = (broker.clone(), request.clone());
        tasks.spawn(async move { broker.candles(&request).await });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    let lines: Vec<_> = received.try_iter().map(|(line, _)| line).collect();
    let listings = lines.iter().filter(|line| line.starts_with("GET /instruments/NSE ")).count();
    assert_eq!((lines.len(), listings), (4, 1), "{lines:?}");
}

#[tokio::test]
async fn endpoints_that_the_trait_lacks_use_the_same_lanes() {
    let exchange = unlimited();
    let broker = proxy(&exchange.base_url());
    let kite = broker.inner();
    let calculator = OrderMarginsProxy::builder(kite.clone()).lanes_of(&broker).build().unwrap();
    let margins = calculator.order_margins(&[buy("a"), buy("b")]).await.unwrap();
    assert!(margins.len() == 2 && margins[0] > Decimal::ZERO, "{margins:?}");
    let call = LaneCall::read("transactional").name("gtts");
    let options = CallOptions::new();
    let gtts = broker.lanes().run(&call, &options, || kite.read(kite.client().gtts())).await;
    assert_eq!(gtts.unwrap().len(), 0);
    assert_eq!(used(&broker), 2);
}
