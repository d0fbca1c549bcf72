//! `AsyncBroker`: a broker whose calls are futures, behind the same lanes.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "async", feature = "paper", feature = "mock"))]

mod support;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use lanekeeper::broker::{
    AsyncBroker, AsyncBrokerProxy, Broker, BrokerError, Candle, CandleRequest, Exchange,
    ImmediateBroker, Instrument, InstrumentInfo, Interval, MissingListing, MissingListings,
    OrderCancel, OrderRequest, OrderStatus, Quotes, Rows, lanes,
};
use lanekeeper::brokers::paper::Prices;
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::{
    CallOptions, Limits, MockBroker, PaperBroker, Priority, Quota, Side, delegate_async_broker,
};
use support::tasks::Task;

fn unlimited() -> Limits {
    let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
    lanes::ALL.into_iter().fold(Limits::new(), unlimited).budget(lanes::ORDERS, Quota::unlimited())
}

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

/// Polls a future to its end.
fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    run_task(Task::new(future))
}

fn run_task<T: 'static>(mut task: Task<T>) -> T {
    match task.poll() {
        Poll::Ready(answer) => answer,
        Poll::Pending => task.run(),
    }
}

#[test]
fn a_strategy_over_a_dyn_places_and_cancels() {
    let prices = Prices::from_csv(
        "time,exchange,symbol,open,high,low,close,volume\n\
         2026-01-05T09:15:00+05:30,NSE,INFY,10,10,10,10,100\n",
    );
    let paper = PaperBroker::builder()
        .prices(prices.unwrap())
        .cash(1000)
        .clock(ManualClock::new())
        .starts_at("2026-01-05T09:15:00+05:30[+05:30]".parse().unwrap())
        .build()
        .unwrap();
    let proxy = AsyncBrokerProxy::builder(ImmediateBroker(paper.clone()))
        .transactional(Quota::per_minute(10))
        .orders(Quota::per_minute(5))
        .build()
        .unwrap();
    let broker: Arc<dyn AsyncBroker> = Arc::new(proxy.clone());
    let id = run(async move {
        let order = OrderRequest::limit(infy(), Side::Buy, 1, 1);
        let id = broker.place_order(&order).await?;
        assert_eq!(broker.order(&id).await?.status, OrderStatus::Open);
        broker.cancel_order_with(&id, &OrderCancel::new()).await?;
        Ok::<_, BrokerError>(id)
    });
    assert_eq!(paper.order(&id.unwrap()).unwrap().status, OrderStatus::Cancelled);
    let windows = &proxy.transactional_lane().status().windows;
    assert_eq!(windows[0].used, 3);
    assert_eq!(proxy.status().budgets[0].windows[0].used, 1);
}

/// The default bodies are those of `Broker`, with its methods awaited.
#[test]
fn a_default_body_calls_the_asynchronous_methods() {
    let mut mock = MockBroker::new();
    mock.expect_quotes().times(2).returning(|_| Ok(Quotes::default()));
    let broker = Bare { inner: ImmediateBroker(mock) };
    let error = run(async move {
        let error = broker.ltp(&infy()).await.unwrap_err();
        assert_eq!(broker.ohlc(&infy()).await.unwrap_err(), error);
        error
    });
    assert_eq!(error, BrokerError::NoQuote { instrument: infy() });
}

/// Forwards what has no default body.
struct Bare<B> {
    inner: B,
}

impl<B: AsyncBroker> AsyncBroker for Bare<B> {
    delegate_async_broker! { to self.inner; except quote, quote_after, ltp, ohlc, order }
}

/// An adapter that needs a listing for its candles.
struct Listed {
    inner: ImmediateBroker<MockBroker>,
    missing: MissingListings,
    listings: Arc<Listings>,
}

#[derive(Default)]
struct Listings {
    /// How many were asked for, and are known.
    asked: AtomicU32,
    known: AtomicU32,
    /// Whether a request is answered.
    is_open: AtomicBool,
    fails: AtomicBool,
}

#[lanekeeper::async_trait]
impl AsyncBroker for Listed {
    delegate_async_broker! { to self.inner; except instruments, candles, missing_listing }

    async fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        assert_eq!(exchange, Some(&Exchange::Nse));
        self.listings.asked.fetch_add(1, Ordering::SeqCst);
        poll_fn(|_| match self.listings.is_open.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        if self.listings.fails.load(Ordering::SeqCst) {
            return Err(BrokerError::Rejected("no such listing".into()));
        }
        self.listings.known.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new().into())
    }

    async fn candles(&self, _: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        assert_ne!(self.listings.known.load(Ordering::SeqCst), 0, "it was not listed");
        Ok(Vec::new().into())
    }

    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let exchange = Exchange::from(request.instrument.exchange());
        self.missing.get(&exchange, || self.listings.known.load(Ordering::SeqCst) == 0)
    }
}

fn listed(clock: &ManualClock) -> (AsyncBrokerProxy<Listed>, Arc<Listings>) {
    let listings = Arc::<Listings>::default();
    let adapter = Listed {
        inner: ImmediateBroker(MockBroker::new()),
        missing: MissingListings::new(),
        listings: Arc::clone(&listings),
    };
    let proxy = AsyncBrokerProxy::builder(adapter).limits(unlimited()).clock(clock.clone());
    (proxy.build().unwrap(), listings)
}

type Candles = Result<Rows<Candle>, BrokerError>;

fn candles(broker: &AsyncBrokerProxy<Listed>) -> Task<Candles> {
    let (broker, day) = (broker.clone(), "2026-01-05T00:00:00Z".parse::<Timestamp>().unwrap());
    let request = CandleRequest::new(infy(), Interval::Day, day, day);
    Task::new(async move { broker.candles(&request).await })
}

#[test]
fn a_missing_listing_is_fetched_once_for_all_tasks_that_need_it() {
    let (broker, listings) = listed(&ManualClock::new());
    let mut tasks: Vec<_> = (0..10).map(|_| candles(&broker)).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    // The one that fetches is dropped, and another one fetches it anew.
    drop(tasks.remove(0));
    listings.is_open.store(true, Ordering::SeqCst);
    for mut task in tasks {
        assert!(task.run().is_ok());
    }
    assert_eq!(listings.asked.load(Ordering::SeqCst), 2);
    assert!(run_task(candles(&broker)).is_ok());
    assert_eq!(listings.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_listing_that_is_refused_is_asked_for_again_after_a_minute() {
    let clock = ManualClock::new();
    let (broker, listings) = listed(&clock);
    listings.is_open.store(true, Ordering::SeqCst);
    listings.fails.store(true, Ordering::SeqCst);
    let refused = |times| {
        let error = run_task(candles(&broker)).unwrap_err();
        assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
        assert_eq!(listings.asked.load(Ordering::SeqCst), times);
    };
    refused(1);
    refused(1);
    let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
    assert!(run_task(candles(&urgent)).is_err());
    refused(2);
    clock.advance(Duration::from_secs(60));
    listings.fails.store(false, Ordering::SeqCst);
    assert!(run_task(candles(&broker)).is_ok());
}
