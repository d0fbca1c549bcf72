//! What can go wrong at a broker, classed by what a caller may do next.
//!
//! The class is decided once, by the adapter, which alone has seen the status and the message. The
//! question that matters most is whether an order may have been executed; so it has a method of its
//! own, [`BrokerError::was_sent`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instrument::Instrument;
use super::order::{SliceOutcome, SlicedOrder};
use crate::{ErrorClass, Failure, Reachability, Sent, Throttling};

/// What the broker said, or what was seen of the failure. Holds no secrets: adapters must not put
/// headers or tokens here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorDetail {
    /// In words.
    pub message: String,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The broker's own code for the error (Kite: `error_type`).
    pub code: Option<String>,
    /// When the call could go, from when it was refused; if whoever refused it knows.
    pub retry_in: Option<Duration>,
    /// How far somebody has followed up a write of unknown outcome, if somebody has.
    pub lookup: Option<Box<OrderLookup>>,
    /// The broker said that calls come too fast, though what became of this one is unknown.
    pub throttling: Option<Throttling>,
    /// The call was refused on this side before anything was tried, as for a bad argument. So it
    /// says nothing of the broker.
    pub local: bool,
}

/// How far a write of unknown outcome was followed up, for whoever goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderLookup {
    /// The tag by which the order is to be looked for. A change or a cancellation has none: its
    /// order has an id.
    pub tag: Option<String>,
    /// What was seen so far.
    pub result: LookupResult,
}

impl OrderLookup {
    /// A trail that was followed up to here.
    pub fn new(tag: Option<String>, seen: LookupResult) -> Self {
        Self { tag, result: seen }
    }
}

/// What the broker's book showed of a write whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupResult {
    /// The book was read cleanly, the last two times after the settle time, and shows no trace of the write.
    Absent(Absence),
    /// The book was read and shows no trace of the write so far. The caller left before the settle time was over, so
    /// that says nothing.
    NotYet,
    /// The book was read, and shows something from which nobody can tell: the message says what.
    Unclear,
    /// The book could not be read in time, shows no tags at all, or was not looked into.
    Unreadable,
}

/// The evidence that a write did not reach the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Absence {
    /// How often the book was read cleanly, and did not show the write.
    pub reads: u32,
    /// From the first of these looks to the last.
    pub span: Duration,
    /// When the last of them was sent, by the clock on this machine's wall.
    pub last_at: Timestamp,
}

impl Absence {
    /// So many clean looks over so long a time, the last one at `last_at`.
    pub fn new(looks: u32, over: Duration, last_at: Timestamp) -> Self {
        Self { reads: looks, span: over, last_at }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads: looks, span: over, last_at } = self;
        write!(f, "{looks} clean looks over {over:?}, the last at {last_at:.0}")
    }
}

impl ErrorDetail {
    /// The same, and these words besides.
    pub(crate) fn append_message(mut self, words: &str) -> Self {
        let separator = if self.message.is_empty() { "" } else { "; " };
        self.message = format!("{}{separator}{words}", self.message);
        self
    }

    /// Words alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// With the HTTP status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With the broker's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With when the call could go, from now.
    #[must_use]
    pub fn retry_in(mut self, wait: Duration) -> Self {
        self.retry_in = Some(wait);
        self
    }

    /// With the broker's word that calls come too fast, and how long it asked to wait.
    #[must_use]
    pub fn throttled(mut self, retry_after: Option<Duration>) -> Self {
        self.throttling = Some(Throttling::new(retry_after));
        self
    }

    /// Of a call that was refused on this side before anything was tried.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// With how far it was followed up.
    #[must_use]
    pub fn lookup(mut self, trail: OrderLookup) -> Self {
        self.lookup = Some(Box::new(trail));
        self
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

/// A call to a broker that brought no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Refused for coming too fast; not executed. Wait, then send it again.
    #[error("throttled by the broker, not executed: {detail}")]
    Throttled {
        /// How long the broker asked to wait, if it said.
        retry_after: Option<Duration>,
        /// What it said.
        detail: ErrorDetail,
    },
    /// It never left this process: bad arguments, no connection, a full queue. Nothing happened at
    /// the broker.
    #[error("not sent: {0}")]
    NotSent(ErrorDetail),
    /// A call that changes nothing failed on the way. It may be asked again.
    #[error("failed on the way, may be asked again: {0}")]
    Transient(ErrorDetail),
    /// A call that changes something was sent, and no answer tells what became of it. Look in the
    /// order book before sending it again.
    #[error("outcome unknown, look in the order book before sending again: {0}")]
    OutcomeUnknown(ErrorDetail),
    /// A call that changes something was sent, no answer came, and the broker's book does not show it: it was
    /// read cleanly twice after the settle time. An [`OrderGuard`](crate::OrderGuard) says so; its evidence is in
    /// [`absence`](Self::absence). It goes on watching, and tells if the write turns up after all.
    #[error("sent, and the order book does not show it: {0}")]
    Absent(ErrorDetail),
    /// The answer to a call that changes nothing arrived and cannot be decoded. Asked again, the
    /// broker would send the same, so nothing asks again by itself.
    #[error("the answer cannot be decoded: {0}")]
    Malformed(ErrorDetail),
    /// The broker understood and refused: no funds, a bad price, no such order.
    #[error("rejected by the broker: {0}")]
    Rejected(ErrorDetail),
    /// The broker does not take the credentials: a dead or a wrong token. Nothing was executed, and
    /// nothing will be until there are new ones.
    #[error("the broker does not take the credentials: {0}")]
    Unauthorized(ErrorDetail),
    /// The broker divided the order into slices, of which some are in the market and some are not, or may
    /// not be; or no id stands for the whole. Sent again, it would be placed twice in part.
    #[error("placed in part, look at its slices before anything else: {0}")]
    PartlyPlaced(Box<SlicedOrder>),
    /// Nothing will work until somebody mends it: a blocked app, a wrong address.
    #[error("cannot go on: {0}")]
    Fatal(ErrorDetail),
    /// The broker has no data for the instrument.
    #[error("no quote for {instrument}: the broker has no data for it")]
    NoQuote {
        /// The one asked for.
        instrument: Instrument,
    },
}

impl BrokerError {
    /// Whether the call left this process.
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

    /// What kind of failure it is, without the words.
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

    /// All that a lane has to know of it: the class, whether the broker answered at all, and whether
    /// it said that calls come too fast.
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

    /// The evidence that the write did not reach the broker, if there is any.
    ///
    /// ```
    /// use lanekeeper::broker::BrokerError;
    ///
    /// fn may_be_placed_anew(error: &BrokerError) -> bool {
    ///     // Three looks at a book that can be read are enough for this strategy.
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

    /// What was said, where something was. Of an order in slices something is said of each slice, and
    /// nothing of the whole.
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

/// What was said of the speed of calls where a slice was not placed.
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
    fn an_order_placed_in_part_was_answered_and_is_never_sent_again() {
        let order = |why: ErrorDetail| {
            let slices = [Slice::placed(OrderId::new("1")), Slice::rejected(why)];
            BrokerError::PartlyPlaced(Box::new(SlicedOrder::new(None, 10, slices)))
        };
        let error = order(ErrorDetail::new("no funds"));
        assert_eq!((error.class(), error.was_sent()), (ErrorClass::PartlyDone, Sent::Yes));
        let failure = error.failure();
        assert_eq!((failure.reachability, failure.throttling), (Reachability::Answered, None));
        let words = "placed in part, look at its slices before anything else: 1 of 2 slices placed \
                     (1), 1 rejected (first: no funds)";
        assert_eq!(error.to_string(), words);
        // That a slice came too fast slows the lane down.
        let failure = order(ErrorDetail::new("too many").throttled(None)).failure();
        assert_eq!(failure.throttling, Some(Throttling::new(None)));
    }
}
