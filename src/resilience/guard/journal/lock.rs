//! The lock that keeps other guards out of the journal.
//!
//! The lock has a file of its own, since the journal's is replaced. It ends with the process, however that happens.
//! A lock counts only while its file is at its path: if that file is deleted, another guard makes a new one, and
//! both would hold a lock.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::disk::{leads_to, private};
use super::open::{JournalError, failed};

/// How often the lock file may vanish while it is being locked.
const TRIES: u32 = 10;

#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// Kept open for its lock.
    file: File,
}

impl Lock {
    /// Takes the lock whose file is at `path`, which is made if it is not there.
    pub(super) fn take(path: &Path) -> Result<Self, JournalError> {
        for _ in 0..TRIES {
            if let Some(file) = locked(open(path)?, path)? {
                return Ok(Self { path: path.to_owned(), file });
            }
        }
        Err(JournalError::InUse { path: path.to_owned() })
    }

    /// Makes sure that others are kept out still: takes the lock again if its file was deleted or replaced.
    pub(super) fn renew(&mut self) -> Result<(), JournalError> {
        if !leads_to(&self.path, &self.file).map_err(failed("look at", &self.path))? {
            *self = Self::take(&self.path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, JournalError> {
    let file = private().write(true).create(true).truncate(false).open(path);
    file.map_err(failed("open", path))
}

/// The file, locked; `None` if by then it is not at `path` any more.
fn locked(file: File, path: &Path) -> Result<Option<File>, JournalError> {
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => {
            return Err(JournalError::InUse { path: path.to_owned() });
        }
        Err(fs4::TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
    }
    let is_there = leads_to(path, &file).map_err(failed("look at", path))?;
    Ok(is_there.then_some(file))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lock_whose_file_was_deleted_is_taken_again_unless_another_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut first = Lock::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        first.renew().unwrap();
        assert!(matches!(Lock::take(&path), Err(JournalError::InUse { .. })));
        fs::remove_file(&path).unwrap();
        let second = Lock::take(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(first.renew(), Err(JournalError::InUse { .. })));
        }
        drop(second);
        first.renew().unwrap();
        assert!(matches!(Lock::take(&path), Err(JournalError::InUse { .. })));
    }

    /// Two guards find no lock file, and it is deleted between the opening of the one and its locking.
    #[test]
    fn file_that_vanished_before_it_was_locked_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = Lock::take(&path).unwrap();
        assert!(locked(file, &path).unwrap().is_none());
    }
}
