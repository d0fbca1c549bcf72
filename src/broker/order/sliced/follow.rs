//! The current state of the slices of an order.

use rust_decimal::Decimal;

use super::{Slice, SliceOutcome, SlicedOrder, saturating_sum};
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, OrderId, Rows};

/// The state of the slices of an order when the order book was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SlicedState {
    /// One entry for each of [`SlicedOrder::slices`], in their order: its order in the order book, or the
    /// reason why there is none.
    ///
    /// | error | reason |
    /// |---|---|
    /// | [`Rejected`](BrokerError::Rejected) | it was rejected when it was placed |
    /// | [`Absent`](BrokerError::Absent) | it was absent before, or the order book does not show it (yet) |
    /// | [`Malformed`](BrokerError::Malformed) | its row, or a row without a name, cannot be read |
    /// | [`OutcomeUnknown`](BrokerError::OutcomeUnknown) | it was unknown whether it is in the market |
    pub slices: Vec<Result<Order, BrokerError>>,
    /// Unlisted slices of the same parent: those of unknown outcome, if they are in the market after all.
    pub others: Vec<Order>,
    /// The quantity that is filled, of all the orders above, in units of the instrument.
    pub filled: Decimal,
    /// The quantity that can still be filled, of all the orders above, in units of the instrument.
    pub pending: Decimal,
}

impl SlicedState {
    /// Returns every order of it that the order book shows.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.slices.iter().flatten().chain(&self.others)
    }
}

impl SlicedOrder {
    /// Returns the current state of each slice, from one read of the order book.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::{Broker, Instrument, OrderRequest, PaperBroker, Side};
    ///
    /// let broker = PaperBroker::builder().build()?;
    /// let order = OrderRequest::limit(Instrument::new("NSE", "YESBANK"), Side::Buy, 10, 1);
    /// let state = broker.place_sliced(&order)?.follow(&broker)?;
    /// assert_eq!((state.filled, state.pending), (0.into(), 10.into()));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Broker::orders`]. A slice that the order book does not show fails only its own entry.
    pub fn follow(&self, broker: &dyn Broker) -> Result<SlicedState, BrokerError> {
        let book = broker.orders()?;
        let slices = self.slices.iter().map(|slice| slice_state(slice, &book)).collect();
        let others = self.unlisted_slices(&book).cloned().collect();
        let (filled, pending) = (Decimal::ZERO, Decimal::ZERO);
        let mut found = SlicedState { slices, others, filled, pending };
        found.filled = saturating_sum(found.orders().map(|order| order.filled_quantity));
        found.pending = saturating_sum(found.orders().map(Order::pending_quantity));
        Ok(found)
    }

    /// Returns the orders in the order book that are slices of this order and not listed by id: those of
    /// unknown outcome, if they are there. Instrument and side must be those of a listed slice. For
    /// example, the parent of a cover order has a leg on the other side, which is not a slice.
    pub(super) fn unlisted_slices<'a>(
        &'a self,
        book: &'a [Order],
    ) -> impl Iterator<Item = &'a Order> {
        let is_known =
            |id: &OrderId| self.parent.as_ref() == Some(id) || self.placed().any(|it| it == id);
        let known = book.iter().find(|order| is_known(&order.id));
        book.iter().filter(move |order| {
            let is_similar =
                known.is_some_and(|it| it.instrument == order.instrument && it.side == order.side);
            let has_same_parent = order.parent.is_some() && order.parent == self.parent;
            has_same_parent && is_similar && !is_known(&order.id)
        })
    }
}

fn slice_state(slice: &Slice, book: &Rows<Order>) -> Result<Order, BrokerError> {
    let id = match &slice.outcome {
        SliceOutcome::Placed(id) => id,
        SliceOutcome::Rejected(why) => return Err(BrokerError::Rejected(why.clone())),
        SliceOutcome::Absent(why) => return Err(BrokerError::Absent(why.clone())),
        SliceOutcome::Unknown(why) => return Err(BrokerError::OutcomeUnknown(why.clone())),
    };
    if let Some(order) = book.iter().find(|order| order.id == *id) {
        return Ok(order.clone());
    }
    // An unreadable row without a name may be any order.
    let problem = book
        .problems
        .iter()
        .find(|it| it.name.as_deref().is_none_or(|name| name_matches(name, id)));
    Err(match problem {
        Some(problem) => BrokerError::Malformed(ErrorDetail::new(problem.to_string())),
        None => BrokerError::Absent(ErrorDetail::new(format!(
            "the order book does not show order {id}"
        ))),
    })
}

/// Returns whether a row with this name may be the order `id`. The id may contain more than the broker's id
/// (Kite: the variety before a `/`).
fn name_matches(name: &str, id: &OrderId) -> bool {
    id.as_str().rsplit('/').next() == Some(name)
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use super::*;
    use crate::broker::{Instrument, MockBroker, OrderRequest, OrderStatus, RowProblem, Side};

    #[test]
    fn a_slice_that_cannot_be_seen_fails_no_other() {
        let id = OrderId::new;
        let slices = [
            Slice::placed(id("1")),
            Slice::placed(id("amo/2")),
            Slice::placed(id("3")),
            Slice::rejected(ErrorDetail::new("no funds")),
            Slice::unknown(ErrorDetail::new("timed out")),
        ];
        let order = SlicedOrder::new(Some(id("1")), 10, slices);
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(move || {
            let request = OrderRequest::market(Instrument::new("NSE", "X"), Side::Buy, 5);
            let mut first = Order::new(id("1"), OrderStatus::Open, &request);
            first.filled_quantity = 2.into();
            let mut late = Order::new(id("9"), OrderStatus::Filled, &request);
            (late.parent, late.filled_quantity) = (Some(id("1")), 5.into());
            let problem = RowProblem::new(1, "it has no status", "{..}").name("2");
            Ok(Rows::from(vec![first, late]).with_problems([problem]))
        });
        let state = order.follow(&mock).unwrap();
        assert_eq!(state.orders().map(|order| order.id.as_str()).collect::<Vec<_>>(), ["1", "9"]);
        assert_eq!((state.filled, state.pending), (7.into(), 3.into()));
        let class = |at: usize| state.slices[at].as_ref().unwrap_err().class().as_str();
        assert_eq!([1, 2, 3, 4].map(class), ["malformed", "unknown", "rejected", "unknown"]);
    }

    #[test]
    fn a_failed_read_of_the_order_book_is_an_error() {
        let mut mock = MockBroker::new();
        let lost = || BrokerError::Transient(ErrorDetail::new("no answer"));
        mock.expect_orders().returning(move || Err(lost()));
        assert_eq!(SlicedOrder::single(OrderId::new("1"), 1).follow(&mock), Err(lost()));
    }
}
