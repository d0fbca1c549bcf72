//! How urgent a call is.

use std::fmt;

/// From 1, the most urgent, to 10.
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

/// Not a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not a priority: write a number from 1, the most urgent, to 10")]
pub struct PriorityError {
    /// What was given.
    pub number: u8,
}

impl Priority {
    /// Number 1 goes before everything else. What protects the broker and
    /// the other calls does not refuse it (`docs/order-safety.md` lists what still can):
    ///
    /// - it may use what a budget keeps in reserve;
    /// - a circuit breaker that opened by itself lets it through;
    /// - at a full queue it takes the place of a lesser call;
    /// - no estimate refuses it: one whose deadline would pass before its turn waits until the deadline passes;
    /// - it has workers of its own ([`LaneConfig::urgent_workers`](crate::lane::LaneConfig::urgent_workers)), and
    ///   may take the slot of a call that hangs: one that has been in flight for longer than its
    ///   window and than the longest round trip so far, of which 1 s counts at least and 2 s at most. If such a call reaches the broker late, the broker may count
    ///   one call too many;
    /// - it is not slowed down with the other calls after the broker refused one of them for coming too fast, until
    ///   an urgent one is refused for that; the pause after a refusal and the quota hold for it too;
    /// - it is sent again after a refusal for speed even if other retries have used up their budget.
    pub const URGENT: Self = Self(1);
    /// Number 10 goes when nothing else wants to.
    pub const LOWEST: Self = Self(10);
    /// How many there are.
    pub(crate) const COUNT: usize = 10;

    /// The priority `number`.
    ///
    /// # Errors
    /// It is not from 1 to 10.
    pub fn new(number: u8) -> Result<Self, PriorityError> {
        match number {
            1..=10 => Ok(Self(number)),
            _ => Err(PriorityError { number }),
        }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Its place among all, from 0.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// For the macro, which has checked the number already. Out of range is the nearest.
    pub(crate) fn nearest(number: u8) -> Self {
        Self(number.clamp(1, 10))
    }
}

impl Default for Priority {
    /// 5.
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
