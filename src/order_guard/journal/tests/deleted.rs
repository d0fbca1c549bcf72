//! A journal whose path does not refer to the open file: it was deleted or replaced.

use super::*;

#[test]
fn deleted_file_is_recreated_before_the_order_is_sent() {
    let (journal, fake) = journal();
    for tag in ["a", "b"] {
        journal.record_intent(&intent(tag)).unwrap();
    }
    journal.record_outcome("a", &placed());
    for (tag, open) in [("c", &["b", "c"][..]), ("d", &["b", "c", "d"])] {
        fake.0.lock().path_state = Some(PathState::Missing);
        journal.record_intent(&intent(tag)).unwrap();
        assert_eq!(open_tags(&fake), open);
        let state = fake.0.lock();
        assert_eq!(state.synced, state.bytes.len());
    }
    assert_eq!(fake.0.lock().replaced, 2);
}

/// The disk may have space again, and a folder may be restored.
#[test]
fn deleted_file_that_cannot_be_recreated_takes_no_order_until_it_can() {
    let (journal, fake) = journal();
    journal.record_intent(&intent("a")).unwrap();
    fake.0.lock().path_state = Some(PathState::Missing);
    fake.0.lock().replace_failure = Some(false);
    for _ in 0..2 {
        journal.record_intent(&intent("b")).unwrap_err();
        journal.retract("b");
    }
    fake.0.lock().replace_failure = None;
    journal.record_intent(&intent("c")).unwrap();
    assert_eq!(open_tags(&fake), ["a", "c"]);
}

#[test]
fn another_file_poisons_the_journal() {
    let (journal, fake) = journal();
    journal.record_intent(&intent("a")).unwrap();
    fake.0.lock().path_state = Some(PathState::Foreign("a file of another"));
    journal.record_intent(&intent("b")).unwrap_err();
    fake.0.lock().path_state = None;
    let error = journal.record_intent(&intent("c")).unwrap_err().to_string();
    assert!(
        error.contains("a file of another") && error.contains("recover in this one"),
        "{error}"
    );
    assert_eq!(fake.0.lock().replaced, 0);
}

/// A recreated file is checked again, a limited number of times.
#[test]
fn file_that_vanishes_each_time_takes_no_order() {
    #[derive(Debug)]
    struct Vanishing(FakeFile);
    impl JournalFile for Vanishing {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            self.0.append(bytes)
        }
        fn truncate(&self, len: u64) -> io::Result<()> {
            self.0.truncate(len)
        }
        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
        fn replace_with(&self, bytes: &[u8]) -> Result<Arc<dyn JournalFile>, ReplaceError> {
            self.0.replace_with(bytes)?;
            Ok(Arc::new(Self(self.0.clone())))
        }
        fn check_path(&self, _: u64) -> io::Result<PathState> {
            Ok(PathState::Missing)
        }
    }
    let (journal, fake) = journal();
    journal.writer.lock().file = Arc::new(Vanishing(fake));
    let error = journal.record_intent(&intent("a")).unwrap_err().to_string();
    assert!(error.contains("not at its path"), "{error}");
}

/// The next process does not search for an order that was refused.
#[test]
fn order_that_was_refused_is_retracted() {
    let (journal, fake) = journal();
    journal.record_intent(&intent("a")).unwrap();
    journal.retract("a");
    assert_eq!(open_tags(&fake), [""; 0]);
    let len = fake.0.lock().bytes.len();
    journal.retract("never written");
    assert_eq!(fake.0.lock().bytes.len(), len);
}
