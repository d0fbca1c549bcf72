//! A scan: a long list of reads, at low priority, through the lanes of a proxy.
//!
//! A screener asks for 500 symbols. To submit 500 calls at once would fill the queue of the lane, and to wait for one
//! after the other would waste the quota. A [`Scan`] keeps a few calls queued or in flight and submits the next one when
//! one is answered. It has no thread: the worker that answers a call also submits the next one.
//!
//! # What it does to other calls
//!
//! A scan has the lowest priority unless its builder says otherwise, so it uses what other calls leave of the quota. Its
//! calls do not count in the limit of the queue, because the scan bounds their number itself
//! ([`at_once`](ScanBuilder::at_once)). So no other call is refused because of a scan, and a full queue neither refuses nor
//! sheds a call of a scan. Several scans take turns, like all users of one priority: give each a
//! [user](ScanBuilder::user).
//!
//! # Which errors are results
//!
//! The answer to each item is kept as its result, whether it is a value or an error. A panic of the closure is an error
//! too. The lane has retried the call before, as its [`RetryPolicy`](crate::resilience::RetryPolicy) says.
//!
//! Some errors of the lane say that the call was not sent *now*. Such a call is submitted again, because a scan has time:
//!
//! | error | the scan waits |
//! |---|---|
//! | [`BrokerDown`](LaneErrorKind::BrokerDown) | for the time that the breaker names, up to 30 s, or else for a delay |
//! | [`SessionExpired`](LaneErrorKind::SessionExpired) | for new credentials ([`Session::renew`](crate::Session::renew)), or for a delay |
//! | [`QueueFull`](LaneErrorKind::QueueFull), [`Shed`](LaneErrorKind::Shed), [`TooLate`](LaneErrorKind::TooLate) | does not occur: its calls take no slot of the queue and have no deadline |
//!
//! The delay is 100 ms at first, doubles up to 5 s, and is short again after the next answer. No thread sleeps through it:
//! the lane wakes the scan, and no other call of the scan is sent meanwhile. While calls of the scan are still queued or in
//! flight, it waits for their answers instead. A refusal holds up the whole scan, also items for other lanes.
//!
//! A scan does not give up by itself. Its [`progress`](Scan::progress) shows that it stands still, and
//! [`cancel`](Scan::cancel) ends it.
//!
//! Any other error of the lane is a result. After a shutdown of the lane or of the proxy, all remaining items fail with
//! [`Closed`](LaneErrorKind::Closed), and the scan is done.
//!
//! # Files
//!
//! - `builder.rs` is how a scan is started. `engine.rs` has its controls. `drive.rs` submits the calls and takes the
//!   answers. `inner.rs` is what they change, under one lock.
//! - `agenda.rs` has the items that are still to be submitted, and when. `back_off.rs` says which errors are no results,
//!   and how long the scan waits after one.
//! - `event_log.rs` keeps results and events by their sequence numbers. `readers.rs` is how readers wait for them.
//! - `progress.rs` has the state, and the pace for the estimate of when the scan is done.

mod agenda;
mod back_off;
mod builder;
mod drive;
mod engine;
mod event_log;
mod inner;
mod progress;
mod readers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use builder::{ScanBuilder, ScanStartError};
pub use event_log::{ScanEvent, ScanEventKind};
pub use progress::{ScanProgress, ScanState};
pub use readers::{EventsAfter, ScanEvents};

use self::engine::Engine;
use crate::lane::LaneError;
#[cfg(doc)]
use crate::lane::LaneErrorKind;
use crate::proxy::{Classify, HasLanes, LaneCall};

/// A list of reads that goes through the lanes at low priority. See the [module](self) for what it does and when it
/// waits.
///
/// Clones are handles to the same scan. Dropping the last one cancels the calls that are queued. A scan that is not over
/// holds a clone of the lanes.
///
/// # Readers
///
/// All results are kept until the last handle is dropped, so any number of readers can read them, each from its own
/// place: from the sequence number of the last event that it has. A reader that went away misses nothing and gets
/// nothing twice. This costs memory for every result: its value, and about 40 bytes. Of the events that are not results,
/// only the latest of each kind is kept.
///
/// ```
/// # #[cfg(feature = "paper")] {
/// use lanekeeper::broker::{Broker, BrokerError, lanes};
/// use lanekeeper::scan::{Scan, ScanEventKind};
/// use lanekeeper::{BrokerProxy, Instrument, LaneCall, PaperBroker};
///
/// let paper = PaperBroker::builder().build()?;
/// let broker = BrokerProxy::builder(paper.clone()).build()?;
/// let symbols = ["YESBANK", "JUNIORBEES"].map(|symbol| Instrument::new("NSE", symbol));
///
/// let scan = Scan::builder(&broker, symbols).user("screener").start(
///     |_| LaneCall::read(lanes::QUOTE).name("ltp"),
///     move |symbol: &Instrument| paper.ltp(symbol),
/// )?;
/// let mut prices = 0;
/// for event in scan.events() {
///     if let ScanEventKind::Result { index, result } = event.kind {
///         println!("{:?}: {result:?}", scan.item(index));
///         prices += usize::from(result.is_ok());
///     }
/// }
/// assert_eq!(prices, 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scan<I, R, E> {
    handle: Arc<Handle<I, R, E>>,
}

/// What the clones of a scan share. Dropped with the last of them.
struct Handle<I, R, E> {
    engine: Arc<Engine<I, R, E>>,
}

impl<I, R, E> Drop for Handle<I, R, E> {
    fn drop(&mut self) {
        // A worker may hold a reference to the engine at this moment.
        self.engine.cancel();
    }
}

impl<I, R, E> Scan<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    /// Returns a builder of a scan over `items`, through these lanes.
    pub fn builder(
        lanes: &(impl HasLanes + ?Sized),
        items: impl IntoIterator<Item = I>,
    ) -> ScanBuilder<I, R, E> {
        ScanBuilder::new(lanes.lanes().clone(), items.into_iter().collect())
    }

    /// Starts a scan with the default settings, see [`ScanBuilder::start`].
    ///
    /// # Errors
    /// Those of [`ScanBuilder::start`].
    pub fn start(
        lanes: &(impl HasLanes + ?Sized),
        items: impl IntoIterator<Item = I>,
        call: impl FnMut(&I) -> LaneCall,
        work: impl Fn(&I) -> Result<R, E> + Send + Sync + 'static,
    ) -> Result<Self, ScanStartError> {
        Self::builder(lanes, items).start(call, work)
    }

    /// Takes the queued calls back, unsent, and submits none until [`resume`](Self::resume). Those in flight finish, with
    /// their retries. Has no effect on a scan that is paused or over.
    ///
    /// A call that another thread is submitting at this moment may still be sent.
    pub fn pause(&self) {
        self.handle.engine.pause();
    }

    /// Continues a paused scan.
    pub fn resume(&self) {
        self.handle.engine.resume();
    }

    /// Ends the scan. The queued calls are taken back, unsent, and the answers to those in flight are dropped. The results
    /// so far can still be read. Has no effect on a scan that is over.
    pub fn cancel(&self) {
        self.handle.engine.cancel();
    }
}

impl<I, R, E> Scan<I, R, E> {
    fn new(engine: Arc<Engine<I, R, E>>) -> Self {
        Self { handle: Arc::new(Handle { engine }) }
    }

    /// Returns how far the scan is. It asks the lane for estimates, so do not call it in a tight loop.
    pub fn progress(&self) -> ScanProgress {
        self.handle.engine.progress()
    }

    /// Returns the state.
    pub fn state(&self) -> ScanState {
        self.handle.engine.state()
    }

    /// Returns the events after sequence number `seq`, in their order. 0 stands for all of them.
    pub fn events_after(&self, seq: u64) -> Vec<ScanEvent<R, E>> {
        self.handle.engine.events_after(seq)
    }

    /// Waits until there are events after `seq`, for `timeout` of the lanes' clock at most. Returns them, or nothing if
    /// there are none by then. A scan that is over has no more events, so the wait ends at once.
    pub fn wait_after(&self, seq: u64, timeout: Duration) -> Vec<ScanEvent<R, E>> {
        let deadline = self.handle.engine.clock.now() + timeout;
        self.handle.engine.wait_after(seq, Some(deadline))
    }

    /// Returns a future of the events after `seq`, on any executor. It is ready once there are some, or, without any, if
    /// the scan is over.
    pub fn next_after(&self, seq: u64) -> EventsAfter<'_, I, R, E> {
        EventsAfter::new(&self.handle.engine, seq)
    }

    /// Returns an iterator over all events from the first one on, which waits for each until the scan is over.
    pub fn events(&self) -> ScanEvents<'_, I, R, E> {
        ScanEvents::new(&self.handle.engine, 0)
    }

    /// Returns the item at `index`, in the order in which they were given.
    pub fn item(&self, index: usize) -> Option<&I> {
        self.handle.engine.items().get(index)
    }

    /// Returns the number of items.
    pub fn total(&self) -> usize {
        self.handle.engine.items().len()
    }
}

impl<I, R, E> Clone for Scan<I, R, E> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<I, R, E> fmt::Debug for Scan<I, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("total", &self.total()).finish_non_exhaustive()
    }
}
