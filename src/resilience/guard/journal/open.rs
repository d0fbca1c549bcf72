//! From a path to an open journal.
//!
//! What is answered is dropped on the way, so that the file does not grow for ever: the rest is
//! written to a new file, which takes the place of the old one when it is safe. A process that dies
//! in between leaves the one or the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::line::{Corrupt, Entry, encode, replay};
use super::{Journal, Tail};
use crate::resilience::guard::find::Intent;

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system said no: a folder that is missing or read-only, a full disk.
    #[error("cannot {action} {}: {source}; without it no order can be written down before it is sent, so give the journal a folder that can be written to", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another guard has it open, in this process or in another one.
    #[error("{} is in use: another guard has this journal open; stop the other process, or give each its own file", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A line in the middle is not what was written.
    #[error("{}, line {line}: {why}; an order may be lost there: look through the broker's order book, then move the file away", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

impl Journal {
    /// Opens the journal at `path`, and gives the intents in it that have no end.
    pub(in crate::resilience::guard) fn open(
        path: &Path,
    ) -> Result<(Self, Vec<Intent>), JournalError> {
        let lock = lock(&with_suffix(path, ".lock"))?;
        let journal = match fs::read(path) {
            Ok(journal) => journal,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read", path)(error)),
        };
        let left = replay(&journal).map_err(|Corrupt { line, why }| JournalError::Corrupt {
            path: path.to_owned(),
            line,
            why,
        })?;
        let (file, len) = rewrite(path, &left)?;
        let journal = Self {
            path: path.to_owned(),
            disk: Box::new(file),
            tail: Mutex::new(Tail { len, ..Tail::default() }),
            safe: Mutex::new(0),
            _lock: Some(lock),
        };
        Ok((journal, left))
    }
}

/// Locks other processes out. The lock has a file of its own, since the journal's is replaced; and it
/// goes when the process goes, however that happens.
fn lock(path: &Path) -> Result<File, JournalError> {
    let file = writable().truncate(false).open(path).map_err(failed("open", path))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.to_owned() }),
        Err(fs4::TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}

/// A journal of `left` alone, in the place of the one that is there; and its length.
fn rewrite(path: &Path, left: &[Intent]) -> Result<(File, u64), JournalError> {
    let new = with_suffix(path, ".new");
    let write = failed("write", &new);
    let mut lines = Vec::new();
    let entries = left.iter().cloned().map(|intent| Entry::Intent(Box::new(intent)));
    let encoded = std::iter::once(Entry::header()).chain(entries).try_for_each(|entry| {
        lines.extend(encode(&entry)?);
        Ok(())
    });
    let written = encoded.and_then(|()| {
        let mut file = writable().truncate(true).open(&new)?;
        file.write_all(&lines)?;
        file.sync_all()
    });
    written.map_err(write)?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    sync_folder(path).map_err(failed("make safe the folder of", path))?;
    let file = OpenOptions::new().append(true).open(path).map_err(failed("open", path))?;
    Ok((file, lines.len() as u64))
}

/// A new name in a folder is safe when the folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder cannot be opened, and the system sees to it.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// For one's own eyes: what somebody trades is nobody else's business.
fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
