//! The errors with which a lane answers in place of the broker.

use std::time::Duration;

use crate::{Effect, ErrorClass, Sent};

/// An error from the lane itself, not from the broker.
///
/// The error type of a proxied trait implements `From<LaneError>`. Use [`was_sent`](Self::was_sent) to decide what to
/// do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} in lane `{lane}`: {kind}")]
#[non_exhaustive]
pub struct LaneError {
    /// The lane.
    pub lane: &'static str,
    /// The method that was called.
    pub method: &'static str,
    /// Whether the call changes anything at the broker.
    pub effect: Effect,
    /// What happened.
    pub kind: LaneErrorKind,
}

/// Why a lane answered in place of the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneErrorKind {
    /// The queue is full.
    #[error("not sent: {capacity} calls wait already, call again later")]
    QueueFull {
        /// The maximum number of queued calls.
        capacity: usize,
    },
    /// A call of a higher priority needed the queue slot.
    #[error("not sent: it gave its place in the full queue to a more urgent call")]
    Shed,
    /// The lane is shut.
    #[error("not sent: the lane is closed")]
    Closed,
    /// The call was cancelled through its ticket.
    #[error("not sent: cancelled")]
    Cancelled,
    /// The deadline passed while the call was queued. It was not sent, and never will be.
    #[error("not sent: its deadline passed after {waited:?} in the queue")]
    DeadlinePassed {
        /// How long the call was queued, or waited for a call that it needs first.
        waited: Duration,
    },
    /// The call was not queued, because its turn would come after its deadline.
    #[error("not sent: it could go in about {:?}, which is after its deadline", round_up_to_millis(*retry_in))]
    TooLate {
        /// When the call could be sent, from now.
        retry_in: Duration,
    },
    /// The call weighs more than some window ever allows.
    #[error("not sent: it weighs more than the quota or a budget ever allows at once")]
    TooHeavy,
    /// The call names a lane or a budget that does not exist, see [`LaneCall`](crate::LaneCall).
    #[error("not sent: there is no {what} `{name}`; there are: {known}")]
    UnknownName {
        /// `lane` or `budget`.
        what: &'static str,
        /// The name that does not exist.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The circuit breaker of the call's route class is open: too many recent calls got no answer.
    #[error("not sent: the broker was silent too often lately{}", retry_hint(*retry_in))]
    BrokerDown {
        /// When the breaker lets calls through again, from now, if known.
        retry_in: Option<Duration>,
    },
    /// The broker has refused the credentials, and the lane is configured not to wait for new ones.
    #[error("not sent: the broker does not take the credentials, log in again")]
    SessionExpired,
    /// A reentrant call: a call of the same lane made it and waits for it, and such waiting calls hold all workers or
    /// all slots, so that none of them would ever end. A broker that calls its own proxy needs more
    /// [`in_flight`](super::LaneConfig::in_flight), a larger quota, or a way around the proxy.
    #[error(
        "not sent: it was made from within calls of its own lane that hold all the workers or slots, and would wait for itself; call the broker without the proxy, or raise `in_flight` or the quota"
    )]
    Reentrant,
    /// The call was sent, and its deadline passed before an answer came. Its outcome is unknown. The observer is
    /// notified once it is known.
    #[error("sent, and not answered by its deadline: what became of it is unknown")]
    Unanswered,
    /// The call was sent, and no answer came within the limit of a drain, or within ten seconds after the proxy was
    /// dropped. Its outcome is unknown. The observer is notified if an answer comes.
    #[error("sent, and not answered by the time the lane was shut: what became of it is unknown")]
    CutOff,
    /// The broker's code panicked. The outcome of the call is unknown.
    #[error("the broker's code panicked, what became of it is unknown: {message}")]
    Panicked {
        /// The panic message.
        message: String,
    },
    /// The caller made the call itself, by a [`Turn`](super::Turn), and dropped it before it ended. Its outcome is
    /// unknown.
    #[error(
        "begun, and given up by its caller before an answer came: what became of it is unknown"
    )]
    Dropped,
    /// The answer was already taken through the same ticket.
    #[error("its answer was taken already")]
    AlreadyTaken,
}

impl LaneErrorKind {
    /// Returns a fixed word for the kind, for a label or a log field. The set of words is small and closed.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::Shed => "shed",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
            Self::DeadlinePassed { .. } => "deadline_passed",
            Self::TooLate { .. } => "too_late",
            Self::TooHeavy => "too_heavy",
            Self::UnknownName { .. } => "unknown_name",
            Self::BrokerDown { .. } => "broker_down",
            Self::SessionExpired => "session_expired",
            Self::Reentrant => "reentrant",
            Self::Unanswered => "no_answer",
            Self::CutOff => "cut_off",
            Self::Dropped => "dropped",
            Self::Panicked { .. } => "panicked",
            Self::AlreadyTaken => "taken",
        }
    }
}

impl LaneError {
    /// Returns whether the call left this process.
    pub fn was_sent(&self) -> Sent {
        self.class().was_sent()
    }

    /// Returns the class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self.kind {
            LaneErrorKind::QueueFull { .. }
            | LaneErrorKind::Shed
            | LaneErrorKind::Closed
            | LaneErrorKind::Cancelled
            | LaneErrorKind::DeadlinePassed { .. }
            | LaneErrorKind::TooLate { .. }
            | LaneErrorKind::TooHeavy
            | LaneErrorKind::UnknownName { .. }
            | LaneErrorKind::BrokerDown { .. }
            | LaneErrorKind::SessionExpired
            | LaneErrorKind::Reentrant => ErrorClass::NotSent,
            LaneErrorKind::Unanswered
            | LaneErrorKind::CutOff
            | LaneErrorKind::Dropped
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

/// Rounds up to whole milliseconds. The estimate is not more precise than that.
pub(super) fn round_up_to_millis(wait: Duration) -> Duration {
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
