//! A lock that keeps other processes out of a file.
//!
//! The lock has a file of its own, since the other one is replaced. It ends with the process, however that happens.
//! A lock counts only while its file is at its path: if that file is deleted, another process makes a new one, and
//! both would hold a lock.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{leads_to, private};

/// How often the lock file may vanish while it is being locked.
const TRIES: u32 = 10;

/// A lock that was not taken.
#[derive(Debug)]
pub(crate) enum NotLocked {
    /// Somebody else has it.
    InUse { path: PathBuf },
    /// The system said no.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NotLocked {
    let path = path.to_owned();
    move |source| NotLocked::Io { action, path, source }
}

#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Kept open for its lock.
    file: File,
}

impl Lock {
    /// Takes the lock whose file is at `path`, which is made if it is not there.
    pub(crate) fn take(path: &Path) -> Result<Self, NotLocked> {
        for _ in 0..TRIES {
            if let Some(file) = locked(open(path)?, path)? {
                return Ok(Self { path: path.to_owned(), file });
            }
        }
        Err(NotLocked::InUse { path: path.to_owned() })
    }

    /// Makes sure that others are kept out still: takes the lock again if its file was deleted or replaced.
    pub(crate) fn renew(&mut self) -> Result<(), NotLocked> {
        if !leads_to(&self.path, &self.file).map_err(failed("look at", &self.path))? {
            *self = Self::take(&self.path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, NotLocked> {
    let file = private().write(true).create(true).truncate(false).open(path);
    file.map_err(failed("open", path))
}

/// The file, locked; `None` if by then it is not at `path` any more.
fn locked(file: File, path: &Path) -> Result<Option<File>, NotLocked> {
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => {
            return Err(NotLocked::InUse { path: path.to_owned() });
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
        assert!(matches!(Lock::take(&path), Err(NotLocked::InUse { .. })));
        fs::remove_file(&path).unwrap();
        let second = Lock::take(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(first.renew(), Err(NotLocked::InUse { .. })));
        }
        drop(second);
        first.renew().unwrap();
        assert!(matches!(Lock::take(&path), Err(NotLocked::InUse { .. })));
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
