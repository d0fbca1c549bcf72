//! The priority of a call.

use std::fmt;

/// The priority of a call, from 1 (the most urgent) to 10.
///
/// ```
/// use lanekeeper::lane::Priority;
///
/// assert!(Priority::URGENT < Priority::default());
/// assert!(Priority::new(0).is_err() && Priority::new(11).is_err());
/// # Ok::<(), lanekeeper::lane::PriorityError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// The error for a number that is not a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not a priority: write a number from 1, the most urgent, to 10")]
pub struct PriorityError {
    /// The number that was given.
    pub number: u8,
}

impl Priority {
    /// Priority 1. Urgent calls go before all other calls. What protects the broker and the other calls does not
    /// refuse an urgent call (`docs/order-safety.md` lists what still can):
    ///
    /// - It may use the reserve of a budget.
    /// - A circuit breaker admits it, unless the breaker was forced open.
    /// - At a full queue it takes the queue slot of a call of lower priority.
    /// - No estimate refuses it. If its deadline would pass before its turn, it waits until the deadline passes.
    /// - It has workers of its own ([`LaneConfig::urgent_workers`](crate::lane::LaneConfig::urgent_workers)).
    /// - It may take the slot of a hung call: one that has been in flight for longer than its window and than the
    ///   longest round trip so far (at least 1 s, at most 2 s). If the hung call reaches the broker late, the broker
    ///   may count one call too many.
    /// - It is not slowed down with the other calls after the broker throttled one of them, until an urgent call is
    ///   throttled. The pause after a throttled call and the quota hold for urgent calls too.
    /// - It is retried after it was throttled, even if other retries have exhausted the retry budget.
    pub const URGENT: Self = Self(1);
    /// Priority 10. Such a call goes after all calls of higher priority.
    pub const LOWEST: Self = Self(10);
    /// The number of priorities.
    pub(crate) const COUNT: usize = 10;

    /// Returns the priority `number`.
    ///
    /// # Errors
    /// `number` is not from 1 to 10.
    pub fn new(number: u8) -> Result<Self, PriorityError> {
        match number {
            1..=10 => Ok(Self(number)),
            _ => Err(PriorityError { number }),
        }
    }

    /// Returns the number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Returns the index of the priority, from 0.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// Returns the priority nearest to `number`. The macro uses it for numbers that it has checked.
    pub(crate) fn nearest(number: u8) -> Self {
        Self(number.clamp(1, 10))
    }
}

impl Default for Priority {
    /// Returns priority 5.
    fn default() -> Self {
        Self(5)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_its_number() {
        let priority = Priority::new(7).unwrap();
        assert_eq!((priority.get(), priority.to_string()), (7, "7".to_owned()));
    }
}
