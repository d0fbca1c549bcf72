//! The one place that knows what time it is.
//!
//! Everything else is told the time as a [`Moment`]. [`Clock::system`] reads the monotonic clock of
//! the machine; a [`ManualClock`] stands still until it is moved, so that a test of an hour's
//! pacing takes milliseconds.

mod resting;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

pub(crate) use self::resting::{Resters, Resting};
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
    /// somebody else meanwhile; one that jumps goes there as soon as no lane on it has anything to do
    /// before.
    pub fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        let alarm = self.alarm();
        // Who takes part already is not one more.
        let _awake = (!self.takes_part()).then(|| self.awake());
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

    /// What time it is, on this clock and on the wall.
    pub(crate) fn wall(&self) -> Wall {
        match &self.0 {
            Kind::System { .. } => Wall { moment: self.now(), timestamp: Timestamp::now() },
            Kind::Manual(clock) => clock.0.lock().wall(),
        }
    }

    /// One thread more takes part in this time, until the guard is dropped: a clock that jumps does
    /// so only while all who take part sleep.
    pub(crate) fn awake(&self) -> Awake {
        if let Kind::Manual(clock) = &self.0 {
            clock.0.lock().awake += 1;
        }
        Awake(self.clone())
    }

    /// Whether this thread takes part in this time.
    fn takes_part(&self) -> bool {
        match &self.0 {
            Kind::System { .. } => false,
            Kind::Manual(ManualClock(clock)) => PART.with_borrow(|part| {
                part.as_ref().is_some_and(|ManualClock(mine)| Arc::ptr_eq(mine, clock))
            }),
        }
    }

    /// This thread is about to wait for something that is not time, such as an answer, and no longer
    /// than `until`. If it takes part, it sleeps until what is given is dropped, by it or by whoever
    /// wakes it, and the clock may jump.
    pub(crate) fn rest(&self, until: Option<Moment>) -> Option<Resting> {
        match &self.0 {
            Kind::Manual(clock) if self.takes_part() => Some(Resting::on(clock, until)),
            _ => None,
        }
    }

    /// An alarm of this clock: the place where one thread sleeps.
    pub(crate) fn alarm(&self) -> Alarm {
        let (ring, rings) = bounded(1);
        if let Kind::Manual(clock) = &self.0 {
            clock.0.lock().sleepers.push(Sleeper {
                ring: ring.clone(),
                asleep: None,
                hears_rings: true,
            });
        }
        Alarm { clock: self.clone(), ring, rings }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

thread_local! {
    /// The clock in whose time this thread takes part.
    static PART: RefCell<Option<ManualClock>> = const { RefCell::new(None) };
}

/// A thread takes part. Says nothing to the system clock.
#[derive(Debug)]
pub(crate) struct Awake(Clock);

impl Awake {
    /// This thread is the one, to its end.
    pub(crate) fn is_this_thread(&self) {
        if let Kind::Manual(clock) = &self.0.0 {
            PART.set(Some(clock.clone()));
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Kind::Manual(clock) = &self.0.0 {
            clock.0.lock().rest();
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
        match &self.clock.0 {
            Kind::System { .. } => ring(&self.ring),
            Kind::Manual(clock) => clock.0.lock().wake(|sleeper| sleeper.is(&self.ring)),
        }
    }

    /// A thread that takes part goes to sleep elsewhere, until somebody lets it [`rise`](Self::rise).
    pub(crate) fn rest(&self) {
        if let Kind::Manual(clock) = &self.clock.0 {
            clock.0.lock().rest();
        }
    }

    /// A thread that rests is awake from now on, although it may not run yet.
    pub(crate) fn rise(&self) {
        if let Kind::Manual(clock) = &self.clock.0 {
            clock.0.lock().awake += 1;
        }
    }

    /// Forgets a ring that nobody slept through.
    pub(crate) fn quiet(&self) {
        let _ = self.rings.try_recv();
    }

    /// Sleeps until `until`, or for ever if that is `None`, or until the next ring. May wake
    /// early: whoever calls looks at the time again. It is one who takes part.
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

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Kind::Manual(clock) = &self.clock.0 {
            clock.0.lock().sleepers.retain(|sleeper| !sleeper.is(&self.ring));
        }
    }
}

fn ring(ring: &Sender<()>) {
    // Full means that a ring is waiting already.
    let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) = ring.try_send(());
}

/// Where the clock on the wall stands when a test begins.
const NEW_YEAR: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A clock that moves only when told to, for tests.
///
/// By default it stands still until [`advance`](Self::advance). With
/// [`jumping`](Self::jumping) it moves by itself to the next moment that a lane waits for, a permit
/// or a deadline: the test runs as fast as the machine can, and never sleeps. A broker in such a
/// test takes time by calling [`advance`](Self::advance), or [`Clock::sleep`] where several calls may
/// be under way.
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
    /// What the clock on the wall said at some moment.
    wall: Wall,
    jumps: bool,
    /// How many of those who take part do not sleep. Who is woken counts from that moment on and not
    /// only once it runs, so no other can move time in between.
    awake: usize,
    sleepers: Vec<Sleeper>,
}

/// An alarm, and whether somebody sleeps there, and until when if it is not for ever.
#[derive(Debug)]
struct Sleeper {
    ring: Sender<()>,
    asleep: Option<Option<Moment>>,
    /// Whether it looks again whenever it is rung; or else only when its time has come.
    hears_rings: bool,
}

impl Sleeper {
    fn is(&self, ring: &Sender<()>) -> bool {
        self.ring.same_channel(ring)
    }

    fn until(&self) -> Option<Moment> {
        self.asleep.flatten()
    }
}

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        // Not at the origin, so that a moment before the first one can be told apart.
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let wall = Wall { moment: Moment::ORIGIN, timestamp: NEW_YEAR };
        let sleepers = Vec::new();
        Self(Arc::new(Mutex::new(Manual { now, wall, jumps: false, awake: 0, sleepers })))
    }

    /// A clock that jumps to the earliest moment that somebody waits for, while all do.
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
        let now = manual.now + by;
        manual.now = now;
        manual.wake(|sleeper| {
            sleeper.hears_rings || sleeper.until().is_some_and(|until| until <= now)
        });
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
    /// let clock = ManualClock::jumping();
    /// // Before the market opens in Mumbai.
    /// clock.set_wall("2026-11-20T09:14:00+05:30".parse()?);
    /// # Ok::<(), lanekeeper::jiff::Error>(())
    /// ```
    pub fn set_wall(&self, timestamp: Timestamp) {
        let mut manual = self.0.lock();
        manual.wall = Wall { moment: manual.now, timestamp };
        manual.wake(|sleeper| sleeper.hears_rings);
    }

    /// Sleeps in the place of `alarm`.
    fn sleep_until(&self, until: Option<Moment>, alarm: &Alarm) {
        {
            let mut manual = self.0.lock();
            let is_over = until.is_some_and(|until| manual.now >= until);
            if is_over || alarm.rings.try_recv().is_ok() {
                return;
            }
            let sleeper = manual.sleepers.iter_mut().find(|sleeper| sleeper.is(&alarm.ring));
            let Some(sleeper) = sleeper else { return };
            sleeper.asleep = Some(until);
            // The clock may jump now, and wake this very one.
            manual.rest();
        }
        let _ = alarm.rings.recv();
    }
}

impl Manual {
    fn wall(&self) -> Wall {
        let Wall { moment, timestamp } = self.wall;
        let since = SignedDuration::try_from(self.now.since(moment));
        let now = since.ok().and_then(|since| timestamp.checked_add(since).ok());
        // Beyond the last year that can be told it stands still.
        Wall { moment: self.now, timestamp: now.unwrap_or(timestamp) }
    }

    /// Rings some of the alarms.
    fn wake(&mut self, which: impl Fn(&Sleeper) -> bool) {
        for sleeper in self.sleepers.iter_mut().filter(|sleeper| which(sleeper)) {
            if sleeper.asleep.take().is_some() {
                self.awake += 1;
            }
            ring(&sleeper.ring);
        }
    }

    /// One of those who take part sleeps now, or goes. If it was the last that was awake, a clock that
    /// jumps goes to the earliest moment that somebody sleeps for.
    fn rest(&mut self) {
        self.awake = self.awake.saturating_sub(1);
        if self.awake > 0 || !self.jumps {
            return;
        }
        if let Some(earliest) = self.sleepers.iter().filter_map(Sleeper::until).min() {
            self.now = self.now.max(earliest);
            self.wake(|sleeper| sleeper.until() == Some(earliest));
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
