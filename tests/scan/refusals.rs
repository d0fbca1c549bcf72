//! Calls that the lane refuses for now: they are made again, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::lane::{
    CallInfo, ExpiredSessionPolicy, LaneConfig, LaneErrorKind, Observer, OpenBreakerPolicy,
    OverflowPolicy, Shutdown,
};
use lanekeeper::proxy::LanesBuilder;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::{BreakerMode, RetryPolicy};
use lanekeeper::scan::ScanState;
use lanekeeper::{Clock, ErrorClass, LaneCall, ManualClock};

use super::gate::{Gate, Scan, finish, lane_error, read};
use super::support::lanes::{
    READ, hold, observed, one, options, priority, status, submit, the, unlimited, within_reason,
};
use super::support::notes::Event;
use super::support::stepped::{Failure, Stepped};

/// Counts refusals.
#[derive(Default)]
struct Refusals(AtomicUsize);

impl Observer for Refusals {
    fn refused(&self, _: &CallInfo<'_>, _: &LaneErrorKind) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const CALL: fn(&u32) -> LaneCall = |_| LaneCall::read("test");

fn echo(item: &u32) -> Result<u32, Failure> {
    Ok(*item)
}

#[test]
fn scans_take_no_room_in_the_queue_and_need_none_whatever_its_policy() {
    for policy in [OverflowPolicy::Refuse, OverflowPolicy::Block, OverflowPolicy::Shed] {
        let refusals = Arc::new(Refusals::default());
        let config = unlimited(1).queue(4).when_full(policy);
        let lanes = observed(config, Clock::system(), Some(refusals.clone()));
        the(&lanes).pause();
        let start = || Scan::builder(&lanes, 0..50).at_once(10).start(CALL, echo).unwrap();
        let mut scans: Vec<Scan> = (0..10).map(|_| start()).collect();
        assert_eq!((status(&lanes).queued, status(&lanes).capacity), (100, 4));
        // A caller that finds no room would block here, or be refused.
        let others: Vec<_> = (0..4).map(|n| submit(&lanes, READ, &options(), move || n)).collect();
        scans.extend((0..10).map(|_| start()));
        assert_eq!(status(&lanes).queued, 204);
        if policy != OverflowPolicy::Block {
            let refused = submit(&lanes, READ, &options(), || 4).wait().unwrap_err();
            assert_eq!(refused.kind, LaneErrorKind::QueueFull { capacity: 4 });
        }
        if policy == OverflowPolicy::Shed {
            // Of the calls that wait, a scan's are the lowest, but they have nothing to give.
            let shedding = submit(&lanes, READ, &priority(2), || 5);
            assert_eq!(status(&lanes).queued, 204);
            the(&lanes).resume();
            assert_eq!(shedding.wait(), Ok(5));
        }
        the(&lanes).resume();
        let is_shed = policy == OverflowPolicy::Shed;
        within_reason(move || {
            for (ticket, number) in others.into_iter().zip(0..) {
                assert_eq!(ticket.wait().ok(), (number < 3 || !is_shed).then_some(number));
            }
            for scan in &scans {
                assert!(finish(scan).iter().all(|(_, result)| result.is_ok()));
                assert_eq!(scan.progress().done, 50);
            }
        });
        let of_others = match policy {
            OverflowPolicy::Refuse => 1,
            OverflowPolicy::Shed => 2,
            _ => 0,
        };
        assert_eq!(refusals.0.load(Ordering::SeqCst), of_others);
    }
}

#[test]
fn a_scan_waits_for_a_broker_that_is_down_and_asks_seldom() {
    for policy in [OpenBreakerPolicy::Refuse, OpenBreakerPolicy::HoldWithoutDeadline] {
        let mut lanes = Stepped::new(&[unlimited(2).when_down(policy)], &[]);
        let call = read(&lanes);
        lanes.lane(0).set_breaker(BreakerMode::ForcedOpen);
        let began = lanes.now();
        let scan = Scan::start(&lanes.lanes, 0..100, |_| call.clone(), echo).unwrap();
        let refused = |lanes: &Stepped| {
            let events = lanes.event_log.all();
            events.values().flatten().filter(|event| **event == Event::Refused).count()
        };
        // One is refused at once, and then one after each delay.
        let mut refused_at = vec![0];
        assert_eq!(refused(&lanes), 1);
        while refused_at.len() < 12 {
            lanes.move_to(lanes.now() + 50_000_000);
            if refused(&lanes) > refused_at.len() {
                refused_at.push((lanes.now() - began) / 1_000_000);
            }
            assert_eq!(refused(&lanes), refused_at.len());
        }
        let delays = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000];
        assert!(refused_at.windows(2).map(|pair| pair[1] - pair[0]).eq(delays), "{refused_at:?}");
        assert_eq!((scan.progress().done, scan.state()), (0, ScanState::Running));
        assert_eq!(scan.progress().estimated_wait, None);
        lanes.lane(0).set_breaker(BreakerMode::Automatic);
        lanes.move_to(lanes.now() + 5_000_000_000);
        assert_eq!(scan.state(), ScanState::Done);
        assert!(finish(&scan).iter().all(|(_, result)| result.is_ok()));
    }
}

#[test]
fn a_scan_survives_an_outage() {
    // The broker does not answer for ten minutes, while a breaker opens and probes.
    let clock = ManualClock::auto_advancing();
    let config = LaneConfig::new(Quota::per_second(10)).in_flight(4).retry(RetryPolicy::none());
    let lanes = one(config, clock.clone());
    let (began, time) = (clock.now(), clock.clone());
    let outage = Duration::from_secs(10)..Duration::from_secs(610);
    let work = move |item: &u32| {
        Clock::from(time.clone()).sleep(Duration::from_millis(50));
        match outage.contains(&time.now().since(began)) {
            true => Err(Failure::Broker(ErrorClass::Transient.into())),
            false => Ok(*item),
        }
    };
    let scan = Scan::start(&lanes, 0..1000, CALL, work).unwrap();
    let results = within_reason(move || finish(&scan));
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    // Those by which the breaker found out, and its probes. None failed because the breaker was open.
    assert!((5..200).contains(&failed), "{failed}");
    assert!(results.iter().all(|(_, result)| lane_error(result).is_none()));
    assert_eq!(results.len(), 1000);
    let took = clock.now().since(began).as_secs();
    assert!((690..800).contains(&took), "{took}");
}

#[test]
fn a_scan_goes_on_with_new_credentials_at_once() {
    let config = unlimited(1).when_expired(ExpiredSessionPolicy::Refuse);
    let mut lanes = Stepped::new(&[config], &[]);
    let gate = Gate::new();
    let call = read(&lanes);
    let scan = Scan::start(&lanes.lanes, 0..5_u32, |_| call.clone(), gate.work()).unwrap();
    gate.next().answer_with(Err(Failure::Broker(ErrorClass::Unauthorized.into())));
    lanes.run_until_idle();
    assert!(lanes.lanes.session().is_expired());
    for _ in 0..20 {
        lanes.move_to(lanes.now() + 1_000_000_000);
        assert!(gate.try_next().is_none());
    }
    assert_eq!(scan.progress().done, 1);
    let before = lanes.now();
    lanes.lanes.session().renew();
    for _ in 0..4 {
        gate.next().answer();
        lanes.run_until_idle();
    }
    assert_eq!(lanes.now(), before);
    let failed = finish(&scan).into_iter().filter(|(_, result)| result.is_err()).count();
    assert_eq!(failed, 1, "the one that the broker refused");
}

#[test]
fn a_scan_that_backs_off_ends_with_its_lane_or_when_it_is_cancelled_and_can_be_paused() {
    let lanes = one(unlimited(1), ManualClock::new());
    the(&lanes).set_breaker(BreakerMode::ForcedOpen);
    let start = || -> Scan { Scan::start(&lanes, 0..10, CALL, echo).unwrap() };
    // A proxy that is shut down ends its own scan, and no other.
    let mut attached = LanesBuilder::new("Attached", &["test"], &[]);
    attached.lanes_of(lanes.clone());
    let attached = attached.build(Limits::new()).unwrap();
    let of_attached: Scan = Scan::start(&attached, 0..10, CALL, echo).unwrap();
    let (shut, cancelled, paused) = (start(), start(), start());
    attached.shutdown(Shutdown::Now);
    assert_eq!((of_attached.state(), shut.state()), (ScanState::Done, ScanState::Running));
    paused.pause();
    cancelled.cancel();
    assert_eq!(cancelled.state(), ScanState::Cancelled);
    the(&lanes).shutdown(Shutdown::Now);
    let results = {
        let shut = shut.clone();
        within_reason(move || finish(&shut))
    };
    assert_eq!(results.len(), 10);
    assert!(results.iter().all(|(_, result)| lane_error(result) == Some(&LaneErrorKind::Closed)));
    assert_eq!(paused.state(), ScanState::Paused);
    paused.resume();
    assert_eq!(paused.state(), ScanState::Done);
}

#[test]
fn an_alarm_rings_in_a_lane_that_is_paused_or_busy() {
    for is_paused in [true, false] {
        let clock = ManualClock::new();
        let lanes = one(unlimited(1).urgent_workers(0), clock.clone());
        the(&lanes).set_breaker(BreakerMode::ForcedOpen);
        let scan: Scan = Scan::start(&lanes, 0..1, CALL, echo).unwrap();
        the(&lanes).set_breaker(BreakerMode::Automatic);
        let held = match is_paused {
            true => {
                the(&lanes).pause();
                None
            }
            false => Some(hold(&lanes, READ)),
        };
        super::support::lanes::until(|| {
            clock.advance(Duration::from_millis(100));
            status(&lanes).queued == 1
        });
        the(&lanes).resume();
        drop(held.map(super::support::lanes::Held::let_go));
        assert_eq!(within_reason(move || finish(&scan)), [(0, Ok(0))]);
    }
}
