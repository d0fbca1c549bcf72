//! One line of the journal: the CRC-32 of the JSON in eight hexadecimal digits, a space, and the JSON.
//!
//! ```text
//! e87792f8 {"journal":{"version":1}}
//! <crc32> {"intent":{"tag":..,"caller_tag":false,"at":..,"order":{..}}}
//! <crc32> {"end":{"tag":..,"end":{"placed":..}}}
//! ```

use std::io;

use serde::{Deserialize, Serialize};

use crate::order_guard::pending::IntentOutcome;
use crate::order_guard::reconcile::matching::Intent;

/// The version of the format. A journal of another version is not read, since its lines may mean something else.
const VERSION: u32 = 1;

/// The content of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JournalRecord {
    /// The first line.
    Journal {
        /// The version of the format.
        version: u32,
    },
    /// An order that is about to be sent.
    Intent(Box<Intent>),
    /// The end of an intent.
    End {
        /// The tag of the order.
        tag: String,
        /// The outcome of the order.
        end: IntentOutcome,
    },
}

impl JournalRecord {
    /// Returns the first line of a journal.
    pub(super) fn header() -> Self {
        Self::Journal { version: VERSION }
    }
}

/// Encodes a line, with its newline.
pub(super) fn encode(record: &JournalRecord) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(record)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// The line is damaged.
    #[error("the line and its checksum disagree")]
    Damaged,
    /// The line is intact, but was written by a newer version.
    #[error("the line is not understood: {0}")]
    NotUnderstood(String),
}

/// Decodes a line without its newline.
pub(super) fn decode(line: &[u8]) -> Result<JournalRecord, DecodeError> {
    let json = verify_checksum(line).ok_or(DecodeError::Damaged)?;
    serde_json::from_slice(json).map_err(|error| DecodeError::NotUnderstood(error.to_string()))
}

/// Returns the JSON of the line, if its checksum is right.
fn verify_checksum(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (crc32fast::hash(json) == sum).then_some(json)
}

/// A journal with an unreadable line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corruption {
    /// The first such line, counted from 1.
    pub(super) line: usize,
    pub(super) why: String,
    /// Whether the line is intact.
    pub(super) is_intact: bool,
    /// The pending intents of the other lines.
    pub(super) open_intents: Vec<Intent>,
}

/// Returns the pending intents of a journal, in the order of their lines.
///
/// Only the last line may be torn: one that lacks its newline and is damaged was never written completely, so its
/// order was never sent. Any other damaged line may be an order that was sent. Reading goes on after it, for the tags
/// in the other lines.
pub(super) fn replay(journal: &[u8]) -> Result<Vec<Intent>, Corruption> {
    let header = encode(&JournalRecord::header()).unwrap_or_default();
    if header.starts_with(journal) {
        return Ok(Vec::new()); // Empty, or without a complete first line.
    }
    let mut pending: Vec<Intent> = Vec::new();
    let mut first_bad = None;
    for (index, line) in journal.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let complete = line.strip_suffix(b"\n");
        let bad = match decode(complete.unwrap_or(line)) {
            Err(DecodeError::Damaged) if index == 0 => {
                Some(corrupt("this is no journal of orders"))
            }
            Err(DecodeError::Damaged) if complete.is_none() => None,
            Err(DecodeError::Damaged) => Some(corrupt(DecodeError::Damaged)),
            Err(error @ DecodeError::NotUnderstood(_)) => Some((error.to_string(), true)),
            Ok(JournalRecord::Journal { version: VERSION }) if index == 0 => None,
            Ok(JournalRecord::Journal { version }) if index == 0 => Some((
                format!("the journal is of version {version}, and {VERSION} is understood"),
                true,
            )),
            Ok(JournalRecord::Journal { .. }) => {
                Some(corrupt("a journal begins within the journal"))
            }
            Ok(record) => {
                apply_record(record, &mut pending);
                (index == 0).then(|| corrupt("the journal has lost its beginning"))
            }
        };
        first_bad = first_bad.or(bad.map(|bad| (index + 1, bad)));
    }
    match first_bad {
        None => Ok(pending),
        Some((line, (why, is_intact))) => {
            Err(Corruption { line, why, is_intact, open_intents: pending })
        }
    }
}

fn corrupt(why: impl ToString) -> (String, bool) {
    (why.to_string(), false)
}

/// Updates the pending intents by a record: an intent replaces an earlier one with its tag, and an end removes it.
fn apply_record(record: JournalRecord, pending: &mut Vec<Intent>) {
    match record {
        JournalRecord::Journal { .. } => {}
        JournalRecord::Intent(intent) => {
            pending.retain(|other| other.tag != intent.tag);
            pending.push(*intent);
        }
        JournalRecord::End { tag, .. } => pending.retain(|intent| intent.tag != tag),
    }
}
