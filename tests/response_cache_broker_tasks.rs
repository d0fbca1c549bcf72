//! The listing that candles need, with answers kept, for tasks: as `response_cache_broker.rs` for threads.
#![cfg(all(feature = "responses", feature = "async", feature = "mock"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::broker::{
    AsyncBroker, AsyncBrokerProxy, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange,
    ImmediateBroker, InstrumentInfo, Interval, MissingListing, MissingListings, Rows, lanes,
};
use lanekeeper::jiff::civil::date;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{Instrument, ManualClock, MockBroker, PriorUsage, delegate_async_broker};
use support::tasks::Task;

const HOUR: Duration = Duration::from_secs(3600);

struct Adapter {
    inner: ImmediateBroker<MockBroker>,
    is_listed: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    missing: MissingListings,
}

#[lanekeeper::async_trait]
impl AsyncBroker for Adapter {
    delegate_async_broker! { to self.inner; except missing_listing, instruments, candles }

    fn missing_listing(&self, _: &CandleRequest) -> Option<MissingListing> {
        self.missing.get(&Exchange::Nse, || !self.is_listed.load(Ordering::SeqCst))
    }

    async fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.is_listed.store(true, Ordering::SeqCst);
        Ok(Rows::default())
    }

    async fn candles(&self, _: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        match self.is_listed.load(Ordering::SeqCst) {
            true => Ok(Rows::default()),
            false => Err(BrokerError::NotSent(ErrorDetail::new("not listed").local())),
        }
    }
}

fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    Task::new(future).run_now()
}

#[test]
fn a_listing_is_fetched_past_the_cache_for_tasks_too() {
    let (is_listed, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let adapter = Adapter {
        inner: ImmediateBroker(MockBroker::new()),
        is_listed: Arc::clone(&is_listed),
        asked: Arc::clone(&asked),
        missing: MissingListings::new(),
    };
    let unlimited = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .budget(lanes::ORDERS, Quota::unlimited());
    let broker = AsyncBrokerProxy::builder(adapter)
        .limits(unlimited)
        .prior_usage(PriorUsage::None)
        .clock(ManualClock::new())
        .response_ttl("instruments", HOUR)
        .build()
        .unwrap();
    let own = broker.clone();
    run(async move { own.instruments(Some(&Exchange::Nse)).await }).unwrap();
    // The listing is kept, and the adapter has forgotten it, for example because an instrument is newer.
    is_listed.store(false, Ordering::SeqCst);
    let day = date(2026, 1, 6);
    let infy = Instrument::new("NSE", "INFY");
    let request =
        CandleRequest::new(infy, Interval::Minute, day.at(9, 15, 0, 0), day.at(15, 30, 0, 0));
    let answer = run(async move { broker.candles(&request).await });
    assert!(answer.is_ok());
}
