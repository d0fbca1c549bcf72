//! Listings of instruments that an adapter lacks, each fetched once for all calls that need it.
//!
//! A [`BrokerProxy`] asks its adapter before each call of `candles` which listing is missing, and fetches it through its
//! own lanes, before the call is queued. The fetch is shared, so it has neither the user, the priority nor the deadline
//! of a single caller. Its ticket is held by one waiting caller at a time. A caller that leaves at its deadline hands
//! the ticket to another one, or leaves it for the next.
//!
//! # What is not shared
//!
//! - An urgent call fetches the listing by itself, urgently. A shared fetch may be held up by what an urgent call
//!   passes, such as an expired session.
//! - So does a call from within another call, because it holds a worker that the shared fetch may need. As a call of its
//!   own thread, its fetch is refused if it can never be sent, or ends at the deadline of the call.
//!
//! # One fetch at a time
//!
//! The adapter has learned the listing before its ticket is answered. The listings that have come are counted. A caller
//! whose listing was missing before the last one came starts no fetch, so a listing that has just come is not fetched
//! again. A listing that the broker refuses, or that cannot be read, is not fetched again for a minute, except by the
//! calls that do not share.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

#[cfg(feature = "async")]
use super::task_listing::ListingFlight;
use super::{Broker, BrokerError, BrokerProxy, CandleRequest, Exchange, InstrumentInfo, Rows};
use crate::ErrorClass;
use crate::clock::{Clock, TimedCondvar};
use crate::lane::{CallOptions, Priority, Ticket, is_within_call};
use crate::panic::catch_panic;
use crate::proxy::Prerequisite;
use crate::quota::Moment;

/// How long a listing that was refused, or could not be read, is not fetched again. A listing may have 10 MB.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The listings that an adapter lacks and that are being fetched for it. An adapter that implements
/// [`Broker::missing_listing`] keeps one. Cheap to clone, and clones are the same.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::Mutex;
/// use lanekeeper::broker::{CandleRequest, Exchange, Instrument, MissingListing, MissingListings};
///
/// struct Adapter {
///     /// Filled by `instruments`.
///     known: Mutex<HashSet<Instrument>>,
///     missing: MissingListings,
/// }
///
/// impl Adapter {
///     // The method of the trait.
///     fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
///         let instrument = &request.instrument;
///         let is_missing = || !self.known.lock().unwrap().contains(instrument);
///         self.missing.get(&Exchange::from(instrument.exchange()), is_missing)
///     }
/// }
/// # let adapter = Adapter { known: Mutex::default(), missing: MissingListings::new() };
/// # let day: lanekeeper::jiff::Timestamp = "2026-01-05T00:00:00Z".parse()?;
/// # let infy = Instrument::new("NSE", "INFY");
/// # let request = CandleRequest::new(infy.clone(), lanekeeper::broker::Interval::Day, day, day);
/// # assert_eq!(adapter.missing_listing(&request).unwrap().exchange(), &Exchange::Nse);
/// # let known = Adapter { known: Mutex::new([infy].into()), missing: MissingListings::new() };
/// # assert!(known.missing_listing(&request).is_none());
/// # Ok::<(), lanekeeper::jiff::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MissingListings(pub(super) Arc<Mutex<Listings>>);

#[derive(Default)]
pub(super) struct Listings {
    /// The fetches that are under way.
    fetches: HashMap<Exchange, Arc<Fetch>>,
    /// The fetches that tasks make.
    #[cfg(feature = "async")]
    pub(super) task_fetches: HashMap<Exchange, Arc<ListingFlight>>,
    /// The listings that the broker refused, with its error, and until when it is the answer.
    refused: HashMap<Exchange, (BrokerError, Moment)>,
    /// How many listings of each exchange have come.
    came: HashMap<Exchange, u64>,
}

impl MissingListings {
    /// Creates a set without fetches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the listing of `exchange`, to be fetched by the lanes in front, if `is_missing`.
    ///
    /// `is_missing` is called with a lock held that every caller needs, so it must be quick.
    pub fn get(
        &self,
        exchange: &Exchange,
        is_missing: impl FnOnce() -> bool,
    ) -> Option<MissingListing> {
        let listings = self.0.lock();
        is_missing().then(|| MissingListing {
            exchange: exchange.clone(),
            all: self.clone(),
            came: listings.came_of(exchange),
            fetch: None,
        })
    }
}

impl Listings {
    /// Returns how many listings of `exchange` have come.
    pub(super) fn came_of(&self, exchange: &Exchange) -> u64 {
        self.came.get(exchange).copied().unwrap_or(0)
    }

    /// Returns the error by which the broker has refused the listing a short time ago.
    pub(super) fn refusal(&mut self, exchange: &Exchange, now: Moment) -> Option<BrokerError> {
        let (error, until) = self.refused.get(exchange)?;
        if now < *until {
            return Some(error.clone());
        }
        self.refused.remove(exchange);
        None
    }

    /// Returns the fetch to wait for, which may be a new one that is not started yet. `None` if a listing has come since
    /// `came` had.
    fn join(&mut self, exchange: &Exchange, came: u64, now: Moment) -> Option<Arc<Fetch>> {
        if let Some(error) = self.refusal(exchange, now) {
            return Some(Arc::new(Fetch::ended(Err(error))));
        }
        if let Some(fetch) = self.fetches.get(exchange) {
            let Some(is_success) = fetch.end_unnoticed() else { return Some(Arc::clone(fetch)) };
            // No caller waited for its end, so an error may be old.
            self.fetches.remove(exchange);
            if is_success {
                *self.came.entry(exchange.clone()).or_default() += 1;
            }
        }
        if came != self.came_of(exchange) {
            return None;
        }
        let fetch = Arc::<Fetch>::default();
        self.fetches.insert(exchange.clone(), Arc::clone(&fetch));
        Some(fetch)
    }

    /// Forgets a fetch that has ended, and keeps its error if it is a refusal.
    fn end(
        &mut self,
        exchange: &Exchange,
        fetch: &Arc<Fetch>,
        result: &Result<(), BrokerError>,
        now: Moment,
    ) {
        if !self.fetches.get(exchange).is_some_and(|known| Arc::ptr_eq(known, fetch)) {
            return;
        }
        self.fetches.remove(exchange);
        self.note(exchange, result, now);
    }

    /// Counts a listing that has come, or keeps its error if it is a refusal.
    pub(super) fn note(
        &mut self,
        exchange: &Exchange,
        result: &Result<(), BrokerError>,
        now: Moment,
    ) {
        match result {
            Ok(()) => *self.came.entry(exchange.clone()).or_default() += 1,
            Err(error) => {
                let class = error.class();
                if matches!(class, ErrorClass::Rejected | ErrorClass::Malformed) {
                    self.refused.insert(exchange.clone(), (error.clone(), now + REFUSED_FOR));
                }
            }
        }
    }
}

impl fmt::Debug for MissingListings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().fetches.keys()).finish()
    }
}

/// A listing that an adapter lacks, returned by [`Broker::missing_listing`]. The lanes in front fetch it.
#[derive(Clone)]
pub struct MissingListing {
    pub(super) exchange: Exchange,
    pub(super) all: MissingListings,
    /// How many listings of the exchange had come when this one was missing.
    pub(super) came: u64,
    /// The fetch to wait for, once it is started.
    fetch: Option<Arc<Fetch>>,
}

type ListingTicket = Ticket<Rows<InstrumentInfo>, BrokerError>;

#[derive(Default)]
struct Fetch {
    state: Mutex<FetchState>,
    changed: TimedCondvar,
}

#[derive(Default)]
enum FetchState {
    #[default]
    NotStarted,
    /// A thread starts the fetch, or waits for its ticket.
    Waited,
    /// The fetch is under way, and no thread waits for its ticket.
    Unwaited(ListingTicket),
    Ended(Result<(), BrokerError>),
}

impl Fetch {
    fn ended(result: Result<(), BrokerError>) -> Self {
        Self { state: Mutex::new(FetchState::Ended(result)), changed: TimedCondvar::default() }
    }

    /// Ends a fetch whose answer came while no caller waited for it. Returns whether it succeeded, or `None` if it has
    /// no answer yet, or a caller waits for it.
    fn end_unnoticed(&self) -> Option<bool> {
        let mut state = self.state.lock();
        let FetchState::Unwaited(ticket) = &mut *state else { return None };
        let result = ticket.try_wait()?.map(drop);
        let is_success = result.is_ok();
        // A caller that has joined it, and does not wait yet, finds the result.
        *state = FetchState::Ended(result);
        Some(is_success)
    }
}

impl MissingListing {
    /// Returns the exchange whose listing is missing.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Chooses the fetch to wait for, and starts it unless it is under way. One that is not shared is always new.
    fn start(
        &mut self,
        is_shared: bool,
        clock: &Clock,
        submit: impl FnOnce(&Exchange) -> ListingTicket,
    ) {
        let fetch = match is_shared {
            true => self.all.0.lock().join(&self.exchange, self.came, clock.now()),
            false => Some(Arc::default()),
        };
        let Some(fetch) = fetch else { return };
        self.fetch = Some(Arc::clone(&fetch));
        {
            let mut state = fetch.state.lock();
            if !matches!(*state, FetchState::NotStarted) {
                return;
            }
            *state = FetchState::Waited;
        }
        // With no lock held, because it notifies observers.
        let ticket = submit(&self.exchange);
        let mut state = fetch.state.lock();
        *state = FetchState::Unwaited(ticket);
        fetch.changed.notify_one(state);
    }
}

impl Prerequisite<BrokerError> for MissingListing {
    fn wait(&self, clock: &Clock, deadline: Option<Moment>) -> Option<Result<(), BrokerError>> {
        // A listing has come since it was missing.
        let Some(fetch) = &self.fetch else { return Some(Ok(())) };
        let Fetch { state, changed } = &**fetch;
        let mut guard = state.lock();
        let is_busy =
            |state: &mut FetchState| matches!(state, FetchState::NotStarted | FetchState::Waited);
        if !changed.wait_while(&mut guard, clock, deadline, is_busy) {
            return None;
        }
        let mut ticket = match mem::replace(&mut *guard, FetchState::Waited) {
            FetchState::Unwaited(ticket) => ticket,
            FetchState::Ended(result) => {
                *guard = FetchState::Ended(result.clone());
                return Some(result);
            }
            busy @ (FetchState::NotStarted | FetchState::Waited) => {
                *guard = busy;
                return None;
            }
        };
        drop(guard);
        let answer = match deadline {
            None => Ok(ticket.wait()),
            Some(deadline) => ticket.wait_timeout(deadline.since(clock.now())).ok_or(ticket),
        };
        match answer {
            Ok(listed) => {
                let result = listed.map(drop);
                self.all.0.lock().end(&self.exchange, fetch, &result, clock.now());
                let mut guard = state.lock();
                *guard = FetchState::Ended(result.clone());
                changed.notify_all(guard);
                Some(result)
            }
            Err(ticket) => {
                let mut guard = state.lock();
                *guard = FetchState::Unwaited(ticket);
                changed.notify_one(guard);
                None
            }
        }
    }
}

impl fmt::Debug for MissingListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissingListing").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// Returns the options of the fetch for a caller with these options, and whether the fetch is shared.
pub(super) fn fetch_options(of_caller: &CallOptions) -> (CallOptions, bool) {
    let is_urgent = of_caller.priority == Some(Priority::URGENT);
    let priority = is_urgent.then_some(Priority::URGENT);
    // A full queue must not block it: its callers have deadlines, and are not queued themselves.
    let options = CallOptions { priority, is_over_limit: true, ..CallOptions::new() };
    (options, !is_urgent && !is_within_call())
}

impl<T: Broker + Send + Sync + 'static> BrokerProxy<T> {
    /// Starts the fetch of the listing that the adapter lacks for `request`, if it lacks one.
    pub(super) fn fetch_missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        // A panic in the adapter must not end its caller. The call itself then shows what is wrong.
        let mut missing = catch_panic(|| self.inner.missing_listing(request)).ok()??;
        let (options, is_shared) = fetch_options(&self.options);
        missing.start(is_shared, self.lanes.clock(), |exchange| {
            self.with(options).submit().instruments(Some(exchange))
        });
        Some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(all: &MissingListings, exchange: &Exchange) -> MissingListing {
        all.get(exchange, || true).expect("it is missing")
    }

    /// Begins and ends a fetch.
    fn fetch(all: &MissingListings, exchange: &Exchange, result: &Result<(), BrokerError>) {
        let now = Moment::from_nanos(0);
        let mut listings = all.0.lock();
        let came = listings.came_of(exchange);
        let fetch = listings.join(exchange, came, now).expect("a fetch");
        listings.end(exchange, &fetch, result, now);
    }

    #[test]
    fn only_a_listing_of_the_same_exchange_that_came_makes_a_fetch_unnecessary() {
        let all = MissingListings::new();
        let nse = missing(&all, &Exchange::Nse);
        let is_fetched = || {
            let mut listings = all.0.lock();
            let fetch = listings.join(&Exchange::Nse, nse.came, Moment::from_nanos(0));
            listings.fetches.clear();
            fetch.is_some()
        };
        fetch(&all, &Exchange::Bse, &Ok(()));
        assert!(is_fetched(), "that was another exchange");
        fetch(&all, &Exchange::Nse, &Err(BrokerError::Transient("lost".into())));
        assert!(is_fetched(), "that was no listing");
        fetch(&all, &Exchange::Nse, &Ok(()));
        assert!(!is_fetched(), "the listing has come");
    }
}
