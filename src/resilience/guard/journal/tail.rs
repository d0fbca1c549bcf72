//! The end of the journal, where it grows, and what is open in it.
//!
//! What cannot be written leaves no trace: the file is cut back to the last whole line. Only if that
//! fails too, or if the disk fails to confirm, is the journal broken, and no order can be sent until
//! it is opened anew; what the disk then holds, nobody knows.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::disk::{Disk, Found, NotReplaced};
use super::line::{Entry, encode};
use crate::resilience::guard::find::Intent;

/// A file that is not longer than this is never worth shortening.
const LONG: u64 = 1 << 20;
/// How many times longer than what is open in it a file is that is shortened.
const TIMES: u64 = 4;

/// The lines of the intents without an end, by their tags.
pub(super) type OpenLines = BTreeMap<String, Vec<u8>>;

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) disk: Arc<dyn Disk>,
    /// Bytes, of whole lines.
    len: u64,
    /// How often something was written.
    pub(super) writes: u64,
    open: OpenLines,
    /// Answers that could not be written. They go before the next line.
    kept: Vec<u8>,
    /// From which length on the file is shortened.
    pub(super) long: u64,
    /// Why nothing can be written any more.
    broken: Option<String>,
}

impl Tail {
    /// The end of a file of `len` bytes, in which these lines are open.
    pub(super) fn new(disk: Arc<dyn Disk>, len: u64, open: OpenLines) -> Self {
        Self { disk, len, writes: 0, open, kept: Vec::new(), long: LONG, broken: None }
    }

    /// A journal of these intents alone, and its open lines.
    pub(super) fn lines_of(left: &[Intent]) -> io::Result<(Vec<u8>, OpenLines)> {
        let mut open = OpenLines::new();
        for intent in left {
            let line = encode(&Entry::Intent(Box::new(intent.clone())))?;
            open.insert(intent.tag.clone(), line);
        }
        Ok((whole(&open)?, open))
    }

    /// Writes an intent. Gives the number of the write.
    pub(super) fn begin(&mut self, tag: &str, line: Vec<u8>) -> io::Result<u64> {
        self.append(&line)?;
        self.open.insert(tag.to_owned(), line);
        Ok(self.writes)
    }

    /// Writes how an intent ended, or keeps it until something can be written again. Nothing is lost
    /// by waiting; and the next order hears of the trouble.
    pub(super) fn end(&mut self, tag: &str, line: &[u8]) {
        self.open.remove(tag);
        if self.append(line).is_err() {
            self.kept.extend_from_slice(line);
        }
    }

    /// Whether the intent of this tag is in the journal and has no end.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.open.contains_key(tag)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.check()?;
        let mut bytes = self.kept.clone();
        bytes.extend_from_slice(line);
        if let Err(error) = self.disk.append(&bytes) {
            if let Err(cut) = self.disk.cut(self.len) {
                self.break_off(format!(
                    "a line was written by half ({error}) and stays so ({cut})"
                ));
            }
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.writes += 1;
        self.kept.clear();
        Ok(())
    }

    /// Puts a file of what is open at the path of the journal, if nothing is there or if the one that is there is
    /// much longer. Says whether it did, after which all that was written is safe.
    pub(super) fn replace_if_needed(&mut self) -> io::Result<bool> {
        match self.disk.found(self.len)? {
            Found::Ours if self.len <= self.long => Ok(false),
            Found::Ours => {
                let lines = whole(&self.open)?;
                let is_worth_it = self.len > lines.len() as u64 * TIMES;
                if is_worth_it { self.shorten(&lines) } else { Ok(false) }
            }
            Found::Nothing => {
                let lines = whole(&self.open)?;
                self.replace(&lines).map_err(|failure| failure.source)?;
                Ok(true)
            }
            Found::Other(what) => {
                self.broken = Some(format!(
                    "{what} is in its place, so the next process would not learn of the orders of this one; recover \
                     in this one, then start again with a journal of another name"
                ));
                self.check().map(|()| false)
            }
        }
    }

    fn shorten(&mut self, lines: &[u8]) -> io::Result<bool> {
        match self.replace(lines) {
            Ok(()) => Ok(true),
            Err(failure) if failure.in_doubt => Err(failure.source),
            Err(_) => {
                // A long file does no harm. If the disk is in trouble, the next line tells.
                self.long = self.len.saturating_mul(2);
                Ok(false)
            }
        }
    }

    /// Puts a file of these lines, which are all that is open, in the place of this one.
    fn replace(&mut self, lines: &[u8]) -> Result<(), NotReplaced> {
        match self.disk.replaced(lines) {
            Ok(disk) => {
                self.disk = disk;
                self.len = lines.len() as u64;
                self.long = LONG;
                // Ends of what is not in there any more.
                self.kept.clear();
                Ok(())
            }
            Err(failure) => {
                if failure.in_doubt {
                    let source = &failure.source;
                    self.break_off(format!("the disk could not confirm a new file: {source}"));
                }
                Err(failure)
            }
        }
    }

    /// Nothing can be written from now on.
    pub(super) fn break_off(&mut self, why: String) {
        self.broken = Some(format!("{why}; start again, and recover"));
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match &self.broken {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }
}

fn whole(open: &OpenLines) -> io::Result<Vec<u8>> {
    let mut lines = encode(&Entry::header())?;
    open.values().for_each(|line| lines.extend_from_slice(line));
    Ok(lines)
}
