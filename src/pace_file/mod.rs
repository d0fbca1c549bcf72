//! A file that records the calls of an account, for the account's next process.
//!
//! Each call is one record when it is sent, and one when it ends. Records are written without a sync: what a process
//! wrote before it was killed is in the file, but a power failure may lose the last records. Windows of seconds have
//! ended by the next start. Longer windows then start without those calls.
//!
//! - `record.rs` is one record.
//! - A large file is compacted: the records that still count are written beside it, and replace it.

mod record;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use self::record::{PaceRecord, UsedCall};
use crate::bounded::ReadLimit;
use crate::files::{
    FileLock, LockError, canonical_path, owner_only_options, read_bounded, with_suffix,
};
use crate::lane::{PaceLog, RecordedCall, RecordedUsage};
use crate::quota::{PaceSnapshot, PriorUsage};

/// A file that records calls: a [`PaceLog`].
///
/// One process at a time has it open, as long as the `.lock` file beside it is not deleted. A call costs two short
/// writes, and an urgent call one.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "kite")] {
/// use lanekeeper::{BrokerProxy, Kite, PaceFile};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("account.pace");
/// let kite = Kite::builder().api_key("key").access_token("token").build()?;
/// let broker = BrokerProxy::builder(kite).pace_log(PaceFile::open(&path)?).build()?;
/// # drop(broker);
/// # }
/// # Ok(())
/// # }
/// ```
///
/// The first process finds no file and knows nothing of earlier calls, so its windows of up to a minute count as full
/// at first; see [`PriorUsage`].
#[derive(Debug)]
pub struct PaceFile {
    path: PathBuf,
    state: Mutex<State>,
    /// Records of urgent calls and of ended calls, which must not wait for the disk. They are written before the next
    /// record.
    pending_lines: Mutex<String>,
    /// Kept open for its lock.
    _lock: FileLock,
}

#[derive(Debug)]
struct State {
    /// `None` before `begin`, and once the file is poisoned.
    file: Option<File>,
    poisoned: bool,
    len: u64,
    /// The length above which the file is compacted.
    compact_above: u64,
    /// How long each lane and budget needs a call.
    retention: HashMap<String, Duration>,
    /// What to assume of the time before the file.
    prior_usage: PriorUsage,
}

/// The length up to which a file is not worth compacting.
const MIN_COMPACT_LEN: u64 = 1 << 20;
/// The minimum time for which a call is kept: a minute of assumed prior usage, and a second for calls in transit.
const MIN_RETENTION: Duration = Duration::from_secs(61);
/// A larger file is no pace file: a day of calls at the pace of any broker is a tenth of it.
const READ_LIMIT: ReadLimit = ReadLimit::new(1 << 28, 1 << 28);

/// A pace file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaceFileError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}; give the pace file a folder that can be written to", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// Another proxy has it open, in this process or in another one.
    #[error("{} is in use: another process of the account is running, and two of them together would be over the quota; stop it first", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The file at the path is not a pace file.
    #[error("{} is no pace file, and was left as it is: name another one", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
}

impl From<LockError> for PaceFileError {
    fn from(failure: LockError) -> Self {
        match failure {
            LockError::InUse { path } => Self::InUse { path },
            LockError::Io { action, path, source } => Self::Io { action, path, source },
        }
    }
}

impl PaceFile {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// Another process has it open, it is not a pace file, or the system does not let it be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PaceFileError> {
        let path = path.as_ref();
        let io_error = |source| PaceFileError::Io { action: "find", path: path.to_owned(), source };
        let path = canonical_path(path).map_err(io_error)?;
        // Check the present file before anything is created beside it.
        read_text(&path)?;
        let lock = FileLock::acquire(&with_suffix(&path, ".lock"))?;
        let retention = HashMap::new();
        let prior_usage = PriorUsage::UNKNOWN;
        let state = State {
            file: None,
            poisoned: false,
            len: 0,
            compact_above: MIN_COMPACT_LEN,
            retention,
            prior_usage,
        };
        Ok(Self { path, state: Mutex::new(state), pending_lines: Mutex::default(), _lock: lock })
    }

    /// Compacts the file to the records that count at `now`, and returns the usage in them.
    ///
    /// With `at_start`, calls that have not ended belong to a process that died. Their requests may have reached the
    /// broker until a moment ago, so they end at `now`.
    fn compact(
        &self,
        state: &mut State,
        now: Timestamp,
        at_start: bool,
    ) -> io::Result<RecordedUsage> {
        let text = read_text(&self.path).map_err(io::Error::other)?;
        let record::PaceContents { mut since, calls, is_intact } =
            record::parse_file(text.as_deref(), now);
        // Without prior usage an intact file is complete for all time. A damaged one is complete from its `since` on.
        if at_start && is_intact && state.prior_usage == PriorUsage::None {
            since = None;
        }
        let (mut text, mut used) = (String::new(), PaceSnapshot::at(now));
        for (number, call) in calls {
            let retention = state.retention_of(&call.names);
            if call
                .finished_at
                .is_some_and(|finished_at| elapsed_since(now, finished_at) > retention)
            {
                // From here on the file is complete for a shorter time only.
                let kept_since = now.checked_sub(retention).unwrap_or(now);
                since = Some(since.map_or(kept_since, |since| since.max(kept_since)));
                continue;
            }
            // A call that ends in the future is still in transit.
            let finished_at = call.finished_at.filter(|finished_at| *finished_at <= now);
            let ago = |time| elapsed_since(now, time);
            for name in call.names.iter().filter(|name| state.retention.contains_key(*name)) {
                used.add(name, ago(call.taken_at), finished_at.map(ago), call.weight);
            }
            text += &match number.filter(|_| !at_start) {
                Some(number) => PaceRecord::Taken(number, call),
                None => PaceRecord::Used(UsedCall {
                    finished_at: call.finished_at.or(Some(now)),
                    ..call
                }),
            }
            .to_string();
        }
        let text = PaceRecord::Begin(since).to_string() + &text;
        let new = with_suffix(&self.path, ".new");
        let mut file = owner_only_options().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(text.as_bytes())?;
        if at_start {
            // The file has the usage of a day, so sync it. While the process runs, no call may wait for the disk.
            file.sync_data()?;
        }
        fs::rename(&new, &self.path)?;
        // Further records are appended to the new file.
        (state.len, state.file) = (text.len() as u64, Some(file));
        state.compact_above = MIN_COMPACT_LEN.max(state.len.saturating_mul(4));
        Ok(RecordedUsage { used, since })
    }

    /// Writes a record, after the pending ones. With `now`, compacts the file at that time if it is too long.
    fn write(&self, state: &mut State, line: &str, now: Option<Timestamp>) -> io::Result<()> {
        let text = std::mem::take(&mut *self.pending_lines.lock()) + line;
        if state.poisoned {
            return Ok(()); // The error was reported.
        }
        let written = match &mut state.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => Err(io::Error::other("it was not begun")),
        };
        state.len += text.len() as u64;
        let written = match (written, now.filter(|_| state.len > state.compact_above)) {
            (Ok(()), Some(now)) => self.compact(state, now, false).map(drop),
            (written, _) => written,
        };
        written.inspect_err(|_| {
            // The next process must learn that the record is incomplete, and an empty or missing file shows that.
            let file = state.file.take();
            let is_empty = file.is_some_and(|file| file.set_len(0).is_ok());
            if !is_empty {
                let _ = fs::remove_file(&self.path);
            }
            state.poisoned = true;
        })
    }

    /// Writes a record if the file is free, or leaves it to the next writer.
    fn try_write(&self, line: &PaceRecord) -> io::Result<()> {
        *self.pending_lines.lock() += &line.to_string();
        self.flush_pending()
    }

    /// Writes the pending records. Re-checks after each write, since another thread may have left a record meanwhile.
    fn flush_pending(&self) -> io::Result<()> {
        while !self.pending_lines.lock().is_empty() {
            let Some(mut state) = self.state.try_lock() else { break };
            self.write(&mut state, "", None)?;
        }
        Ok(())
    }
}

impl State {
    /// Returns how long to keep a call of these lanes and budgets: as long as any of them needs it, and at least as
    /// long as a process blocks for unknown prior usage.
    fn retention_of(&self, names: &[String]) -> Duration {
        let unknown = match self.prior_usage {
            PriorUsage::Unknown(up_to) => up_to.saturating_add(Duration::from_secs(1)),
            PriorUsage::None => Duration::ZERO,
        };
        let retention = names.iter().filter_map(|name| self.retention.get(name)).copied();
        retention.fold(MIN_RETENTION.max(unknown), Duration::max)
    }
}

/// Returns how long ago `then` was, or zero if it lies in the future.
fn elapsed_since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

impl PaceLog for PaceFile {
    fn begin(
        &self,
        now: Timestamp,
        retention: &[(&str, Duration)],
        prior_usage: PriorUsage,
    ) -> io::Result<RecordedUsage> {
        let mut state = self.state.lock();
        state.prior_usage = prior_usage;
        state.retention =
            retention.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
        self.compact(&mut state, now, true)
    }

    fn taken(&self, call: &RecordedCall<'_>, now: Timestamp) -> io::Result<()> {
        let names = call.names.iter().map(|name| (*name).to_owned()).collect();
        let used = UsedCall { taken_at: now, finished_at: None, weight: call.weight, names };
        let line = PaceRecord::Taken(call.number, used).to_string();
        self.write(&mut self.state.lock(), &line, Some(now))?;
        self.flush_pending()
    }

    fn finished(&self, number: u64, finished_at: Timestamp) -> io::Result<()> {
        self.try_write(&PaceRecord::Finished(number, finished_at))
    }

    fn given_back(&self, number: u64, _: Timestamp) -> io::Result<()> {
        self.try_write(&PaceRecord::GivenBack(number))
    }

    fn urgent(
        &self,
        call: &RecordedCall<'_>,
        taken_at: Timestamp,
        ended_at: Timestamp,
    ) -> io::Result<()> {
        let names = call.names.iter().map(|name| (*name).to_owned()).collect();
        let used = UsedCall { taken_at, finished_at: Some(ended_at), weight: call.weight, names };
        self.try_write(&PaceRecord::Used(used))
    }
}

/// Reads the file at `path`, if there is one.
fn read_text(path: &Path) -> Result<Option<String>, PaceFileError> {
    let io_error = |source| PaceFileError::Io { action: "read", path: path.to_owned(), source };
    let not_ours = || PaceFileError::NotOurs { path: path.to_owned() };
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(not_ours());
    }
    let bytes = match read_bounded(path, READ_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(not_ours()),
        Err(error) => return Err(io_error(error)),
    };
    // A power failure may tear any line into arbitrary bytes, but not the first one.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if record::is_pace_file(&text) { Ok(Some(text)) } else { Err(not_ours()) }
}
