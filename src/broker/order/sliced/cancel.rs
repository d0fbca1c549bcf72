//! Cancellation of all slices of an order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::{SliceOutcome, SlicedOrder};
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, OrderId, OrderStatus};
use crate::panic::catch_panic;

/// The outcome of the cancellation of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SliceCancel {
    /// The broker confirmed the cancellation.
    Cancelled(OrderId),
    /// The cancellation failed, and the order book shows the slice in this final state.
    Final(OrderId, OrderStatus),
    /// The cancellation failed. The error states whether it was sent.
    Failed(OrderId, BrokerError),
    /// The slice was rejected when it was placed, so there is nothing to cancel.
    Rejected(ErrorDetail),
    /// The slice is absent or may be in the market, and cannot be cancelled because its id is not known.
    Unknown(ErrorDetail),
}

impl SliceCancel {
    /// Returns whether the slice cannot be filled any further.
    pub fn is_out(&self) -> bool {
        matches!(self, Self::Cancelled(_) | Self::Final(..) | Self::Rejected(_))
    }
}

impl SlicedOrder {
    /// Cancels every slice that is in the market. Returns the outcome of each slice, in their order. Unlisted
    /// slices follow: those of the same parent that the order book shows and `self` does not list.
    ///
    /// Up to 16 cancellations are made concurrently. Behind a [`BrokerProxy`](crate::BrokerProxy) the lane paces
    /// them. If an answer is lost, an [`OrderGuard`](crate::OrderGuard) reads the order book for the settle time,
    /// and that does not delay the next cancellation.
    ///
    /// The order book is read after the cancellations, for unlisted slices, which are cancelled too, and for the
    /// state of slices whose cancellation failed. It is read through the same handle. So pass an urgent handle with
    /// a deadline, so that an expired session or a long queue does not delay the result. If it cannot be read,
    /// unlisted slices are not found.
    ///
    /// If the broker panics in a cancellation, that slice is [`Failed`](SliceCancel::Failed) with
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown).
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
        let mut outcomes = map_concurrently(&self.slices, |slice| match &slice.outcome {
            SliceOutcome::Placed(id) => cancel_slice(broker, id),
            SliceOutcome::Rejected(why) => SliceCancel::Rejected(why.clone()),
            SliceOutcome::Absent(why) | SliceOutcome::Unknown(why) => {
                SliceCancel::Unknown(why.clone())
            }
        });
        let book = catch_panic(|| broker.orders()).ok().and_then(Result::ok).unwrap_or_default();
        let others: Vec<&Order> =
            self.unlisted_slices(&book).filter(|order| !order.status.is_final()).collect();
        outcomes.extend(map_concurrently(&others, |order| cancel_slice(broker, &order.id)));
        for outcome in &mut outcomes {
            let SliceCancel::Failed(id, _) = outcome else { continue };
            let shown = book.iter().find(|order| order.id == *id);
            if let Some(order) = shown.filter(|order| order.status.is_final()) {
                *outcome = SliceCancel::Final(id.clone(), order.status.clone());
            }
        }
        outcomes
    }
}

fn cancel_slice(broker: &dyn Broker, id: &OrderId) -> SliceCancel {
    match catch_panic(|| broker.cancel_order(id)) {
        Ok(Ok(())) => SliceCancel::Cancelled(id.clone()),
        Ok(Err(error)) => SliceCancel::Failed(id.clone(), error),
        Err(panic) => {
            let message = format!("the broker panicked: {panic}");
            SliceCancel::Failed(id.clone(), BrokerError::OutcomeUnknown(ErrorDetail::new(message)))
        }
    }
}

/// The maximum number of threads, including the caller's, for concurrent cancellations. Kite divides an order into
/// at most 10 slices, so each gets a thread.
const MAX_CANCEL_THREADS: usize = 16;

/// Runs `work` for each of `items` on several threads, and returns the results in the order of the items. The
/// calling thread works too: if the system starts no more threads, the work is slower, and no item is lost.
fn map_concurrently<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let run_items = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            done.lock().push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..items.len().min(MAX_CANCEL_THREADS) {
            let name = thread::Builder::new().name("lanekeeper-cancel".to_owned());
            if name.spawn_scoped(scope, run_items).is_err() {
                break;
            }
        }
        run_items();
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::broker::{Instrument, MockBroker, OrderRequest, Rows, Side, Slice};

    fn id(text: &str) -> OrderId {
        OrderId::new(text)
    }

    fn order() -> SlicedOrder {
        let unknown = Slice::unknown(ErrorDetail::new("timed out"));
        let slices = ["1", "2", "3"].map(|it| Slice::placed(id(it))).into_iter().chain([unknown]);
        SlicedOrder::new(Some(id("1")), 10, slices)
    }

    fn shown(text: &str, side: Side, status: OrderStatus) -> Order {
        let request = OrderRequest::market(Instrument::new("NSE", "X"), side, 5);
        let mut order = Order::new(id(text), status, &request);
        order.parent = Some(id("1")).filter(|_| text != "1");
        order
    }

    /// Makes the mock record which orders are cancelled, and answer each with `answer`.
    fn recording(
        mock: &mut MockBroker,
        answer: impl Fn(&str) -> Result<(), BrokerError> + Send + 'static,
    ) -> Arc<Mutex<Vec<String>>> {
        let cancelled = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&cancelled);
        mock.expect_cancel_order().returning(move |id| {
            recorded.lock().push(id.to_string());
            answer(id.as_str())
        });
        cancelled
    }

    #[test]
    fn every_placed_slice_is_cancelled_if_the_order_book_cannot_be_read() {
        let mut mock = MockBroker::new();
        mock.expect_orders()
            .returning(|| Err(BrokerError::Transient(ErrorDetail::new("no answer"))));
        let cancelled = recording(&mut mock, |id| match id {
            "1" => Err(BrokerError::OutcomeUnknown(ErrorDetail::new("reset"))),
            _ => Ok(()),
        });
        let outcomes = order().cancel_all(&mock);
        assert!(matches!(&outcomes[0], SliceCancel::Failed(it, _) if *it == id("1")));
        assert_eq!(outcomes[1..3], ["2", "3"].map(|it| SliceCancel::Cancelled(id(it))));
        let is_out: Vec<bool> = outcomes.iter().map(SliceCancel::is_out).collect();
        assert_eq!(is_out, [false, true, true, false]);
        assert_eq!(cancelled.lock().len(), 3);
    }

    #[test]
    fn a_final_slice_is_reported_and_an_unknown_one_is_found() {
        let mut mock = MockBroker::new();
        let late = || BrokerError::Rejected(ErrorDetail::new("it is filled"));
        let cancelled =
            recording(&mut mock, move |id| if id == "1" { Err(late()) } else { Ok(()) });
        let before = Arc::clone(&cancelled);
        mock.expect_orders().times(1).returning(move || {
            assert_eq!(before.lock().len(), 3, "the order book was read before all were cancelled");
            let slice = |id, status| shown(id, Side::Buy, status);
            let book = vec![
                slice("1", OrderStatus::Filled),
                slice("2", OrderStatus::PartiallyFilled),
                // The third is missing, because the order book may be stale.
                slice("4", OrderStatus::Open),
                slice("5", OrderStatus::Cancelled),
                // The exit leg of a cover order is not a slice.
                shown("6", Side::Sell, OrderStatus::TriggerPending),
            ];
            Ok(book.into())
        });
        let outcomes = order().cancel_all(&mock);
        assert_eq!(
            outcomes,
            [
                SliceCancel::Final(id("1"), OrderStatus::Filled),
                SliceCancel::Cancelled(id("2")),
                SliceCancel::Cancelled(id("3")),
                SliceCancel::Unknown(ErrorDetail::new("timed out")),
                SliceCancel::Cancelled(id("4")),
            ]
        );
    }

    fn placed(count: usize) -> SlicedOrder {
        let slices = (1..=count).map(|it| Slice::placed(id(&it.to_string())));
        SlicedOrder::new(Some(id("1")), 10, slices)
    }

    #[test]
    fn a_slow_item_does_not_delay_the_next() {
        // No item finishes before all ten have begun.
        let begun = Barrier::new(10);
        let numbers: Vec<usize> = (0..10).collect();
        let done = map_concurrently(&numbers, |number| {
            begun.wait();
            *number
        });
        assert_eq!(done, numbers, "in the order of the items");
    }

    #[test]
    fn all_are_cancelled_in_the_order_of_the_slices() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| Ok(Rows::default()));
        recording(&mut mock, |_| Ok(()));
        let expected: Vec<_> = placed(10).placed().cloned().map(SliceCancel::Cancelled).collect();
        assert_eq!(placed(10).cancel_all(&mock), expected);
    }

    /// An answer may name only the parent, or its list of slices may be incomplete.
    #[test]
    fn what_the_answer_did_not_name_is_cancelled_too() {
        let mut mock = MockBroker::new();
        let cancelled = recording(&mut mock, |_| Ok(()));
        mock.expect_orders().times(1).returning(|| {
            let book: Vec<_> =
                ["1", "2", "3"].map(|id| shown(id, Side::Buy, OrderStatus::Open)).into();
            Ok(book.into())
        });
        let outcomes = SlicedOrder::single(id("1"), 10).cancel_all(&mock);
        assert_eq!(outcomes, ["1", "2", "3"].map(|it| SliceCancel::Cancelled(id(it))));
        assert_eq!(cancelled.lock().len(), 3);
    }

    #[test]
    fn each_of_many_is_cancelled_once() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| Ok(Rows::default()));
        let cancelled = recording(&mut mock, |_| Ok(()));
        assert!(placed(40).cancel_all(&mock).iter().all(SliceCancel::is_out));
        let cancelled = cancelled.lock();
        assert_eq!((cancelled.len(), cancelled.iter().collect::<HashSet<_>>().len()), (40, 40));
    }

    #[test]
    fn a_panic_of_the_broker_is_an_unknown_outcome() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| panic!("in the book"));
        recording(&mut mock, |_| panic!("in the adapter"));
        let outcomes = placed(1).cancel_all(&mock);
        assert!(
            matches!(&outcomes[0], SliceCancel::Failed(_, BrokerError::OutcomeUnknown(detail))
                if detail.message.contains("in the adapter")),
            "{outcomes:?}"
        );
    }
}
