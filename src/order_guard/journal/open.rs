//! Opening of a journal, and the errors of it.
//!
//! Answered intents are dropped on opening, so that the file does not grow for ever: the pending ones are written to
//! a new file, which replaces the old one once it is durable (`file.rs`).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{DiskFile, FileLocation, ReplaceError};
use super::record::{Corruption, replay};
use super::writer::JournalWriter;
use super::{Journal, SyncState};
use crate::bounded::ReadLimit;
use crate::files::{FileLock, LockError, canonical_path, read_bounded, with_suffix};
use crate::order_guard::reconcile::matching::Intent;

/// The maximum size of a journal that is read: 1 GiB, so that a wrong file does not fill the memory. A journal is
/// compacted as it grows, and stays far below it.
const MAX_JOURNAL_SIZE: ReadLimit = ReadLimit::new(1 << 30, 1 << 30);

/// The error for a journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused: the folder is missing or read-only, or the disk is full.
    #[error("cannot {action} {}: {source}; without it no order can be written down before it is sent, so give the journal a folder that can be written to", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another guard has it open, in this process or in another one.
    #[error("{} is in use: another guard has this journal open; stop the other process, or give each its own file", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A line before the last one is damaged, so an order may be lost there.
    #[error("{}, line {line}: {why}; an order may be lost there: look through the broker's order book{}, then move the file away", path.display(), named(open))]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// The first such line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
        /// The tags of the pending orders in the other lines. Search the broker's order book for them, and for
        /// unknown orders.
        open: Vec<String>,
    },
    /// A line is intact, but was written by a newer version of this library.
    #[error("{}, line {line}: {why}; open the journal with the newer version that wrote it, or look through the broker's order book{}, then move the file away", path.display(), named(open))]
    NotUnderstood {
        /// The journal.
        path: PathBuf,
        /// The first such line, counted from 1.
        line: usize,
        /// What is not understood.
        why: String,
        /// The tags of the orders without an answer in the other lines.
        open: Vec<String>,
    },
}

/// Formats the tags to search for.
fn named(open: &[String]) -> String {
    match open {
        [] => String::new(),
        tags => {
            format!(", also for the tags without an answer in the other lines: {}", tags.join(", "))
        }
    }
}

impl JournalError {
    fn from_corruption(path: &Path, damage: Corruption) -> Self {
        let Corruption { line, why, is_intact, open_intents } = damage;
        let path = path.to_owned();
        let open = open_intents.into_iter().map(|intent| intent.tag).collect();
        match is_intact {
            true => Self::NotUnderstood { path, line, why, open },
            false => Self::Corrupt { path, line, why, open },
        }
    }
}

impl From<ReplaceError> for JournalError {
    fn from(ReplaceError { action, path, source, .. }: ReplaceError) -> Self {
        Self::Io { action, path, source }
    }
}

impl From<LockError> for JournalError {
    fn from(failure: LockError) -> Self {
        match failure {
            LockError::InUse { path } => Self::InUse { path },
            LockError::Io { action, path, source } => Self::Io { action, path, source },
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

impl Journal {
    /// Opens the journal at `path`, or creates it. Returns it with the pending intents in it.
    pub(in crate::order_guard) fn open(path: &Path) -> Result<(Self, Vec<Intent>), JournalError> {
        let name = path::absolute(path).map_err(io_error("find", path))?;
        let path = canonical_path(path).map_err(io_error("find", path))?;
        if path.extension().is_some_and(|ending| ending == "new" || ending == "lock") {
            let reason =
                "a name with this ending belongs to the journal without it; take another one";
            return Err(io_error("use", &path)(io::Error::new(ErrorKind::InvalidInput, reason)));
        }
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            let reason = "it is a folder, a device or a pipe; a journal is a file, which is replaced by a shorter one";
            return Err(io_error("use", &path)(io::Error::new(ErrorKind::InvalidInput, reason)));
        }
        let lock = FileLock::acquire(&with_suffix(&path, ".lock"))?;
        let journal = match read_bounded(&path, MAX_JOURNAL_SIZE) {
            Ok(journal) => journal,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let pending =
            replay(&journal).map_err(|damage| JournalError::from_corruption(&path, damage))?;
        let (lines, open_lines) =
            JournalWriter::encode_open(&pending).map_err(io_error("write", &path))?;
        let location = FileLocation { path, name };
        let file = DiskFile::create_in_place(&location, &lines)?;
        let writer = Mutex::new(JournalWriter::new(Arc::new(file), lines.len() as u64, open_lines));
        let synced = Mutex::new(SyncState { writes: 0, lock: Some(lock) });
        let journal = Self { path: location.path, writer, synced };
        Ok((journal, pending))
    }
}
