//! The state of a lane, and its transitions.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

/// Whether a lane admits and sends calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaneState {
    /// Calls are admitted and sent.
    Running,
    /// Calls are admitted, and wait for [`resume`](super::Lane::resume).
    Paused,
    /// No call is admitted. Queued calls are still sent.
    Draining,
    /// No call is admitted or sent.
    Closed,
}

impl LaneState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Draining, Self::Closed];

    /// Returns a fixed word for the state, for a label or a log field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }

    /// Returns whether calls are admitted.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Closed => false,
            Self::Draining => next == Self::Closed,
            Self::Running | Self::Paused => next != self,
        }
    }
}

/// A lane state that threads share without a lock.
#[derive(Debug)]
pub(super) struct AtomicLaneState(AtomicU8);

impl AtomicLaneState {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(LaneState::Running as u8))
    }

    pub(super) fn get(&self) -> LaneState {
        let number = self.0.load(Ordering::SeqCst);
        LaneState::ALL.get(usize::from(number)).copied().unwrap_or(LaneState::Closed)
    }

    /// Changes to `next`, if that transition is allowed. Returns whether it changed.
    pub(super) fn transition(&self, next: LaneState) -> bool {
        loop {
            let now = self.get();
            if !now.may_become(next) {
                return false;
            }
            let swap =
                self.0.compare_exchange(now as u8, next as u8, Ordering::SeqCst, Ordering::SeqCst);
            if swap.is_ok() {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_is_shut_never_opens_again() {
        let state = AtomicLaneState::new();
        assert!(state.transition(LaneState::Paused) && state.transition(LaneState::Running));
        assert!(!state.transition(LaneState::Running), "it runs already");
        assert!(state.transition(LaneState::Draining));
        assert!(!state.transition(LaneState::Running) && !state.transition(LaneState::Paused));
        assert!(state.transition(LaneState::Closed));
        assert!(LaneState::ALL.iter().all(|next| !state.transition(*next)));
    }
}
