//! The simulated network between client and exchange: how long each message is delayed.
//!
//! `http::server` draws the delays of each request.

use std::time::Duration;

use parking_lot::Mutex;

/// A source of delays, drawn from a seeded generator.
#[derive(Debug)]
pub(crate) struct Network {
    latency: Duration,
    jitter: Duration,
    random: Mutex<fastrand::Rng>,
}

/// The delays of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delays {
    /// The delay from the client to the exchange.
    pub(crate) forward: Duration,
    /// The delay of the response.
    pub(crate) backward: Duration,
}

impl Network {
    pub(crate) fn new(latency: Duration, jitter: Duration, seed: u64) -> Self {
        Self { latency, jitter, random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Draws the delays of the next request: in each direction the latency plus an exponentially distributed jitter.
    pub(crate) fn next_delays(&self) -> Delays {
        let mut random = self.random.lock();
        let mut delay = || self.latency + exponential(self.jitter, random.f64());
        Delays { forward: delay(), backward: delay() }
    }
}

/// Returns the value of an exponential distribution with this mean for a uniform draw in `0..1`.
fn exponential(mean: Duration, draw: f64) -> Duration {
    let times = -(1.0 - draw).ln();
    Duration::try_from_secs_f64(mean.as_secs_f64() * times).unwrap_or(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_the_latency_and_on_average_the_jitter_more() {
        let (latency, jitter) = (Duration::from_millis(40), Duration::from_millis(30));
        let network = Network::new(latency, jitter, 7);
        let drawn: Vec<Delays> = (0..10_000).map(|_| network.next_delays()).collect();
        assert!(drawn.iter().all(|it| it.forward >= latency && it.backward >= latency));
        for direction in [|it: &Delays| it.forward, |it: &Delays| it.backward] {
            let mean = drawn.iter().map(direction).sum::<Duration>() / 10_000;
            // Five standard errors of the mean of 10,000 draws; the seed is fixed anyway.
            assert!(mean.abs_diff(latency + jitter) < Duration::from_micros(1500), "{mean:?}");
        }
        // The tail matters to a limiter: a share of 1/e^3 is beyond three means.
        let late = drawn.iter().filter(|it| it.forward > latency + 3 * jitter).count();
        assert!((400..600).contains(&late), "{late}");
    }

    #[test]
    fn the_same_seed_draws_the_same_delays() {
        let draw = |seed| {
            let network = Network::new(Duration::ZERO, Duration::from_secs(1), seed);
            [network.next_delays(), network.next_delays()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn no_jitter_is_no_jitter() {
        let network = Network::new(Duration::from_millis(1), Duration::ZERO, 0);
        let delays = network.next_delays();
        assert_eq!((delays.forward, delays.backward), (network.latency, network.latency));
    }
}
