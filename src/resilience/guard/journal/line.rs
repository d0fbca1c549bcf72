//! One line of the journal: a checksum of the rest, in eight hexadecimal digits, a space, and JSON.

use std::io;

use serde::{Deserialize, Serialize};

use super::super::find::Intent;
use super::super::intents::End;

/// The version of the format.
const VERSION: u32 = 1;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The first line.
    Journal {
        /// Of the format.
        version: u32,
    },
    /// An order is about to be sent.
    Intent(Box<Intent>),
    /// What became of it.
    End {
        /// Of which.
        tag: String,
        /// How it ended.
        end: End,
    },
}

impl Entry {
    /// The first line of a journal.
    pub(super) fn header() -> Self {
        Self::Journal { version: VERSION }
    }
}

/// The line, with its end.
pub(super) fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// Reads a line without its end; `None` if it is not one.
pub(super) fn decode(line: &[u8]) -> Option<Entry> {
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if crc32fast::hash(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// A line that is not one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// The intents without an end in a journal, in the order of their noting.
///
/// Only the last line may be torn: it has no end, and was not waited for to the end, so that what it
/// was about was never sent. Any other bad line may be an order that was.
pub(super) fn replay(journal: &[u8]) -> Result<Vec<Intent>, Corrupt> {
    let header = encode(&Entry::header()).unwrap_or_default();
    if header.starts_with(journal) {
        return Ok(Vec::new()); // Empty, or not even begun.
    }
    let mut left: Vec<Intent> = Vec::new();
    for (index, line) in journal.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let corrupt = |why| Corrupt { line: index + 1, why };
        let whole = line.strip_suffix(b"\n");
        let entry = match decode(whole.unwrap_or(line)) {
            Some(entry) => entry,
            None if index == 0 => return Err(corrupt("this is no journal of orders")),
            None if whole.is_none() => break,
            None => return Err(corrupt("the line and its checksum disagree")),
        };
        match entry {
            Entry::Journal { version: VERSION } if index == 0 => {}
            Entry::Journal { .. } if index == 0 => {
                return Err(corrupt("the journal is of another version"));
            }
            _ if index == 0 => return Err(corrupt("the journal has lost its beginning")),
            Entry::Journal { .. } => return Err(corrupt("a journal begins within the journal")),
            Entry::Intent(intent) => {
                left.retain(|other| other.tag != intent.tag);
                left.push(*intent);
            }
            Entry::End { tag, .. } => left.retain(|intent| intent.tag != tag),
        }
    }
    Ok(left)
}
