//! What a caller may say about its calls.

use std::sync::Arc;
use std::time::Duration;

use super::priority::Priority;

/// Who calls, how urgently, and until when. What is not said is as the trait says.
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
}

impl CallOptions {
    /// As the trait says.
    pub fn new() -> Self {
        Self::default()
    }

    /// On behalf of `user`. Users of one priority take turns.
    #[must_use]
    pub fn user(mut self, user: impl Into<Arc<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// With this priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Each call has to be answered within `deadline` of being made. One that could not be sent by
    /// then is refused at once; an urgent one waits until the deadline passes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How old an answer from memory may be, in place of what the cache was set up with. Zero: only
    /// the answer to a request that is sent after the call. Where nothing is remembered, as in a
    /// proxy without a [`QuoteCache`](crate::cache::QuoteCache), it says nothing.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}
