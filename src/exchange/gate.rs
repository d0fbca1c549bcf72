//! The gate: where requests are counted and recorded, one after the other. Each `api_key` has counters of
//! its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quota::{Limits, Moment, Quota};

use super::fault::Fault;
use super::strict::{Algorithm, StrictCounter};

/// So many arrivals are remembered. An exchange that runs for days must not eat the machine.
const MAX_ARRIVALS: usize = 1_000_000;

/// So many accounts are told apart. All further ones share one count.
const MAX_ACCOUNTS: usize = 10_000;

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
pub(super) struct Ledger {
    started: Instant,
    /// The counters of an account that has asked for nothing.
    initial: LaneCounters,
    state: Mutex<State>,
}

type LaneCounters = HashMap<&'static str, LaneCounter>;

// `Debug` does not show the keys: a client may have been started with a real one.
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

/// What the gate decided, and where it wrote it down.
pub(super) struct LedgerEntry {
    pub(super) admitted: bool,
    number: u64,
}

impl Ledger {
    pub(super) fn new(
        lanes: &[&'static str],
        limits: &Limits,
        algorithm: Algorithm,
        count_refused: bool,
    ) -> Self {
        let lane = |&name: &&'static str| {
            let quota = limits.of_lane(name).cloned().unwrap_or_else(Quota::unlimited);
            let strict = StrictCounter::new(algorithm, &quota).count_refused(count_refused);
            (
                name,
                LaneCounter {
                    quota,
                    counter: strict,
                    counts: RequestCounts::default(),
                    span: None,
                },
            )
        };
        let fresh = lanes.iter().map(lane).collect();
        Self { started: Instant::now(), initial: fresh, state: Mutex::default() }
    }

    /// A request of the account `api_key` arrives. The clock is read inside the lock, so that counters and
    /// records see the same times in the same order.
    pub(super) fn admit(
        &self,
        api_key: &str,
        lane: Option<&'static str>,
        method: &str,
        path: &str,
    ) -> LedgerEntry {
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

    /// The request was answered.
    pub(super) fn record_status(&self, entered: &LedgerEntry, status: u16) {
        self.annotate(entered, |arrival| arrival.status = Some(status));
    }

    /// The request meets a fault.
    pub(super) fn record_fault(&self, entered: &LedgerEntry, fault: Fault) {
        self.annotate(entered, |arrival| arrival.fault = Some(fault));
    }

    /// Adds to what is remembered of an arrival, unless that is forgotten already.
    fn annotate(&self, entered: &LedgerEntry, note: impl FnOnce(&mut Arrival)) {
        let mut state = self.state.lock();
        let index = entered.number.checked_sub(state.dropped);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some((_, arrival)) = index.and_then(|index| state.arrivals.get_mut(index)) {
            note(arrival);
        }
    }

    /// The arrivals of an account, or of all.
    pub(super) fn arrivals(&self, account: Option<&str>) -> Vec<Arrival> {
        let state = self.state.lock();
        let wanted = state.arrivals.iter().filter(|(key, _)| account.is_none_or(|of| of == &**key));
        wanted.map(|(_, arrival)| arrival.clone()).collect()
    }

    /// How the requests of a lane fared, of an account or of all.
    pub(super) fn counts(&self, account: Option<&str>, lane: &str) -> RequestCounts {
        let state = self.state.lock();
        let lanes = state.lanes(account).filter_map(|lanes| lanes.get(lane));
        lanes.fold(RequestCounts::default(), |sum, lane| sum.plus(lane.counts))
    }

    /// How many requests were refused over all lanes, of an account or of all.
    pub(super) fn refused(&self, account: Option<&str>) -> u64 {
        let state = self.state.lock();
        state.lanes(account).flat_map(LaneCounters::values).map(|lane| lane.counts.refused).sum()
    }

    /// The part of the quota that was used, of an account or of all that used it.
    pub(super) fn quota_used(&self, account: Option<&str>, lane: &str) -> Option<f64> {
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
    /// Under which name an account is counted.
    fn account_key(&self, api_key: &str) -> Arc<str> {
        match self.accounts.get_key_value(api_key) {
            Some((known, _)) => known.clone(),
            None if self.accounts.len() < MAX_ACCOUNTS => api_key.into(),
            None => "".into(),
        }
    }

    /// The counters of an account, or of all.
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

    /// The most that could have been admitted in the time from the first arrival to the last.
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
        let strict = StrictCounter::new(Algorithm::SlidingLog, &quota);
        LaneCounter { quota, counter: strict, counts: RequestCounts::default(), span: None }
    }

    impl LaneCounter {
        fn used(&self) -> Option<f64> {
            Some(self.counts.admitted as f64 / self.max_admitted()?)
        }
    }

    #[test]
    fn each_account_is_counted_alone_and_all_together() {
        let limits = Limits::new().lane("quote", Quota::new(2, Duration::from_secs(3600)));
        let gate = Ledger::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted = |key, lane| gate.admit(key, lane, "GET", "/quote").admitted;
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
        let gate = Ledger::new(&["quote"], &limits, Algorithm::SlidingLog, false);
        let admitted =
            |n: usize| gate.admit(&n.to_string(), Some("quote"), "GET", "/quote").admitted;
        assert!((0..=MAX_ACCOUNTS).all(admitted));
        assert!(!admitted(MAX_ACCOUNTS + 1), "it shares the count of the one before");
        assert_eq!(gate.state.lock().accounts.len(), MAX_ACCOUNTS + 1);
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
