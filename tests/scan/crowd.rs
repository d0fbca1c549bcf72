//! Many scans, and many threads that pause, resume, read and cancel them, on the machine's clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::lane::{CallInfo, LaneConfig, Observer, OverflowPolicy};
use lanekeeper::quota::Quota;
use lanekeeper::scan::{ScanEventKind, ScanState};
use lanekeeper::{Clock, LaneCall};

use super::gate::{Scan, finish, results};
use super::support::lanes::{
    READ, observed, one, options, submit, unlimited, until, within_reason,
};

#[test]
fn under_pauses_from_all_sides_every_item_has_one_result_and_every_reader_all_of_them() {
    const ITEMS: u32 = 2_000;
    let config = LaneConfig::new(Quota::unlimited()).in_flight(4).queue(16);
    let lanes = one(config.when_full(OverflowPolicy::Shed), Clock::system());
    let runs: Arc<[AtomicUsize]> = (0..ITEMS).map(|_| AtomicUsize::new(0)).collect();
    let scans: Vec<Scan> = (0..6)
        .map(|number| {
            let runs = runs.clone();
            let work = move |item: &u32| {
                runs[*item as usize].fetch_add(1, Ordering::Relaxed);
                Ok(*item)
            };
            let builder = Scan::builder(&lanes, 0..ITEMS).user(format!("{number}")).at_once(5);
            builder.start(|_| LaneCall::read("test"), work).unwrap()
        })
        .collect();
    within_reason(move || {
        thread::scope(|scope| {
            for scan in &scans {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !scan.state().is_over() {
                            scan.pause();
                            thread::yield_now();
                            scan.resume();
                            let _ = scan.progress();
                        }
                    });
                    scope.spawn(|| {
                        let mut seen = vec![false; ITEMS as usize];
                        let mut last = 0;
                        for event in scan.events() {
                            assert!(event.seq > last);
                            last = event.seq;
                            if let ScanEventKind::Result { index, result } = event.kind {
                                assert!(!std::mem::replace(&mut seen[index], true));
                                assert_eq!(*result, Ok(u32::try_from(index).unwrap()));
                            }
                        }
                        assert!(seen.into_iter().all(|seen| seen));
                    });
                }
            }
            // Normal calls, which shed those of the scans.
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..5_000 {
                        let ticket = submit(&lanes, READ, &options(), move || number);
                        assert!(ticket.wait().is_ok_and(|answer| answer == number));
                    }
                });
            }
        });
        assert!(scans.iter().all(|scan| scan.state() == ScanState::Done));
        // A call that was taken back was not made.
        assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == scans.len()));
    });
}

#[test]
fn cancelling_and_dropping_at_any_moment_leaves_nothing_queued() {
    let lanes = one(LaneConfig::new(Quota::unlimited()).in_flight(3), Clock::system());
    within_reason(move || {
        thread::scope(|scope| {
            for round in 0..4 {
                let lanes = &lanes;
                scope.spawn(move || {
                    for turn in 0..300 {
                        let call = |_: &u32| LaneCall::read("test");
                        let scan: Scan = Scan::start(lanes, 0..50, call, |item| Ok(*item)).unwrap();
                        let _ = scan.wait_after(turn % 7, super::gate::LONG);
                        if (turn + round) % 2 == 0 {
                            scan.cancel();
                            let before = results(&scan.events_after(0)).len();
                            assert_eq!(results(&scan.events_after(0)).len(), before);
                            assert!(scan.state().is_over());
                        }
                    }
                });
            }
        });
        // One that is being submitted is taken back right after.
        until(|| lanes.lane("test").unwrap().queued() == 0);
    });
}

/// Records the names of the calls that are submitted.
#[derive(Default)]
struct Submissions(Mutex<Vec<&'static str>>);

impl Observer for Submissions {
    fn submitted(&self, call: &CallInfo<'_>) {
        // Lets another worker overtake this one, if it may submit too.
        thread::yield_now();
        self.0.lock().unwrap().push(call.method);
    }
}

#[test]
fn calls_are_submitted_in_the_order_of_their_items_whichever_worker_submits_them() {
    let submissions = Arc::new(Submissions::default());
    let lanes = observed(unlimited(8), Clock::system(), Some(submissions.clone()));
    let names: Vec<&'static str> = (0..3000).map(|n| &*format!("{n}").leak()).collect();
    let call = {
        let names = names.clone();
        move |item: &u32| LaneCall::read("test").name(names[*item as usize])
    };
    let scan: Scan = Scan::start(&lanes, 0..3000, call, |item| Ok(*item)).unwrap();
    assert_eq!(within_reason(move || finish(&scan).len()), 3000);
    assert_eq!(*submissions.0.lock().unwrap(), names);
}
