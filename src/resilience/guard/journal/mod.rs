//! The journal: a file of the orders without a final answer.
//!
//! A line is written, and is safe on the disk, before an order is sent; another when its answer is
//! known. The second is not waited for: if it is lost, the order is asked after once more, which does
//! no harm. Many orders at once share one wait for the disk.
//!
//! - `line` is one line: a checksum and JSON.
//! - `disk` is the file, so that tests can have one that is full.
//! - `open` reads what is there, drops what is answered, and locks other processes out.
//!
//! What cannot be written leaves no trace: the file is cut back to the last whole line. Only if that
//! fails too, or if the disk fails to confirm, is the journal broken, and no order can be sent until
//! it is opened anew; what the disk then holds, nobody knows.

mod disk;
mod line;
mod open;

use std::fs::File;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;

use self::disk::Disk;
use self::line::{Entry, encode};
pub use self::open::JournalError;
use super::find::Intent;
use super::intents::{End, Record};

/// The open journal of one process.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    disk: Box<dyn Disk>,
    tail: Mutex<Tail>,
    /// How many writes are safe on the disk. Held while waiting for it.
    safe: Mutex<u64>,
    /// Kept open for its lock.
    _lock: Option<File>,
}

/// Where the file ends.
#[derive(Debug, Default)]
struct Tail {
    /// Bytes, of whole lines.
    len: u64,
    /// How often something was written.
    writes: u64,
    /// Answers that could not be written. They go before the next line.
    kept: Vec<u8>,
    /// Why nothing can be written any more.
    broken: Option<String>,
}

impl Journal {
    /// Notes an intent, and waits until it is safe.
    fn write(&self, line: &[u8]) -> io::Result<()> {
        let number = self.append(line)?;
        let mut safe = self.safe.lock();
        if *safe >= number {
            return Ok(()); // By the wait of another order.
        }
        let writes = {
            let tail = self.tail.lock();
            broken(&tail)?;
            tail.writes
        };
        if let Err(error) = self.disk.sync() {
            // What is on the disk now, nobody knows: a later sync may succeed without this line.
            self.tail.lock().broken = Some(format!("the disk could not confirm a line: {error}"));
            return Err(error);
        }
        *safe = writes;
        Ok(())
    }

    fn append(&self, line: &[u8]) -> io::Result<u64> {
        let mut tail = self.tail.lock();
        broken(&tail)?;
        let mut bytes = tail.kept.clone();
        bytes.extend_from_slice(line);
        if let Err(error) = self.disk.append(&bytes) {
            if let Err(cut) = self.disk.cut(tail.len) {
                tail.broken =
                    Some(format!("a line was written by half ({error}) and stays so ({cut})"));
            }
            return Err(error);
        }
        tail.len += bytes.len() as u64;
        tail.writes += 1;
        tail.kept.clear();
        Ok(tail.writes)
    }
}

fn broken(tail: &Tail) -> io::Result<()> {
    match &tail.broken {
        Some(why) => Err(io::Error::other(format!("{why}; start again, and recover"))),
        None => Ok(()),
    }
}

impl Record for Journal {
    fn begin(&self, intent: &Intent) -> io::Result<()> {
        let mut intent = intent.clone();
        // Nobody knows what is in them, and no search needs them.
        intent.order.extra.clear();
        let line = encode(&Entry::Intent(Box::new(intent)))?;
        self.write(&line).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    fn end(&self, tag: &str, end: &End) {
        let entry = Entry::End { tag: tag.to_owned(), end: end.clone() };
        let Ok(line) = encode(&entry) else { return };
        if self.append(&line).is_err() {
            // Nothing is lost by waiting; and the next order hears of the trouble.
            self.tail.lock().kept.extend(line);
        }
    }
}

#[cfg(test)]
mod tests;
