//! What the builder puts together, in virtual time: the lookups, the clock, the handles, and the errors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, LookupResult, OrderId, lanes,
};
use lanekeeper::lane::{LaneConfig, OpenBreakerPolicy, Shutdown};
use lanekeeper::order_guard::{GuardBuildError, RecoveredOutcome};
use lanekeeper::quota::Quota;
use lanekeeper::resilience::BreakerPolicy;
use lanekeeper::{BuildError, CallOptions, ManualClock, Sent, Stack, StackBuildError, Ticket};

use super::scripted::Scripted;
use super::shaky::{Fate, SETTLE, Shaky, lost, order};
#[cfg(feature = "paper")]
use super::without_clocks;

const SECOND: Duration = Duration::from_secs(1);

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

/// Returns a stack around a broker that answers placements as `Shaky` does.
fn plain(broker: &Scripted) -> Stack<Scripted> {
    broker
        .proxy(Quota::unlimited())
        .quote_ttl(5 * SECOND)
        .order_guard(|guard| guard.settle_time(SETTLE))
        .build()
        .unwrap()
}

fn unscripted() -> Scripted {
    Scripted::new(Shaky::place_order)
}

/// The lookup is urgent: it takes the queue slot of another read, and the next permit. Time stands still but for the
/// test, so that no read is sent in the meantime.
#[test]
fn a_lost_order_is_looked_up_at_once_in_a_lane_full_of_other_reads() {
    const QUEUE: usize = 32;
    let (begun, begins) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let mut broker = Scripted::new(move |broker, order| {
        begun.send(()).unwrap();
        gone.lock().unwrap().recv().unwrap();
        broker.place_order(order).and(Err(lost()))
    });
    broker.inner.clock = ManualClock::new();
    let lane = LaneConfig::new(Quota::per_second(1)).in_flight(1).queue(QUEUE);
    let stack = broker.proxy(lane).order_guard(|guard| guard).build().unwrap();

    thread::scope(|scope| {
        let go = go; // Dropped with a panic here, which ends the placement too.
        let placed = scope.spawn(|| stack.place_order(&order(1)));
        begins.recv().unwrap();
        let submit = stack.proxy().submit();
        let mut reads: Vec<_> = (0..QUEUE).map(|_| submit.positions()).collect();
        let error = submit.positions().wait().unwrap_err();
        assert!(error.to_string().contains("32 calls wait already"), "{error}");
        go.send(()).unwrap();

        let started = Instant::now();
        let is_late = || started.elapsed() > 30 * SECOND;
        let waits_urgently = || stack.status().proxy.lanes[0].queued_by_priority.contains_key(&1);
        while !waits_urgently() && !is_late() {
            thread::yield_now();
        }
        broker.inner.clock.advance(2 * SECOND);
        while !placed.is_finished() {
            // Only if the lookup is not urgent: then this test must end too.
            if is_late() {
                broker.inner.clock.advance(60 * SECOND);
            }
            thread::yield_now();
        }
        assert_eq!(placed.join().unwrap(), Ok(OrderId::new("000001")));
        let answered = reads.iter_mut().filter_map(Ticket::try_wait).filter(Result::is_ok);
        assert_eq!(answered.count(), 0, "the lookup waited behind other reads");
        stack.shutdown(Shutdown::Now);
    });
}

/// Without the lanes' clock the guard would wait for the settle time in real time.
#[test]
fn the_guard_has_the_clock_of_the_lanes() {
    let broker = Scripted::new(|_, _| Err(lost()));
    let stack = plain(&broker);
    let began = broker.inner.clock.now();
    let error = stack.place_order(&order(1)).unwrap_err();
    assert!(error.absence().is_some(), "{error}");
    assert!(broker.inner.clock.now().since(began) >= SETTLE);
}

/// The next read could be sent in a minute. The caller does not wait for it.
#[test]
fn a_lookup_ends_at_its_deadline() {
    let broker = Scripted::new(|_, _| Err(lost()));
    let stack = broker.proxy(Quota::per_minute(1)).order_guard(|guard| guard);
    let stack = stack.lookup_deadline(SECOND).build().unwrap().max_search_wait(Duration::ZERO);
    let began = broker.inner.clock.now();
    let error = stack.place_order(&order(1)).unwrap_err();
    let lookup = error.detail().and_then(|detail| detail.lookup.clone()).unwrap();
    assert_eq!(lookup.result, LookupResult::Unreadable);
    let took = broker.inner.clock.now().since(began);
    assert!(took < 5 * SECOND, "{took:?}");
}

#[test]
fn exits_pass_an_open_breaker() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let broker = Scripted::new(move |broker, order| match down.load(Ordering::SeqCst) {
        true => Err(BrokerError::OutcomeUnknown(ErrorDetail::new("no answer"))),
        false => broker.place_order(order),
    });
    let breaker = BreakerPolicy::default().failures_in_a_row(Some(2));
    let breaker = breaker.open_for(600 * SECOND).max_open(600 * SECOND);
    let lane = LaneConfig::new(Quota::unlimited()).breaker(breaker);
    let lane = lane.when_down(OpenBreakerPolicy::Refuse);
    let stack = broker.proxy(lane).order_guard(|guard| guard.settle_time(SETTLE)).build().unwrap();

    let hasty = stack.clone().max_search_wait(Duration::ZERO);
    for number in 1..=2 {
        assert_eq!(hasty.place_order(&order(number)).unwrap_err().was_sent(), Sent::Unknown);
    }
    is_down.store(false, Ordering::SeqCst);
    let error = stack.place_order(&order(3)).unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error}");
    assert_eq!(broker.inner.state().placed, 0);
    assert_eq!(stack.for_exits().place_order(&order(4)), Ok(OrderId::new("000001")));
}

/// The options of a handle are kept by its handle for exits, and an exit is urgent whatever else is set.
#[test]
fn exits_keep_the_options_of_their_handle() {
    let broker = unscripted();
    let lane = LaneConfig::new(Quota::per_second(1)).in_flight(1);
    let stack = broker.proxy(lane).order_guard(|guard| guard).build().unwrap();
    let options = CallOptions::new().user("alpha").deadline(2 * SECOND);
    let exits = stack.with(options.clone()).for_exits();
    let shown = format!("{exits:?}");
    assert!(shown.contains("alpha") && shown.contains("deadline: Some(2s)"), "{shown}");
    let urgent = format!("priority: {:?}", Some(lanekeeper::Priority::URGENT));
    for exits in [&exits, &stack.for_exits().with(options), &exits.for_exits()] {
        let shown = format!("{exits:?}");
        assert!(shown.contains(&urgent) && shown.contains("is_for_exits: true"), "{shown}");
    }
    let shown = format!("{:?}", stack.with(CallOptions::new()));
    assert!(!shown.contains(&urgent) && shown.contains("is_for_exits: false"), "{shown}");
}

#[test]
fn handles_share_guard_cache_and_lanes() {
    let broker = unscripted();
    let stack = plain(&broker);
    let alpha = stack.with(CallOptions::new().user("alpha"));

    // The guard: an order of one handle is found through the other.
    let hasty = alpha.clone().max_search_wait(Duration::ZERO);
    broker.inner.fates([Fate::LostAfter(SECOND)]);
    let error = hasty.place_order(&order(1)).unwrap_err();
    let tag = error.detail().and_then(|it| it.lookup.clone()).and_then(|it| it.tag).unwrap();
    let found = stack.recover_one(&tag).unwrap();
    assert_eq!(found.outcome, RecoveredOutcome::Placed(OrderId::new("000001")));

    // The cache: one request for both.
    let _ = (alpha.ltp(&infy()), stack.ltp(&infy()));
    let stats = stack.quote_stats().unwrap();
    assert_eq!((stats.batches, stack.status().quotes), (1, alpha.quote_stats()));

    // The lanes.
    alpha.shutdown(Shutdown::Now);
    let error = stack.for_exits().cancel_order(&OrderId::new("000001")).unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error}");
}

/// The options of a handle reach every layer: here the lane, by the deadline, and the cache, by the age.
#[test]
fn options_reach_the_lanes_and_the_cache() {
    let broker = unscripted();
    let lane = LaneConfig::new(Quota::per_minute(1));
    for stack in [
        broker.proxy(lane.clone()).quote_ttl(60 * SECOND).order_guard(|guard| guard).build(),
        broker.proxy(lane).order_guard(|guard| guard).build(),
    ] {
        let stack = stack.unwrap();
        stack.positions().unwrap();
        let error = stack.with(CallOptions::new().deadline(SECOND)).positions().unwrap_err();
        assert!(error.to_string().contains("it could go in about"), "{error}");
        assert!(stack.positions().is_ok());

        let careful = stack.with(CallOptions::new().max_age(Duration::ZERO));
        let _ = (stack.ltp(&infy()), stack.ltp(&infy()), careful.ltp(&infy()));
        if let Some(stats) = stack.quote_stats() {
            assert_eq!((stats.batches, stats.hits), (2, 1));
        }
    }
}

#[test]
fn a_stack_without_a_cache_has_none() {
    let stack = unscripted().proxy(Quota::unlimited()).order_guard(|guard| guard).build().unwrap();
    assert!(stack.cache().is_none());
    assert_eq!((stack.quote_stats(), stack.status().quotes), (None, None));
    assert_eq!(stack.status().proxy.lanes.len(), lanes::ALL.len());
}

#[cfg(feature = "paper")]
#[test]
fn the_guard_and_the_cache_are_set_in_any_order() {
    use lanekeeper::PaperBroker;

    let paper = PaperBroker::builder().build().unwrap();
    let proxy = || BrokerProxy::builder(paper.clone());
    let settle = 7 * SECOND;
    let guard_first = proxy()
        .order_guard(|guard| guard.settle_time(settle))
        .lookup_deadline(SECOND)
        .quote_ttl(3 * SECOND)
        .configure(|cache| cache.refresh_ahead = Some(0.8))
        .request_deadline(9 * SECOND);
    let cache_first = proxy()
        .quote_ttl(3 * SECOND)
        .request_deadline(9 * SECOND)
        .configure(|cache| cache.refresh_ahead = Some(0.8))
        .order_guard(|guard| guard)
        .lookup_deadline(SECOND)
        .order_guard(|guard| guard.settle_time(settle));
    let shown = without_clocks(&guard_first);
    assert_eq!(shown, without_clocks(&cache_first));
    for set in ["ttl: 3s", "refresh_ahead: Some(0.8)", "Some(9s)", "settle_time: 7s", "Some(1s)"] {
        assert!(shown.contains(set), "{set} is not in {shown}");
    }
    assert!(guard_first.build().unwrap().cache().is_some());
}

/// The callback for late orders is called by any order book that passes through the stack.
#[test]
fn an_order_that_appears_late_is_reported() {
    let broker = Scripted::new(|_, _| Err(lost()));
    let late = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&late);
    let stack = broker.proxy(Quota::unlimited()).order_guard(|guard| {
        guard.settle_time(SETTLE).on_turned_up(move |_| {
            let _ = counted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let stack = stack.build().unwrap();
    let error = stack.place_order(&order(1)).unwrap_err();
    let tag = error.detail().and_then(|it| it.lookup.clone()).and_then(|it| it.tag).unwrap();
    broker.inner.place_order(&order(1).tag(tag)).unwrap();
    stack.orders().unwrap();
    assert_eq!(late.load(Ordering::SeqCst), 1);
}

#[test]
fn an_error_names_the_layer() {
    let broker = unscripted();
    let stack = BrokerProxy::builder(broker.clone()).quote_ttl(SECOND).order_guard(|guard| guard);
    let error = stack.build().unwrap_err();
    assert!(matches!(error, StackBuildError::Lanes(BuildError::NoQuota { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("the lanes cannot be built: lane `transactional`"), "{text}");
    assert!(text.contains("call `.transactional(LaneConfig::new(..))`"), "{text}");

    let stack = broker.proxy(Quota::unlimited()).order_guard(|it| it.settle_time(Duration::ZERO));
    let error = stack.build().unwrap_err();
    let expected = StackBuildError::OrderGuard(GuardBuildError::NoSettleTime);
    assert_eq!(format!("{error:?}"), format!("{expected:?}"));
    let text = error.to_string();
    assert!(text.starts_with("the order guard cannot be built: the settle time is zero"), "{text}");
}
