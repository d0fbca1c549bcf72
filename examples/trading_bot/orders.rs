//! What became of the orders that the strategies wanted.
//!
//! Orders that were sent are all kept: the quota bounds their number. Nothing bounds those that were never sent, so
//! they are counted by reason, and only the first of them are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::broker::{Absence, BrokerError, LookupResult, OrderId, OrderRequest};
use serde::Serialize;

/// How many orders that were not sent are kept.
const MAX_LISTED: usize = 1000;
/// How many reasons are distinguished, and how many letters each may have. Any further one counts as [`OTHER`].
const MAX_REASONS: usize = 20;
const MAX_REASON_LENGTH: usize = 200;
const OTHER: &str = "other";

/// The outcome of an order that a strategy wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Placed,
    Rejected,
    NotSent,
    /// Sent, and the order book was read cleanly since and does not show it.
    Absent,
    Unknown,
}

impl Outcome {
    fn of(result: &Result<OrderId, BrokerError>) -> Self {
        match result {
            Ok(_) => Self::Placed,
            Err(BrokerError::Absent(_)) => Self::Absent,
            Err(error) => match error.was_sent() {
                Sent::No => Self::NotSent,
                Sent::Yes => Self::Rejected,
                Sent::Unknown => Self::Unknown,
            },
        }
    }
}

/// What the order book showed of an order whose answer was lost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BookLookup {
    /// Not shown, in the given number of clean reads.
    Absent(Absence),
    /// An order that may or may not be it.
    Unclear,
    /// The book could not be read in time.
    Unread,
    /// Not found yet when its strategy left.
    NotYet,
}

impl BookLookup {
    fn of(result: &Result<OrderId, BrokerError>) -> Option<Self> {
        let trail = result.as_ref().err()?.detail()?.lookup.as_ref()?;
        Some(match trail.result {
            LookupResult::Absent(absence) => Self::Absent(absence),
            LookupResult::Unclear => Self::Unclear,
            LookupResult::NotYet => Self::NotYet,
            _ => Self::Unread,
        })
    }
}

/// One order that a strategy wanted.
#[derive(Debug, Clone, Serialize)]
pub struct WantedOrder {
    pub tag: String,
    pub outcome: Outcome,
    pub order_id: Option<String>,
    /// What the order book showed of the order, if its answer was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<BookLookup>,
    pub latency_ms: f64,
}

/// The orders that were never sent.
#[derive(Debug, Default, Clone, Serialize)]
pub struct UnsentOrders {
    pub count: u64,
    /// How many of them are among the listed orders.
    pub listed: usize,
    pub reasons: BTreeMap<String, u64>,
}

impl UnsentOrders {
    /// Counts one. Returns whether it is to be listed too.
    fn count(&mut self, error: &BrokerError) -> bool {
        self.count += 1;
        let reason = reason(error);
        let known = self.reasons.contains_key(&reason) || self.reasons.len() < MAX_REASONS;
        let reason = if known { reason } else { OTHER.to_owned() };
        *self.reasons.entry(reason).or_default() += 1;
        let is_listed = self.listed < MAX_LISTED;
        self.listed += usize::from(is_listed);
        is_listed
    }
}

/// Returns why an order was not sent, without what differs from one to the next: a number becomes `#`, and a part
/// after a comma, such as "call again in about 3s", is left out.
fn reason(error: &BrokerError) -> String {
    let message = error.detail().map_or("", |detail| detail.message.as_str());
    let mut reason = String::new();
    for c in message.chars().take_while(|&c| c != ',').take(MAX_REASON_LENGTH) {
        match c.is_ascii_digit() {
            true if reason.ends_with('#') => {}
            true => reason.push('#'),
            false => reason.push(c),
        }
    }
    reason
}

/// All orders that the strategies wanted.
#[derive(Debug, Default, Clone)]
pub struct Orders {
    /// In the order in which they were answered. Of those that were not sent, only the first.
    pub listed: Vec<WantedOrder>,
    pub not_sent: UnsentOrders,
}

impl Orders {
    pub fn record(
        &mut self,
        order: &OrderRequest,
        latency: Duration,
        result: &Result<OrderId, BrokerError>,
    ) {
        let outcome = Outcome::of(result);
        if let (Outcome::NotSent, Err(error)) = (outcome, result) {
            if !self.not_sent.count(error) {
                return;
            }
        }
        self.listed.push(WantedOrder {
            tag: order.tag.clone().unwrap_or_default(),
            outcome,
            order_id: result.as_ref().ok().map(|id| id.as_str().to_owned()),
            seen: BookLookup::of(result),
            latency_ms: latency.as_secs_f64() * 1000.0,
        });
    }

    /// Returns how many there are of each outcome, including those that are not listed.
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut outcomes = BTreeMap::new();
        for order in self.listed.iter().filter(|order| order.outcome != Outcome::NotSent) {
            *outcomes.entry(order.outcome).or_default() += 1;
        }
        if self.not_sent.count > 0 {
            outcomes.insert(Outcome::NotSent, self.not_sent.count);
        }
        outcomes
    }
}
