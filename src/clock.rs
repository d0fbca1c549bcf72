//! The one place that knows what time it is.
//!
//! Everything else is told the time as a [`Moment`]. [`Clock::system`] reads the monotonic clock of
//! the machine; a [`ManualClock`] stands still until it is moved, so that a test of an hour's
//! pacing takes milliseconds.

mod idle;
mod manual;
mod timed_condvar;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::Timestamp;

pub(crate) use self::idle::IdleGuard;
pub use self::manual::ManualClock;
use self::manual::Sleeper;
pub(crate) use self::timed_condvar::TimedCondvar;
use crate::quota::{Moment, WallClockSample};

/// Two readings no further apart than this are taken to be of one moment.
const MAX_READING_GAP: Duration = Duration::from_millis(1);

/// So much time lies before the start of the machine's clock: what an earlier process sent is counted by
/// moments before it. The longest window that brokers count by is a day.
const HISTORY: Duration = Duration::from_secs(48 * 3600);

/// For how long at most a change of the clock on the wall goes unseen by those who wait for it.
const WALL_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A clock: the machine's, or one for tests. Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(ClockSource);

#[derive(Debug, Clone)]
enum ClockSource {
    System { origin: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn system() -> Self {
        Self(ClockSource::System { origin: Instant::now() })
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockSource::System { origin } => Moment::ORIGIN + HISTORY + origin.elapsed(),
            ClockSource::Manual(clock) => clock.now(),
        }
    }

    /// Whether it is the machine's.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, ClockSource::System { .. })
    }

    /// Sleeps for `time` of this clock. A [`ManualClock`] that stands still has to be moved by
    /// somebody else meanwhile; one that jumps goes there as soon as no lane on it has anything to do
    /// before.
    pub fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        let alarm = self.parker();
        // Who takes part already is not one more.
        let _awake = (!self.is_participant()).then(|| self.active_guard());
        while self.now() < until {
            alarm.park_until(Some(until));
        }
    }

    /// The machine's name for a moment, where this clock is the machine's.
    pub(crate) fn instant_of(&self, moment: Moment) -> Option<Instant> {
        match &self.0 {
            ClockSource::System { origin } => {
                origin.checked_add(moment.since(Moment::ORIGIN + HISTORY))
            }
            ClockSource::Manual(_) => None,
        }
    }

    /// For how long a thread that waits until `until` may sleep where no alarm wakes it, before it looks
    /// at this clock again. One that is moved by hand wakes nobody there, and is only in tests: a look
    /// now and then will do.
    pub(crate) fn max_wait(&self, until: Moment) -> Duration {
        match &self.0 {
            ClockSource::System { .. } => until.since(self.now()),
            ClockSource::Manual(_) => Duration::from_millis(1),
        }
    }

    /// What time it is, on this clock and on the wall.
    pub(crate) fn wall_clock(&self) -> WallClockSample {
        match &self.0 {
            ClockSource::System { .. } => {
                let pair = || {
                    let (before, timestamp) = (self.now(), Timestamp::now());
                    (WallClockSample { moment: before, timestamp }, self.now().since(before))
                };
                // A thread that is interrupted between the two would see the wall ahead by as long.
                let again = |first: (WallClockSample, Duration)| {
                    if first.1 < MAX_READING_GAP { first } else { pair() }
                };
                again(again(pair())).0
            }
            ClockSource::Manual(clock) => clock.0.lock().wall_clock(),
        }
    }

    /// When somebody who waits for a time on the wall is to look at it again: it may have been set, or have
    /// gone on while the machine slept, and nobody is told of that. `None`: it cannot without waking them.
    pub(crate) fn next_wall_check(&self, now: Moment) -> Option<Moment> {
        match &self.0 {
            ClockSource::System { .. } => Some(now + WALL_CHECK_INTERVAL),
            ClockSource::Manual(_) => None,
        }
    }

    /// One thread more takes part in this time, until the guard is dropped: a clock that jumps does
    /// so only while all who take part sleep.
    pub(crate) fn active_guard(&self) -> ActiveGuard {
        if let ClockSource::Manual(clock) = &self.0 {
            clock.0.lock().active += 1;
        }
        ActiveGuard(self.clone())
    }

    /// Whether this thread takes part in this time.
    fn is_participant(&self) -> bool {
        match &self.0 {
            ClockSource::System { .. } => false,
            ClockSource::Manual(ManualClock(clock)) => PARTICIPATES_IN.with_borrow(|part| {
                part.as_ref().is_some_and(|ManualClock(mine)| Arc::ptr_eq(mine, clock))
            }),
        }
    }

    /// This thread is about to wait for something that is not time, such as an answer, and no longer
    /// than `until`. If it takes part, it sleeps until what is given is dropped, by it or by whoever
    /// wakes it, and the clock may jump.
    pub(crate) fn idle_guard(&self, until: Option<Moment>) -> Option<IdleGuard> {
        match &self.0 {
            ClockSource::Manual(clock) if self.is_participant() => {
                Some(IdleGuard::new(clock, until))
            }
            _ => None,
        }
    }

    /// An alarm of this clock: the place where one thread sleeps.
    pub(crate) fn parker(&self) -> Parker {
        let (ring, rings) = bounded(1);
        if let ClockSource::Manual(clock) = &self.0 {
            clock.0.lock().sleepers.push(Sleeper {
                wake_tx: ring.clone(),
                parked_until: None,
                rechecks_on_wake: true,
            });
        }
        Parker { clock: self.clone(), wake_tx: ring, wake_rx: rings }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(ClockSource::Manual(clock))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

thread_local! {
    /// The clock in whose time this thread takes part.
    static PARTICIPATES_IN: RefCell<Option<ManualClock>> = const { RefCell::new(None) };
}

/// A thread takes part. Says nothing to the system clock.
#[derive(Debug)]
pub(crate) struct ActiveGuard(Clock);

impl ActiveGuard {
    /// This thread is the one, to its end.
    pub(crate) fn bind_to_thread(&self) {
        if let ClockSource::Manual(clock) = &self.0.0 {
            PARTICIPATES_IN.set(Some(clock.clone()));
        }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        if let ClockSource::Manual(clock) = &self.0.0 {
            clock.0.lock().mark_idle();
        }
    }
}

/// Where one thread sleeps until a moment, or until somebody rings.
#[derive(Debug)]
pub(crate) struct Parker {
    clock: Clock,
    wake_tx: Sender<()>,
    wake_rx: Receiver<()>,
}

impl Parker {
    /// Wakes the sleeper, or the next one to sleep. Rings do not add up.
    pub(crate) fn unpark(&self) {
        match &self.clock.0 {
            ClockSource::System { .. } => send_wakeup(&self.wake_tx),
            ClockSource::Manual(clock) => {
                clock.0.lock().wake(|sleeper| sleeper.is_woken_by(&self.wake_tx))
            }
        }
    }

    /// A thread that takes part goes to sleep elsewhere, until somebody lets it [`rise`](Self::rise).
    pub(crate) fn mark_idle(&self) {
        if let ClockSource::Manual(clock) = &self.clock.0 {
            clock.0.lock().mark_idle();
        }
    }

    /// A thread that rests is awake from now on, although it may not run yet.
    pub(crate) fn mark_active(&self) {
        if let ClockSource::Manual(clock) = &self.clock.0 {
            clock.0.lock().active += 1;
        }
    }

    /// Forgets a ring that nobody slept through.
    pub(crate) fn clear(&self) {
        let _ = self.wake_rx.try_recv();
    }

    /// Sleeps until `until`, or for ever if that is `None`, or until the next ring. May wake
    /// early: whoever calls looks at the time again. It is one who takes part.
    pub(crate) fn park_until(&self, until: Option<Moment>) {
        match (&self.clock.0, until) {
            (ClockSource::System { .. }, None) => {
                let _ = self.wake_rx.recv();
            }
            (ClockSource::Manual(clock), until) => clock.park_until(until, self),
            (ClockSource::System { origin }, Some(until)) => {
                let until = *origin + until.since(Moment::ORIGIN + HISTORY);
                match self.wake_rx.recv_deadline(until) {
                    Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
            }
        }
    }
}

impl Drop for Parker {
    fn drop(&mut self) {
        if let ClockSource::Manual(clock) = &self.clock.0 {
            clock.0.lock().sleepers.retain(|sleeper| !sleeper.is_woken_by(&self.wake_tx));
        }
    }
}

fn send_wakeup(ring: &Sender<()>) {
    // Full means that a ring is waiting already.
    let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) = ring.try_send(());
}
