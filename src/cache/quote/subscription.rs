//! A subscription to quotes: that of the batch cache, in the terms of a broker.

use std::time::Duration;

use super::cache::{QuoteResult, collect_quotes, lost_request};
use super::fetch::QuoteFetchError;
use crate::broker::{BrokerError, Instrument, Quote, Quotes};
use crate::cache::batch::lookup::BatchResult;
use crate::cache::batch::subscription::BatchSubscription;

/// The new quotes of some instruments, as an iterator that waits for them.
///
/// Made by [`QuoteCache::subscribe`](super::QuoteCache::subscribe). The first item is what the cache
/// holds, or what a request brings. Each later item has the quotes that are newer than those of the
/// items before: usually all of one request. While the subscriber waits, its instruments are requested
/// whenever their `ttl` is over.
///
/// **A slow subscriber** gets the latest quotes, and misses those in between. A subscription stores
/// no quotes, and neither the cache nor another caller waits for it. While it is not waiting, its
/// instruments are requested for others only, so after a pause of more than the `ttl` it waits for a
/// request.
///
/// **An error** is an item, and does not end the iteration: `Err` if a request failed, or if every
/// instrument was refused. Otherwise an instrument that was refused, or whose quote cannot be read, is
/// among the [problems](crate::broker::Partial::problems). The next request follows after one `ttl`,
/// and after 1 s at least. An instrument for which the broker has no data is missing from the quotes.
///
/// The iteration ends when the last handle to the cache is dropped. Dropping the subscription ends its
/// requests. Until then the broker behind the cache is not dropped.
#[derive(Debug)]
pub struct QuoteSubscription {
    instruments: Vec<Instrument>,
    pub(super) updates: BatchSubscription<Instrument, Quote, QuoteFetchError>,
}

impl QuoteSubscription {
    pub(super) fn new(
        instruments: &[Instrument],
        updates: BatchSubscription<Instrument, Quote, QuoteFetchError>,
    ) -> Self {
        Self { instruments: instruments.to_vec(), updates }
    }

    /// Waits for the next item, for `timeout` at most. Returns `None` if nothing is new by then, or if
    /// the iteration has ended, see [`is_closed`](Self::is_closed). A request that is under way then
    /// goes on.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Quotes, BrokerError>> {
        let result = self.updates.next_timeout(timeout)?;
        Some(self.to_quotes(result))
    }

    /// Returns the next item if there is one already, and does not wait. Requests what is due.
    pub fn try_next(&mut self) -> Option<Result<Quotes, BrokerError>> {
        let result = self.updates.try_next()?;
        Some(self.to_quotes(result))
    }

    /// Returns whether the iteration has ended: the last handle to the cache was dropped, or there are
    /// no instruments.
    pub fn is_closed(&self) -> bool {
        self.updates.is_closed()
    }

    pub(super) fn to_quotes(
        &self,
        BatchResult { values, failed }: QuoteResult,
    ) -> Result<Quotes, BrokerError> {
        // Quotes that arrived are not lost with a request for others.
        match lost_request(&self.instruments, &failed).filter(|_| values.is_empty()) {
            Some(error) => Err(error),
            None => collect_quotes(&self.instruments, values, failed),
        }
    }
}

impl Iterator for QuoteSubscription {
    type Item = Result<Quotes, BrokerError>;

    /// Waits for the next item. Returns `None` if the last handle to the cache was dropped.
    fn next(&mut self) -> Option<Self::Item> {
        let result = self.updates.next()?;
        Some(self.to_quotes(result))
    }
}
