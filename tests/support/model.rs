//! A saturated lane in virtual time: the pacing state under test, a path, and what the broker saw.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::{
    Cost, Moment, NotYet, PacingState, Permit, Quota, RttCredit, WallClockSample,
};

use super::latency::Latency;

/// The result of a run.
#[derive(Debug, Default)]
pub struct RunStats {
    /// When each call was sent, in nanoseconds.
    pub departures: Vec<u64>,
    /// When the broker counted each call, in nanoseconds, in the order of sending.
    pub arrivals: Vec<u64>,
    /// The sum of all round trips.
    pub round_trips: Duration,
    /// Whether every credit was within what the path can never undercut: the one assumption of the credit.
    pub assumption_held: bool,
}

impl RunStats {
    /// Returns the share of `limit` per `window` that arrived between `from` and `to`.
    pub fn used(&self, limit: u32, window: Duration, from: Duration, to: Duration) -> f64 {
        let span = from.as_nanos() as u64..to.as_nanos() as u64;
        let calls = self.arrivals.iter().filter(|at| span.contains(at)).count() as f64;
        calls / (f64::from(limit) * (to - from).as_secs_f64() / window.as_secs_f64())
    }

    /// Returns the mean round trip.
    pub fn mean(&self) -> Duration {
        self.round_trips / self.arrivals.len() as u32
    }
}

/// Sends an endless supply of calls through a lane, at most `in_flight` at once, for `length` of virtual time.
pub fn saturate(
    quota: &Quota,
    credit: RttCredit,
    path: Latency,
    in_flight: usize,
    length: Duration,
    seed: u64,
) -> RunStats {
    saturate_with_failures(quota, credit, path, in_flight, length, seed, Shares::default())
}

/// The shares of the calls that fail, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    /// They get no answer: the caller gives up after a while, and the call arrives at any time up to twice that.
    pub lost: f64,
    /// The adapter refuses them after up to a second. Nothing is sent.
    pub local: f64,
}

/// How long a caller waits for an answer that never comes.
const GIVE_UP: u64 = 2_000_000_000;

/// The longest time in which an adapter refuses a call.
const REFUSED_WITHIN: u64 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq)]
enum End {
    Answered,
    Lost,
    Local,
}

/// The same, where some calls fail.
pub fn saturate_with_failures(
    quota: &Quota,
    credit: RttCredit,
    path: Latency,
    in_flight: usize,
    length: Duration,
    seed: u64,
    shares: Shares,
) -> RunStats {
    let mut rng = Rng::with_seed(seed);
    let wall = WallClockSample { moment: Moment::ORIGIN, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacer = PacingState::new(wall);
    let lane = pacer.add_lane(quota, credit).unwrap();
    let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut permits: Vec<Option<(Permit, End)>> = Vec::new();
    let mut stats = RunStats { assumption_held: true, ..RunStats::default() };
    let end = length.as_nanos() as u64;
    let mut now = 0;
    while now < end {
        let refused = if answers.len() < in_flight {
            match pacer.take(Cost::to_lane(lane), Moment::from_nanos(now)) {
                Ok(permit) => {
                    let chance = rng.f64();
                    if chance < shares.local {
                        // At least a nanosecond, or time would stand still if all calls are refused.
                        let refused = now + rng.u64(1..REFUSED_WITHIN);
                        answers.push(Reverse((refused, permits.len())));
                        permits.push(Some((permit, End::Local)));
                        continue;
                    }
                    let is_lost = chance < shares.local + shares.lost;
                    let (arrival, answer) = if is_lost {
                        (now + path.min() + rng.u64(0..GIVE_UP), now + GIVE_UP)
                    } else {
                        let arrival = now + path.draw(now, &mut rng);
                        (arrival, arrival + path.draw(arrival, &mut rng))
                    };
                    stats.round_trips += Duration::from_nanos(answer - now);
                    stats.departures.push(now);
                    stats.arrivals.push(arrival);
                    answers.push(Reverse((answer, permits.len())));
                    permits.push(Some((permit, if is_lost { End::Lost } else { End::Answered })));
                    continue;
                }
                Err(refused) => refused,
            }
        } else {
            NotYet::InFlight
        };
        let next_answer = answers.peek().map(|Reverse((at, _))| *at);
        let next_slot = match refused {
            NotYet::Until(moment) => Some(moment.as_nanos()),
            NotYet::InFlight | NotYet::Never => None,
        };
        let release = pacer
            .next_release(Moment::from_nanos(now))
            .map(Moment::as_nanos)
            .filter(|at| *at > now);
        let next = next_answer.into_iter().chain(next_slot).chain(release).min();
        now = next.expect("nothing will ever happen");
        while let Some(Reverse((_, call))) = answers.peek().filter(|Reverse((at, _))| *at <= now) {
            let (permit, end) = permits[*call].take().unwrap();
            answers.pop();
            match end {
                End::Answered => pacer.finish(permit, Moment::from_nanos(now)),
                End::Lost => pacer.finish_unanswered(permit, Moment::from_nanos(now)),
                End::Local => pacer.give_back(permit),
            }
            if pacer.credit(lane).as_nanos() as u64 > 2 * path.min() {
                stats.assumption_held = false;
            }
        }
    }
    stats
}
