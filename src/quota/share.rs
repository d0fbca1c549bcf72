//! The part of a quota that one of several processes may use while they cannot agree.

use std::time::Duration;

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

/// What one of several processes may use of all quotas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restriction<'a> {
    pub(crate) share: Share,
    /// For each quota, lanes first, how many slots may be taken until when.
    pub(crate) rooms: &'a [Option<(u64, Moment)>],
    /// What others have sent before this moment is unknown: windows that remember calls for at most so long count as full
    /// until they have forgotten it.
    pub(crate) unknown: Option<(Moment, Duration)>,
}

/// What a share allows of one quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedPart {
    pub(super) share: Share,
    /// How many more slots may be taken until this moment, because what others have taken is not known.
    pub(super) room: Option<(u64, Moment)>,
    /// Until when nothing is sent but urgent calls, because what others have taken is not known.
    pub(super) silent_until: Moment,
}

impl SharedPart {
    /// Returns how many slots of a window are not this process's. An urgent call has those that it needs.
    pub(super) fn withheld(&self, capacity: u32, weight: u64, urgent: bool) -> u64 {
        let needed = if urgent { weight } else { 0 };
        u64::from(capacity).saturating_sub(u64::from(self.share.of(capacity)).max(needed))
    }

    /// Returns when there is room for this weight, if there is none now.
    pub(super) fn next_room(&self, weight: u64, now: Moment) -> Option<Moment> {
        let room = self.room.filter(|(left, until)| now < *until && weight > *left);
        let silent = Some(self.silent_until).filter(|until| now < *until);
        room.map(|(_, until)| until).into_iter().chain(silent).max()
    }

    pub(super) fn take(&mut self, weight: u64) {
        if let Some((left, _)) = &mut self.room {
            *left = left.saturating_sub(weight);
        }
    }

    /// Returns the part of a process that was restricted before and has not agreed with the others since. What it has used of
    /// its room stays used.
    pub(super) fn after(mut self, before: Option<Self>) -> Self {
        if let Some(Self { room: before, silent_until, .. }) = before {
            let both = before.zip(self.room);
            let tighter = both.map(|(one, other)| (one.0.min(other.0), one.1.max(other.1)));
            self.room = tighter.or(before).or(self.room);
            self.silent_until = self.silent_until.max(silent_until);
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use crate::quota::{Cost, NotYet, PacingState, Quota, RttCredit, WallClockSample};

    const CALL: Cost =
        Cost { lane: 0, budgets: crate::quota::BudgetSet::EMPTY, weight: 1, urgent: false };

    fn after(seconds: f64) -> Moment {
        Moment::ORIGIN + Duration::from_secs(1000) + Duration::from_secs_f64(seconds)
    }

    fn lane(quota: &Quota) -> PacingState {
        let timestamp = jiff::Timestamp::UNIX_EPOCH;
        let mut pacing = PacingState::new(WallClockSample { moment: after(0.0), timestamp });
        pacing.add_lane(quota, RttCredit::STRICT).unwrap();
        pacing
    }

    fn third<'a>(rooms: &'a [Option<(u64, Moment)>]) -> Restriction<'a> {
        Restriction { share: Share::new(3, 0), rooms, unknown: None }
    }

    /// Sends all calls that may be sent until then, a millisecond each, and returns how many.
    fn send_all(pacing: &mut PacingState, cost: Cost, (from, to): (f64, f64)) -> usize {
        let (mut now, mut sent) = (after(from), 0);
        while now < after(to) {
            if let Ok(permit) = pacing.take(cost, now) {
                sent += 1;
                pacing.finish(permit, now);
            }
            now = now + Duration::from_millis(1);
        }
        sent
    }

    #[test]
    fn the_shares_of_a_token_bucket_are_no_more_than_the_bucket() {
        let bucket = Quota::token_bucket(10, Duration::from_secs(1), 30);
        let mut sent = 0;
        for rank in 0..3 {
            let mut pacing = lane(&bucket);
            let share = Share::new(3, rank);
            pacing.set_share(Some(Restriction { share, rooms: &[], unknown: None }));
            sent += send_all(&mut pacing, CALL, (0.0, 60.0));
        }
        assert!(sent <= 30 + 600, "{sent}");
        assert!(sent >= 600, "{sent}");
    }

    #[test]
    fn an_urgent_call_goes_out_although_it_is_heavier_than_the_share() {
        let mut pacing = lane(&Quota::per_second(10));
        let urgent = Cost { weight: 5, urgent: true, ..CALL };
        let nothing = Restriction { share: Share::NONE, rooms: &[], unknown: None };
        for restriction in [nothing, third(&[])] {
            pacing.set_share(Some(restriction));
            assert_eq!(pacing.available_at(urgent, after(0.0)), Ok(()));
            let permit = pacing.take(urgent, after(0.0)).unwrap();
            pacing.give_back(permit);
        }
        pacing.set_share(Some(nothing));
        assert_eq!(pacing.available_at(CALL, after(0.0)), Err(NotYet::InFlight));
    }

    #[test]
    fn a_room_that_is_used_up_says_when_it_ends_and_does_not_come_back_before() {
        let mut pacing = lane(&Quota::per_second(10).and(Quota::new(600, Duration::from_secs(60))));
        let rooms = [Some((5, after(64.0)))];
        pacing.set_share(Some(third(&rooms)));
        assert_eq!(send_all(&mut pacing, CALL, (0.0, 10.0)), 5);
        assert_eq!(pacing.available_at(CALL, after(10.0)), Err(NotYet::Until(after(64.0))));
        // Redis answered a ping, and no more than that.
        pacing.set_share(Some(third(&rooms)));
        assert_eq!(pacing.available_at(CALL, after(10.0)), Err(NotYet::Until(after(64.0))));
        assert_eq!(pacing.available_at(CALL, after(64.0)), Ok(()));
        pacing.set_share(None);
        assert_eq!(pacing.available_at(CALL, after(10.0)), Ok(()));
    }

    #[test]
    fn the_silence_ends_with_the_restriction() {
        let mut pacing = lane(&Quota::per_second(10));
        let unknown = Some((after(4.0), Duration::from_secs(10)));
        pacing.set_share(Some(Restriction { unknown, ..third(&[]) }));
        let until = after(4.0 + 1.0 + 1.0);
        assert_eq!(pacing.available_at(CALL, after(1.0)), Err(NotYet::Until(until)));
        assert_eq!(pacing.available_at(Cost { urgent: true, ..CALL }, after(1.0)), Ok(()));
        pacing.set_share(None);
        assert_eq!(pacing.available_at(CALL, after(1.0)), Ok(()));
        // What a process may have sent before it started is another matter.
        pacing.block_until_forgotten(after(4.0), Duration::from_secs(10));
        pacing.set_share(None);
        assert_eq!(pacing.available_at(CALL, after(1.0)), Err(NotYet::Until(until)));
    }

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
