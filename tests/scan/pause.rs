//! Pauses: what is taken back, what is sent meanwhile, and what follows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::lane::{CallInfo, LaneConfig, Observer};
use lanekeeper::quota::Quota;
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::scan::ScanState;
use lanekeeper::{CallOptions, Clock, ErrorClass, LaneCall, Priority};

use super::gate::{Gate, Scan, changes, finish, read, results};
use super::support::lanes::{READ, observed, priority, the, unlimited, until};
use super::support::stepped::{Course, Failure, Stepped};

const SECOND: u64 = 1_000_000_000;

fn gated(lanes: &Stepped, items: u32, gate: &Gate) -> Scan {
    let call = read(lanes);
    let builder = Scan::builder(&lanes.lanes, 0..items).user("screener");
    builder.start(|_| call.clone(), gate.work()).unwrap()
}

/// Lets the present window pass.
fn pass(lanes: &mut Stepped) {
    lanes.move_to(lanes.now() + SECOND);
}

#[test]
fn a_paused_scan_sends_nothing_and_its_calls_in_flight_finish() {
    let mut lanes = Stepped::new(&[unlimited(2)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 10, &gate);
    let (first, second) = (gate.next(), gate.next());
    lanes.run_until_idle();
    assert_eq!(lanes.lane(0).queued(), 2);
    scan.pause();
    assert_eq!((scan.state(), lanes.lane(0).queued()), (ScanState::Paused, 0));
    assert_eq!((scan.progress().position, scan.progress().estimated_wait), (None, None));
    first.answer();
    second.answer();
    lanes.run_until_idle();
    pass(&mut lanes);
    assert!(gate.try_next().is_none());
    let events = scan.events_after(0);
    assert_eq!((results(&events).len(), changes(&events)), (2, vec!["paused"]));
    scan.pause();
    assert_eq!(scan.events_after(events.last().unwrap().seq).len(), 0, "it was paused already");

    scan.resume();
    scan.resume();
    let resumed = scan.events_after(events.last().unwrap().seq);
    assert_eq!((resumed.len(), changes(&resumed)), (1, vec!["resumed"]));
    // The calls that were taken back go first.
    let next = [gate.next(), gate.next()];
    assert!(next.iter().all(|call| [2, 3].contains(&call.item)));
    next.into_iter().for_each(super::gate::Call::answer);
    (0..6).for_each(|_| gate.next().answer());
    let mut results = finish(&scan);
    results.sort_by_key(|(index, _)| *index);
    assert!(
        results.iter().zip(0..10).all(|(result, item)| *result == (item as usize, Ok(item * 2)))
    );
}

#[test]
fn calls_of_others_go_first_and_a_paused_scan_leaves_them_the_whole_lane() {
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let mut lanes = Stepped::new(&[config], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 20, &gate);
    gate.next().answer();
    lanes.run_until_idle();
    // While it runs, a call of another user passes its queued calls.
    let normal = lanes.submit(READ, &priority(5), Course::INSTANT);
    let urgent = lanes.submit(READ, &priority(1), Course::INSTANT);
    pass(&mut lanes);
    assert_eq!(lanes.sent.last().unwrap().call, 1);
    pass(&mut lanes);
    assert_eq!(lanes.sent.last().unwrap().call, 0);
    assert_eq!((normal.wait(), urgent.wait()), (Ok(0), Ok(1)));
    assert!(gate.try_next().is_none());
    pass(&mut lanes);
    gate.next().answer();
    lanes.run_until_idle();
    // While it is paused, a call of the same priority has no call of the scan before it.
    scan.pause();
    let lowest = lanes.submit(READ, &priority(10), Course::INSTANT);
    assert_eq!(lowest.position(), Some(0));
    pass(&mut lanes);
    assert_eq!(lowest.wait(), Ok(2));
    (0..5).for_each(|_| pass(&mut lanes));
    assert!(gate.try_next().is_none());
    scan.resume();
    lanes.run_until_idle();
    assert_eq!(gate.next().item, 2);
}

#[test]
fn users_of_the_same_priority_take_turns_with_a_scan() {
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let mut lanes = Stepped::new(&[config], &[]);
    let gate = Gate::new();
    let _scan = gated(&lanes, 20, &gate);
    gate.next().answer();
    lanes.run_until_idle();
    let lowest = CallOptions::new().user("other").priority(Priority::LOWEST);
    let others: Vec<_> = (0..4).map(|_| lanes.submit(READ, &lowest, Course::INSTANT)).collect();
    let mut of_scan = 0;
    for _ in 0..8 {
        pass(&mut lanes);
        if let Some(call) = gate.try_next() {
            of_scan += 1;
            call.answer();
            lanes.run_until_idle();
        }
    }
    assert_eq!((of_scan, lanes.sent.len()), (4, 4));
    drop(others);
}

#[test]
fn a_call_that_waits_for_another_attempt_is_taken_back_and_made_again() {
    let retry = RetryPolicy::default().base_delay(Duration::from_secs(1));
    let mut lanes = Stepped::new(&[unlimited(1).retry(retry)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 1, &gate);
    let failed = || Err(Failure::Broker(ErrorClass::Transient.into()));
    gate.next().answer_with(failed());
    lanes.run_until_idle();
    assert_eq!(lanes.lane(0).status().retrying, 1);
    scan.pause();
    assert_eq!(lanes.lane(0).status().retrying, 0);
    (0..10).for_each(|_| pass(&mut lanes));
    assert!(gate.try_next().is_none());
    assert!(results(&scan.events_after(0)).is_empty());
    scan.resume();
    gate.next().answer();
    assert_eq!(finish(&scan), [(0, Ok(0))]);
}

#[test]
fn a_scan_that_gets_its_last_answer_during_a_pause_is_done() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 1, &gate);
    let only = gate.next();
    scan.pause();
    only.answer();
    lanes.run_until_idle();
    assert_eq!(scan.state(), ScanState::Done);
    assert_eq!(finish(&scan), [(0, Ok(0))]);
    scan.resume();
    assert_eq!(changes(&scan.events_after(0)), ["done"]);
}

#[test]
fn pauses_without_end_do_not_make_a_scan_grow() {
    let lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 5, &gate);
    let _held = gate.next();
    for _ in 0..1000 {
        scan.pause();
        scan.resume();
    }
    let events = scan.events_after(0);
    assert_eq!((events.len(), changes(&events)), (1, vec!["resumed"]));
    assert_eq!(events[0].seq, 2000);
    assert_eq!(lanes.lane(0).queued(), 1);
}

/// What is done to a scan while one of its calls is being submitted.
type Meddling = (Scan, fn(&Scan));

#[derive(Default)]
struct Meddler(Mutex<Option<Meddling>>);

impl Observer for Meddler {
    fn submitted(&self, _: &CallInfo<'_>) {
        let meddling = self.0.lock().unwrap().take();
        if let Some((scan, meddle)) = meddling {
            meddle(&scan);
        }
    }
}

#[test]
fn a_call_that_is_being_submitted_during_a_pause_is_taken_back() {
    for meddle in [Scan::pause as fn(&Scan), Scan::cancel] {
        let meddler = Arc::new(Meddler::default());
        let lanes = observed(unlimited(1), Clock::system(), Some(meddler.clone()));
        let gate = Gate::new();
        let builder = Scan::builder(&lanes, 0..10).at_once(1);
        let scan = builder.start(|_| LaneCall::read("test"), gate.work()).unwrap();
        // The worker that answers the first call submits the second.
        let first = gate.next();
        *meddler.0.lock().unwrap() = Some((scan.clone(), meddle));
        first.answer();
        until(|| scan.state() != ScanState::Running && the(&lanes).queued() == 0);
        assert_eq!(scan.progress().done, 1);
        assert!(gate.try_next().is_none());
        scan.resume();
        if scan.state() == ScanState::Running {
            (1..10).for_each(|item| {
                let call = gate.next();
                assert_eq!(call.item, item);
                call.answer();
            });
            assert_eq!(finish(&scan).len(), 10);
        }
    }
}
