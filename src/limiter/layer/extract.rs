//! What the rules are to know of a request.

use std::borrow::Cow;

use http::StatusCode;
use http::request::Parts;

use super::check::OwnedRequest;

/// Says what the rules are to know of a request: its path, its entries and its weight. [`Entries`](super::Entries) is the
/// usual one. A closure is one as well.
///
/// ```
/// use http::request::Parts;
/// use lanekeeper::limiter::layer::{OwnedRequest, RateLimitLayer, Rejection};
/// # use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
/// # let limiter = RateLimiter::new(Rules::default(), MemoryStorage::new());
///
/// let layer = RateLimitLayer::new(limiter, |parts: &Parts| {
///     Ok::<_, Rejection>(OwnedRequest::new(parts.uri.path()).entry("method", parts.method.as_str()))
/// });
/// ```
pub trait Extract: Send + Sync + 'static {
    /// Returns what the rules are to know. It is called for each request on the thread of the runtime, so it must not
    /// block.
    ///
    /// # Errors
    /// The request lacks what limits it, or has it in a form that could be used to evade the limit.
    fn extract(&self, parts: &Parts) -> Result<OwnedRequest, Rejection>;
}

impl<F> Extract for F
where
    F: Fn(&Parts) -> Result<OwnedRequest, Rejection> + Send + Sync + 'static,
{
    fn extract(&self, parts: &Parts) -> Result<OwnedRequest, Rejection> {
        self(parts)
    }
}

/// Why a request cannot be judged. It is answered with this status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    status: StatusCode,
    message: Cow<'static, str>,
}

impl Rejection {
    /// Returns a rejection with this status and explanation. The client sees both, so they must have no secret.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into() }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}
