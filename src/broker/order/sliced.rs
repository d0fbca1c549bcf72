//! Orders that the broker divides into slices: the outcome of each slice, and of the whole.
//!
//! One id cannot represent several orders of which some were rejected. So a sliced order has an outcome
//! for each slice. [`SlicedOrder::complete`] returns the one id if every slice was placed.

mod cancel;
mod follow;

use std::fmt;

use rust_decimal::Decimal;

use super::model::OrderId;
use crate::broker::{BrokerError, ErrorDetail};

pub use cancel::SliceCancel;
pub use follow::SlicedState;

/// An order that the broker divided into slices, with the outcome of each when it was placed; see
/// [`Broker::place_sliced`](crate::Broker::place_sliced).
///
/// ```
/// use lanekeeper::BrokerError;
/// use lanekeeper::broker::{ErrorDetail, OrderId, Slice, SlicedOrder};
/// use lanekeeper::rust_decimal::Decimal;
///
/// let slices = [
///     Slice::placed(OrderId::new("1")).quantity(1800),
///     Slice::rejected(ErrorDetail::new("no funds")).quantity(200),
/// ];
/// let order = SlicedOrder::new(Some(OrderId::new("1")), 2000, slices);
/// assert_eq!(order.placed_quantity(), Some(Decimal::from(1800)));
/// // No id represents the whole order.
/// assert!(matches!(order.complete(), Err(BrokerError::PartlyPlaced(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlicedOrder {
    /// The broker's id of the whole, if known. At Kite it is the id of the first slice.
    pub parent: Option<OrderId>,
    /// The requested quantity, of all slices together.
    pub quantity: Decimal,
    /// The slices, in the broker's order.
    pub slices: Vec<Slice>,
}

/// A part of an order that the broker divided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    /// The outcome of its placement.
    pub outcome: SliceOutcome,
    /// Its quantity, if known. Kite does not state it in the response to a placement.
    pub quantity: Option<Decimal>,
}

/// The outcome of a slice when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SliceOutcome {
    /// The broker accepted it, as an order with this id.
    Placed(OrderId),
    /// The broker rejected it, and it is not in the market.
    Rejected(ErrorDetail),
    /// Its answer was lost, and clean reads of the order book do not show it; see
    /// [`BrokerError::Absent`].
    Absent(ErrorDetail),
    /// It may be in the market.
    Unknown(ErrorDetail),
}

impl Slice {
    /// Creates a slice that the broker accepted, as an order with this id.
    pub fn placed(id: OrderId) -> Self {
        Self { outcome: SliceOutcome::Placed(id), quantity: None }
    }

    /// Creates a slice that the broker rejected, with the reason.
    pub fn rejected(why: ErrorDetail) -> Self {
        Self { outcome: SliceOutcome::Rejected(why), quantity: None }
    }

    /// Creates a slice whose answer was lost and that the order book does not show. The detail has the
    /// evidence.
    pub fn absent(why: ErrorDetail) -> Self {
        Self { outcome: SliceOutcome::Absent(why), quantity: None }
    }

    /// Creates a slice that may be in the market, with the reason why that is not known.
    pub fn unknown(why: ErrorDetail) -> Self {
        Self { outcome: SliceOutcome::Unknown(why), quantity: None }
    }

    /// Sets its quantity.
    #[must_use]
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// Returns the id of its order, if it was placed.
    pub fn id(&self) -> Option<&OrderId> {
        match &self.outcome {
            SliceOutcome::Placed(id) => Some(id),
            _ => None,
        }
    }

    fn rejected_detail(&self) -> Option<&ErrorDetail> {
        match &self.outcome {
            SliceOutcome::Rejected(why) => Some(why),
            _ => None,
        }
    }

    fn absent_detail(&self) -> Option<&ErrorDetail> {
        match &self.outcome {
            SliceOutcome::Absent(why) => Some(why),
            _ => None,
        }
    }

    fn unknown_detail(&self) -> Option<&ErrorDetail> {
        match &self.outcome {
            SliceOutcome::Unknown(why) => Some(why),
            _ => None,
        }
    }
}

impl SlicedOrder {
    /// Creates an order of `quantity` that the broker divided into these slices.
    pub fn new(
        parent: Option<OrderId>,
        quantity: impl Into<Decimal>,
        slices: impl IntoIterator<Item = Slice>,
    ) -> Self {
        Self { parent, quantity: quantity.into(), slices: slices.into_iter().collect() }
    }

    /// Creates an order that was placed undivided, as one slice.
    pub fn single(id: OrderId, quantity: impl Into<Decimal>) -> Self {
        let quantity = quantity.into();
        Self::new(Some(id.clone()), quantity, [Slice::placed(id).quantity(quantity)])
    }

    /// Returns the ids of the slices that were placed.
    pub fn placed(&self) -> impl Iterator<Item = &OrderId> {
        self.slices.iter().filter_map(Slice::id)
    }

    /// Returns the reasons of rejected slices, in their order.
    pub fn rejected(&self) -> impl Iterator<Item = &ErrorDetail> {
        self.slices.iter().filter_map(Slice::rejected_detail)
    }

    /// Returns the evidence of absent slices, in their order.
    pub fn absent(&self) -> impl Iterator<Item = &ErrorDetail> {
        self.slices.iter().filter_map(Slice::absent_detail)
    }

    /// Returns the reasons of slices of unknown outcome, in their order.
    pub fn unknown(&self) -> impl Iterator<Item = &ErrorDetail> {
        self.slices.iter().filter_map(Slice::unknown_detail)
    }

    /// Returns the ids of the order at the broker: of the whole, then of the placed slices.
    pub(crate) fn known_ids(&self) -> impl Iterator<Item = &OrderId> {
        self.parent.iter().chain(self.placed())
    }

    /// Returns whether every slice was placed.
    pub fn is_placed(&self) -> bool {
        self.placed().count() == self.slices.len()
    }

    /// Returns the quantity of the placed slices, if known.
    pub fn placed_quantity(&self) -> Option<Decimal> {
        self.quantity_where(|slice| slice.id().is_some())
    }

    /// Returns the quantity of the rejected slices, if known.
    pub fn rejected_quantity(&self) -> Option<Decimal> {
        self.quantity_where(|slice| slice.rejected_detail().is_some())
    }

    /// Returns the quantity of the absent slices, if known.
    pub fn absent_quantity(&self) -> Option<Decimal> {
        self.quantity_where(|slice| slice.absent_detail().is_some())
    }

    /// Returns the quantity of the slices of unknown outcome, if known.
    pub fn unknown_quantity(&self) -> Option<Decimal> {
        self.quantity_where(|slice| slice.unknown_detail().is_some())
    }

    /// Returns the quantity of the slices that `matches` selects: the sum of theirs if all are known, else
    /// the whole less the sum of the others.
    fn quantity_where(&self, matches: impl Fn(&Slice) -> bool) -> Option<Decimal> {
        let of = |wanted: bool| {
            let slices = self.slices.iter().filter(|slice| matches(slice) == wanted);
            let quantities: Option<Vec<_>> = slices.map(|slice| slice.quantity).collect();
            quantities.map(saturating_sum)
        };
        of(true).or_else(|| Some(self.quantity.saturating_sub(of(false)?).max(Decimal::ZERO)))
    }

    /// Returns the id of the whole order, if every slice was placed. It is the result of
    /// [`Broker::place_order`](crate::Broker::place_order).
    ///
    /// # Errors
    /// [`PartlyPlaced`](BrokerError::PartlyPlaced) if a part of it is in the market, or if all of it is
    /// and the whole has no id; otherwise as [`in_market`](Self::in_market).
    pub fn complete(self) -> Result<OrderId, BrokerError> {
        let order = self.in_market()?;
        match &order.parent {
            Some(parent) if order.is_placed() => Ok(parent.clone()),
            _ => Err(BrokerError::PartlyPlaced(Box::new(order))),
        }
    }

    /// Returns the order itself, if any slice was placed.
    ///
    /// # Errors
    /// If no slice was placed, the first that applies of:
    /// - [`OutcomeUnknown`](BrokerError::OutcomeUnknown), if a slice is of unknown outcome
    /// - [`Absent`](BrokerError::Absent), if a slice is absent
    /// - [`Rejected`](BrokerError::Rejected) with the first reason, if every slice was rejected
    /// - [`OutcomeUnknown`](BrokerError::OutcomeUnknown), if there are no slices
    pub fn in_market(self) -> Result<Self, BrokerError> {
        if self.placed().next().is_some() {
            return Ok(self);
        }
        if let Some(unknown) = self.unknown().next() {
            let message = format!("{self}: {}", unknown.message);
            return Err(BrokerError::OutcomeUnknown(ErrorDetail { message, ..unknown.clone() }));
        }
        if let Some(absent) = self.absent().next() {
            let message = format!("{self}: {}", absent.message);
            return Err(BrokerError::Absent(ErrorDetail { message, ..absent.clone() }));
        }
        match (self.rejected().next(), self.slices.len()) {
            (Some(why), 1) => Err(BrokerError::Rejected(why.clone())),
            (Some(why), count) => {
                let message = format!("all {count} slices were rejected, first: {}", why.message);
                Err(BrokerError::Rejected(ErrorDetail { message, ..why.clone() }))
            }
            (None, _) => {
                let message = "the broker answered with no slices of the order";
                Err(BrokerError::OutcomeUnknown(ErrorDetail::new(message)))
            }
        }
    }
}

/// Returns the sum of quantities, capped at [`Decimal::MAX`]: they come from a broker and may be anything.
pub(crate) fn saturating_sum(quantities: impl IntoIterator<Item = Decimal>) -> Decimal {
    quantities.into_iter().fold(Decimal::ZERO, Decimal::saturating_add)
}

/// The maximum number of ids in the text of a sliced order. It covers Kite's 10 slices with room, and keeps a log line
/// short.
const MAX_IDS_SHOWN: usize = 20;

impl fmt::Display for SlicedOrder {
    /// Writes the number of slices of each outcome, with the ids of those that were placed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (placed, of) = (self.placed().count(), self.slices.len());
        write!(f, "{placed} of {of} slices placed")?;
        let ids: Vec<&str> = self.placed().take(MAX_IDS_SHOWN).map(OrderId::as_str).collect();
        if !ids.is_empty() {
            let more = if placed > MAX_IDS_SHOWN { ", .." } else { "" };
            write!(f, " ({}{more})", ids.join(", "))?;
        }
        if let Some(why) = self.rejected().next() {
            write!(f, ", {} rejected (first: {why})", self.rejected().count())?;
        }
        if let Some(why) = self.absent().next() {
            write!(f, ", {} not in the order book (first: {why})", self.absent().count())?;
        }
        if let Some(why) = self.unknown().next() {
            write!(f, ", {} of unknown outcome (first: {why})", self.unknown().count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> OrderId {
        OrderId::new(text)
    }

    fn placed(text: &str) -> Slice {
        Slice::placed(id(text))
    }

    fn rejected() -> Slice {
        Slice::rejected(ErrorDetail::new("no funds").status(400))
    }

    fn unknown() -> Slice {
        Slice::unknown(ErrorDetail::new("no answer"))
    }

    fn order(slices: impl IntoIterator<Item = Slice>) -> SlicedOrder {
        SlicedOrder::new(Some(id("1")), 10, slices)
    }

    #[test]
    fn one_id_stands_for_an_order_of_which_every_slice_was_placed() {
        assert_eq!(order([placed("1"), placed("2")]).complete(), Ok(id("1")));
        assert_eq!(SlicedOrder::single(id("7"), 10).complete(), Ok(id("7")));
        for mixed in [
            order([placed("1"), rejected()]),
            order([rejected(), placed("2")]),
            order([placed("1"), unknown()]),
            SlicedOrder { parent: None, ..order([placed("1"), placed("2")]) },
        ] {
            assert_eq!(mixed.clone().in_market().as_ref(), Ok(&mixed));
            assert_eq!(mixed.clone().complete(), Err(BrokerError::PartlyPlaced(Box::new(mixed))));
        }
    }

    #[test]
    fn an_order_that_was_refused_in_every_slice_is_rejected() {
        let why = ErrorDetail::new("no funds").status(400);
        assert_eq!(order([rejected()]).complete(), Err(BrokerError::Rejected(why.clone())));
        let message = "all 2 slices were rejected, first: no funds".to_owned();
        let all = BrokerError::Rejected(ErrorDetail { message, ..why });
        assert_eq!(order([rejected(), rejected()]).complete(), Err(all));
        for unclear in [order([rejected(), unknown()]), order([unknown()]), order([])] {
            let error = unclear.complete().unwrap_err();
            assert!(matches!(error, BrokerError::OutcomeUnknown(_)), "{error}");
        }
    }

    #[test]
    fn quantities_are_what_is_stated_or_what_is_left() {
        let sums = |order: &SlicedOrder| {
            [order.placed_quantity(), order.rejected_quantity(), order.unknown_quantity()]
                .map(|sum| sum.map(|sum| sum.to_string().parse::<i64>().unwrap()))
        };
        let whole = [placed("1").quantity(4), placed("2").quantity(4), rejected().quantity(2)];
        assert_eq!(sums(&order(whole)), [Some(8), Some(2), Some(0)]);
        // Kite states no quantities. If all of an order is in the market, they are known.
        assert_eq!(sums(&order([placed("1"), placed("2")])), [Some(10), Some(0), Some(0)]);
        assert_eq!(sums(&order([placed("1"), rejected()])), [None, None, Some(0)]);
        assert_eq!(sums(&order([placed("1").quantity(4), unknown()])), [Some(4), Some(0), Some(6)]);
    }

    #[test]
    fn no_quantity_overflows() {
        let largest = || placed("1").quantity(Decimal::MAX);
        let order = SlicedOrder::new(None, Decimal::MAX, [largest(), largest(), unknown()]);
        assert_eq!(order.placed_quantity(), Some(Decimal::MAX));
        assert_eq!(order.unknown_quantity(), Some(Decimal::ZERO));
    }

    #[test]
    fn the_text_counts_the_slices_of_each_outcome() {
        let text = order([placed("1"), rejected(), placed("2"), unknown(), rejected()]).to_string();
        assert_eq!(
            text,
            "2 of 5 slices placed (1, 2), 2 rejected (first: no funds (HTTP 400)), 1 of unknown \
             outcome (first: no answer)"
        );
        let many = order((0..30).map(|n| placed(&n.to_string()))).to_string();
        assert!(many.contains("18, 19, ..)") && !many.contains("20"), "{many}");
    }
}
