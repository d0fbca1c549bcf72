//! The inputs and outputs of the circuit breaker.

use serde::Serialize;

use crate::quota::Moment;
use crate::{ErrorClass, Failure, Reachability};

/// The permission to make one call, to be returned with its outcome to
/// [`CircuitBreaker::record`](super::CircuitBreaker::record).
///
/// It carries the generation in which the call was admitted: an outcome that arrives after a change
/// of state is ignored. If the admission of a probe is lost, the breaker waits for it only until
/// the deadline of the probe.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the outcome of the call has to be recorded"]
pub struct Admission {
    pub(super) generation: u64,
    pub(super) probe: Option<u64>,
}

impl Admission {
    /// Returns whether the call is a probe: one of the few that decide whether the breaker closes.
    /// If there is a choice, use a read as the probe, because a read that hangs does no harm.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// The outcome of a call, as evidence of the broker's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The broker can be reached: it answered, even if with an error.
    Success,
    /// The broker could not be reached, or gave no answer.
    Failure,
    /// No evidence: the call was cancelled, or was never sent.
    Ignored,
}

impl From<Failure> for CallOutcome {
    /// Any answer shows that the broker can be reached: a rejection, a 429, a 500, an answer that
    /// cannot be decoded. A refused or lost connection and a missing answer are failures. A call
    /// that was refused in this process is no evidence.
    fn from(failure: Failure) -> Self {
        match failure.reachability {
            Reachability::Answered => Self::Success,
            Reachability::Unreachable => Self::Failure,
            Reachability::NotTried => Self::Ignored,
        }
    }
}

impl From<ErrorClass> for CallOutcome {
    /// Converts like a [`Failure`] of which only the class is known.
    fn from(class: ErrorClass) -> Self {
        Failure::from(class).into()
    }
}

/// The reason why a call was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallNotPermitted {
    /// The broker is taken to be down.
    #[error("the circuit breaker is open")]
    Open {
        /// When the next call is admitted, as a probe.
        until: Moment,
    },
    /// The broker may be back, and the maximum number of probes is in flight.
    #[error("the circuit breaker is half open, and its probes are in flight")]
    Probing {
        /// When this is decided at the latest. Sooner if a probe returns.
        until: Moment,
    },
    /// The breaker was forced open.
    #[error("the circuit breaker is forced open")]
    Forced,
}

impl CallNotPermitted {
    /// Returns when to come back, if that is known.
    pub fn until(self) -> Option<Moment> {
        match self {
            Self::Open { until } | Self::Probing { until } => Some(until),
            Self::Forced => None,
        }
    }
}

/// What decides whether calls are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerMode {
    /// The breaker, by the outcomes of the calls.
    #[default]
    Automatic,
    /// No call is admitted.
    ForcedOpen,
    /// All calls are admitted and counted.
    ForcedClosed,
    /// All calls are admitted, and none is counted.
    Disabled,
}

/// The current state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls are admitted.
    Closed,
    /// Only urgent calls are admitted. A success of one ends this state.
    Open,
    /// A few calls are admitted as probes. This state begins at the end of the open time, even
    /// before the first probe.
    HalfOpen,
}

impl BreakerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// Returns the state as one word, for a label or a log field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The calls in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls whose outcome is not [`CallOutcome::Ignored`].
    pub calls: u32,
    /// Calls that failed.
    pub failures: u32,
    /// Calls that were slow, whether they failed or not.
    pub slow: u32,
}

impl CallCounts {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_counts_against_the_broker() {
        for class in [ErrorClass::Transient, ErrorClass::Unknown, ErrorClass::NotSent] {
            assert_eq!(CallOutcome::from(class), CallOutcome::Failure, "{class:?}");
            let answered = Failure::from(class).with_reachability(Reachability::Answered);
            assert_eq!(CallOutcome::from(answered), CallOutcome::Success, "{class:?}");
            let local = Failure::from(class).with_reachability(Reachability::NotTried);
            assert_eq!(CallOutcome::from(local), CallOutcome::Ignored, "{class:?}");
        }
        let throttled = ErrorClass::Throttled { retry_after: None };
        for class in [ErrorClass::Malformed, ErrorClass::Rejected, ErrorClass::Fatal, throttled] {
            assert_eq!(CallOutcome::from(class), CallOutcome::Success, "{class:?}");
        }
    }
}
