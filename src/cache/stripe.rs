//! Stripes for the counters of hits. A hit takes tens of nanoseconds, so counting must not make threads contend.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many stripes a counter has.
pub(super) const STRIPES: usize = 8;

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// Returns the stripe of this thread, which is less than [`STRIPES`].
#[inline]
pub(super) fn mine() -> usize {
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}
