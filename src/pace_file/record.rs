//! One record of a pace file. Times are in nanoseconds since 1970.
//!
//! ```text
//! lanekeeper-pace 1 SINCE               the first line: since when it is complete, `-` for all time
//! T NUMBER TAKEN WEIGHT NAME..          a call is sent
//! F NUMBER FINISHED                     it ends
//! G NUMBER                              it was not sent after all, and its slots were given back
//! U TAKEN FINISHED WEIGHT NAME..        both in one
//! ```

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

const HEADER: &str = "lanekeeper-pace 1 ";

/// A call in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsedCall {
    pub(super) taken_at: Timestamp,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) weight: u32,
    pub(super) names: Vec<String>,
}

/// A record, which is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PaceRecord {
    Begin(Option<Timestamp>),
    Taken(u64, UsedCall),
    Finished(u64, Timestamp),
    GivenBack(u64),
    Used(UsedCall),
}

/// The contents of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PaceContents {
    pub(super) since: Option<Timestamp>,
    /// In the order of sending. A call that has not ended has its number.
    pub(super) calls: Vec<(Option<u64>, UsedCall)>,
    /// Whether the file is missing or undamaged.
    pub(super) is_intact: bool,
}

/// Returns whether the text is a pace file, or the beginning of one.
pub(super) fn is_pace_file(text: &str) -> bool {
    text.starts_with(HEADER) || HEADER.starts_with(text)
}

/// Parses a file. Only the last line may be torn, since a process may be killed while it writes. A bad line before it
/// is an unknown call, so the file is complete only from `now` on. The same holds if there is no file.
pub(super) fn parse_file(text: Option<&str>, now: Timestamp) -> PaceContents {
    let unknown = PaceContents { since: Some(now), calls: Vec::new(), is_intact: text.is_none() };
    let Some((first, rest)) = text.and_then(|text| text.split_once('\n')) else { return unknown };
    let Some(PaceRecord::Begin(since)) = parse_record(first) else { return unknown };
    let mut contents = PaceContents { since, calls: Vec::new(), is_intact: true };
    // A call that was given back is `None`.
    let mut calls: Vec<Option<(Option<u64>, UsedCall)>> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for line in rest.split_inclusive('\n') {
        let Some(complete) = line.strip_suffix('\n') else { break };
        match parse_record(complete) {
            Some(PaceRecord::Used(used)) => calls.push(Some((None, used))),
            Some(PaceRecord::Taken(number, used)) => {
                open.insert(number, calls.len());
                calls.push(Some((Some(number), used)));
            }
            Some(PaceRecord::Finished(number, finished_at)) => {
                let call = open.remove(&number).and_then(|index| calls.get_mut(index));
                if let Some(Some((number, call))) = call {
                    (*number, call.finished_at) = (None, Some(finished_at));
                }
            }
            Some(PaceRecord::GivenBack(number)) => {
                if let Some(call) = open.remove(&number).and_then(|index| calls.get_mut(index)) {
                    *call = None;
                }
            }
            Some(PaceRecord::Begin(_)) | None => {
                (contents.since, contents.is_intact) = (Some(now), false)
            }
        }
    }
    contents.calls = calls.into_iter().flatten().collect();
    contents
}

fn parse_record(line: &str) -> Option<PaceRecord> {
    if let Some(since) = line.strip_prefix(HEADER) {
        return Some(PaceRecord::Begin(parse_optional_time(since)?));
    }
    let mut words = line.split(' ');
    let kind = words.next()?;
    let line = match kind {
        "T" | "U" => {
            let number = if kind == "T" { words.next()?.parse().ok()? } else { 0 };
            let taken_at = parse_time(words.next()?)?;
            let finished_at = if kind == "U" { Some(parse_time(words.next()?)?) } else { None };
            let weight = words.next()?.parse().ok()?;
            let names: Vec<_> = words.by_ref().map(str::to_owned).collect();
            let used = UsedCall { taken_at, finished_at, weight, names };
            if kind == "T" { PaceRecord::Taken(number, used) } else { PaceRecord::Used(used) }
        }
        "G" => PaceRecord::GivenBack(words.next()?.parse().ok()?),
        "F" => PaceRecord::Finished(words.next()?.parse().ok()?, parse_time(words.next()?)?),
        _ => return None,
    };
    words.next().is_none().then_some(line)
}

fn parse_time(word: &str) -> Option<Timestamp> {
    Timestamp::from_nanosecond(word.parse().ok()?).ok()
}

/// Parses a time, where `-` stands for `None`.
fn parse_optional_time(word: &str) -> Option<Option<Timestamp>> {
    if word == "-" { Some(None) } else { parse_time(word).map(Some) }
}

impl fmt::Display for PaceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |time: &Option<Timestamp>| {
            time.map_or_else(|| "-".to_owned(), |time| time.as_nanosecond().to_string())
        };
        match self {
            Self::Begin(since) => writeln!(f, "{HEADER}{}", or_dash(since)),
            Self::Taken(number, UsedCall { taken_at, weight, names, .. }) => {
                writeln!(f, "T {number} {} {weight} {}", taken_at.as_nanosecond(), names.join(" "))
            }
            Self::Finished(number, finished_at) => {
                writeln!(f, "F {number} {}", finished_at.as_nanosecond())
            }
            Self::GivenBack(number) => writeln!(f, "G {number}"),
            Self::Used(UsedCall { taken_at, finished_at, weight, names }) => {
                let finished_at = finished_at.unwrap_or(*taken_at).as_nanosecond();
                let taken_at = taken_at.as_nanosecond();
                writeln!(f, "U {taken_at} {finished_at} {weight} {}", names.join(" "))
            }
        }
    }
}
