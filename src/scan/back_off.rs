//! Which errors of the lane are no results, and how long the scan waits before it submits such a call again.

use std::time::Duration;

use crate::lane::LaneErrorKind;

/// The first delay after a refusal.
pub(super) const MIN_DELAY: Duration = Duration::from_millis(100);

/// The longest delay while the lane names no time.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Bounds a time that the lane names, because a breaker may be closed by hand before.
const MAX_NAMED_DELAY: Duration = Duration::from_secs(30);

/// A call was not sent, and may be sent later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// When the lane takes calls again, from now, if it says so.
    retry_in: Option<Duration>,
}

impl Refusal {
    /// Returns the refusal that an error of the lane is, or `None` if it is the result of its item.
    pub(super) fn of(kind: &LaneErrorKind) -> Option<Self> {
        let retry_in = match kind {
            LaneErrorKind::BrokerDown { retry_in } => *retry_in,
            LaneErrorKind::TooLate { retry_in } => Some(*retry_in),
            // The calls of a scan have no deadline and take no slot of the queue, so that the first two and `TooLate` do
            // not occur. Only the scan itself cancels them.
            LaneErrorKind::QueueFull { .. }
            | LaneErrorKind::Shed
            | LaneErrorKind::SessionExpired
            | LaneErrorKind::Cancelled => None,
            LaneErrorKind::Closed
            | LaneErrorKind::DeadlinePassed { .. }
            | LaneErrorKind::TooHeavy
            | LaneErrorKind::UnknownName { .. }
            | LaneErrorKind::Reentrant
            | LaneErrorKind::Unanswered
            | LaneErrorKind::CutOff
            | LaneErrorKind::Dropped
            | LaneErrorKind::Panicked { .. }
            | LaneErrorKind::AlreadyTaken => return None,
        };
        Some(Self { retry_in })
    }
}

/// The delays between refusals. They double until a call is answered.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
    named: Option<Duration>,
}

impl BackOff {
    pub(super) fn new() -> Self {
        Self { next: MIN_DELAY, named: None }
    }

    pub(super) fn note(&mut self, refusal: Refusal) {
        self.named = refusal.retry_in;
    }

    /// Returns the delay before the next call.
    pub(super) fn take_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(MAX_DELAY);
        self.named.take().map_or(delay, |named| named.clamp(MIN_DELAY, MAX_NAMED_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_maximum_and_a_time_that_the_lane_names_is_kept() {
        let mut back_off = BackOff::new();
        let delays: Vec<_> = (0..8).map(|_| back_off.take_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let named = |seconds| Refusal { retry_in: Some(Duration::from_secs(seconds)) };
        back_off.note(named(12));
        assert_eq!(back_off.take_delay(), Duration::from_secs(12));
        back_off.note(named(3600));
        assert_eq!(back_off.take_delay(), MAX_NAMED_DELAY);
        back_off.note(named(0));
        assert_eq!(back_off.take_delay(), MIN_DELAY);
        assert_eq!(back_off.take_delay(), MAX_DELAY, "a named time counts once");
    }

    #[test]
    fn only_what_was_not_sent_now_and_may_be_sent_later_is_no_result() {
        let is_refusal = |kind: &LaneErrorKind| Refusal::of(kind).is_some();
        for kind in [
            LaneErrorKind::QueueFull { capacity: 1 },
            LaneErrorKind::Shed,
            LaneErrorKind::SessionExpired,
            LaneErrorKind::BrokerDown { retry_in: None },
            LaneErrorKind::TooLate { retry_in: Duration::ZERO },
        ] {
            assert!(is_refusal(&kind), "{kind}");
        }
        for kind in [
            LaneErrorKind::Closed,
            LaneErrorKind::TooHeavy,
            LaneErrorKind::CutOff,
            LaneErrorKind::Dropped,
            LaneErrorKind::Unanswered,
            LaneErrorKind::Panicked { message: String::new() },
        ] {
            assert!(!is_refusal(&kind), "{kind}");
        }
    }
}
