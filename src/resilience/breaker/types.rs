//! What goes into the breaker and what comes out of it.

use serde::Serialize;

use crate::quota::Moment;
use crate::{ErrorClass, Failure, Reachability};

/// The right to make one call, to be given back with its outcome to
/// [`CircuitBreaker::record`](super::CircuitBreaker::record).
///
/// It carries the generation in which the call was let through: what comes back after the breaker
/// changed its state is no news any more. The admission of a probe that is lost is missed only until
/// the probe's deadline.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the outcome of the call has to be recorded"]
pub struct Admission {
    pub(super) generation: u64,
    pub(super) probe: Option<u64>,
}

impl Admission {
    /// Whether the call is a probe: one of the few that decide whether the breaker closes. A read
    /// does no harm if it hangs, so choose one if there is a choice.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// What became of a call, as far as it tells how the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The broker can be reached: it answered, if only with a refusal.
    Success,
    /// The broker could not be reached, or gave no answer.
    Failure,
    /// It tells nothing: the call was cancelled, or was never sent.
    Ignored,
}

impl From<Failure> for CallOutcome {
    /// Any answer is one of a broker that can be reached: a refusal, a 429, a 500, one that nobody can
    /// decode. A connection that was refused or lost, and an answer that never came, are failures. A call
    /// that was refused on this side tells nothing.
    fn from(failure: Failure) -> Self {
        match failure.reachability {
            Reachability::Answered => Self::Success,
            Reachability::Unreachable => Self::Failure,
            Reachability::NotTried => Self::Ignored,
        }
    }
}

impl From<ErrorClass> for CallOutcome {
    /// As of a [`Failure`] of which no more than the class is known.
    fn from(class: ErrorClass) -> Self {
        Failure::from(class).into()
    }
}

/// A call was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallNotPermitted {
    /// The broker is down, as far as known.
    #[error("the circuit breaker is open")]
    Open {
        /// When the next call is let through, as a probe.
        until: Moment,
    },
    /// The broker may be back: as many probes as may be are under way.
    #[error("the circuit breaker is half open, and its probes are under way")]
    Probing {
        /// When this is decided at the latest. Sooner if a probe comes back.
        until: Moment,
    },
    /// Somebody forced the breaker open.
    #[error("the circuit breaker is forced open")]
    Forced,
}

impl CallNotPermitted {
    /// When to come back, if that is known.
    pub fn until(self) -> Option<Moment> {
        match self {
            Self::Open { until } | Self::Probing { until } => Some(until),
            Self::Forced => None,
        }
    }
}

/// Who decides whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerMode {
    /// The breaker, by what it sees.
    #[default]
    Automatic,
    /// Nothing goes through.
    ForcedOpen,
    /// Everything goes through, and is counted.
    ForcedClosed,
    /// Everything goes through, and nothing is counted.
    Disabled,
}

/// What a breaker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// None does, but urgent ones, which count as probes.
    Open,
    /// A few do, as probes. So it is from the end of the time open on, though nobody came yet.
    HalfOpen,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// In one word, for a label or a field of a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What was seen of the calls in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallCounts {
    /// Those that tell something.
    pub calls: u32,
    /// Those of them that failed.
    pub failures: u32,
    /// Those of them that were slow, failed or not.
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
