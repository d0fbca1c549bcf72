//! The effect of a call and the class of a failure, from which callers decide what is safe to do next.

use std::time::Duration;

use crate::Sent;

/// Whether a call changes anything at the broker. It decides what is safe after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Reads only. It may be repeated.
    Read,
    /// Changes something. It is sent again only if it certainly was not executed.
    Write,
}

/// The class of a failure. The adapter decides it once, since only the adapter sees the status and the message. What is
/// safe to do next follows from the class, and from whether the call reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The broker refused the call for coming too fast, and did not execute it.
    Throttled {
        /// How long the broker asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The call certainly never left this process.
    NotSent,
    /// A read failed on the way.
    Transient,
    /// The call was sent, and its outcome is unknown.
    Unknown,
    /// The answer to a read arrived and cannot be decoded. The next answer would look the same, so the read is not
    /// retried.
    Malformed,
    /// The broker refuses the credentials: no call works until there are new ones. The call was not executed.
    Unauthorized,
    /// The broker understood the call and refused it.
    Rejected,
    /// The broker executed a part of the call and refused the rest. The answer has the details. Sent again, that part
    /// would be executed twice.
    PartlyDone,
    /// No call works until an operator fixes the cause.
    Fatal,
}

impl ErrorClass {
    /// Returns the class of a failure of which nothing more is known.
    pub(crate) fn unknown(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Transient,
            Effect::Write => Self::Unknown,
        }
    }

    /// Returns a fixed word for the class, for a label or a log field. The set of words is small and closed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::NotSent => "not_sent",
            Self::Transient => "transient",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::PartlyDone => "partly_done",
            Self::Fatal => "fatal",
        }
    }

    /// Returns whether the call left this process.
    pub fn was_sent(self) -> Sent {
        match self {
            Self::NotSent => Sent::No,
            Self::Transient | Self::Unknown => Sent::Unknown,
            Self::Throttled { .. }
            | Self::Malformed
            | Self::Unauthorized
            | Self::Rejected
            | Self::PartlyDone
            | Self::Fatal => Sent::Yes,
        }
    }
}

/// Whether a failed call shows that the broker can be reached. A circuit breaker counts nothing else. What an answer
/// says is for the caller to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// An answer arrived, whatever its content, and whether or not it could be decoded.
    Answered,
    /// No connection was made, or no answer came.
    Unreachable,
    /// The call was refused on this side before anything was tried, for example because of an invalid argument. With
    /// [`ErrorClass::NotSent`], the failure is [local](Failure::is_local).
    NotTried,
}

/// A report by the broker that calls come too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Throttling {
    /// How long the broker asked to wait, if it did.
    pub retry_after: Option<Duration>,
}

impl Throttling {
    /// Creates a report, with how long to wait if the broker said so.
    pub fn new(retry_after: Option<Duration>) -> Self {
        Self { retry_after }
    }
}

/// Everything that a lane has to know about a failed call. What may be done with the call follows from its class. The
/// other two fields are about the broker, and independent of the class: a write that is answered with 500 has an
/// unknown outcome, but the broker certainly answers.
///
/// ```
/// use lanekeeper::{ErrorClass, Failure, Reachability};
///
/// // By its class alone, a call without an outcome had no answer.
/// let lost = Failure::from(ErrorClass::Unknown);
/// assert_eq!(lost.reachability, Reachability::Unreachable);
/// // An adapter that saw an answer says so.
/// let refused_by_a_gateway = lost.with_reachability(Reachability::Answered);
/// assert_eq!(refused_by_a_gateway.class, ErrorClass::Unknown);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Failure {
    /// The class of the failure.
    pub class: ErrorClass,
    /// Whether the broker can be reached.
    pub reachability: Reachability,
    /// Whether the broker reported that calls come too fast. It may do so for a call whose outcome is unknown.
    pub throttling: Option<Throttling>,
}

impl Failure {
    /// Returns the failure of a call that the adapter refused before anything was tried: a bad argument, or
    /// something missing that the call needs.
    ///
    /// A lane treats such a call as one that was never made. It is not retried, its slots are free again at once, and
    /// it counts in no breaker, throttle, retry budget or round trip. A connection that was tried and failed is not
    /// local: the attempt may have reached a counter of the broker. Its failure is [`ErrorClass::NotSent`] alone.
    ///
    /// ```
    /// use lanekeeper::{ErrorClass, Failure};
    ///
    /// assert!(Failure::local().is_local());
    /// assert!(!Failure::from(ErrorClass::NotSent).is_local());
    /// ```
    pub fn local() -> Self {
        Self::from(ErrorClass::NotSent).with_reachability(Reachability::NotTried)
    }

    /// Returns whether the call was refused before anything was tried, see [`Failure::local`].
    ///
    /// A failure that contradicts itself is not local, so its call keeps its slots: one of another class than
    /// [`ErrorClass::NotSent`], or with a report of the broker.
    pub fn is_local(&self) -> bool {
        (self.class, self.reachability) == (ErrorClass::NotSent, Reachability::NotTried)
            && self.throttling.is_none()
    }

    /// Returns a fixed word for the failure, for a label or a log field: `local`, or the word of its class.
    pub fn as_str(&self) -> &'static str {
        if self.is_local() { "local" } else { self.class.as_str() }
    }

    /// Replaces whether the broker can be reached.
    #[must_use]
    pub fn with_reachability(mut self, reachability: Reachability) -> Self {
        self.reachability = reachability;
        self
    }

    /// Adds a report that calls come too fast, if there is one.
    #[must_use]
    pub fn with_throttling(mut self, throttling: Option<Throttling>) -> Self {
        self.throttling = throttling.or(self.throttling);
        self
    }
}

impl From<ErrorClass> for Failure {
    /// Derives the other fields from the class. For a call that was not sent, it assumes that no connection was made.
    fn from(class: ErrorClass) -> Self {
        let (reachability, throttling) = match class {
            ErrorClass::Throttled { retry_after } => {
                (Reachability::Answered, Some(Throttling { retry_after }))
            }
            ErrorClass::Malformed
            | ErrorClass::Unauthorized
            | ErrorClass::Rejected
            | ErrorClass::PartlyDone
            | ErrorClass::Fatal => (Reachability::Answered, None),
            ErrorClass::NotSent | ErrorClass::Transient | ErrorClass::Unknown => {
                (Reachability::Unreachable, None)
            }
        };
        Self { class, reachability, throttling }
    }
}
