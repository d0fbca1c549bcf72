//! A long journal gives way to a short one.

use super::*;

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
    assert!(error.contains("could not confirm a new file"), "{error}");
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

fn at(path: &std::path::Path) -> At {
    At { path: path.to_owned(), name: path.to_owned() }
}

#[test]
fn a_file_that_takes_the_place_of_another_is_all_there_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "old").unwrap();
    // Nothing can take the place of a folder's `.new`.
    std::fs::create_dir(folder.path().join("file.new")).unwrap();
    let failure = OnDisk::replace(&at(&path), b"new").unwrap_err();
    assert!(!failure.in_doubt, "{failure:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    std::fs::remove_dir(folder.path().join("file.new")).unwrap();
    // What was written in vain takes no room.
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let failure = OnDisk::replace(&at(&place), b"new").unwrap_err();
    assert!(!failure.in_doubt, "{failure:?}");
    assert!(!folder.path().join("place.new").exists());
    let disk = OnDisk::replace(&at(&path), b"new").unwrap();
    disk.append(b"er").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"newer");
}
