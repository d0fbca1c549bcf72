//! Taking all slices of an order out of the market.

use super::{SliceOutcome, SlicedOrder};
use crate::broker::{Broker, BrokerError, Detail, OrderId, OrderStatus, Rows};

/// What became of the cancellation of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SliceCancel {
    /// It was taken out of the market.
    Cancelled(OrderId),
    /// Its cancellation failed, and the book shows it in this final state.
    Final(OrderId, OrderStatus),
    /// The cancellation failed; the error says whether it was sent.
    Failed(OrderId, BrokerError),
    /// It was rejected when it was placed, so there is nothing to cancel.
    Rejected(Detail),
    /// It may be in the market, or is absent, and no id is known by which to cancel it.
    Unknown(Detail),
}

impl SliceCancel {
    /// Whether nothing of the slice can be filled any more.
    pub fn is_out(&self) -> bool {
        matches!(self, Self::Cancelled(_) | Self::Final(..) | Self::Rejected(_))
    }
}

impl SlicedOrder {
    /// Cancels every slice that is in the market, one after the other, and says what became of each: first
    /// the slices, in their order; then slices of the same parent that were not known before, if the book
    /// shows any.
    ///
    /// The cancellations of the slices go before anything is read. The book is read after them: for others of
    /// the same parent, and for the state of those whose cancellation failed. No failure keeps the next
    /// cancellation from being sent. In front of an [`OrderGuard`](crate::OrderGuard) each one whose answer is
    /// lost may take the settle time.
    ///
    /// ```
    /// # #[cfg(feature = "paper")] {
    /// use lanekeeper::broker::{Broker, Instrument, OrderRequest, Side, SliceCancel};
    /// use lanekeeper::PaperBroker;
    ///
    /// let broker = PaperBroker::builder().build()?;
    /// let order = OrderRequest::limit(Instrument::new("NSE", "YESBANK"), Side::Buy, 10, 1);
    /// let placed = broker.place_sliced(&order)?;
    /// assert!(placed.cancel_all(&broker).iter().all(SliceCancel::is_out));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_all(&self, broker: &dyn Broker) -> Vec<SliceCancel> {
        let cancel = |id: &OrderId| match broker.cancel_order(id) {
            Ok(()) => SliceCancel::Cancelled(id.clone()),
            Err(error) => SliceCancel::Failed(id.clone(), error),
        };
        let slices = self.slices.iter().map(|slice| match &slice.outcome {
            SliceOutcome::Placed(id) => cancel(id),
            SliceOutcome::Rejected(why) => SliceCancel::Rejected(why.clone()),
            SliceOutcome::Absent(why) | SliceOutcome::Unknown(why) => {
                SliceCancel::Unknown(why.clone())
            }
        });
        let mut ends: Vec<SliceCancel> = slices.collect();
        let book = broker.orders().unwrap_or_else(|_| Rows::default());
        let others = self.others(&book).filter(|order| !order.status.is_final());
        ends.extend(others.map(|order| cancel(&order.id)));
        for end in &mut ends {
            let SliceCancel::Failed(id, _) = end else { continue };
            let shown = book.iter().find(|order| order.id == *id);
            if let Some(order) = shown.filter(|order| order.status.is_final()) {
                *end = SliceCancel::Final(id.clone(), order.status.clone());
            }
        }
        ends
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use super::*;
    use crate::broker::{Instrument, MockBroker, Order, OrderRequest, Side, Slice};

    fn id(text: &str) -> OrderId {
        OrderId::new(text)
    }

    fn order() -> SlicedOrder {
        let unknown = Slice::unknown(Detail::new("timed out"));
        let slices = ["1", "2", "3"].map(|it| Slice::placed(id(it))).into_iter().chain([unknown]);
        SlicedOrder::new(Some(id("1")), 10, slices)
    }

    fn shown(text: &str, side: Side, status: OrderStatus) -> Order {
        let request = OrderRequest::market(Instrument::new("NSE", "X"), side, 5);
        let mut order = Order::new(id(text), status, &request);
        order.parent = Some(id("1")).filter(|_| text != "1");
        order
    }

    #[test]
    fn every_placed_slice_is_cancelled_if_the_book_cannot_be_read() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| Err(BrokerError::Transient(Detail::new("no answer"))));
        mock.expect_cancel_order().times(3).returning(|id| match id.as_str() {
            "1" => Err(BrokerError::OutcomeUnknown(Detail::new("reset"))),
            _ => Ok(()),
        });
        let ends = order().cancel_all(&mock);
        assert!(matches!(&ends[0], SliceCancel::Failed(it, _) if *it == id("1")));
        assert_eq!(ends[1..3], ["2", "3"].map(|it| SliceCancel::Cancelled(id(it))));
        let is_out: Vec<bool> = ends.iter().map(SliceCancel::is_out).collect();
        assert_eq!(is_out, [false, true, true, false]);
    }

    #[test]
    fn what_is_final_says_so_and_what_was_unknown_is_found() {
        let mut mock = MockBroker::new();
        let mut in_turn = mockall::Sequence::new();
        let late = || BrokerError::Rejected(Detail::new("it is filled"));
        mock.expect_cancel_order()
            .times(3)
            .in_sequence(&mut in_turn)
            .returning(move |id| if id.as_str() == "1" { Err(late()) } else { Ok(()) });
        mock.expect_orders().times(1).in_sequence(&mut in_turn).returning(|| {
            let slice = |id, status| shown(id, Side::Buy, status);
            let book = vec![
                slice("1", OrderStatus::Filled),
                slice("2", OrderStatus::PartiallyFilled),
                // Not the third: the book may be behind.
                slice("4", OrderStatus::Open),
                slice("5", OrderStatus::Cancelled),
                // The exit leg of a cover order is no slice.
                shown("6", Side::Sell, OrderStatus::TriggerPending),
            ];
            Ok(book.into())
        });
        mock.expect_cancel_order().times(1).in_sequence(&mut in_turn).returning(|_| Ok(()));
        let ends = order().cancel_all(&mock);
        assert_eq!(
            ends,
            [
                SliceCancel::Final(id("1"), OrderStatus::Filled),
                SliceCancel::Cancelled(id("2")),
                SliceCancel::Cancelled(id("3")),
                SliceCancel::Unknown(Detail::new("timed out")),
                SliceCancel::Cancelled(id("4")),
            ]
        );
    }
}
