//! The limiters under comparison, each behind the same two methods.
//!
//! Each is set to 10 calls a second in the way its own documentation shows first. All run in virtual time: governor
//! and ratelimit take a clock, leaky-bucket and tower use tokio's, which can be paused.

mod lanekeeper;
mod simple;
mod sync;
mod timed;

use std::time::Duration;

use ::lanekeeper::{Quota, RttCredit};

use self::lanekeeper::Lanekeeper;
use self::simple::{Naive, SendLog};
use self::sync::{Governor, Ratelimit};
use self::timed::{Leaky, Tower};
use crate::broker::{Counting, LIMIT};

/// A limiter in virtual time, in nanoseconds.
pub trait Peer {
    /// Returns the moment from `now` on at which it releases the call, if that is before `until`, when the next event
    /// happens.
    fn grant(&mut self, call: usize, now: u64, until: u64) -> Option<u64>;

    /// Records that a call was answered. Most limiters ignore it.
    fn answered(&mut self, _call: usize, _now: u64) {}
}

/// A row of the tables.
pub struct Kind {
    pub name: &'static str,
    /// How it was set, described.
    pub about: &'static str,
    /// A colour for the plots.
    pub colour: (u8, u8, u8),
    /// The one way of counting that it is meant for, if it is not meant for all.
    pub only: Option<Counting>,
    pub make: fn() -> Box<dyn Peer>,
}

/// The positions in `ALL` of limiters that the report mentions.
pub const NAIVE: usize = 0;
pub const GOVERNOR: usize = 1;
pub const SEND_LOG: usize = 6;
pub const DEFAULT: usize = 7;
pub const STRICT: usize = 8;
/// Our own limiters that assume nothing, or no more than the paths of the table satisfy.
pub const OURS: [usize; 3] = [DEFAULT, STRICT, 10];

pub const ALL: [Kind; 11] = [
    Kind {
        name: "execute, then sleep",
        about: "one worker: make the call, sleep 100 ms",
        colour: (127, 127, 127),
        only: None,
        make: || Box::new(Naive::default()),
    },
    Kind {
        name: "governor",
        about: "`Quota::per_second(10)`: GCRA with a burst of 10",
        colour: (214, 39, 40),
        only: None,
        make: || Box::new(Governor::new(10)),
    },
    Kind {
        name: "governor, burst 1",
        about: "`Quota::per_second(10).allow_burst(1)`: even spacing",
        colour: (255, 127, 14),
        only: None,
        make: || Box::new(Governor::new(1)),
    },
    Kind {
        name: "leaky-bucket",
        about: "`refill(1)`, `interval(100 ms)`, `max(10)`",
        colour: (140, 86, 75),
        only: None,
        make: || Box::new(Leaky::new()),
    },
    Kind {
        name: "ratelimit",
        about: "`Ratelimiter::new(10)`: a bucket of 10, empty at first",
        colour: (227, 119, 194),
        only: None,
        make: || Box::new(Ratelimit::new()),
    },
    Kind {
        name: "tower",
        about: "`RateLimit`, `Rate::new(10, 1 s)`: windows that begin at sending",
        colour: (188, 189, 34),
        only: None,
        make: || Box::new(Tower::new()),
    },
    Kind {
        name: "sliding log at sending",
        about: "at most 10 sendings in any second",
        colour: (148, 103, 189),
        only: None,
        make: || Box::new(SendLog::default()),
    },
    Kind {
        name: "**lanekeeper**",
        about: "`Quota::per_second(10)`, the default credit",
        colour: (31, 119, 180),
        only: None,
        make: || Box::new(Lanekeeper::new(&Quota::per_second(LIMIT), RttCredit::default())),
    },
    Kind {
        name: "**lanekeeper, strict**",
        about: "`RttCredit::STRICT`: nothing is assumed of the path",
        colour: (44, 160, 44),
        only: None,
        make: || Box::new(Lanekeeper::new(&Quota::per_second(LIMIT), RttCredit::STRICT)),
    },
    Kind {
        name: "**lanekeeper, token bucket**",
        about: "`Quota::token_bucket(10, 1 s, 10)`, for a broker that is known to count so",
        colour: (23, 190, 207),
        only: Some(Counting::TokenBucket),
        make: || Box::new(Lanekeeper::new(&tokens(), RttCredit::default())),
    },
    Kind {
        name: "**lanekeeper, token bucket, strict**",
        about: "the same with `RttCredit::STRICT`",
        colour: (0, 0, 0),
        only: Some(Counting::TokenBucket),
        make: || Box::new(Lanekeeper::new(&tokens(), RttCredit::STRICT)),
    },
];

fn tokens() -> Quota {
    Quota::token_bucket(LIMIT, Duration::from_secs(1), LIMIT)
}

/// Returns `at` if it is before `until`, for limiters that know their moment beforehand.
fn before(at: u64, until: u64) -> Option<u64> {
    (at <= until).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{MS, SECOND};

    /// Returns the moments at which a limiter releases calls that are answered at once.
    fn release_times(name: &str, calls: usize) -> Option<Vec<u64>> {
        let mut peer = (ALL.iter().find(|kind| kind.name == name)?.make)();
        let mut now = 0;
        let mut release_times = Vec::new();
        for call in 0..calls {
            now = peer.grant(call, now, 100 * SECOND)?;
            peer.answered(call, now);
            release_times.push(now / MS);
        }
        Some(release_times)
    }

    #[test]
    fn each_releases_what_its_documentation_says() {
        let burst = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let then = |later: [u64; 2]| Some([&burst[..], &later].concat());
        assert_eq!(release_times("execute, then sleep", 3), Some(vec![0, 100, 200]));
        assert_eq!(release_times("governor", 12), then([100, 200]));
        assert_eq!(release_times("governor, burst 1", 3), Some(vec![0, 100, 200]));
        assert_eq!(release_times("leaky-bucket", 3), Some(vec![100, 200, 300]));
        assert_eq!(release_times("ratelimit", 3), Some(vec![100, 200, 300]));
        assert_eq!(release_times("tower", 12), then([1000, 1000]));
        assert_eq!(release_times("sliding log at sending", 12), then([1000, 1000]));
        assert_eq!(release_times("**lanekeeper**", 12), then([1000, 1000]));
        assert_eq!(release_times("**lanekeeper, token bucket**", 12), then([100, 200]));
    }

    #[test]
    fn no_call_is_released_later_than_asked_for() {
        for kind in &ALL {
            let mut peer = (kind.make)();
            let release_times = (0..20).filter_map(|call| peer.grant(call, 0, 50 * MS)).count();
            assert!(release_times <= 10, "{}: {release_times}", kind.name);
            assert_eq!(peer.grant(20, 50 * MS, 90 * MS), None, "{}", kind.name);
        }
    }
}
