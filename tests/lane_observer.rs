//! Which events an observer gets, in which order, and that its panics affect no other code.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{LaneConfig, LaneErrorKind, LaneState, OverflowPolicy, Shutdown};
use lanekeeper::proxy::CallSpec;
use lanekeeper::quota::Quota;
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, observed, options, priority, status, submit, the, unlimited,
    until, within_reason,
};
use support::notes::{Event, EventLog};

/// Returns the events of one call of the one lane.
fn events_of(event_log: &EventLog, number: u64) -> Vec<Event> {
    event_log.of("test", number)
}

/// Makes one call of each possible fate, in the order of their numbers.
fn each_fate(event_log: &Arc<EventLog>) {
    let clock = ManualClock::new();
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1).queue(2);
    let lanes =
        observed(config.when_full(OverflowPolicy::Shed), clock.clone(), Some(event_log.clone()));
    // 0: sent and answered.
    assert_eq!(submit(&lanes, WRITE, &options(), || 0).wait(), Ok(0));
    // 1: cancelled. 2: a read that was dropped.
    assert!(submit(&lanes, WRITE, &options(), || 1).cancel());
    drop(submit(&lanes, READ, &options(), || 2));
    // 3 and 5: their deadlines pass. 4 and 6: cancelled. The lane finds it, or the waiting caller does.
    for by_caller in [false, true] {
        the(&lanes).pause();
        let mut late = submit(&lanes, READ, &options().deadline(ms(1_500)), || 3);
        let ahead = submit(&lanes, READ, &priority(1), || 0);
        clock.advance(2 * SECOND);
        let answer = match by_caller {
            true => late.wait(),
            false => late.wait_timeout(Duration::MAX).unwrap(),
        };
        assert!(matches!(answer.unwrap_err().kind, LaneErrorKind::DeadlinePassed { .. }));
        assert!(ahead.cancel());
        the(&lanes).resume();
        until(|| the(&lanes).queued() == 0);
    }
    // 7: refused at admission.
    let too_late = submit(&lanes, WRITE, &options().deadline(Duration::ZERO), || 7);
    assert!(matches!(too_late.wait().unwrap_err().kind, LaneErrorKind::TooLate { .. }));
    // 8 is shed for 10, and 11 finds no queue slot.
    the(&lanes).pause();
    let shed = submit(&lanes, WRITE, &priority(9), || 8);
    let nine = submit(&lanes, WRITE, &priority(2), || 9);
    let ten = submit(&lanes, WRITE, &priority(2), || 10);
    assert_eq!(shed.wait().unwrap_err().kind, LaneErrorKind::Shed);
    let full = submit(&lanes, WRITE, &priority(9), || 11);
    assert_eq!(full.wait().unwrap_err().kind, LaneErrorKind::QueueFull { capacity: 2 });
    // 9: a write that was dropped, and goes on.
    drop(nine);
    the(&lanes).resume();
    until(|| events_of(event_log, 9).last() == Some(&Event::Late));
    clock.advance(SECOND);
    assert_eq!(ten.wait(), Ok(10));
    // 12: refused as too heavy. 13: refused by the shutdown. 14: refused after it.
    let twelve = submit(&lanes, CallSpec { weight: 2, ..WRITE }, &options(), || 12);
    assert_eq!(twelve.wait().unwrap_err().kind, LaneErrorKind::TooHeavy);
    let shut = submit(&lanes, WRITE, &options(), || 13);
    assert_eq!(lanes.shutdown(Shutdown::Now).rejected, 1);
    assert_eq!(shut.wait().unwrap_err().kind, LaneErrorKind::Closed);
    let closed = submit(&lanes, WRITE, &options(), || 14);
    assert_eq!(closed.wait().unwrap_err().kind, LaneErrorKind::Closed);
}

#[test]
fn each_fate_of_a_call_is_reported_in_order_and_panics_of_the_observer_change_nothing() {
    use Event::{Cancelled, Dispatched, Expired, Finished, Late, Refused, Submitted};
    for panics in [false, true] {
        let event_log = Arc::new(EventLog::new(panics));
        let seen = Arc::clone(&event_log);
        within_reason(move || each_fate(&seen));
        let expected: [&[Event]; 15] = [
            &[Submitted, Dispatched, Finished],
            &[Submitted, Cancelled],
            &[Submitted, Cancelled],
            &[Submitted, Expired],
            &[Submitted, Cancelled],
            &[Submitted, Expired],
            &[Submitted, Cancelled],
            &[Refused],
            &[Submitted, Refused],
            &[Submitted, Dispatched, Finished, Late],
            &[Submitted, Dispatched, Finished],
            &[Refused],
            &[Refused],
            &[Submitted, Refused],
            &[Refused],
        ];
        for (number, expected) in expected.into_iter().enumerate() {
            assert_eq!(events_of(&event_log, number as u64), expected, "call {number}");
        }
        let states = event_log.states();
        let (paused, running) = (LaneState::Paused, LaneState::Running);
        assert_eq!(states[..6], [paused, running, paused, running, paused, running]);
        assert_eq!(states[6..], [LaneState::Closed]);
    }
}

#[test]
fn a_call_that_hangs_past_a_shutdown_is_reported_to_its_end() {
    within_reason(|| {
        let event_log = Arc::new(EventLog::default());
        let lanes = observed(unlimited(1), Clock::system(), Some(event_log.clone()));
        let held = hold(&lanes, WRITE);
        lanes.shutdown(Shutdown::Now);
        held.let_go().wait().unwrap();
        assert_eq!(
            events_of(&event_log, 0),
            [Event::Submitted, Event::Dispatched, Event::Finished]
        );
    });
}

#[test]
fn in_a_crowd_each_call_has_one_end_and_its_events_are_in_order() {
    use Event::{Cancelled, Dispatched, Expired, Finished, Late, Refused, Submitted};
    within_reason(|| {
        for round in 0..6 {
            let event_log = Arc::new(EventLog::new(round % 2 == 1));
            let full =
                [OverflowPolicy::Refuse, OverflowPolicy::Block, OverflowPolicy::Shed][round % 3];
            let config = LaneConfig::new(Quota::per_second(50)).in_flight(3).queue(6);
            let config = config.when_full(full);
            let lanes = observed(config, ManualClock::auto_advancing(), Some(event_log.clone()));
            thread::scope(|scope| {
                for caller in 0..8_usize {
                    let lanes = &lanes;
                    scope.spawn(move || {
                        for number in 0..60_usize {
                            let call = if number % 2 == 0 { READ } else { WRITE };
                            let mut options = priority(1 + ((caller + number) % 10) as u8);
                            if number % 4 == 0 {
                                options = options.deadline(ms(60));
                            }
                            let ticket = submit(lanes, call, &options, || ());
                            match number % 5 {
                                0 => drop(ticket),
                                1 => drop(ticket.cancel()),
                                _ => drop(ticket.wait()),
                            }
                        }
                    });
                }
            });
            lanes.shutdown(Shutdown::Drain(3_600 * SECOND));
            assert_eq!(status(&lanes).queued, 0);
            drop(lanes);
            let calls = event_log.all();
            assert_eq!(calls.len(), 480);
            for ((_, number), events) in &calls {
                let in_order = matches!(
                    events[..],
                    [Submitted, Dispatched, Finished]
                        | [Submitted, Dispatched, Finished, Late]
                        | [Submitted, Cancelled | Expired | Refused]
                        | [Refused]
                );
                assert!(in_order, "call {number}: {events:?}");
            }
        }
    });
}
