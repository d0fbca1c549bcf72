//! Errors of a broker, classified by what the caller may do next.
//!
//! The adapter decides the class once, because it alone sees the status and the message. The most
//! important question is whether an order may have been executed, so it has its own method:
//! [`BrokerError::was_sent`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instrument::Instrument;
use super::order::{SliceOutcome, SlicedOrder};
use crate::{ErrorClass, Failure, Reachability, Sent, Throttling};

/// The broker's message, or the observed failure. Holds no secrets: adapters must not put headers
/// or tokens here.
///
/// A text converts to a detail without a status or a code:
///
/// ```
/// use lanekeeper::{BrokerError, ErrorDetail};
///
/// fn check_funds(funds: u32, price: u32) -> Result<(), BrokerError> {
///     match funds >= price {
///         true => Ok(()),
///         false => Err(BrokerError::Rejected(format!("{funds} of {price} rupees").into())),
///     }
/// }
/// assert_eq!(check_funds(1, 2).map_err(|error| error.to_string()),
///            Err("rejected by the broker: 1 of 2 rupees".to_owned()));
/// // With more than a text:
/// let detail = ErrorDetail::new("no funds").status(400).code("MarginException");
/// assert_eq!(detail.to_string(), "no funds (HTTP 400, MarginException)");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorDetail {
    /// The message as text.
    pub message: String,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The broker's own code for the error (Kite: `error_type`).
    pub code: Option<String>,
    /// How long after the refusal the call could be sent, if that is known.
    pub retry_in: Option<Duration>,
    /// How far a write of unknown outcome was looked up, if it was.
    pub lookup: Option<Box<OrderLookup>>,
    /// The broker reported that calls come too fast, although the outcome of this call is unknown.
    pub throttling: Option<Throttling>,
    /// The call was refused in this process before anything was tried, for example for a bad
    /// argument. So the error is no evidence about the broker. In a [`BrokerError::NotSent`], a lane
    /// does not retry the call and gives its slots back at once, see
    /// [`Failure::local`](crate::Failure::local).
    pub local: bool,
}

/// How far a write of unknown outcome was looked up, so that a caller can continue the lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderLookup {
    /// The tag to look up the order by. A change or a cancellation has none, because its order has
    /// an id.
    pub tag: Option<String>,
    /// The result of the lookup so far.
    pub result: LookupResult,
}

impl OrderLookup {
    /// Creates the state of a lookup.
    pub fn new(tag: Option<String>, result: LookupResult) -> Self {
        Self { tag, result }
    }
}

/// What the broker's order book showed of a write whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupResult {
    /// The book was read cleanly, the last two times after the settle time, and shows no trace of
    /// the write.
    Absent(Absence),
    /// The book was read and shows no trace of the write so far. The caller left before the settle
    /// time was over, so this is not conclusive.
    NotYet,
    /// The book was read, and what it shows is ambiguous. The message describes it.
    Unclear,
    /// The book could not be read in time, shows no tags at all, or was not read.
    Unreadable,
}

/// The evidence that a write did not reach the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Absence {
    /// The number of clean reads of the order book that did not show the write.
    pub reads: u32,
    /// The time from the first of these reads to the last.
    pub span: Duration,
    /// When the last of them was sent, by the wall clock of this machine.
    pub last_at: Timestamp,
}

impl Absence {
    /// Creates the evidence of `reads` clean reads within `span`, the last one sent at `last_at`.
    pub fn new(reads: u32, span: Duration, last_at: Timestamp) -> Self {
        Self { reads, span, last_at }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, span, last_at } = self;
        write!(f, "{reads} clean reads over {span:?}, the last at {last_at:.0}")
    }
}

impl ErrorDetail {
    /// Appends a text to the message.
    pub(crate) fn append_message(mut self, text: &str) -> Self {
        let separator = if self.message.is_empty() { "" } else { "; " };
        self.message = format!("{}{separator}{text}", self.message);
        self
    }

    /// Creates a detail with only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Sets the HTTP status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the broker's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets how long from now the call could be sent.
    #[must_use]
    pub fn retry_in(mut self, wait: Duration) -> Self {
        self.retry_in = Some(wait);
        self
    }

    /// Sets that the broker reported calls that come too fast, and how long it asked to wait.
    #[must_use]
    pub fn throttled(mut self, retry_after: Option<Duration>) -> Self {
        self.throttling = Some(Throttling::new(retry_after));
        self
    }

    /// Marks a call that was refused in this process before anything was tried.
    ///
    /// ```
    /// use lanekeeper::broker::{BrokerError, ErrorDetail};
    ///
    /// let refused = BrokerError::NotSent(ErrorDetail::new("the quantity is zero").local());
    /// assert!(refused.failure().is_local());
    /// ```
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// Sets how far the write was looked up.
    #[must_use]
    pub fn lookup(mut self, lookup: OrderLookup) -> Self {
        self.lookup = Some(Box::new(lookup));
        self
    }
}

impl From<&str> for ErrorDetail {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for ErrorDetail {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, " (HTTP {status}, {code})"),
            (Some(status), None) => write!(f, " (HTTP {status})"),
            (None, Some(code)) => write!(f, " ({code})"),
            (None, None) => Ok(()),
        }
    }
}

/// The error of a call to a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Refused because calls came too fast, and not executed. Wait, then send it again.
    #[error("throttled by the broker, not executed: {detail}")]
    Throttled {
        /// How long the broker asked to wait, if it named a time.
        retry_after: Option<Duration>,
        /// The broker's message.
        detail: ErrorDetail,
    },
    /// The call never left this process: bad arguments, no connection, a full queue. Nothing
    /// happened at the broker.
    #[error("not sent: {0}")]
    NotSent(ErrorDetail),
    /// A read failed on the way. It may be retried.
    #[error("failed on the way, may be asked again: {0}")]
    Transient(ErrorDetail),
    /// A write was sent, and its outcome is unknown because no answer came. Check the order book
    /// before sending it again.
    #[error("outcome unknown, look in the order book before sending again: {0}")]
    OutcomeUnknown(ErrorDetail),
    /// A write was sent, no answer came, and the broker's order book does not show it: the book was
    /// read cleanly twice after the settle time. [`OrderGuard`](crate::OrderGuard) returns this,
    /// with its evidence in [`absence`](Self::absence). The guard continues to watch, and reports
    /// the write if it appears later.
    #[error("sent, and the order book does not show it: {0}")]
    Absent(ErrorDetail),
    /// The answer to a read arrived and cannot be decoded. It is not retried automatically, because
    /// the broker would send the same answer again.
    #[error("the answer cannot be decoded: {0}")]
    Malformed(ErrorDetail),
    /// The broker understood the call and rejected it: no funds, a bad price, no such order.
    #[error("rejected by the broker: {0}")]
    Rejected(ErrorDetail),
    /// The broker does not accept the credentials: an expired or a wrong token. Nothing was
    /// executed, and no call will succeed until the credentials are replaced.
    #[error("the broker does not take the credentials: {0}")]
    Unauthorized(ErrorDetail),
    /// The broker split the order into slices. Some are in the market, and others are not, or may
    /// not be. Or no single id stands for the whole order. Sent again, a part of it would be placed
    /// twice.
    #[error("placed in part, look at its slices before anything else: {0}")]
    PartlyPlaced(Box<SlicedOrder>),
    /// No call will succeed until an operator fixes the cause: a blocked app, a wrong address.
    #[error("cannot go on: {0}")]
    Fatal(ErrorDetail),
    /// The broker has no data for the instrument.
    #[error("no quote for {instrument}: the broker has no data for it")]
    NoQuote {
        /// The requested instrument.
        instrument: Instrument,
    },
}

impl BrokerError {
    /// Returns whether the call left this process.
    ///
    /// ```
    /// use lanekeeper::Sent;
    /// use lanekeeper::broker::{BrokerError, ErrorDetail};
    ///
    /// let lost = BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset"));
    /// assert_eq!(lost.was_sent(), Sent::Unknown);
    /// ```
    pub fn was_sent(&self) -> Sent {
        self.class().was_sent()
    }

    /// Returns the class of the failure, without the message.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Throttled { retry_after, .. } => {
                ErrorClass::Throttled { retry_after: *retry_after }
            }
            Self::NotSent(_) => ErrorClass::NotSent,
            Self::Transient(_) => ErrorClass::Transient,
            Self::OutcomeUnknown(_) | Self::Absent(_) => ErrorClass::Unknown,
            Self::Malformed(_) => ErrorClass::Malformed,
            Self::Unauthorized(_) => ErrorClass::Unauthorized,
            Self::Rejected(_) | Self::NoQuote { .. } => ErrorClass::Rejected,
            Self::PartlyPlaced(_) => ErrorClass::PartlyDone,
            Self::Fatal(_) => ErrorClass::Fatal,
        }
    }

    /// Returns what a lane needs to know of the failure: its class, whether the broker answered at
    /// all, and whether it reported calls that come too fast.
    ///
    /// ```
    /// use lanekeeper::Reachability;
    /// use lanekeeper::broker::{BrokerError, ErrorDetail};
    ///
    /// let error = BrokerError::OutcomeUnknown(ErrorDetail::new("bad gateway").status(502));
    /// assert_eq!(error.failure().reachability, Reachability::Answered);
    /// ```
    pub fn failure(&self) -> Failure {
        let failure = Failure::from(self.class());
        if let Self::PartlyPlaced(order) = self {
            return failure.with_throttling(throttling(order));
        }
        let Some(detail) = self.detail() else { return failure };
        let reachability = match (detail.local, detail.status) {
            (true, _) => Reachability::NotTried,
            (false, Some(_)) => Reachability::Answered,
            (false, None) => failure.reachability,
        };
        failure.with_reachability(reachability).with_throttling(detail.throttling)
    }

    /// Returns the evidence that the write did not reach the broker, if there is any.
    ///
    /// ```
    /// use lanekeeper::broker::BrokerError;
    ///
    /// fn may_be_placed_anew(error: &BrokerError) -> bool {
    ///     // Three clean reads of the order book are enough for this strategy.
    ///     error.absence().is_some_and(|absence| absence.reads >= 3)
    /// }
    /// # let _ = may_be_placed_anew;
    /// ```
    pub fn absence(&self) -> Option<&Absence> {
        match &self.detail()?.lookup.as_ref()?.result {
            LookupResult::Absent(absence) => Some(absence),
            LookupResult::NotYet | LookupResult::Unclear | LookupResult::Unreadable => None,
        }
    }

    /// Returns the detail, if the error has one. An order in slices has a detail for each slice,
    /// and none for the whole order.
    pub fn detail(&self) -> Option<&ErrorDetail> {
        match self {
            Self::Throttled { detail, .. }
            | Self::NotSent(detail)
            | Self::Transient(detail)
            | Self::OutcomeUnknown(detail)
            | Self::Absent(detail)
            | Self::Malformed(detail)
            | Self::Unauthorized(detail)
            | Self::Rejected(detail)
            | Self::Fatal(detail) => Some(detail),
            Self::PartlyPlaced(_) | Self::NoQuote { .. } => None,
        }
    }
}

/// Returns the throttling of the first slice that reports it.
fn throttling(order: &SlicedOrder) -> Option<Throttling> {
    order.slices.iter().find_map(|slice| match &slice.outcome {
        SliceOutcome::Rejected(detail)
        | SliceOutcome::Absent(detail)
        | SliceOutcome::Unknown(detail) => detail.throttling,
        SliceOutcome::Placed(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{OrderId, Slice};
    use super::*;

    #[test]
    fn a_text_is_a_detail_that_says_nothing_else() {
        assert_eq!(ErrorDetail::from("no funds"), ErrorDetail::new("no funds"));
        let error = BrokerError::Rejected("no funds".into());
        assert_eq!(error, BrokerError::Rejected("no funds".to_owned().into()));
        assert_eq!(error.to_string(), "rejected by the broker: no funds");
    }

    #[test]
    fn an_order_placed_in_part_was_answered_and_is_never_sent_again() {
        let order = |why: ErrorDetail| {
            let slices = [Slice::placed(OrderId::new("1")), Slice::rejected(why)];
            BrokerError::PartlyPlaced(Box::new(SlicedOrder::new(None, 10, slices)))
        };
        let error = order(ErrorDetail::new("no funds"));
        assert_eq!((error.class(), error.was_sent()), (ErrorClass::PartlyDone, Sent::Yes));
        let failure = error.failure();
        assert_eq!((failure.reachability, failure.throttling), (Reachability::Answered, None));
        let text = "placed in part, look at its slices before anything else: 1 of 2 slices placed \
                     (1), 1 rejected (first: no funds)";
        assert_eq!(error.to_string(), text);
        // A slice that came too fast slows down the lane.
        let failure = order(ErrorDetail::new("too many").throttled(None)).failure();
        assert_eq!(failure.throttling, Some(Throttling::new(None)));
    }
}
