//! The part of a quota that one of several processes may use while they cannot agree.

use super::moment::Moment;

/// The part of each window that one of several processes may use. The shares of all ranks are the whole window together, and
/// a share does not grow when a process joins, nor shrink when one leaves.
///
/// ```ignore
/// let shares = [0, 1, 2].map(|rank| Share::new(3, rank).of(10));
/// assert_eq!(shares, [4, 3, 3]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    processes: u32,
    rank: u32,
}

impl Share {
    /// Nothing.
    pub(crate) const NONE: Self = Self { processes: 1, rank: u32::MAX };

    /// The share of the process with this rank, from zero.
    pub(crate) fn new(processes: u32, rank: u32) -> Self {
        Self { processes: processes.max(1), rank }
    }

    /// Returns the share of `n` calls.
    pub(crate) fn of(self, n: u32) -> u32 {
        n.saturating_sub(self.rank).div_ceil(self.processes)
    }
}

/// How many more slots of a quota may be taken until a moment, because what other processes have taken is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareRoom {
    pub(crate) slots: u64,
    pub(crate) until: Moment,
}

/// What a share allows of one quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedPart {
    pub(super) share: Share,
    pub(super) room: Option<ShareRoom>,
}

impl SharedPart {
    /// Returns how many slots of a window are not this process's. An urgent call has one at least.
    pub(super) fn withheld(&self, capacity: u32, urgent: bool) -> u64 {
        let own = self.share.of(capacity).max(u32::from(urgent));
        u64::from(capacity.saturating_sub(own))
    }

    /// Returns whether there is room for this weight.
    pub(super) fn has_room(&self, weight: u64, now: Moment, urgent: bool) -> bool {
        urgent || self.room.is_none_or(|room| now >= room.until || weight <= room.slots)
    }

    pub(super) fn take(&mut self, weight: u64) {
        if let Some(room) = &mut self.room {
            room.slots = room.slots.saturating_sub(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_are_the_whole_and_do_not_grow_when_a_process_joins() {
        for n in 0..60_u32 {
            for processes in 1..25 {
                let share = |rank| Share::new(processes, rank).of(n);
                assert_eq!((0..processes).map(share).sum::<u32>(), n);
                for rank in 0..processes {
                    assert!(Share::new(processes + 1, rank).of(n) <= share(rank));
                    assert!(Share::new(processes + 1, rank + 1).of(n) <= share(rank));
                }
            }
        }
        assert_eq!(Share::NONE.of(u32::MAX), 0);
    }
}
