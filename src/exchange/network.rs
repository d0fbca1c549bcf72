//! The network between the client and the exchange: how long each message travels.

use std::time::Duration;

use parking_lot::Mutex;

/// Draws the delays of each request from a seeded generator.
#[derive(Debug)]
pub(super) struct Network {
    latency: Duration,
    jitter: Duration,
    random: Mutex<fastrand::Rng>,
}

/// What the network does to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delays {
    /// From the client to the exchange.
    pub(super) forward: Duration,
    /// And back.
    pub(super) backward: Duration,
}

impl Network {
    pub(super) fn new(latency: Duration, jitter: Duration, seed: u64) -> Self {
        Self { latency, jitter, random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// The trip of the next request: each way the latency, and an exponential extra.
    pub(super) fn next_delays(&self) -> Delays {
        let mut random = self.random.lock();
        let mut way = || self.latency + exponential(self.jitter, random.f64());
        Delays { forward: way(), backward: way() }
    }
}

/// The value of an exponential distribution with that mean, for a uniform draw in `0..1`.
fn exponential(mean: Duration, draw: f64) -> Duration {
    let times = -(1.0 - draw).ln();
    Duration::try_from_secs_f64(mean.as_secs_f64() * times).unwrap_or(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_takes_the_latency_and_on_average_the_jitter_more() {
        let (latency, jitter) = (Duration::from_millis(40), Duration::from_millis(30));
        let network = Network::new(latency, jitter, 7);
        let trips: Vec<Delays> = (0..10_000).map(|_| network.next_delays()).collect();
        assert!(trips.iter().all(|trip| trip.forward >= latency && trip.backward >= latency));
        for way in [|trip: &Delays| trip.forward, |trip: &Delays| trip.backward] {
            let mean = trips.iter().map(way).sum::<Duration>() / 10_000;
            // Five standard errors of the mean of 10,000 draws; the seed is fixed anyway.
            assert!(mean.abs_diff(latency + jitter) < Duration::from_micros(1500), "{mean:?}");
        }
        // The tail is what matters to a limiter: one in e^3 is beyond three means.
        let late = trips.iter().filter(|trip| trip.forward > latency + 3 * jitter).count();
        assert!((400..600).contains(&late), "{late}");
    }

    #[test]
    fn the_same_seed_draws_the_same_trips() {
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
        let trip = network.next_delays();
        assert_eq!((trip.forward, trip.backward), (network.latency, network.latency));
    }
}
