//! What a lane does at the moment, and which way it can go from there.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

/// What a lane does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaneState {
    /// Calls come and go.
    Running,
    /// Calls come, and wait for [`resume`](super::Lane::resume).
    Paused,
    /// No call comes any more; those that wait still go.
    Draining,
    /// Nothing comes and nothing goes.
    Closed,
}

impl LaneState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Draining, Self::Closed];

    /// In one word, for a label or a field of a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }

    /// Whether calls may come in.
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

/// A state that many threads see, without a lock.
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

    /// Goes on to `next`, if that is a way it can go.
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
