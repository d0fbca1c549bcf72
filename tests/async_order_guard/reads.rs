//! Reads of the order book that several tasks share, of which one polls.

use std::task::Poll;
use std::time::Duration;

use lanekeeper::ManualClock;
use lanekeeper::broker::{AsyncBroker as _, BrokerError, LookupResult, OrderId};
use lanekeeper::order_guard::AsyncOrderGuard;

use super::dropped::place;
use super::held::{Gate, Held};
use super::shaky::{Fate, SETTLE, order};
use super::support::lanes::until;
use super::support::tasks::Task;

/// Places `count` orders whose answers are lost. The first one leads a read that does not end, and the others wait for it.
fn waiting(
    broker: &Held,
    guard: &AsyncOrderGuard<Held>,
    count: usize,
) -> Vec<Task<Result<OrderId, BrokerError>>> {
    broker.close(Gate::Read);
    broker.shaky.fates(vec![Fate::LostAfter(Duration::ZERO); count]);
    let tasks = (1..=count).map(|number| {
        let mut task = place(guard, order(number));
        assert!(task.poll().is_pending());
        task
    });
    tasks.collect()
}

/// A guard whose clock stands still, unlike that of its broker.
fn guard_with_clock(broker: &Held) -> (AsyncOrderGuard<Held>, ManualClock) {
    let clock = ManualClock::new();
    (broker.guarded().clock(clock.clone()).build().unwrap(), clock)
}

#[test]
fn a_read_whose_leader_is_dropped_is_made_by_another_task() {
    let broker = Held::echoed();
    let (guard, _clock) = guard_with_clock(&broker);
    let mut tasks = waiting(&broker, &guard, 4);
    assert_eq!(broker.shaky.state().reads, 1);
    drop(tasks.remove(0));
    // One that was woken to lead, and is dropped before it is polled.
    assert!(tasks.iter().all(Task::is_woken));
    drop(tasks.remove(0));
    broker.open(Gate::Read);
    for (mut task, id) in tasks.into_iter().zip(["000003", "000004"]) {
        assert_eq!(task.run(), Ok(OrderId::new(id)));
    }
    assert_eq!(broker.placed_and_reads(), (4, 2));
}

/// The leader lives, and its executor does not poll it.
#[test]
fn a_read_whose_leader_is_not_polled_holds_no_other_task_up() {
    let broker = Held::echoed();
    let (guard, clock) = guard_with_clock(&broker);
    let tasks = waiting(&broker, &guard, 3);
    broker.open(Gate::Read);
    let mut tasks = tasks.into_iter();
    let stuck = tasks.next();
    let mut others: Vec<_> = tasks.collect();
    assert!(others.iter().all(|task| !task.is_woken()), "the read may still be under way");
    clock.advance(SETTLE);
    // One of them reads alone, and both have its result.
    for (task, id) in others.iter_mut().zip(["000002", "000003"]) {
        assert_eq!(task.poll_once_woken(), Poll::Ready(Ok(OrderId::new(id))));
    }
    assert_eq!(broker.shaky.state().reads, 2);
    assert_eq!(stuck.map(|mut task| task.run()), Some(Ok(OrderId::new("000001"))));
}

#[test]
fn a_task_that_waits_for_a_hung_read_leaves_at_its_deadline() {
    let broker = Held::echoed();
    let (guard, clock) = guard_with_clock(&broker);
    let mut tasks = waiting(&broker, &guard, 1);
    let hasty = guard.clone().max_search_wait(Duration::from_secs(1));
    broker.shaky.fates([Fate::LostAfter(Duration::ZERO)]);
    let mut hasty = place(&hasty, order(2));
    assert!(hasty.poll().is_pending());
    clock.advance(Duration::from_secs(1));
    let Err(BrokerError::OutcomeUnknown(detail)) = hasty.run() else { panic!() };
    assert_eq!(detail.lookup.unwrap().result, LookupResult::Unreadable);
    assert!(tasks[0].poll().is_pending(), "the other one waits for its own read");
    assert_eq!(guard.stats().pending, 1);
}

/// An order with a tag of its caller waits for the first read of the day, and an exit does not.
#[test]
fn an_exit_waits_for_no_read() {
    let broker = Held::echoed();
    let (guard, _clock) = guard_with_clock(&broker);
    broker.close(Gate::Read);
    let mut leads = place(&guard, order(1).tag("one"));
    let mut waits = place(&guard, order(2).tag("two"));
    assert!(leads.poll().is_pending() && waits.poll().is_pending());
    assert_eq!(broker.shaky.state().placed, 0);
    let exits = guard.for_exits(broker.clone());
    let answer = place(&exits, order(3).tag("three")).poll();
    assert_eq!(answer, Poll::Ready(Ok(OrderId::new("000001"))));
}

/// The clock stands still: the pause after the first read ends by the update or never.
#[test]
fn an_update_wakes_the_task_that_searches_for_its_order() {
    let broker = Held::echoed();
    let (guard, _clock) = guard_with_clock(&broker);
    broker.shaky.fates([Fate::LostAfter(Duration::from_secs(3600)); 2]);
    let [mut one, mut other] = [1, 2].map(|number| place(&guard, order(number)));
    assert!(one.poll().is_pending() && other.poll().is_pending());
    let landed = broker.shaky.state().ledger[0].1.clone();
    guard.order_update(&landed);
    assert!(one.is_woken());
    assert_eq!(one.run(), Ok(OrderId::new("000001")));
    assert_eq!(broker.placed_and_reads(), (2, 2));
    assert!(other.poll().is_pending());
}

/// A task that is woken by an update, and is not polled, holds up an auto-advancing clock.
#[test]
fn a_task_pauses_for_as_long_as_a_thread_does() {
    let broker = Held::echoed();
    let guard = broker.guard();
    broker.shaky.fates([Fate::LostBefore]);
    let began = broker.shaky.clock.now();
    let mut task = place(&guard, order(1));
    assert!(task.poll().is_pending());
    until(|| task.is_woken());
    let first_pause = broker.shaky.clock.now().since(began);
    assert!(first_pause >= Duration::from_millis(250), "{first_pause:?}");
    assert!(
        first_pause < Duration::from_secs(1),
        "it is {first_pause:?} before the task is polled"
    );
    let reader = guard.clone();
    let mut reads = Task::new(async move { reader.orders().await });
    assert!(reads.poll().is_ready());
    assert!(matches!(task.run(), Err(BrokerError::Absent(_))));
}
