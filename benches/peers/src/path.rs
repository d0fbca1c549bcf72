//! Network paths: how long a message takes one way, and when that changes.
//!
//! Times are whole nanoseconds of virtual time, since the start of a run.

use fastrand::Rng;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// Bounds the extra time of a message, because the heavy tail would have no end.
const LATEST: f64 = 30e9;

/// A path to the broker and back. Both ways are alike.
#[derive(Clone, Copy)]
pub struct Path {
    pub name: &'static str,
    /// A description for the table.
    pub about: &'static str,
    levels: Levels,
    extra: Extra,
    /// The share of messages that are late, by up to half a second.
    late: f64,
}

/// The minimum round trip, in nanoseconds.
#[derive(Clone, Copy)]
enum Levels {
    Steady(u64),
    /// One after another, each for the given time, and then again from the first.
    Round(&'static [u64], u64),
    /// The first, and from the given moment on the second.
    Step(u64, u64, u64),
}

/// The time on top of the minimum, over both ways.
#[derive(Clone, Copy)]
enum Extra {
    /// Exponential, of this mean.
    Exponential(u64),
    /// Pareto of shape 1.5 and this scale: its mean is twice the scale, and it has no variance.
    Pareto(u64),
}

/// The paths of the table. The first three are common ones, the other two are worse.
pub const PATHS: [Path; 5] = [
    Path {
        name: "near",
        about: "10 ms, jitter 2 ms",
        levels: Levels::Steady(10 * MS),
        extra: Extra::Exponential(2 * MS),
        late: 0.0,
    },
    Path {
        name: "ordinary",
        about: "50 ms, jitter 20 ms, 1 % of messages up to 0.5 s late",
        levels: Levels::Steady(50 * MS),
        extra: Extra::Exponential(20 * MS),
        late: 0.01,
    },
    Path {
        name: "far",
        about: "250 ms, jitter 50 ms, 2 % of messages up to 0.5 s late",
        levels: Levels::Steady(250 * MS),
        extra: Extra::Exponential(50 * MS),
        late: 0.02,
    },
    Path {
        name: "heavy tail",
        about: "50 ms, and a Pareto extra of shape 1.5 and mean 40 ms, at most 30 s a message",
        levels: Levels::Steady(50 * MS),
        extra: Extra::Pareto(20 * MS),
        late: 0.0,
    },
    Path {
        name: "jumps",
        about: "50, 300, 20 ms, a minute each and over again; jitter 20 ms",
        levels: Levels::Round(&[50 * MS, 300 * MS, 20 * MS], 60 * SECOND),
        extra: Extra::Exponential(20 * MS),
        late: 0.0,
    },
];

/// A path that becomes faster than it ever was: 300 ms, and from half of ten minutes on 20 ms.
pub const FASTER_THAN_EVER: Path = Path {
    name: "faster than ever",
    about: "300 ms for five minutes, then 20 ms; jitter 20 ms",
    levels: Levels::Step(300 * MS, 20 * MS, 300 * SECOND),
    extra: Extra::Exponential(20 * MS),
    late: 0.0,
};

impl Path {
    /// Returns a path of one level, with a jitter of a fifth of it.
    pub fn of(round_trip: u64) -> Self {
        Self {
            name: "",
            about: "",
            levels: Levels::Steady(round_trip),
            extra: Extra::Exponential(round_trip / 5),
            late: 0.01,
        }
    }

    /// Returns the minimum of all its round trips.
    pub fn min_round_trip(&self) -> u64 {
        match self.levels {
            Levels::Steady(level) => level,
            Levels::Round(levels, _) => levels.iter().copied().min().unwrap_or(0),
            Levels::Step(one, other, _) => one.min(other),
        }
    }

    /// Returns how long a message takes that is sent at `now`.
    pub fn draw(&self, now: u64, rng: &mut Rng) -> u64 {
        let level = match self.levels {
            Levels::Steady(level) => level,
            Levels::Round(levels, each) => levels[(now / each) as usize % levels.len()],
            Levels::Step(one, other, at) => {
                if now < at {
                    one
                } else {
                    other
                }
            }
        };
        let extra = match self.extra {
            Extra::Exponential(mean) => -(1.0 - rng.f64()).ln() * mean as f64 / 2.0,
            Extra::Pareto(scale) => ((1.0 - rng.f64()).powf(-1.0 / 1.5) - 1.0) * scale as f64 / 2.0,
        };
        let late = if rng.f64() < self.late { rng.f64() * 5e8 } else { 0.0 };
        level / 2 + (extra.min(LATEST) + late) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_what_the_path_says_on_average_and_never_less_than_the_minimum() {
        let mut rng = Rng::with_seed(1);
        // 250 ms, 50 ms of jitter, and 2 % of the messages a quarter of a second late on average.
        let path = PATHS[2];
        let trips: Vec<u64> =
            (0..100_000).map(|_| path.draw(0, &mut rng) + path.draw(0, &mut rng)).collect();
        assert!(trips.iter().all(|&trip| trip >= path.min_round_trip()));
        let mean = trips.iter().sum::<u64>() / 100_000;
        assert!(mean.abs_diff(310 * MS) < MS, "{mean}");
    }

    #[test]
    fn the_level_jumps_when_it_should() {
        let mut rng = Rng::with_seed(1);
        let path = PATHS[4];
        let mut min_round_trip = |second| {
            let draws = (0..1_000).map(|_| 2 * path.draw(second * SECOND, &mut rng) / MS);
            draws.min()
        };
        assert_eq!([0, 59, 60, 120, 180].map(&mut min_round_trip), [50, 50, 300, 20, 50].map(Some));
        assert_eq!(path.min_round_trip(), 20 * MS);
    }
}
