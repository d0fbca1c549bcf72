//! What a call does and what a failed one was, for whoever has to decide what may be done next.

use std::time::Duration;

use crate::Sent;

/// Whether a call changes anything at the broker. What may be done after a failure follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Only looks. May be asked again.
    Read,
    /// Changes something. Sent again only if it surely was not executed.
    Write,
}

/// The class of a failure. An adapter decides it once, since it alone has seen the status and the
/// words; what is safe to do next follows from it and from whether the call reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Refused for coming too fast, and not executed.
    Throttled {
        /// How long the broker asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// It surely never left this process.
    NotSent,
    /// A call that changes nothing failed on the way.
    Transient,
    /// It was sent, and what became of it is unknown.
    Unknown,
    /// The answer to a read arrived and cannot be decoded. The next one would look the same, so it is
    /// not asked for again.
    Malformed,
    /// The broker does not take the credentials: no call will work until there are new ones. It was not
    /// executed.
    Unauthorized,
    /// The broker understood it and refused.
    Rejected,
    /// The broker did a part of it and refused the rest. The answer says which; sent again, that part
    /// would be done twice.
    PartlyDone,
    /// Nothing will work until somebody mends it.
    Fatal,
}

impl ErrorClass {
    /// What a failure is taken for of which nothing more is known.
    pub(crate) fn unknown(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Transient,
            Effect::Write => Self::Unknown,
        }
    }

    /// In one word, for a label or a field of a log. A few words, and never others.
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

    /// Whether the call left this process.
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

/// Whether a failed call shows that the broker can be reached. A circuit breaker counts nothing else:
/// what an answer says is the business of whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// An answer arrived, whatever it said and whether or not it could be decoded.
    Answered,
    /// No connection was made, or no answer came.
    Unreachable,
    /// The call was refused on this side before anything was tried, as for a bad argument.
    NotTried,
}

/// What the broker said of the speed of the calls: too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Throttling {
    /// How long the broker asked to wait, if it said.
    pub retry_after: Option<Duration>,
}

impl Throttling {
    /// Too fast; wait for `retry_after` if that is given.
    pub fn new(retry_after: Option<Duration>) -> Self {
        Self { retry_after }
    }
}

/// All that a lane has to know of a failed call. What may be done with the call follows from its class;
/// the other two are about the broker, and independent of it: a write answered with 500 has an unknown
/// outcome, at a broker that surely answers.
///
/// ```
/// use lanekeeper::{ErrorClass, Failure, Reachability};
///
/// // By its class alone, a call without an outcome had no answer.
/// let lost = Failure::from(ErrorClass::Unknown);
/// assert_eq!(lost.reachability, Reachability::Unreachable);
/// // It did, if whoever classed it saw one.
/// let refused_by_a_gateway = lost.with_reachability(Reachability::Answered);
/// assert_eq!(refused_by_a_gateway.class, ErrorClass::Unknown);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Failure {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// Whether the broker can be reached.
    pub reachability: Reachability,
    /// Whether the broker said that calls come too fast. It may say so of a call whose outcome is
    /// unknown.
    pub throttling: Option<Throttling>,
}

impl Failure {
    /// The same, with another word on whether the broker can be reached.
    #[must_use]
    pub fn with_reachability(mut self, reachability: Reachability) -> Self {
        self.reachability = reachability;
        self
    }

    /// The same, of a broker that says that calls come too fast.
    #[must_use]
    pub fn with_throttling(mut self, throttling: Option<Throttling>) -> Self {
        self.throttling = throttling.or(self.throttling);
        self
    }
}

impl From<ErrorClass> for Failure {
    /// What the class alone tells. A call that was not sent is taken for one that found no connection.
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
