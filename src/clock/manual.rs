//! A clock that only advances when a test makes it, or to the next moment that a thread waits for.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{Parker, send_wakeup};
use crate::quota::{Moment, WallClockSample};

/// The initial wall clock time: the start of 2026 in UTC.
const INITIAL_WALL_CLOCK: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A clock for tests, which advances only when a test makes it.
///
/// By default it does not advance until [`advance`](Self::advance). An [auto-advancing](Self::auto_advancing) clock
/// advances to the next moment that a lane waits for, such as a permit or a deadline: the test runs as fast as the
/// machine can, and never sleeps. A broker in such a test takes time by calling [`advance`](Self::advance), or
/// [`Clock::sleep`](super::Clock::sleep) where several calls may be in flight.
///
/// It auto-advances only while no lane on it has anything to do, and each call in flight sleeps on this clock or waits
/// for another call. It then advances to the earliest moment that a thread waits for. So several lanes behave as if
/// each were alone, in whatever order the machine runs their threads. The clock does not know the test's own threads,
/// and does not wait for what they are about to do. To queue several calls at the same moment, submit them while
/// another call is in flight. Nor does it advance while a turn is [offered](crate::proxy::Lanes::run) to a task that was not
/// polled since.
///
/// A single-threaded test needs an auto-advancing clock. Otherwise its first call that has to wait for a permit waits
/// for ever, since no other thread can advance the clock.
///
/// ```
/// # #[cfg(feature = "mock")] {
/// use std::time::Duration;
/// use lanekeeper::broker::{Broker, BrokerProxy, Margins, MockBroker};
/// use lanekeeper::clock::ManualClock;
/// use lanekeeper::quota::{Limits, Quota};
///
/// let mut mock = MockBroker::new();
/// mock.expect_margins().returning(|| Ok(Margins::default().into()));
///
/// let clock = ManualClock::auto_advancing();
/// let once_a_second = ["transactional", "quote", "historical"]
///     .into_iter()
///     .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(1)))
///     .budget("orders", Quota::unlimited());
/// let broker = BrokerProxy::builder(mock).limits(once_a_second).clock(clock.clone()).build()?;
///
/// let before = clock.now();
/// for _ in 0..3 {
///     broker.margins().expect("the mock answers");
/// }
/// assert_eq!(clock.now().since(before), Duration::from_secs(2));
/// # }
/// # Ok::<(), lanekeeper::proxy::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(pub(super) Arc<Mutex<ManualState>>);

#[derive(Debug)]
pub(super) struct ManualState {
    now: Moment,
    /// The wall clock time at some moment.
    wall_clock: WallClockSample,
    auto_advances: bool,
    /// The number of participants that are not idle. A thread that is woken counts from that moment on, and not only
    /// once it runs, so the clock cannot advance in between.
    pub(super) active: usize,
    pub(super) sleepers: Vec<Sleeper>,
}

/// A parker. `parked_until` is set while a thread sleeps on it, with the moment for which it sleeps, if any.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) wake_tx: Sender<()>,
    pub(super) parked_until: Option<Option<Moment>>,
    /// Whether the thread re-checks the time at every wakeup, or else only when its time has come.
    pub(super) rechecks_on_wake: bool,
}

impl Sleeper {
    pub(super) fn is_woken_by(&self, wake_tx: &Sender<()>) -> bool {
        self.wake_tx.same_channel(wake_tx)
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.parked_until.flatten()
    }
}

impl ManualClock {
    /// Creates a clock that does not advance until [`advance`](Self::advance).
    pub fn new() -> Self {
        // It does not start at the origin, so that a moment before the first one can be told apart.
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let wall_clock = WallClockSample { moment: Moment::ORIGIN, timestamp: INITIAL_WALL_CLOCK };
        let sleepers = Vec::new();
        Self(Arc::new(Mutex::new(ManualState {
            now,
            wall_clock,
            auto_advances: false,
            active: 0,
            sleepers,
        })))
    }

    /// Creates a clock that, while all participants are idle, advances to the earliest moment for which one sleeps.
    pub fn auto_advancing() -> Self {
        let clock = Self::new();
        clock.0.lock().auto_advances = true;
        clock
    }

    /// Returns the present moment.
    pub fn now(&self) -> Moment {
        self.0.lock().now
    }

    /// Advances the clock, and wakes the threads whose time has come.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.0.lock();
        let now = manual.now + by;
        manual.now = now;
        // Others are not woken: that would hide a lane that sleeps for too long.
        manual.wake(|sleeper| sleeper.wakes_at().is_some_and(|until| until <= now));
    }

    /// Sets the wall clock, on which windows that begin at midnight depend. It advances with this clock from there.
    /// Setting it ends no wait, as on a machine whose clock is set: a sleeping lane only re-reads it.
    ///
    /// Initially the wall clock says that the year 2026 began (UTC) a second before this clock was made.
    ///
    /// ```
    /// use lanekeeper::clock::ManualClock;
    ///
    /// let clock = ManualClock::auto_advancing();
    /// // Before the market opens in Mumbai.
    /// clock.set_wall_clock("2026-11-20T09:14:00+05:30".parse()?);
    /// # Ok::<(), lanekeeper::jiff::Error>(())
    /// ```
    pub fn set_wall_clock(&self, timestamp: Timestamp) {
        let mut manual = self.0.lock();
        manual.wall_clock = WallClockSample { moment: manual.now, timestamp };
        manual.wake(|sleeper| sleeper.rechecks_on_wake);
    }

    /// Sleeps on `parker` until `until`, or until it is woken.
    pub(super) fn park_until(&self, until: Option<Moment>, parker: &Parker) {
        {
            let mut manual = self.0.lock();
            let is_past = until.is_some_and(|until| manual.now >= until);
            if is_past || parker.wake_rx.try_recv().is_ok() {
                return;
            }
            let sleeper =
                manual.sleepers.iter_mut().find(|sleeper| sleeper.is_woken_by(&parker.wake_tx));
            let Some(sleeper) = sleeper else { return };
            sleeper.parked_until = Some(until);
            // This may advance the clock, and wake this very thread.
            manual.mark_idle();
        }
        let _ = parker.wake_rx.recv();
    }
}

impl ManualState {
    pub(super) fn wall_clock(&self) -> WallClockSample {
        let WallClockSample { moment, timestamp } = self.wall_clock;
        let since = SignedDuration::try_from(self.now.since(moment));
        let now = since.ok().and_then(|since| timestamp.checked_add(since).ok());
        // The wall clock stops at the last timestamp that can be represented.
        WallClockSample { moment: self.now, timestamp: now.unwrap_or(timestamp) }
    }

    /// Wakes the sleepers for which `which` holds.
    pub(super) fn wake(&mut self, which: impl Fn(&Sleeper) -> bool) {
        for sleeper in self.sleepers.iter_mut().filter(|sleeper| which(sleeper)) {
            if sleeper.parked_until.take().is_some() {
                self.active += 1;
            }
            send_wakeup(&sleeper.wake_tx);
        }
    }

    /// Counts one participant less, which goes to sleep or ends. If it was the last active one, an auto-advancing clock
    /// advances to the earliest moment for which a thread sleeps.
    pub(super) fn mark_idle(&mut self) {
        self.active = self.active.saturating_sub(1);
        if self.active > 0 || !self.auto_advances {
            return;
        }
        if let Some(earliest) = self.sleepers.iter().filter_map(Sleeper::wakes_at).min() {
            self.now = self.now.max(earliest);
            self.wake(|sleeper| sleeper.wakes_at() == Some(earliest));
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}
