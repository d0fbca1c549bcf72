//! Several proxies over one set of lanes, and calls without a trait: what they share, and how each of them ends.
//!
//! `lane_oracle.rs` has the same doors with everything that may happen to a call, and the exact count.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lanekeeper::lane::{
    CallOptions, LaneConfig, LaneErrorKind, LaneState, OverflowPolicy, Shutdown, Ticket,
};
use lanekeeper::proxy::{BuildError, CallSpec, LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};
use lanekeeper::{Effect, ErrorClass, LaneError, ManualClock};
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, one, options, priority, status, submit, unlimited, until,
    within_reason,
};
use support::oracle::{Algorithm, refused};
use support::stepped::{Course, Door, Failure, Stepped};

const NANOS: u64 = 1_000_000_000;
const ORDER: CallSpec = CallSpec { budgets: &[0], ..WRITE };

fn attached(lanes: &Lanes) -> Lanes {
    let mut builder = LanesBuilder::new("Attached", &["test"], &[]);
    builder.lanes_of(lanes.clone());
    builder.build(Limits::new()).unwrap()
}

/// Advances time, and gives the answers that are due then.
fn pass(lanes: &mut Stepped, nanos: u64) {
    lanes.move_to(lanes.now() + nanos);
}

/// Advances time, from one possible event to the next.
fn run_for(lanes: &mut Stepped, nanos: u64) {
    lanes.run_to(lanes.now() + nanos);
}

fn kind<R>(answer: Result<R, LaneError>) -> LaneErrorKind {
    answer.map(drop).unwrap_err().kind
}

#[test]
fn all_doors_fill_one_quota_to_the_last_call_and_none_is_over() {
    let in_flight = |quota| LaneConfig::new(quota).in_flight(20);
    let configs = [in_flight(Quota::per_second(10)), in_flight(Quota::per_second(5))];
    let mut lanes = Stepped::new(&configs, &[Budget::new(Quota::per_minute(200))]);
    lanes.attach();
    let way = ms(20);
    let mut tickets = Vec::new();
    for number in 0..1_500 {
        let call = [ORDER, READ, CallSpec { lane: 1, ..ORDER }][number / 3 % 3];
        let course = Course::answered_after(2 * way);
        tickets.push(lanes.submit_by(Door::ALL[number % 3], call, &options(), course));
    }
    run_for(&mut lanes, 60 * NANOS);
    let arrivals = |is_meant: &dyn Fn(usize) -> bool| -> Vec<u64> {
        let meant = lanes.sent.iter().filter(|sending| is_meant(sending.call / 3 % 3));
        meant.map(|sending| sending.at + way.as_nanos() as u64).collect()
    };
    let of_lanes = [arrivals(&|what| what < 2), arrivals(&|what| what == 2)];
    let of_budget = arrivals(&|what| what != 1);
    for (arrivals, limit, length) in
        [(&of_lanes[0], 10, NANOS), (&of_lanes[1], 5, NANOS), (&of_budget, 200, 60 * NANOS)]
    {
        assert_eq!(refused(arrivals, limit, length, Algorithm::SlidingLog), 0);
    }
    // The budget is spent to the last call, and the lane goes on with what it is not charged for.
    assert_eq!(of_budget.len(), 200);
    assert!(of_lanes[0].len() > 500, "{}", of_lanes[0].len());
    let doors = Door::ALL.map(|door| {
        lanes.sent.iter().filter(|sending| Door::ALL[sending.call % 3] == door).count()
    });
    assert!(doors.iter().all(|calls| calls * 3 > lanes.sent.len() - 60), "{doors:?}");
}

#[test]
fn an_urgent_call_of_any_door_is_the_next_one_sent() {
    for urgent in Door::ALL {
        let mut lanes = Stepped::new(&[LaneConfig::new(Quota::per_second(1)).in_flight(1)], &[]);
        lanes.attach();
        let tickets: Vec<_> = (0..30)
            .map(|n| lanes.submit_by(Door::ALL[n % 3], WRITE, &options(), Course::INSTANT))
            .collect();
        let exit = lanes.submit_by(urgent, WRITE, &priority(1), Course::INSTANT);
        let before = lanes.sent.len();
        run_for(&mut lanes, 2 * NANOS);
        assert_eq!(lanes.sent[before].call, 30, "{urgent:?}");
        assert_eq!(exit.wait(), Ok(30));
        drop(tickets);
    }
}

#[test]
fn users_take_turns_across_the_doors() {
    let mut lanes = Stepped::new(&[LaneConfig::new(Quota::per_second(1)).in_flight(1)], &[]);
    lanes.attach();
    let user = |name: &str| options().user(name);
    let a: Vec<_> =
        (0..4).map(|_| lanes.submit_by(Door::Owner, WRITE, &user("a"), Course::INSTANT)).collect();
    let b = lanes.submit_by(Door::Attached, WRITE, &user("b"), Course::INSTANT);
    let again = lanes.submit_by(Door::Named, WRITE, &user("a"), Course::INSTANT);
    run_for(&mut lanes, 10 * NANOS);
    let order: Vec<_> = lanes.sent.iter().map(|sending| sending.call).collect();
    assert_eq!(order, [0, 1, 4, 2, 3, 5]);
    drop((a, b, again));
}

#[test]
fn a_name_that_the_lanes_do_not_have_is_an_error_of_the_build() {
    let limits = Limits::new().lane("a", Quota::per_second(1)).budget("orders", Quota::per_day(1));
    let mut owner = LanesBuilder::new("Owner", &["a"], &["orders"]);
    owner.limits(limits);
    let owner = owner.build(Limits::new()).unwrap();
    let build = |names, budgets| {
        let mut builder = LanesBuilder::new("Extras", names, budgets);
        builder.lanes_of(owner.clone());
        builder.build(Limits::new()).map(drop)
    };
    assert_eq!(build(&["a"], &["orders"]), Ok(()));
    let not_shared = |what, name: &str, known: &str| BuildError::NotShared {
        proxy: "Extras",
        what,
        name: name.to_owned(),
        known: known.to_owned(),
    };
    assert_eq!(build(&["a", "b"], &[]), Err(not_shared("lane", "b", "a")));
    assert_eq!(build(&["a"], &["sms"]), Err(not_shared("budget", "sms", "orders")));
    let message = build(&["b"], &[]).unwrap_err().to_string();
    assert!(message.contains("`b`") && message.contains("they have: a"), "{message}");
}

#[test]
fn a_setting_that_would_be_ignored_is_an_error_of_the_build() {
    let owner = one(unlimited(1), ManualClock::new());
    let with = |set: &dyn Fn(&mut LanesBuilder)| {
        let mut builder = LanesBuilder::new("Extras", &["test"], &[]);
        set(&mut builder);
        builder.lanes_of(owner.clone());
        builder.build(Limits::new()).map(drop)
    };
    let refused = |setting| Err(BuildError::SharedLanes { proxy: "Extras", setting });
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|builder| builder.lane(0, Quota::per_second(1).into())), refused("test"));
    assert_eq!(with(&|builder| builder.limits(Limits::new())), refused("limits"));
    assert_eq!(with(&|builder| builder.clock(ManualClock::new().into())), refused("clock"));
}

#[test]
fn a_call_by_a_wrong_name_is_refused_as_not_sent() {
    let lanes = Stepped::new(&[unlimited(1)], &[Budget::new(Quota::per_second(1))]);
    let never = |call: &LaneCall| {
        let answer: Result<(), Failure> =
            lanes.lanes.call(call, &options(), || panic!("it was sent"));
        answer.unwrap_err()
    };
    let name = lanes.lane(0).name();
    for (call, what, known) in [
        (LaneCall::write("tset"), "lane", name),
        (LaneCall::write(name).budget("order"), "budget", "one"),
    ] {
        let Failure::Lane(error) = never(&call.name("bracket")) else { panic!("no lane error") };
        assert_eq!(error.class(), ErrorClass::NotSent);
        assert_eq!(error.method, "bracket");
        assert!(matches!(&error.kind, LaneErrorKind::UnknownName { what: is, known: all, .. }
            if *is == what && all == known));
    }
}

#[test]
fn a_closure_is_repeated_as_its_effect_allows() {
    let lanes = one(unlimited(1), ManualClock::auto_advancing());
    let tried = |call: LaneCall, fails_with: ErrorClass| {
        let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = attempts.clone();
        let _: Result<(), Failure> = lanes.call(&call, &options(), move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(Failure::Broker(fails_with.into()))
        });
        attempts.load(std::sync::atomic::Ordering::SeqCst)
    };
    assert!(tried(LaneCall::read("test"), ErrorClass::Transient) > 1);
    assert!(tried(LaneCall::write("test"), ErrorClass::NotSent) > 1);
    assert_eq!(tried(LaneCall::write("test"), ErrorClass::Unknown), 1);
}

/// The calls of a shutdown: two of each proxy are queued behind one that is in flight.
struct Queued {
    lanes: Stepped,
    own: Vec<Ticket<usize, Failure>>,
    others: Vec<Ticket<usize, Failure>>,
}

fn queued(config: LaneConfig, in_flight: Door) -> Queued {
    let mut lanes = Stepped::new(&[config], &[]);
    lanes.attach();
    let mut submit = |door, course| lanes.submit_by(door, WRITE, &options(), course);
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let first = submit(in_flight, Course::answered_after(SECOND));
    match in_flight {
        Door::Attached => own.push(first),
        _ => others.push(first),
    }
    for _ in 0..2 {
        others.push(submit(Door::Owner, Course::INSTANT));
        own.push(submit(Door::Attached, Course::INSTANT));
    }
    Queued { lanes, own, others }
}

fn answers(tickets: Vec<Ticket<usize, Failure>>) -> Vec<Result<usize, LaneErrorKind>> {
    let answer = |ticket: Ticket<usize, Failure>| {
        ticket.wait().map_err(|failure| match failure {
            Failure::Lane(error) => error.kind,
            other => panic!("{other:?}"),
        })
    };
    tickets.into_iter().map(answer).collect()
}

#[test]
fn a_shutdown_now_refuses_the_calls_of_its_own_proxy_and_no_others() {
    within_reason(|| {
        let Queued { mut lanes, own, others } = queued(unlimited(1), Door::Attached);
        let summary = lanes.attached.as_ref().unwrap().shutdown(Shutdown::Now);
        assert_eq!((summary.rejected, summary.in_flight), (2, 1));
        assert_eq!(lanes.lane(0).status().state, LaneState::Running);
        let late = lanes.submit_by(Door::Attached, WRITE, &options(), Course::INSTANT);
        let still = lanes.submit_by(Door::Named, WRITE, &options(), Course::INSTANT);
        run_for(&mut lanes, 2 * NANOS);
        let closed = || Err(LaneErrorKind::Closed);
        assert_eq!(answers(own), [Ok(0), closed(), closed()]);
        assert_eq!(answers(others), [Ok(1), Ok(3)]);
        assert_eq!(answers(vec![late, still]), [closed(), Ok(6)]);
        // The last proxy closes the lanes.
        lanes.lanes.shutdown(Shutdown::Now);
        assert_eq!(lanes.lane(0).status().state, LaneState::Closed);
    });
}

#[test]
fn the_proxy_that_started_the_lanes_may_end_first() {
    within_reason(|| {
        let Queued { mut lanes, own, others } = queued(unlimited(1), Door::Owner);
        assert_eq!(lanes.lanes.shutdown(Shutdown::Now).rejected, 2);
        run_for(&mut lanes, 2 * NANOS);
        assert_eq!(answers(own), [Ok(2), Ok(4)]);
        let closed = || Err(LaneErrorKind::Closed);
        assert_eq!(answers(others), [Ok(0), closed(), closed()]);
        let more = lanes.submit_by(Door::Attached, WRITE, &options(), Course::INSTANT);
        assert_eq!(answers(vec![more]), [Ok(5)]);
    });
}

#[test]
fn a_drain_sends_the_calls_of_its_own_proxy_and_waits_for_no_others() {
    within_reason(|| {
        let mut lanes = Stepped::new(&[unlimited(2)], &[]);
        lanes.attach();
        let takes = |seconds| Course::answered_after(seconds * SECOND);
        let other = lanes.submit_by(Door::Owner, WRITE, &options(), takes(100));
        let own = lanes.submit_by(Door::Attached, WRITE, &options(), takes(1));
        let queued = lanes.submit_by(Door::Attached, WRITE, &options(), takes(1));
        let attached = lanes.attached.clone().unwrap();
        let drain = lanes.beside(move |_| attached.shutdown(Shutdown::Drain(10 * SECOND)));
        assert!(!drain.is_finished());
        pass(&mut lanes, NANOS);
        assert!(!drain.is_finished(), "one of its calls is in flight");
        pass(&mut lanes, NANOS);
        let summary = drain.join().unwrap();
        assert_eq!((summary.rejected, summary.in_flight), (0, 0));
        assert_eq!(answers(vec![own, queued]), [Ok(1), Ok(2)]);
        pass(&mut lanes, 100 * NANOS);
        assert_eq!(answers(vec![other]), [Ok(0)]);
    });
}

#[test]
fn at_the_limit_of_a_drain_its_own_calls_are_cut_off_and_no_others() {
    within_reason(|| {
        let mut lanes = Stepped::new(&[unlimited(2)], &[]);
        lanes.attach();
        let hangs = Course::answered_after(1_000 * SECOND);
        let other = lanes.submit_by(Door::Owner, WRITE, &options(), hangs);
        let own = lanes.submit_by(Door::Attached, WRITE, &options(), hangs);
        let queued = lanes.submit_by(Door::Attached, WRITE, &options(), hangs);
        let attached = lanes.attached.clone().unwrap();
        let drain = lanes.beside(move |_| attached.shutdown(Shutdown::Drain(10 * SECOND)));
        pass(&mut lanes, 11 * NANOS);
        let summary = drain.join().unwrap();
        assert_eq!((summary.rejected, summary.in_flight), (1, 1));
        let expected = [Err(LaneErrorKind::CutOff), Err(LaneErrorKind::Closed)];
        assert_eq!(answers(vec![own, queued]), expected);
        pass(&mut lanes, 1_001 * NANOS);
        assert_eq!(answers(vec![other]), [Ok(0)]);
    });
}

#[test]
fn a_drain_rejects_what_a_pause_holds() {
    within_reason(|| {
        let mut lanes = Stepped::new(&[unlimited(2)], &[]);
        lanes.attach();
        lanes.lane(0).pause();
        let own = lanes.submit_by(Door::Attached, WRITE, &options(), Course::INSTANT);
        let other = lanes.submit_by(Door::Owner, WRITE, &options(), Course::INSTANT);
        let summary = lanes.attached.as_ref().unwrap().shutdown(Shutdown::Drain(Duration::MAX));
        assert_eq!(summary.rejected, 1);
        lanes.lane(0).resume();
        lanes.run_until_idle();
        assert_eq!(answers(vec![own, other]), [Err(LaneErrorKind::Closed), Ok(1)]);
    });
}

#[test]
fn a_call_that_waits_for_a_retry_is_answered_with_its_last_failure() {
    within_reason(|| {
        let mut lanes = Stepped::new(&[unlimited(1)], &[]);
        let call = LaneCall::write(lanes.lane(0).name());
        let attached = lanes.attach().clone();
        let fails = || Err::<usize, _>(Failure::NotSent);
        let ticket = attached.submit(&call, &options(), fails);
        lanes.run_until_idle();
        assert_eq!(lanes.lane(0).status().retrying, 1);
        assert_eq!(attached.shutdown(Shutdown::Now).rejected, 1);
        assert_eq!(ticket.wait(), Err(Failure::NotSent));
    });
}

#[test]
fn a_caller_that_blocks_for_a_slot_is_refused_when_its_proxy_ends() {
    within_reason(|| {
        let config = unlimited(1).queue(1).when_full(OverflowPolicy::Block);
        let mut lanes = Stepped::new(&[config], &[]);
        let proxy = lanes.attach().clone();
        let held = lanes.submit(WRITE, &options(), Course::answered_after(SECOND));
        let waits = lanes.submit(WRITE, &options(), Course::INSTANT);
        let blocked = {
            let proxy = proxy.clone();
            lanes.beside(move |_| submit(&proxy, WRITE, &options(), || ()).wait())
        };
        assert!(!blocked.is_finished());
        proxy.shutdown(Shutdown::Now);
        assert_eq!(kind(blocked.join().unwrap()), LaneErrorKind::Closed);
        pass(&mut lanes, NANOS);
        assert_eq!(answers(vec![held, waits]), [Ok(0), Ok(1)]);
    });
}

#[test]
fn dropping_one_proxy_refuses_its_queued_calls_and_dropping_both_ends_the_lanes() {
    within_reason(|| {
        let owner = one(unlimited(1), ManualClock::new());
        let other = attached(&owner);
        let held = hold(&owner, WRITE);
        let [own, lost] =
            [&owner, &other].map(|lanes| submit(lanes, WRITE, &options(), || "answered"));
        drop(other);
        assert_eq!(kind(lost.wait()), LaneErrorKind::Closed);
        let other = attached(&owner);
        held.go.send(()).unwrap();
        assert_eq!(own.wait(), Ok("answered"));
        assert_eq!(held.ticket.wait(), Ok(()));
        drop(owner);
        assert_eq!(submit(&other, READ, &options(), || 1).wait(), Ok(1));
        assert_eq!(status(&other).state, LaneState::Running);
        let held = hold(&other, WRITE);
        let queued = submit(&other, WRITE, &options(), || ());
        held.go.send(()).unwrap();
        drop(other);
        // Both may have been sent before the drop, and both are answered.
        drop((held.ticket.wait(), queued.wait()));
    });
}

#[test]
fn a_proxy_that_was_shut_closes_the_lanes_once_the_other_is_dropped() {
    within_reason(|| {
        let owner = one(unlimited(1), ManualClock::new());
        let other = attached(&owner);
        owner.shutdown(Shutdown::Now);
        assert_eq!(status(&owner).state, LaneState::Running);
        drop(other);
        assert_eq!(status(&owner).state, LaneState::Closed);
    });
}

#[test]
fn a_call_that_shuts_its_own_proxy_does_not_wait_for_itself() {
    within_reason(|| {
        let owner = one(unlimited(1), ManualClock::new());
        let other = attached(&owner);
        let inside = other.clone();
        let summary = submit(&other, WRITE, &options(), move || {
            inside.shutdown(Shutdown::Drain(Duration::MAX))
        });
        let summary = summary.wait().unwrap();
        assert_eq!((summary.rejected, summary.in_flight), (0, 1));
        assert_eq!(submit(&owner, WRITE, &options(), || 1).wait(), Ok(1));
    });
}

/// Real threads and real races: callers of three proxies, which are shut down meanwhile.
#[test]
fn every_caller_is_answered_while_proxies_come_and_go() {
    within_reason(|| {
        for round in 0..20 {
            let full = [OverflowPolicy::Refuse, OverflowPolicy::Block, OverflowPolicy::Shed];
            let config = unlimited(2).queue(4).when_full(full[round % 3]);
            let owner = one(config, lanekeeper::clock::Clock::system());
            let proxies = [attached(&owner), attached(&owner), owner.clone()];
            std::thread::scope(|scope| {
                for (number, proxy) in proxies.iter().enumerate() {
                    for _ in 0..4 {
                        scope.spawn(move || {
                            for call in 0_usize.. {
                                let answer = submit(proxy, WRITE, &options(), move || call).wait();
                                match answer {
                                    Ok(number) => assert_eq!(number, call),
                                    Err(error) if error.kind == LaneErrorKind::Closed => break,
                                    Err(_) => {}
                                }
                            }
                        });
                    }
                    scope.spawn(move || {
                        until(|| proxy.status().lanes[0].queued + number * round % 3 > 0);
                        let how = [Shutdown::Now, Shutdown::Drain(SECOND)][(number + round) % 2];
                        proxy.shutdown(how);
                    });
                }
            });
            assert_eq!(status(&owner).state, LaneState::Closed);
            assert_eq!(status(&owner).in_flight, 0);
        }
    });
}

#[test]
fn a_named_call_has_the_effect_and_the_options_that_it_says() {
    let lanes = one(unlimited(1), ManualClock::new());
    lanes.lane("test").unwrap().pause();
    let call = LaneCall::write("test").priority(lanekeeper::Priority::LOWEST);
    let work = || Ok::<_, Failure>(());
    let _lowest = lanes.submit(&call, &options(), work);
    let _second = lanes.submit(&call, &priority(2), work);
    let _exit = lanes.submit(&call.clone().exit(), &CallOptions::new().user("a"), work);
    let queued = status(&lanes).queued_by_priority;
    assert_eq!(queued.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (10, 1)]);
    let refused = {
        let closed = lanes.clone();
        closed.shutdown(Shutdown::Now);
        closed.call(&LaneCall::read("test").name("gtts"), &options(), work).unwrap_err()
    };
    let Failure::Lane(error) = refused else { panic!("{refused:?}") };
    assert_eq!((error.lane, error.method, error.effect), ("test", "gtts", Effect::Read));
}
