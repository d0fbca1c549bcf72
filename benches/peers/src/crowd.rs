//! The workload: many callers, each of which asks again as soon as it is answered.
//!
//! A caller waits its turn, first come first served, is released by the limiter, and waits for the answer. If that
//! is a refusal, it asks again, as an ordinary client with a retry would. So there is always a caller waiting, and
//! a limiter that idles shows it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use crate::broker::{Broker, Counting, LIMIT, WINDOW};
use crate::path::{Path, SECOND};
use crate::peers::Peer;

pub const CALLERS: usize = 24;
pub const LENGTH: u64 = 600 * SECOND;

/// The result of a run.
pub struct RunStats {
    /// When calls reached the broker, admitted or not, in nanoseconds, sorted.
    pub arrivals: Vec<u64>,
    pub accepted: usize,
    /// When the broker refused, in nanoseconds.
    pub refused: Vec<u64>,
    /// From a caller's first attempt to the sending of the call that was accepted.
    pub waits: Vec<u64>,
    /// The sum of the times that calls were in flight, up to the end of the run.
    in_flight_time: u64,
    sent: usize,
}

impl RunStats {
    /// Returns which share of the calls that the broker could have accepted it did accept.
    pub fn used(&self) -> f64 {
        self.accepted as f64 * WINDOW as f64 / (LENGTH as f64 * f64::from(LIMIT))
    }

    /// Returns the mean round trip.
    pub fn mean(&self) -> u64 {
        self.in_flight_time / self.sent.max(1) as u64
    }

    /// Returns the largest share of the quota that a client can use and never be refused, whatever it does.
    pub fn bound(&self, path: &Path) -> f64 {
        share(self.mean().saturating_sub(path.min_round_trip()))
    }

    /// Returns the same bound for a client that relies on nothing it has measured.
    pub fn strict_bound(&self) -> f64 {
        share(self.mean())
    }
}

/// Returns which share of a window is left if each slot is also held for `idle`.
fn share(idle: u64) -> f64 {
    WINDOW as f64 / (WINDOW + idle) as f64
}

struct Call {
    caller: usize,
    sent: u64,
    accepted: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    Answered(usize),
}

/// Runs ten minutes of virtual time through one limiter.
pub fn run(peer: &mut dyn Peer, path: &Path, counting: Counting, seed: u64) -> RunStats {
    let mut rng = Rng::with_seed(seed);
    let mut broker = Broker::new(counting, rng.u64(..));
    let mut stats = RunStats {
        arrivals: Vec::new(),
        accepted: 0,
        refused: Vec::new(),
        waits: Vec::new(),
        in_flight_time: 0,
        sent: 0,
    };
    let mut queue: VecDeque<usize> = (0..CALLERS).collect();
    let mut asked = [0; CALLERS];
    let mut calls: Vec<Call> = Vec::new();
    let mut events = BinaryHeap::new();
    let mut now = 0;
    loop {
        let next = events.peek().map_or(LENGTH, |Reverse((at, _))| LENGTH.min(*at));
        if let Some(&caller) = queue.front() {
            if let Some(sent) = peer.grant(calls.len(), now, next) {
                if sent >= LENGTH {
                    break;
                }
                now = sent;
                queue.pop_front();
                events.push(Reverse((now + path.draw(now, &mut rng), Event::Arrives(calls.len()))));
                calls.push(Call { caller, sent, accepted: false });
                continue;
            }
        }
        now = now.max(next);
        if now >= LENGTH {
            break;
        }
        match events.pop() {
            None => break,
            Some(Reverse((at, Event::Arrives(number)))) => {
                let call = &mut calls[number];
                call.accepted = broker.admits(at);
                if call.accepted {
                    stats.accepted += 1;
                    stats.waits.push(call.sent - asked[call.caller]);
                } else {
                    stats.refused.push(at);
                }
                events.push(Reverse((at + path.draw(at, &mut rng), Event::Answered(number))));
            }
            Some(Reverse((at, Event::Answered(number)))) => {
                peer.answered(number, at);
                let call = &calls[number];
                stats.in_flight_time += at - call.sent;
                if call.accepted {
                    asked[call.caller] = at;
                }
                queue.push_back(call.caller);
                stats.sent += 1;
            }
        }
    }
    // Calls still in flight have held their slots until now.
    for Reverse((_, event)) in events {
        let (Event::Arrives(number) | Event::Answered(number)) = event;
        stats.in_flight_time += LENGTH - calls[number].sent.min(LENGTH);
        stats.sent += 1;
    }
    stats.arrivals = broker.close();
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PATHS;
    use crate::peers::ALL;

    /// The tables must come out the same on any machine. tokio's clock starts at an arbitrary moment, which must not
    /// show.
    #[test]
    fn the_same_seed_gives_the_same_run() {
        for kind in &ALL {
            let once =
                |seed| run((kind.make)().as_mut(), &PATHS[1], Counting::SlidingLog, seed).arrivals;
            assert_eq!(once(1), once(1), "{}", kind.name);
            assert_ne!(once(1), once(2), "{}", kind.name);
        }
    }
}
