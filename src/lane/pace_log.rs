//! The trait through which a proxy records its calls for the next process.

use std::fmt;
use std::io;
use std::time::Duration;

use jiff::Timestamp;

use crate::quota::{PaceSnapshot, PriorUsage};

/// A record of the quota that a proxy uses, with which the next process of the account can start.
///
/// [`PaceFile`](crate::PaceFile) implements it (feature `journal`).
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use lanekeeper::jiff::Timestamp;
/// use lanekeeper::lane::{RecordedUsage, RecordedCall, PaceLog};
/// use lanekeeper::quota::{PaceSnapshot, PriorUsage};
///
/// /// Reads a counter that another program keeps, and records nothing.
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
/// The thread that builds the proxy calls [`begin`](Self::begin). A worker that executes a call calls the other
/// methods, with no lock held. A call that is not urgent is sent after [`taken`](Self::taken) returns. The other
/// methods run when a call has ended, and must not block: a disk that hangs must not hold up an exit, and would take
/// one thread after another.
pub trait PaceLog: Send + Sync + fmt::Debug {
    /// Returns what is known of earlier calls. Calls older than the retention of their lane and budgets may be left
    /// out. Called once, when the proxy is built. `retention` has the time for which each lane and budget needs a call.
    /// `prior_usage` is what to assume of the time before anything was recorded.
    ///
    /// # Errors
    /// The existing record cannot be read or written.
    fn begin(
        &self,
        now: Timestamp,
        retention: &[(&str, Duration)],
        prior_usage: PriorUsage,
    ) -> io::Result<RecordedUsage>;

    /// Records a call that is about to be sent.
    ///
    /// # Errors
    /// The call could not be recorded. It is sent anyway, and the next process must learn that the record is
    /// incomplete.
    fn taken(&self, call: &RecordedCall<'_>, now: Timestamp) -> io::Result<()>;

    /// Records an urgent call that ended, in a single step. What cannot be written at once is kept until the next call
    /// is recorded.
    ///
    /// # Errors
    /// The call could not be recorded.
    fn urgent(
        &self,
        call: &RecordedCall<'_>,
        taken_at: Timestamp,
        ended_at: Timestamp,
    ) -> io::Result<()>;

    /// Records the end of call `number`, whose slots are free a window after `finished_at`. That may lie in the future:
    /// a call without an answer may still be in transit. What cannot be written at once is kept until the next call is
    /// recorded.
    ///
    /// # Errors
    /// The end could not be recorded.
    fn finished(&self, number: u64, finished_at: Timestamp) -> io::Result<()>;

    /// Records that call `number` was not sent after all, so that it counts in no window. Its adapter refused it before
    /// anything was tried ([`Failure::local`](crate::Failure::local)), or its caller left before it began. An urgent
    /// call of that kind is not recorded at all.
    ///
    /// By default the call counts as finished at `taken_at`, which is safe: then the next process sends fewer calls.
    ///
    /// # Errors
    /// The record could not be written.
    fn given_back(&self, number: u64, taken_at: Timestamp) -> io::Result<()> {
        self.finished(number, taken_at)
    }
}

/// A call to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedCall<'a> {
    /// Unique among the calls of the proxy.
    pub number: u64,
    /// How many slots the call costs.
    pub weight: u32,
    /// The lane and the budgets whose slots it costs.
    pub names: &'a [&'static str],
}

impl<'a> RecordedCall<'a> {
    /// Creates a call with this number and weight, which costs slots of the lane and budgets `names`.
    pub fn new(number: u64, weight: u32, names: &'a [&'static str]) -> Self {
        Self { number, weight, names }
    }
}

/// The usage that was recorded so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedUsage {
    /// The calls.
    pub used: PaceSnapshot,
    /// From when on the record is complete. `None` if it is complete for as long as any window needs.
    pub since: Option<Timestamp>,
}
