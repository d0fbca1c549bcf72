//! A journal that is deleted, replaced or moved while a guard has it open. No order may go that the next process
//! would not find.

#![cfg(all(feature = "journal", unix))]
#![allow(clippy::unwrap_used)]

#[path = "order_guard/shaky.rs"]
mod shaky;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanekeeper::OrderGuard;
use lanekeeper::broker::{Broker, BrokerError, OrderTags};
use lanekeeper::order_guard::{GuardBuildError, JournalError};
use shaky::{Fate, Shaky, order, transient};
use tempfile::TempDir;

struct Setup {
    folder: TempDir,
    path: PathBuf,
    broker: Shaky,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.journal");
        Self { folder, path, broker: Shaky::new(OrderTags::echoed(20)) }
    }

    fn open_at(&self, path: &Path) -> OrderGuard<Shaky> {
        self.broker.guarded().journal(path).build().unwrap()
    }

    fn open(&self) -> OrderGuard<Shaky> {
        self.open_at(&self.path)
    }

    fn lock(&self) -> PathBuf {
        self.folder.path().join("orders.journal.lock")
    }

    /// Places an order that reaches the market, and whose caller gets an unknown outcome.
    fn lose(&self, guard: &OrderGuard<Shaky>, quantity: usize) {
        self.broker.fates([Fate::LostAfter(Duration::ZERO)]);
        self.broker.blind(50, &transient());
        guard.place_order(&order(quantity)).unwrap_err();
        self.broker.state().blind.clear();
    }

    /// Returns the quantities of the orders that the next process recovers.
    fn found_by_the_next(&self) -> Vec<u64> {
        let left = self.open().recover();
        let mut left: Vec<_> =
            left.iter().map(|it| it.order.quantity.try_into().unwrap()).collect();
        left.sort_unstable();
        left
    }
}

/// Returns why an order was not sent.
fn not_sent(guard: &OrderGuard<Shaky>) -> String {
    match guard.place_order(&order(9)) {
        Err(BrokerError::NotSent(detail)) => detail.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deleted_journal_is_written_anew_with_all_open_orders() {
    let setup = Setup::new();
    let guard = setup.open();
    setup.lose(&guard, 1);
    setup.lose(&guard, 2);
    for (quantity, also_lock) in [(3, false), (4, true)] {
        fs::remove_file(&setup.path).unwrap();
        if also_lock {
            fs::remove_file(setup.lock()).unwrap();
        }
        setup.lose(&guard, quantity);
        assert!(setup.path.exists(), "the order went without a journal");
        // The file that was written anew is the journal from now on.
        guard.place_order(&order(8)).unwrap();
    }
    drop(guard);
    assert_eq!(setup.found_by_the_next(), [1, 2, 3, 4]);
}

#[test]
fn guard_whose_lock_file_is_deleted_keeps_others_out() {
    let setup = Setup::new();
    let guard = setup.open();
    fs::remove_file(setup.lock()).unwrap();
    guard.place_order(&order(1)).unwrap();
    let second = setup.broker.guarded().journal(&setup.path).build();
    let in_use = |error: &GuardBuildError| {
        matches!(error, GuardBuildError::Journal(JournalError::InUse { .. }))
    };
    assert!(second.err().as_ref().is_some_and(in_use));
}

/// The second guard opened the journal before the first could notice.
#[test]
fn guard_whose_lock_another_took_sends_no_order() {
    let setup = Setup::new();
    let first = setup.open();
    setup.lose(&first, 1);
    fs::remove_file(setup.lock()).unwrap();
    let second = setup.open();
    let sent = setup.broker.state().placed;
    assert!(not_sent(&first).contains("is in use"));
    assert_eq!(setup.broker.state().placed, sent);
    // The journal belongs to the second guard, which records its order, and stays that way.
    second.place_order(&order(2)).unwrap();
    assert_eq!(second.recover().len(), 1);
    setup.lose(&second, 3);
    drop(second);
    assert!(not_sent(&first).contains("another file"));
    drop(first);
    assert_eq!(setup.found_by_the_next(), [3]);
}

#[test]
fn changed_journal_takes_no_order_but_an_exit() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("another file", |path| {
            // The same bytes in another file.
            let bytes = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        }),
        ("shorter", |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap()),
        ("longer", |path| {
            let mut file = fs::File::options().append(true).open(path).unwrap();
            file.write_all(b"a note\n").unwrap();
        }),
        ("another file", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (word, change) in changes {
        let setup = Setup::new();
        let guard = setup.open();
        guard.place_order(&order(1)).unwrap();
        change(&setup.path);
        for _ in 0..2 {
            let why = not_sent(&guard);
            assert!(why.contains(word) && why.contains("recover"), "{why}");
        }
        assert_eq!(setup.broker.state().placed, 1, "{word}");
        guard.for_exits(setup.broker.clone()).place_order(&order(2)).unwrap();
    }
}

#[test]
fn moved_folder_is_refused_until_it_is_back() {
    let setup = Setup::new();
    let (folder, moved) = (setup.folder.path().join("a"), setup.folder.path().join("b"));
    fs::create_dir(&folder).unwrap();
    let guard = setup.open_at(&folder.join("orders.journal"));
    setup.lose(&guard, 1);
    fs::rename(&folder, &moved).unwrap();
    not_sent(&guard);
    fs::rename(&moved, &folder).unwrap();
    setup.lose(&guard, 2);
    // An empty folder of that name gets a journal with the open orders.
    fs::remove_dir_all(&folder).unwrap();
    not_sent(&guard);
    fs::create_dir(&folder).unwrap();
    setup.lose(&guard, 3);
    drop(guard);
    let mut left = setup.open_at(&folder.join("orders.journal")).recover();
    left.sort_by_key(|it| it.order.quantity);
    let quantities: Vec<u64> =
        left.iter().map(|it| it.order.quantity.try_into().unwrap()).collect();
    // One that was refused may be among them: it was written before it was refused.
    assert!([1, 2, 3].iter().all(|it| quantities.contains(it)), "{quantities:?}");
}

/// The next process opens the journal by the link.
#[test]
fn link_that_leads_elsewhere_is_noticed() {
    for elsewhere in [true, false] {
        let setup = Setup::new();
        let link = setup.folder.path().join("link");
        symlink(&setup.path, &link).unwrap();
        fs::write(&setup.path, "").unwrap();
        let guard = setup.open_at(&link);
        setup.lose(&guard, 1);
        fs::remove_file(&setup.path).unwrap();
        setup.lose(&guard, 2);
        assert!(setup.path.exists(), "the link still leads to it");
        fs::remove_file(&link).unwrap();
        if elsewhere {
            fs::write(setup.folder.path().join("other"), "").unwrap();
            symlink(setup.folder.path().join("other"), &link).unwrap();
        }
        not_sent(&guard);
        drop(guard);
        let found = setup.found_by_the_next();
        assert!(found.starts_with(&[1, 2]), "{found:?}");
    }
}
