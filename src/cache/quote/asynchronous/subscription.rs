//! A subscription to quotes that is awaited.

use crate::broker::{BrokerError, Quotes};
use crate::cache::quote::QuoteSubscription;

/// The new quotes of some instruments, for a task that waits for them.
///
/// Made by [`AsyncQuoteCache::subscribe`](super::AsyncQuoteCache::subscribe). Its items, its errors and its end are those of a
/// [`QuoteSubscription`]. Dropping it ends its requests.
#[derive(Debug)]
pub struct AsyncQuoteSubscription(pub(super) QuoteSubscription);

impl AsyncQuoteSubscription {
    /// Waits for the next item. Returns `None` if the last handle to the cache was dropped, or if there are no instruments.
    ///
    /// Dropping the returned future loses no item. What it requested is then requested with the next request of any task.
    ///
    /// # Errors
    /// As for an item of a [`QuoteSubscription`]. An error does not end the subscription.
    pub async fn next(&mut self) -> Option<Result<Quotes, BrokerError>> {
        let result = self.0.updates.task_next().await?;
        Some(self.0.to_quotes(result))
    }

    /// Returns the next item if there is one already, and does not wait. What is due is requested, and sent once a task waits for
    /// a quote: a loop over this call alone gets nothing new.
    pub fn try_next(&mut self) -> Option<Result<Quotes, BrokerError>> {
        self.0.try_next()
    }

    /// Returns whether there are no more items: the last handle to the cache was dropped, or there are no instruments.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
