//! The journal of a guard: what a process leaves open, and what the next one makes of it.

#![cfg(feature = "journal")]
#![allow(clippy::unwrap_used)]

#[path = "order_guard/shaky.rs"]
mod shaky;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::OrderGuard;
use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, Instrument, OrderId, OrderRequest, OrderStatus, OrderTags,
    Side,
};
use lanekeeper::order_guard::{GuardBuildError, JournalError, RecoveredOrder, RecoveredOutcome};
use shaky::{Fate, SETTLE, Shaky, absent, order, transient, without_evidence};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.journal");
    (folder, path)
}

fn echoed() -> Shaky {
    Shaky::new(OrderTags::echoed(20))
}

fn open(broker: &Shaky, path: &Path) -> OrderGuard<Shaky> {
    broker.guarded().journal(path).build().unwrap()
}

fn refused(broker: &Shaky, path: &Path) -> JournalError {
    match broker.guarded().journal(path).build() {
        Err(GuardBuildError::Journal(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

/// Places an order during which the process dies.
fn die(broker: &Shaky, guard: OrderGuard<Shaky>, quantity: usize, fate: Fate) {
    broker.state().fates.push_front(fate);
    catch_unwind(AssertUnwindSafe(|| guard.place_order(&order(quantity)))).unwrap_err();
}

fn outcomes(mut recovered: Vec<RecoveredOrder>) -> Vec<(u64, RecoveredOutcome)> {
    recovered.sort_by_key(|recovery| recovery.order.quantity);
    let outcome =
        |it: RecoveredOrder| (it.order.quantity.try_into().unwrap(), without_evidence(it.outcome));
    recovered.into_iter().map(outcome).collect()
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let (_folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    broker.fates([Fate::Done, Fate::Rejected, Fate::NotSent, Fate::LostAfter(Duration::ZERO)]);
    for quantity in 1..=4 {
        let _ = guard.place_order(&order(quantity));
    }
    drop(guard);
    let guard = open(&broker, &path);
    assert_eq!(guard.recover(), []);
    // The journal does not grow for ever: only the first line is left.
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn what_the_dead_process_sent_is_found() {
    let (_folder, path) = folder();
    let broker = echoed();
    for (quantity, late) in [(1, 0), (2, 8)] {
        let late = Duration::from_secs(late);
        die(&broker, open(&broker, &path), quantity, Fate::DiesAfter(late));
    }
    die(&broker, open(&broker, &path), 3, Fate::DiesBefore);
    let guard = open(&broker, &path);
    let at = broker.clock.now();
    assert_eq!(
        outcomes(guard.recover()),
        [
            (1, RecoveredOutcome::Placed(OrderId::new("000001"))),
            (2, RecoveredOutcome::Placed(OrderId::new("000002"))),
            (3, absent()),
        ]
    );
    assert!(broker.clock.now().since(at) >= SETTLE, "absence is reported too soon");
    assert_eq!(broker.state().placed, 3);
    drop(guard);
    assert_eq!(open(&broker, &path).recover(), []);
}

#[test]
fn what_was_answered_as_unknown_is_asked_after_a_restart() {
    let (_folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    broker.fates([Fate::LostRejected]);
    broker.blind(50, &transient());
    let answer = guard.place_order(&order(1));
    let Err(BrokerError::OutcomeUnknown(detail)) = answer else { panic!("{answer:?}") };
    drop(guard);
    let guard = open(&broker, &path);
    // The order book still cannot be read: nothing is concluded, and nothing is discarded.
    assert!(matches!(guard.recover()[0].outcome, RecoveredOutcome::Unknown(_)));
    broker.state().blind.clear();
    drop(guard);
    let recovery = open(&broker, &path).recover().remove(0);
    assert_eq!(Some(recovery.tag), detail.lookup.and_then(|lookup| lookup.tag));
    assert_eq!(
        recovery.outcome,
        RecoveredOutcome::Rejected(ErrorDetail::new("order 000001: no funds"))
    );
}

/// Once it was reported there is nothing left to recover, and the first answer of `recover` does not count.
#[test]
fn what_turns_up_late_is_recorded() {
    for says_first in ["watch", "recover"] {
        let (_folder, path) = folder();
        let broker = echoed();
        let reported = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&reported);
        let guard = broker.guarded().journal(&path).on_turned_up(move |late| {
            assert_eq!(late.outcome, RecoveredOutcome::Placed(OrderId::new("000001")));
            count.fetch_add(1, Ordering::Relaxed);
        });
        let guard = guard.build().unwrap();
        let late = SETTLE * 4;
        broker.fates([Fate::LostAfter(late)]);
        let answer = guard.place_order(&order(1).tag("mine"));
        assert!(matches!(answer, Err(BrokerError::Absent(_))), "{answer:?}");
        if says_first == "recover" {
            assert_eq!(outcomes(guard.recover()), [(1, absent())]);
        }
        broker.clock.advance(late);
        guard.orders().unwrap();
        assert_eq!(reported.load(Ordering::Relaxed), 1, "{says_first}");
        drop(guard);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().last().unwrap().contains("000001"), "{text}");
        assert_eq!(open(&broker, &path).recover(), []);
    }
}

#[test]
fn a_callers_tag_stays_used_over_a_restart() {
    let (_folder, path) = folder();
    let broker = echoed();
    broker.fates([Fate::LostBefore]);
    open(&broker, &path).place_order(&order(1).tag("mine")).unwrap_err();
    let again = open(&broker, &path).place_order(&order(1).tag("mine")).unwrap_err();
    assert!(matches!(again, BrokerError::NotSent(_)), "{again}");
}

/// A process that dies while it recovers has reported none of its findings.
#[test]
fn killed_as_it_recovers_it_loses_no_answer() {
    let (_folder, path) = folder();
    let broker = echoed();
    die(&broker, open(&broker, &path), 1, Fate::DiesAfter(Duration::ZERO));
    die(&broker, open(&broker, &path), 2, Fate::DiesBefore);
    let guard = open(&broker, &path);
    // The first order was found by then.
    broker.meanwhile(|read| assert!(read != 3, "killed"));
    catch_unwind(AssertUnwindSafe(|| guard.recover())).unwrap_err();
    drop(guard);
    let expected = [(1, RecoveredOutcome::Placed(OrderId::new("000001"))), (2, absent())];
    assert_eq!(outcomes(open(&broker, &path).recover()), expected);
}

/// It will not appear any more, so the guard does not wait for it, and a human has to decide what became of it.
#[test]
fn no_caller_waits_for_an_order_of_another_day() {
    let (_folder, path) = folder();
    let broker = echoed();
    die(&broker, open(&broker, &path), 1, Fate::DiesBefore);
    broker.clock.advance(Duration::from_secs(86_400));
    let guard = open(&broker, &path);
    let before = broker.clock.now();
    let recovery = guard.recover().remove(0);
    assert!(broker.clock.now().since(before) < SETTLE);
    assert!(matches!(recovery.outcome, RecoveredOutcome::Unknown(_)), "{recovery:?}");
    assert!(guard.abandon(&recovery.tag));
    drop(guard);
    assert_eq!(open(&broker, &path).recover(), []);
    // If another order is of today, the guard waits for it.
    for day in 0..2 {
        die(&broker, open(&broker, &path), day, Fate::DiesBefore);
        broker.clock.advance(Duration::from_secs(86_400 * (1 - day as u64)));
    }
    let guard = open(&broker, &path);
    let outcomes = outcomes(guard.recover());
    assert!(matches!(outcomes[0], (0, RecoveredOutcome::Unknown(_))), "{outcomes:?}");
    assert_eq!(outcomes[1], (1, absent()));
}

#[test]
fn what_is_abandoned_is_not_asked_after_a_restart() {
    let (_folder, path) = folder();
    let broker = echoed();
    for quantity in 1..=2 {
        die(&broker, open(&broker, &path), quantity, Fate::DiesAfter(Duration::ZERO));
    }
    let guard = open(&broker, &path);
    let tag = broker.ledger()[0].tag.clone().unwrap();
    assert!(guard.abandon(&tag));
    drop(guard);
    assert_eq!(
        outcomes(open(&broker, &path).recover()),
        [(2, RecoveredOutcome::Placed(OrderId::new("000002")))]
    );
}

/// A record that cannot be read back would keep the journal from opening after the next start.
#[test]
fn an_order_that_cannot_be_read_back_is_not_sent() {
    let (_folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    let corrupt = OrderRequest::market(Instrument::new("", "INFY"), Side::Buy, 1);
    let error = guard.place_order(&corrupt).unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert!(error.to_string().contains("`:INFY` is not an instrument"), "{error}");
    assert_eq!(broker.state().placed, 0);
    // The journal is not damaged by it.
    guard.place_order(&order(1)).unwrap();
    drop(guard);
    assert_eq!(open(&broker, &path).recover(), []);
}

/// Killed at random moments of a bad day, again and again: every order gets its answer, and none is sent twice.
#[test]
fn killed_at_random_every_order_gets_its_answer() {
    let mut kinds = [0; 2];
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let (_folder, path) = folder();
        let broker = echoed();
        let mut last = 0;
        for _life in 0..5 {
            let guard = open(&broker, &path);
            for _ in 0..rng.usize(0..5) {
                last += 1;
                let late = SETTLE.mul_f64(rng.f64());
                let fates = [Fate::Done, Fate::LostBefore, Fate::LostAfter(late), Fate::Rejected];
                broker.fates(rng.choice(fates));
                let blind = rng.usize(0..3) * 10;
                broker.blind(blind, &transient());
                let _ = guard.place_order(&order(last));
                broker.state().blind.clear();
            }
            last += 1;
            let late = SETTLE.mul_f64(rng.f64());
            let fate = if rng.bool() { Fate::DiesBefore } else { Fate::DiesAfter(late) };
            die(&broker, guard, last, fate);
            let sent = broker.state().placed;
            if rng.bool() {
                continue; // It dies again before it recovers.
            }
            let recovered = outcomes(open(&broker, &path).recover());
            assert!(!recovered.is_empty());
            assert_eq!(broker.state().placed, sent, "seed {seed}");
            let ledger = broker.ledger();
            for (quantity, outcome) in recovered {
                let booked = ledger.iter().find(|order| order.quantity == quantity.into());
                match (outcome, booked) {
                    (RecoveredOutcome::Placed(id), Some(order)) if order.id == id => kinds[0] += 1,
                    (RecoveredOutcome::Absent(_), None) => kinds[1] += 1,
                    wrong => panic!("seed {seed}: {wrong:?}"),
                }
            }
            assert_eq!(open(&broker, &path).recover(), []);
        }
        let ledger = broker.ledger();
        assert!(ledger.iter().all(|order| order.status == OrderStatus::Open));
        let mut quantities: Vec<_> = ledger.iter().map(|order| order.quantity).collect();
        quantities.dedup();
        assert_eq!(quantities.len(), ledger.len(), "seed {seed}");
    }
    assert!(kinds.iter().all(|&kind| kind > 50), "{kinds:?}");
}

#[test]
fn a_journal_cut_anywhere_can_be_opened() {
    let (_folder, path) = folder();
    let broker = echoed();
    broker.fates([Fate::LostBefore; 3]);
    broker.blind(1000, &transient());
    let guard = open(&broker, &path);
    for quantity in 1..=3 {
        guard.place_order(&order(quantity)).unwrap_err();
    }
    drop(guard);
    broker.state().blind.clear();
    let whole = fs::read(&path).unwrap();
    let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    for cut in (0..whole.len()).step_by(11) {
        fs::write(&path, &whole[..cut]).unwrap();
        let guard = open(&broker, &path);
        let left = guard.recover().len();
        // A line that lacks only its line break has its checksum, and counts.
        assert_eq!(left, lines(&whole[..=cut]).saturating_sub(1), "cut at {cut}");
        // And it can be written to: a torn last line is gone.
        guard.place_order(&order(9)).unwrap();
        drop(guard);
        assert_eq!(open(&broker, &path).recover(), [], "cut at {cut}");
    }
}

#[test]
fn a_change_in_the_middle_is_reported_with_its_line() {
    let (_folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    for quantity in 1..=3 {
        guard.place_order(&order(quantity)).unwrap();
    }
    drop(guard);
    let journal = fs::read_to_string(&path).unwrap();
    fs::write(&path, journal.replacen("INFY", "INFX", 1)).unwrap();
    let error = refused(&broker, &path);
    assert!(matches!(error, JournalError::Corrupt { line: 2, .. }), "{error}");
    assert!(error.to_string().contains("look through the broker's order book"), "{error}");
    // A human can look up which of the others are without an answer.
    let first = broker.ledger()[0].tag.clone().unwrap();
    let JournalError::Corrupt { open, .. } = &error else { unreachable!() };
    assert_eq!(open, &[] as &[String]);
    fs::write(&path, journal.replacen("{\"end\"", "{\"enX\"", 1)).unwrap();
    let error = refused(&broker, &path);
    let JournalError::Corrupt { line: 3, open, .. } = &error else { panic!("{error}") };
    assert_eq!(open, std::slice::from_ref(&first));
    assert!(error.to_string().contains(&first), "{error}");
    fs::write(&path, journal.replacen("INFY", "INFX", 1)).unwrap();
    refused(&broker, &path);
    // It is left as it is.
    assert!(fs::read_to_string(&path).unwrap().contains("INFX"));
}

#[test]
fn a_file_that_is_no_journal_is_left_alone() {
    let (_folder, path) = folder();
    for content in ["shopping list", "shopping list\nmilk\n"] {
        fs::write(&path, content).unwrap();
        let error = refused(&echoed(), &path);
        assert!(matches!(error, JournalError::Corrupt { line: 1, .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_second_guard_is_kept_out_until_the_first_is_gone() {
    let (_folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    let clone = guard.clone();
    drop(guard);
    let error = refused(&broker, &path);
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(clone);
    open(&broker, &path);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_reported_at_once() {
    let (folder, path) = folder();
    fs::write(&path, "").unwrap();
    let missing = folder.path().join("missing").join("orders.journal");
    let under_a_file = path.join("orders.journal");
    // Not even the superuser can write there, and tests may run as that.
    let read_only = PathBuf::from("/sys/orders.journal");
    let a_folder = folder.path().join("folder");
    fs::create_dir(&a_folder).unwrap();
    let mut paths = vec![missing, under_a_file, a_folder];
    if cfg!(target_os = "linux") {
        paths.push(read_only);
    }
    for path in paths {
        let error = refused(&echoed(), &path);
        assert!(matches!(error, JournalError::Io { .. }), "{error}");
        assert!(error.to_string().contains("give the journal a folder"), "{error}");
    }
}

/// Two names for one file would be two guards for one account.
#[cfg(unix)]
#[test]
fn a_journal_is_one_by_every_name() {
    let (folder, path) = folder();
    let broker = echoed();
    let guard = open(&broker, &path);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let winding = folder.path().join("..").join(folder.path().file_name().unwrap());
    for other in [link.clone(), winding.join("orders.journal")] {
        let error = refused(&broker, &other);
        assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    }
    drop(guard);
    // Opened by its other name, it is still the same journal.
    die(&broker, open(&broker, &link), 1, Fate::DiesAfter(Duration::ZERO));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(open(&broker, &path).recover().len(), 1);
    // A link whose target is missing is not replaced.
    let nowhere = folder.path().join("nowhere");
    std::os::unix::fs::symlink(folder.path().join("gone").join("x"), &nowhere).unwrap();
    let error = refused(&broker, &nowhere);
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert!(fs::symlink_metadata(&nowhere).unwrap().is_symlink());
}

/// The other journal would remove the file, or lock it for itself.
#[test]
fn a_journal_is_not_what_belongs_to_another() {
    let (_folder, path) = folder();
    let broker = echoed();
    for ending in ["new", "lock"] {
        let path = path.with_extension(format!("journal.{ending}"));
        let error = refused(&broker, &path).to_string();
        assert!(error.contains("belongs to the journal"), "{error}");
        assert!(!path.exists());
    }
}

/// A new file that an earlier process left half written is replaced, and a link in its place is not followed.
#[cfg(unix)]
#[test]
fn a_new_file_that_is_there_already_is_not_written_through() {
    let (folder, path) = folder();
    let new = PathBuf::from(format!("{}.new", path.display()));
    let other = folder.path().join("other");
    fs::write(&other, "somebody's").unwrap();
    std::os::unix::fs::symlink(&other, &new).unwrap();
    let broker = echoed();
    open(&broker, &path).place_order(&order(1)).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
    fs::write(&new, "half a li").unwrap();
    assert_eq!(open(&broker, &path).recover(), []);
    fs::create_dir(&new).unwrap();
    let error = refused(&broker, &path);
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    open(&echoed(), &path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}
