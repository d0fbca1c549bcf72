//! What a recorder of the `metrics` facade gets: the figures are true and complete, and no private data is in them.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{BatchCache, BatchConfig, CacheStats};
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    LaneConfig, LaneErrorKind, Observer, OpenBreakerPolicy, ResponseStats, SharedMode,
    SharedQuotaEvent, SharedQuotaStatus, Shutdown,
};
use lanekeeper::order_guard::GuardStats;
use lanekeeper::proxy::{Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy};
use lanekeeper::telemetry::{Kind, METRICS, Metrics};
use lanekeeper::{ErrorClass, Failure};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use support::failing::{Failed, Fault, NOT_SENT, TRANSIENT, class, ended, submit_repeatable};
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, observed, options, status, submit, the, unlimited, until,
    within_reason,
};

const THROTTLED: Fault = Some(ErrorClass::Throttled { retry_after: Some(Duration::from_secs(3)) });
const UNKNOWN: Fault = Some(ErrorClass::Unknown);
const REJECTED: Fault = Some(ErrorClass::Rejected);

/// A name with its labels, as Prometheus writes them: `name{a="b"}`.
type Series = String;

/// What a recorder has recorded so far.
struct Recorded {
    snapshotter: Snapshotter,
    kinds: BTreeMap<Series, MetricKind>,
    counters: BTreeMap<Series, u64>,
    gauges: BTreeMap<Series, f64>,
    histograms: BTreeMap<Series, Vec<f64>>,
    descriptions: BTreeSet<String>,
}

fn metrics() -> (Metrics, Recorded) {
    let recorder = DebuggingRecorder::new();
    let recorded = Recorded {
        snapshotter: recorder.snapshotter(),
        kinds: BTreeMap::new(),
        counters: BTreeMap::new(),
        gauges: BTreeMap::new(),
        histograms: BTreeMap::new(),
        descriptions: BTreeSet::new(),
    };
    (Metrics::new().recorder(recorder), recorded)
}

impl Recorded {
    /// Reads the recorder. A read empties it, so the values are added up here.
    fn read(&mut self) -> &Self {
        self.gauges.clear();
        for (key, _, description, value) in self.snapshotter.snapshot().into_vec() {
            let (kind, key) = key.into_parts();
            let labels: Vec<String> =
                key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
            let series = format!("{}{{{}}}", key.name(), labels.join(","));
            self.descriptions.extend(description.map(|words| words.to_string()));
            self.kinds.insert(series.clone(), kind);
            match value {
                DebugValue::Counter(count) => *self.counters.entry(series).or_default() += count,
                DebugValue::Gauge(value) => drop(self.gauges.insert(series, value.0)),
                DebugValue::Histogram(values) => {
                    self.histograms.entry(series).or_default().extend(values.iter().map(|v| v.0));
                }
            }
        }
        self
    }

    /// Returns the counters of this name that are not zero.
    fn counts(&self, name: &str) -> Vec<(&str, u64)> {
        let of_name = self.counters.iter().filter(|(series, _)| name_of(series) == name);
        let recorded = of_name.map(|(series, count)| (&series[name.len()..], *count));
        recorded.filter(|(_, count)| *count > 0).collect()
    }

    fn gauge(&self, series: &str) -> f64 {
        *self.gauges.get(series).unwrap_or_else(|| panic!("no {series}: {:?}", self.gauges))
    }

    fn histogram(&self, series: &str) -> &[f64] {
        self.histograms.get(series).unwrap_or_else(|| panic!("no {series}"))
    }
}

fn name_of(series: &str) -> &str {
    series.split_once('{').unwrap().0
}

/// Runs a lane with everything that can happen to its calls, a known number of times.
fn a_day(metrics: &Arc<Metrics>) -> (Lanes, ManualClock) {
    let clock = ManualClock::auto_advancing();
    let lanes = observed(
        unlimited(1).queue(3).breaker(BreakerPolicy::disabled()),
        clock.clone(),
        Some(metrics.clone() as Arc<dyn Observer>),
    );
    let again = |call, faults: &[Fault]| {
        let (mut faults, mut number) = (Vec::from(faults).into_iter(), 0);
        let work = move || {
            number += 1;
            faults.next().map_or(Ok(number), |fault| Err(Failed::Broker(number, fault)))
        };
        drop(submit_repeatable(&lanes, call, &options(), work).wait());
    };
    // Four reads: done at once twice, at the third attempt, and rejected.
    again(READ, &[]);
    again(READ, &[]);
    again(READ, &[TRANSIENT, NOT_SENT]);
    again(READ, &[REJECTED]);
    // Three writes: lost, throttled and then done, and rejected.
    again(WRITE, &[UNKNOWN]);
    again(WRITE, &[THROTTLED]);
    again(WRITE, &[REJECTED]);
    // Two cancelled, two for which the queue has no slot, one that is refused by the shutdown.
    the(&lanes).pause();
    let queued: Vec<_> = (0..3).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
    for _ in 0..2 {
        let full = submit(&lanes, READ, &options(), || ()).wait().unwrap_err();
        assert!(matches!(full.kind, LaneErrorKind::QueueFull { .. }));
    }
    assert!(queued[0].cancel() && queued[1].cancel());
    the(&lanes).resume();
    queued.into_iter().for_each(|ticket| drop(ticket.wait()));
    (lanes, clock)
}

#[test]
fn each_call_is_counted_once_by_its_end_and_each_retry_by_its_reason() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let (lanes, _) = a_day(&Arc::new(metrics));
        lanes.shutdown(Shutdown::Now);
        drop(submit(&lanes, READ, &options(), || ()).wait());
        let recorded = recorded.read();
        let of = |method, outcome| {
            format!("{{lane=\"test\",method=\"{method}\",outcome=\"{outcome}\"}}")
        };
        let expected = [
            (of("read", "done"), 3),
            (of("read", "refused"), 3),
            (of("read", "rejected"), 1),
            (of("write", "cancelled"), 2),
            (of("write", "done"), 2),
            (of("write", "rejected"), 1),
            (of("write", "unknown"), 1),
        ];
        let expected: Vec<_> = expected.iter().map(|(labels, n)| (&**labels, *n)).collect();
        assert_eq!(recorded.counts("lanekeeper_calls_total"), expected);
        let of =
            |method, key, word| format!("{{lane=\"test\",method=\"{method}\",{key}=\"{word}\"}}");
        let expected = [
            (of("read", "reason", "not_sent"), 1),
            (of("read", "reason", "transient"), 1),
            (of("write", "reason", "throttled"), 1),
        ];
        let expected: Vec<_> = expected.iter().map(|(labels, n)| (&**labels, *n)).collect();
        assert_eq!(recorded.counts("lanekeeper_retries_total"), expected);
        let expected =
            [(of("read", "reason", "closed"), 1), (of("read", "reason", "queue_full"), 2)];
        let expected: Vec<_> = expected.iter().map(|(labels, n)| (&**labels, *n)).collect();
        assert_eq!(recorded.counts("lanekeeper_refused_total"), expected);
        assert_eq!(recorded.counts("lanekeeper_throttled_total"), [("{lane=\"test\"}", 1)]);
        let lost = of("write", "cause", "answer");
        assert_eq!(recorded.counts("lanekeeper_unknown_outcomes_total"), [(&*lost, 1)]);
        // A time for each attempt, and a wait for each call that was sent.
        let times = |name, method| {
            let series = format!("{name}{{lane=\"test\",method=\"{method}\"}}");
            recorded.histogram(&series).len()
        };
        assert_eq!(times("lanekeeper_call_duration_seconds", "read"), 6);
        assert_eq!(times("lanekeeper_call_duration_seconds", "write"), 5);
        assert_eq!(times("lanekeeper_queue_wait_seconds", "read"), 4);
        assert_eq!(times("lanekeeper_queue_wait_seconds", "write"), 4);
    });
}

#[test]
fn times_are_recorded_in_seconds_as_the_clock_has_them() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let clock = ManualClock::new();
        let lanes = observed(unlimited(1), clock.clone(), Some(Arc::new(metrics.estimates())));
        the(&lanes).pause();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let clock = clock.clone();
                submit(&lanes, READ, &options(), move || clock.advance(ms(40)))
            })
            .collect();
        clock.advance(ms(2_500));
        the(&lanes).resume();
        calls.into_iter().for_each(|call| call.wait().unwrap());
        let recorded = recorded.read();
        let of = |name: &str| {
            let mut values =
                recorded.histogram(&format!("{name}{{lane=\"test\",method=\"read\"}}")).to_vec();
            values.iter_mut().for_each(|value| *value = (*value * 1e6).round() / 1e6);
            values
        };
        assert_eq!(of("lanekeeper_call_duration_seconds"), [0.04, 0.04, 0.04]);
        assert_eq!(of("lanekeeper_queue_wait_seconds"), [2.5, 2.54, 2.58]);
        // It was not foreseeable that the lane would be paused.
        let errors = "lanekeeper_estimated_wait_error_seconds{lane=\"test\",turn=\"later\"}";
        assert_eq!(recorded.histogram(errors).len(), 3);
        assert!(recorded.histogram(errors).iter().all(|error| (2.4..2.6).contains(error)));
    });
}

#[test]
fn a_call_that_was_cancelled_between_two_attempts_is_timed_once() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        // Time does not advance, so the second attempt never comes.
        let lanes = observed(unlimited(1), ManualClock::new(), Some(Arc::new(metrics)));
        let ticket = submit_repeatable(&lanes, READ, &options(), || {
            Err::<(), _>(Failed::Broker(1, TRANSIENT))
        });
        until(|| status(&lanes).retrying == 1);
        assert!(!ticket.cancel(), "it was sent once");
        assert_eq!(ticket.wait(), Err(Failed::Broker(1, TRANSIENT)));
        let recorded = recorded.read();
        let ended = "{lane=\"test\",method=\"read\",outcome=\"transient\"}";
        assert_eq!(recorded.counts("lanekeeper_calls_total"), [(ended, 1)]);
        for name in ["call_duration", "queue_wait"] {
            let series = format!("lanekeeper_{name}_seconds{{lane=\"test\",method=\"read\"}}");
            assert_eq!(recorded.histogram(&series).len(), 1, "{name}");
        }
    });
}

#[test]
fn a_local_error_has_an_outcome_of_its_own_and_no_duration() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let config = unlimited(1).retry(RetryPolicy::none());
        let lanes = observed(config, ManualClock::new(), Some(Arc::new(metrics)));
        for failure in [Failure::local(), ErrorClass::NotSent.into()] {
            let work = || Err::<(), _>(Failed::Broker(1, NOT_SENT));
            let classify: fn(&Failed) -> Option<Failure> = match failure.is_local() {
                true => |_| Some(Failure::local()),
                false => |error| class(error).map(Failure::from),
            };
            lanes.call_spec(READ, &options(), work, classify).unwrap_err();
        }
        let recorded = recorded.read();
        let of = |outcome| format!("{{lane=\"test\",method=\"read\",outcome=\"{outcome}\"}}");
        let expected = [of("local"), of("not_sent")];
        assert_eq!(
            recorded.counts("lanekeeper_calls_total"),
            [(&*expected[0], 1), (&*expected[1], 1)]
        );
        let duration = "lanekeeper_call_duration_seconds{lane=\"test\",method=\"read\"}";
        assert_eq!(recorded.histogram(duration).len(), 1);
    });
}

#[test]
fn what_one_is_woken_for_is_there_as_zero_before_it_happens() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics);
        let observer: Arc<dyn Observer> = metrics.clone();
        let lanes = observed(unlimited(1), ManualClock::new(), Some(observer));
        for call in [READ, WRITE] {
            submit(&lanes, call, &options(), || ()).wait().unwrap();
        }
        metrics.sample(&lanes.status());
        metrics.sample_guard(&GuardStats::default());
        let of_method = |name: &str, method: &str| {
            format!("lanekeeper_{name}_total{{lane=\"test\",method=\"{method}\"}}")
        };
        let of_write = "lanekeeper_unknown_outcomes_total{lane=\"test\",method=\"write\",cause=";
        let zero = [
            of_method("late_results", "read"),
            of_method("late_results", "write"),
            "lanekeeper_orders_turned_up_total{}".to_owned(),
            "lanekeeper_throttled_total{lane=\"test\"}".to_owned(),
            of_method("unanswered", "read"),
            of_method("unanswered", "write"),
            format!("{of_write}\"answer\"}}"),
            format!("{of_write}\"deadline\"}}"),
        ];
        let rare = |series: &&String| {
            let names = ["late_results", "orders_turned_up", "throttled", "unanswered"];
            let is_rare = |name: &&str| name_of(series) == format!("lanekeeper_{name}_total");
            names.iter().chain(&["unknown_outcomes"]).any(is_rare)
        };
        let recorded = recorded.read();
        assert_eq!(recorded.counters.keys().filter(rare).collect::<Vec<_>>(), zero.each_ref());
        assert!(zero.iter().all(|series| recorded.counters[series] == 0));
    });
}

#[test]
fn a_caller_that_detached_before_the_answer_is_counted_and_so_is_the_answer() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics);
        let clock = ManualClock::new();
        let observer: Arc<dyn Observer> = metrics.clone();
        let lanes = observed(unlimited(2), clock.clone(), Some(observer));
        let (go, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let begun = Arc::new(AtomicU32::new(0));
        thread::scope(|scope| {
            for call in [READ, WRITE] {
                let (held, begun) = (Arc::clone(&held), Arc::clone(&begun));
                let work = move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    held.lock().unwrap().recv().unwrap();
                };
                let ticket = submit(&lanes, call, &options().deadline(SECOND), work);
                scope.spawn(move || {
                    let answer = ticket.wait();
                    assert_eq!(answer.unwrap_err().kind, LaneErrorKind::Unanswered);
                });
            }
            until(|| begun.load(Ordering::SeqCst) == 2);
            clock.advance(2 * SECOND);
        });
        (0..2).for_each(|_| go.send(()).unwrap());
        drop(lanes);
        let recorded = recorded.read();
        let both =
            [("{lane=\"test\",method=\"read\"}", 1), ("{lane=\"test\",method=\"write\"}", 1)];
        assert_eq!(recorded.counts("lanekeeper_unanswered_total"), both);
        assert_eq!(recorded.counts("lanekeeper_late_results_total"), both);
        let lost = ("{lane=\"test\",method=\"write\",cause=\"deadline\"}", 1);
        assert_eq!(recorded.counts("lanekeeper_unknown_outcomes_total"), [lost]);
    });
}

#[test]
fn a_breaker_is_counted_by_its_changes_and_shown_in_one_state() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics);
        let clock = ManualClock::new();
        let breaker = BreakerPolicy::default()
            .failures_in_a_row(Some(3))
            .open_for(Duration::from_secs(8))
            .probes(1);
        let config = unlimited(1).retry(RetryPolicy::none()).breaker(breaker);
        let config = config.when_down(OpenBreakerPolicy::Refuse);
        let observer: Arc<dyn Observer> = metrics.clone();
        let lanes = observed(config, clock.clone(), Some(observer));
        let call = |fault: Option<Fault>| {
            drop(lanes.call_spec(READ, &options(), move || ended(fault), class));
        };
        let mut state = || {
            metrics.sample(&lanes.status());
            recorded.read();
            let of = |word| {
                let labels = format!("lane=\"test\",route=\"writes\",state=\"{word}\"");
                format!("lanekeeper_breaker_state{{{labels}}}")
            };
            ["closed", "open", "half_open"].map(|word| recorded.gauge(&of(word)))
        };
        // A route's breaker is created with its first call.
        call(None);
        assert_eq!(state(), [1.0, 0.0, 0.0]);
        (0..3).for_each(|_| call(Some(TRANSIENT)));
        assert_eq!(state(), [0.0, 1.0, 0.0]);
        call(None);
        clock.advance(Duration::from_secs(8));
        assert_eq!(state(), [0.0, 0.0, 1.0]);
        call(None);
        assert_eq!(state(), [1.0, 0.0, 0.0]);
        let of = |state| format!("{{lane=\"test\",route=\"writes\",state=\"{state}\"}}");
        let changes = [(&*of("closed"), 1), (&*of("half_open"), 1), (&*of("open"), 1)];
        assert_eq!(recorded.counts("lanekeeper_breaker_changes_total"), changes);
        let refused = "{lane=\"test\",method=\"read\",reason=\"broker_down\"}";
        assert_eq!(recorded.counts("lanekeeper_refused_total"), [(refused, 1)]);
    });
}

#[test]
fn round_trips_and_the_version_are_sampled() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let clock = ManualClock::new();
        let lanes = observed(unlimited(1), clock.clone(), None);
        let mut of = |name: &str| {
            metrics.sample(&lanes.status());
            let series = format!("lanekeeper_round_trip_{name}_seconds{{lane=\"test\"}}");
            recorded.read().gauge(&series)
        };
        assert!(of("min").is_nan() && of("mean").is_nan());
        for millis in [40, 80].into_iter().chain([60; 30]) {
            let clock = clock.clone();
            submit(&lanes, READ, &options(), move || clock.advance(ms(millis))).wait().unwrap();
        }
        let lane = status(&lanes);
        assert_eq!((lane.min_round_trip, of("min")), (Some(ms(40)), 0.04));
        assert_eq!(lane.mean_round_trip.map(|mean| mean.as_secs_f64()), Some(of("mean")));
        assert!((0.059..0.061).contains(&of("mean")));
        assert_eq!(lane.credit.as_secs_f64(), of("credit"));
        assert!((0.03..0.04).contains(&of("credit")));
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("lanekeeper_build_info{{version=\"{version}\"}}");
        metrics.sample(&lanes.status());
        assert_eq!(recorded.read().gauge(&build), 1.0);
    });
}

#[test]
fn an_order_guard_is_reported_by_its_own_figures() {
    let (metrics, mut recorded) = metrics();
    let mut stats = GuardStats::default();
    (stats.placed, stats.partly_placed, stats.rejected, stats.not_sent) = (1, 2, 3, 4);
    (stats.absent, stats.unknown, stats.turned_up, stats.pending) = (5, 6, 7, 8);
    // Twice: a sample is the total so far, not the difference since the last.
    for _ in 0..2 {
        metrics.sample_guard(&stats);
    }
    let recorded = recorded.read();
    let of = |outcome| format!("{{outcome=\"{outcome}\"}}");
    let outcomes = ["absent", "not_sent", "partly_placed", "placed", "rejected", "unknown"].map(of);
    let outcomes: Vec<_> = outcomes.iter().map(String::as_str).zip([5, 4, 2, 1, 3, 6]).collect();
    assert_eq!(recorded.counts("lanekeeper_orders_total"), outcomes);
    assert_eq!(recorded.counts("lanekeeper_orders_turned_up_total"), [("{}", 7)]);
    assert_eq!(recorded.gauge("lanekeeper_orders_pending{}"), 8.0);
}

/// Builds one lane and a budget.
fn budgeted(observer: Arc<dyn Observer>, clock: impl Into<Clock>) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, LaneConfig::new(Quota::per_second(10)).queue(7).in_flight(2));
    builder.budget(0, Quota::per_minute(400).into());
    builder.clock(clock.into());
    builder.observer(observer);
    builder.build(Limits::new()).unwrap()
}

#[test]
fn gauges_are_what_the_status_says() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics.label("account", "main"));
        let clock = ManualClock::new();
        let lanes = budgeted(metrics.clone(), clock.clone());
        let cost = lanekeeper::proxy::CallSpec { budgets: &[0], ..WRITE };
        for _ in 0..4 {
            submit(&lanes, cost, &options(), || ()).wait().unwrap();
        }
        let held = hold(&lanes, READ);
        the(&lanes).pause();
        let queued: Vec<_> = (0..3).map(|_| submit(&lanes, READ, &options(), || ())).collect();
        clock.advance(ms(250));
        metrics.sample(&lanes.status());
        recorded.read();
        let of = |name: &str, more: &str| {
            recorded.gauge(&format!("lanekeeper_{name}{{account=\"main\",{more}}}"))
        };
        let lane = "lane=\"test\"";
        for (name, value) in [
            ("queue_length", 3.0),
            ("queue_capacity", 7.0),
            ("queue_oldest_wait_seconds", 0.25),
            ("in_flight", 1.0),
            ("in_flight_limit", 2.0),
            ("configured_calls_per_second", 10.0),
            ("effective_calls_per_second", 10.0),
            ("paused_seconds", 0.0),
            ("retrying", 0.0),
        ] {
            assert_eq!(of(name, lane), value, "{name}");
        }
        let window = "lane=\"test\",window=\"10/s\"";
        assert_eq!((of("window_limit", window), of("window_remaining", window)), (10.0, 5.0));
        let budget = "budget=\"orders\",window=\"400/min\"";
        assert_eq!((of("budget_limit", budget), of("budget_remaining", budget)), (400.0, 396.0));
        assert_eq!(of("lane_state", "lane=\"test\",state=\"paused\""), 1.0);
        assert_eq!(of("lane_state", "lane=\"test\",state=\"running\""), 0.0);
        let expired = "lanekeeper_session_expired{account=\"main\"}";
        assert_eq!(recorded.gauge(expired), 0.0);
        let mut status = lanes.status();
        status.session_expired = true;
        metrics.sample(&status);
        assert_eq!(recorded.read().gauge(expired), 1.0);
        queued.iter().for_each(|ticket| assert!(ticket.cancel()));
        held.let_go().wait().unwrap();
    });
}

#[test]
fn a_lane_that_was_throttled_shows_a_lower_rate_and_a_pause_and_no_window_of_the_cut() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics);
        let lanes = budgeted(metrics.clone(), ManualClock::new());
        for number in 0..10 {
            let fault = (number == 9).then_some(THROTTLED);
            drop(lanes.call_spec(WRITE, &options(), move || ended(fault), class));
        }
        metrics.sample(&lanes.status());
        recorded.read();
        let of = |name| recorded.gauge(&format!("lanekeeper_{name}{{lane=\"test\"}}"));
        assert_eq!(of("configured_calls_per_second"), 10.0);
        assert_eq!(of("effective_calls_per_second"), 7.0);
        assert_eq!(of("paused_seconds"), 3.0);
        let status = lanes.status();
        assert!(status.lane("test").unwrap().windows.iter().any(|window| window.is_cut));
        let limits: Vec<_> =
            recorded.gauges.keys().filter(|key| key.contains("window_limit")).collect();
        assert_eq!(limits, ["lanekeeper_window_limit{lane=\"test\",window=\"10/s\"}"]);
    });
}

#[test]
fn a_window_that_is_gone_is_not_shown_as_it_was() {
    let (metrics, mut recorded) = metrics();
    let metrics = Arc::new(metrics);
    let lanes = budgeted(metrics.clone(), ManualClock::new());
    metrics.sample(&lanes.status());
    the(&lanes).set_quota(&Quota::per_second(5)).unwrap();
    metrics.sample(&lanes.status());
    recorded.read();
    let of = |window| format!("lanekeeper_window_remaining{{lane=\"test\",window=\"{window}\"}}");
    assert_eq!(recorded.gauge(&of("5/s")), 5.0);
    assert!(recorded.gauge(&of("10/s")).is_nan());
}

#[test]
fn users_are_distinguished_up_to_a_number() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics.users(2));
        let lanes = observed(unlimited(1), ManualClock::new(), Some(metrics));
        let crowd = (0..50).map(|number| format!("user {number}"));
        for user in crowd.chain(["user 0".to_owned()]) {
            submit(&lanes, READ, &options().user(user), || ()).wait().unwrap();
        }
        submit(&lanes, READ, &options(), || ()).wait().unwrap();
        let recorded = recorded.read();
        let of =
            |user| format!("{{lane=\"test\",method=\"read\",outcome=\"done\",user=\"{user}\"}}");
        let [none, other, zero, one] = ["none", "other", "user 0", "user 1"].map(of);
        let counts = [(&*none, 1), (&*other, 48), (&*zero, 2), (&*one, 1)];
        assert_eq!(recorded.counts("lanekeeper_calls_total"), counts);
        let waits = "lanekeeper_queue_wait_seconds{lane=\"test\",method=\"read\",user=\"other\"}";
        assert_eq!(recorded.histogram(waits).len(), 48);
    });
}

#[test]
fn a_cache_is_reported_by_its_own_figures() {
    let (metrics, mut recorded) = metrics();
    let fetch =
        |keys: &[u32]| Ok::<_, String>(keys.iter().map(|key| (*key, u64::from(*key))).collect());
    let cache = BatchCache::new(BatchConfig::default(), fetch);
    for key in [1, 1, 2, 1] {
        cache.get(&key).unwrap();
    }
    let stats: CacheStats = cache.stats();
    // Twice: a sample is the total so far, not the difference since the last.
    for _ in 0..2 {
        metrics.sample_cache("quotes", &stats);
    }
    let recorded = recorded.read();
    let requests = [
        ("{cache=\"quotes\",result=\"fresh\"}", stats.hits),
        ("{cache=\"quotes\",result=\"miss\"}", stats.misses),
    ];
    assert_eq!((stats.hits, stats.misses), (2, 2));
    assert_eq!(recorded.counts("lanekeeper_cache_requests_total"), requests);
    let batches = [("{cache=\"quotes\"}", stats.batches)];
    assert_eq!(recorded.counts("lanekeeper_cache_batches_total"), batches);
    assert_eq!(recorded.gauge("lanekeeper_cache_entries{cache=\"quotes\"}"), 2.0);
}

#[test]
fn an_exporter_that_comes_late_is_found_at_the_next_sample() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let metrics = Arc::new(Metrics::new());
    let lanes = observed(unlimited(1), ManualClock::new(), Some(metrics.clone()));
    let call = || submit(&lanes, READ, &options(), || ()).wait().unwrap();
    call();
    // The only test of this file that uses the recorder of the process.
    recorder.install().unwrap();
    metrics.sample(&lanes.status());
    call();
    let recorded = snapshotter.snapshot().into_vec();
    let calls = recorded.iter().find(|(key, ..)| key.key().name() == "lanekeeper_calls_total");
    assert_eq!(calls.unwrap().3, DebugValue::Counter(1));
}

#[test]
fn what_is_recorded_is_what_the_table_lists_with_its_labels() {
    within_reason(|| {
        let (metrics, mut recorded) = metrics();
        let metrics = Arc::new(metrics.estimates());
        let (lanes, _) = a_day(&metrics);
        metrics.sample(&lanes.status());
        metrics.sample_cache("quotes", &CacheStats::default());
        metrics.sample_guard(&GuardStats::default());
        let watched: &dyn Observer = &*metrics;
        // Events that occur only in the tests above.
        watched.breaker("test", "reads", lanekeeper::resilience::BreakerState::Open);
        struct Once(Arc<Metrics>);
        impl Observer for Once {
            fn finished(&self, end: &lanekeeper::lane::FinishedCall<'_>) {
                self.0.deadline_missed(&end.call);
                self.0.late_result(&end.call, &());
            }
        }
        let once =
            observed(unlimited(1), ManualClock::new(), Some(Arc::new(Once(metrics.clone()))));
        submit(&once, WRITE, &options(), || ()).wait().unwrap();
        let budgeted = budgeted(metrics.clone(), ManualClock::new());
        let mut status = budgeted.status();
        status.responses = Some(ResponseStats::default());
        status.shared = Some(SharedQuotaStatus::default());
        metrics.sample(&status);
        recorded.read();
        let mut seen = BTreeMap::new();
        for (series, kind) in &recorded.kinds {
            let labels = series.split(['{', ',']).skip(1);
            let labels: Vec<_> =
                labels.filter_map(|label| Some(label.split_once('=')?.0)).collect();
            seen.insert(name_of(series), (*kind, labels));
        }
        let listed: BTreeMap<_, _> = METRICS
            .iter()
            .map(|metric| {
                let kind = match metric.kind {
                    Kind::Counter => MetricKind::Counter,
                    Kind::Gauge => MetricKind::Gauge,
                    Kind::Histogram => MetricKind::Histogram,
                };
                (metric.name, (kind, metric.labels.to_vec()))
            })
            .collect();
        assert_eq!(seen, listed);
        let described: BTreeSet<_> = METRICS.iter().map(|metric| metric.help.to_owned()).collect();
        assert_eq!(recorded.descriptions, described);
    });
}

#[test]
fn the_mode_of_a_shared_quota_is_one_of_four_and_its_changes_are_counted() {
    let (metrics, mut recorded) = metrics();
    let mut lanes = LanesBuilder::new("Test", &["quote"], &[]);
    lanes.lane(0, LaneConfig::new(Quota::unlimited()));
    let mut status = lanes.build(Limits::new()).unwrap().status();
    metrics.sample(&status);
    let is_shared = |series: &Series| series.contains("shared_quota");
    assert!(!recorded.read().gauges.keys().any(is_shared), "no quota is shared");

    let mut shared = SharedQuotaStatus::default();
    (shared.mode, shared.processes) = (SharedMode::Share, 3);
    status.shared = Some(shared);
    metrics.sample(&status);
    let event = |mode| SharedQuotaEvent::Mode { account: "a", mode, why: "Redis gave no answer" };
    metrics.shared_quota(&event(SharedMode::Share));
    metrics.shared_quota(&event(SharedMode::Share));
    metrics.shared_quota(&SharedQuotaEvent::Warning { account: "a", warning: "may evict" });
    recorded.read();
    let of = |mode: &str| {
        let of = |name| format!("lanekeeper_shared_quota_{name}{{mode={mode:?}}}");
        (recorded.gauges[&of("mode")], recorded.counters[&of("changes_total")])
    };
    assert_eq!(of("shared"), (0.0, 0));
    assert_eq!(of("share"), (1.0, 2));
    assert_eq!((of("stopped"), of("returning")), ((0.0, 0), (0.0, 0)));
    assert_eq!(recorded.gauges["lanekeeper_shared_quota_processes{}"], 3.0);
}
