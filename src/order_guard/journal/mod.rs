//! The journal: a file of the orders without a final answer.
//!
//! A line is durable before an order is sent, and another line is written when its outcome is known. The guard
//! does not wait for the second: if it is lost, the order is searched for once more, which does no harm. Concurrent
//! orders share one sync.
//!
//! - `record.rs` is the format of one line: a checksum and JSON.
//! - `writer.rs` appends lines, and compacts the file once it is long.
//! - `file.rs` is the file, a trait so that tests can have one that is full.
//! - `open.rs` reads an existing journal and drops what is answered.
//!
//! # Deleted or replaced while it is open
//!
//! A line helps only if the next process finds it. So once a line is durable, and before its order is sent, the lock
//! and the file are compared with what is at their paths. If the journal is missing, it is recreated with all pending
//! intents. If another file is there, no more orders are recorded.
//!
//! The lock is checked after the line is durable, and a guard reads a journal only after it took the lock. So a guard
//! that takes the lock after this check reads the line, and one that took it before is noticed.

mod file;
mod open;
mod record;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::open::JournalError;
use self::record::{JournalRecord, decode, encode};
use self::writer::JournalWriter;
use super::pending::{IntentLog, IntentOutcome};
use super::reconcile::matching::Intent;
use crate::files::FileLock;

/// The open journal of one process.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    writer: Mutex<JournalWriter>,
    synced: Mutex<SyncState>,
}

/// What is durable. The lock is held during a sync, and while the file is replaced.
#[derive(Debug)]
struct SyncState {
    /// The number of writes that are durable, in a file that the next process will find.
    writes: u64,
    /// The lock file that excludes other guards; `None` only in tests.
    lock: Option<FileLock>,
}

/// The maximum number of times that a missing or long journal is replaced for one order. A path at which each new file
/// vanishes must not occupy the caller for ever.
const MAX_REPLACE_ATTEMPTS: u32 = 3;

impl Journal {
    /// Writes an intent, and waits until it is durable.
    fn write_durably(&self, tag: &str, line: Vec<u8>) -> io::Result<()> {
        let number = self.writer.lock().write_intent(tag, line)?;
        let mut synced = self.synced.lock();
        if synced.writes >= number {
            return Ok(()); // The sync of another order covered it.
        }
        let (file, writes) = {
            let writer = self.writer.lock();
            writer.check_usable()?;
            (Arc::clone(&writer.file), writer.write_count)
        };
        if let Err(error) = file.sync() {
            // The content of the disk is unknown now: a later sync may succeed without this line.
            let reason = format!("the disk could not confirm a line: {error}");
            self.writer.lock().poison(reason);
            return Err(error);
        }
        synced.writes = self.ensure_in_place(synced.lock.as_mut(), writes)?;
        Ok(())
    }

    /// Ensures that the next process will find the first `writes`, which are durable. Returns how many writes it will
    /// find.
    fn ensure_in_place(&self, mut lock: Option<&mut FileLock>, mut writes: u64) -> io::Result<u64> {
        for _ in 0..MAX_REPLACE_ATTEMPTS {
            if let Some(lock) = &mut lock {
                lock.ensure_held().map_err(JournalError::from).map_err(io::Error::other)?;
            }
            let mut writer = self.writer.lock();
            if !writer.replace_if_needed()? {
                return Ok(writes);
            }
            writes = writer.write_count; // The next round checks that the new file is in place.
        }
        Err(io::Error::other(
            "it was recreated, and is not at its path; restore the folder or link that refers to it",
        ))
    }
}

impl IntentLog for Journal {
    fn record_intent(&self, intent: &Intent) -> io::Result<()> {
        let tag = intent.tag.clone();
        let line = encode(&JournalRecord::Intent(Box::new(intent.clone())))?;
        // A line that cannot be read back would make the journal unreadable at the next start.
        decode(line.trim_ascii_end()).map_err(io::Error::other)?;
        self.write_durably(&tag, line).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    fn record_outcome(&self, tag: &str, outcome: &IntentOutcome) {
        let record = JournalRecord::End { tag: tag.to_owned(), end: outcome.clone() };
        let Ok(line) = encode(&record) else { return };
        self.writer.lock().write_outcome(tag, &line);
    }

    fn retract(&self, tag: &str) {
        if self.writer.lock().is_open(tag) {
            self.record_outcome(tag, &IntentOutcome::NotPlaced);
        }
    }
}

#[cfg(test)]
mod tests;
