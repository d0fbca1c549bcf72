//! One request for quotes, as a future, and the time that it may take.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{AsyncBroker, BrokerError, ErrorDetail, Instrument, Quote};
use crate::cache::batch::fetch::Batch;
use crate::cache::batch::task_fetcher::FetchFuture;
use crate::cache::quote::fetch::{Answers, QuoteFetchError, late, to_answers};
use crate::clock::{Clock, Timer};

/// The requests of a cache.
pub(super) struct Requests<B> {
    broker: Arc<B>,
    clock: Clock,
    timer: Timer,
    /// How long a request may take. The tasks that wait for it have deadlines of their own.
    deadline: Option<Duration>,
}

impl<B> Clone for Requests<B> {
    fn clone(&self) -> Self {
        let Self { broker, clock, timer, deadline } = self;
        let (broker, clock, timer) = (Arc::clone(broker), clock.clone(), timer.clone());
        Self { broker, clock, timer, deadline: *deadline }
    }
}

impl<B: AsyncBroker + 'static> Requests<B> {
    pub(super) fn new(broker: Arc<B>, clock: Clock, deadline: Option<Duration>) -> Self {
        Self { broker, timer: Timer::new(clock.clone()), clock, deadline }
    }

    /// Returns a future that sends one request.
    pub(super) fn send(
        &self,
        batch: Batch<Instrument>,
    ) -> FetchFuture<Instrument, Quote, QuoteFetchError> {
        let own = self.clone();
        Box::pin(async move {
            let until = own.deadline.map(|limit| own.clock.now() + limit);
            match own.timer.within(until, own.fetch(&batch)).await {
                Some(answers) => answers,
                None => Err(QuoteFetchError::Broker(own.timed_out(&batch))),
            }
        })
    }

    async fn fetch(&self, batch: &Batch<Instrument>) -> Result<Answers, QuoteFetchError> {
        let quotes = self.broker.quotes_of(&late(batch)).await?;
        Ok(to_answers(batch, quotes, &self.clock))
    }

    fn timed_out(&self, batch: &Batch<Instrument>) -> BrokerError {
        let limit = self.deadline.unwrap_or_default();
        let detail = ErrorDetail::new(format!("quotes: the request had no answer after {limit:?}"));
        match batch.sent() {
            Some(_) => BrokerError::Transient(detail),
            None => BrokerError::NotSent(detail),
        }
    }
}
