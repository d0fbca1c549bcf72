//! The journal on a disk that fails.

mod compacting;
mod deleted;
mod reading;

use std::sync::Arc;

use super::file::{DiskFile, FileLocation, JournalFile, PathState, ReplaceError};
use super::record::replay;
use super::writer::OpenLines;
use super::*;
use crate::broker::{Instrument, OrderId, OrderRequest, Side};

/// A file in memory that can be full, or fail to truncate or sync.
#[derive(Debug, Clone, Default)]
struct FakeFile(Arc<Mutex<FakeFileState>>);

#[derive(Debug, Default)]
struct FakeFileState {
    bytes: Vec<u8>,
    synced: usize,
    syncs: usize,
    room: Option<usize>,
    fails_truncate: bool,
    fails_sync: bool,
    /// If set, a replacement fails; the value is whether the new file may be in place.
    replace_failure: Option<bool>,
    replaced: usize,
    /// What is at its path, if not the file.
    path_state: Option<PathState>,
}

impl JournalFile for FakeFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut fake = self.0.lock();
        let room = fake.room.unwrap_or(usize::MAX).min(bytes.len());
        fake.bytes.extend_from_slice(&bytes[..room]);
        fake.room = fake.room.map(|left| left - room);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut fake = self.0.lock();
        if fake.fails_truncate {
            return Err(io::Error::other("cannot cut"));
        }
        let len = usize::try_from(len).unwrap();
        if let Some(room) = fake.room {
            fake.room = Some(room + fake.bytes.len() - len);
        }
        fake.bytes.truncate(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut fake = self.0.lock();
        if fake.fails_sync {
            return Err(io::Error::other("lost the disk"));
        }
        fake.synced = fake.bytes.len();
        fake.syncs += 1;
        Ok(())
    }

    fn replace_with(&self, bytes: &[u8]) -> Result<Arc<dyn JournalFile>, ReplaceError> {
        let mut fake = self.0.lock();
        if let Some(in_doubt) = fake.replace_failure {
            let (action, path, source) = ("write", "new".into(), io::Error::other("no room"));
            return Err(ReplaceError { action, path, source, may_have_replaced: in_doubt });
        }
        fake.bytes = bytes.to_vec();
        fake.synced = bytes.len();
        fake.replaced += 1;
        fake.path_state = None;
        Ok(Arc::new(self.clone()))
    }

    fn check_path(&self, len: u64) -> io::Result<PathState> {
        let fake = self.0.lock();
        assert_eq!(fake.bytes.len() as u64, len);
        Ok(fake.path_state.unwrap_or(PathState::Ours))
    }
}

fn journal() -> (Journal, FakeFile) {
    let fake = FakeFile::default();
    let header = encode(&JournalRecord::header()).unwrap();
    fake.append(&header).unwrap();
    let writer = JournalWriter::new(Arc::new(fake.clone()), header.len() as u64, OpenLines::new());
    let synced = Mutex::new(SyncState { writes: 0, lock: None });
    (Journal { path: "orders.journal".into(), writer: Mutex::new(writer), synced }, fake)
}

fn intent(tag: &str) -> Intent {
    let order = OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Buy, 10, 1500).tag(tag);
    Intent {
        tag: tag.to_owned(),
        is_caller_tag: false,
        at: "2026-01-05T04:00:00Z".parse().unwrap(),
        order: order.extra("validity_ttl", "5"),
    }
}

fn placed() -> IntentOutcome {
    IntentOutcome::Placed(OrderId::new("1"))
}

fn open_tags(fake: &FakeFile) -> Vec<String> {
    replay(&fake.0.lock().bytes).unwrap().into_iter().map(|intent| intent.tag).collect()
}

#[test]
fn an_intent_is_durable_before_it_may_be_sent() {
    let (journal, fake) = journal();
    for tag in ["a", "b", "c"] {
        journal.record_intent(&intent(tag)).unwrap();
        let state = fake.0.lock();
        assert_eq!(state.synced, state.bytes.len(), "{tag}");
    }
}

#[test]
fn what_is_answered_is_not_left() {
    let (journal, fake) = journal();
    for tag in ["a", "b", "c"] {
        journal.record_intent(&intent(tag)).unwrap();
    }
    journal.record_outcome("b", &placed());
    assert_eq!(open_tags(&fake), ["a", "c"]);
    // Sent again under the tag of an order that was not sent.
    journal.record_outcome("a", &IntentOutcome::NotPlaced);
    journal.record_intent(&intent("a")).unwrap();
    assert_eq!(open_tags(&fake), ["c", "a"]);
}

/// Without them a recovered order would be another one, for example without its `validity_ttl`.
#[test]
fn an_order_is_kept_with_its_extra_fields() {
    let (journal, fake) = journal();
    journal.record_intent(&intent("a")).unwrap();
    let kept = replay(&fake.0.lock().bytes).unwrap();
    assert_eq!(kept[0].order, intent("a").order);
    assert_eq!(kept[0].order.extra["validity_ttl"], "5");
}

#[test]
fn a_full_disk_takes_no_order_and_leaves_no_trace() {
    let (journal, fake) = journal();
    journal.record_intent(&intent("a")).unwrap();
    for room in [0, 1, 100] {
        fake.0.lock().room = Some(room);
        let error = journal.record_intent(&intent("b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("orders.journal: "), "{error}");
        assert_eq!(open_tags(&fake), ["a"], "{room}");
    }
    // An outcome that does not fit waits for space, and is written first.
    fake.0.lock().room = Some(3);
    journal.record_outcome("a", &placed());
    assert_eq!(open_tags(&fake), ["a"]);
    fake.0.lock().room = None;
    journal.record_intent(&intent("c")).unwrap();
    assert_eq!(open_tags(&fake), ["c"]);
}

#[test]
fn half_a_line_that_cannot_be_cut_poisons_the_journal() {
    let (journal, fake) = journal();
    fake.0.lock().room = Some(20);
    fake.0.lock().fails_truncate = true;
    journal.record_intent(&intent("a")).unwrap_err();
    fake.0.lock().room = None;
    fake.0.lock().fails_truncate = false;
    let error = journal.record_intent(&intent("b")).unwrap_err().to_string();
    assert!(error.contains("written by half"), "{error}");
    assert!(error.contains("start again"), "{error}");
    // The half line is the last one, so it counts as torn.
    assert_eq!(open_tags(&fake), [""; 0]);
}

#[test]
fn a_disk_that_cannot_confirm_poisons_the_journal() {
    let (journal, fake) = journal();
    fake.0.lock().fails_sync = true;
    journal.record_intent(&intent("a")).unwrap_err();
    fake.0.lock().fails_sync = false;
    // A later sync may cover less than was written, so there is none.
    let error = journal.record_intent(&intent("b")).unwrap_err().to_string();
    assert!(error.contains("could not confirm"), "{error}");
    assert_eq!(open_tags(&fake), ["a"]);
}

#[test]
fn many_orders_share_one_sync_and_each_is_durable() {
    let (journal, fake) = journal();
    // No thread syncs until all have written.
    let held = journal.synced.lock();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let journal = &journal;
            scope.spawn(move || journal.record_intent(&intent(&format!("t{number}"))).unwrap());
        }
        while journal.writer.lock().write_count < 8 {
            std::thread::yield_now();
        }
        drop(held);
    });
    let state = fake.0.lock();
    assert_eq!((state.syncs, state.synced), (1, state.bytes.len()));
}

/// Outcomes that cannot be written, from many threads, while one can.
#[test]
fn no_answer_that_waits_for_room_is_lost() {
    let (journal, fake) = journal();
    for number in 0..16 {
        journal.record_intent(&intent(&format!("t{number}"))).unwrap();
    }
    fake.0.lock().room = Some(5);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let journal = &journal;
            scope.spawn(move || journal.record_outcome(&format!("t{number}"), &placed()));
        }
    });
    assert_eq!(open_tags(&fake).len(), 16);
    fake.0.lock().room = None;
    journal.record_intent(&intent("last")).unwrap();
    assert_eq!(open_tags(&fake), ["last"]);
}
