//! Counters of a guard: how its orders ended.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::guard::OrderGuard;
use super::recover::RecoveredOutcome;
use crate::broker::BrokerError;

/// How the orders of an [`OrderGuard`] ended: the answers of [`place_order`](crate::Broker::place_order) and
/// [`place_sliced`](crate::Broker::place_sliced), of all its handles together. Changes and cancellations do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuardStats {
    /// Orders in the market as a whole, by the broker's answer or by the order book.
    pub placed: u64,
    /// Orders of which only some slices are in the market, or may be.
    pub partly_placed: u64,
    /// Orders that the broker refused, for whatever reason, and did not execute.
    pub rejected: u64,
    /// Orders that were not sent.
    pub not_sent: u64,
    /// Orders that were sent and that the order book did not show after the settle time.
    pub absent: u64,
    /// Orders that were sent and whose outcome was not found.
    pub unknown: u64,
    /// Orders that were absent or of unknown outcome, or whose futures were dropped, and appeared in the market later.
    /// Each was reported to [`on_turned_up`](super::OrderGuardBuilder::on_turned_up). Without that callback, late orders
    /// do not count.
    pub turned_up: u64,
    /// Orders that are absent or of unknown outcome at present, or whose futures were dropped, and that
    /// [`recover`](OrderGuard::recover) would search for. Those that an earlier process left in the journal count too.
    pub pending: usize,
}

/// One line: the counts, those that need attention last.
///
/// ```
/// let stats = lanekeeper::order_guard::GuardStats::default();
/// assert_eq!(stats.to_string(), "placed 0  rejected 0  not sent 0  absent 0  unknown 0  late 0  pending 0");
/// ```
impl fmt::Display for GuardStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { placed, partly_placed, rejected, not_sent, .. } = self;
        write!(f, "placed {placed}")?;
        if *partly_placed > 0 {
            write!(f, "  in part {partly_placed}")?;
        }
        let Self { absent, unknown, turned_up, pending, .. } = self;
        write!(f, "  rejected {rejected}  not sent {not_sent}  absent {absent}")?;
        write!(f, "  unknown {unknown}  late {turned_up}  pending {pending}")
    }
}

/// Counts how orders ended.
#[derive(Debug, Default)]
pub(super) struct OutcomeCounters {
    placed: AtomicU64,
    partly_placed: AtomicU64,
    rejected: AtomicU64,
    not_sent: AtomicU64,
    absent: AtomicU64,
    unknown: AtomicU64,
    turned_up: AtomicU64,
}

impl OutcomeCounters {
    /// Counts the answer to one order. `is_whole` returns whether all of it is in the market.
    pub(super) fn record<T>(
        &self,
        answer: &Result<T, BrokerError>,
        is_whole: impl FnOnce(&T) -> bool,
    ) {
        let counter = match answer {
            Ok(placed) if is_whole(placed) => &self.placed,
            Ok(_) => &self.partly_placed,
            Err(error) => self.counter_of(error),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an order that its guard did not send.
    pub(super) fn record_error(&self, error: &BrokerError) {
        self.counter_of(error).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an order that appeared after its caller was answered, if it is in the market.
    pub(super) fn record_late(&self, outcome: &RecoveredOutcome) {
        match outcome {
            RecoveredOutcome::Placed(_) | RecoveredOutcome::PartlyPlaced(_) => {
                self.turned_up.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn counter_of(&self, error: &BrokerError) -> &AtomicU64 {
        match error {
            BrokerError::NotSent(_) => &self.not_sent,
            BrokerError::PartlyPlaced(_) => &self.partly_placed,
            BrokerError::Absent(_) => &self.absent,
            BrokerError::Throttled { .. }
            | BrokerError::Rejected(_)
            | BrokerError::Unauthorized(_)
            | BrokerError::NoQuote { .. }
            | BrokerError::Fatal(_) => &self.rejected,
            // An adapter returns the last two for reads only. From a write they say nothing about its outcome.
            BrokerError::OutcomeUnknown(_)
            | BrokerError::Transient(_)
            | BrokerError::Malformed(_) => &self.unknown,
        }
    }

    fn snapshot(&self, pending: usize) -> GuardStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GuardStats {
            placed: of(&self.placed),
            partly_placed: of(&self.partly_placed),
            rejected: of(&self.rejected),
            not_sent: of(&self.not_sent),
            absent: of(&self.absent),
            unknown: of(&self.unknown),
            turned_up: of(&self.turned_up),
            pending,
        }
    }
}

impl<B> OrderGuard<B> {
    /// Returns how the orders of all handles of this guard ended so far.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::{Broker, Instrument, OrderGuard, OrderRequest, PaperBroker, Side};
    ///
    /// let broker = OrderGuard::builder(PaperBroker::builder().build()?).build()?;
    /// broker.place_order(&OrderRequest::market(Instrument::new("NSE", "YESBANK"), Side::Buy, 1))?;
    /// let stats = broker.stats();
    /// assert_eq!((stats.placed, stats.unknown, stats.pending), (1, 0, 0));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> GuardStats {
        let state = self.state();
        state.outcomes.snapshot(state.pending_intents.orphaned())
    }
}

#[cfg(feature = "async")]
impl<B> super::AsyncOrderGuard<B> {
    /// Returns how the orders of all handles of this guard ended so far. An order whose future was dropped has no answer,
    /// and counts as pending until it is found.
    pub fn stats(&self) -> GuardStats {
        let state = self.state();
        state.outcomes.snapshot(state.pending_intents.orphaned())
    }
}
