//! Many real threads at once, and every call answered once.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::Sent;
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{LaneConfig, LaneError, OverflowPolicy};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};
use support::lanes::{WRITE, ms, one, options, status, submit, the, unlimited, within_reason};
use support::oracle::{Algorithm, refused};

/// The errors of calls to a correct broker.
#[derive(Debug, PartialEq)]
enum Failure {
    Broker,
    Lane(LaneError),
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

/// When calls were sent: the lane, whether they cost the budget, and the moment.
type Sendings = Arc<Mutex<Vec<(usize, bool, u64)>>>;

/// Runs two lanes on one budget, eight callers, and a thread that pauses, resumes and reads the status all the time.
fn run_mixed_load(when_full: OverflowPolicy) {
    let clock = ManualClock::auto_advancing();
    let mut builder = LanesBuilder::new("Test", &["test", "other"], &["budget"]);
    for lane in 0..2 {
        let config = LaneConfig::new(Quota::per_second(20)).in_flight(3).queue(8);
        builder.lane(lane, config.when_full(when_full));
    }
    builder.budget(0, Budget::new(Quota::per_second(15)));
    builder.clock(clock.clone().into());
    let lanes = builder.build(Limits::new()).unwrap();
    let (sendings, finished) = (Sendings::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::SeqCst) {
                the(&lanes).pause();
                let _ = lanes.status();
                the(&lanes).resume();
                thread::yield_now();
            }
        });
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let (lanes, clock, sendings) = (&lanes, &clock, &sendings);
                scope.spawn(move || {
                    for number in 0..40 {
                        one_of_many(lanes, clock, sendings, caller, number);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        finished.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok));
    });
    assert!(lanes.status().lanes.iter().all(|lane| lane.queued == 0));
    let sendings = sendings.lock().unwrap();
    let of = |which: &dyn Fn(&(usize, bool, u64)) -> bool| -> Vec<u64> {
        sendings.iter().filter(|sending| which(sending)).map(|sending| sending.2).collect()
    };
    let second = 1_000_000_000;
    let excess = |arrivals: &[u64], limit| refused(arrivals, limit, second, Algorithm::SlidingLog);
    assert_eq!(excess(&of(&|sending| sending.0 == 0), 20), 0);
    assert_eq!(excess(&of(&|sending| sending.0 == 1), 20), 0);
    assert_eq!(excess(&of(&|sending| sending.1), 15), 0);
}

fn one_of_many(
    lanes: &Lanes,
    clock: &ManualClock,
    sendings: &Sendings,
    caller: usize,
    number: usize,
) {
    let budgets: &[usize] = if number % 3 == 0 { &[0] } else { &[] };
    let priority = (1 + (number * 7 + caller) % 10) as u8;
    let call = CallSpec { lane: (caller + number) % 2, priority, budgets, ..WRITE };
    let mut options = options().user(["u", "v", "w"][number % 3]);
    if number % 5 == 0 {
        options = options.deadline(ms(700));
    }
    let runs = Arc::new(AtomicUsize::new(0));
    let work = {
        let (runs, clock, sendings) = (Arc::clone(&runs), clock.clone(), Arc::clone(sendings));
        move || {
            runs.fetch_add(1, Ordering::SeqCst);
            let at = clock.now().as_nanos();
            sendings.lock().unwrap().push((call.lane, budgets.len() == 1, at));
            if number % 11 == 3 { Err(Failure::Broker) } else { Ok(number) }
        }
    };
    let ticket = lanes.submit_spec(call, &options, work, |_| None::<lanekeeper::ErrorClass>);
    if number % 7 == 2 && ticket.cancel() {
        // A cancelled call is gone, and its work with it.
        assert_eq!((runs.load(Ordering::SeqCst), Arc::strong_count(&runs)), (0, 1));
        return;
    }
    match ticket.wait() {
        Ok(answer) => assert_eq!((answer, runs.load(Ordering::SeqCst)), (number, 1)),
        Err(Failure::Broker) => assert_eq!(runs.load(Ordering::SeqCst), 1),
        Err(Failure::Lane(error)) => {
            assert_eq!((error.was_sent(), runs.load(Ordering::SeqCst)), (Sent::No, 0), "{error}");
        }
    }
}

#[test]
fn a_mixed_load_answers_each_call_once_and_keeps_the_quota() {
    within_reason(|| {
        for _ in 0..8 {
            [OverflowPolicy::Block, OverflowPolicy::Shed, OverflowPolicy::Refuse]
                .into_iter()
                .for_each(run_mixed_load);
        }
    });
}

/// No limit applies and answers come at once, so only the lane itself is tested. There are as many queue slots as
/// callers, so no caller is refused that calls again after an answer.
#[test]
fn sixty_four_threads_get_each_their_own_answers() {
    const CALLS: u64 = 10_000;
    within_reason(|| {
        let lanes = one(unlimited(2).queue(64), Clock::system());
        let sum: u64 = thread::scope(|scope| {
            let callers: Vec<_> = (0..64_u64)
                .map(|caller| {
                    let lanes = &lanes;
                    scope.spawn(move || {
                        (0..CALLS).fold(0, |sum, number| {
                            let mine = caller * CALLS + number;
                            let answer = submit(lanes, WRITE, &options(), move || mine).wait();
                            assert_eq!(answer, Ok(mine));
                            sum + mine
                        })
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        let all = 64 * CALLS;
        assert_eq!(sum, all * (all - 1) / 2);
        assert_eq!(status(&lanes).queued, 0);
    });
}
