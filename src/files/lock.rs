//! A lock that keeps other processes out of a file.
//!
//! The lock has a file of its own, since the other file is replaced. The lock ends with the process, however the
//! process ends. It counts only while its file is at its path: if that file is deleted, another process creates a new
//! one, and both would hold a lock.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{owner_only_options, path_refers_to};

/// Bounds how often the lock file may vanish while it is being locked. Each time needs another process that deletes it.
const MAX_ATTEMPTS: u32 = 10;

/// Why a lock could not be acquired.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process, or this one, holds the lock.
    InUse { path: PathBuf },
    /// A system call failed.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Io { action, path, source }
}

#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    /// Kept open, because closing it releases the lock.
    file: File,
}

impl FileLock {
    /// Acquires the lock whose file is at `path`, and creates the file if it is missing.
    pub(crate) fn acquire(path: &Path) -> Result<Self, LockError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(file) = try_lock(open_lock_file(path)?, path)? {
                return Ok(Self { path: path.to_owned(), file });
            }
        }
        Err(LockError::InUse { path: path.to_owned() })
    }

    /// Ensures that other processes are still kept out: acquires the lock again if its file was deleted or replaced.
    pub(crate) fn ensure_held(&mut self) -> Result<(), LockError> {
        if !path_refers_to(&self.path, &self.file).map_err(io_error("check", &self.path))? {
            *self = Self::acquire(&self.path)?;
        }
        Ok(())
    }
}

fn open_lock_file(path: &Path) -> Result<File, LockError> {
    let file = owner_only_options().write(true).create(true).truncate(false).open(path);
    file.map_err(io_error("open", path))
}

/// Locks the file. Returns `None` if it is no longer at `path` afterwards.
fn try_lock(file: File, path: &Path) -> Result<Option<File>, LockError> {
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => {
            return Err(LockError::InUse { path: path.to_owned() });
        }
        Err(fs4::TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
    }
    let is_at_path = path_refers_to(path, &file).map_err(io_error("check", path))?;
    Ok(is_at_path.then_some(file))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lock_whose_file_was_deleted_is_taken_again_unless_another_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut first = FileLock::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        first.ensure_held().unwrap();
        assert!(matches!(FileLock::acquire(&path), Err(LockError::InUse { .. })));
        fs::remove_file(&path).unwrap();
        let second = FileLock::acquire(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(first.ensure_held(), Err(LockError::InUse { .. })));
        }
        drop(second);
        first.ensure_held().unwrap();
        assert!(matches!(FileLock::acquire(&path), Err(LockError::InUse { .. })));
    }

    /// Two guards find no lock file, and it is deleted after the first has opened it and before it is locked.
    #[test]
    fn file_that_vanished_before_it_was_locked_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = open_lock_file(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = FileLock::acquire(&path).unwrap();
        assert!(try_lock(file, &path).unwrap().is_none());
    }
}
