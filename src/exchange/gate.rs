//! The gate: where requests are counted and recorded, one after the other. Each `api_key` has counters of
//! its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quota::{Limits, Moment, Quota};

use super::fault::Fault;
use super::strict::{Algorithm, Strict};

/// So many arrivals are remembered. An exchange that runs for days must not eat the machine.
const REMEMBERED: usize = 1_000_000;

/// So many accounts are told apart. All further ones share one count.
const ACCOUNTS: usize = 10_000;

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
pub struct RequestCounts {
    /// Let through.
    pub admitted: u64,
    /// Refused with 429.
    pub refused: u64,
}

/// Counters and records.
#[derive(Debug)]
pub(super) struct Gate {
    started: Instant,
    /// The counters of an account that has asked for nothing.
    fresh: Lanes,
    state: Mutex<State>,
}

type Lanes = HashMap<&'static str, Lane>;

// `Debug` does not show the keys: a client may have been started with a real one.
#[derive(Default)]
struct State {
    accounts: BTreeMap<Arc<str>, Lanes>,
    arrivals: VecDeque<(Arc<str>, Arrival)>,
    forgotten: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct Lane {
    quota: Quota,
    strict: Strict,
    counts: RequestCounts,
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
            (name, Lane { quota, strict, counts: RequestCounts::default(), span: None })
        };
        let fresh = lanes.iter().map(lane).collect();
        Self { started: Instant::now(), fresh, state: Mutex::default() }
    }

    /// A request of the account `api_key` arrives. The clock is read inside the lock, so that counters and
    /// records see the same times in the same order.
    pub(super) fn enter(
        &self,
        api_key: &str,
        lane: Option<&'static str>,
        method: &str,
        path: &str,
    ) -> Entered {
        let mut state = self.state.lock();
        let at = self.started.elapsed();
        let account = state.account(api_key);
        let admitted = lane.is_none_or(|lane| {
            let lanes = state.accounts.entry(account.clone()).or_insert_with(|| self.fresh.clone());
            lanes.get_mut(lane).is_none_or(|lane| lane.arrive(at))
        });
        let arrival = Arrival {
            at,
            lane,
            method: method.to_owned(),
            path: path.to_owned(),
            admitted,
            status: None,
            fault: None,
        };
        state.arrivals.push_back((account, arrival));
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
        if let Some((_, arrival)) = index.and_then(|index| state.arrivals.get_mut(index)) {
            note(arrival);
        }
    }

    /// The arrivals of an account, or of all.
    pub(super) fn arrivals(&self, of: Option<&str>) -> Vec<Arrival> {
        let state = self.state.lock();
        let wanted = state.arrivals.iter().filter(|(key, _)| of.is_none_or(|of| of == &**key));
        wanted.map(|(_, arrival)| arrival.clone()).collect()
    }

    /// How the requests of a lane fared, of an account or of all.
    pub(super) fn counts(&self, of: Option<&str>, lane: &str) -> RequestCounts {
        let state = self.state.lock();
        let lanes = state.lanes(of).filter_map(|lanes| lanes.get(lane));
        lanes.fold(RequestCounts::default(), |sum, lane| sum.and(lane.counts))
    }

    /// How many requests were refused over all lanes, of an account or of all.
    pub(super) fn refused(&self, of: Option<&str>) -> u64 {
        let state = self.state.lock();
        state.lanes(of).flat_map(Lanes::values).map(|lane| lane.counts.refused).sum()
    }

    /// The part of the quota that was used, of an account or of all that used it.
    pub(super) fn quota_used(&self, of: Option<&str>, lane: &str) -> Option<f64> {
        let state = self.state.lock();
        let lanes = state.lanes(of).filter_map(|lanes| lanes.get(lane));
        let used = lanes.filter_map(|lane| Some((lane.counts.admitted as f64, lane.most()?)));
        let add = |(used, most), (more, of)| (used + more, most + of);
        let (used, most) = used.reduce(add)?;
        Some(used / most)
    }
}

impl State {
    /// Under which name an account is counted.
    fn account(&self, api_key: &str) -> Arc<str> {
        match self.accounts.get_key_value(api_key) {
            Some((known, _)) => known.clone(),
            None if self.accounts.len() < ACCOUNTS => api_key.into(),
            None => "".into(),
        }
    }

    /// The counters of an account, or of all.
    fn lanes<'a>(&'a self, of: Option<&'a str>) -> impl Iterator<Item = &'a Lanes> {
        let accounts = self.accounts.iter();
        let wanted = accounts.filter(move |(key, _)| of.is_none_or(|of| of == &***key));
        wanted.map(|(_, lanes)| lanes)
    }
}

impl RequestCounts {
    fn and(self, other: Self) -> Self {
        Self { admitted: self.admitted + other.admitted, refused: self.refused + other.refused }
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

    /// The most that could have been admitted in the time from the first arrival to the last.
    fn most(&self) -> Option<f64> {
        let (first, last) = self.span?;
        let span = last - first;
        let most = self.quota.windows().iter().filter_map(|window| {
            let lengths = span.as_nanos().checked_div(window.length.as_nanos())? + 1;
            Some(lengths as f64 * f64::from(window.limit))
        });
        most.reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(quota: Quota) -> Lane {
        let strict = Strict::new(Algorithm::SlidingLog, &quota);
        Lane { quota, strict, counts: RequestCounts::default(), span: None }
    }

    impl Lane {
        fn used(&self) -> Option<f64> {
            Some(self.counts.admitted as f64 / self.most()?)
        }
    }

    #[test]
    fn each_account_is_counted_alone_and_all_together() {
        let limits = Limits::new().lane("quote", Quota::new(2, Duration::from_secs(3600)));
        let gate = Gate::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted = |key, lane| gate.enter(key, lane, "GET", "/quote").admitted;
        let of_a: Vec<bool> = (0..3).map(|_| admitted("a", Some("quote"))).collect();
        assert_eq!(of_a, [true, true, false]);
        assert!(admitted("b", Some("quote")) && admitted("", None));
        let counts = |of| gate.counts(of, "quote");
        assert_eq!(counts(Some("a")), RequestCounts { admitted: 2, refused: 1 });
        assert_eq!(counts(Some("b")), RequestCounts { admitted: 1, refused: 0 });
        assert_eq!(counts(None), RequestCounts { admitted: 3, refused: 1 });
        assert_eq!(counts(Some("c")), RequestCounts::default());
        assert_eq!(
            (gate.refused(Some("a")), gate.refused(Some("b")), gate.refused(None)),
            (1, 0, 1)
        );
        let arrivals = [Some("a"), Some("b"), None].map(|of| gate.arrivals(of).len());
        assert_eq!(arrivals, [3, 1, 5]);
        assert_eq!(gate.quota_used(Some("a"), "quote"), Some(1.0));
        assert_eq!(gate.quota_used(None, "quote"), Some(0.75));
        assert!(!format!("{gate:?}").contains("\"a\""));
    }

    #[test]
    fn accounts_without_end_do_not_fill_the_memory() {
        let limits = Limits::new().lane("quote", Quota::new(1, Duration::from_secs(3600)));
        let gate = Gate::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted =
            |n: usize| gate.enter(&n.to_string(), Some("quote"), "GET", "/quote").admitted;
        assert!((0..=ACCOUNTS).all(admitted));
        assert!(!admitted(ACCOUNTS + 1), "it shares the count of the one before");
        assert_eq!(gate.state.lock().accounts.len(), ACCOUNTS + 1);
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
        assert_eq!(lane.counts, RequestCounts { admitted: 3, refused: 7 });
        assert_eq!(lane.used(), Some(0.75));
    }
}
