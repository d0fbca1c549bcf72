//! The clock: the only source of time in the crate.
//!
//! All other code takes the time as a [`Moment`]. [`Clock::system`] reads the monotonic clock of the machine. A
//! [`ManualClock`] does not advance until a test advances it, so a test of an hour's pacing takes milliseconds.

mod idle;
mod manual;
mod timed_condvar;
mod timer;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::Timestamp;

pub(crate) use self::idle::IdleGuard;
pub use self::manual::ManualClock;
use self::manual::Sleeper;
pub(crate) use self::timed_condvar::TimedCondvar;
#[cfg(feature = "async")]
pub(crate) use self::timer::Sleep;
pub(crate) use self::timer::Timer;
use crate::quota::{Moment, WallClockSample};

/// Bounds the time between two readings that count as one moment. It is longer than two readings take, unless the
/// thread is preempted between them.
const MAX_READING_GAP: Duration = Duration::from_millis(1);

/// The time before the start of a system clock, for calls that an earlier process sent. Twice the longest window that
/// brokers use, which is a day.
const HISTORY: Duration = Duration::from_secs(48 * 3600);

/// Bounds how long a thread that waits for a wall clock time can miss that the wall clock was adjusted.
const WALL_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A clock: the machine's, or one for tests. Cheap to clone, and clones share the same time.
#[derive(Debug, Clone)]
pub struct Clock(ClockSource);

#[derive(Debug, Clone)]
enum ClockSource {
    System { origin: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// Returns a clock that reads the machine's monotonic clock.
    pub fn system() -> Self {
        Self(ClockSource::System { origin: Instant::now() })
    }

    /// Returns the present moment.
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockSource::System { origin } => Moment::ORIGIN + HISTORY + origin.elapsed(),
            ClockSource::Manual(clock) => clock.now(),
        }
    }

    /// Returns whether this is the machine's clock.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, ClockSource::System { .. })
    }

    /// Sleeps for `time` of this clock. A [`ManualClock`] has to be advanced by another thread meanwhile. An
    /// auto-advancing one advances to that time as soon as no lane on it has anything to do before.
    pub fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        let parker = self.parker();
        // A thread that already participates is not counted twice.
        let _active = (!self.is_participant()).then(|| self.active_guard());
        while self.now() < until {
            parker.park_until(Some(until));
        }
    }

    /// Returns how long a thread that waits until `until` without a parker may sleep before it re-reads this clock. A
    /// manual clock does not wake such a thread. It is used only in tests, so a poll every millisecond suffices.
    pub(crate) fn max_wait(&self, until: Moment) -> Duration {
        match &self.0 {
            ClockSource::System { .. } => until.since(self.now()),
            ClockSource::Manual(_) => Duration::from_millis(1),
        }
    }

    /// Reads this clock and the wall clock together.
    pub fn wall_clock(&self) -> WallClockSample {
        match &self.0 {
            ClockSource::System { .. } => {
                let pair = || {
                    let (before, timestamp) = (self.now(), Timestamp::now());
                    (WallClockSample { moment: before, timestamp }, self.now().since(before))
                };
                // A thread that is preempted between the two readings would see the wall clock ahead by as much.
                let again = |first: (WallClockSample, Duration)| {
                    if first.1 < MAX_READING_GAP { first } else { pair() }
                };
                again(again(pair())).0
            }
            ClockSource::Manual(clock) => clock.0.lock().wall_clock(),
        }
    }

    /// Returns when a thread that waits for a wall clock time has to re-read the wall clock. It may have been adjusted,
    /// or have kept running while the machine was suspended, and neither wakes a thread. `None` if the clock wakes its
    /// waiters when the wall clock is set.
    pub(crate) fn next_wall_check(&self, now: Moment) -> Option<Moment> {
        match &self.0 {
            ClockSource::System { .. } => Some(now + WALL_CHECK_INTERVAL),
            ClockSource::Manual(_) => None,
        }
    }

    /// Counts one more participating thread until the guard is dropped. An auto-advancing clock advances only while all
    /// participants are idle.
    pub(crate) fn active_guard(&self) -> ActiveGuard {
        if let ClockSource::Manual(clock) = &self.0 {
            clock.0.lock().active += 1;
        }
        ActiveGuard(self.clone())
    }

    /// Makes the present thread a participant until the guard is dropped, if it is not one already. For a thread of the
    /// user that waits until a time: an auto-advancing clock advances to that time if no other participant is active.
    pub(crate) fn participate(&self) -> Participation {
        let before = match &self.0 {
            ClockSource::Manual(clock) if !self.is_participant() => {
                Some((self.active_guard(), PARTICIPATES_IN.replace(Some(clock.clone()))))
            }
            _ => None,
        };
        Participation { before, _on_this_thread: PhantomData }
    }

    /// Returns whether the present thread participates in this clock.
    fn is_participant(&self) -> bool {
        match &self.0 {
            ClockSource::System { .. } => false,
            ClockSource::Manual(ManualClock(clock)) => PARTICIPATES_IN.with_borrow(|part| {
                part.as_ref().is_some_and(|ManualClock(bound)| Arc::ptr_eq(bound, clock))
            }),
        }
    }

    /// Marks a participating thread idle while it waits for something other than time, such as an answer, and at most
    /// until `until`. The clock may advance meanwhile. The thread counts as active again once the guard is dropped, by
    /// the thread itself or by the one that wakes it. Returns `None` for a thread that does not participate.
    pub(crate) fn idle_guard(&self, until: Option<Moment>) -> Option<IdleGuard> {
        match &self.0 {
            ClockSource::Manual(clock) if self.is_participant() => {
                Some(IdleGuard::new(clock, until))
            }
            _ => None,
        }
    }

    /// Returns a parker of this clock, on which one thread can sleep.
    pub(crate) fn parker(&self) -> Parker {
        let (wake_tx, wake_rx) = bounded(1);
        if let ClockSource::Manual(clock) = &self.0 {
            clock.0.lock().sleepers.push(Sleeper {
                wake_tx: wake_tx.clone(),
                parked_until: None,
                rechecks_on_wake: true,
            });
        }
        Parker { clock: self.clone(), wake_tx, wake_rx }
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
    /// The manual clock in which this thread participates.
    static PARTICIPATES_IN: RefCell<Option<ManualClock>> = const { RefCell::new(None) };
}

/// Counts one thread as a participant of a manual clock. Has no effect on the system clock.
#[derive(Debug)]
pub(crate) struct ActiveGuard(Clock);

impl ActiveGuard {
    /// Makes the present thread the participant, until it ends.
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

/// The participation of the present thread in a manual clock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Participation {
    /// The count of the thread, and the clock in which it participated before.
    before: Option<(ActiveGuard, Option<ManualClock>)>,
    _on_this_thread: PhantomData<*const ()>,
}

impl Drop for Participation {
    fn drop(&mut self) {
        if let Some((_, clock)) = &mut self.before {
            PARTICIPATES_IN.set(clock.take());
        }
    }
}

/// A place where one thread sleeps until a moment, or until another thread wakes it.
#[derive(Debug)]
pub(crate) struct Parker {
    clock: Clock,
    wake_tx: Sender<()>,
    wake_rx: Receiver<()>,
}

impl Parker {
    /// Wakes the parked thread. If none is parked, the next call to [`park_until`](Self::park_until) returns at once.
    /// Repeated calls coalesce.
    pub(crate) fn unpark(&self) {
        match &self.clock.0 {
            ClockSource::System { .. } => send_wakeup(&self.wake_tx),
            ClockSource::Manual(clock) => {
                clock.0.lock().wake(|sleeper| sleeper.is_woken_by(&self.wake_tx))
            }
        }
    }

    /// Marks a participating thread idle, which is about to sleep elsewhere until [`mark_active`](Self::mark_active).
    pub(crate) fn mark_idle(&self) {
        if let ClockSource::Manual(clock) = &self.clock.0 {
            clock.0.lock().mark_idle();
        }
    }

    /// Marks an idle thread active from now on, although it may not run yet.
    pub(crate) fn mark_active(&self) {
        if let ClockSource::Manual(clock) = &self.clock.0 {
            clock.0.lock().active += 1;
        }
    }

    /// Clears a pending wakeup.
    pub(crate) fn clear(&self) {
        let _ = self.wake_rx.try_recv();
    }

    /// Sleeps until `until`, or without limit if that is `None`, or until the next wakeup. May wake early, so the
    /// caller re-reads the time. The caller participates in the clock.
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

fn send_wakeup(wake_tx: &Sender<()>) {
    // A full channel means that a wakeup is already pending.
    let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) =
        wake_tx.try_send(());
}
