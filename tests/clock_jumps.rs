//! An auto-advancing clock, and several lanes that wait at once: time advances to the earliest moment that any of
//! them waits for, and no further.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{
    FinishedCall, LaneConfig, LaneError, LaneErrorKind, Observer, OverflowPolicy, Shutdown, Ticket,
};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Moment, Quota};
use proptest::prelude::*;
use support::lanes::{WRITE, hold, ms, observed, options, submit, unlimited, until, within_reason};

const NAMES: [&str; 6] = ["gate", "a", "b", "c", "d", "e"];

/// One lane and its calls.
#[derive(Debug, Clone)]
struct Load {
    /// The number of calls, and the milliseconds in which they are allowed.
    windows: Vec<(u32, u64)>,
    in_flight: usize,
    /// How long a call takes, in milliseconds.
    takes: u64,
    calls: usize,
}

fn load() -> impl Strategy<Value = Load> {
    let window = (1..5_u32, 1..3000_u64);
    let takes = prop_oneof![Just(0), 1..1000_u64];
    (prop::collection::vec(window, 1..3), 1..4_usize, takes, 1..12_usize)
        .prop_map(|(windows, in_flight, takes, calls)| Load { windows, in_flight, takes, calls })
}

fn lanes(loads: &[Load], clock: &ManualClock) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &NAMES[..=loads.len()], &[]);
    builder.clock(clock.clone().into());
    builder.lane(0, unlimited(1));
    for (lane, load) in loads.iter().enumerate() {
        let and =
            |quota: Quota, (calls, length): &(u32, u64)| quota.and(Quota::new(*calls, ms(*length)));
        let quota = load.windows.iter().fold(Quota::unlimited(), and);
        builder.lane(lane + 1, LaneConfig::new(quota).in_flight(load.in_flight));
    }
    builder.build(Limits::new()).unwrap()
}

/// Returns when each call of each lane was sent, counted from the first. All are queued before time may advance.
fn moments(loads: &[Load]) -> Vec<Vec<Duration>> {
    let clock = ManualClock::auto_advancing();
    let lanes = lanes(loads, &clock);
    let began = clock.now();
    let gate = hold(&lanes, WRITE);
    let log: Arc<Vec<Mutex<Vec<Duration>>>> =
        Arc::new(loads.iter().map(|_| Mutex::default()).collect());
    let mut tickets: Vec<Ticket<(), LaneError>> = Vec::new();
    for (number, load) in loads.iter().enumerate() {
        for _ in 0..load.calls {
            let (clock, log) = (clock.clone(), Arc::clone(&log));
            let (call, takes) = (CallSpec { lane: number + 1, ..WRITE }, load.takes);
            tickets.push(submit(&lanes, call, &options(), move || {
                log[number].lock().unwrap().push(clock.now().since(began));
                Clock::from(clock).sleep(ms(takes));
            }));
        }
    }
    tickets.push(gate.let_go());
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    log.iter().map(|lane| std::mem::take(&mut *lane.lock().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn each_lane_goes_as_if_it_were_alone(loads in prop::collection::vec(load(), 2..6)) {
        let (together, alone) = within_reason(move || {
            let alone = loads.iter().flat_map(|load| moments(std::slice::from_ref(load)));
            (moments(&loads), alone.collect::<Vec<_>>())
        });
        for lane in &together {
            prop_assert!(lane.is_sorted(), "time went back: {:?}", lane);
        }
        prop_assert_eq!(together, alone);
    }
}

#[test]
fn no_deadline_passes_because_another_lane_waits_for_longer() {
    for _ in 0..50 {
        within_reason(|| {
            let clock = ManualClock::auto_advancing();
            let slow = Load { windows: vec![(1, 60_000)], in_flight: 1, takes: 0, calls: 0 };
            let quick = Load { windows: vec![(1, 1000)], ..slow.clone() };
            let lanes = lanes(&[slow, quick], &clock);
            let gate = hold(&lanes, WRITE);
            let at = |lane, deadline| {
                let clock = clock.clone();
                let call = CallSpec { lane, ..WRITE };
                submit(&lanes, call, &options().deadline(ms(deadline)), move || clock.now())
            };
            let began = clock.now();
            for lane in [1, 2] {
                assert_eq!(at(lane, 1).wait().unwrap(), began);
            }
            let late = vec![at(1, 100_000)];
            let soon: Vec<_> = (0..3).map(|_| at(2, 3500)).collect();
            gate.let_go().wait().unwrap();
            let answers = |tickets: Vec<Ticket<Moment, LaneError>>| {
                tickets.into_iter().map(|t| t.wait().unwrap().since(began)).collect::<Vec<_>>()
            };
            assert_eq!(answers(soon), [1000, 2000, 3000].map(ms));
            assert_eq!(answers(late), [ms(60_000)]);
        });
    }
}

#[test]
fn a_deadline_is_a_moment_to_go_to_as_well() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let load = Load { windows: vec![(1, 1000)], in_flight: 1, takes: 0, calls: 0 };
        let lanes = lanes(&[load.clone(), load], &clock);
        let began = clock.now();
        lanes.lane("a").unwrap().pause();
        let never =
            submit(&lanes, CallSpec { lane: 1, ..WRITE }, &options().deadline(ms(1500)), || ());
        let error = never.wait().unwrap_err();
        assert!(matches!(error.kind, LaneErrorKind::DeadlinePassed { .. }), "{error}");
        assert_eq!(clock.now().since(began), ms(1500));
    });
}

#[test]
fn lanes_that_are_gone_hold_up_no_other() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let load = Load { windows: vec![(1, 1000)], in_flight: 3, takes: 0, calls: 3 };
        for _ in 0..20 {
            let gone = lanes(std::slice::from_ref(&load), &clock);
            let call = CallSpec { lane: 1, ..WRITE };
            let tickets: Vec<_> = (0..3).map(|_| submit(&gone, call, &options(), || ())).collect();
            drop(gone);
            tickets.into_iter().for_each(|ticket| drop(ticket.wait()));
        }
        let lanes = lanes(&[load.clone(), load], &clock);
        let began = clock.now();
        let calls =
            [1, 2, 1, 2].map(|lane| submit(&lanes, CallSpec { lane, ..WRITE }, &options(), || ()));
        calls.into_iter().for_each(|call| call.wait().unwrap());
        assert_eq!(clock.now().since(began), ms(1000));
    });
}

#[test]
fn calls_that_take_time_take_it_side_by_side() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let load = Load { windows: vec![(9, 1000)], in_flight: 2, takes: 0, calls: 0 };
        let lanes = lanes(&[load.clone(), load], &clock);
        let began = clock.now();
        let gate = hold(&lanes, WRITE);
        let takes = |lane, millis| {
            let clock = clock.clone();
            submit(&lanes, CallSpec { lane, ..WRITE }, &options(), move || {
                Clock::from(clock.clone()).sleep(ms(millis));
                clock.now().since(began)
            })
        };
        let calls = [takes(1, 300), takes(2, 50), takes(1, 100), takes(2, 200), takes(2, 70)];
        gate.let_go().wait().unwrap();
        // Two at a time: the last one begins when the call of 50 ms ends.
        let over = calls.map(|call| call.wait().unwrap());
        assert_eq!(over, [300, 50, 100, 200, 120].map(ms));
    });
}

/// Makes another call of the lane whenever one ends, and waits for it: three in all.
#[derive(Default)]
struct Chatty(OnceLock<Weak<Lanes>>, AtomicUsize);

impl Observer for Chatty {
    fn finished(&self, _: &FinishedCall<'_>) {
        let lanes = self.0.get().and_then(Weak::upgrade);
        if let Some(lanes) = lanes.filter(|_| self.1.fetch_add(1, Ordering::SeqCst) < 3) {
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        }
    }
}

#[test]
fn a_call_that_waits_for_another_call_does_not_stop_time() {
    within_reason(|| {
        let (clock, chatty) = (ManualClock::auto_advancing(), Arc::new(Chatty::default()));
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(4);
        let lanes = Arc::new(observed(config, clock.clone(), Some(Arc::clone(&chatty) as _)));
        let _ = chatty.0.set(Arc::downgrade(&lanes));
        let began = clock.now();
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        assert_eq!(clock.now().since(began), ms(3000));
    });
}

/// Returns two lanes of one call a second each, the second of which has this setting.
fn two_lanes(clock: &ManualClock, second: impl FnOnce(LaneConfig) -> LaneConfig) -> Arc<Lanes> {
    let mut builder = LanesBuilder::new("Test", &NAMES[..2], &[]);
    builder.clock(clock.clone().into());
    let config = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    builder.lane(0, config.clone());
    builder.lane(1, second(config));
    Arc::new(builder.build(Limits::new()).unwrap())
}

const OTHER: CallSpec = CallSpec { lane: 1, ..WRITE };

#[test]
fn a_call_that_waits_for_a_slot_does_not_stop_time() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = two_lanes(&clock, |config| config.queue(1).when_full(OverflowPolicy::Block));
        let (began, inner) = (clock.now(), Arc::clone(&lanes));
        let outer = submit(&lanes, WRITE, &options(), move || {
            let call = || submit(&inner, OTHER, &options(), || ());
            // The first goes at once. The last waits for the queue slot of one that waits.
            [call(), call(), call(), call()].into_iter().for_each(|call| call.wait().unwrap());
        });
        outer.wait().unwrap();
        assert_eq!(clock.now().since(began), ms(3000));
    });
}

#[test]
fn a_call_that_shuts_another_lane_does_not_stop_time() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = two_lanes(&clock, |config| config);
        let (began, inner) = (clock.now(), Arc::clone(&lanes));
        let outer = submit(&lanes, WRITE, &options(), move || {
            let calls = [(); 3].map(|()| submit(&inner, OTHER, &options(), || ()));
            let drained = inner.lane("a").unwrap().shutdown(Shutdown::Drain(ms(60_000)));
            assert_eq!(drained.rejected, 0);
            calls.into_iter().for_each(|call| call.wait().unwrap());
        });
        outer.wait().unwrap();
        assert_eq!(clock.now().since(began), ms(2000));
    });
}

#[test]
fn a_call_that_drops_other_lanes_does_not_stop_time() {
    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let lanes = two_lanes(&clock, |config| config);
        let gone = two_lanes(&clock, |config| config);
        let (began, their) = (clock.now(), clock.clone());
        let outer = submit(&lanes, WRITE, &options(), move || {
            let call = submit(&gone, WRITE, &options(), move || Clock::from(their).sleep(ms(50)));
            until(|| gone.lane("gate").unwrap().queued() == 0);
            drop(gone);
            call.wait().unwrap();
        });
        outer.wait().unwrap();
        assert_eq!(clock.now().since(began), ms(50));
    });
}

#[test]
fn a_call_that_waits_for_so_long_waits_no_longer() {
    for _ in 0..50 {
        within_reason(|| {
            let clock = ManualClock::auto_advancing();
            let lanes = two_lanes(&clock, |config| config);
            let (inner, their) = (Arc::clone(&lanes), clock.clone());
            let outer = submit(&lanes, WRITE, &options(), move || {
                let began = their.now();
                let mut calls = [(); 2].map(|()| submit(&inner, OTHER, &options(), || ()));
                assert_eq!(calls[1].wait_timeout(ms(300)), None);
                assert_eq!(their.now().since(began), ms(300));
                let sleeps = Clock::from(their.clone());
                let long = move || sleeps.sleep(ms(5000));
                let late = submit(&inner, OTHER, &options().deadline(ms(3000)), long);
                let error = late.wait().unwrap_err();
                assert_eq!(error.kind, LaneErrorKind::Unanswered);
                assert_eq!(their.now().since(began), ms(3300));
            });
            outer.wait().unwrap();
        });
    }
}

#[test]
fn a_caller_with_an_answer_is_active_at_once() {
    for _ in 0..200 {
        within_reason(|| {
            let clock = ManualClock::auto_advancing();
            let lanes = two_lanes(&clock, |config| config);
            let (inner, their) = (Arc::clone(&lanes), clock.clone());
            let outer = submit(&lanes, WRITE, &options(), move || {
                let began = their.now();
                let calls = [(); 2].map(|()| submit(&inner, OTHER, &options(), || ()));
                let [first, second] = calls;
                first.wait().unwrap();
                // The second waits for a second, and only the test's thread is active.
                assert_eq!(their.now(), began);
                second.wait().unwrap();
            });
            outer.wait().unwrap();
        });
    }
}

/// Returns limits of one quote call a second, and no others.
#[cfg(feature = "mock")]
fn one_quote_a_second() -> Limits {
    use lanekeeper::broker::lanes;

    lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .lane(lanes::QUOTE, Quota::per_second(1))
        .budget(lanes::ORDERS, Quota::unlimited())
}

/// The fetcher of a cache participates in the clock: while it works, time stands still.
#[cfg(feature = "mock")]
#[test]
fn the_clock_does_not_advance_past_a_fetch_to_the_deadline_of_its_waiter() {
    use lanekeeper::broker::{Broker, BrokerProxy, MockBroker, Quote};
    use lanekeeper::cache::GetOptions;
    use lanekeeper::{Instrument, QuoteCache};

    let clock = ManualClock::auto_advancing();
    let mut mock = MockBroker::new();
    mock.expect_quotes().returning(|instruments| {
        // Real time, in which the waiter goes to sleep: no clock of ours decides when it does.
        std::thread::sleep(ms(50));
        Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
    });
    let within = Duration::from_secs(1);
    let cache = QuoteCache::builder(mock).clock(clock.clone()).build();
    let cache = cache.with_options(GetOptions::new().deadline(within));
    let broker = BrokerProxy::builder(cache).limits(one_quote_a_second()).clock(clock.clone());
    let broker = broker.build().unwrap();
    let before = clock.now();
    let quotes = broker.quotes(&[Instrument::new("NSE", "INFY")]).unwrap();
    assert_eq!(quotes.rows.len(), 1);
    assert!(clock.now().since(before) < within);
}

/// The worker of one lane waits for the fetcher of a cache, and that for another lane, which waits for its permit.
#[cfg(feature = "mock")]
#[test]
fn a_call_that_waits_for_a_cache_in_front_of_a_lane_does_not_stop_time() {
    use lanekeeper::broker::{Broker, BrokerProxy, MockBroker, Quote};
    use lanekeeper::{Instrument, QuoteCache};

    within_reason(|| {
        let clock = ManualClock::auto_advancing();
        let mut mock = MockBroker::new();
        mock.expect_quotes().returning(|instruments| {
            Ok(instruments.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
        });
        let inner = BrokerProxy::builder(mock).limits(one_quote_a_second()).clock(clock.clone());
        let cache = QuoteCache::builder(inner.build().unwrap()).clock(clock.clone()).build();
        let (began, fetched) = (clock.now(), cache.clone());
        let outer = two_lanes(&clock, |config| config);
        let call = submit(&outer, WRITE, &options(), move || {
            for symbol in ["A", "B", "C"] {
                fetched.quote(&Instrument::new("NSE", symbol)).unwrap();
            }
        });
        call.wait().unwrap();
        assert_eq!((clock.now().since(began), cache.stats().batches), (ms(2000), 3));
    });
}
