//! The two limiters that sleep on tokio's clock, which is paused and moves only when it is advanced.
//!
//! Its timers have a resolution of whole milliseconds, in virtual time as in real time.

use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use leaky_bucket::{AcquireOwned, RateLimiter};
use tokio::runtime::Runtime;
use tokio::time::{self, Instant};
use tower::Service;
use tower::limit::rate::{Rate, RateLimit};

use super::Peer;
use crate::broker::{LIMIT, WINDOW};

/// tokio's clock, in nanoseconds since it was made.
struct Tokio {
    runtime: Runtime,
    origin: Instant,
}

impl Tokio {
    #[allow(clippy::expect_used)] // Without a runtime there is nothing to compare.
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let origin = runtime.block_on(async { Instant::now() });
        Self { runtime, origin }
    }

    /// Returns the moment at which `permit` is ready, unless `until` comes first.
    fn wait(&self, permit: impl Future<Output = ()>, now: u64, until: u64) -> Option<u64> {
        let at = |nanos| self.origin + Duration::from_nanos(nanos);
        self.runtime.block_on(async {
            let ahead = at(now).saturating_duration_since(Instant::now());
            if !ahead.is_zero() {
                time::advance(ahead).await;
            }
            tokio::select! {
                biased;
                () = permit => Some(self.origin.elapsed().as_nanos() as u64),
                () = time::sleep_until(at(until)) => None,
            }
        })
    }
}

/// leaky-bucket: one token every 100 ms.
pub struct Leaky {
    // Before the clock: what is pending is dropped first.
    pending: Option<Pin<Box<AcquireOwned>>>,
    limiter: Arc<RateLimiter>,
    tokio: Tokio,
}

impl Leaky {
    pub fn new() -> Self {
        let tokio = Tokio::new();
        let interval = Duration::from_nanos(WINDOW / u64::from(LIMIT));
        let limiter = tokio.runtime.block_on(async {
            RateLimiter::builder().refill(1).interval(interval).max(LIMIT as usize).build()
        });
        Self { pending: None, limiter: Arc::new(limiter), tokio }
    }
}

impl Peer for Leaky {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        let ask = || Box::pin(self.limiter.clone().acquire_owned(1));
        let permit = self.pending.get_or_insert_with(ask);
        let at = self.tokio.wait(permit.as_mut(), now, until)?;
        self.pending = None;
        Some(at)
    }
}

/// The service that tower's limiter wraps: it does nothing.
struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// tower's `RateLimit`.
pub struct Tower {
    service: RateLimit<Nothing>,
    tokio: Tokio,
}

impl Tower {
    pub fn new() -> Self {
        let tokio = Tokio::new();
        let rate = Rate::new(LIMIT.into(), Duration::from_nanos(WINDOW));
        let service = tokio.runtime.block_on(async { RateLimit::new(Nothing, rate) });
        Self { service, tokio }
    }
}

impl Peer for Tower {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        let service = &mut self.service;
        let permit = async {
            let Ok(()) = poll_fn(|context| service.poll_ready(context)).await;
            let Ok(()) = service.call(()).await;
        };
        self.tokio.wait(permit, now, until)
    }
}
