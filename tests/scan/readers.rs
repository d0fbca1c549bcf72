//! Readers: each from its own place, slow or gone for a while, threads and tasks.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use lanekeeper::scan::{ScanEvent, ScanEventKind};
use lanekeeper::{Clock, LaneCall, ManualClock};

use super::gate::{Answer, Gate, LONG, Scan, changes, finish, read, results};
use super::support::lanes::{SECOND, ms, one, unlimited, until, within_reason};
use super::support::stepped::{Failure, Stepped};

fn gated(lanes: &Stepped, items: u32, gate: &Gate) -> Scan {
    let call = read(lanes);
    Scan::start(&lanes.lanes, 0..items, |_| call.clone(), gate.work()).unwrap()
}

fn counts(event: &ScanEvent<u32, Failure>) -> Option<(usize, usize, usize)> {
    match event.kind {
        ScanEventKind::Progress { done, failed, total } => Some((done, failed, total)),
        _ => None,
    }
}

#[test]
fn a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 12, &gate);
    let mut seqs = vec![0];
    let mut read = Vec::new();
    for round in 0..12 {
        gate.next().answer();
        lanes.run_until_idle();
        // This reader looks after one, two or three answers.
        if round % 3 != 1 {
            let new = scan.events_after(*seqs.last().unwrap());
            read.extend(results(&new));
            assert_eq!(
                counts(new.iter().rfind(|e| counts(e).is_some()).unwrap()),
                Some((round + 1, 0, 12))
            );
            seqs.push(new.last().unwrap().seq);
        }
    }
    let all: Vec<(usize, Answer)> =
        (0..12).map(|item: u32| (item as usize, Ok(item * 2))).collect();
    assert_eq!(read, all);
    let events = scan.events_after(0);
    assert_eq!(results(&events), all);
    // Whatever it was that a reader saw last, it gets what came after.
    for after in 0..=events.last().unwrap().seq + 1 {
        let expected: Vec<u64> =
            events.iter().map(|event| event.seq).filter(|seq| *seq > after).collect();
        let got: Vec<u64> = scan.events_after(after).iter().map(|event| event.seq).collect();
        assert_eq!(got, expected, "after {after}");
    }
    assert!(scan.events_after(u64::MAX).is_empty());
}

#[test]
fn readers_share_the_results_and_a_slow_one_holds_up_nothing() {
    let lanes = one(unlimited(4), Clock::system());
    let scan: Scan =
        Scan::start(&lanes, 0..1000_u32, |_| LaneCall::read("test"), |item| Ok(*item)).unwrap();
    let slow = scan.events_after(0).len();
    let fast = {
        let scan = scan.clone();
        within_reason(move || finish(&scan))
    };
    assert!(slow <= 2000);
    assert_eq!(fast, finish(&scan));
    let first = |scan: &Scan| match &scan.events_after(0)[0].kind {
        ScanEventKind::Result { result, .. } => Arc::clone(result),
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&first(&scan), &first(&scan)));
}

#[test]
fn a_wait_ends_with_an_event_or_at_its_timeout_or_with_the_scan() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 2, &gate);
    let first = gate.next();
    let clock = lanes.clock.clone();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| scan.wait_after(0, SECOND));
        until(|| {
            clock.advance(ms(100));
            waiting.is_finished()
        });
        assert!(waiting.join().unwrap().is_empty());
    });
    let waiting = {
        let scan = scan.clone();
        lanes.beside(move |_| scan.wait_after(0, LONG))
    };
    first.answer();
    let got = waiting.join().unwrap();
    assert_eq!(results(&got), [(0, Ok(0))]);
    let seq = got.last().unwrap().seq;
    let waiting = {
        let scan = scan.clone();
        lanes.beside(move |_| scan.wait_after(seq, LONG))
    };
    let in_flight = gate.next();
    scan.cancel();
    let got = waiting.join().unwrap();
    assert_eq!((got.len(), changes(&got)), (1, vec!["cancelled"]));
    assert!(scan.wait_after(got[0].seq, LONG).is_empty());
    drop(in_flight);
}

#[test]
fn a_wait_on_an_auto_advancing_clock_does_not_advance_it() {
    let clock = ManualClock::auto_advancing();
    let lanes = one(unlimited(1), clock.clone());
    let (before, gate) = (clock.now(), Gate::new());
    let scan = Scan::start(&lanes, 0..1_u32, |_| LaneCall::read("test"), gate.work()).unwrap();
    let waiting = {
        let scan = scan.clone();
        thread::spawn(move || scan.wait_after(0, LONG))
    };
    gate.next().answer();
    assert_eq!(results(&waiting.join().unwrap()).len(), 1);
    assert_eq!(clock.now(), before);
}

/// Counts its wake-ups.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_is_woken_by_the_next_event_and_may_leave() {
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 2, &gate);
    let bells = [(); 3].map(|()| Arc::new(Bell::default()));
    let rang = |bell: &Arc<Bell>| bell.0.load(Ordering::SeqCst);
    let poll = |future: std::pin::Pin<&mut dyn Future<Output = Vec<ScanEvent<u32, Failure>>>>,
                bell: &Arc<Bell>| {
        future.poll(&mut Context::from_waker(&Waker::from(bell.clone())))
    };
    let mut moved = pin!(scan.next_after(0));
    assert!(poll(moved.as_mut(), &bells[0]).is_pending());
    // It moves to another task, which alone is woken.
    assert!(poll(moved.as_mut(), &bells[1]).is_pending());
    {
        let mut gone = pin!(scan.next_after(0));
        assert!(poll(gone.as_mut(), &bells[2]).is_pending());
    }
    assert_eq!(Arc::strong_count(&bells[2]), 1, "what left is not kept");
    assert_eq!(Arc::strong_count(&bells[0]), 1, "a stale waker is not kept");
    gate.next().answer();
    lanes.run_until_idle();
    assert_eq!(bells.each_ref().map(rang), [0, 1, 0]);
    let Poll::Ready(events) = poll(moved.as_mut(), &bells[1]) else { panic!("there are events") };
    assert_eq!(results(&events), [(0, Ok(0))]);
    // What has happened already is there at once, and so is the end.
    let seq = events.last().unwrap().seq;
    assert!(poll(pin!(scan.next_after(0)), &bells[0]).is_ready());
    let mut next = pin!(scan.next_after(seq));
    assert!(poll(next.as_mut(), &bells[0]).is_pending());
    let in_flight = gate.next();
    scan.cancel();
    assert_eq!(rang(&bells[0]), 1);
    let Poll::Ready(events) = poll(next.as_mut(), &bells[0]) else { panic!("it is over") };
    assert_eq!(changes(&events), ["cancelled"]);
    let last = events.last().unwrap().seq;
    let Poll::Ready(events) = poll(pin!(scan.next_after(last)), &bells[0]) else { panic!("over") };
    assert!(events.is_empty());
    drop(in_flight);
}

#[test]
fn a_waker_that_panics_or_calls_the_scan_harms_no_one() {
    struct Hostile(Scan);
    impl Wake for Hostile {
        fn wake(self: Arc<Self>) {
            self.0.pause();
            self.0.resume();
            let _ = self.0.progress();
            panic!("a waker that panics");
        }
    }
    let mut lanes = Stepped::new(&[unlimited(1)], &[]);
    let gate = Gate::new();
    let scan = gated(&lanes, 3, &gate);
    let mut seq = 0;
    for item in 0..3 {
        let waker = Waker::from(Arc::new(Hostile(scan.clone())));
        let mut next = pin!(scan.next_after(seq));
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let call = gate.next();
        assert_eq!(call.item, item);
        call.answer();
        lanes.run_until_idle();
        seq = scan.events_after(seq).last().unwrap().seq;
    }
    assert_eq!(finish(&scan).len(), 3);
}
