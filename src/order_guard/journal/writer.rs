//! The end of the journal, where it grows, and what is open in it.
//!
//! What cannot be written leaves no trace: the file is cut back to the last whole line. Only if that
//! fails too, or if the disk fails to confirm, is the journal broken, and no order can be sent until
//! it is opened anew; what the disk then holds, nobody knows.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::file::{JournalFile, PathState, ReplaceError};
use super::record::{JournalRecord, encode};
use crate::order_guard::reconcile::matching::Intent;

/// A file that is not longer than this is never worth shortening.
const MIN_COMPACT_LEN: u64 = 1 << 20;
/// How many times longer than what is open in it a file is that is shortened.
const COMPACT_RATIO: u64 = 4;

/// The lines of the intents without an end, by their tags.
pub(super) type OpenLines = BTreeMap<String, Vec<u8>>;

#[derive(Debug)]
pub(super) struct JournalWriter {
    pub(super) file: Arc<dyn JournalFile>,
    /// Bytes, of whole lines.
    len: u64,
    /// How often something was written.
    pub(super) write_count: u64,
    open_lines: OpenLines,
    /// Answers that could not be written. They go before the next line.
    unwritten_outcomes: Vec<u8>,
    /// From which length on the file is shortened.
    pub(super) compact_above: u64,
    /// Why nothing can be written any more.
    poisoned: Option<String>,
}

impl JournalWriter {
    /// The end of a file of `len` bytes, in which these lines are open.
    pub(super) fn new(disk: Arc<dyn JournalFile>, len: u64, open: OpenLines) -> Self {
        Self {
            file: disk,
            len,
            write_count: 0,
            open_lines: open,
            unwritten_outcomes: Vec::new(),
            compact_above: MIN_COMPACT_LEN,
            poisoned: None,
        }
    }

    /// A journal of these intents alone, and its open lines.
    pub(super) fn encode_open(left: &[Intent]) -> io::Result<(Vec<u8>, OpenLines)> {
        let mut open = OpenLines::new();
        for intent in left {
            let line = encode(&JournalRecord::Intent(Box::new(intent.clone())))?;
            open.insert(intent.tag.clone(), line);
        }
        Ok((encode_file(&open)?, open))
    }

    /// Writes an intent. Gives the number of the write.
    pub(super) fn write_intent(&mut self, tag: &str, line: Vec<u8>) -> io::Result<u64> {
        self.append(&line)?;
        self.open_lines.insert(tag.to_owned(), line);
        Ok(self.write_count)
    }

    /// Writes how an intent ended, or keeps it until something can be written again. Nothing is lost
    /// by waiting; and the next order hears of the trouble.
    pub(super) fn write_outcome(&mut self, tag: &str, line: &[u8]) {
        self.open_lines.remove(tag);
        if self.append(line).is_err() {
            self.unwritten_outcomes.extend_from_slice(line);
        }
    }

    /// Whether the intent of this tag is in the journal and has no end.
    pub(super) fn is_open(&self, tag: &str) -> bool {
        self.open_lines.contains_key(tag)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.check_usable()?;
        let mut bytes = self.unwritten_outcomes.clone();
        bytes.extend_from_slice(line);
        if let Err(error) = self.file.append(&bytes) {
            if let Err(cut) = self.file.truncate(self.len) {
                self.poison(format!("a line was written by half ({error}) and stays so ({cut})"));
            }
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.write_count += 1;
        self.unwritten_outcomes.clear();
        Ok(())
    }

    /// Puts a file of what is open at the path of the journal, if nothing is there or if the one that is there is
    /// much longer. Says whether it did, after which all that was written is safe.
    pub(super) fn replace_if_needed(&mut self) -> io::Result<bool> {
        match self.file.check_path(self.len)? {
            PathState::Ours if self.len <= self.compact_above => Ok(false),
            PathState::Ours => {
                let lines = encode_file(&self.open_lines)?;
                let is_worth_it = self.len > lines.len() as u64 * COMPACT_RATIO;
                if is_worth_it { self.compact(&lines) } else { Ok(false) }
            }
            PathState::Missing => {
                let lines = encode_file(&self.open_lines)?;
                self.replace(&lines).map_err(|failure| failure.source)?;
                Ok(true)
            }
            PathState::Foreign(what) => {
                self.poisoned = Some(format!(
                    "{what} is in its place, so the next process would not learn of the orders of this one; recover \
                     in this one, then start again with a journal of another name"
                ));
                self.check_usable().map(|()| false)
            }
        }
    }

    fn compact(&mut self, lines: &[u8]) -> io::Result<bool> {
        match self.replace(lines) {
            Ok(()) => Ok(true),
            Err(failure) if failure.may_have_replaced => Err(failure.source),
            Err(_) => {
                // A long file does no harm. If the disk is in trouble, the next line tells.
                self.compact_above = self.len.saturating_mul(2);
                Ok(false)
            }
        }
    }

    /// Puts a file of these lines, which are all that is open, in the place of this one.
    fn replace(&mut self, lines: &[u8]) -> Result<(), ReplaceError> {
        match self.file.replace_with(lines) {
            Ok(disk) => {
                self.file = disk;
                self.len = lines.len() as u64;
                self.compact_above = MIN_COMPACT_LEN;
                // Ends of what is not in there any more.
                self.unwritten_outcomes.clear();
                Ok(())
            }
            Err(failure) => {
                if failure.may_have_replaced {
                    let source = &failure.source;
                    self.poison(format!("the disk could not confirm a new file: {source}"));
                }
                Err(failure)
            }
        }
    }

    /// Nothing can be written from now on.
    pub(super) fn poison(&mut self, why: String) {
        self.poisoned = Some(format!("{why}; start again, and recover"));
    }

    pub(super) fn check_usable(&self) -> io::Result<()> {
        match &self.poisoned {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }
}

fn encode_file(open: &OpenLines) -> io::Result<Vec<u8>> {
    let mut lines = encode(&JournalRecord::header())?;
    open.values().for_each(|line| lines.extend_from_slice(line));
    Ok(lines)
}
