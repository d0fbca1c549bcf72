//! The one place that knows what time it is.
//!
//! Everything else is told the time as a [`Moment`]. [`Clock::system`] reads the monotonic clock of
//! the machine; a [`ManualClock`] stands still until it is moved, so that a test of an hour's
//! pacing takes milliseconds.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::quota::{Moment, Wall};

/// A clock: the machine's, or one for tests. Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System { origin: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn system() -> Self {
        Self(Kind::System { origin: Instant::now() })
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Kind::System { origin } => Moment::ORIGIN + origin.elapsed(),
            Kind::Manual(clock) => clock.now(),
        }
    }

    /// Sleeps for `time` of this clock. A [`ManualClock`] that stands still has to be moved by
    /// somebody else meanwhile; one that jumps goes there at once, unless a call is under way.
    pub fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        let alarm = self.alarm();
        while self.now() < until {
            alarm.sleep_until(Some(until));
        }
    }

    /// The machine's name for a moment, where this clock is the machine's.
    pub(crate) fn instant_of(&self, moment: Moment) -> Option<Instant> {
        match &self.0 {
            Kind::System { origin } => origin.checked_add(moment.since(Moment::ORIGIN)),
            Kind::Manual(_) => None,
        }
    }

    /// What time it is, on this clock and on the wall. A clock that is moved by hand began with the
    /// year 2026.
    pub(crate) fn wall(&self) -> Wall {
        let moment = self.now();
        let timestamp = match &self.0 {
            Kind::System { .. } => Timestamp::now(),
            Kind::Manual(_) => {
                let began = Timestamp::constant(1_767_225_600, 0);
                let since = SignedDuration::try_from(moment.since(Moment::ORIGIN));
                since.ok().and_then(|since| began.checked_add(since).ok()).unwrap_or(began)
            }
        };
        Wall { moment, timestamp }
    }

    /// Says that a call is under way until the guard is dropped, so that a clock that jumps does
    /// not jump over it.
    pub(crate) fn busy(&self) -> Busy {
        match &self.0 {
            Kind::System { .. } => Busy(None),
            Kind::Manual(clock) => {
                clock.0.lock().busy += 1;
                Busy(Some(clock.clone()))
            }
        }
    }

    /// An alarm of this clock: the place where one thread sleeps.
    pub(crate) fn alarm(&self) -> Alarm {
        let (ring, rings) = bounded(1);
        if let Kind::Manual(clock) = &self.0 {
            clock.0.lock().sleepers.push(Sleeper { ring: ring.clone(), until: None });
        }
        Alarm { clock: self.clone(), ring, rings }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// A call is under way. Says nothing to the system clock.
#[derive(Debug)]
pub(crate) struct Busy(Option<ManualClock>);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(clock) = &self.0 {
            let mut manual = clock.0.lock();
            manual.busy -= 1;
            if manual.busy == 0 && manual.jumps {
                manual.wake();
            }
        }
    }
}

/// Where one thread sleeps until a moment, or until somebody rings.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    ring: Sender<()>,
    rings: Receiver<()>,
}

impl Alarm {
    /// Wakes the sleeper, or the next one to sleep. Rings do not add up.
    pub(crate) fn ring(&self) {
        // Full means that a ring is waiting already.
        let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) =
            self.ring.try_send(());
    }

    /// Forgets a ring that nobody slept through.
    pub(crate) fn quiet(&self) {
        let _ = self.rings.try_recv();
    }

    /// Sleeps until `until`, or for ever if that is `None`, or until the next ring. May wake
    /// early: whoever calls looks at the time again.
    pub(crate) fn sleep_until(&self, until: Option<Moment>) {
        match (&self.clock.0, until) {
            (Kind::System { .. }, None) => {
                let _ = self.rings.recv();
            }
            (Kind::Manual(clock), until) => clock.sleep_until(until, self),
            (Kind::System { origin }, Some(until)) => {
                let until = *origin + until.since(Moment::ORIGIN);
                match self.rings.recv_deadline(until) {
                    Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
            }
        }
    }
}

/// A clock that moves only when told to, for tests.
///
/// By default it stands still until [`advance`](Self::advance). With
/// [`jumping`](Self::jumping), a lane that has calls waiting and none under way moves the clock to
/// the moment of the next permit by itself: the test runs as fast as the machine can, and never
/// sleeps. A broker in such a test takes time by calling [`advance`](Self::advance).
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
/// mock.expect_margins().returning(|| Ok(Margins::default()));
///
/// let clock = ManualClock::jumping();
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
pub struct ManualClock(Arc<Mutex<Manual>>);

#[derive(Debug)]
struct Manual {
    now: Moment,
    jumps: bool,
    /// How many calls are under way.
    busy: usize,
    sleepers: Vec<Sleeper>,
}

/// An alarm, and until when somebody sleeps there.
#[derive(Debug)]
struct Sleeper {
    ring: Sender<()>,
    until: Option<Moment>,
}

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        // Not at the origin, so that a moment before the first one can be told apart.
        let now = Moment::ORIGIN + Duration::from_secs(1);
        Self(Arc::new(Mutex::new(Manual { now, jumps: false, busy: 0, sleepers: Vec::new() })))
    }

    /// A clock that jumps to the time a lane waits for.
    pub fn jumping() -> Self {
        let clock = Self::new();
        clock.0.lock().jumps = true;
        clock
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        self.0.lock().now
    }

    /// Moves time on, and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.0.lock();
        manual.now = manual.now + by;
        manual.wake();
    }

    /// Sleeps in the place of `alarm`. With a clock that jumps, whoever sleeps until the earliest
    /// moment of all is the one to whom it jumps.
    fn sleep_until(&self, until: Option<Moment>, alarm: &Alarm) {
        let mut awake = false;
        {
            let mut manual = self.0.lock();
            let is_over = |now| until.is_some_and(|until| now >= until);
            if is_over(manual.now) || alarm.rings.try_recv().is_ok() {
                return;
            }
            manual.sleeps(&alarm.ring, until);
            if manual.jumps && manual.busy == 0 {
                manual.jump();
                awake = is_over(manual.now);
            }
        }
        if !awake {
            let _ = alarm.rings.recv();
        }
        self.0.lock().sleeps(&alarm.ring, None);
    }
}

impl Manual {
    /// Rings every alarm; one that is gone is dropped from the list.
    fn wake(&mut self) {
        self.sleepers.retain(|sleeper| {
            !matches!(sleeper.ring.try_send(()), Err(TrySendError::Disconnected(())))
        });
    }

    /// Jumps to the earliest moment that somebody sleeps for.
    fn jump(&mut self) {
        let earliest = self.sleepers.iter().filter_map(|sleeper| sleeper.until).min();
        // Whoever has slept enough is about to do something, and to sleep again after that.
        if let Some(earliest) = earliest.filter(|earliest| *earliest > self.now) {
            self.now = earliest;
            self.wake();
        }
    }

    fn sleeps(&mut self, ring: &Sender<()>, until: Option<Moment>) {
        let sleeper = self.sleepers.iter_mut().find(|sleeper| sleeper.ring.same_channel(ring));
        if let Some(sleeper) = sleeper {
            sleeper.until = until;
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Kind::Manual(clock))
    }
}
