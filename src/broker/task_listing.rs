//! Listings of instruments that an asynchronous adapter lacks, each fetched once for all tasks that need it.
//!
//! One of the tasks makes the fetch, through the lanes, and the others wait for it. If its future is dropped meanwhile, another
//! one of them makes it anew. What is not shared, and what is not fetched again, is as in `listing.rs`.

use std::sync::Arc;

use super::listing::Listings;
use super::{AsyncBroker, AsyncBrokerProxy, BrokerError, CandleRequest, Exchange, MissingListing};
use crate::lane::{CallOptions, Priority, is_within_call};
use crate::panic::catch_panic;
use crate::quota::Moment;
use crate::task_flight::TaskFlight;

pub(super) type TaskFetch = TaskFlight<Result<(), BrokerError>>;

impl Listings {
    /// Returns the fetch to join, which may be a new one. `None` if a listing has come since `came` had.
    fn join_task(&mut self, exchange: &Exchange, came: u64) -> Option<Arc<TaskFetch>> {
        if came != self.came_of(exchange) {
            return None;
        }
        Some(Arc::clone(self.task_fetches.entry(exchange.clone()).or_default()))
    }

    fn end_task(
        &mut self,
        missing: &MissingListing,
        result: &Result<(), BrokerError>,
        now: Moment,
    ) {
        self.task_fetches.remove(&missing.exchange);
        self.note(&missing.exchange, result, now);
    }
}

impl<T: AsyncBroker + 'static> AsyncBrokerProxy<T> {
    /// Fetches the listing that the adapter lacks for `request`, if it lacks one.
    pub(super) async fn fetch_missing_listing(
        &self,
        request: &CandleRequest,
    ) -> Result<(), BrokerError> {
        // A panic in the adapter must not end its caller. The call itself then shows what is wrong.
        let missing = catch_panic(|| self.inner.missing_listing(request)).ok().flatten();
        let Some(missing) = missing else { return Ok(()) };
        let clock = self.lanes.clock();
        let deadline = self.options.deadline.map(|deadline| clock.now() + deadline);
        let is_urgent = self.options.priority == Some(Priority::URGENT);
        let priority = is_urgent.then_some(Priority::URGENT);
        let fetcher =
            self.with(CallOptions { priority, is_over_limit: true, ..CallOptions::new() });
        let fetch = || async { fetcher.instruments(Some(&missing.exchange)).await.map(drop) };
        if is_urgent || is_within_call() {
            return fetch().await;
        }
        let flight = {
            let mut listings = missing.all.0.lock();
            if let Some(error) = listings.refusal(&missing.exchange, clock.now()) {
                return Err(error);
            }
            listings.join_task(&missing.exchange, missing.came)
        };
        let Some(flight) = flight else { return Ok(()) };
        let member = flight.join();
        if let Some(result) = member.wait(self.lanes.timer(), deadline).await {
            return result;
        }
        let result = member.lead(clock, fetch()).await;
        missing.all.0.lock().end_task(&missing, &result, clock.now());
        member.complete(result.clone());
        result
    }
}
