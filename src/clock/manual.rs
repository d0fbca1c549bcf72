//! A clock that moves only when told to, for tests.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{Parker, send_wakeup};
use crate::quota::{Moment, WallClockSample};

/// Where the clock on the wall stands when a test begins.
const INITIAL_WALL_CLOCK: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A clock that moves only when told to, for tests.
///
/// By default it stands still until [`advance`](Self::advance). With
/// [`jumping`](Self::jumping) it moves by itself to the next moment that a lane waits for, a permit
/// or a deadline: the test runs as fast as the machine can, and never sleeps. A broker in such a
/// test takes time by calling [`advance`](Self::advance), or [`Clock::sleep`](super::Clock::sleep) where
/// several calls may be under way.
///
/// It jumps only while all lanes on it have nothing to do and no call is under way, but for one that
/// sleeps on this clock or waits for another, and then to the earliest moment that somebody waits for.
/// So several lanes go as if each were alone, in whatever order the machine runs their threads. The
/// test's own threads it does not know: it does not wait for what they are about to do. Calls that are
/// to be queued at one and the same moment are submitted while another one is under way.
///
/// A test of one thread wants a jumping clock: with one that stands still, its first call that has
/// to wait for a permit waits for ever, since nobody is left to move time.
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
    /// What the clock on the wall said at some moment.
    wall_clock: WallClockSample,
    auto_advances: bool,
    /// How many of those who take part do not sleep. Who is woken counts from that moment on and not
    /// only once it runs, so no other can move time in between.
    pub(super) active: usize,
    pub(super) sleepers: Vec<Sleeper>,
}

/// An alarm, and whether somebody sleeps there, and until when if it is not for ever.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) wake_tx: Sender<()>,
    pub(super) parked_until: Option<Option<Moment>>,
    /// Whether it looks again whenever it is rung; or else only when its time has come.
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
    /// A clock that stands still.
    pub fn new() -> Self {
        // Not at the origin, so that a moment before the first one can be told apart.
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

    /// A clock that jumps to the earliest moment that somebody waits for, while all do.
    pub fn auto_advancing() -> Self {
        let clock = Self::new();
        clock.0.lock().auto_advances = true;
        clock
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        self.0.lock().now
    }

    /// Moves time on, and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.0.lock();
        let now = manual.now + by;
        manual.now = now;
        // Nobody else: a lane that sleeps for too long would be helped along by it.
        manual.wake(|sleeper| sleeper.wakes_at().is_some_and(|until| until <= now));
    }

    /// Sets the clock on the wall, which windows that begin at midnight go by. It goes on from there with
    /// this one. Nobody's wait is over by that alone, as on a machine whose clock is set: a lane that
    /// sleeps looks again, and only then knows.
    ///
    /// Until it is set, it says that the year 2026 began (UTC) a second before this clock was made.
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

    /// Sleeps in the place of `alarm`.
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
            // The clock may jump now, and wake this very one.
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
        // Beyond the last year that can be told it stands still.
        WallClockSample { moment: self.now, timestamp: now.unwrap_or(timestamp) }
    }

    /// Rings some of the alarms.
    pub(super) fn wake(&mut self, which: impl Fn(&Sleeper) -> bool) {
        for sleeper in self.sleepers.iter_mut().filter(|sleeper| which(sleeper)) {
            if sleeper.parked_until.take().is_some() {
                self.active += 1;
            }
            send_wakeup(&sleeper.wake_tx);
        }
    }

    /// One of those who take part sleeps now, or goes. If it was the last that was awake, a clock that
    /// jumps goes to the earliest moment that somebody sleeps for.
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
