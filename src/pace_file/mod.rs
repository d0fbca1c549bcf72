//! A file of the calls that were made, for the next process of the same account.
//!
//! Each call is a line as it leaves and a line when it is over. They are handed to the system and not waited for:
//! what a process wrote before it was killed is there. A power cut may lose the last of them. Windows of seconds
//! are over by the next start; longer ones then begin with those calls missing.
//!
//! - `line` is one line.
//! - A file that is long is written anew with what still counts, beside the old one, and takes its place.

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

/// A file of the calls that were made: a [`PaceLog`].
///
/// One process at a time has it open, as long as nobody deletes the `.lock` beside it. A call costs two short writes,
/// an urgent one a single one.
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
/// The first process finds no file and knows nothing of what was sent before, so its windows of up to a minute count
/// as full at first; see [`PriorUsage`](crate::quota::PriorUsage).
#[derive(Debug)]
pub struct PaceFile {
    path: PathBuf,
    state: Mutex<State>,
    /// Lines of urgent calls, which wait for no disk. They go before the next line.
    pending_lines: Mutex<String>,
    /// Kept open for its lock.
    _lock: FileLock,
}

#[derive(Debug)]
struct State {
    /// None before it has begun, and once it is broken.
    file: Option<File>,
    poisoned: bool,
    len: u64,
    /// From which length on the file is written anew.
    compact_above: u64,
    /// For how long each lane and budget remembers a call.
    retention: HashMap<String, Duration>,
    /// What is true of the time before the file.
    prior_usage: PriorUsage,
}

/// A file that is not longer than this is never worth writing anew.
const MIN_COMPACT_LEN: u64 = 1 << 20;
/// A minute of silence, and a second for what is on its way.
const MIN_RETENTION: Duration = Duration::from_secs(61);
/// A file of more than this is none of ours: a day of calls at the pace of any broker is a tenth of it.
const READ_LIMIT: ReadLimit = ReadLimit::new(1 << 28, 1 << 28);

/// A pace file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaceFileError {
    /// The system said no.
    #[error("cannot {action} {}: {source}; give the pace file a folder that can be written to", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another proxy has it open, in this process or in another one.
    #[error("{} is in use: another process of the account is running, and two of them together would be over the quota; stop it first", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is some other file.
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
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// Another process has it open, it is not a pace file, or the system does not let it be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PaceFileError> {
        let path = path.as_ref();
        let io_error = |source| PaceFileError::Io { action: "find", path: path.to_owned(), source };
        let path = canonical_path(path).map_err(io_error)?;
        // What is there is looked at before anything is made beside it.
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

    /// Writes the file anew, with what counts at `now`. Gives what that is.
    ///
    /// `at_start`: calls that are not over in it are those of a process that died. They may have reached the broker
    /// until a moment ago.
    fn compact(
        &self,
        state: &mut State,
        now: Timestamp,
        at_start: bool,
    ) -> io::Result<RecordedUsage> {
        let text = read_text(&self.path).map_err(io::Error::other)?;
        let record::PaceContents { mut since, calls, is_intact } =
            record::parse_file(text.as_deref(), now);
        // Of a file that was damaged nobody knows more than it says.
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
                // From here on it is true of a shorter time that all of it is in here.
                let kept_since = now.checked_sub(retention).unwrap_or(now);
                since = Some(since.map_or(kept_since, |since| since.max(kept_since)));
                continue;
            }
            // One that is over in time to come is still on its way.
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
            // What was used of a day is in there. While the process runs no call is to wait for the disk.
            file.sync_data()?;
        }
        fs::rename(&new, &self.path)?;
        // What is written from now on is at its end.
        (state.len, state.file) = (text.len() as u64, Some(file));
        state.compact_above = MIN_COMPACT_LEN.max(state.len.saturating_mul(4));
        Ok(RecordedUsage { used, since })
    }

    /// Writes a line, after those that wait. `now` is when the file may be written anew, if it has become long.
    fn write(&self, state: &mut State, line: &str, now: Option<Timestamp>) -> io::Result<()> {
        let text = std::mem::take(&mut *self.pending_lines.lock()) + line;
        if state.poisoned {
            return Ok(()); // That was told.
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
            // The next process is to know that it knows nothing: an empty file says so.
            let file = state.file.take();
            let is_empty = file.is_some_and(|file| file.set_len(0).is_ok());
            if !is_empty {
                let _ = fs::remove_file(&self.path);
            }
            state.poisoned = true;
        })
    }

    /// Writes a line if that can be at once, or keeps it for the next who writes.
    fn try_write(&self, line: &PaceRecord) -> io::Result<()> {
        *self.pending_lines.lock() += &line.to_string();
        self.flush_pending()
    }

    /// Whoever has written looks once more: who came meanwhile has left its line behind.
    fn flush_pending(&self) -> io::Result<()> {
        while !self.pending_lines.lock().is_empty() {
            let Some(mut state) = self.state.try_lock() else { break };
            self.write(&mut state, "", None)?;
        }
        Ok(())
    }
}

impl State {
    /// For how long a call is kept that is charged to these: for as long as any of them remembers it, and never for
    /// less than a process holds still for what is not known.
    fn retention_of(&self, names: &[String]) -> Duration {
        let unknown = match self.prior_usage {
            PriorUsage::Unknown(up_to) => up_to.saturating_add(Duration::from_secs(1)),
            PriorUsage::None => Duration::ZERO,
        };
        let retention = names.iter().filter_map(|name| self.retention.get(name)).copied();
        retention.fold(MIN_RETENTION.max(unknown), Duration::max)
    }
}

/// How long ago it was. What lies ahead is now.
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

/// What is at `path`, if anything is.
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
    // What is torn by a power cut may be anything, but not in the first line.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if record::is_pace_file(&text) { Ok(Some(text)) } else { Err(not_ours()) }
}
