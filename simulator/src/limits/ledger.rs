//! The ledger: counts and records requests one after the other. Each `api_key` has its own counters.
//!
//! `handler` calls it for each request, and [`SimulatedExchange`](crate::SimulatedExchange) reads it. It records at
//! most [`MAX_ARRIVALS`] arrivals and counts at most [`MAX_ACCOUNTS`] accounts apart, so its memory is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use lanekeeper::quota::{Limits, Moment, Quota};

use super::counter::{Algorithm, StrictCounter};
use crate::faults::fault::Fault;
use crate::faults::target::Target;
use crate::route::ApiRoute;

/// Bounds the recorded arrivals, so that an exchange that runs for days does not exhaust the memory.
const MAX_ARRIVALS: usize = 1_000_000;

/// Bounds the accounts that are counted apart, so that made-up keys do not exhaust the memory. All further accounts
/// share one count.
const MAX_ACCOUNTS: usize = 10_000;

/// A request that reached the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// The arrival time since the start of the exchange, as the counters saw it.
    pub at: Duration,
    /// The lane that counted it; `None` if it was not counted.
    pub lane: Option<&'static str>,
    /// The method: `GET`, `POST`, ..
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The route; `None` if there is none with this method and path.
    pub route: Option<Target>,
    /// Whether the counters admitted it. True for a request that was not counted.
    pub admitted: bool,
    /// The status of the response; `None` until there is one, or if a fault suppresses it.
    pub status: Option<u16>,
    /// The fault that was injected.
    pub fault: Option<Fault>,
}

/// The request counts of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// Requests that were admitted.
    pub admitted: u64,
    /// Requests that were refused with 429.
    pub refused: u64,
}

/// The counters and the records of a simulated exchange.
#[derive(Debug)]
pub(crate) struct Ledger {
    started: Instant,
    /// The counters of an account without requests.
    initial: LaneCounters,
    state: Mutex<State>,
}

type LaneCounters = HashMap<&'static str, LaneCounter>;

// `Debug` omits the keys: a client may have been started with a real one.
#[derive(Default)]
struct State {
    accounts: BTreeMap<Arc<str>, LaneCounters>,
    arrivals: VecDeque<(Arc<str>, Arrival)>,
    dropped: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct LaneCounter {
    quota: Quota,
    counter: StrictCounter,
    counts: RequestCounts,
    span: Option<(Duration, Duration)>,
}

/// The decision about a request, and the number of its record.
pub(crate) struct LedgerEntry {
    pub(crate) admitted: bool,
    number: u64,
}

impl Ledger {
    pub(crate) fn new(
        lanes: &[&'static str],
        limits: &Limits,
        algorithm: Algorithm,
        count_refused: bool,
    ) -> Self {
        let lane = |&name: &&'static str| {
            let quota = limits.of_lane(name).cloned().unwrap_or_else(Quota::unlimited);
            let counter = StrictCounter::new(algorithm, &quota).count_refused(count_refused);
            (name, LaneCounter { quota, counter, counts: RequestCounts::default(), span: None })
        };
        let initial = lanes.iter().map(lane).collect();
        Self { started: Instant::now(), initial, state: Mutex::default() }
    }

    /// Counts and records a request of the account `api_key`. The clock is read inside the lock, so that counters and
    /// records see the same times in the same order.
    pub(crate) fn admit(
        &self,
        api_key: &str,
        lane: Option<&'static str>,
        method: &str,
        path: &str,
    ) -> LedgerEntry {
        let route = ApiRoute::parse(method, path).ok().map(Target::of_route);
        let mut state = self.state.lock();
        let at = self.started.elapsed();
        let account = state.account_key(api_key);
        let admitted = lane.is_none_or(|lane| {
            let lanes =
                state.accounts.entry(account.clone()).or_insert_with(|| self.initial.clone());
            lanes.get_mut(lane).is_none_or(|lane| lane.admit(at))
        });
        let arrival = Arrival {
            at,
            lane,
            method: method.to_owned(),
            path: path.to_owned(),
            route,
            admitted,
            status: None,
            fault: None,
        };
        state.arrivals.push_back((account, arrival));
        if state.arrivals.len() > MAX_ARRIVALS {
            state.arrivals.pop_front();
            state.dropped += 1;
        }
        let number = state.dropped + state.arrivals.len() as u64 - 1;
        LedgerEntry { admitted, number }
    }

    /// Records the status of the response to a request.
    pub(crate) fn record_status(&self, entry: &LedgerEntry, status: u16) {
        self.annotate(entry, |arrival| arrival.status = Some(status));
    }

    /// Records the fault that is injected into a request.
    pub(crate) fn record_fault(&self, entry: &LedgerEntry, fault: Fault) {
        self.annotate(entry, |arrival| arrival.fault = Some(fault));
    }

    /// Returns the record of an arrival, unless it was evicted.
    pub(crate) fn arrival(&self, entry: &LedgerEntry) -> Option<Arrival> {
        self.annotate(entry, |arrival| arrival.clone())
    }

    /// Reads or changes the record of an arrival, unless it was evicted.
    fn annotate<R>(&self, entry: &LedgerEntry, note: impl FnOnce(&mut Arrival) -> R) -> Option<R> {
        let mut state = self.state.lock();
        let index = entry.number.checked_sub(state.dropped);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let (_, arrival) = index.and_then(|index| state.arrivals.get_mut(index))?;
        Some(note(arrival))
    }

    /// Returns the arrivals of an account, or of all accounts.
    pub(crate) fn arrivals(&self, account: Option<&str>) -> Vec<Arrival> {
        let state = self.state.lock();
        let wanted = state.arrivals.iter().filter(|(key, _)| account.is_none_or(|of| of == &**key));
        wanted.map(|(_, arrival)| arrival.clone()).collect()
    }

    /// Returns the counts of a lane, of an account or of all accounts.
    pub(crate) fn counts(&self, account: Option<&str>, lane: &str) -> RequestCounts {
        let state = self.state.lock();
        let lanes = state.lanes(account).filter_map(|lanes| lanes.get(lane));
        lanes.fold(RequestCounts::default(), |sum, lane| sum.plus(lane.counts))
    }

    /// Returns how many requests were refused over all lanes, of an account or of all accounts.
    pub(crate) fn refused(&self, account: Option<&str>) -> u64 {
        let state = self.state.lock();
        state.lanes(account).flat_map(LaneCounters::values).map(|lane| lane.counts.refused).sum()
    }

    /// Returns the used share of the quota of an account, or of all accounts that used it.
    pub(crate) fn quota_used(&self, account: Option<&str>, lane: &str) -> Option<f64> {
        let state = self.state.lock();
        let lanes = state.lanes(account).filter_map(|lanes| lanes.get(lane));
        let used =
            lanes.filter_map(|lane| Some((lane.counts.admitted as f64, lane.max_admitted()?)));
        let add = |(used, most), (more, of)| (used + more, most + of);
        let (used, most) = used.reduce(add)?;
        Some(used / most)
    }
}

impl State {
    /// Returns the key under which an account is counted.
    fn account_key(&self, api_key: &str) -> Arc<str> {
        match self.accounts.get_key_value(api_key) {
            Some((known, _)) => known.clone(),
            None if self.accounts.len() < MAX_ACCOUNTS => api_key.into(),
            None => "".into(),
        }
    }

    /// Returns the counters of an account, or of all accounts.
    fn lanes<'a>(&'a self, account: Option<&'a str>) -> impl Iterator<Item = &'a LaneCounters> {
        let accounts = self.accounts.iter();
        let wanted = accounts.filter(move |(key, _)| account.is_none_or(|of| of == &***key));
        wanted.map(|(_, lanes)| lanes)
    }
}

impl RequestCounts {
    fn plus(self, other: Self) -> Self {
        Self { admitted: self.admitted + other.admitted, refused: self.refused + other.refused }
    }
}

impl LaneCounter {
    fn admit(&mut self, at: Duration) -> bool {
        let admitted = self.counter.admit(Moment::ORIGIN + at);
        if admitted {
            self.counts.admitted += 1;
        } else {
            self.counts.refused += 1;
        }
        self.span = Some(self.span.map_or((at, at), |(first, _)| (first, at)));
        admitted
    }

    /// Returns the most requests that could have been admitted from the first arrival to the last.
    fn max_admitted(&self) -> Option<f64> {
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

    fn lane(quota: Quota) -> LaneCounter {
        let counter = StrictCounter::new(Algorithm::SlidingLog, &quota);
        LaneCounter { quota, counter, counts: RequestCounts::default(), span: None }
    }

    impl LaneCounter {
        fn used(&self) -> Option<f64> {
            Some(self.counts.admitted as f64 / self.max_admitted()?)
        }
    }

    #[test]
    fn each_account_is_counted_alone_and_all_together() {
        let limits = Limits::new().lane("quote", Quota::new(2, Duration::from_secs(3600)));
        let ledger = Ledger::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted = |key, lane| ledger.admit(key, lane, "GET", "/quote").admitted;
        let of_a: Vec<bool> = (0..3).map(|_| admitted("a", Some("quote"))).collect();
        assert_eq!(of_a, [true, true, false]);
        assert!(admitted("b", Some("quote")) && admitted("", None));
        let counts = |of| ledger.counts(of, "quote");
        assert_eq!(counts(Some("a")), RequestCounts { admitted: 2, refused: 1 });
        assert_eq!(counts(Some("b")), RequestCounts { admitted: 1, refused: 0 });
        assert_eq!(counts(None), RequestCounts { admitted: 3, refused: 1 });
        assert_eq!(counts(Some("c")), RequestCounts::default());
        assert_eq!(
            (ledger.refused(Some("a")), ledger.refused(Some("b")), ledger.refused(None)),
            (1, 0, 1)
        );
        let arrivals = [Some("a"), Some("b"), None].map(|of| ledger.arrivals(of).len());
        assert_eq!(arrivals, [3, 1, 5]);
        assert_eq!(ledger.quota_used(Some("a"), "quote"), Some(1.0));
        assert_eq!(ledger.quota_used(None, "quote"), Some(0.75));
        assert!(!format!("{ledger:?}").contains("\"a\""));
    }

    #[test]
    fn accounts_without_end_do_not_fill_the_memory() {
        let limits = Limits::new().lane("quote", Quota::new(1, Duration::from_secs(3600)));
        let ledger = Ledger::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted =
            |n: usize| ledger.admit(&n.to_string(), Some("quote"), "GET", "/quote").admitted;
        assert!((0..=MAX_ACCOUNTS).all(admitted));
        assert!(!admitted(MAX_ACCOUNTS + 1), "it shares the count of the one before");
        assert_eq!(ledger.state.lock().accounts.len(), MAX_ACCOUNTS + 1);
    }

    #[test]
    fn a_lane_that_is_always_busy_uses_all_of_its_quota_however_it_spreads_the_calls() {
        let mut bursts = lane(Quota::per_second(10));
        let mut even = lane(Quota::per_second(10));
        for n in 0..100 {
            assert!(bursts.admit(Duration::from_secs(n / 10)));
            assert!(even.admit(Duration::from_millis(100 * n)));
        }
        assert_eq!((bursts.used(), even.used()), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn refused_calls_use_nothing() {
        let mut lane = lane(Quota::per_second(2).and(Quota::per_minute(100)));
        assert_eq!(lane.used(), None);
        for _ in 0..9 {
            lane.admit(Duration::ZERO);
        }
        lane.admit(Duration::from_millis(1500));
        assert_eq!(lane.counts, RequestCounts { admitted: 3, refused: 7 });
        assert_eq!(lane.used(), Some(0.75));
    }
}
