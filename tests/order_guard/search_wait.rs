//! Callers that stop waiting before the search for their order has ended.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError, LookupResult, OrderId};
use lanekeeper::order_guard::RecoveredOutcome;

use super::orders::{echoed, lookup};
use super::reads::{Hanging, hanging, pass_until_over};
use super::shaky::{Fate, SETTLE, order};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn caller_leaves_when_its_search_wait_is_over_and_the_search_goes_on_where_it_ended() {
    let broker = echoed();
    let guard = broker.guard();
    let strategy = guard.clone().max_search_wait(SECOND);
    broker.fates([Fate::LostBefore]);
    let lost = broker.clock.now();
    let lookup = lookup(strategy.place_order(&order(1)));
    assert_eq!(lookup.result, LookupResult::NotYet);
    let (took, reads) = (broker.clock.now().since(lost), broker.state().reads);
    assert!(took < SECOND * 2 && reads == 4, "{took:?} {reads}");
    let tag = lookup.tag.unwrap();
    let found = guard.recover_one(&tag).unwrap();
    let RecoveredOutcome::Absent(absence) = found.outcome else { panic!("{found:?}") };
    assert_eq!(absence.reads as usize, broker.state().reads);
    let took = broker.clock.now().since(lost);
    assert!(took >= SETTLE && took < SETTLE * 3 / 2, "{took:?}");
    assert!(guard.recover_one(&tag).is_none(), "it is answered");
    assert!(guard.recover_one("another").is_none());
}

#[test]
fn order_that_its_caller_left_is_reported_when_it_turns_up() {
    let broker = echoed();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let late = Arc::clone(&reported);
    let guard = broker.guarded().on_turned_up(move |it| late.lock().unwrap().push(it.clone()));
    let guard = guard.build().unwrap().max_search_wait(SECOND);
    broker.fates([Fate::LostAfter(SECOND * 5)]);
    let tag = lookup(guard.place_order(&order(1))).tag.unwrap();
    broker.clock.advance(SECOND * 5);
    guard.orders().unwrap();
    let reported = std::mem::take(&mut *reported.lock().unwrap());
    assert_eq!((reported.len(), &reported[0].tag), (1, &tag));
    assert_eq!(reported[0].outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
    assert!(guard.recover_one(&tag).is_none());
    assert_eq!(broker.state().placed, 1);
}

/// As a strategy may do in its own loop.
#[test]
fn without_a_search_wait_each_question_is_one_read() {
    for arrives in [true, false] {
        let broker = echoed();
        let guard = broker.guard().max_search_wait(Duration::ZERO);
        broker.fates([if arrives { Fate::LostAfter(SECOND * 7) } else { Fate::LostBefore }]);
        let tag = lookup(guard.place_order(&order(1))).tag.unwrap();
        let mut asked = 0;
        while let Some(found) = guard.recover_one(&tag) {
            assert_eq!(broker.state().reads, asked + 2);
            match found.outcome {
                RecoveredOutcome::Unknown(detail) => {
                    assert_eq!(detail.lookup.unwrap().result, LookupResult::NotYet);
                }
                RecoveredOutcome::Placed(_) => assert_eq!((arrives, asked), (true, 3)),
                RecoveredOutcome::Absent(_) => assert_eq!((arrives, asked), (false, 5)),
                other => panic!("{other:?}"),
            }
            asked += 1;
            broker.clock.advance(SECOND * 3);
        }
    }
}

#[test]
fn caller_that_leaves_does_not_wait_for_the_read_of_another() {
    let broker = echoed();
    let guard = broker.guard();
    let Hanging { begins, go_on } = hanging(&broker, |read| read == 1);
    broker.fates([Fate::LostAfter(Duration::ZERO); 2]);
    thread::scope(|scope| {
        let first = scope.spawn(|| guard.place_order(&order(1)));
        begins.recv().unwrap();
        let second = scope.spawn(|| guard.clone().max_search_wait(SECOND).place_order(&order(2)));
        pass_until_over(&broker, &second);
        let answer = second.join().unwrap();
        assert!(answer.as_ref().unwrap_err().to_string().contains("when its caller left"));
        assert_eq!(lookup(answer).result, LookupResult::Unreadable);
        assert!(!first.is_finished());
        drop(go_on);
        assert_eq!(first.join().unwrap(), Ok(OrderId::new("000001")));
    });
}

#[test]
fn cancellation_is_left_too() {
    let broker = echoed();
    let guard = broker.guard().max_search_wait(SECOND);
    let id = guard.place_order(&order(1)).unwrap();
    broker.fates([Fate::LostBefore; 2]);
    let before = broker.clock.now();
    let answer = guard.cancel_order(&id);
    let Err(BrokerError::OutcomeUnknown(detail)) = answer else { panic!("{answer:?}") };
    assert_eq!(detail.lookup.unwrap().result, LookupResult::NotYet);
    assert!(broker.clock.now().since(before) < SECOND * 2);
}
