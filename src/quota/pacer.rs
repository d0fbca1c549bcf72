//! Pacing by completion: who holds a slot, and when it is free again.
//!
//! A limiter that stamps calls when they are sent is wrong at the broker: a slow call followed by a
//! quick one arrives late and close, and the broker counts one too many in its window. So a slot is
//! stamped when the *answer* is here:
//!
//! ```text
//! free again at  =  finished - credit + window
//! ```
//!
//! The broker counted call `i` no later than `finished_i - return_i`. The next call in that slot is
//! sent at `finished_i - credit + W` or later and is counted at least `forward_j` after that. With
//! `credit <= return_i + forward_j` the two are counted at least `W` apart. A quota of `N` has `N`
//! slots, each of which puts at most one arrival into any `W`: so the broker never counts more than
//! `N`. A call in flight holds its slot, however long it takes.
//!
//! A call that was given up without an answer is the one whose count nobody can date: what is on
//! the way may still arrive. Its slot is held for as long again as it took. A path that stalls for
//! longer than that, and then delivers, can be counted one too many for each call given up.
//!
//! Such a schedule passes a sliding log, and with it any fixed window of `W` and any token bucket of
//! capacity `N` and rate `N / W`.

use std::collections::VecDeque;
use std::time::Duration;

use super::Moment;
use super::path::Path;
use super::round_trip::{Credit, RoundTrip};
use super::window::{Quota, QuotaError, Window};

/// The right to send one call now. It holds a slot in every window until it is given to
/// [`Pacer::finish`], [`Pacer::finish_unanswered`], [`Pacer::finish_unsent`] or
/// [`Pacer::give_back`].
///
/// A permit that is lost holds its slots for ever: too few calls go out, never too many.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped holds its slots for ever"]
pub struct Permit {
    taken: Moment,
    /// It begins on a path in use.
    warm: bool,
}

impl Permit {
    /// When it was taken.
    pub fn taken(&self) -> Moment {
        self.taken
    }
}

/// No permit now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// At this moment, and no sooner, unless an answer comes in before.
    #[error("the quota is used up until {0:?}")]
    Until(Moment),
    /// Every slot of some window is held by a call in flight: only an answer can free one.
    #[error("every slot is held by a call in flight")]
    InFlight,
}

/// The state of one quota. A pure state machine: every method is told the time.
///
/// Should the time it is told ever go back, it takes the latest that it has heard.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::{Credit, Moment, NotYet, Pacer, Quota};
///
/// let mut pacer = Pacer::new(&Quota::per_second(1), Credit::STRICT)?;
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
pub struct Pacer {
    windows: Vec<Slots>,
    in_flight: u32,
    path: Path,
    round_trip: RoundTrip,
    credit: Credit,
    latest: Moment,
}

/// The slots of one window. Those in flight are the same for all windows and are counted once, in
/// the pacer.
#[derive(Debug, Clone)]
struct Slots {
    window: Window,
    /// When each slot that is neither free nor in flight will be free, soonest first.
    cooling: VecDeque<Moment>,
}

impl Pacer {
    /// A pacer that has sent nothing yet.
    ///
    /// # Errors
    /// The quota cannot be kept, see [`Quota::check`].
    pub fn new(quota: &Quota, credit: Credit) -> Result<Self, QuotaError> {
        quota.check()?;
        let windows = quota.windows().iter().map(|&window| Slots::new(window)).collect();
        Ok(Self {
            windows,
            in_flight: 0,
            path: Path::default(),
            round_trip: RoundTrip::new(),
            credit,
            latest: Moment::ORIGIN,
        })
    }

    /// Takes a slot in every window, or in none.
    ///
    /// # Errors
    /// Some window has no free slot; says when one will be free.
    pub fn take(&mut self, now: Moment) -> Result<Permit, NotYet> {
        let now = self.at(now);
        let mut until = now;
        for slots in &mut self.windows {
            slots.thaw(now);
            if !slots.has_room(self.in_flight) {
                match slots.cooling.front() {
                    Some(&soonest) => until = until.max(soonest),
                    None => return Err(NotYet::InFlight),
                }
            }
        }
        if until > now {
            return Err(NotYet::Until(until));
        }
        self.in_flight = self.in_flight.saturating_add(1);
        Ok(Permit { taken: now, warm: self.path.is_warm(self.in_flight, now) })
    }

    /// The call was answered. Its slots cool for a window, less the credit.
    pub fn finish(&mut self, permit: Permit, now: Moment) {
        let now = self.at(now);
        let round_trip = now.since(permit.taken);
        match permit.warm {
            true => self.round_trip.saw(round_trip),
            false => self.round_trip.saw_cold(round_trip),
        }
        let credit = self.credit();
        self.cool(now, now - credit);
    }

    /// The call is over, and no answer came: it timed out, or the connection broke. The broker may
    /// yet count it, as what is on the way arrives. Nobody can say when, so the slot is held for as
    /// long again as the call took, and given no credit.
    pub fn finish_unanswered(&mut self, permit: Permit, now: Moment) {
        let now = self.at(now);
        self.cool(now, now + now.since(permit.taken));
    }

    /// The call is over, and it never left, as far as anyone can tell. The time it took says nothing
    /// about the way to the broker. It is charged all the same: to believe it, and be wrong, would
    /// be one call too many; and a broker that refuses connections is not to be hammered.
    pub fn finish_unsent(&mut self, permit: Permit, now: Moment) {
        let Permit { .. } = permit;
        let now = self.at(now);
        self.cool(now, now);
    }

    /// The permit was not used. Its slots are free at once.
    pub fn give_back(&mut self, permit: Permit) {
        let Permit { .. } = permit;
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How many calls are in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The least round trip seen so far.
    pub fn least_round_trip(&self) -> Option<Duration> {
        self.round_trip.least()
    }

    /// The credit that the next answer will be given.
    pub fn credit(&self) -> Duration {
        self.round_trip.credit(self.credit)
    }

    fn at(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// A call that the broker counted at `counted` or before, as far as the next one is concerned.
    fn cool(&mut self, now: Moment, counted: Moment) {
        self.path.used(self.in_flight, now);
        self.in_flight = self.in_flight.saturating_sub(1);
        for slots in &mut self.windows {
            slots.cool_until(counted + slots.window.length);
        }
    }
}

impl Slots {
    fn new(window: Window) -> Self {
        Self { window, cooling: VecDeque::new() }
    }

    /// Frees the slots whose time has come.
    fn thaw(&mut self, now: Moment) {
        while self.cooling.front().is_some_and(|&free| free <= now) {
            self.cooling.pop_front();
        }
    }

    fn has_room(&self, in_flight: u32) -> bool {
        self.cooling.len() + (in_flight as usize) < self.window.limit as usize
    }

    /// Answers come in order, so a slot goes to the end, but for when the credit has grown since or
    /// an answer never came.
    fn cool_until(&mut self, free: Moment) {
        let later = self.cooling.iter().rev().take_while(|&&other| other > free).count();
        self.cooling.insert(self.cooling.len() - later, free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn strict(quota: Quota) -> Pacer {
        Pacer::new(&quota, Credit::STRICT).unwrap()
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
        let mut pacer = Pacer::new(&Quota::per_second(1), Credit::percent(90)).unwrap();
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
    fn a_call_that_was_not_answered_holds_its_slot_as_long_again() {
        let mut pacer = strict(Quota::per_second(2));
        let lost = pacer.take(at(0)).unwrap();
        let fine = pacer.take(at(0)).unwrap();
        pacer.finish_unanswered(lost, at(7_000));
        pacer.finish(fine, at(7_500));
        let _held = pacer.take(at(8_500)).unwrap();
        // 7 s until it was given up, 7 s more, and the window.
        assert_eq!(pacer.take(at(8_500)), Err(NotYet::Until(at(15_000))));
        assert_eq!(pacer.least_round_trip(), Some(7_500 * MS));
    }

    #[test]
    fn a_call_that_never_left_is_charged_but_not_measured() {
        let mut pacer = strict(Quota::per_second(1));
        let permit = pacer.take(at(0)).unwrap();
        pacer.finish_unsent(permit, at(1));
        assert_eq!(pacer.least_round_trip(), None);
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
