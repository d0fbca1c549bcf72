//! Compaction of a long journal.

use super::*;

#[test]
fn a_long_journal_is_compacted_to_what_is_open() {
    let (journal, fake) = journal();
    journal.writer.lock().compact_above = 4000;
    for tag in ["a", "b"] {
        journal.record_intent(&intent(tag)).unwrap();
    }
    journal.record_outcome("a", &placed());
    let mut longest = 0;
    for number in 0..100 {
        let tag = format!("t{number}");
        journal.record_intent(&intent(&tag)).unwrap();
        {
            let state = fake.0.lock();
            assert_eq!(state.synced, state.bytes.len(), "{tag}");
            longest = longest.max(state.bytes.len());
        }
        journal.writer.lock().compact_above = 4000;
        assert_eq!(open_tags(&fake), ["b".to_owned(), tag.clone()]);
        journal.record_outcome(&tag, &placed());
    }
    assert!(longest < 4500 && fake.0.lock().replaced > 5, "{longest}");
    assert_eq!(open_tags(&fake), ["b"]);
}

#[test]
fn what_is_open_is_not_rewritten_over_and_over() {
    let (journal, fake) = journal();
    journal.writer.lock().compact_above = 1000;
    for number in 0..100 {
        journal.record_intent(&intent(&format!("t{number}"))).unwrap();
    }
    assert_eq!((open_tags(&fake).len(), fake.0.lock().replaced), (100, 0));
}

/// Without space for another file, the old one stays in use.
#[test]
fn a_journal_that_cannot_be_compacted_grows() {
    let (journal, fake) = journal();
    journal.writer.lock().compact_above = 1000;
    fake.0.lock().replace_failure = Some(false);
    for number in 0..50 {
        let tag = format!("t{number}");
        journal.record_intent(&intent(&tag)).unwrap();
        {
            let state = fake.0.lock();
            assert_eq!(state.synced, state.bytes.len());
        }
        journal.record_outcome(&tag, &placed());
    }
    assert_eq!(open_tags(&fake), [""; 0]);
    // If it is unknown which of the two files is there, no order is safe.
    fake.0.lock().replace_failure = Some(true);
    journal.writer.lock().compact_above = 1000;
    for _ in 0..2 {
        journal.record_intent(&intent("lost")).unwrap_err();
    }
    let error = journal.record_intent(&intent("lost")).unwrap_err().to_string();
    assert!(error.contains("could not confirm a new file"), "{error}");
}

/// Many threads write to a real disk.
#[test]
fn a_file_that_is_compacted_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.journal");
    let (journal, _) = Journal::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..60 {
                    let tag = format!("t{thread}n{number}");
                    journal.writer.lock().compact_above = 3000;
                    journal.record_intent(&intent(&tag)).unwrap();
                    if number % 20 != 0 {
                        journal.record_outcome(&tag, &placed());
                    }
                }
            });
        }
    });
    assert!(std::fs::metadata(&path).unwrap().len() < 40_000);
    drop(journal);
    let (journal, pending) = Journal::open(&path).unwrap();
    let mut tags: Vec<String> = pending.into_iter().map(|intent| intent.tag).collect();
    tags.sort();
    let expected = (0..4).flat_map(|thread| [0, 20, 40].map(|n| format!("t{thread}n{n}")));
    assert_eq!(tags, expected.collect::<Vec<_>>());
    drop(journal);
    // Only the journal and its lock remain.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

fn at(path: &std::path::Path) -> FileLocation {
    FileLocation { path: path.to_owned(), name: path.to_owned() }
}

#[test]
fn a_file_that_takes_the_place_of_another_is_all_there_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "old").unwrap();
    // A folder at the path of the `.new` prevents the replacement.
    std::fs::create_dir(folder.path().join("file.new")).unwrap();
    let failure = DiskFile::create_in_place(&at(&path), b"new").unwrap_err();
    assert!(!failure.may_have_replaced, "{failure:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    std::fs::remove_dir(folder.path().join("file.new")).unwrap();
    // A new file that could not replace the old one is removed.
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let failure = DiskFile::create_in_place(&at(&place), b"new").unwrap_err();
    assert!(!failure.may_have_replaced, "{failure:?}");
    assert!(!folder.path().join("place.new").exists());
    let disk = DiskFile::create_in_place(&at(&path), b"new").unwrap();
    disk.append(b"er").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"newer");
}
