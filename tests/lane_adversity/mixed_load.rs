//! Everything at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::clock::Clock;
use lanekeeper::lane::{LaneConfig, OverflowPolicy, Shutdown};
use lanekeeper::quota::Quota;

use super::support::lanes::{READ, WRITE, one, priority, submit, the};

/// Everything at once: every caller gets an answer, no call runs twice, and no call runs that was reported as never
/// sent.
#[test]
fn under_a_mixed_load_every_call_is_answered_truly() {
    fn run(round: u64) {
        let full = [OverflowPolicy::Refuse, OverflowPolicy::Block, OverflowPolicy::Shed]
            [(round % 3) as usize];
        let config = LaneConfig::new(Quota::new(20, Duration::from_millis(2)))
            .in_flight(3)
            .queue(8)
            .when_full(full);
        let lanes = one(config, Clock::system());
        let runs: Arc<Vec<AtomicUsize>> =
            Arc::new((0..4000).map(|_| AtomicUsize::new(0)).collect());
        let mut threads = Vec::new();
        for thread in 0..8_usize {
            let (lanes, runs) = (lanes.clone(), Arc::clone(&runs));
            threads.push(thread::spawn(move || {
                let mut random = round.wrapping_mul(7919) + thread as u64 + 1;
                let mut next = || {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random
                };
                for number in 0..500 {
                    let mine = thread * 500 + number;
                    let mut options = priority((next() % 10 + 1) as u8);
                    if next() % 2 == 0 {
                        options = options.deadline(Duration::from_micros(next() % 1500));
                    }
                    if next() % 3 == 0 {
                        options = options.user(format!("{}", next() % 3));
                    }
                    let call = if next() % 2 == 0 { READ } else { WRITE };
                    let counted = Arc::clone(&runs);
                    let ticket = submit(&lanes, call, &options, move || {
                        counted[mine].fetch_add(1, Ordering::SeqCst);
                    });
                    match next() % 6 {
                        0 => {
                            if ticket.cancel() {
                                assert_eq!(runs[mine].load(Ordering::SeqCst), 0);
                                runs[mine].fetch_add(1_000, Ordering::SeqCst);
                            }
                        }
                        1 => drop(ticket),
                        _ => match ticket.wait() {
                            Ok(()) => assert_eq!(runs[mine].load(Ordering::SeqCst), 1),
                            Err(error) if error.was_sent() == Sent::No => {
                                runs[mine].fetch_add(1_000, Ordering::SeqCst);
                            }
                            Err(_) => {}
                        },
                    }
                    match next() % 60 {
                        0 => the(&lanes).pause(),
                        1..=9 => the(&lanes).resume(),
                        10 => {
                            let quota =
                                Quota::new((next() % 20 + 1) as u32, Duration::from_millis(1));
                            the(&lanes).set_quota(&quota).unwrap();
                        }
                        11 => drop(lanes.status()),
                        _ => {}
                    }
                    if thread == 0 {
                        the(&lanes).resume();
                    }
                }
                the(&lanes).resume();
            }));
        }
        if round % 4 == 3 {
            thread::sleep(Duration::from_millis(20));
            lanes.shutdown(Shutdown::Drain(Duration::from_millis(10)));
        }
        // A thread may have paused the lane after the last `resume` of the others.
        while threads.iter().any(|thread| !thread.is_finished()) {
            the(&lanes).resume();
            thread::sleep(Duration::from_millis(1));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(lanes);
        for (number, runs) in runs.iter().enumerate() {
            let runs = runs.load(Ordering::SeqCst);
            assert!(matches!(runs, 0 | 1 | 1_000), "call {number}: {runs}");
        }
    }
    let (progress, last) = mpsc::channel();
    thread::spawn(move || {
        for round in 0..24 {
            run(round);
            let _ = progress.send(round);
        }
    });
    for round in 0..24 {
        assert_eq!(last.recv_timeout(Duration::from_secs(120)), Ok(round), "stuck");
    }
}
