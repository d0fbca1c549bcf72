//! A broker that fails by a script, and an error that shows how.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lanes::{READ, options, status, until};
use lanekeeper::ErrorClass;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, LaneError, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes};
use lanekeeper::quota::Moment;
use lanekeeper::resilience::RetryPolicy;

/// How an attempt fails: a class, or `None` if nothing is known of it.
pub type Fault = Option<ErrorClass>;

pub const NOT_SENT: Fault = Some(ErrorClass::NotSent);
pub const TRANSIENT: Fault = Some(ErrorClass::Transient);
pub const TOO_FAST: Fault = Some(ErrorClass::Throttled { retry_after: None });

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The lane answered in place of the broker.
    Lane(LaneError),
    /// This attempt failed at the broker, in this way.
    Broker(u32, Fault),
}

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

pub fn class(error: &Failed) -> Fault {
    match error {
        Failed::Lane(error) => Some(error.class()),
        Failed::Broker(_, fault) => *fault,
    }
}

/// Every attempt that was made: of which call, and when.
#[derive(Clone)]
pub struct Log {
    clock: ManualClock,
    seen: Arc<Mutex<Vec<(&'static str, Moment)>>>,
}

impl Log {
    pub fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), seen: Arc::default() }
    }

    pub fn note(&self, name: &'static str) {
        self.seen.lock().unwrap().push((name, self.clock.now()));
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }

    pub fn moments(&self) -> Vec<Moment> {
        self.seen.lock().unwrap().iter().map(|(_, at)| *at).collect()
    }

    /// Returns the times in nanoseconds, for the oracle.
    pub fn nanos(&self) -> Vec<u64> {
        self.moments().into_iter().map(Moment::as_nanos).collect()
    }

    pub fn len(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Returns work that fails in these ways, one attempt after the other, and then returns the number of the attempt
    /// that succeeded.
    pub fn fails<F: IntoIterator<Item = Fault>>(
        &self,
        name: &'static str,
        faults: F,
    ) -> impl FnMut() -> Result<u32, Failed> + Send + use<F> {
        let log = self.clone();
        let faults: Vec<Fault> = faults.into_iter().collect();
        let mut faults = faults.into_iter();
        let mut number = 0;
        move || {
            log.note(name);
            number += 1;
            faults.next().map_or(Ok(number), |fault| Err(Failed::Broker(number, fault)))
        }
    }
}

/// Queues a call that the lane may retry.
pub fn submit_repeatable<R: Send + 'static>(
    lanes: &Lanes,
    call: CallSpec,
    options: &CallOptions,
    work: impl FnMut() -> Result<R, Failed> + Send + 'static,
) -> Ticket<R, Failed> {
    lanes.submit_spec_repeatable(call, options, work, class)
}

pub const DAY: Duration = Duration::from_secs(86_400);

/// Returns a policy whose retries are far away: a call that failed waits, as long as time does not advance.
pub fn patient() -> RetryPolicy {
    RetryPolicy::default().base_delay(DAY).max_delay(DAY)
}

/// Returns a call that failed once as not sent, and waits for its second attempt.
pub fn waiting(lanes: &Lanes, call: CallSpec, log: &Log) -> Ticket<u32, Failed> {
    let ticket = submit_repeatable(lanes, call, &options(), log.fails("it", [NOT_SENT]));
    until(|| status(lanes).retrying == 1);
    ticket
}

/// Returns the answer of a call with one attempt.
pub fn ended(fault: Option<Fault>) -> Result<(), Failed> {
    fault.map_or(Ok(()), |fault| Err(Failed::Broker(1, fault)))
}

/// Calls that are in flight until the test ends them, and are sent once.
pub struct Gated {
    end: Sender<Option<Fault>>,
    ends: Arc<Mutex<Receiver<Option<Fault>>>>,
    begun: Arc<AtomicUsize>,
}

impl Gated {
    pub fn new() -> Self {
        let (end, ends) = mpsc::channel();
        Self { end, ends: Arc::new(Mutex::new(ends)), begun: Arc::default() }
    }

    pub fn submit(&self, lanes: &Lanes) -> Ticket<(), Failed> {
        let (begun, ends) = (Arc::clone(&self.begun), Arc::clone(&self.ends));
        let work = move || {
            begun.fetch_add(1, Ordering::SeqCst);
            let end = ends.lock().unwrap().recv();
            // Dropping the sender ends the call too.
            ended(end.unwrap_or(Some(TRANSIENT)))
        };
        lanes.submit_spec(READ, &CallOptions::new(), work, class)
    }

    /// Returns how many have begun.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Ends one of them.
    pub fn end(&self, fault: Option<Fault>) {
        self.end.send(fault).unwrap();
    }
}
