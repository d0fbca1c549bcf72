//! Why a request has no response.

use crate::lane::LaneError;
use crate::routes::RouteError;
use crate::sent::Sent;

/// Why a request has no response.
///
/// ```
/// use lanekeeper::outbound::OutboundError;
/// use lanekeeper::{RouteError, Sent};
///
/// let path = RouteError::Path { path: "/a//b".to_owned(), why: "it has an empty segment" };
/// assert_eq!(OutboundError::<String>::from(path).was_sent(), Sent::No);
/// assert_eq!(OutboundError::Service("connection reset").was_sent(), Sent::Unknown);
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError<E> {
    /// The lane gave no turn, or the request was lost. Its [kind](LaneError::kind) says why.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The request is none that the table may look up. It was not sent.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The client did not become ready. The request was not sent.
    #[error("the client is not ready: {0}")]
    NotReady(E),
    /// The client failed. The request may have been sent.
    #[error("the client failed: {0}")]
    Service(E),
}

impl<E> OutboundError<E> {
    /// Returns whether the request was sent.
    pub fn was_sent(&self) -> Sent {
        match self {
            Self::Lane(error) => error.was_sent(),
            Self::Route(_) | Self::NotReady(_) => Sent::No,
            Self::Service(_) => Sent::Unknown,
        }
    }
}
