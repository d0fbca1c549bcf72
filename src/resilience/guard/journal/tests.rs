//! The journal on a disk that fails.

use std::sync::Arc;

use super::line::replay;
use super::*;
use crate::broker::{Instrument, OrderId, OrderRequest, Side};

/// A disk in memory that can be full, cannot be cut, or cannot be waited for.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Fakery>>);

#[derive(Debug, Default)]
struct Fakery {
    bytes: Vec<u8>,
    synced: usize,
    syncs: usize,
    room: Option<usize>,
    uncut: bool,
    unsynced: bool,
}

impl Disk for Fake {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut fake = self.0.lock();
        let room = fake.room.unwrap_or(usize::MAX).min(bytes.len());
        fake.bytes.extend_from_slice(&bytes[..room]);
        fake.room = fake.room.map(|left| left - room);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        let mut fake = self.0.lock();
        if fake.uncut {
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
        if fake.unsynced {
            return Err(io::Error::other("lost the disk"));
        }
        fake.synced = fake.bytes.len();
        fake.syncs += 1;
        Ok(())
    }
}

fn journal() -> (Journal, Fake) {
    let fake = Fake::default();
    let header = encode(&Entry::header()).unwrap();
    fake.append(&header).unwrap();
    let journal = Journal {
        path: "orders.journal".into(),
        disk: Box::new(fake.clone()),
        tail: Mutex::new(Tail { len: header.len() as u64, ..Tail::default() }),
        safe: Mutex::new(0),
        _lock: None,
    };
    (journal, fake)
}

fn intent(tag: &str) -> Intent {
    let order = OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Buy, 10, 1500).tag(tag);
    Intent {
        tag: tag.to_owned(),
        own: false,
        at: "2026-01-05T04:00:00Z".parse().unwrap(),
        order: order.extra("algo_id", "not for the disk"),
    }
}

fn placed() -> End {
    End::Placed(OrderId::new("1"))
}

fn left(fake: &Fake) -> Vec<String> {
    replay(&fake.0.lock().bytes).unwrap().into_iter().map(|intent| intent.tag).collect()
}

#[test]
fn an_intent_is_safe_before_it_may_be_sent() {
    let (journal, fake) = journal();
    for tag in ["a", "b", "c"] {
        journal.begin(&intent(tag)).unwrap();
        let fakery = fake.0.lock();
        assert_eq!(fakery.synced, fakery.bytes.len(), "{tag}");
    }
}

#[test]
fn what_is_answered_is_not_left() {
    let (journal, fake) = journal();
    for tag in ["a", "b", "c"] {
        journal.begin(&intent(tag)).unwrap();
    }
    journal.end("b", &placed());
    assert_eq!(left(&fake), ["a", "c"]);
    // Sent anew under the tag of one that was not.
    journal.end("a", &End::NotPlaced);
    journal.begin(&intent("a")).unwrap();
    assert_eq!(left(&fake), ["c", "a"]);
}

#[test]
fn extra_fields_do_not_reach_the_disk() {
    let (journal, fake) = journal();
    journal.begin(&intent("a")).unwrap();
    let bytes = fake.0.lock().bytes.clone();
    assert!(!String::from_utf8(bytes).unwrap().contains("not for the disk"));
}

#[test]
fn a_full_disk_takes_no_order_and_leaves_no_trace() {
    let (journal, fake) = journal();
    journal.begin(&intent("a")).unwrap();
    for room in [0, 1, 100] {
        fake.0.lock().room = Some(room);
        let error = journal.begin(&intent("b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("orders.journal: "), "{error}");
        assert_eq!(left(&fake), ["a"], "{room}");
    }
    // An answer that does not fit waits for room, and goes first.
    fake.0.lock().room = Some(3);
    journal.end("a", &placed());
    assert_eq!(left(&fake), ["a"]);
    fake.0.lock().room = None;
    journal.begin(&intent("c")).unwrap();
    assert_eq!(left(&fake), ["c"]);
}

#[test]
fn half_a_line_that_cannot_be_cut_breaks_the_journal() {
    let (journal, fake) = journal();
    fake.0.lock().room = Some(20);
    fake.0.lock().uncut = true;
    journal.begin(&intent("a")).unwrap_err();
    fake.0.lock().room = None;
    fake.0.lock().uncut = false;
    let error = journal.begin(&intent("b")).unwrap_err().to_string();
    assert!(error.contains("written by half"), "{error}");
    assert!(error.contains("start again"), "{error}");
    // The half is the last line, and so is seen for what it is.
    assert_eq!(left(&fake), [""; 0]);
}

#[test]
fn a_disk_that_cannot_confirm_breaks_the_journal() {
    let (journal, fake) = journal();
    fake.0.lock().unsynced = true;
    journal.begin(&intent("a")).unwrap_err();
    fake.0.lock().unsynced = false;
    // The next confirmation may be of less than was written, so there is none.
    let error = journal.begin(&intent("b")).unwrap_err().to_string();
    assert!(error.contains("could not confirm"), "{error}");
    assert_eq!(left(&fake), ["a"]);
}

#[test]
fn many_orders_share_one_wait_and_each_is_safe() {
    let (journal, fake) = journal();
    // Nobody gets to the disk until all have written.
    let held = journal.safe.lock();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let journal = &journal;
            scope.spawn(move || journal.begin(&intent(&format!("t{number}"))).unwrap());
        }
        while journal.tail.lock().writes < 8 {
            std::thread::yield_now();
        }
        drop(held);
    });
    let fakery = fake.0.lock();
    assert_eq!((fakery.syncs, fakery.synced), (1, fakery.bytes.len()));
}

#[test]
fn a_journal_cut_anywhere_keeps_every_whole_line() {
    let mut journal = encode(&Entry::header()).unwrap();
    let mut ends = vec![(journal.len(), Vec::new())];
    let mut open: Vec<String> = Vec::new();
    for number in 0..5 {
        let tag = format!("t{number}");
        journal.extend(encode(&Entry::Intent(Box::new(intent(&tag)))).unwrap());
        open.push(tag.clone());
        ends.push((journal.len(), open.clone()));
        if number % 2 == 0 {
            journal.extend(encode(&Entry::End { tag, end: placed() }).unwrap());
            open.pop();
            ends.push((journal.len(), open.clone()));
        }
    }
    for cut in 0..=journal.len() {
        // A line that lacks nothing but its end is whole.
        let (_, expected) =
            ends.iter().rev().find(|(end, _)| end - 1 <= cut).cloned().unwrap_or_default();
        let left = replay(&journal[..cut]).unwrap();
        let left: Vec<String> = left.into_iter().map(|intent| intent.tag).collect();
        assert_eq!(left, expected, "cut at {cut}");
    }
}

#[test]
fn a_change_anywhere_but_in_a_torn_line_is_seen() {
    let mut journal = encode(&Entry::header()).unwrap();
    for tag in ["a", "b", "c"] {
        journal.extend(encode(&Entry::Intent(Box::new(intent(tag)))).unwrap());
    }
    for index in 0..journal.len() - 1 {
        for flip in [1, 0x20, 0x80] {
            let mut changed = journal.clone();
            changed[index] ^= flip;
            // Hexadecimal digits may be large as well as small; they say the same.
            match replay(&changed) {
                Err(corrupt) => assert!(corrupt.line >= 1),
                Ok(left) => {
                    let tags: Vec<_> = left.iter().map(|intent| intent.tag.as_str()).collect();
                    assert_eq!(tags, ["a", "b", "c"], "{index} {flip}");
                    assert!(flip == 0x20 && changed[index].is_ascii_uppercase());
                }
            }
        }
    }
}
