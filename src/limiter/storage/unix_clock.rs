//! The wall clock in microseconds, in less time than a verdict takes.
//!
//! The wall clock is read as a monotonic clock and a distance, which is measured once a second. So a verdict reads one
//! clock, and that is the processor's counter where there is one, which takes a third of the time of the system's
//! monotonic clock. What the two run apart within a second is below a microsecond.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::clock::Clock;
use crate::quota::request_limit::UnixMicros;

/// How often the distance is measured, in nanoseconds.
const INTERVAL: u64 = 1_000_000_000;

/// A reading of both clocks that took longer than this, in nanoseconds, is repeated: the thread was preempted.
const MAX_READING_GAP: u64 = 20_000;

#[derive(Debug)]
pub(super) struct UnixClock {
    source: Source,
    /// Microseconds from the origin of the monotonic clock to the Unix epoch.
    offset: AtomicI64,
    /// When the distance is measured again, in nanoseconds of the monotonic clock.
    measure_at: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Machine { counter: quanta::Clock, origin: u64 },
    Given(Clock),
}

impl UnixClock {
    pub(super) fn new(clock: Clock) -> Self {
        let source = match clock.is_system() {
            true => {
                let counter = quanta::Clock::new();
                Source::Machine { origin: counter.raw(), counter }
            }
            false => Source::Given(clock),
        };
        let this = Self { source, offset: AtomicI64::new(0), measure_at: AtomicU64::new(0) };
        this.measure();
        this
    }

    #[inline]
    pub(super) fn now(&self) -> UnixMicros {
        let nanos = self.monotonic();
        if nanos >= self.measure_at.load(Ordering::Relaxed) {
            self.measure();
        }
        UnixMicros::new((nanos / 1000).saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    #[inline]
    fn monotonic(&self) -> u64 {
        match &self.source {
            Source::Machine { counter, origin } => counter.delta_as_nanos(*origin, counter.raw()),
            Source::Given(clock) => clock.now().as_nanos(),
        }
    }

    #[cold]
    fn measure(&self) {
        let (nanos, wall) = match &self.source {
            Source::Machine { .. } => {
                let reading = || {
                    let (before, wall) = (self.monotonic(), Timestamp::now());
                    (before, wall, self.monotonic() - before)
                };
                let mut best = reading();
                for _ in 0..3 {
                    if best.2 > MAX_READING_GAP {
                        best = reading();
                    }
                }
                (best.0, best.1)
            }
            Source::Given(clock) => {
                let sample = clock.wall_clock();
                (sample.moment.as_nanos(), sample.timestamp)
            }
        };
        let moment = i64::try_from(nanos / 1000).unwrap_or(i64::MAX);
        self.offset.store(wall.as_microsecond().saturating_sub(moment), Ordering::Relaxed);
        self.measure_at.store(nanos.saturating_add(INTERVAL), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn it_is_the_wall_clock_to_a_microsecond() {
        let clock = ManualClock::new();
        let unix = UnixClock::new(clock.clone().into());
        for step in [0, 1, 999, 1_000, 1_500_000_000, 86_400_000_000_000] {
            clock.advance(Duration::from_nanos(step));
            let wall = Clock::from(clock.clone()).wall_clock().timestamp;
            let apart = unix.now().get().abs_diff(u64::try_from(wall.as_microsecond()).unwrap());
            assert!(apart <= 1, "{step}: {apart}");
        }
    }

    #[test]
    fn the_machines_is_between_two_readings_of_the_system() {
        let unix = UnixClock::new(Clock::system());
        let micros = || u64::try_from(Timestamp::now().as_microsecond()).unwrap();
        // A step of the wall clock between the readings would be another test.
        let near = (0..1000).any(|_| {
            let (before, now, after) = (micros(), unix.now().get(), micros());
            before <= now + 50 && now <= after + 50
        });
        assert!(near);
    }
}
