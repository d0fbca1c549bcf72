//! Which placements clients were told about, in a file beside the journal: for the process after this one.
//!
//! The journal knows whether an order is in the market. It does not know whether its client heard of it. A client that
//! did not will send the order again, to the next process too. So the file has a line for each step of a placement.
//! The lines are not synced: what a process wrote survives its end, whatever ends it, and a machine that loses power has
//! lost the clients' connections of many seconds before as well.
//!
//! | line | meaning |
//! |---|---|
//! | `begun FINGERPRINT SECONDS KEY` | a placement begins, at this time of the wall clock; `KEY` is 1 if its client gave it a key |
//! | `tagged FINGERPRINT TAG` | it is about to be sent under this tag |
//! | `answered FINGERPRINT ID` | the broker named this order |
//! | `told FINGERPRINT` | its client was told, or it is surely not in the market |

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use lanekeeper::jiff::Timestamp;
use parking_lot::Mutex;

use super::form::Fingerprint;
use super::placements::REMEMBERED;

/// A placement that the previous process left: no client was told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) has_key: bool,
    pub(crate) tag: Option<String>,
    pub(crate) order_id: Option<String>,
    since: i64,
}

/// The file.
pub(crate) struct ToldFile {
    file: Mutex<File>,
    left: Vec<Left>,
}

impl ToldFile {
    /// Returns the path of the file beside a journal.
    pub(crate) fn beside(journal: &Path) -> PathBuf {
        let mut name = journal.as_os_str().to_owned();
        name.push(".told");
        PathBuf::from(name)
    }

    /// Opens the file, and keeps of it what the previous process left. The journal's lock keeps other processes away.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let left = match File::open(path) {
            Ok(file) => read(BufReader::new(file), Timestamp::now().as_second())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // A new file under another name, so that a crash here leaves one of the two.
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        let mut text = Vec::new();
        left.iter().for_each(|left| left.write(&mut text));
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file: Mutex::new(file), left })
    }

    /// Returns what the previous process left.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Left> {
        self.left.iter()
    }

    pub(crate) fn begun(&self, fingerprint: Fingerprint, has_key: bool) {
        let (now, key) = (Timestamp::now().as_second(), u8::from(has_key));
        self.append(&format!("begun {fingerprint} {now} {key}\n"));
    }

    pub(crate) fn tagged(&self, fingerprint: Fingerprint, tag: &str) {
        self.append_word("tagged", fingerprint, tag);
    }

    pub(crate) fn answered(&self, fingerprint: Fingerprint, id: &str) {
        self.append_word("answered", fingerprint, id);
    }

    pub(crate) fn told(&self, fingerprint: Fingerprint) {
        self.append(&format!("told {fingerprint}\n"));
    }

    fn append_word(&self, step: &str, fingerprint: Fingerprint, word: &str) {
        // The words are those of the broker. One with a space would be another line's.
        if !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control()) {
            self.append(&format!("{step} {fingerprint} {word}\n"));
        }
    }

    fn append(&self, line: &str) {
        // In one write, so that a process that is killed leaves whole lines. A full disk costs the memory of a
        // repetition, and no order.
        if let Err(error) = self.file.lock().write_all(line.as_bytes()) {
            tracing::warn!("the file of told placements cannot be written: {error}");
        }
    }
}

impl Left {
    fn write(&self, into: &mut Vec<u8>) {
        let Self { fingerprint, has_key, tag, order_id, since } = self;
        let mut lines = format!("begun {fingerprint} {since} {}\n", u8::from(*has_key));
        for (step, word) in [("tagged", tag), ("answered", order_id)] {
            if let Some(word) = word {
                lines.push_str(&format!("{step} {fingerprint} {word}\n"));
            }
        }
        into.extend_from_slice(lines.as_bytes());
    }
}

/// Reads the lines of a file. A line that cannot be read is left out: the last one of a process that was killed.
fn read(lines: impl BufRead, now: i64) -> io::Result<Vec<Left>> {
    let mut open: HashMap<Fingerprint, Vec<Left>> = HashMap::new();
    for line in lines.split(b'\n') {
        let line = line?;
        let Ok(line) = std::str::from_utf8(&line) else { continue };
        let mut words = line.split(' ');
        let (Some(step), Some(Ok(fingerprint))) =
            (words.next(), words.next().map(str::parse::<Fingerprint>))
        else {
            continue;
        };
        let placements = open.entry(fingerprint).or_default();
        match (step, words.next()) {
            ("begun", Some(seconds)) => {
                let Ok(since) = seconds.parse() else { continue };
                let has_key = words.next() == Some("1");
                let (tag, order_id) = (None, None);
                placements.push(Left { fingerprint, has_key, tag, order_id, since });
            }
            ("tagged", Some(tag)) => {
                if let Some(left) = placements.iter_mut().find(|left| left.tag.is_none()) {
                    left.tag = Some(tag.to_owned());
                }
            }
            ("answered", Some(id)) => {
                if let Some(left) = placements.iter_mut().find(|left| left.order_id.is_none()) {
                    left.order_id = Some(id.to_owned());
                }
            }
            ("told", _) => {
                let at = placements.iter().position(|left| left.order_id.is_some()).unwrap_or(0);
                if at < placements.len() {
                    placements.remove(at);
                }
            }
            _ => {}
        }
    }
    let oldest = now - i64::try_from(REMEMBERED.as_secs()).unwrap_or(0);
    let mut left: Vec<Left> = open.into_values().flatten().collect();
    left.retain(|left| left.since >= oldest);
    left.sort_by_key(|left| (left.since, left.fingerprint));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(key: &str) -> Fingerprint {
        Fingerprint::of_key("alpha", key)
    }

    #[test]
    fn what_no_client_was_told_is_left_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = ToldFile::beside(&folder.path().join("orders.journal"));
        let file = ToldFile::open(&path).unwrap();
        assert_eq!(file.left().count(), 0);
        for key in ["told", "answered", "tagged", "begun"] {
            file.begun(fingerprint(key), false);
        }
        for key in ["told", "answered", "tagged"] {
            file.tagged(fingerprint(key), "tag1");
        }
        for key in ["told", "answered"] {
            file.answered(fingerprint(key), "1512");
        }
        file.told(fingerprint("told"));
        drop(file);
        // A second reopening reads the file that the first one wrote.
        for _ in 0..2 {
            let file = ToldFile::open(&path).unwrap();
            let left = |key| file.left().find(|left| left.fingerprint == fingerprint(key)).cloned();
            assert_eq!(left("told"), None);
            assert_eq!(left("answered").unwrap().order_id.as_deref(), Some("1512"));
            assert_eq!(left("tagged").unwrap().tag.as_deref(), Some("tag1"));
            assert_eq!(left("begun").unwrap().tag, None);
        }
    }

    #[test]
    fn a_line_that_was_cut_and_one_that_is_old_are_left_out() {
        let (one, two) = (fingerprint("1"), fingerprint("2"));
        let text = format!(
            "begun {one} 100 0\nbegun {two} 900 1\nansw\n\nnonsense\ntold zz\nanswered {two} 7\nbegun {two}"
        );
        let left = read(text.as_bytes(), 100 + 601).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].fingerprint, left[0].has_key), (two, true));
        assert_eq!(left[0].order_id.as_deref(), Some("7"));
        assert_eq!(read(text.as_bytes(), 100).unwrap().len(), 2);
    }

    #[test]
    fn two_equal_placements_are_two() {
        let one = fingerprint("1");
        let text = format!(
            "begun {one} 1 0\nbegun {one} 1 0\nanswered {one} 7\nanswered {one} 8\ntold {one}\n"
        );
        let left = read(text.as_bytes(), 1).unwrap();
        assert_eq!(left.len(), 1);
        assert!(left[0].order_id.is_some());
    }
}
