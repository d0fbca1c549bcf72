//! What a lane answers when the broker did not.

use std::time::Duration;

use crate::{Effect, ErrorClass, Sent};

/// A call that the lane itself had to answer.
///
/// The error type of a proxied trait implements `From<LaneError>`.
/// [`was_sent`](Self::was_sent) says what to think of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} in lane `{lane}`: {kind}")]
#[non_exhaustive]
pub struct LaneError {
    /// The lane.
    pub lane: &'static str,
    /// The method that was called.
    pub method: &'static str,
    /// Whether it changes anything at the broker.
    pub effect: Effect,
    /// What happened.
    pub kind: LaneErrorKind,
}

/// Why a lane answered in place of the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneErrorKind {
    /// Too many calls wait already.
    #[error("not sent: {capacity} calls wait already, call again later")]
    QueueFull {
        /// How many may wait.
        capacity: usize,
    },
    /// A call of a higher priority needed the place.
    #[error("not sent: it gave its place in the full queue to a more urgent call")]
    Shed,
    /// The lane is shut.
    #[error("not sent: the lane is closed")]
    Closed,
    /// Its ticket was cancelled.
    #[error("not sent: cancelled")]
    Cancelled,
    /// Its deadline passed while it waited. It never was and never will be sent.
    #[error("not sent: its deadline passed after {waited:?} in the queue")]
    DeadlinePassed {
        /// How long it waited.
        waited: Duration,
    },
    /// Its turn would come after its deadline, so it was not even queued.
    #[error("not sent: it could go in about {:?}, which is after its deadline", round_up_to_millis(*retry_in))]
    TooLate {
        /// When it could go, from now.
        retry_in: Duration,
    },
    /// It weighs more than some window allows at all.
    #[error("not sent: it weighs more than the quota or a budget ever allows at once")]
    TooHeavy,
    /// The circuit breaker of the call's route class is open: the broker did not answer too often lately.
    #[error("not sent: the broker was silent too often lately{}", retry_hint(*retry_in))]
    BrokerDown {
        /// When calls are let through again, from now; if that is known.
        retry_in: Option<Duration>,
    },
    /// The broker has refused the credentials, and the lane is set up not to wait for new ones.
    #[error("not sent: the broker does not take the credentials, log in again")]
    SessionExpired,
    /// It was made from within a call of the same lane, by code that waits for it, and calls like that hold all
    /// the workers or all the slots: none would ever end. A broker that calls its own proxy needs more
    /// [`in_flight`](super::LaneConfig::in_flight), a larger quota, or a way around the proxy.
    #[error(
        "not sent: it was made from within calls of its own lane that hold all the workers or slots, and would wait for itself; call the broker without the proxy, or raise `in_flight` or the quota"
    )]
    Reentrant,
    /// It was sent, and its deadline passed before an answer came. What became of it is unknown;
    /// the observer is told once it is known.
    #[error("sent, and not answered by its deadline: what became of it is unknown")]
    Unanswered,
    /// It was sent, and no answer had come by the limit of a drain, or ten seconds after the proxy was dropped. What
    /// became of it is unknown; the observer is told if an answer comes.
    #[error("sent, and not answered by the time the lane was shut: what became of it is unknown")]
    CutOff,
    /// The broker's code panicked. What became of the call is unknown.
    #[error("the broker's code panicked, what became of it is unknown: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The answer was taken already, through the same ticket.
    #[error("its answer was taken already")]
    AlreadyTaken,
}

impl LaneErrorKind {
    /// In one word, for a label or a field of a log. A few words, and never others.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::Shed => "shed",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
            Self::DeadlinePassed { .. } => "deadline_passed",
            Self::TooLate { .. } => "too_late",
            Self::TooHeavy => "too_heavy",
            Self::BrokerDown { .. } => "broker_down",
            Self::SessionExpired => "session_expired",
            Self::Reentrant => "reentrant",
            Self::Unanswered => "no_answer",
            Self::CutOff => "cut_off",
            Self::Panicked { .. } => "panicked",
            Self::AlreadyTaken => "taken",
        }
    }
}

impl LaneError {
    /// Whether the call left this process.
    pub fn was_sent(&self) -> Sent {
        self.class().was_sent()
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self.kind {
            LaneErrorKind::QueueFull { .. }
            | LaneErrorKind::Shed
            | LaneErrorKind::Closed
            | LaneErrorKind::Cancelled
            | LaneErrorKind::DeadlinePassed { .. }
            | LaneErrorKind::TooLate { .. }
            | LaneErrorKind::TooHeavy
            | LaneErrorKind::BrokerDown { .. }
            | LaneErrorKind::SessionExpired
            | LaneErrorKind::Reentrant => ErrorClass::NotSent,
            LaneErrorKind::Unanswered
            | LaneErrorKind::CutOff
            | LaneErrorKind::Panicked { .. }
            | LaneErrorKind::AlreadyTaken => ErrorClass::unknown(self.effect),
        }
    }
}

fn retry_hint(retry_in: Option<Duration>) -> String {
    retry_in.map_or_else(String::new, |wait| {
        format!(", call again in about {:?}", round_up_to_millis(wait))
    })
}

/// To the next millisecond: more would be no truth.
fn round_up_to_millis(wait: Duration) -> Duration {
    let excess = wait.subsec_nanos() % 1_000_000;
    let missing = if excess == 0 { 0 } else { 1_000_000 - excess };
    wait.saturating_add(Duration::from_nanos(missing.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_told_in_whole_milliseconds_and_never_too_early() {
        let rounded = |nanos| round_up_to_millis(Duration::from_nanos(nanos));
        assert_eq!(rounded(0), Duration::ZERO);
        assert_eq!(rounded(1), Duration::from_millis(1));
        assert_eq!(rounded(58_989_292_651), Duration::from_millis(58_990));
        assert_eq!(rounded(60_000_000_000), Duration::from_secs(60));
        assert_eq!(round_up_to_millis(Duration::MAX), Duration::MAX);
        let kind = LaneErrorKind::TooLate { retry_in: Duration::from_nanos(1_000_001) };
        assert!(kind.to_string().contains("in about 2ms, which"), "{kind}");
        let broker_down = |retry_in| LaneErrorKind::BrokerDown { retry_in }.to_string();
        let message = broker_down(Some(Duration::from_secs(3)));
        assert!(message.ends_with(", call again in about 3s"), "{message}");
        assert!(!broker_down(None).contains("again"));
    }
}
