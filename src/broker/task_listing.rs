//! Listings of instruments that an asynchronous adapter lacks, each fetched once for all tasks that need it.
//!
//! One of the tasks makes the fetch, through the lanes, and the others wait for it. If it leaves meanwhile, another one of them
//! makes a fetch of its own. What is not shared, and what is not fetched again, is as in `listing.rs`.

use std::future::pending;
use std::sync::Arc;

use super::listing::{Listings, fetch_options};
use super::{AsyncBroker, AsyncBrokerProxy, BrokerError, CandleRequest, Exchange, lanes};
use crate::panic::catch_panic;
use crate::proxy::LaneCall;
use crate::quota::Moment;
use crate::task_flight::{Follower, Leader, TaskFlight};

pub(super) type ListingFlight = TaskFlight<Listed>;

/// Whether a listing has come.
type Listed = Result<(), BrokerError>;

/// The part of a task in a fetch.
enum Part {
    Leads(Leader<Listed>),
    Follows(Follower<Listed>),
    /// There is nothing to fetch.
    Ended(Listed),
}

impl Listings {
    /// Returns the part of a task that needs the listing, which was missing when `came` had come.
    fn join_task(&mut self, exchange: &Exchange, came: u64, now: Moment) -> Part {
        if let Some(error) = self.refusal(exchange, now) {
            return Part::Ended(Err(error));
        }
        if came != self.came_of(exchange) {
            return Part::Ended(Ok(()));
        }
        match self.task_fetches.get(exchange) {
            Some(known) if !known.is_abandoned() => Part::Follows(known.follow()),
            _ => {
                let leader = ListingFlight::begin();
                self.task_fetches.insert(exchange.clone(), Arc::clone(leader.flight()));
                Part::Leads(leader)
            }
        }
    }

    /// Forgets a fetch that has ended, unless another one has replaced it.
    fn end_task(
        &mut self,
        exchange: &Exchange,
        fetch: &Arc<ListingFlight>,
        result: &Listed,
        now: Moment,
    ) {
        if self.task_fetches.get(exchange).is_some_and(|known| Arc::ptr_eq(known, fetch)) {
            self.task_fetches.remove(exchange);
            self.note(exchange, result, now);
        }
    }
}

impl<T: AsyncBroker + 'static> AsyncBrokerProxy<T> {
    /// Fetches the listing that the adapter lacks for `request`, if it lacks one.
    pub(super) async fn fetch_missing_listing(&self, request: &CandleRequest) -> Listed {
        // A panic in the adapter must not end its caller. The call itself then shows what is wrong.
        let missing = catch_panic(|| self.inner.missing_listing(request)).ok().flatten();
        let Some(missing) = missing else { return Ok(()) };
        let (options, is_shared) = fetch_options(&self.options);
        let exchange = &missing.exchange;
        // As the method `instruments`, but past the cache of its answers: only the adapter's own call brings it the listing.
        let call =
            LaneCall::read(lanes::TRANSACTIONAL).name("instruments").route_class("instruments");
        let fetch = || {
            self.lanes.run(&call, &options, || async {
                self.inner.instruments(Some(exchange)).await.map(drop)
            })
        };
        if !is_shared {
            return fetch().await;
        }
        let clock = self.lanes.clock();
        let deadline = self.options.deadline.map(|deadline| clock.now() + deadline);
        loop {
            let part = missing.all.0.lock().join_task(exchange, missing.came, clock.now());
            match part {
                Part::Ended(result) => return result,
                Part::Leads(leader) => {
                    let result = leader.lead(clock, fetch()).await;
                    let now = clock.now();
                    missing.all.0.lock().end_task(exchange, leader.flight(), &result, now);
                    leader.complete(result.clone());
                    return result;
                }
                Part::Follows(follower) => {
                    if let Some(result) = follower.wait(self.lanes.timer()).await {
                        return result;
                    }
                    if deadline.is_some_and(|deadline| clock.now() >= deadline) {
                        // A task whose wait is over begins no fetch. Its caller is about to end it.
                        pending::<()>().await;
                    }
                }
            }
        }
    }
}
