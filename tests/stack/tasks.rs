//! The stack of an asynchronous adapter: what its builder puts together, and its handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::broker::{AsyncBrokerProxyBuilder, ImmediateBroker};
use lanekeeper::lane::{LaneConfig, Shutdown};
use lanekeeper::order_guard::RecoveredOutcome;
use lanekeeper::quota::Quota;
use lanekeeper::{
    AsyncBroker, AsyncBrokerProxy, AsyncStack, Broker, CallOptions, Instrument, ManualClock,
    OrderId, Sent, StackBuildError,
};

use super::scripted::Scripted;
use super::shaky::{Fate, SETTLE, Shaky, lost, order};
use super::support::tasks::Task;

const SECOND: Duration = Duration::from_secs(1);

type TaskStack = AsyncStack<ImmediateBroker<Scripted>>;

fn proxy(
    broker: &Scripted,
    transactional: impl Into<LaneConfig>,
) -> AsyncBrokerProxyBuilder<ImmediateBroker<Scripted>> {
    AsyncBrokerProxy::builder(ImmediateBroker(broker.clone()))
        .transactional(transactional)
        .quote(Quota::unlimited())
        .historical(Quota::unlimited())
        .orders(Quota::unlimited())
        .clock(broker.inner.clock.clone())
}

fn plain(broker: &Scripted) -> TaskStack {
    proxy(broker, Quota::unlimited())
        .quote_ttl(5 * SECOND)
        .order_guard(|guard| guard.settle_time(SETTLE))
        .build()
        .unwrap()
}

fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    Task::new(future).run_now()
}

/// Time stands still: the lookup is queued as an urgent call, ahead of the reads of others.
#[test]
fn the_lookup_of_a_lost_order_is_urgent() {
    let mut broker = Scripted::new(|broker, order| broker.place_order(order).and(Err(lost())));
    broker.inner.clock = ManualClock::new();
    let stack = proxy(&broker, Quota::per_minute(1)).order_guard(|guard| guard).build().unwrap();
    let queued = || stack.status().proxy.lanes[0].queued_by_priority.clone();
    let (placing, reading) = (stack.clone(), stack.clone());
    let _placement = Task::waiting(async move { placing.place_order(&order(1)).await });
    let _read = Task::waiting(async move { reading.positions().await });
    assert_eq!((queued().get(&1), queued().values().sum::<usize>()), (Some(&1), 2));
}

/// Without the lanes' clock the guard would wait for the settle time in real time.
#[test]
fn the_guard_has_the_clock_of_the_lanes() {
    let broker = Scripted::new(|_, _| Err(lost()));
    let stack = plain(&broker);
    let began = broker.inner.clock.now();
    let error = run(async move { stack.place_order(&order(1)).await }).unwrap_err();
    assert!(error.absence().is_some(), "{error}");
    assert!(broker.inner.clock.now().since(began) >= SETTLE);
}

/// The next read could be sent in a minute. The caller does not wait for it.
#[test]
fn a_lookup_ends_at_its_deadline() {
    let broker = Scripted::new(|_, _| Err(lost()));
    let stack = proxy(&broker, Quota::per_minute(1)).order_guard(|guard| guard);
    let stack = stack.lookup_deadline(SECOND).build().unwrap().max_search_wait(Duration::ZERO);
    let began = broker.inner.clock.now();
    run(async move { stack.place_order(&order(1)).await }).unwrap_err();
    let took = broker.inner.clock.now().since(began);
    assert!(took < 5 * SECOND, "{took:?}");
}

#[test]
fn handles_share_guard_cache_and_lanes() {
    let broker = Scripted::new(Shaky::place_order);
    let stack = plain(&broker);
    let alpha = stack.with(CallOptions::new().user("alpha"));

    // The guard: an order of one handle is found through the other.
    broker.inner.fates([Fate::LostAfter(SECOND)]);
    let hasty = alpha.clone().max_search_wait(Duration::ZERO);
    run(async move { hasty.place_order(&order(1).tag("mine")).await }).unwrap_err();
    let other = stack.clone();
    let found = run(async move { other.recover_one("mine").await }).unwrap();
    assert_eq!(found.outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
    let all = stack.clone();
    assert_eq!(run(async move { all.recover().await }), []);
    assert_eq!((stack.order_stats().pending, stack.status().orders), (0, alpha.order_stats()));

    // The cache: one request for both.
    for broker in [alpha.clone(), stack.clone()] {
        let _ = run(async move { broker.ltp(&Instrument::new("NSE", "INFY")).await });
    }
    let stats = stack.quote_stats().unwrap();
    assert_eq!((stats.batches, stack.status().quotes), (1, alpha.quote_stats()));

    // The lanes.
    let exits = stack.for_exits();
    alpha.shutdown(Shutdown::Now);
    let cancelled = run(async move { exits.cancel_order(&OrderId::new("000001")).await });
    let error = cancelled.unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error}");
}

/// The options of a handle reach every layer, and its handle for exits keeps them.
#[test]
fn options_reach_the_lanes_and_are_kept_by_exits() {
    let broker = Scripted::new(Shaky::place_order);
    let lane = LaneConfig::new(Quota::per_minute(1));
    let stack = proxy(&broker, lane).order_guard(|guard| guard).build().unwrap();
    assert!(stack.cache().is_none() && stack.quote_stats().is_none());
    let used = stack.clone();
    run(async move { used.positions().await }).unwrap();
    let options = CallOptions::new().user("alpha").deadline(SECOND);
    let hasty = stack.with(options.clone());
    let error = run(async move { hasty.positions().await }).unwrap_err();
    assert!(error.to_string().contains("it could go in about"), "{error}");

    let urgent = format!("priority: {:?}", Some(lanekeeper::Priority::URGENT));
    for exits in [stack.with(options.clone()).for_exits(), stack.for_exits().with(options)] {
        let shown = format!("{exits:?}");
        for part in [urgent.as_str(), "alpha", "deadline: Some(1s)", "is_for_exits: true"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
    }
}

/// A dropped placement is pending, and the same stack finds it.
#[test]
fn a_dropped_placement_is_recovered() {
    let broker = Scripted::new(|broker, order| broker.place_order(order).and(Err(lost())));
    let late = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&late);
    let stack = proxy(&broker, Quota::unlimited()).quote_ttl(SECOND).order_guard(|guard| {
        guard.settle_time(SETTLE).on_turned_up(move |_| {
            let _ = counted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let stack = stack.build().unwrap();
    // It searches for its order, which the first read does not show.
    broker.inner.blind(1, &lost());
    let placing = stack.clone();
    drop(Task::waiting(async move { placing.place_order(&order(1)).await }));
    assert_eq!((broker.inner.state().placed, stack.order_stats().pending), (1, 1));
    let recovering = stack.clone();
    let found = run(async move { recovering.recover().await });
    assert_eq!(found[0].outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
    assert_eq!((broker.inner.state().placed, stack.order_stats().pending), (1, 0));
}

#[test]
fn an_error_names_the_layer() {
    let broker = Scripted::new(Shaky::place_order);
    let stack = AsyncBrokerProxy::builder(ImmediateBroker(broker.clone())).order_guard(|it| it);
    let error = stack.build().unwrap_err();
    assert!(matches!(error, StackBuildError::Lanes(_)), "{error:?}");
    let stack = proxy(&broker, Quota::unlimited()).order_guard(|it| it.settle_time(Duration::ZERO));
    let error = stack.build().unwrap_err();
    assert!(matches!(error, StackBuildError::OrderGuard(_)), "{error:?}");
}

/// An order that the journal cannot record is not sent, and an exit is.
#[cfg(feature = "journal")]
#[test]
fn an_exit_is_sent_although_the_journal_cannot_be_written() {
    use std::io::Write as _;

    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("orders.journal");
    let broker = Scripted::new(Shaky::place_order);
    let stack = proxy(&broker, Quota::unlimited()).order_guard(|guard| guard.journal(&journal));
    let stack = stack.build().unwrap();
    let place = |broker: TaskStack, number: usize| {
        run(async move { broker.place_order(&order(number)).await })
    };
    place(stack.clone(), 1).unwrap();
    // Another program wrote to the file.
    let mut file = std::fs::OpenOptions::new().append(true).open(&journal).unwrap();
    file.write_all(b"foreign\n").unwrap();
    assert_eq!(place(stack.clone(), 2).unwrap_err().was_sent(), Sent::No);
    place(stack.for_exits().with(CallOptions::new().user("alpha")), 3).unwrap();
}

/// A file makes the same stack as for threads.
#[cfg(all(feature = "config", feature = "paper"))]
#[test]
fn a_file_sets_the_stack() {
    use lanekeeper::{Config, PaperBroker};

    let config = Config::from_toml(
        r#"
        preset = "kite"
        [cache]
        ttl = "2s"
        request_deadline = "9s"
        [guard]
        settle_time = "30s"
        "#,
    );
    let paper = ImmediateBroker(PaperBroker::builder().build().unwrap());
    let stack = AsyncBrokerProxy::builder(paper).stack(&config.unwrap());
    let shown = format!("{stack:?}");
    for set in ["ttl: 2s", "request_deadline: Some(9s)", "settle_time: 30s"] {
        assert!(shown.contains(set), "{set} is not in {shown}");
    }
    assert!(stack.build().unwrap().cache().is_some());
}
