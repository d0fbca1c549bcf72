//! The journal: a file of the orders without a final answer.
//!
//! A line is written, and is safe on the disk, before an order is sent; another when its answer is
//! known. The second is not waited for: if it is lost, the order is asked after once more, which does
//! no harm. Many orders at once share one wait for the disk.
//!
//! - `line` is one line: a checksum and JSON.
//! - `disk` is the file, so that tests can have one that is full.
//! - `open` reads what is there and drops what is answered.
//! - `tail` is where the file grows; it is shortened there once it is long.
//!
//! # Deleted or replaced while it is open
//!
//! A line helps only if the next process finds it. So once a line is safe on the disk, and before its order may go,
//! the lock and the file are compared with what is at their paths, by a look at each. What is missing is made anew,
//! with all that is open. Another file is somebody else's: no order is written down any more.
//!
//! The lock is looked at after the line is safe, and a guard reads a journal after it took the lock. So a guard that
//! takes the lock after that look reads the line, and one that took it before is seen.

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

/// What is safe. Held while waiting for the disk, and while the file is replaced.
#[derive(Debug)]
struct SyncState {
    /// How many writes are on the disk, where the next process will find them.
    writes: u64,
    /// What keeps other guards out; `None` in tests alone.
    lock: Option<FileLock>,
}

/// How often a journal that is not there is made anew for one order.
const MAX_REPLACE_ATTEMPTS: u32 = 3;

impl Journal {
    /// Notes an intent, and waits until it is safe.
    fn write_durably(&self, tag: &str, line: Vec<u8>) -> io::Result<()> {
        let number = self.writer.lock().write_intent(tag, line)?;
        let mut safe = self.synced.lock();
        if safe.writes >= number {
            return Ok(()); // By the wait of another order.
        }
        let (disk, writes) = {
            let tail = self.writer.lock();
            tail.check_usable()?;
            (Arc::clone(&tail.file), tail.write_count)
        };
        if let Err(error) = disk.sync() {
            // What is on the disk now, nobody knows: a later sync may succeed without this line.
            let why = format!("the disk could not confirm a line: {error}");
            self.writer.lock().poison(why);
            return Err(error);
        }
        safe.writes = self.ensure_in_place(safe.lock.as_mut(), writes)?;
        Ok(())
    }

    /// Makes sure that the next process will find the first `writes`, which are on the disk. Gives how many of them
    /// it will find.
    fn ensure_in_place(&self, mut lock: Option<&mut FileLock>, mut writes: u64) -> io::Result<u64> {
        for _ in 0..MAX_REPLACE_ATTEMPTS {
            if let Some(lock) = &mut lock {
                lock.ensure_held().map_err(JournalError::from).map_err(io::Error::other)?;
            }
            let mut tail = self.writer.lock();
            if !tail.replace_if_needed()? {
                return Ok(writes);
            }
            writes = tail.write_count; // And is there what was put there?
        }
        Err(io::Error::other(
            "it was written anew, and is not at its path; put back what leads there",
        ))
    }
}

impl IntentLog for Journal {
    fn record_intent(&self, intent: &Intent) -> io::Result<()> {
        let mut intent = intent.clone();
        // Nobody knows what is in them, and no search needs them.
        intent.order.extra.clear();
        let tag = intent.tag.clone();
        let line = encode(&JournalRecord::Intent(Box::new(intent)))?;
        // What could not be read back would keep the journal shut at the next start.
        decode(line.trim_ascii_end()).map_err(io::Error::other)?;
        self.write_durably(&tag, line).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    fn record_outcome(&self, tag: &str, end: &IntentOutcome) {
        let entry = JournalRecord::End { tag: tag.to_owned(), end: end.clone() };
        let Ok(line) = encode(&entry) else { return };
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
