//! What is at the path of the journal is not the file that is open.

use super::*;

#[test]
fn deleted_file_is_written_anew_before_the_order_may_go() {
    let (journal, fake) = journal();
    for tag in ["a", "b"] {
        journal.begin(&intent(tag)).unwrap();
    }
    journal.end("a", &placed());
    for (tag, open) in [("c", &["b", "c"][..]), ("d", &["b", "c", "d"])] {
        fake.0.lock().instead = Some(Found::Nothing);
        journal.begin(&intent(tag)).unwrap();
        assert_eq!(left(&fake), open);
        let fakery = fake.0.lock();
        assert_eq!(fakery.synced, fakery.bytes.len());
    }
    assert_eq!(fake.0.lock().replaced, 2);
}

/// There may be room again, and a folder may come back.
#[test]
fn deleted_file_that_cannot_be_written_anew_takes_no_order_until_it_can() {
    let (journal, fake) = journal();
    journal.begin(&intent("a")).unwrap();
    fake.0.lock().instead = Some(Found::Nothing);
    fake.0.lock().irreplaceable = Some(false);
    for _ in 0..2 {
        journal.begin(&intent("b")).unwrap_err();
        journal.take_back("b");
    }
    fake.0.lock().irreplaceable = None;
    journal.begin(&intent("c")).unwrap();
    assert_eq!(left(&fake), ["a", "c"]);
}

#[test]
fn another_file_breaks_the_journal() {
    let (journal, fake) = journal();
    journal.begin(&intent("a")).unwrap();
    fake.0.lock().instead = Some(Found::Other("a file of another"));
    journal.begin(&intent("b")).unwrap_err();
    fake.0.lock().instead = None;
    let error = journal.begin(&intent("c")).unwrap_err().to_string();
    assert!(
        error.contains("a file of another") && error.contains("recover in this one"),
        "{error}"
    );
    assert_eq!(fake.0.lock().replaced, 0);
}

/// A file that is put there is looked for once more, and not for ever.
#[test]
fn file_that_vanishes_each_time_takes_no_order() {
    #[derive(Debug)]
    struct Vanishing(Fake);
    impl Disk for Vanishing {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            self.0.append(bytes)
        }
        fn cut(&self, len: u64) -> io::Result<()> {
            self.0.cut(len)
        }
        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
        fn replaced(&self, bytes: &[u8]) -> Result<Arc<dyn Disk>, NotReplaced> {
            self.0.replaced(bytes)?;
            Ok(Arc::new(Self(self.0.clone())))
        }
        fn found(&self, _: u64) -> io::Result<Found> {
            Ok(Found::Nothing)
        }
    }
    let (journal, fake) = journal();
    journal.tail.lock().disk = Arc::new(Vanishing(fake));
    let error = journal.begin(&intent("a")).unwrap_err().to_string();
    assert!(error.contains("not at its path"), "{error}");
}

/// What was refused is not asked after by the next process.
#[test]
fn order_that_was_refused_is_taken_back() {
    let (journal, fake) = journal();
    journal.begin(&intent("a")).unwrap();
    journal.take_back("a");
    assert_eq!(left(&fake), [""; 0]);
    let len = fake.0.lock().bytes.len();
    journal.take_back("never written");
    assert_eq!(fake.0.lock().bytes.len(), len);
}
