//! Taking all slices of an order out of the market.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::{SliceOutcome, SlicedOrder};
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, OrderId, OrderStatus};
use crate::panic::catch_panic;

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
    Rejected(ErrorDetail),
    /// It may be in the market, or is absent, and no id is known by which to cancel it.
    Unknown(ErrorDetail),
}

impl SliceCancel {
    /// Whether nothing of the slice can be filled any more.
    pub fn is_out(&self) -> bool {
        matches!(self, Self::Cancelled(_) | Self::Final(..) | Self::Rejected(_))
    }
}

impl SlicedOrder {
    /// Cancels every slice that is in the market, and says what became of each: first the slices, in their
    /// order; then slices of the same parent that were not known before, if the book shows any.
    ///
    /// The cancellations are made at once, up to 16 of them from threads of their own: behind a
    /// [`BrokerProxy`](crate::BrokerProxy) the lane paces them, and one whose answer is lost, and which an
    /// [`OrderGuard`](crate::OrderGuard) asks after for the settle time, does not delay the next. The book is read
    /// after them: for others of the same parent, and for the state of those whose cancellation failed. It is read
    /// through the same handle: take an urgent one, with a deadline, so that an expired session or a queue does not
    /// hold the answer up.
    ///
    /// A panic of the broker in one cancellation is [`Failed`](SliceCancel::Failed) with
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
        let mut ends = map_concurrently(&self.slices, |slice| match &slice.outcome {
            SliceOutcome::Placed(id) => cancel_slice(broker, id),
            SliceOutcome::Rejected(why) => SliceCancel::Rejected(why.clone()),
            SliceOutcome::Absent(why) | SliceOutcome::Unknown(why) => {
                SliceCancel::Unknown(why.clone())
            }
        });
        let book = catch_panic(|| broker.orders()).ok().and_then(Result::ok).unwrap_or_default();
        let others: Vec<&Order> =
            self.unlisted_slices(&book).filter(|order| !order.status.is_final()).collect();
        ends.extend(map_concurrently(&others, |order| cancel_slice(broker, &order.id)));
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

fn cancel_slice(broker: &dyn Broker, id: &OrderId) -> SliceCancel {
    match catch_panic(|| broker.cancel_order(id)) {
        Ok(Ok(())) => SliceCancel::Cancelled(id.clone()),
        Ok(Err(error)) => SliceCancel::Failed(id.clone(), error),
        Err(panic) => {
            let words = format!("the broker panicked: {panic}");
            SliceCancel::Failed(id.clone(), BrokerError::OutcomeUnknown(ErrorDetail::new(words)))
        }
    }
}

/// On how many threads cancellations are made at once. Kite makes ten slices of an order at most.
const MAX_CANCEL_THREADS: usize = 16;

/// What `work` gives for each of `items`, in their order. The calling thread works too, so that a system
/// which gives no more threads makes it slower and loses nothing.
fn map_concurrently<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let share = || {
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
            if name.spawn_scoped(scope, share).is_err() {
                break;
            }
        }
        share();
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

    /// A broker that notes which orders were cancelled, and answers of each what `answer` says.
    fn noting(
        mock: &mut MockBroker,
        answer: impl Fn(&str) -> Result<(), BrokerError> + Send + 'static,
    ) -> Arc<Mutex<Vec<String>>> {
        let cancelled = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&cancelled);
        mock.expect_cancel_order().returning(move |id| {
            noted.lock().push(id.to_string());
            answer(id.as_str())
        });
        cancelled
    }

    #[test]
    fn every_placed_slice_is_cancelled_if_the_book_cannot_be_read() {
        let mut mock = MockBroker::new();
        mock.expect_orders()
            .returning(|| Err(BrokerError::Transient(ErrorDetail::new("no answer"))));
        let cancelled = noting(&mut mock, |id| match id {
            "1" => Err(BrokerError::OutcomeUnknown(ErrorDetail::new("reset"))),
            _ => Ok(()),
        });
        let ends = order().cancel_all(&mock);
        assert!(matches!(&ends[0], SliceCancel::Failed(it, _) if *it == id("1")));
        assert_eq!(ends[1..3], ["2", "3"].map(|it| SliceCancel::Cancelled(id(it))));
        let is_out: Vec<bool> = ends.iter().map(SliceCancel::is_out).collect();
        assert_eq!(is_out, [false, true, true, false]);
        assert_eq!(cancelled.lock().len(), 3);
    }

    #[test]
    fn what_is_final_says_so_and_what_was_unknown_is_found() {
        let mut mock = MockBroker::new();
        let late = || BrokerError::Rejected(ErrorDetail::new("it is filled"));
        let cancelled = noting(&mut mock, move |id| if id == "1" { Err(late()) } else { Ok(()) });
        let before = Arc::clone(&cancelled);
        mock.expect_orders().times(1).returning(move || {
            assert_eq!(before.lock().len(), 3, "the book was read before all were cancelled");
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
        let ends = order().cancel_all(&mock);
        assert_eq!(
            ends,
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
    fn one_that_takes_its_time_does_not_delay_the_next() {
        // Nothing is done before all ten have begun.
        let begun = Barrier::new(10);
        let numbers: Vec<usize> = (0..10).collect();
        let done = map_concurrently(&numbers, |number| {
            begun.wait();
            *number
        });
        assert_eq!(done, numbers, "in the order in which they were given");
    }

    #[test]
    fn all_are_cancelled_in_the_order_of_the_slices() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| Ok(Rows::default()));
        noting(&mut mock, |_| Ok(()));
        let expected: Vec<_> = placed(10).placed().cloned().map(SliceCancel::Cancelled).collect();
        assert_eq!(placed(10).cancel_all(&mock), expected);
    }

    /// An answer may name the parent alone, or a list may have been cut short.
    #[test]
    fn what_the_answer_did_not_name_is_cancelled_too() {
        let mut mock = MockBroker::new();
        let cancelled = noting(&mut mock, |_| Ok(()));
        mock.expect_orders().times(1).returning(|| {
            let book: Vec<_> =
                ["1", "2", "3"].map(|id| shown(id, Side::Buy, OrderStatus::Open)).into();
            Ok(book.into())
        });
        let ends = SlicedOrder::single(id("1"), 10).cancel_all(&mock);
        assert_eq!(ends, ["1", "2", "3"].map(|it| SliceCancel::Cancelled(id(it))));
        assert_eq!(cancelled.lock().len(), 3);
    }

    #[test]
    fn each_of_many_is_cancelled_once() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| Ok(Rows::default()));
        let cancelled = noting(&mut mock, |_| Ok(()));
        assert!(placed(40).cancel_all(&mock).iter().all(SliceCancel::is_out));
        let cancelled = cancelled.lock();
        assert_eq!((cancelled.len(), cancelled.iter().collect::<HashSet<_>>().len()), (40, 40));
    }

    #[test]
    fn a_panic_of_the_broker_is_an_outcome_that_nobody_knows() {
        let mut mock = MockBroker::new();
        mock.expect_orders().returning(|| panic!("in the book"));
        noting(&mut mock, |_| panic!("in the adapter"));
        let ends = placed(1).cancel_all(&mock);
        assert!(
            matches!(&ends[0], SliceCancel::Failed(_, BrokerError::OutcomeUnknown(detail))
                if detail.message.contains("in the adapter")),
            "{ends:?}"
        );
    }
}
