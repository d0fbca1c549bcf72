//! A caller that blocks for long is reported: once, with what its call waits for, and only while the call is queued.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneErrorKind, LaneState, LongWait, Observer};
use support::failing::{Failed, Log, NOT_SENT, patient, submit_repeatable};
use support::lanes::{
    READ, SECOND, hold, ms, observed, options, priority, status, submit, the, unlimited, until,
    within_reason,
};

/// What a report says: the user, and what its call waits for.
#[derive(Debug, Clone, PartialEq)]
struct Report {
    user: String,
    waited: Duration,
    position: Option<usize>,
    estimated_wait: Option<Duration>,
    state: LaneState,
}

#[derive(Default)]
struct Reports(Mutex<Vec<Report>>);

impl Reports {
    fn of(&self, user: &str) -> Option<Report> {
        self.0.lock().unwrap().iter().find(|report| report.user == user).cloned()
    }

    /// Advances the clock until the call of `user` is reported.
    fn advance_until(&self, user: &str, clock: &ManualClock) -> Report {
        until(|| {
            clock.advance(ms(1));
            self.of(user).is_some()
        });
        self.of(user).unwrap()
    }

    fn users(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|report| report.user.clone()).collect()
    }
}

impl Observer for Reports {
    fn wants_long_waits(&self) -> bool {
        true
    }
    fn long_wait(&self, wait: &LongWait<'_>) {
        self.0.lock().unwrap().push(Report {
            user: wait.call.user.unwrap_or_default().to_owned(),
            waited: wait.waited,
            position: wait.position,
            estimated_wait: wait.estimated_wait,
            state: wait.state,
        });
    }
}

#[test]
fn a_caller_that_blocks_for_a_second_is_reported_once_while_its_call_is_queued() {
    within_reason(|| {
        let (clock, reports) = (ManualClock::new(), Arc::new(Reports::default()));
        let lanes = observed(unlimited(1), clock.clone(), Some(reports.clone()));
        let held = hold(&lanes, READ);
        let ahead = submit(&lanes, READ, &options(), || ());
        let alpha = submit(&lanes, READ, &options().user("alpha"), || ());
        let beta = submit(&lanes, READ, &priority(1).user("beta"), || ());
        // Its deadline passes sooner.
        let soon = submit(&lanes, READ, &options().user("soon").deadline(SECOND), || ());
        thread::scope(|scope| {
            // The call in flight waits for the broker, not in the lane.
            let in_flight = scope.spawn(|| held.ticket.wait());
            let soon = scope.spawn(|| soon.wait());
            let alpha = scope.spawn(|| alpha.wait());
            let report = reports.advance_until("alpha", &clock);
            assert!(report.waited >= SECOND, "{report:?}");
            // One call of higher priority, and one that was submitted before.
            assert_eq!((report.position, report.state), (Some(2), LaneState::Running));
            assert!(report.estimated_wait.is_some());
            assert!(soon.join().unwrap().is_err());
            the(&lanes).pause();
            // Meanwhile alpha waits for seconds more.
            clock.advance(5 * SECOND);
            let beta = scope.spawn(|| beta.wait());
            let report = reports.advance_until("beta", &clock);
            assert!(report.waited >= 6 * SECOND, "since its submission: {report:?}");
            assert_eq!((report.position, report.state), (Some(0), LaneState::Paused));
            the(&lanes).resume();
            held.go.send(()).unwrap();
            in_flight.join().unwrap().unwrap();
            alpha.join().unwrap().unwrap();
            beta.join().unwrap().unwrap();
        });
        ahead.wait().unwrap();
        assert_eq!(reports.users(), ["alpha", "beta"]);
    });
}

#[test]
fn a_deadline_that_passes_within_the_second_is_kept() {
    within_reason(|| {
        let (clock, reports) = (ManualClock::new(), Arc::new(Reports::default()));
        let lanes = observed(unlimited(1), clock.clone(), Some(reports.clone()));
        let (begun, began) = mpsc::channel();
        let (go, held) = mpsc::channel::<()>();
        let soon = submit(&lanes, READ, &options().deadline(ms(500)), move || {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        began.recv().unwrap();
        clock.advance(ms(500));
        assert_eq!(soon.wait().unwrap_err().kind, LaneErrorKind::Unanswered);
        drop(go);
        assert!(reports.users().is_empty());
    });
}

#[test]
fn a_call_that_waits_for_another_attempt_has_no_position() {
    within_reason(|| {
        let (clock, reports) = (ManualClock::new(), Arc::new(Reports::default()));
        let config = unlimited(1).retry(patient());
        let lanes = observed(config, clock.clone(), Some(reports.clone()));
        let fails_once = Log::new(&clock).fails("it", [NOT_SENT]);
        let ticket = submit_repeatable(&lanes, READ, &options().user("gamma"), fails_once);
        until(|| status(&lanes).retrying == 1);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ticket.wait());
            let report = reports.advance_until("gamma", &clock);
            assert_eq!((report.position, report.estimated_wait), (None, None));
            drop(lanes);
            assert_eq!(waiting.join().unwrap(), Err(Failed::Broker(1, NOT_SENT)));
        });
    });
}
