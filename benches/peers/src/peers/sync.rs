//! The two limiters that return how long to wait, on clocks of ours.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use ratelimit::{Ratelimiter, TryWaitError};

use super::{Peer, before};
use crate::broker::LIMIT;

type Direct =
    governor::RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// governor, on its own fake clock.
pub struct Governor {
    clock: FakeRelativeClock,
    now: u64,
    limiter: Direct,
}

impl Governor {
    pub fn new(burst: u32) -> Self {
        let [limit, burst] = [LIMIT, burst].map(|n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        let quota = governor::Quota::per_second(limit).allow_burst(burst);
        let clock = FakeRelativeClock::default();
        let limiter = governor::RateLimiter::direct_with_clock(quota, clock.clone());
        Self { clock, now: 0, limiter }
    }

    fn set(&mut self, now: u64) {
        self.clock.advance(Duration::from_nanos(now.saturating_sub(self.now)));
        self.now = self.now.max(now);
    }
}

impl Peer for Governor {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        self.set(now);
        while let Err(not_until) = self.limiter.check() {
            let wait = not_until.wait_time_from(self.clock.now());
            let at = before(self.now + wait.as_nanos() as u64, until)?;
            self.set(at);
        }
        Some(self.now)
    }
}

/// The time of day, in the form that `ratelimit` takes.
#[derive(Clone, Default)]
struct Hand(Rc<Cell<u64>>);

impl ratelimit::Clock for Hand {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.get())
    }
}

/// ratelimit, version 2, which can be given a clock.
pub struct Ratelimit {
    hand: Hand,
    limiter: Ratelimiter<Hand>,
}

impl Ratelimit {
    pub fn new() -> Self {
        let hand = Hand::default();
        Self { limiter: Ratelimiter::with_clock(LIMIT.into(), hand.clone()), hand }
    }
}

impl Peer for Ratelimit {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        self.hand.0.set(now.max(self.hand.0.get()));
        while let Err(refused) = self.limiter.try_wait() {
            let TryWaitError::Insufficient(wait) = refused else { return None };
            let at = before(self.hand.0.get() + wait.as_nanos() as u64, until)?;
            self.hand.0.set(at);
        }
        Some(self.hand.0.get())
    }
}
