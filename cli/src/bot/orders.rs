//! The outcomes of the orders that the strategies wanted.
//!
//! All orders that were sent are listed: the quota bounds their number. The number of orders that were never sent is
//! unbounded, so they are counted by reason, and only the first ones are listed.

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper::Sent;
use lanekeeper::broker::{Absence, BrokerError, LookupResult, OrderId, OrderRequest};
use serde::Serialize;

/// Bounds the listed orders that were not sent.
const MAX_LISTED: usize = 1000;
/// Bounds the reasons that are counted apart. Any further reason counts as [`OTHER`].
const MAX_REASONS: usize = 20;
/// Bounds the characters of a reason.
const MAX_REASON_LENGTH: usize = 200;
const OTHER: &str = "other";

/// The outcome of an order that a strategy wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Placed,
    Rejected,
    NotSent,
    /// Sent, but later complete reads of the order book do not show it.
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

/// What the order book showed about an order whose answer was lost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BookLookup {
    /// Nothing, in this many complete reads.
    Absent(Absence),
    /// An order that may or may not be this one.
    Unclear,
    /// The order book could not be read in time.
    Unread,
    /// Nothing yet when its strategy stopped waiting.
    NotYet,
}

impl BookLookup {
    fn of(result: &Result<OrderId, BrokerError>) -> Option<Self> {
        let lookup = result.as_ref().err()?.detail()?.lookup.as_ref()?;
        Some(match lookup.result {
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
    /// What the order book showed, if the answer was lost.
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
    /// Counts an order. Returns whether to list it too.
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

/// Returns why an order was not sent, without details that vary: a number becomes `#`, and the text after a comma,
/// such as "call again in about 3s", is left out.
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
    /// The orders in the order of their answers; of the orders that were not sent, only the first ones.
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

    /// Returns the count of each outcome, including orders that are not listed.
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
