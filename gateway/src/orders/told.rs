//! Which placements clients were told about, in a file beside the journal: for the process after this one.
//!
//! The journal knows whether an order is in the market. It does not know whether its client heard of it. A client that
//! did not will send the order again, to the next process too. So the file has a line for each step of a placement.
//! The lines are not synced: what a process wrote survives its end, whatever ends it, and a machine that loses power has
//! lost the clients' connections of many seconds before as well.
//!
//! | line | meaning |
//! |---|---|
//! | `begun NUMBER FINGERPRINT SECONDS FORM` | a placement begins, at this time of the wall clock; `FORM` is the fingerprint of its form if its client gave it a key, and `-` otherwise |
//! | `tagged NUMBER TAG` | it is about to be sent under this tag |
//! | `answered NUMBER ID` | the broker named this order |
//! | `told NUMBER` | its client was told, or it is surely not in the market |
//! | `freed TAG` | the order under this tag was not sent, so another one may have the tag |
//! | `used SECONDS TAG ORDERS` | so many orders of an earlier process were sent under this tag |
//!
//! Each line ends with ` .`, so that one that was cut is known. The tags of a day are kept, since a tag that several
//! orders have identifies none of them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::SplitWhitespace;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use lanekeeper::jiff::Timestamp;

use super::form::Fingerprint;
use super::placements::REMEMBERED;
use crate::logging;

/// For how long a tag is remembered, in seconds: an order book covers a day.
const TAG_DAY: i64 = 86_400;

/// How much of the file is read, in bytes. A day's 5000 orders are 2 MB, and the file begins anew with each process.
const MAX_FILE: u64 = 256 << 20;

/// The last word of each line.
const END: &str = ".";

/// A placement that the previous process left: no client was told about it, or its client gave it a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) number: u64,
    pub(crate) fingerprint: Fingerprint,
    /// The fingerprint of its form, if its client gave it a key.
    pub(crate) keyed_form: Option<Fingerprint>,
    pub(crate) tag: Option<String>,
    pub(crate) order_id: Option<String>,
    /// When it began, in seconds of the wall clock.
    pub(crate) since: i64,
}

/// What the previous process left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftState {
    pub(crate) placements: Vec<Left>,
    /// How many orders were sent under each tag, and since when.
    tags: HashMap<String, (i64, u32)>,
}

/// The file. A thread of its own writes the lines, in their order: a disk that hangs must hold up no other request.
pub(crate) struct ToldFile {
    steps: Sender<Step>,
    left: LeftState,
}

enum Step {
    Line(String),
    /// Tells that all lines before it are written.
    Written(SyncSender<()>),
}

/// How long an order waits for its lines to be written. If the disk hangs for longer, the order is sent all the same: then
/// the next process may not know a repetition of it.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

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
            Ok(file) => read(BufReader::new(file.take(MAX_FILE)), Timestamp::now().as_second())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => LeftState::default(),
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
        file.write_all(left.to_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        let (steps, waiting) = channel();
        let thread = thread::Builder::new().name("told".to_owned());
        thread.spawn(move || write_all(file, &waiting))?;
        Ok(Self { steps, left })
    }

    /// Returns the placements that the previous process left.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Left> {
        self.left.placements.iter()
    }

    /// Returns how many orders earlier processes sent under each tag.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&str, u32)> {
        self.left.tags.iter().map(|(tag, (_, orders))| (tag.as_str(), *orders))
    }

    pub(crate) fn begun(&self, number: u64, fingerprint: Fingerprint, form: Option<Fingerprint>) {
        self.append(&begun_line(number, fingerprint, Timestamp::now().as_second(), form));
    }

    /// Blocks the thread until this line and those before it are written, for [`WRITE_LIMIT`] at most.
    pub(crate) fn tagged(&self, number: u64, tag: &str) {
        self.append(&word_line("tagged", number, tag));
        if !self.wait() {
            let why = "the file of told placements is not written in time";
            logging::log(|| tracing::warn!("{why}: does the disk hang?"));
        }
    }

    pub(crate) fn answered(&self, number: u64, id: &str) {
        self.append(&word_line("answered", number, id));
    }

    pub(crate) fn told(&self, number: u64) {
        self.append(&line(format_args!("told {number}")));
    }

    pub(crate) fn freed(&self, tag: &str) {
        if is_word(tag) {
            self.append(&line(format_args!("freed {tag}")));
        }
    }

    fn append(&self, line: &str) {
        if !line.is_empty() {
            // An error means that the thread is gone, which ends only with this.
            let _ = self.steps.send(Step::Line(line.to_owned()));
        }
    }

    /// Waits until all lines so far are written. Returns whether they are.
    fn wait(&self) -> bool {
        let (written, is_written) = sync_channel(1);
        let _ = self.steps.send(Step::Written(written));
        is_written.recv_timeout(WRITE_LIMIT).is_ok()
    }
}

impl Drop for ToldFile {
    fn drop(&mut self) {
        self.wait();
    }
}

fn write_all(mut file: File, steps: &Receiver<Step>) {
    // Whether the last line may be a part of one.
    let mut is_torn = false;
    for step in steps {
        match step {
            // In one write, so that a process that is killed leaves whole lines. A full disk costs the memory of a
            // repetition, and no order.
            Step::Line(line) => {
                let line = if is_torn { format!("\n{line}") } else { line };
                let written = file.write_all(line.as_bytes());
                is_torn = written.is_err();
                if let Err(error) = written {
                    let what = "the file of told placements cannot be written";
                    logging::log(|| tracing::warn!("{what}: {error}"));
                }
            }
            Step::Written(written) => {
                // The order may wait no longer.
                let _ = written.try_send(());
            }
        }
    }
}

fn begun_line(
    number: u64,
    fingerprint: Fingerprint,
    since: i64,
    form: Option<Fingerprint>,
) -> String {
    let form = form.map_or_else(|| "-".to_owned(), |form| form.to_string());
    line(format_args!("begun {number} {fingerprint} {since} {form}"))
}

/// Returns a line, or nothing if the word would be several.
fn word_line(step: &str, number: u64, word: &str) -> String {
    if is_word(word) { line(format_args!("{step} {number} {word}")) } else { String::new() }
}

fn line(words: std::fmt::Arguments<'_>) -> String {
    format!("{words} {END}\n")
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl LeftState {
    fn to_text(&self) -> String {
        let mut text = String::new();
        for Left { number, fingerprint, keyed_form, tag, order_id, since } in &self.placements {
            text.push_str(&begun_line(*number, *fingerprint, *since, *keyed_form));
            for (step, word) in [("tagged", tag), ("answered", order_id)] {
                text.push_str(&word_line(step, *number, word.as_deref().unwrap_or_default()));
            }
        }
        // After the lines above, which count their tags again.
        for (tag, (since, orders)) in &self.tags {
            text.push_str(&line(format_args!("used {since} {tag} {orders}")));
        }
        text
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    open: BTreeMap<u64, Left>,
    tags: HashMap<String, (i64, u32)>,
}

impl Reading {
    /// Takes a line. `None` if it cannot be read: it is left out.
    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "begun" => {
                let (number, fingerprint) = (number(&mut words)?, words.next()?.parse().ok()?);
                let (since, form) = (number_of(words.next()?)?, words.next()?);
                let keyed_form = if form == "-" { None } else { Some(form.parse().ok()?) };
                let (tag, order_id) = (None, None);
                let left = Left { number, fingerprint, keyed_form, tag, order_id, since };
                self.open.insert(number, left);
            }
            "tagged" => {
                let left = self.open.get_mut(&number(&mut words)?)?;
                let tag = words.next()?.to_owned();
                self.tags.entry(tag.clone()).or_insert((left.since, 0)).1 += 1;
                left.tag = Some(tag);
            }
            "answered" => {
                let left = self.open.get_mut(&number(&mut words)?)?;
                // The first of several is the parent of the others.
                left.order_id.get_or_insert(words.next()?.to_owned());
            }
            "told" => drop(self.open.remove(&number(&mut words)?)),
            "freed" => {
                let tag = words.next()?;
                if self.tags.get(tag).is_some_and(|(_, orders)| *orders == 1) {
                    self.tags.remove(tag);
                }
            }
            "used" => {
                let (since, tag) = (number_of(words.next()?)?, words.next()?);
                let orders = number_of(words.next()?)?;
                let known = self.tags.entry(tag.to_owned()).or_insert((since, 0));
                *known = (known.0.min(since), known.1.max(orders));
            }
            _ => {}
        }
        Some(())
    }
}

fn number(words: &mut SplitWhitespace<'_>) -> Option<u64> {
    number_of(words.next()?)
}

fn number_of<N: std::str::FromStr>(word: &str) -> Option<N> {
    word.parse().ok()
}

/// Reads the lines of a file. A line that cannot be read is left out: the last one of a process that was killed.
fn read(lines: impl BufRead, now: i64) -> io::Result<LeftState> {
    let mut reading = Reading::default();
    for line in lines.split(b'\n') {
        let line = line?;
        let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix(END));
        if let Some(line) = line.and_then(|line| line.strip_suffix(' ')) {
            reading.take(line);
        }
    }
    let oldest = now - i64::try_from(REMEMBERED.as_secs()).unwrap_or(0);
    let Reading { open, mut tags } = reading;
    tags.retain(|_, (since, _)| *since >= now - TAG_DAY);
    // What has no tag was never sent.
    let is_left =
        |left: &Left| left.since >= oldest && (left.tag.is_some() || left.order_id.is_some());
    Ok(LeftState { placements: open.into_values().filter(is_left).collect(), tags })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(key: &str) -> Fingerprint {
        Fingerprint::of_key("alpha", key)
    }

    fn tags(left: &LeftState) -> Vec<(&str, u32)> {
        let mut tags: Vec<_> =
            left.tags.iter().map(|(tag, (_, orders))| (tag.as_str(), *orders)).collect();
        tags.sort_unstable();
        tags
    }

    #[test]
    fn what_no_client_was_told_is_left_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = ToldFile::beside(&folder.path().join("orders.journal"));
        let file = ToldFile::open(&path).unwrap();
        assert_eq!(file.left().count(), 0);
        for (number, key) in (1..).zip(["told", "answered", "tagged", "begun"]) {
            file.begun(number, fingerprint(key), (number == 2).then(|| fingerprint("form")));
        }
        (1..4).for_each(|number| file.tagged(number, &format!("tag{number}")));
        (1..3).for_each(|number| file.answered(number, &format!("1512{number}")));
        file.told(1);
        drop(file);
        // A second reopening reads the file that the first one wrote.
        for _ in 0..2 {
            let file = ToldFile::open(&path).unwrap();
            let left = |key| file.left().find(|left| left.fingerprint == fingerprint(key)).cloned();
            assert_eq!(left("told"), None);
            let answered = left("answered").unwrap();
            assert_eq!(answered.order_id.as_deref(), Some("15122"));
            assert_eq!(answered.keyed_form, Some(fingerprint("form")));
            let tagged = left("tagged").unwrap();
            assert_eq!((tagged.tag.as_deref(), tagged.order_id), (Some("tag3"), None));
            assert_eq!(left("begun"), None, "it was never sent");
            assert_eq!(tags(&file.left), [("tag1", 1), ("tag2", 1), ("tag3", 1)]);
        }
    }

    /// Reads a file of these lines.
    fn read_lines(lines: &[String], now: i64) -> LeftState {
        let text: String = lines.iter().map(|words| line(format_args!("{words}"))).collect();
        read(text.as_bytes(), now).unwrap()
    }

    #[test]
    fn a_line_that_was_cut_and_one_that_is_old_are_left_out() {
        let (one, two) = (fingerprint("1"), fingerprint("2"));
        let begun = |number: u64, fingerprint, at: i64| begun_line(number, fingerprint, at, None);
        let rest =
            "answered 2 1\nansw\n\nnonsense\ntold zz .\nanswered 2 17 .\nanswered 2 18 .\nbegun 3";
        let text = [&begun(1, one, 100), "tagged 1 a .\n", &begun(2, two, 900), rest].concat();
        let read = |now| read(text.as_bytes(), now).unwrap();
        let left = read(100 + 601);
        assert_eq!(left.placements.len(), 1);
        assert_eq!(left.placements[0].fingerprint, two);
        assert_eq!(left.placements[0].order_id.as_deref(), Some("17"));
        assert_eq!(read(100).placements.len(), 2);
        assert_eq!(tags(&read(101 + TAG_DAY)), []);
    }

    #[test]
    fn equal_placements_are_told_apart_by_their_numbers() {
        let one = fingerprint("1");
        let lines = ["tagged 1 a", "tagged 2 b", "answered 2 8", "told 1"].map(str::to_owned);
        let begun = [1, 2].map(|number| format!("begun {number} {one} 1 -"));
        let left = read_lines(&[&begun[..], &lines].concat(), 1);
        let [left] = &left.placements[..] else { panic!("{left:?}") };
        assert_eq!((left.number, left.order_id.as_deref()), (2, Some("8")));
    }

    #[test]
    fn a_tag_of_the_day_is_remembered_with_the_number_of_its_orders() {
        let one = fingerprint("1");
        let sent = |number: u64, tag: &str| {
            [format!("begun {number} {one} 9 -"), format!("tagged {number} {tag}")]
        };
        let lines = [sent(1, "a"), sent(2, "a"), sent(3, "b"), sent(4, "c")].concat();
        let ends = ["told 3", "freed b", "freed a", "told 4"].map(str::to_owned);
        let mut left = read_lines(&[&lines[..], &ends].concat(), 9);
        for _ in 0..2 {
            assert_eq!(tags(&left), [("a", 2), ("c", 1)]);
            left = read(left.to_text().as_bytes(), 9).unwrap();
        }
    }
}
