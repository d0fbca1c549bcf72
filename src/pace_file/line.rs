//! One line of a pace file. Times are in nanoseconds since 1970.
//!
//! ```text
//! lanekeeper-pace 1 SINCE               the first line: since when all calls are in it, `-` for ever
//! T NUMBER TAKEN DEFAULT_WEIGHT NAME..          a call leaves
//! F NUMBER FINISHED                     it is over
//! U TAKEN FINISHED DEFAULT_WEIGHT NAME..        both in one
//! ```

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

const FIRST: &str = "lanekeeper-pace 1 ";

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) taken: Timestamp,
    pub(super) finished: Option<Timestamp>,
    pub(super) weight: u32,
    pub(super) names: Vec<String>,
}

/// A line, with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Begin(Option<Timestamp>),
    Taken(u64, Used),
    Finished(u64, Timestamp),
    Used(Used),
}

/// All that a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) since: Option<Timestamp>,
    /// In the order in which they left; with their numbers, as far as they are not over.
    pub(super) calls: Vec<(Option<u64>, Used)>,
    /// There is no file, or one without damage.
    pub(super) is_whole: bool,
}

/// Whether it is a pace file, or the beginning of one.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(FIRST) || FIRST.starts_with(text)
}

/// What a file says, or the lack of one. Only the last line may be torn: it was not waited for to the end. A bad
/// line before it is a call of which nobody knows, so that nothing is known of what was before now.
pub(super) fn read(text: Option<&str>, now: Timestamp) -> Known {
    let unknown = Known { since: Some(now), calls: Vec::new(), is_whole: text.is_none() };
    let Some((first, rest)) = text.and_then(|text| text.split_once('\n')) else { return unknown };
    let Some(Line::Begin(since)) = parse(first) else { return unknown };
    let mut known = Known { since, calls: Vec::new(), is_whole: true };
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for line in rest.split_inclusive('\n') {
        let Some(whole) = line.strip_suffix('\n') else { break };
        match parse(whole) {
            Some(Line::Used(used)) => known.calls.push((None, used)),
            Some(Line::Taken(number, used)) => {
                open.insert(number, known.calls.len());
                known.calls.push((Some(number), used));
            }
            Some(Line::Finished(number, finished)) => {
                let call = open.remove(&number).and_then(|index| known.calls.get_mut(index));
                if let Some((number, call)) = call {
                    (*number, call.finished) = (None, Some(finished));
                }
            }
            Some(Line::Begin(_)) | None => (known.since, known.is_whole) = (Some(now), false),
        }
    }
    known
}

fn parse(line: &str) -> Option<Line> {
    if let Some(since) = line.strip_prefix(FIRST) {
        return Some(Line::Begin(optional(since)?));
    }
    let mut words = line.split(' ');
    let kind = words.next()?;
    let line = match kind {
        "T" | "U" => {
            let number = if kind == "T" { words.next()?.parse().ok()? } else { 0 };
            let taken = time(words.next()?)?;
            let finished = if kind == "U" { Some(time(words.next()?)?) } else { None };
            let weight = words.next()?.parse().ok()?;
            let names: Vec<_> = words.by_ref().map(str::to_owned).collect();
            let used = Used { taken, finished, weight, names };
            if kind == "T" { Line::Taken(number, used) } else { Line::Used(used) }
        }
        "F" => Line::Finished(words.next()?.parse().ok()?, time(words.next()?)?),
        _ => return None,
    };
    words.next().is_none().then_some(line)
}

fn time(word: &str) -> Option<Timestamp> {
    Timestamp::from_nanosecond(word.parse().ok()?).ok()
}

/// `-` is none.
fn optional(word: &str) -> Option<Option<Timestamp>> {
    if word == "-" { Some(None) } else { time(word).map(Some) }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |time: &Option<Timestamp>| {
            time.map_or_else(|| "-".to_owned(), |time| time.as_nanosecond().to_string())
        };
        match self {
            Self::Begin(since) => writeln!(f, "{FIRST}{}", or_dash(since)),
            Self::Taken(number, Used { taken, weight, names, .. }) => {
                writeln!(f, "T {number} {} {weight} {}", taken.as_nanosecond(), names.join(" "))
            }
            Self::Finished(number, finished) => {
                writeln!(f, "F {number} {}", finished.as_nanosecond())
            }
            Self::Used(Used { taken, finished, weight, names }) => {
                let finished = finished.unwrap_or(*taken).as_nanosecond();
                let taken = taken.as_nanosecond();
                writeln!(f, "U {taken} {finished} {weight} {}", names.join(" "))
            }
        }
    }
}
