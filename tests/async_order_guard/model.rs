//! Days of orders whose answers are lost, whose book shows them late, and whose futures are dropped at any poll.
//!
//! In the end each order at the broker is known: to its caller, to the hook, or to `recover`. And no request is there twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::broker::{AsyncBroker, BrokerError, Order, OrderId, OrderStatus, OrderTags};
use lanekeeper::order_guard::{AsyncOrderGuard, RecoveredOrder, RecoveredOutcome};
use lanekeeper::rust_decimal::Decimal;

use super::dropped::recover;
use super::held::Held;
use super::shaky::{DUPLICATE, Fate, SETTLE, order, transient};
use super::support::lanes::until;
use super::support::tasks::Task;

const ORDERS: usize = 30;
/// How many tasks are there at a time.
const CROWD: usize = 6;

type Learned = Arc<Mutex<Vec<RecoveredOrder>>>;

/// What a task has done.
enum Done {
    Order(usize, Result<OrderId, BrokerError>),
    Orders,
    Recovered(Vec<RecoveredOrder>),
}

/// A task, and after how many polls it is dropped.
struct Running {
    task: Task<Done>,
    polls_left: Option<u32>,
}

fn fates(rng: &mut Rng) -> Vec<Fate> {
    let fate = |rng: &mut Rng| match rng.u32(0..10) {
        0 => Fate::LostBefore,
        1 => Fate::LostAfter(Duration::ZERO),
        2 | 3 => Fate::LostAfter(SETTLE.mul_f64(rng.f64())),
        // Later than is assumed: reported as absent, and then by the hook.
        4 => Fate::LostAfter(SETTLE.mul_f64(1.0 + rng.f64() * 3.0)),
        5 => [Fate::LostRejected, Fate::Throttled, Fate::NotSent, Fate::Rejected][rng.usize(0..4)],
        _ => Fate::Done,
    };
    (0..ORDERS * 2).map(|_| fate(rng)).collect()
}

/// Returns the next task: an order, a read, or a recovery.
fn next_task(guard: &AsyncOrderGuard<Held>, number: usize, rng: &mut Rng) -> Running {
    let guard = match rng.u32(0..4) {
        0 => guard.clone().max_search_wait(SETTLE.mul_f64(rng.f64())),
        _ => guard.clone(),
    };
    let (kind, has_tag) = (rng.u32(0..10), rng.bool());
    let task = Task::new(async move {
        match kind {
            0 => guard.orders().await.map_or(Done::Orders, |_| Done::Orders),
            1 => Done::Recovered(guard.recover().await),
            _ => {
                let request = match has_tag {
                    true => order(number).tag(format!("mine{number}")),
                    false => order(number),
                };
                Done::Order(number, guard.place_order(&request).await)
            }
        }
    });
    let polls_left = rng.bool().then(|| rng.u32(0..25));
    Running { task, polls_left }
}

/// Runs a day. Returns the answers to the callers, and what the hook and `recover` told.
fn day(
    broker: &Held,
    rng: &mut Rng,
) -> (HashMap<usize, Result<OrderId, BrokerError>>, Vec<RecoveredOrder>) {
    let told = Learned::default();
    let late = Arc::clone(&told);
    let guard = broker.guarded().on_turned_up(move |it| late.lock().unwrap().push(it.clone()));
    let guard = guard.build().unwrap();
    let mut answers = HashMap::new();
    let mut running: Vec<Running> = Vec::new();
    let mut number = 0;
    while number < ORDERS || !running.is_empty() {
        if number < ORDERS && running.len() < CROWD && rng.bool() {
            number += 1;
            running.push(next_task(&guard, number, rng));
            let last = running.len() - 1;
            step(&mut running, last, &mut answers, &told);
            continue;
        }
        if running.is_empty() {
            continue;
        }
        until(|| running.iter().any(|it| it.task.is_woken()));
        let woken: Vec<usize> =
            (0..running.len()).filter(|it| running[*it].task.is_woken()).collect();
        step(&mut running, woken[rng.usize(0..woken.len())], &mut answers, &told);
    }
    broker.shaky.clock.advance(SETTLE * 10);
    broker.shaky.state().blind.clear();
    let recovered = recover(&guard);
    told.lock().unwrap().extend(recovered);
    // What appeared after it was found absent is in a book that is read later.
    let reader = guard.clone();
    assert!(Task::new(async move { reader.orders().await }).run_now().is_ok());
    let told = std::mem::take(&mut *told.lock().unwrap());
    (answers, told)
}

/// Polls one task, or drops it.
fn step(
    running: &mut Vec<Running>,
    index: usize,
    answers: &mut HashMap<usize, Result<OrderId, BrokerError>>,
    told: &Learned,
) {
    let it = &mut running[index];
    if it.polls_left == Some(0) {
        drop(running.swap_remove(index));
        return;
    }
    it.polls_left = it.polls_left.map(|left| left - 1);
    let Poll::Ready(done) = it.task.poll() else { return };
    drop(running.swap_remove(index));
    match done {
        Done::Order(number, answer) => drop(answers.insert(number, answer)),
        Done::Recovered(orders) => told.lock().unwrap().extend(orders),
        Done::Orders => {}
    }
}

fn check(
    ledger: &[Order],
    answers: &HashMap<usize, Result<OrderId, BrokerError>>,
    told: &[RecoveredOrder],
) {
    let mut seen = HashMap::new();
    for order in ledger {
        let number = usize::try_from(order.quantity).unwrap();
        let is_live = order.status != OrderStatus::Rejected;
        assert!(seen.insert(number, &order.id).is_none(), "two orders of {number}");
        let of_it = told.iter().filter(|it| it.order.quantity == Decimal::from(number));
        let is_told = of_it.clone().any(|it| match &it.outcome {
            RecoveredOutcome::Placed(id) => is_live && *id == order.id,
            RecoveredOutcome::Rejected(_) => !is_live,
            _ => false,
        });
        let is_answered = match answers.get(&number) {
            Some(Ok(id)) => is_live && *id == order.id,
            Some(Err(BrokerError::Rejected(_))) => !is_live,
            _ => false,
        };
        assert!(
            is_told || is_answered,
            "{order:?}: {:?} {:?}",
            answers.get(&number),
            of_it.collect::<Vec<_>>()
        );
    }
    // What is said to be there is there.
    for (number, answer) in answers {
        let id = seen.get(number).copied();
        assert!(
            answer.as_ref().is_ok_and(|it| Some(it) == id) || answer.is_err(),
            "{number}: {answer:?}"
        );
    }
    for it in told {
        let number = usize::try_from(it.order.quantity).unwrap();
        if let RecoveredOutcome::Placed(id) = &it.outcome {
            assert_eq!(seen.get(&number), Some(&id), "{it:?}");
        }
    }
}

#[test]
fn no_order_is_sent_twice_or_forgotten_whenever_its_future_is_dropped() {
    let (mut dropped, mut lost) = (0, 0);
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let tags = match rng.bool() {
            true => OrderTags::echoed(20),
            false => OrderTags::unique(48, DUPLICATE),
        };
        let broker = Held::new(tags);
        broker.stop_at_random(seed);
        broker.shaky.fates(fates(&mut rng));
        let blind = (0..60).map(|_| (rng.u32(0..5) == 0).then(transient)).collect::<Vec<_>>();
        broker.shaky.state().blind.extend(blind);
        let (answers, told) = day(&broker, &mut rng);
        let ledger = broker.shaky.ledger();
        check(&ledger, &answers, &told);
        dropped += ledger
            .iter()
            .filter(|it| !answers.contains_key(&usize::try_from(it.quantity).unwrap()))
            .count();
        lost += answers.values().filter(|answer| answer.is_err()).count();
    }
    // The drops and the losses were there.
    assert!(dropped > 200 && lost > 200, "{dropped} {lost}");
}
