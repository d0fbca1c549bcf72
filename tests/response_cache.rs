//! The response cache: how old an answer may be, one fetch for all that wait, and what ends a wait.

#![cfg(feature = "responses")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    CallOptions, LaneConfig, LaneError, LaneErrorKind, OverflowPolicy, Priority, ResponseStats,
    Shutdown,
};
use lanekeeper::proxy::{BuildError, CacheableResponse, Classify};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{ErrorClass, Quota};
use support::lanes::{SECOND, ms, until, within_reason};

#[derive(Debug, Clone, PartialEq)]
enum WeatherError {
    Lane(LaneErrorKind),
    Storm(usize),
}

impl From<LaneError> for WeatherError {
    fn from(error: LaneError) -> Self {
        Self::Lane(error.kind)
    }
}

impl Classify for WeatherError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lane(_) => ErrorClass::NotSent,
            Self::Storm(_) => ErrorClass::Transient,
        }
    }
}

/// An answer that says by which fetch it came.
#[derive(Debug, Clone, PartialEq)]
struct Report {
    fetch: usize,
    city: String,
    is_whole: bool,
}

impl CacheableResponse for Report {
    fn heap_bytes(&self) -> usize {
        assert_ne!(self.city, "nowhere", "a bug in the user's code");
        self.city.capacity()
    }

    fn is_cacheable(&self) -> bool {
        self.is_whole
    }
}

#[lanekeeper::proxy]
trait Weather: Send + Sync {
    #[lane(general, read, cache = "1min")]
    fn report(&self, city: &str, day: Option<&u8>) -> Result<Report, WeatherError>;
    #[lane(general, read, cache = off)]
    fn cities(&self) -> Result<Vec<String>, WeatherError>;
    #[lane(general, read, cache = "1h", cache_for = is_past)]
    fn past(&self, year: u32) -> Result<u32, WeatherError>;
    /// Calls the proxy from within a call.
    #[lane(outer, read)]
    fn nested(&self) -> Result<Report, WeatherError>;
}

impl<T: Weather + 'static> WeatherProxy<T> {
    fn is_past(&self, year: &u32) -> Option<Duration> {
        match year {
            2000.. => None,
            1990.. => Some(SECOND * 10),
            _ => Some(Duration::MAX),
        }
    }
}

type Work = dyn Fn(usize) -> Result<(), WeatherError> + Send + Sync;
type Inner = Arc<Mutex<Option<WeatherProxy<Station>>>>;

/// Counts its fetches. `work` is what each of them does.
struct Station {
    fetches: Arc<AtomicUsize>,
    work: Box<Work>,
    /// What `nested` calls.
    proxy: Inner,
}

impl Station {
    fn fetch(&self) -> Result<usize, WeatherError> {
        let fetch = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        (self.work)(fetch).map(|()| fetch)
    }
}

impl Weather for Station {
    fn report(&self, city: &str, _: Option<&u8>) -> Result<Report, WeatherError> {
        let is_whole = city != "partly";
        self.fetch().map(|fetch| Report { fetch, city: city.to_owned(), is_whole })
    }
    fn cities(&self) -> Result<Vec<String>, WeatherError> {
        self.fetch().map(|fetch| vec![fetch.to_string()])
    }
    fn past(&self, _: u32) -> Result<u32, WeatherError> {
        self.fetch().map(|fetch| fetch as u32)
    }
    fn nested(&self) -> Result<Report, WeatherError> {
        let proxy = self.proxy.lock().unwrap().clone().unwrap();
        proxy.report("nested", None)
    }
}

struct Scene {
    weather: WeatherProxy<Station>,
    clock: ManualClock,
    fetches: Arc<AtomicUsize>,
}

impl Scene {
    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn stats(&self) -> ResponseStats {
        self.weather.responses().stats()
    }

    fn pune(&self) -> Result<usize, WeatherError> {
        self.weather.report("Pune", None).map(|report| report.fetch)
    }

    fn with(&self, options: CallOptions) -> WeatherProxy<Station> {
        self.weather.with(options)
    }
}

fn options() -> CallOptions {
    CallOptions::new()
}

fn scene_of(
    clock: ManualClock,
    config: LaneConfig,
    work: impl Fn(usize) -> Result<(), WeatherError> + Send + Sync + 'static,
) -> Scene {
    let fetches = Arc::new(AtomicUsize::new(0));
    let proxy = Inner::default();
    let station = Station { fetches: Arc::clone(&fetches), work: Box::new(work), proxy };
    let inner = Arc::clone(&station.proxy);
    let weather = WeatherProxy::builder(station)
        .general(config.retry(RetryPolicy::none()))
        .outer(Quota::unlimited())
        .clock(clock.clone())
        .build()
        .unwrap();
    *inner.lock().unwrap() = Some(weather.clone());
    Scene { weather, clock, fetches }
}

fn scene(work: impl Fn(usize) -> Result<(), WeatherError> + Send + Sync + 'static) -> Scene {
    scene_of(ManualClock::new(), LaneConfig::new(Quota::unlimited()), work)
}

/// A scene whose fetches wait for a message each.
fn gated(config: LaneConfig) -> (Scene, Sender<Result<(), WeatherError>>) {
    let (end, ends) = channel();
    let ends: Mutex<Receiver<Result<(), WeatherError>>> = Mutex::new(ends);
    let work = move |_| ends.lock().unwrap().recv().unwrap_or(Ok(()));
    (scene_of(ManualClock::new(), config, work), end)
}

fn unlimited() -> LaneConfig {
    LaneConfig::new(Quota::unlimited())
}

// ---- the age of an answer -----------------------------------------------------------------------

#[test]
fn an_answer_is_kept_for_its_ttl_by_method_and_arguments() {
    let scene = scene(|_| Ok(()));
    assert_eq!((scene.pune(), scene.pune()), (Ok(1), Ok(1)));
    scene.clock.advance(SECOND * 60 - ms(1));
    assert_eq!(scene.pune(), Ok(1));
    let day = |day| scene.weather.report("Pune", Some(&day)).unwrap().fetch;
    assert_eq!((day(1), day(2), day(1)), (2, 3, 2));
    assert_eq!(scene.weather.report("Delhi", None).unwrap().fetch, 4);
    scene.clock.advance(ms(1));
    assert_eq!((scene.pune(), scene.pune()), (Ok(5), Ok(5)));
    let ResponseStats { hits, misses, joined, failures, entries, .. } = scene.stats();
    assert_eq!((hits, misses, joined, failures, entries), (4, 5, 0, 0, 4));
}

#[test]
fn the_age_counts_from_the_request_and_not_from_the_answer() {
    let clock = ManualClock::new();
    let slow = clock.clone();
    let scene = scene_of(clock, unlimited(), move |_| {
        slow.advance(SECOND * 20);
        Ok(())
    });
    assert_eq!(scene.pune(), Ok(1));
    scene.clock.advance(SECOND * 40 - ms(1));
    assert_eq!(scene.pune(), Ok(1));
    scene.clock.advance(ms(1));
    assert_eq!(scene.pune(), Ok(2));
}

#[test]
fn a_caller_may_ask_for_a_younger_answer_and_none_gets_an_older_one() {
    let scene = scene(|_| Ok(()));
    let at_most = |max_age| {
        let handle = scene.with(options().max_age(max_age));
        handle.report("Pune", None).unwrap().fetch
    };
    assert_eq!(at_most(Duration::ZERO), 1);
    scene.clock.advance(SECOND * 5);
    assert_eq!((at_most(SECOND * 5), at_most(SECOND * 4)), (1, 2));
    // Zero fetches anew even within one moment, and replaces what is kept.
    assert_eq!((at_most(Duration::ZERO), at_most(Duration::ZERO)), (3, 4));
    assert_eq!(scene.pune(), Ok(4));
    // More than the ttl is of no use.
    scene.clock.advance(SECOND * 60);
    assert_eq!(at_most(SECOND * 3600), 5);
}

#[test]
fn a_method_that_is_off_is_fetched_each_time_unless_the_builder_sets_a_time() {
    let off = scene(|_| Ok(()));
    assert_eq!(
        (off.weather.cities().unwrap(), off.weather.cities().unwrap()),
        (vec!["1".into()], vec!["2".into()])
    );
    let station =
        |fetches| Station { fetches, work: Box::new(|_| Ok(())), proxy: Inner::default() };
    let fetches = Arc::new(AtomicUsize::new(0));
    let builder = || {
        WeatherProxy::builder(station(Arc::clone(&fetches)))
            .general(Quota::unlimited())
            .outer(Quota::unlimited())
    };
    let on = builder().response_ttl("cities", SECOND).response_ttl("report", Duration::ZERO);
    let on = on.build().unwrap();
    assert_eq!(on.cities(), on.cities());
    assert_ne!(on.report("Pune", None), on.report("Pune", None));
    let error = builder().response_ttl("citys", SECOND).build().unwrap_err();
    assert!(matches!(&error, BuildError::Unknown { name, .. } if name == "citys"));
    assert_eq!(
        error.to_string(),
        "WeatherProxy has no method with `cache` `citys`; it has: report, cities, past"
    );
}

#[test]
fn a_hook_decides_for_each_call_whether_and_for_how_long_its_answer_is_kept() {
    let scene = scene(|_| Ok(()));
    let past = |year| scene.weather.past(year).unwrap();
    assert_eq!((past(2001), past(2001)), (1, 2));
    assert_eq!((past(1995), past(1995), past(1950)), (3, 3, 4));
    scene.clock.advance(SECOND * 10);
    assert_eq!((past(1995), past(1950)), (5, 4));
    scene.clock.advance(SECOND * 3600);
    assert_eq!(past(1950), 6);
}

#[test]
fn an_answer_that_is_not_whole_is_returned_and_not_kept() {
    let scene = scene(|_| Ok(()));
    let partly = || scene.weather.report("partly", None).unwrap().fetch;
    assert_eq!((partly(), partly()), (1, 2));
}

// ---- one fetch for all --------------------------------------------------------------------------

/// Starts `callers` threads that ask for Pune, and returns their answers once `scene` has that many waiters.
fn ask_together(
    scene: &Scene,
    callers: u64,
) -> Vec<thread::JoinHandle<Result<usize, WeatherError>>> {
    let before = scene.stats();
    let ask = |_| {
        let weather = scene.weather.clone();
        thread::spawn(move || weather.report("Pune", None).map(|report| report.fetch))
    };
    let threads = (0..callers).map(ask).collect();
    let waiting = |stats: ResponseStats| stats.misses + stats.joined;
    until(|| waiting(scene.stats()) - waiting(before) == callers);
    threads
}

#[test]
fn a_thousand_callers_at_once_cost_one_fetch() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let threads = ask_together(&scene, 1000);
        end.send(Ok(())).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(1));
        }
        let ResponseStats { misses, joined, .. } = scene.stats();
        assert_eq!((scene.fetches(), misses, joined), (1, 1, 999));
    });
}

#[test]
fn an_error_is_the_answer_to_all_that_wait_and_is_not_kept() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let threads = ask_together(&scene, 100);
        end.send(Err(WeatherError::Storm(7))).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(WeatherError::Storm(7)));
        }
        assert_eq!((scene.fetches(), scene.stats().failures, scene.stats().entries), (1, 1, 0));
        end.send(Ok(())).unwrap();
        assert_eq!((scene.pune(), scene.pune()), (Ok(2), Ok(2)));
    });
}

/// The size of an answer is the user's code, and it runs where the answer arrives, not where a caller waits.
#[test]
fn an_answer_whose_size_panics_is_returned_and_not_kept() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let ask = || {
            let weather = scene.weather.clone();
            thread::spawn(move || weather.report("nowhere", None).map(|report| report.fetch))
        };
        let threads = [ask(), ask()];
        until(|| scene.stats().misses + scene.stats().joined == 2 && scene.fetches() == 1);
        end.send(Ok(())).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(1));
        }
        assert_eq!(scene.stats().entries, 0);
    });
}

#[test]
fn a_fetch_that_panics_answers_all_that_wait() {
    within_reason(|| {
        let (end, ends) = channel::<()>();
        let ends = Mutex::new(ends);
        let scene = scene(move |fetch| {
            let _ = ends.lock().map(|ends| ends.recv());
            assert!(fetch > 1, "by hand");
            Ok(())
        });
        let threads = ask_together(&scene, 10);
        end.send(()).unwrap();
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(
                matches!(error, WeatherError::Lane(LaneErrorKind::Panicked { .. })),
                "{error:?}"
            );
        }
        drop(end);
        assert_eq!((scene.pune(), scene.pune()), (Ok(2), Ok(2)));
    });
}

#[test]
fn an_answer_that_is_asked_for_while_its_request_is_under_way_is_young_enough_or_fetched_anew() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let first = ask_together(&scene, 1);
        until(|| scene.fetches() == 1);
        scene.clock.advance(SECOND * 5);
        let ask = |max_age| {
            let weather = scene.with(options().max_age(max_age));
            thread::spawn(move || weather.report("Pune", None).unwrap().fetch)
        };
        // The request is 5 s old already.
        let strict = ask(SECOND * 4);
        until(|| scene.fetches() == 2);
        // The request of `strict` is fresh enough to join, and will be too old when it is answered.
        scene.clock.advance(SECOND);
        let joins = ask(SECOND * 10);
        until(|| scene.stats().joined == 1);
        scene.clock.advance(SECOND * 11);
        (0..3).for_each(|_| end.send(Ok(())).unwrap());
        assert_eq!(first.into_iter().next().unwrap().join().unwrap(), Ok(1));
        // It was sent after the question.
        assert_eq!(strict.join().unwrap(), 2);
        assert_eq!(joins.join().unwrap(), 3);
    });
}

// ---- deadlines, priorities, and lanes that end --------------------------------------------------

fn within(scene: &Scene, deadline: Duration) -> thread::JoinHandle<Result<usize, WeatherError>> {
    let weather = scene.with(options().deadline(deadline));
    thread::spawn(move || weather.report("Pune", None).map(|report| report.fetch))
}

#[test]
fn a_caller_leaves_at_its_deadline_and_the_others_get_the_answer() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let leader = within(&scene, SECOND);
        until(|| scene.fetches() == 1);
        let patient = ask_together(&scene, 1);
        let hasty = within(&scene, SECOND);
        until(|| scene.stats().joined == 2);
        scene.clock.advance(SECOND);
        for left in [leader, hasty] {
            let error = left.join().unwrap().unwrap_err();
            assert_eq!(error, WeatherError::Lane(LaneErrorKind::Unanswered));
        }
        end.send(Ok(())).unwrap();
        assert_eq!(patient.into_iter().next().unwrap().join().unwrap(), Ok(1));
        assert_eq!((scene.pune(), scene.fetches()), (Ok(1), 1));
    });
}

#[test]
fn the_answer_to_callers_that_have_all_left_is_kept() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        let leader = within(&scene, SECOND);
        until(|| scene.fetches() == 1);
        scene.clock.advance(SECOND);
        assert!(leader.join().unwrap().is_err());
        end.send(Ok(())).unwrap();
        until(|| scene.stats().entries == 1);
        assert_eq!((scene.pune(), scene.fetches()), (Ok(1), 1));
    });
}

#[test]
fn a_queued_fetch_that_no_caller_waits_for_is_cancelled() {
    within_reason(|| {
        let (scene, end) = gated(unlimited().when_full(OverflowPolicy::Block).queue(1));
        scene.weather.general_lane().pause();
        let callers: Vec<_> = (1..=3).map(|seconds| within(&scene, SECOND * seconds)).collect();
        until(|| scene.stats().joined + scene.stats().misses == 3);
        let queued = || scene.weather.general_lane().status().queued;
        for (left, caller) in callers.into_iter().enumerate() {
            assert_eq!(queued(), 1);
            scene.clock.advance(SECOND);
            let error = caller.join().unwrap().unwrap_err();
            let waited = SECOND * (left as u32 + 1);
            let expected = LaneErrorKind::DeadlinePassed { waited };
            assert_eq!(error, WeatherError::Lane(expected));
        }
        assert_eq!((queued(), scene.fetches()), (0, 0));
        // Neither is it joined by the next caller.
        scene.weather.general_lane().resume();
        end.send(Ok(())).unwrap();
        assert_eq!(scene.pune(), Ok(1));
    });
}

#[test]
fn an_urgent_caller_does_not_wait_for_a_fetch_of_lower_priority() {
    within_reason(|| {
        let config = LaneConfig::new(Quota::unlimited()).in_flight(1).urgent_workers(2);
        // Each fetch has a gate of its own, so that the answers come in this order.
        let (ends, gates): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::<()>()).unzip();
        let gates: Vec<_> = gates.into_iter().map(Mutex::new).collect();
        let work = move |fetch: usize| {
            gates[fetch - 1].lock().unwrap().recv().unwrap();
            Ok(())
        };
        let scene = scene_of(ManualClock::new(), config, work);
        let end = |fetch: usize| ends[fetch - 1].send(()).unwrap();
        // Holds the only worker.
        let other = scene.weather.clone();
        let other = thread::spawn(move || other.report("Delhi", None));
        until(|| scene.fetches() == 1);
        let normal = ask_together(&scene, 1);
        let urgent = scene.with(options().priority(Priority::URGENT));
        let urgent = thread::spawn(move || urgent.report("Pune", None));
        until(|| scene.fetches() == 2);
        end(1);
        assert!(other.join().unwrap().is_ok());
        scene.clock.advance(ms(1));
        end(2);
        assert_eq!(urgent.join().unwrap().unwrap().fetch, 2);
        end(3);
        assert_eq!(normal.into_iter().next().unwrap().join().unwrap(), Ok(3));
        // The newer answer is kept.
        assert_eq!(scene.pune(), Ok(3));
    });
}

#[test]
fn a_closed_lane_answers_what_is_kept_and_refuses_the_rest() {
    within_reason(|| {
        let (scene, end) = gated(unlimited().in_flight(1));
        end.send(Ok(())).unwrap();
        assert_eq!(scene.pune(), Ok(1));
        let others: Vec<_> = ["Delhi", "Mumbai", "Mumbai"]
            .map(|city| {
                let weather = scene.weather.clone();
                thread::spawn(move || weather.report(city, None).map(drop))
            })
            .into();
        until(|| scene.stats().misses + scene.stats().joined == 4);
        scene.weather.shutdown(Shutdown::Now);
        // One call may be in flight. It ends now.
        drop(end);
        let closed = WeatherError::Lane(LaneErrorKind::Closed);
        let refused = others.into_iter().map(|other| other.join().unwrap());
        assert!(refused.filter(|answer| *answer == Err(closed.clone())).count() >= 1);
        assert_eq!(scene.pune(), Ok(1));
        assert_eq!(scene.weather.report("Goa", None), Err(closed));
    });
}

#[test]
fn a_call_from_within_a_call_fetches_by_itself_and_its_answer_is_kept() {
    within_reason(|| {
        let scene = scene_of(ManualClock::auto_advancing(), unlimited().in_flight(1), |_| Ok(()));
        assert_eq!(scene.weather.nested().unwrap().fetch, 1);
        assert_eq!(scene.weather.nested().unwrap().fetch, 1);
        assert_eq!(scene.weather.report("nested", None).unwrap().fetch, 1);
    });
}

/// A worker that waits for an answer counts as idle, and its clock advances.
#[test]
fn callers_on_an_auto_advancing_clock_wait_for_a_fetch_that_sleeps() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let sleeping = Clock::from(clock.clone());
        let scene = scene_of(clock, LaneConfig::new(Quota::per_second(1)), move |_| {
            sleeping.sleep(SECOND * 30);
            Ok(())
        });
        let began = scene.clock.now();
        let cities: Vec<_> = (0..3)
            .map(|city| {
                let weather = scene.weather.clone();
                thread::spawn(move || weather.report(&city.to_string(), None))
            })
            .collect();
        assert!(cities.into_iter().all(|city| city.join().unwrap().is_ok()));
        assert_eq!(scene.fetches(), 3);
        let took = scene.clock.now().since(began);
        assert!(took >= SECOND * 30, "{took:?}");
    });
}

#[test]
fn a_ticket_is_the_answer_to_a_request_of_its_own() {
    let scene = scene(|_| Ok(()));
    assert_eq!(scene.pune(), Ok(1));
    assert_eq!(scene.weather.submit().report("Pune", None).wait().unwrap().fetch, 2);
    assert_eq!(scene.pune(), Ok(1));
}

// ---- clear, and what is reported ----------------------------------------------------------------

#[test]
fn a_method_is_cleared_with_what_its_fetches_under_way_bring() {
    within_reason(|| {
        let (scene, end) = gated(unlimited());
        end.send(Ok(())).unwrap();
        assert_eq!(scene.weather.past(1950), Ok(1));
        let before = ask_together(&scene, 1);
        until(|| scene.fetches() == 2);
        scene.weather.clone().responses().clear("report").unwrap();
        // It does not join what was sent before.
        let after = ask_together(&scene, 1);
        until(|| scene.fetches() == 3);
        (0..2).for_each(|_| end.send(Ok(())).unwrap());
        let answer = |mut threads: Vec<thread::JoinHandle<_>>| threads.remove(0).join().unwrap();
        assert_eq!((answer(before), answer(after)), (Ok(2), Ok(3)));
        assert_eq!(scene.pune(), Ok(3));
        scene.weather.responses().clear("report").unwrap();
        assert_eq!((scene.stats().entries, scene.weather.past(1950)), (1, Ok(1)));
        scene.weather.responses().clear_all();
        assert_eq!((scene.stats().entries, scene.stats().bytes), (0, 0));
        let error = scene.weather.responses().clear("rapport").unwrap_err().to_string();
        assert!(error.ends_with("these have: report, cities, past"), "{error}");
    });
}

#[test]
fn the_status_has_the_counters() {
    let scene = scene(|_| Ok(()));
    let _ = (scene.pune(), scene.pune());
    let status = scene.weather.status();
    assert_eq!(status.responses, Some(scene.stats()));
    let text = status.to_string();
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("response cache  lookups 2  from memory 50 %"), "{line}");
    assert!(format!("{:?}", scene.weather.responses()).contains("report"));
}
