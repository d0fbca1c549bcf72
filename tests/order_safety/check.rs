//! Checks whether what the callers were told is what happened.

use std::collections::{HashMap, HashSet};

use lanekeeper::broker::{BrokerError, LookupResult, Order, OrderId, OrderStatus};
use lanekeeper_simulator::PlacedOrder;
use rust_decimal::Decimal;

/// The answer to a caller.
pub(crate) type Answer = Result<OrderId, BrokerError>;

/// An order in the broker's ledger. The quantity names the intent: no two have the same.
#[derive(Debug)]
pub(crate) struct Booked {
    pub(crate) id: OrderId,
    pub(crate) tag: Option<String>,
    pub(crate) quantity: Decimal,
    pub(crate) rejected: bool,
}

impl From<&Order> for Booked {
    fn from(order: &Order) -> Self {
        Self {
            id: order.id.clone(),
            tag: order.tag.clone(),
            quantity: order.quantity,
            rejected: order.status == OrderStatus::Rejected,
        }
    }
}

impl From<&PlacedOrder> for Booked {
    fn from(order: &PlacedOrder) -> Self {
        Self {
            id: order.id.clone(),
            tag: order.tag.clone(),
            quantity: order.quantity,
            rejected: order.status == OrderStatus::Rejected,
        }
    }
}

/// How many answers there were of each kind.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AnswerCounts {
    pub(crate) placed: usize,
    /// Understood and refused, throttled, or an error that no retry cures.
    pub(crate) rejected: usize,
    pub(crate) not_sent: usize,
    /// The answer was lost, and the order is not in the book after the settle time.
    pub(crate) absent: usize,
    /// Unknown, because the book could not be read in time.
    pub(crate) unread: usize,
}

impl AnswerCounts {
    pub(crate) fn all(&self) -> usize {
        self.placed + self.rejected + self.not_sent + self.absent + self.unread
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.placed += other.placed;
        self.rejected += other.rejected;
        self.not_sent += other.not_sent;
        self.absent += other.absent;
        self.unread += other.unread;
    }
}

/// Checks whether the answers to the intents 1 to `intents`, by their numbers, agree with the ledger.
pub(crate) fn check(
    intents: u64,
    answers: &[(u64, Answer)],
    ledger: &[Booked],
) -> Result<AnswerCounts, String> {
    no_duplicates(ledger)?;
    let mut booked: HashMap<Decimal, &Booked> =
        ledger.iter().map(|order| (order.quantity, order)).collect();
    let answered: HashSet<u64> = answers.iter().map(|(number, _)| *number).collect();
    if answers.len() != answered.len() || answered != (1..=intents).collect() {
        return Err(format!("{} answers to {intents} intents", answers.len()));
    }
    let mut counts = AnswerCounts::default();
    for (number, answer) in answers {
        judge(answer, booked.remove(&Decimal::from(*number)), &mut counts)
            .map_err(|wrong| format!("intent {number}: {wrong}"))?;
    }
    match booked.values().next() {
        Some(order) => Err(format!("no caller asked for {order:?}")),
        None => Ok(counts),
    }
}

/// Checks that each tag and each intent is in the ledger once at most.
pub(crate) fn no_duplicates(ledger: &[Booked]) -> Result<(), String> {
    let (mut tags, mut quantities) = (HashSet::new(), HashSet::new());
    for order in ledger {
        if order.tag.as_ref().is_some_and(|tag| !tags.insert(tag)) {
            return Err(format!("a second order with the tag of {order:?}"));
        }
        if !quantities.insert(order.quantity) {
            return Err(format!("a second order of the intent of {order:?}"));
        }
    }
    Ok(())
}

fn judge(
    answer: &Answer,
    booked: Option<&Booked>,
    counts: &mut AnswerCounts,
) -> Result<(), String> {
    let wrong = || Err(format!("answered {answer:?}, but in the ledger: {booked:?}"));
    let count = match answer {
        Ok(id) if booked.is_some_and(|order| order.id == *id) => &mut counts.placed,
        Err(BrokerError::Rejected(_)) if booked.is_none_or(|order| order.rejected) => {
            &mut counts.rejected
        }
        Err(
            BrokerError::Throttled { .. } | BrokerError::Unauthorized(_) | BrokerError::Fatal(_),
        ) if booked.is_none() => &mut counts.rejected,
        Err(BrokerError::NotSent(_)) if booked.is_none() => &mut counts.not_sent,
        Err(error @ BrokerError::Absent(_)) if booked.is_none() && error.absence().is_some() => {
            &mut counts.absent
        }
        Err(BrokerError::OutcomeUnknown(detail)) => {
            match detail.lookup.as_ref().map(|it| it.result) {
                Some(LookupResult::Unreadable) => &mut counts.unread,
                _ => return wrong(),
            }
        }
        _ => return wrong(),
    };
    *count += 1;
    Ok(())
}
