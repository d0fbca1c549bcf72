//! How a scan starts and how it ends: checks of its calls, results, cancellation, closed lanes, dropped handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::lane::{LaneConfig, LaneErrorKind, Observer, Shutdown};
use lanekeeper::quota::Quota;
use lanekeeper::scan::{ScanStartError, ScanState};
use lanekeeper::{Clock, ErrorClass, LaneCall, Priority};

use super::gate::{Answer, Gate, LONG, Scan, changes, finish, lane_error, others, read, results};
use super::support::lanes::{observed, one, options, the, unlimited, within_reason};
use super::support::stepped::{Failure, Stepped};

fn gated(lanes: &Stepped, items: u32, gate: &Gate) -> Scan {
    let call = read(lanes);
    lanekeeper::Scan::start(&lanes.lanes, 0..items, |_| call.clone(), gate.work()).unwrap()
}

#[test]
fn results_come_in_the_order_of_the_answers_and_each_once() {
    let mut lanes = Stepped::new(&[unlimited(3)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 4, &gate);
    let [first, second, third] = [(); 3].map(|()| gate.next());
    let mut calls = [first, second, third];
    calls.sort_by_key(|call| call.item);
    let [first, second, third] = calls;
    third.answer();
    lanes.run_until_idle();
    let fourth = gate.next();
    first.answer_with(Err(Failure::Broker(ErrorClass::Rejected.into())));
    lanes.run_until_idle();
    second.answer();
    lanes.run_until_idle();
    fourth.answer();
    let events: Vec<_> = scan.events().collect();
    let rejected = Err(Failure::Broker(ErrorClass::Rejected.into()));
    assert_eq!(results(&events), [(2, Ok(4)), (0, rejected), (1, Ok(2)), (3, Ok(6))]);
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(changes(&events), ["done"]);
    assert_eq!(changes(&events[events.len() - 1..]), ["done"], "it is the last event");
    let progress = scan.progress();
    assert_eq!((progress.state, progress.done, progress.failed), (ScanState::Done, 4, 1));
    assert_eq!((progress.position, progress.estimated_wait), (None, Some(Duration::ZERO)));
}

#[test]
fn no_more_calls_are_under_way_than_asked_for() {
    let mut lanes = Stepped::new(&[unlimited(2)], &[]);
    let gate = Gate::new();
    let (call, builder) = (read(&lanes), Scan::builder(&lanes.lanes, 0..10_u32).at_once(3));
    let scan = builder.start(|_| call.clone(), gate.work()).unwrap();
    for _ in 0..8 {
        lanes.run_until_idle();
        // Two in flight, and one that is queued behind them.
        assert_eq!(lanes.lane(0).queued(), 1);
        gate.next().answer();
    }
    lanes.run_until_idle();
    assert_eq!(lanes.lane(0).queued(), 0);
    (0..2).for_each(|_| gate.next().answer());
    assert_eq!(finish(&scan).len(), 10);
}

#[test]
fn by_default_twice_as_many_are_under_way_as_the_lane_has_in_flight() {
    let mut lanes = Stepped::new(&[unlimited(1), unlimited(3)], &[]);
    let gate = Gate::new();
    let (name, call) = (lanes.lane(1).name(), read(&lanes));
    let of = |item: &u32| if *item == 9 { call.clone() } else { LaneCall::read(name) };
    let scan = Scan::builder(&lanes.lanes, 0..10_u32).start(of, gate.work()).unwrap();
    lanes.run_until_idle();
    assert_eq!(lanes.lane(1).queued(), 3);
    (0..10).for_each(|_| gate.next().answer());
    assert_eq!(finish(&scan).len(), 10);
}

#[test]
fn a_scan_of_nothing_is_done_at_once() {
    let lanes = one(unlimited(1), Clock::system());
    let scan: Scan =
        Scan::builder(&lanes, []).start(|_| LaneCall::read("test"), |_| Ok(1)).unwrap();
    assert_eq!(changes(&scan.events_after(0)), ["done"]);
    assert_eq!(scan.events().count(), 1);
}

#[test]
fn a_write_an_urgent_call_and_an_unknown_name_are_refused_before_anything_is_sent() {
    let lanes = one(unlimited(1), Clock::system());
    let start = |priority, call: fn(&u32) -> LaneCall| {
        let builder = Scan::builder(&lanes, 0..3_u32).priority(priority);
        builder.start(call, |_| panic!("sent")).unwrap_err()
    };
    let read = LaneCall::read("test").name("read");
    let write = |item: &u32| match item {
        1 => LaneCall::write("test").name("write"),
        _ => LaneCall::read("test"),
    };
    let refused = start(Priority::LOWEST, write);
    assert_eq!(refused, ScanStartError::Write { index: 1, call: "write" });
    let exit = start(Priority::LOWEST, |_| LaneCall::read("test").exit());
    assert_eq!(exit, ScanStartError::Urgent { index: 0, call: "call" });
    let urgent = start(Priority::URGENT, |_| LaneCall::read("test"));
    assert_eq!(urgent, ScanStartError::Urgent { index: 0, call: "call" });
    let unknown = start(Priority::LOWEST, |_| LaneCall::read("tset"));
    assert!(matches!(unknown, ScanStartError::UnknownName { index: 0, .. }), "{unknown}");
    assert!(unknown.to_string().contains("no lane `tset`; there are: test"), "{unknown}");
    let budget = start(Priority::LOWEST, |_| LaneCall::read("test").budget("orders"));
    assert!(matches!(budget, ScanStartError::UnknownName { index: 0, .. }), "{budget}");
    drop(read);
}

#[test]
fn a_panic_of_the_work_is_the_result_of_its_item() {
    let lanes = one(unlimited(2), Clock::system());
    let work = |item: &u32| if *item == 3 { panic!("item three") } else { Ok(*item) };
    let scan: Scan = Scan::builder(&lanes, 0..6).start(|_| LaneCall::read("test"), work).unwrap();
    let mut results = within_reason(move || finish(&scan));
    results.sort_by_key(|(index, _)| *index);
    let message = "item three".to_owned();
    assert_eq!(lane_error(&results[3].1), Some(&LaneErrorKind::Panicked { message }));
    assert_eq!(results.iter().filter(|(_, result)| result.is_ok()).count(), 5);
}

#[test]
fn a_panic_of_the_errors_conversion_fails_the_item_and_not_the_scan() {
    #[derive(Debug)]
    struct Picky;
    impl From<lanekeeper::LaneError> for Picky {
        fn from(error: lanekeeper::LaneError) -> Self {
            panic!("{error}")
        }
    }
    impl lanekeeper::proxy::Classify for Picky {
        fn class(&self) -> ErrorClass {
            ErrorClass::Rejected
        }
    }
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).shutdown(Shutdown::Now);
    let scan = lanekeeper::Scan::builder(&lanes, 0..3_u32)
        .start(|_| LaneCall::read("test"), |_| Ok::<u32, Picky>(1));
    let scan = scan.unwrap();
    let progress = within_reason(move || {
        assert!(scan.events().count() > 0);
        scan.progress()
    });
    assert_eq!((progress.state, progress.done, progress.failed), (ScanState::Done, 3, 3));
}

#[test]
fn the_items_of_a_lane_that_is_shut_fail_and_the_scan_is_done() {
    for (shut, fails) in [
        (Shutdown::Now, LaneErrorKind::Closed),
        (Shutdown::Drain(Duration::ZERO), LaneErrorKind::CutOff),
    ] {
        let mut lanes = Stepped::new(&[unlimited(1)], &[]);
        let gate = Gate::new();
        let scan = gated(&lanes, 1000, &gate);
        gate.next().answer();
        let in_flight = gate.next();
        lanes.run_until_idle();
        lanes.lanes.shutdown(shut);
        if fails == LaneErrorKind::Closed {
            in_flight.answer();
        } else {
            drop(in_flight);
        }
        let results = finish(&scan);
        assert_eq!((results.len(), scan.state()), (1000, ScanState::Done));
        let closed =
            |(_, answer): &&(usize, Answer)| lane_error(answer) == Some(&LaneErrorKind::Closed);
        assert_eq!(results.iter().filter(closed).count(), 998);
        let of_second = &results.iter().find(|(index, _)| *index == 1).unwrap().1;
        match fails {
            LaneErrorKind::Closed => assert_eq!(*of_second, Ok(2)),
            _ => assert_eq!(lane_error(of_second), Some(&fails)),
        }
    }
}

#[test]
fn a_lane_that_was_shut_before_or_during_a_pause_ends_the_scan_too() {
    let lanes = one(unlimited(1), Clock::system());
    the(&lanes).pause();
    let start =
        || Scan::builder(&lanes, 0..5).start(|_| LaneCall::read("test"), |_| Ok(1)).unwrap();
    let paused: Scan = start();
    paused.pause();
    the(&lanes).shutdown(Shutdown::Now);
    let late: Scan = start();
    assert_eq!((paused.state(), late.state()), (ScanState::Paused, ScanState::Done));
    paused.resume();
    for scan in [paused, late] {
        let results = finish(&scan);
        assert_eq!(results.len(), 5);
        assert!(results.iter().all(|(_, answer)| lane_error(answer).is_some()));
    }
}

#[test]
fn a_proxy_that_is_shut_ends_its_scans_and_no_others() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    lanes.attach();
    let attached = lanes.attached.as_ref().unwrap();
    let call = read(&lanes);
    let theirs = Scan::start(attached, 0..5_u32, |_| call.clone(), gate.work()).unwrap();
    let first = gate.next();
    let ours = gated(&lanes, 5, &gate);
    lanes.attached.as_ref().unwrap().shutdown(Shutdown::Now);
    lanes.run_until_idle();
    first.answer();
    assert_eq!(finish(&theirs).iter().filter(|(_, answer)| answer.is_ok()).count(), 1);
    (0..5).for_each(|_| gate.next().answer());
    assert!(finish(&ours).iter().all(|(_, answer)| answer.is_ok()));
}

#[test]
fn a_cancelled_scan_sends_nothing_more_and_keeps_its_results() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 10, &gate);
    gate.next().answer();
    let in_flight = gate.next();
    lanes.run_until_idle();
    scan.cancel();
    assert_eq!(lanes.lane(0).queued(), 0);
    let progress = scan.progress();
    assert_eq!((progress.state, progress.done), (ScanState::Cancelled, 1));
    assert_eq!((progress.position, progress.estimated_wait), (None, None));
    let last = scan.events().last().unwrap();
    assert_eq!(changes(std::slice::from_ref(&last)), ["cancelled"]);
    // Its readers have gone, so the answer in flight is not added.
    in_flight.answer();
    lanes.run_until_idle();
    scan.resume();
    scan.pause();
    scan.cancel();
    lanes.run_until_idle();
    assert!(gate.try_next().is_none());
    assert!(scan.wait_after(last.seq, LONG).is_empty());
    assert_eq!(finish(&scan), [(0, Ok(0))]);
    assert_eq!(scan.state(), ScanState::Cancelled);
}

#[test]
fn dropping_the_last_handle_cancels_what_is_queued() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 10, &gate);
    let in_flight = gate.next();
    let other = scan.clone();
    lanes.run_until_idle();
    drop(scan);
    assert_eq!(lanes.lane(0).queued(), 1);
    drop(other);
    assert_eq!(lanes.lane(0).queued(), 0);
    in_flight.answer();
    lanes.run_until_idle();
    assert!(gate.try_next().is_none());
}

#[test]
fn a_scan_holds_the_lanes_until_it_is_over_and_no_longer() {
    struct Silent;
    impl Observer for Silent {}
    let observer = Arc::new(Silent);
    let gate = Gate::new();
    let start = |gate: &Gate| -> Scan {
        let lanes = observed(unlimited(1), Clock::system(), Some(observer.clone()));
        Scan::start(&lanes, 0..2_u32, |_| LaneCall::read("test"), gate.work()).unwrap()
    };
    let (done, cancelled, dropped) = (start(&gate), start(&Gate::new()), start(&Gate::new()));
    assert!(others(&observer) >= 3);
    gate.next().answer();
    gate.next().answer();
    assert_eq!(finish(&done).len(), 2);
    cancelled.cancel();
    drop(dropped);
    // The worker that gave the last answer drops the lanes.
    within_reason(move || super::support::lanes::until(|| others(&observer) == 0));
    assert_eq!(finish(&done).len(), 2);
}

#[test]
fn a_hundred_scans_have_no_threads() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let config = LaneConfig::new(Quota::unlimited()).in_flight(2).queue(10_000);
    let lanes = one(config, Clock::system());
    the(&lanes).pause();
    let sent = Arc::new(AtomicUsize::new(0));
    // Other tests start and end threads meanwhile, so it is the least that counts.
    let count = || {
        (0..20)
            .map(|_| {
                std::thread::yield_now();
                threads()
            })
            .min()
            .unwrap()
    };
    let before = count();
    let scans: Vec<Scan> = (0..1000)
        .map(|_| {
            let sent = sent.clone();
            let work =
                move |_: &u32| Ok(u32::try_from(sent.fetch_add(1, Ordering::SeqCst)).unwrap());
            Scan::start(&lanes, 0..10, |_| LaneCall::read("test"), work).unwrap()
        })
        .collect();
    assert!(count() < before + 900);
    the(&lanes).resume();
    within_reason(move || scans.iter().for_each(|scan| assert_eq!(finish(scan).len(), 10)));
    assert_eq!(sent.load(Ordering::SeqCst), 10_000);
    let _ = options();
}
