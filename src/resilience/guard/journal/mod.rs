//! The journal: a file of the orders without a final answer.
//!
//! A line is written, and is safe on the disk, before an order is sent; another when its answer is
//! known. The second is not waited for: if it is lost, the order is asked after once more, which does
//! no harm. Many orders at once share one wait for the disk.
//!
//! - `line` is one line: a checksum and JSON.
//! - `disk` is the file, so that tests can have one that is full.
//! - `open` reads what is there, drops what is answered, and locks other processes out.
//! - `tail` is where the file grows; it is shortened there once it is long.

mod disk;
mod line;
mod open;
mod tail;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use self::line::{Entry, decode, encode};
pub use self::open::JournalError;
use self::tail::Tail;
use super::find::Intent;
use super::intents::{End, Record};

/// The open journal of one process.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    tail: Mutex<Tail>,
    /// How many writes are safe on the disk. Held while waiting for it, and while the file is
    /// replaced.
    safe: Mutex<u64>,
    /// Kept open for its lock.
    _lock: Option<File>,
}

impl Journal {
    /// Notes an intent, and waits until it is safe.
    fn write(&self, tag: &str, line: Vec<u8>) -> io::Result<()> {
        let number = self.tail.lock().begin(tag, line)?;
        let mut safe = self.safe.lock();
        if *safe >= number {
            return Ok(()); // By the wait of another order.
        }
        let (disk, writes) = {
            let mut tail = self.tail.lock();
            tail.check()?;
            if tail.shorten()? {
                *safe = tail.writes;
                return Ok(());
            }
            (Arc::clone(&tail.disk), tail.writes)
        };
        if let Err(error) = disk.sync() {
            // What is on the disk now, nobody knows: a later sync may succeed without this line.
            let why = format!("the disk could not confirm a line: {error}");
            self.tail.lock().break_off(why);
            return Err(error);
        }
        *safe = writes;
        Ok(())
    }
}

impl Record for Journal {
    fn begin(&self, intent: &Intent) -> io::Result<()> {
        let mut intent = intent.clone();
        // Nobody knows what is in them, and no search needs them.
        intent.order.extra.clear();
        let tag = intent.tag.clone();
        let line = encode(&Entry::Intent(Box::new(intent)))?;
        // What could not be read back would keep the journal shut at the next start.
        decode(line.trim_ascii_end()).map_err(io::Error::other)?;
        self.write(&tag, line).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    fn end(&self, tag: &str, end: &End) {
        let entry = Entry::End { tag: tag.to_owned(), end: end.clone() };
        let Ok(line) = encode(&entry) else { return };
        self.tail.lock().end(tag, &line);
    }
}

#[cfg(test)]
mod tests;
