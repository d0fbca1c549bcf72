//! The journal of a stack: what a process leaves open, and exits without it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanekeeper::broker::{Broker, OrderId};
use lanekeeper::order_guard::{GuardBuildError, JournalError, RecoveredOutcome};
use lanekeeper::quota::Quota;
use lanekeeper::{CallOptions, Sent, Stack, StackBuildError};

use super::scripted::Scripted;
use super::shaky::{Fate, SETTLE, order};

fn open(broker: &Scripted, journal: &Path) -> Result<Stack<Scripted>, StackBuildError> {
    let proxy = broker.proxy(Quota::unlimited()).quote_ttl(Duration::from_secs(5));
    proxy.order_guard(|guard| guard.settle_time(SETTLE).journal(journal)).build()
}

#[test]
fn the_next_process_recovers_the_orders_of_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("orders.journal");
    let broker = Scripted::new(|broker, order| broker.place_order(order));
    let stack = open(&broker, &journal).unwrap();
    let hasty = stack.clone().max_search_wait(Duration::ZERO);
    broker.inner.fates([Fate::LostAfter(Duration::from_secs(1))]);
    assert_eq!(hasty.place_order(&order(1)).unwrap_err().was_sent(), Sent::Unknown);
    drop((stack, hasty));

    let stack = open(&broker, &journal).unwrap();
    let recovered = stack.recover();
    let outcomes: Vec<_> = recovered.iter().map(|it| (it.order.quantity, &it.outcome)).collect();
    assert_eq!(outcomes, [(1.into(), &RecoveredOutcome::Placed(OrderId::new("000001")))]);
    assert_eq!(stack.recover(), []);
    assert_eq!(broker.inner.state().placed, 1, "nothing is sent again");
}

#[test]
fn an_exit_is_sent_although_the_journal_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("orders.journal");
    let broker = Scripted::new(|broker, order| broker.place_order(order));
    let unrecorded = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&unrecorded);
    let stack = broker.proxy(Quota::unlimited()).order_guard(|guard| {
        let guard = guard.journal(&journal);
        guard.on_unrecorded(move |_| {
            let _ = counted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let stack = stack.build().unwrap();
    stack.place_order(&order(1)).unwrap();
    // Another program wrote to the file.
    OpenOptions::new().append(true).open(&journal).unwrap().write_all(b"foreign\n").unwrap();

    let error = stack.place_order(&order(2)).unwrap_err();
    assert_eq!(error.was_sent(), Sent::No, "{error}");
    let exits = stack.for_exits();
    let of_alpha = exits.with(CallOptions::new().user("alpha"));
    for (number, exits) in [(3, &exits), (4, &of_alpha), (5, &exits.clone())] {
        assert!(exits.place_order(&order(number)).is_ok());
    }
    assert_eq!(unrecorded.load(Ordering::SeqCst), 3);
    assert_eq!(stack.place_order(&order(6)).unwrap_err().was_sent(), Sent::No);
}

#[test]
fn a_journal_in_use_is_an_error_of_the_guard() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("orders.journal");
    let broker = Scripted::new(|broker, order| broker.place_order(order));
    let first = open(&broker, &journal).unwrap();
    let error = open(&broker, &journal).unwrap_err();
    let StackBuildError::OrderGuard(GuardBuildError::Journal(JournalError::InUse { .. })) = &error
    else {
        panic!("{error:?}");
    };
    let text = error.to_string();
    assert!(text.starts_with("the order guard cannot be built: "), "{text}");
    assert!(text.contains("stop the other process"), "{text}");
    drop(first);
    assert!(open(&broker, &journal).is_ok());
}
