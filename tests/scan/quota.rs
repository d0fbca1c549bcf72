//! The quota: a scan uses what there is, and what others leave.

use std::sync::{Arc, Mutex};

use lanekeeper::clock::Clock;
use lanekeeper::lane::LaneConfig;
use lanekeeper::quota::Quota;
use lanekeeper::scan::ScanState;
use lanekeeper::{CallOptions, LaneCall, ManualClock};

use super::gate::{Answer, Gate, Scan, finish, read};
use super::support::lanes::{READ, ms, one, priority, within_reason};
use super::support::oracle::{Algorithm, refused};
use super::support::stepped::{Course, Stepped};

const SECOND: u64 = 1_000_000_000;

/// Returns what a call does that takes 40 ms and reaches the broker halfway, and when they arrived.
fn distant(
    clock: &ManualClock,
) -> (impl Fn(&u32) -> Answer + Send + Sync + 'static, Arc<Mutex<Vec<u64>>>) {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (seen, clock) = (arrivals.clone(), clock.clone());
    let work = move |item: &u32| {
        let time = Clock::from(clock.clone());
        time.sleep(ms(20));
        seen.lock().unwrap().push(clock.now().as_nanos());
        time.sleep(ms(20));
        Ok(item * 2)
    };
    (work, arrivals)
}

#[test]
fn a_thousand_items_use_the_whole_quota_of_a_lane_and_no_more() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(LaneConfig::new(Quota::per_second(10)), clock.clone());
    let (work, arrivals) = distant(&clock);
    let began = clock.now();
    let scan = Scan::start(&lanes, 0..1000, |_| LaneCall::read("test"), work).unwrap();
    let results = within_reason(move || finish(&scan));
    assert!(results.len() == 1000 && results.iter().all(|(_, result)| result.is_ok()));
    // The first ten go at once, so that 99 seconds are the least.
    let took = clock.now().since(began).as_secs_f64();
    assert!((99.0..=99.0 / 0.97).contains(&took), "{took} s");
    let arrivals = arrivals.lock().unwrap().clone();
    assert_eq!(refused(&arrivals, 10, SECOND, Algorithm::SlidingLog), 0);
}

#[test]
fn a_scan_at_full_load_delays_a_call_of_others_by_one_window_at_most() {
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(4);
    let mut lanes = Stepped::new(&[config], &[]);
    let gate = Gate::new();
    let call = read(&lanes);
    // All of them start at the same moment.
    lanes.lane(0).pause();
    let scans: Vec<Scan> = (0..20)
        .map(|number| {
            let builder =
                Scan::builder(&lanes.lanes, 0..1000_u32).user(format!("screener {number}"));
            builder.start(|_| call.clone(), gate.work()).unwrap()
        })
        .collect();
    lanes.lane(0).resume();
    let mut answered = 0;
    let mut answer_all = |lanes: &mut Stepped| {
        while let Some(call) = gate.try_next() {
            call.answer();
            lanes.run_until_idle();
            answered += 1;
        }
    };
    let mut waits = Vec::new();
    for second in 0..60 {
        lanes.run_until_idle();
        answer_all(&mut lanes);
        if second % 3 == 0 {
            let number = lanes.submitted();
            let asked = lanes.now();
            let ticket = lanes.submit(READ, &priority(5), Course::INSTANT);
            lanes.move_to(asked + SECOND);
            answer_all(&mut lanes);
            assert_eq!(ticket.wait(), Ok(number));
            waits.push(lanes.sent_at(number).unwrap() - asked);
        } else {
            lanes.move_to(lanes.now() + SECOND);
        }
    }
    assert_eq!(waits.len(), 20);
    assert!(waits.iter().all(|wait| *wait <= SECOND), "{waits:?}");
    // All of the rest is theirs, in equal parts, except that a few calls of the first became overdue early.
    let done: Vec<usize> = scans.iter().map(|scan| scan.progress().done).collect();
    assert!(answered >= 60 * 10 - 20, "{answered}");
    assert!(done.iter().max().unwrap() - done.iter().min().unwrap() <= 4, "{done:?}");
}

#[test]
fn the_estimate_is_near_the_time_that_the_rest_takes() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(LaneConfig::new(Quota::per_second(10)), clock.clone());
    let (work, _) = distant(&clock);
    let scan = Scan::start(&lanes, 0..1000, |_| LaneCall::read("test"), work).unwrap();
    let (mut seq, mut estimates) = (0, Vec::new());
    let finished = within_reason(move || {
        while !scan.state().is_over() {
            let progress = scan.progress();
            // The clock may have advanced meanwhile, by what a few calls take.
            estimates.push((clock.now(), progress));
            seq = scan.wait_after(seq, super::gate::LONG).last().map_or(seq, |event| event.seq);
        }
        (clock.now(), estimates)
    });
    let (end, estimates) = finished;
    let mut checked = 0;
    for (at, progress) in estimates {
        if progress.state != ScanState::Running || progress.done < 20 || progress.done > 900 {
            continue;
        }
        let (left, estimate) =
            (end.since(at).as_secs_f64(), progress.estimated_wait.unwrap().as_secs_f64());
        assert!(
            (estimate - left).abs() <= 0.1 * left + 2.0,
            "{estimate} s for {left} s, {progress:?}"
        );
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn the_estimate_counts_what_others_take_of_the_lane() {
    let config = LaneConfig::new(Quota::per_second(2)).in_flight(1);
    let mut lanes = Stepped::new(&[config], &[]);
    let gate = Gate::new();
    let call = read(&lanes);
    let scan = Scan::start(&lanes.lanes, 0..100_u32, |_| call.clone(), gate.work()).unwrap();
    assert_eq!(scan.progress().position, Some(0), "behind the call in flight");
    let mut tickets = Vec::new();
    for _ in 0..30 {
        // One of two calls a second is another user's.
        tickets.push(lanes.submit(READ, &CallOptions::new(), Course::INSTANT));
        for _ in 0..4 {
            lanes.run_until_idle();
            if let Some(call) = gate.try_next() {
                call.answer();
            }
            lanes.run_until_idle();
        }
        lanes.move_to(lanes.now() + SECOND);
    }
    let progress = scan.progress();
    assert!(progress.position.is_some());
    let left = (100 - progress.done) as f64;
    let estimate = progress.estimated_wait.unwrap().as_secs_f64();
    assert!((0.8 * left..=1.25 * left).contains(&estimate), "{estimate} s for {left} s");
}
