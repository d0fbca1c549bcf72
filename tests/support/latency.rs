//! How long a message takes one way, in nanoseconds.

use std::time::Duration;

use fastrand::Rng;

/// A model of one direction of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant { base: Duration },
    /// `base`, and an exponential extra of mean `jitter`; a share of the messages is late by up to
    /// half a second more.
    Exponential { base: Duration, jitter: Duration, late: f64 },
    /// `base`, and a Pareto extra of scale `jitter` and shape 1.5: no variance, at most 30 s.
    HeavyTailed { base: Duration, jitter: Duration },
    /// Exponential, on a level that alternates between `base` and ten times that, every `every`.
    Jumping { base: Duration, jitter: Duration, every: Duration },
}

impl Latency {
    /// Returns the minimum.
    pub fn min(&self) -> u64 {
        match *self {
            Self::Constant { base }
            | Self::Exponential { base, .. }
            | Self::HeavyTailed { base, .. }
            | Self::Jumping { base, .. } => base.as_nanos() as u64,
        }
    }

    /// Returns the latency of a message sent at `now`.
    pub fn draw(&self, now: u64, rng: &mut Rng) -> u64 {
        let exponential = |mean: Duration, rng: &mut Rng| {
            (-(1.0 - rng.f64()).ln() * mean.as_nanos() as f64) as u64
        };
        let base = self.min();
        match *self {
            Self::Constant { .. } => base,
            Self::Exponential { jitter, late, .. } => {
                let late = if rng.f64() < late { (rng.f64() * 5e8) as u64 } else { 0 };
                base + exponential(jitter, rng) + late
            }
            Self::HeavyTailed { jitter, .. } => {
                let pareto = (1.0 - rng.f64()).powf(-1.0 / 1.5) - 1.0;
                base + ((jitter.as_nanos() as f64 * pareto) as u64).min(30_000_000_000)
            }
            Self::Jumping { jitter, every, .. } => {
                let high = (now / every.as_nanos() as u64) % 2 == 1;
                base * if high { 10 } else { 1 } + exponential(jitter, rng)
            }
        }
    }
}
