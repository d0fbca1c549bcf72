//! Listings of instruments that an adapter lacks, each fetched once for all calls that need it.
//!
//! A [`BrokerProxy`] asks its adapter before each call of `candles` which listing is missing, and fetches it through its
//! own lanes. The fetch is shared, so it has neither the user, the priority nor the deadline of a single caller. Its
//! ticket is held by one waiting caller at a time. A caller that leaves at its deadline hands the ticket to another
//! one, or leaves it for the next.
//!
//! # One fetch at a time
//!
//! The adapter has learned the listing before its ticket is answered, and a fetch is forgotten after that. A caller that
//! finds no fetch asks the adapter once more under the lock of the fetches. So a listing that has just come is not
//! fetched again.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Broker, BrokerError, BrokerProxy, CandleRequest, Exchange, InstrumentInfo, Rows};
use crate::clock::{Clock, TimedCondvar};
use crate::lane::{CallOptions, Ticket};
use crate::proxy::Prerequisite;
use crate::quota::Moment;

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
pub struct MissingListings(Arc<Mutex<HashMap<Exchange, Arc<Fetch>>>>);

impl MissingListings {
    /// Creates a set without fetches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the fetch of the listing of `exchange`: the one that is under way, or a new one if `is_missing`.
    ///
    /// `is_missing` is called with a lock held that every caller needs, so it must be quick.
    pub fn get(
        &self,
        exchange: &Exchange,
        is_missing: impl FnOnce() -> bool,
    ) -> Option<MissingListing> {
        let mut fetches = self.0.lock();
        if !fetches.contains_key(exchange) && !is_missing() {
            return None;
        }
        let fetch = Arc::clone(fetches.entry(exchange.clone()).or_default());
        Some(MissingListing { exchange: exchange.clone(), fetch, all: self.clone() })
    }

    /// Forgets a fetch that has ended.
    fn remove(&self, exchange: &Exchange, fetch: &Arc<Fetch>) {
        let mut fetches = self.0.lock();
        if fetches.get(exchange).is_some_and(|known| Arc::ptr_eq(known, fetch)) {
            fetches.remove(exchange);
        }
    }
}

impl fmt::Debug for MissingListings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

/// A listing that an adapter lacks, returned by [`Broker::missing_listing`]. The lanes in front fetch it.
#[derive(Clone)]
pub struct MissingListing {
    exchange: Exchange,
    fetch: Arc<Fetch>,
    all: MissingListings,
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
    Driven,
    /// The fetch is under way, and no thread waits for its ticket.
    Undriven(ListingTicket),
    Ended(Result<(), BrokerError>),
}

impl MissingListing {
    /// Returns the exchange whose listing is missing.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Starts the fetch, unless it is under way.
    fn start(&self, submit: impl FnOnce(&Exchange) -> ListingTicket) {
        {
            let mut state = self.fetch.state.lock();
            if !matches!(*state, FetchState::NotStarted) {
                return;
            }
            *state = FetchState::Driven;
        }
        // With no lock held, because it notifies observers.
        let ticket = submit(&self.exchange);
        let mut state = self.fetch.state.lock();
        *state = FetchState::Undriven(ticket);
        self.fetch.changed.notify_one(state);
    }
}

impl Prerequisite<BrokerError> for MissingListing {
    fn wait(&self, clock: &Clock, deadline: Option<Moment>) -> Option<Result<(), BrokerError>> {
        let Fetch { state, changed } = &*self.fetch;
        let mut guard = state.lock();
        let is_busy =
            |state: &mut FetchState| matches!(state, FetchState::NotStarted | FetchState::Driven);
        if !changed.wait_while(&mut guard, clock, deadline, is_busy) {
            return None;
        }
        let mut ticket = match mem::replace(&mut *guard, FetchState::Driven) {
            FetchState::Undriven(ticket) => ticket,
            FetchState::Ended(result) => {
                *guard = FetchState::Ended(result.clone());
                return Some(result);
            }
            busy @ (FetchState::NotStarted | FetchState::Driven) => {
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
                self.all.remove(&self.exchange, &self.fetch);
                let mut guard = state.lock();
                *guard = FetchState::Ended(result.clone());
                changed.notify_all(guard);
                Some(result)
            }
            Err(ticket) => {
                let mut guard = state.lock();
                *guard = FetchState::Undriven(ticket);
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

impl<T: Broker + Send + Sync + 'static> BrokerProxy<T> {
    /// Starts the fetch of the listing that the adapter lacks for `request`, if it lacks one.
    pub(super) fn fetch_missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let missing = self.inner.missing_listing(request)?;
        missing
            .start(|exchange| self.with(CallOptions::new()).submit().instruments(Some(exchange)));
        Some(missing)
    }
}
