//! Somewhere that the calls are written down for the next process.

use std::fmt;
use std::io;
use std::time::Duration;

use jiff::Timestamp;

use crate::quota::{PaceSnapshot, PriorUsage};

/// Where a proxy notes what it uses of its quotas, so that the next process of the account can begin with it.
///
/// [`PaceFile`](crate::PaceFile) is one (feature `journal`).
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::lane::{RecordedUsage, RecordedCall, PaceLog};
/// use lanekeeper::quota::{PaceSnapshot, PriorUsage};
///
/// /// Knows of a counter that some other program keeps, and tells it of nothing.
/// #[derive(Debug)]
/// struct Counter;
///
/// impl PaceLog for Counter {
///     fn begin(&self, now: Timestamp, _: &[(&str, Duration)], _: PriorUsage) -> io::Result<RecordedUsage> {
///         let mut used = PaceSnapshot::at(now);
///         let (sent, answered) = (Duration::from_millis(540), Duration::from_millis(500));
///         used.add("transactional", sent, Some(answered), 1);
///         Ok(RecordedUsage { used, since: None })
///     }
///     fn taken(&self, _: &RecordedCall<'_>, _: Timestamp) -> io::Result<()> {
///         Ok(())
///     }
///     fn urgent(&self, _: &RecordedCall<'_>, _: Timestamp, _: Timestamp) -> io::Result<()> {
///         Ok(())
///     }
///     fn finished(&self, _: u64, _: Timestamp) -> io::Result<()> {
///         Ok(())
///     }
/// }
/// ```
///
/// [`begin`](Self::begin) is called by the thread that builds the proxy, the others by the one that makes the call, with
/// no lock held. A call that is not urgent waits for
/// [`taken`](Self::taken). The other two come when the call is answered, and are to wait for nothing: a disk that
/// hangs must hold up no exit, and would take thread after thread.
pub trait PaceLog: Send + Sync + fmt::Debug {
    /// What is known of the calls up to now, in which no call is looked for that is older than what its lane and
    /// budgets `remember`. Asked once, as the proxy is built. `before` is what is to be taken for true of the time
    /// before anything was noted.
    ///
    /// # Errors
    /// What is there cannot be read or written.
    fn begin(
        &self,
        now: Timestamp,
        retention: &[(&str, Duration)],
        prior_usage: PriorUsage,
    ) -> io::Result<RecordedUsage>;

    /// A call is about to be sent.
    ///
    /// # Errors
    /// It could not be noted. The call goes all the same; the next process is to be told that nothing is known.
    fn taken(&self, call: &RecordedCall<'_>, now: Timestamp) -> io::Result<()>;

    /// An urgent call is over, which was not noted before. What cannot be written at once is kept until the next call
    /// is.
    ///
    /// # Errors
    /// It could not be noted.
    fn urgent(
        &self,
        call: &RecordedCall<'_>,
        taken_at: Timestamp,
        ended_at: Timestamp,
    ) -> io::Result<()>;

    /// The call of this number is over, and its slots are free a window after `finished`. It may lie ahead: a call
    /// without an answer may still be on its way. What cannot be written at once is kept until the next call is.
    ///
    /// # Errors
    /// It could not be noted.
    fn finished(&self, number: u64, finished_at: Timestamp) -> io::Result<()>;
}

/// A call that is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedCall<'a> {
    /// Unlike that of any other call of the proxy.
    pub number: u64,
    /// How many slots it takes.
    pub weight: u32,
    /// The lane and the budgets that it is charged to.
    pub names: &'a [&'static str],
}

impl<'a> RecordedCall<'a> {
    /// A call of this number and weight, charged to these.
    pub fn new(number: u64, weight: u32, names: &'a [&'static str]) -> Self {
        Self { number, weight, names }
    }
}

/// What somebody wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedUsage {
    /// The calls.
    pub used: PaceSnapshot,
    /// Since when all of them are in there. None: for as long as any window remembers.
    pub since: Option<Timestamp>,
}
