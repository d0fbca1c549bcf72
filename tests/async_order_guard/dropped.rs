//! Futures that are dropped: nothing is sent again, and nothing that was sent is forgotten.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    AsyncBroker, AsyncBrokerProxy, BrokerError, OrderId, OrderRequest, OrderTags, lanes,
};
use lanekeeper::order_guard::{AsyncOrderGuard, RecoveredOrder, RecoveredOutcome};
use lanekeeper::{Broker as _, Limits, Quota};

use super::held::{Gate, Held};
use super::shaky::{DUPLICATE, Fate, SETTLE, Shaky, order, to_price, transient};
use super::support::tasks::Task;

type Answer = Result<OrderId, BrokerError>;

/// Returns the task of an order that was not polled yet.
pub(crate) fn place(guard: &AsyncOrderGuard<Held>, order: OrderRequest) -> Task<Answer> {
    let guard = guard.clone();
    Task::new(async move { guard.place_order(&order).await })
}

/// Runs a future to its end.
pub(crate) fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    Task::new(future).run_now()
}

pub(crate) fn recover(guard: &AsyncOrderGuard<Held>) -> Vec<RecoveredOrder> {
    let guard = guard.clone();
    run(async move { guard.recover().await })
}

fn outcome(guard: &AsyncOrderGuard<Held>) -> RecoveredOutcome {
    let mut recovered = recover(guard);
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    recovered.remove(0).outcome
}

fn placed(id: &str) -> RecoveredOutcome {
    RecoveredOutcome::Placed(OrderId::new(id))
}

fn send<T: Send>(future: T) -> T {
    future
}

#[test]
fn futures_may_move_to_another_thread_and_a_dyn_may_be_guarded() {
    let broker: Arc<dyn AsyncBroker> = Arc::new(Held::echoed());
    let guard = AsyncOrderGuard::builder(broker).build().unwrap();
    drop((send(guard.recover()), send(guard.recover_one("a")), send(guard.place_order(&order(1)))));
    let strategy: Arc<dyn AsyncBroker> = Arc::new(guard);
    assert_eq!(
        run(async move { strategy.place_order(&order(1)).await }),
        Ok(OrderId::new("000001"))
    );
}

#[test]
fn an_order_whose_future_was_never_polled_is_not_sent_and_its_tag_is_free() {
    let broker = Held::echoed();
    let guard = broker.guard();
    drop(place(&guard, order(1).tag("mine")));
    assert_eq!((recover(&guard), broker.placed_and_reads()), (vec![], (0, 0)));
    assert!(
        run({
            let guard = guard.clone();
            async move { guard.place_order(&order(1).tag("mine")).await }
        })
        .is_ok()
    );
}

#[test]
fn an_order_that_reads_the_book_before_it_is_sent_leaves_its_tag_free() {
    let broker = Held::echoed();
    let guard = broker.guard();
    broker.close(Gate::Read);
    let mut task = place(&guard, order(1).tag("mine"));
    assert!(task.poll().is_pending());
    drop(task);
    broker.open(Gate::Read);
    assert_eq!((recover(&guard), broker.placed_and_reads()), (vec![], (0, 1)));
    let mut again = place(&guard, order(1).tag("mine"));
    assert!(again.poll().is_ready());
    // It was not read for this one before.
    assert_eq!(broker.placed_and_reads(), (1, 2));
}

/// Whether it left the lane is not known to the guard.
#[test]
fn an_order_that_waits_to_be_sent_is_found_absent() {
    let broker = Held::echoed();
    let guard = broker.guard();
    broker.close(Gate::BeforeWrite);
    let mut task = place(&guard, order(1).tag("mine"));
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(guard.stats().pending, 1);
    // A second order of the tag could be mistaken for the first.
    let mut again = place(&guard, order(1).tag("mine"));
    assert!(matches!(again.run_now(), Err(BrokerError::NotSent(_))));
    let before = broker.shaky.clock.now();
    assert!(matches!(outcome(&guard), RecoveredOutcome::Absent(_)));
    assert!(broker.shaky.clock.now().since(before) >= SETTLE, "it counts from the drop");
    assert_eq!((broker.shaky.ledger().len(), broker.shaky.state().placed), (0, 0));
}

#[test]
fn an_order_under_way_is_recovered_or_reported_and_never_sent_again() {
    for is_reported in [true, false] {
        let broker = Held::echoed();
        let reported = Arc::new(Mutex::new(Vec::new()));
        let late = Arc::clone(&reported);
        let mut builder = broker.guarded();
        if is_reported {
            builder = builder.on_turned_up(move |it| late.lock().unwrap().push(it.outcome.clone()));
        }
        let guard = builder.build().unwrap();
        broker.close(Gate::AfterWrite);
        let mut task = place(&guard, order(1));
        assert!(task.poll().is_pending());
        assert_eq!((guard.stats().pending, recover(&guard)), (0, vec![]), "its caller waits");
        drop(task);
        assert_eq!((guard.stats().pending, guard.stats().unknown), (1, 0));
        if is_reported {
            let reader = guard.clone();
            run(async move { reader.orders().await }).unwrap();
            assert_eq!(*reported.lock().unwrap(), [placed("000001")]);
        } else {
            assert_eq!(outcome(&guard), placed("000001"));
        }
        assert_eq!((recover(&guard), guard.stats().pending), (vec![], 0));
        assert_eq!(broker.shaky.state().placed, 1);
    }
}

#[test]
fn a_search_that_is_dropped_goes_on_where_it_ended() {
    let broker = Held::echoed();
    let guard = broker.guard();
    broker.shaky.fates([Fate::LostBefore]);
    let mut task = place(&guard, order(1));
    assert!(task.poll().is_pending(), "it pauses after the first read");
    while broker.shaky.state().reads < 9 {
        assert!(task.poll_once_woken().is_pending());
    }
    drop(task);
    let (reads, dropped_at) = (broker.shaky.state().reads, broker.shaky.clock.now());
    let RecoveredOutcome::Absent(absence) = outcome(&guard) else { panic!() };
    assert_eq!(absence.reads as usize, broker.shaky.state().reads);
    assert!(absence.reads as usize > reads, "{absence}");
    assert!(broker.shaky.clock.now().since(dropped_at) < SETTLE / 2);
    assert_eq!(broker.shaky.state().placed, 1);
}

/// It was sent twice, so one that is rejected may be the second.
#[test]
fn an_order_that_is_dropped_as_it_is_sent_again_is_recovered() {
    for is_sent_again in [true, false] {
        let broker = Held::new(OrderTags::unique(48, DUPLICATE));
        let guard = broker.guard();
        broker.shaky.fates([Fate::LostAfter(Duration::from_secs(3))]);
        broker.close(Gate::AfterWrite);
        let mut task = place(&guard, order(1));
        assert!(task.poll().is_pending());
        if !is_sent_again {
            broker.close(Gate::BeforeWrite);
        }
        // The gate lets the first call through, and is closed again before the second one comes to it.
        broker.let_through(Gate::AfterWrite);
        assert!(task.poll().is_pending());
        drop(task);
        assert_eq!(broker.shaky.state().placed, if is_sent_again { 2 } else { 1 });
        assert_eq!(outcome(&guard), placed("000001"));
        assert_eq!(broker.shaky.ledger().len(), 1);
    }
}

#[test]
fn a_change_and_a_cancellation_are_not_sent_again_once_they_are_dropped() {
    let broker = Held::echoed();
    let guard = broker.guard();
    let id = broker.shaky.place_order(&order(1)).unwrap();
    broker.shaky.fates([Fate::LostBefore; 2]);
    let (changing, of) = (guard.clone(), id.clone());
    let mut change = Task::new(async move { changing.modify_order(&of, &to_price(7)).await });
    assert!(change.poll().is_pending(), "it looks for its outcome");
    drop(change);
    broker.close(Gate::AfterWrite);
    let mut cancel = Task::new(async move { guard.cancel_order(&id).await });
    assert!(cancel.poll().is_pending());
    drop(cancel);
    broker.shaky.ledger();
    let state = broker.shaky.state();
    assert_eq!((state.modified, state.cancelled), (1, 1));
}

#[test]
fn a_recovery_that_is_dropped_leaves_its_orders_pending() {
    let broker = Held::echoed();
    let guard = broker.guard();
    broker.shaky.fates([Fate::LostAfter(Duration::ZERO), Fate::LostBefore]);
    for number in 1..=2 {
        broker.shaky.blind(20, &transient());
        assert!(place(&guard, order(number)).run_now().is_err());
        broker.shaky.state().blind.clear();
    }
    assert_eq!(guard.stats().pending, 2);
    let recovering = guard.clone();
    let mut recovery = Task::new(async move { recovering.recover().await });
    assert!(recovery.poll().is_pending(), "one of the two is not found at once");
    assert!(recover(&guard).is_empty(), "both are searched for");
    drop(recovery);
    assert_eq!(guard.stats().pending, 2, "no outcome was reported");
    let outcomes: Vec<_> = recover(&guard).into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.contains(&placed("000001")), "{outcomes:?}");
    assert!(outcomes.iter().any(|it| matches!(it, RecoveredOutcome::Absent(_))), "{outcomes:?}");
}

#[test]
fn the_next_process_finds_an_order_that_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("orders.journal");
    let broker = Held::echoed();
    {
        let guard = broker.guarded().journal(&journal).build().unwrap();
        drop(place(&guard, order(1)));
        broker.close(Gate::BeforeWrite);
        let mut queued = place(&guard, order(2));
        assert!(queued.poll().is_pending());
        broker.open(Gate::BeforeWrite);
        broker.close(Gate::AfterWrite);
        let mut sent = place(&guard, order(3));
        assert!(sent.poll().is_pending());
    }
    broker.open(Gate::AfterWrite);
    let next = broker.guarded().journal(&journal).build().unwrap();
    let recovered = recover(&next).into_iter().map(|it| (it.order.quantity, it.outcome));
    let recovered: Vec<_> = recovered.collect();
    assert_eq!(recovered.len(), 2, "{recovered:?}");
    for (quantity, outcome) in recovered {
        match outcome {
            RecoveredOutcome::Absent(_) => assert_eq!(quantity, 2.into()),
            RecoveredOutcome::Placed(_) => assert_eq!(quantity, 3.into()),
            other => panic!("{other:?}"),
        }
    }
}

/// The lane takes the call back, so it is never sent.
#[test]
fn an_order_that_is_dropped_in_its_lane_is_not_sent() {
    let shaky = Shaky::new(OrderTags::echoed(20));
    let one_a_minute = Quota::per_minute(1);
    let limits = lanes::ALL
        .into_iter()
        .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::unlimited()))
        .budget(lanes::ORDERS, one_a_minute);
    let clock = lanekeeper::ManualClock::new();
    let adapter = lanekeeper::ImmediateBroker(shaky.clone());
    let proxy = AsyncBrokerProxy::builder(adapter).limits(limits).clock(clock.clone());
    let guard = AsyncOrderGuard::builder(proxy.build().unwrap()).clock(clock.clone());
    let guard = guard.build().unwrap();
    let place = |number| {
        let guard = guard.clone();
        Task::new(async move { guard.place_order(&order(number)).await })
    };
    assert!(place(1).run_now().is_ok());
    let mut queued = place(2);
    assert!(queued.poll().is_pending());
    drop(queued);
    clock.advance(Duration::from_secs(120));
    assert!(place(3).run_now().is_ok());
    let sent: Vec<_> = shaky.ledger().into_iter().map(|order| order.quantity).collect();
    assert_eq!(sent, [1.into(), 3.into()]);
    assert_eq!(guard.stats().pending, 1);
}
