//! The journal on a disk that fails.

use std::sync::Arc;

use super::disk::{Disk, NotReplaced, OnDisk};
use super::line::replay;
use super::tail::OpenLines;
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
    /// What comes of the wish for another file in its place: whether it is in doubt.
    irreplaceable: Option<bool>,
    replaced: usize,
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

    fn replaced(&self, bytes: &[u8]) -> Result<Arc<dyn Disk>, NotReplaced> {
        let mut fake = self.0.lock();
        if let Some(in_doubt) = fake.irreplaceable {
            let (action, path, source) = ("write", "new".into(), io::Error::other("no room"));
            return Err(NotReplaced { action, path, source, in_doubt });
        }
        fake.bytes = bytes.to_vec();
        fake.synced = bytes.len();
        fake.replaced += 1;
        Ok(Arc::new(self.clone()))
    }
}

fn journal() -> (Journal, Fake) {
    let fake = Fake::default();
    let header = encode(&Entry::header()).unwrap();
    fake.append(&header).unwrap();
    let tail = Tail::new(Arc::new(fake.clone()), header.len() as u64, OpenLines::new());
    let (tail, safe) = (Mutex::new(tail), Mutex::new(0));
    (Journal { path: "orders.journal".into(), tail, safe, _lock: None }, fake)
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
                Err(damage) => assert!(damage.line >= 1 && !damage.is_whole, "{damage:?}"),
                Ok(left) => {
                    let tags: Vec<_> = left.iter().map(|intent| intent.tag.as_str()).collect();
                    assert_eq!(tags, ["a", "b", "c"], "{index} {flip}");
                    assert!(flip == 0x20 && changed[index].is_ascii_uppercase());
                }
            }
        }
    }
}

#[test]
fn what_the_other_lines_tell_of_a_damaged_journal_is_kept() {
    let mut lines = vec![encode(&Entry::header()).unwrap()];
    for tag in ["a", "b", "c", "d"] {
        lines.push(encode(&Entry::Intent(Box::new(intent(tag)))).unwrap());
    }
    lines.push(encode(&Entry::End { tag: "c".to_owned(), end: placed() }).unwrap());
    lines[2][20] ^= 1;
    let damage = replay(&lines.concat()).unwrap_err();
    let tags: Vec<_> = damage.left.iter().map(|intent| intent.tag.as_str()).collect();
    assert_eq!((damage.line, damage.is_whole, tags), (3, false, vec!["a", "d"]));
}

#[test]
fn a_line_of_a_newer_version_is_not_called_damaged() {
    let sealed = |json: &str| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    let header = String::from_utf8(encode(&Entry::header()).unwrap()).unwrap();
    let known = String::from_utf8(encode(&Entry::Intent(Box::new(intent("a")))).unwrap()).unwrap();
    for (journal, line) in [
        (format!("{header}{}{known}", sealed(r#"{"split":{"tag":"b"}}"#)), 2),
        // Even as the last of all, and without its end.
        (format!("{header}{known}{}", sealed(r#"{"split":{"tag":"b"}}"#).trim_end()), 3),
        (format!("{}{known}", sealed(r#"{"journal":{"version":2}}"#)), 1),
    ] {
        let damage = replay(journal.as_bytes()).unwrap_err();
        assert!(damage.is_whole && damage.line == line, "{damage:?}");
        assert_eq!(damage.left.len(), 1);
    }
}

/// Ends that cannot be written, from many threads, while another may.
#[test]
fn no_answer_that_waits_for_room_is_lost() {
    let (journal, fake) = journal();
    for number in 0..16 {
        journal.begin(&intent(&format!("t{number}"))).unwrap();
    }
    fake.0.lock().room = Some(5);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let journal = &journal;
            scope.spawn(move || journal.end(&format!("t{number}"), &placed()));
        }
    });
    assert_eq!(left(&fake).len(), 16);
    fake.0.lock().room = None;
    journal.begin(&intent("last")).unwrap();
    assert_eq!(left(&fake), ["last"]);
}

#[test]
fn a_long_journal_is_shortened_to_what_is_open() {
    let (journal, fake) = journal();
    journal.tail.lock().long = 4000;
    for tag in ["a", "b"] {
        journal.begin(&intent(tag)).unwrap();
    }
    journal.end("a", &placed());
    let mut most = 0;
    for number in 0..100 {
        let tag = format!("t{number}");
        journal.begin(&intent(&tag)).unwrap();
        {
            let fakery = fake.0.lock();
            assert_eq!(fakery.synced, fakery.bytes.len(), "{tag}");
            most = most.max(fakery.bytes.len());
        }
        journal.tail.lock().long = 4000;
        assert_eq!(left(&fake), ["b".to_owned(), tag.clone()]);
        journal.end(&tag, &placed());
    }
    assert!(most < 4500 && fake.0.lock().replaced > 5, "{most}");
    assert_eq!(left(&fake), ["b"]);
}

#[test]
fn what_is_open_is_not_rewritten_over_and_over() {
    let (journal, fake) = journal();
    journal.tail.lock().long = 1000;
    for number in 0..100 {
        journal.begin(&intent(&format!("t{number}"))).unwrap();
    }
    assert_eq!((left(&fake).len(), fake.0.lock().replaced), (100, 0));
}

/// Without room for another file the old one goes on.
#[test]
fn a_journal_that_cannot_be_shortened_grows() {
    let (journal, fake) = journal();
    journal.tail.lock().long = 1000;
    fake.0.lock().irreplaceable = Some(false);
    for number in 0..50 {
        let tag = format!("t{number}");
        journal.begin(&intent(&tag)).unwrap();
        {
            let fakery = fake.0.lock();
            assert_eq!(fakery.synced, fakery.bytes.len());
        }
        journal.end(&tag, &placed());
    }
    assert_eq!(left(&fake), [""; 0]);
    // Where nobody knows which of the two files is there, no order is safe.
    fake.0.lock().irreplaceable = Some(true);
    journal.tail.lock().long = 1000;
    for _ in 0..2 {
        journal.begin(&intent("lost")).unwrap_err();
    }
    let error = journal.begin(&intent("lost")).unwrap_err().to_string();
    assert!(error.contains("could not confirm a shorter file"), "{error}");
}

/// On a real disk, by many threads.
#[test]
fn a_file_that_is_shortened_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.journal");
    let (journal, _) = Journal::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..60 {
                    let tag = format!("t{thread}n{number}");
                    journal.tail.lock().long = 3000;
                    journal.begin(&intent(&tag)).unwrap();
                    if number % 20 != 0 {
                        journal.end(&tag, &placed());
                    }
                }
            });
        }
    });
    assert!(std::fs::metadata(&path).unwrap().len() < 40_000);
    drop(journal);
    let (journal, left) = Journal::open(&path).unwrap();
    let mut tags: Vec<String> = left.into_iter().map(|intent| intent.tag).collect();
    tags.sort();
    let expected = (0..4).flat_map(|thread| [0, 20, 40].map(|n| format!("t{thread}n{n}")));
    assert_eq!(tags, expected.collect::<Vec<_>>());
    drop(journal);
    // Nothing but the journal and its lock is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_takes_the_place_of_another_is_all_there_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "old").unwrap();
    // Nothing can take the place of a folder's `.new`.
    std::fs::create_dir(folder.path().join("file.new")).unwrap();
    let failure = OnDisk::replace(&path, b"new").unwrap_err();
    assert!(!failure.in_doubt, "{failure:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    std::fs::remove_dir(folder.path().join("file.new")).unwrap();
    let disk = OnDisk::replace(&path, b"new").unwrap();
    disk.append(b"er").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"newer");
}
