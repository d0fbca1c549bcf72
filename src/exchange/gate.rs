//! The gate: where requests are counted and recorded, one after the other.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quota::{Limits, Moment, Quota};

use super::fault::Fault;
use super::strict::{Algorithm, Strict};

/// So many arrivals are remembered. An exchange that runs for days must not eat the machine.
const REMEMBERED: usize = 1_000_000;

/// A request that reached the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// When, since the start of the exchange, as the counters saw it.
    pub at: Duration,
    /// The lane that counted it; none if it was not counted.
    pub lane: Option<&'static str>,
    /// `GET`, `POST`, ..
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Whether the counters let it through. A request that was not counted was.
    pub admitted: bool,
    /// The status of the answer; none while it is being made, or if a fault keeps it from coming.
    pub status: Option<u16>,
    /// What went wrong with it on purpose.
    pub fault: Option<Fault>,
}

/// How the requests of a lane fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Let through.
    pub admitted: u64,
    /// Refused with 429.
    pub refused: u64,
}

/// Counters and records.
#[derive(Debug)]
pub(super) struct Gate {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lanes: HashMap<&'static str, Lane>,
    arrivals: VecDeque<Arrival>,
    forgotten: u64,
}

#[derive(Debug)]
struct Lane {
    quota: Quota,
    strict: Strict,
    counts: Counts,
    span: Option<(Duration, Duration)>,
}

/// What the gate decided, and where it wrote it down.
pub(super) struct Entered {
    pub(super) admitted: bool,
    number: u64,
}

impl Gate {
    pub(super) fn new(
        lanes: &[&'static str],
        limits: &Limits,
        algorithm: Algorithm,
        count_refused: bool,
    ) -> Self {
        let lane = |&name: &&'static str| {
            let quota = limits.of_lane(name).cloned().unwrap_or_else(Quota::unlimited);
            let strict = Strict::new(algorithm, &quota).count_refused(count_refused);
            (name, Lane { quota, strict, counts: Counts::default(), span: None })
        };
        let state = State {
            lanes: lanes.iter().map(lane).collect(),
            arrivals: VecDeque::new(),
            forgotten: 0,
        };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    /// A request arrives. The clock is read inside the lock, so that counters and records see the
    /// same times in the same order.
    pub(super) fn enter(&self, lane: Option<&'static str>, method: &str, path: &str) -> Entered {
        let mut state = self.state.lock();
        let at = self.started.elapsed();
        let counted = lane.and_then(|lane| state.lanes.get_mut(lane));
        let admitted = counted.is_none_or(|lane| lane.arrive(at));
        state.arrivals.push_back(Arrival {
            at,
            lane,
            method: method.to_owned(),
            path: path.to_owned(),
            admitted,
            status: None,
            fault: None,
        });
        if state.arrivals.len() > REMEMBERED {
            state.arrivals.pop_front();
            state.forgotten += 1;
        }
        let number = state.forgotten + state.arrivals.len() as u64 - 1;
        Entered { admitted, number }
    }

    /// The request was answered.
    pub(super) fn answered(&self, entered: &Entered, status: u16) {
        self.note(entered, |arrival| arrival.status = Some(status));
    }

    /// The request meets a fault.
    pub(super) fn struck(&self, entered: &Entered, fault: Fault) {
        self.note(entered, |arrival| arrival.fault = Some(fault));
    }

    /// Adds to what is remembered of an arrival, unless that is forgotten already.
    fn note(&self, entered: &Entered, note: impl FnOnce(&mut Arrival)) {
        let mut state = self.state.lock();
        let index = entered.number.checked_sub(state.forgotten);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(arrival) = index.and_then(|index| state.arrivals.get_mut(index)) {
            note(arrival);
        }
    }

    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.state.lock().arrivals.iter().cloned().collect()
    }

    pub(super) fn counts(&self, lane: &str) -> Counts {
        self.state.lock().lanes.get(lane).map_or_else(Counts::default, |lane| lane.counts)
    }

    pub(super) fn refused(&self) -> u64 {
        self.state.lock().lanes.values().map(|lane| lane.counts.refused).sum()
    }

    pub(super) fn quota_used(&self, lane: &str) -> Option<f64> {
        self.state.lock().lanes.get(lane)?.used()
    }
}

impl Lane {
    fn arrive(&mut self, at: Duration) -> bool {
        let admitted = self.strict.arrive(Moment::ORIGIN + at);
        if admitted {
            self.counts.admitted += 1;
        } else {
            self.counts.refused += 1;
        }
        self.span = Some(self.span.map_or((at, at), |(first, _)| (first, at)));
        admitted
    }

    fn used(&self) -> Option<f64> {
        let (first, last) = self.span?;
        let span = last - first;
        let most = self.quota.windows().iter().filter_map(|window| {
            let lengths = span.as_nanos().checked_div(window.length.as_nanos())? + 1;
            Some(lengths as f64 * f64::from(window.limit))
        });
        Some(self.counts.admitted as f64 / most.reduce(f64::min)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(quota: Quota) -> Lane {
        let strict = Strict::new(Algorithm::SlidingLog, &quota);
        Lane { quota, strict, counts: Counts::default(), span: None }
    }

    #[test]
    fn a_lane_that_is_always_busy_uses_all_of_its_quota_however_it_spreads_the_calls() {
        let mut bursts = lane(Quota::per_second(10));
        let mut even = lane(Quota::per_second(10));
        for n in 0..100 {
            assert!(bursts.arrive(Duration::from_secs(n / 10)));
            assert!(even.arrive(Duration::from_millis(100 * n)));
        }
        assert_eq!((bursts.used(), even.used()), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn refused_calls_use_nothing() {
        let mut lane = lane(Quota::per_second(2).and(Quota::per_minute(100)));
        assert_eq!(lane.used(), None);
        for _ in 0..9 {
            lane.arrive(Duration::ZERO);
        }
        lane.arrive(Duration::from_millis(1500));
        assert_eq!(lane.counts, Counts { admitted: 3, refused: 7 });
        assert_eq!(lane.used(), Some(0.75));
    }
}
