//! One quota alone: a [`PacingState`] with a single lane and no budgets.

use std::time::Duration;

use jiff::Timestamp;

use super::cost::Cost;
use super::error::QuotaError;
use super::moment::Moment;
use super::pacing_state::PacingState;
use super::permit::{NotYet, Permit};
use super::quota::Quota;
use super::round_trip::RttCredit;
use super::wall_clock::WallClockSample;

/// The state of one quota. A pure state machine: every method takes the time.
///
/// If `now` ever goes back, the latest time so far is used instead.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::{RttCredit, Moment, NotYet, Pacer, Quota};
///
/// let mut pacer = Pacer::new(&Quota::per_second(1), RttCredit::STRICT)?;
/// let start = Moment::from_nanos(0);
/// let permit = pacer.take(start).unwrap();
/// assert_eq!(pacer.take(start), Err(NotYet::InFlight));
///
/// // The answer came after 40 ms. The slot is free a second after that.
/// let answered = start + Duration::from_millis(40);
/// pacer.finish(permit, answered);
/// assert_eq!(pacer.take(answered), Err(NotYet::Until(answered + Duration::from_secs(1))));
/// # Ok::<(), lanekeeper::quota::QuotaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pacer(PacingState);

const LANE: usize = 0;

impl Pacer {
    /// Creates a pacer that has sent nothing yet. It assumes that the clock's origin is 1970, which matters only to
    /// calendar windows.
    ///
    /// # Errors
    /// The quota cannot be kept, see [`Quota::check`].
    pub fn new(quota: &Quota, credit: RttCredit) -> Result<Self, QuotaError> {
        let wall_clock =
            WallClockSample { moment: Moment::ORIGIN, timestamp: Timestamp::UNIX_EPOCH };
        Self::with_wall_clock(quota, credit, wall_clock)
    }

    /// Creates a pacer that has sent nothing yet and knows the wall clock.
    ///
    /// # Errors
    /// The quota cannot be kept, see [`Quota::check`].
    pub fn with_wall_clock(
        quota: &Quota,
        credit: RttCredit,
        wall_clock: WallClockSample,
    ) -> Result<Self, QuotaError> {
        let mut pacing = PacingState::new(wall_clock);
        pacing.add_lane(quota, credit)?;
        Ok(Self(pacing))
    }

    /// Takes a slot in every window, or in none.
    ///
    /// # Errors
    /// Some window has no free slot; the error says when one will be free.
    pub fn take(&mut self, now: Moment) -> Result<Permit, NotYet> {
        self.0.take(Cost::to_lane(LANE), now)
    }

    /// Ends a call that was answered. Its slots are free one window after `now`, less the credit.
    pub fn finish(&mut self, permit: Permit, now: Moment) {
        self.0.finish(permit, now);
    }

    /// Ends a call that never left, see [`PacingState::finish_unsent`].
    pub fn finish_unsent(&mut self, permit: Permit, now: Moment) {
        self.0.finish_unsent(permit, now);
    }

    /// Ends a call without an answer, see [`PacingState::finish_unanswered`].
    pub fn finish_unanswered(&mut self, permit: Permit, now: Moment) {
        self.0.finish_unanswered(permit, now);
    }

    /// See [`PacingState::next_release`].
    pub fn next_release(&mut self, now: Moment) -> Option<Moment> {
        self.0.next_release(now)
    }

    /// Returns the permit of a call of which surely nothing was sent. Its slots are free at once.
    pub fn give_back(&mut self, permit: Permit) {
        self.0.give_back(permit);
    }

    /// Returns how many calls are in flight.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight(LANE)
    }

    /// Returns the least round trip so far.
    pub fn min_round_trip(&self) -> Option<Duration> {
        self.0.min_round_trip(LANE)
    }

    /// Returns the credit in force now.
    pub fn credit(&self) -> Duration {
        self.0.credit(LANE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn strict(quota: Quota) -> Pacer {
        Pacer::new(&quota, RttCredit::STRICT).unwrap()
    }

    fn at(ms: u32) -> Moment {
        Moment::ORIGIN + MS * ms
    }

    #[test]
    fn a_slot_is_free_exactly_a_window_after_its_answer() {
        let mut pacer = strict(Quota::per_second(1));
        let permit = pacer.take(at(0)).unwrap();
        pacer.finish(permit, at(250));
        assert_eq!(pacer.take(at(1249)), Err(NotYet::Until(at(1250))));
        assert!(pacer.take(at(1250)).is_ok());
    }

    #[test]
    fn a_call_in_flight_holds_its_slot_however_long_it_takes() {
        let mut pacer = strict(Quota::per_second(2));
        let slow = pacer.take(at(0)).unwrap();
        let quick = pacer.take(at(0)).unwrap();
        assert_eq!(pacer.take(at(900_000)), Err(NotYet::InFlight));
        pacer.finish(quick, at(900_000));
        assert_eq!(pacer.take(at(900_000)), Err(NotYet::Until(at(901_000))));
        pacer.finish(slow, at(900_500));
        assert!(pacer.take(at(901_000)).is_ok());
        assert_eq!(pacer.take(at(901_000)), Err(NotYet::Until(at(901_500))));
    }

    #[test]
    fn a_lost_call_keeps_its_slot_for_as_long_again() {
        let mut pacer = strict(Quota::per_second(1));
        assert_eq!((pacer.min_round_trip(), pacer.next_release(at(0))), (None, None));
        let permit = pacer.take(at(0)).unwrap();
        pacer.finish(permit, at(50));
        assert_eq!(pacer.min_round_trip(), Some(MS * 50));
        let lost = pacer.take(at(2000)).unwrap();
        pacer.finish_unanswered(lost, at(2100));
        // And for a round trip more.
        assert_eq!(pacer.next_release(at(2100)), Some(at(2250)));
        assert_eq!(pacer.take(at(2250)), Err(NotYet::Until(at(3250))));
    }

    #[test]
    fn a_refusal_takes_nothing_in_any_window() {
        let mut pacer = strict(Quota::per_second(1).and(Quota::per_minute(3)));
        for _ in 0..100 {
            if let Ok(permit) = pacer.take(at(0)) {
                pacer.finish(permit, at(0));
            }
        }
        for second in 1..3 {
            let permit = pacer.take(at(second * 1000)).unwrap();
            pacer.finish(permit, at(second * 1000));
        }
        assert_eq!(pacer.take(at(3000)), Err(NotYet::Until(at(60_000))));
    }

    #[test]
    fn the_credit_brings_the_slot_forward() {
        let mut pacer = Pacer::new(&Quota::per_second(1), RttCredit::percent(90)).unwrap();
        let mut now = at(0);
        for _ in 0..32 {
            let permit = pacer.take(now).unwrap();
            pacer.finish(permit, now + 100 * MS);
            now = now + 1100 * MS;
        }
        assert_eq!(pacer.credit(), 90 * MS);
        let free = now - 90 * MS;
        assert_eq!(pacer.take(free - Duration::from_nanos(1)), Err(NotYet::Until(free)));
        assert!(pacer.take(free).is_ok());
    }

    #[test]
    fn a_call_that_never_left_is_charged_but_not_measured() {
        let mut pacer = strict(Quota::per_second(1));
        let permit = pacer.take(at(0)).unwrap();
        pacer.finish_unsent(permit, at(1));
        assert_eq!(pacer.min_round_trip(), None);
        assert_eq!(pacer.take(at(2)), Err(NotYet::Until(at(1001))));
    }

    #[test]
    fn a_permit_given_back_is_as_if_never_taken() {
        let mut pacer = strict(Quota::per_second(1));
        let permit = pacer.take(at(0)).unwrap();
        pacer.give_back(permit);
        assert!(pacer.take(at(0)).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_frees_nothing() {
        let mut pacer = strict(Quota::per_second(1));
        let permit = pacer.take(at(5000)).unwrap();
        pacer.finish(permit, at(0));
        assert_eq!(pacer.take(at(1000)), Err(NotYet::Until(at(6000))));
    }

    #[test]
    fn without_windows_there_is_always_a_permit() {
        let mut pacer = strict(Quota::unlimited());
        for _ in 0..1000 {
            let _held = pacer.take(at(0)).unwrap();
        }
        assert_eq!(pacer.in_flight(), 1000);
    }
}
