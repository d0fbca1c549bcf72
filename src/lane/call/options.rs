//! The options that a caller sets for its calls.

use std::sync::Arc;
use std::time::Duration;

use super::priority::Priority;

/// The user, priority, deadline and cache age of calls. An option that is not set is as the trait declares it.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::lane::{CallOptions, Priority};
///
/// let urgent = CallOptions::new()
///     .user("alpha")
///     .priority(Priority::URGENT)
///     .deadline(Duration::from_secs(2));
/// # let _ = urgent;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) priority: Option<Priority>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    /// Queues the call beyond the limit of a full queue, for a call of the library's own that must not block.
    pub(crate) is_over_limit: bool,
    /// Queues the call beside those that count in the limit of the queue: it is neither refused nor shed because the
    /// queue is full, and takes no room of other calls. For calls of the library's own whose number is bounded elsewhere.
    pub(crate) is_uncounted: bool,
}

impl CallOptions {
    /// Returns options with nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the user on whose behalf calls are made. Users of one priority take turns.
    #[must_use]
    pub fn user(mut self, user: impl Into<Arc<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets the time within which each call must be answered. A call that is estimated to be sent later is refused at
    /// once. An urgent call waits until the deadline passes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how old a cached answer may be, in place of the cache's own setting. Zero accepts only the answer to a
    /// request that is sent after the call. It applies to a [`QuoteCache`](crate::cache::QuoteCache), and to methods whose
    /// answers a response cache keeps (feature `responses`), where it can only shorten the time. It has no effect on other
    /// calls.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}
