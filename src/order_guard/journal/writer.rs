//! The writer of the journal: appends lines, and compacts the file.
//!
//! A failed write leaves no trace: the file is truncated to the last whole line. If that fails too, or if a sync
//! fails, the content of the disk is unknown. Then the journal is poisoned, and no order is sent until it is
//! reopened.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::file::{JournalFile, PathState, ReplaceError};
use super::record::{JournalRecord, encode};
use crate::order_guard::reconcile::matching::Intent;

/// A file of up to 1 MiB is never compacted: it is read at once, and a replacement costs two more syncs.
const MIN_COMPACT_LEN: u64 = 1 << 20;
/// A file is compacted only if it is more than this many times as long as its pending lines, so that they are not
/// rewritten over and over.
const COMPACT_RATIO: u64 = 4;

/// The lines of the pending intents, by tag.
pub(super) type OpenLines = BTreeMap<String, Vec<u8>>;

/// The end of the journal file, and its pending lines.
#[derive(Debug)]
pub(super) struct JournalWriter {
    pub(super) file: Arc<dyn JournalFile>,
    /// The length in bytes, of whole lines.
    len: u64,
    /// The number of writes.
    pub(super) write_count: u64,
    open_lines: OpenLines,
    /// Outcomes that could not be written yet. They are written before the next line.
    unwritten_outcomes: Vec<u8>,
    /// The length above which the file is compacted.
    pub(super) compact_above: u64,
    /// Why nothing can be written any more.
    poisoned: Option<String>,
}

impl JournalWriter {
    /// Creates a writer for a file of `len` bytes with these pending lines.
    pub(super) fn new(file: Arc<dyn JournalFile>, len: u64, open_lines: OpenLines) -> Self {
        Self {
            file,
            len,
            write_count: 0,
            open_lines,
            unwritten_outcomes: Vec::new(),
            compact_above: MIN_COMPACT_LEN,
            poisoned: None,
        }
    }

    /// Encodes a journal of these intents alone. Returns its bytes and its pending lines.
    pub(super) fn encode_open(pending: &[Intent]) -> io::Result<(Vec<u8>, OpenLines)> {
        let mut open_lines = OpenLines::new();
        for intent in pending {
            let line = encode(&JournalRecord::Intent(Box::new(intent.clone())))?;
            open_lines.insert(intent.tag.clone(), line);
        }
        Ok((encode_file(&open_lines)?, open_lines))
    }

    /// Writes an intent. Returns the number of the write.
    pub(super) fn write_intent(&mut self, tag: &str, line: Vec<u8>) -> io::Result<u64> {
        self.append(&line)?;
        self.open_lines.insert(tag.to_owned(), line);
        Ok(self.write_count)
    }

    /// Writes an outcome, or keeps it until a write succeeds again. Nothing is lost by waiting, and the next order
    /// gets the error.
    pub(super) fn write_outcome(&mut self, tag: &str, line: &[u8]) {
        self.open_lines.remove(tag);
        if self.append(line).is_err() {
            self.unwritten_outcomes.extend_from_slice(line);
        }
    }

    /// Returns whether the intent with this tag is pending.
    pub(super) fn is_open(&self, tag: &str) -> bool {
        self.open_lines.contains_key(tag)
    }

    /// Appends a line, after the outcomes that could not be written yet.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.check_usable()?;
        let mut bytes = self.unwritten_outcomes.clone();
        bytes.extend_from_slice(line);
        if let Err(error) = self.file.append(&bytes) {
            if let Err(truncate) = self.file.truncate(self.len) {
                self.poison(format!(
                    "a line was written by half ({error}) and could not be removed ({truncate})"
                ));
            }
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.write_count += 1;
        self.unwritten_outcomes.clear();
        Ok(())
    }

    /// Replaces the journal by a file of the pending lines, if it is missing at its path, or long and much longer than
    /// they are. Returns whether it did; then everything that was written is durable.
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
            PathState::Foreign(description) => {
                self.poisoned = Some(format!(
                    "{description} is in its place, so the next process would not find the orders of this one; recover \
                     in this one, then start again with a journal of another name"
                ));
                self.check_usable().map(|()| false)
            }
        }
    }

    /// Replaces the file by a shorter one with these lines. Returns whether it did. A failure is an error only if the
    /// old file may be gone.
    fn compact(&mut self, lines: &[u8]) -> io::Result<bool> {
        match self.replace(lines) {
            Ok(()) => Ok(true),
            Err(failure) if failure.may_have_replaced => Err(failure.source),
            Err(_) => {
                // A long file does no harm. If the disk fails, the next line shows it.
                self.compact_above = self.len.saturating_mul(2);
                Ok(false)
            }
        }
    }

    /// Replaces the file by one with these lines, which must be all pending ones.
    fn replace(&mut self, lines: &[u8]) -> Result<(), ReplaceError> {
        match self.file.replace_with(lines) {
            Ok(file) => {
                self.file = file;
                self.len = lines.len() as u64;
                self.compact_above = MIN_COMPACT_LEN;
                // They belong to intents that are not in the file any more.
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

    /// Makes all further writes fail with this reason.
    pub(super) fn poison(&mut self, reason: String) {
        self.poisoned = Some(format!("{reason}; start again, and recover"));
    }

    /// Returns an error if the journal is poisoned.
    pub(super) fn check_usable(&self) -> io::Result<()> {
        match &self.poisoned {
            Some(reason) => Err(io::Error::other(reason.clone())),
            None => Ok(()),
        }
    }
}

/// Encodes a whole journal of these pending lines.
fn encode_file(open_lines: &OpenLines) -> io::Result<Vec<u8>> {
    let mut lines = encode(&JournalRecord::header())?;
    open_lines.values().for_each(|line| lines.extend_from_slice(line));
    Ok(lines)
}
