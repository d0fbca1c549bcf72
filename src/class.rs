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
pub enum Class {
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
    /// The broker understood it and refused.
    Rejected,
    /// Nothing will work until somebody mends it.
    Fatal,
}

impl Class {
    /// What a failure is taken for of which nothing more is known.
    pub(crate) fn unknown(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Transient,
            Effect::Write => Self::Unknown,
        }
    }

    /// In one word, for a label or a field of a log. A few words, and never others.
    pub fn word(self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::NotSent => "not_sent",
            Self::Transient => "transient",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::Fatal => "fatal",
        }
    }

    /// Whether the call left this process.
    pub fn was_sent(self) -> Sent {
        match self {
            Self::NotSent => Sent::No,
            Self::Transient | Self::Unknown => Sent::Unknown,
            Self::Throttled { .. } | Self::Rejected | Self::Fatal => Sent::Yes,
        }
    }
}
