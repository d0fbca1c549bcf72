//! One read of the order book, shared by all waiters (single-flight).
//!
//! When a broker fails, many orders lose their answers at once, and each would read the whole order book repeatedly.
//! So a caller that asks while a read is in flight waits and shares the next one: a read counts for a caller only if
//! it was sent after the caller asked.
//!
//! No waiter waits for ever. A read that takes longer than the settle time counts as hung, and one of the waiters
//! reads alone. The others wait for that read, and leave at their own deadline.

use std::sync::Arc;

use parking_lot::Mutex;

use super::polling::Polling;
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, Rows};
use crate::clock::TimedCondvar;
use crate::quota::Moment;

/// The last read of the order book.
#[derive(Debug, Default)]
pub(in crate::order_guard) struct SharedOrderBook {
    state: Mutex<State>,
    /// Notified when a read has finished.
    read_finished: TimedCondvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last number. It numbers requests and sendings, so that their order is known even if the clock does not
    /// advance.
    number: u64,
    /// The read in flight.
    pending_read: Option<PendingRead>,
    last_read: Option<BookSnapshot>,
}

/// A read in flight.
#[derive(Debug, Clone, Copy)]
struct PendingRead {
    send_number: u64,
    sent_at: Moment,
}

/// The result of a read.
#[derive(Debug)]
struct BookSnapshot {
    send_number: u64,
    orders: Result<Arc<Rows<Order>>, BrokerError>,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl SharedOrderBook {
    /// Returns the order book from a read that is sent after this call. It waits for a hung read only until
    /// `search_deadline`, and for a read of another caller only until `caller_deadline`.
    ///
    /// # Errors
    /// The error of the read, or `Transient` if one of the deadlines passes.
    pub(in crate::order_guard) fn read(
        &self,
        broker: &dyn Broker,
        polling: &Polling,
        search_deadline: Moment,
        caller_deadline: Option<Moment>,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let sent = {
            let mut state = self.state.lock();
            let requested = state.next_number();
            loop {
                if let Some(read) = state.last_read.as_ref().filter(|it| it.send_number > requested)
                {
                    return read.orders.clone();
                }
                let now = polling.clock.now();
                let Some(pending_read) = state.pending_read else { break };
                if caller_deadline.is_some_and(|deadline| now >= deadline) {
                    return Err(BrokerError::Transient(ErrorDetail::new(
                        "another read of the order book was in flight when its caller left",
                    )));
                }
                let hung_from = pending_read.sent_at + polling.settle_time;
                if now >= hung_from {
                    if now >= search_deadline {
                        return Err(BrokerError::Transient(ErrorDetail::new(
                            "the read of the order book by another call does not end",
                        )));
                    }
                    // A read that was sent after this request is of another waiter that reads alone.
                    if pending_read.send_number < requested {
                        break;
                    }
                }
                let until = if now < hung_from { hung_from } else { search_deadline };
                let until = caller_deadline.map_or(until, |deadline| deadline.min(until));
                self.read_finished.wait_active(&mut state, &polling.clock, until);
            }
            let sent = state.next_number();
            state.pending_read =
                Some(PendingRead { send_number: sent, sent_at: polling.clock.now() });
            sent
        };
        let guard = ReadGuard { book: self, send_number: sent };
        let orders = broker.orders().map(Arc::new);
        guard.complete(&orders);
        orders
    }
}

/// Ends a read, even by a panic, so that the next one may begin.
struct ReadGuard<'a> {
    book: &'a SharedOrderBook,
    send_number: u64,
}

impl ReadGuard<'_> {
    fn complete(self, orders: &Result<Arc<Rows<Order>>, BrokerError>) {
        let mut state = self.book.state.lock();
        // A read that counted as hung may finish after a later one.
        if state.last_read.as_ref().is_none_or(|last| last.send_number < self.send_number) {
            state.last_read =
                Some(BookSnapshot { send_number: self.send_number, orders: orders.clone() });
        }
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.book.state.lock();
        if state
            .pending_read
            .is_some_and(|pending_read| pending_read.send_number == self.send_number)
        {
            state.pending_read = None;
        }
        self.book.read_finished.notify_all(state);
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::broker::MockBroker;
    use crate::clock::ManualClock;

    #[test]
    fn a_sound_read_is_waited_for_even_when_ones_own_time_is_up() {
        let clock = ManualClock::new();
        let settle = Duration::from_secs(10);
        let polling = Polling { clock: clock.clone().into(), settle_time: settle };
        let (book, now) = (SharedOrderBook::default(), clock.now());
        let ((began, begins), (release, released)) = (channel::<()>(), channel::<()>());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(2).returning(move || {
            let _ = began.send(());
            let _ = released.recv(); // Blocks until the sender is dropped.
            Ok(Rows::default())
        });
        std::thread::scope(|scope| {
            let first = scope.spawn(|| book.read(&mock, &polling, now + settle, None));
            begins.recv().unwrap();
            let second = scope.spawn(|| book.read(&mock, &polling, now, None));
            // The first has requested and sent, the second has requested.
            while book.state.lock().number < 3 {
                std::thread::yield_now();
            }
            drop(release);
            assert_eq!(first.join().unwrap().unwrap().len(), 0);
            assert_eq!(second.join().unwrap().unwrap().len(), 0);
        });
    }

    #[test]
    fn one_alone_reads_in_place_of_a_read_that_hangs() {
        let clock = ManualClock::new();
        let settle = Duration::from_secs(10);
        let polling = Polling { clock: clock.clone().into(), settle_time: settle };
        let (book, until) = (SharedOrderBook::default(), clock.now() + settle * 5);
        let ((began, begins), (release, released)) = (channel::<()>(), channel::<()>());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(2).returning(move || {
            let _ = began.send(());
            let _ = released.recv();
            Ok(Rows::default())
        });
        std::thread::scope(|scope| {
            let (book, mock, polling) = (&book, &mock, &polling);
            let read = move || book.read(mock, polling, until, None);
            let number = || book.state.lock().number;
            let first = scope.spawn(read);
            begins.recv().unwrap();
            let others = [scope.spawn(read), scope.spawn(read)];
            while number() < 4 {
                std::thread::yield_now();
            }
            // Three requests and two sendings, however much time passes.
            while !others.iter().any(|other| other.is_finished()) {
                clock.advance(Duration::from_millis(100));
                assert!(number() <= 5, "the second read hangs too, and a third was sent");
                std::thread::sleep(Duration::from_millis(1)); // The interval at which waiters read the clock.
            }
            assert!(clock.now() >= until && !first.is_finished());
            drop(release);
            let answers = others.map(|other| other.join().unwrap());
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        });
    }

    #[test]
    fn a_read_that_panics_lets_the_next_one_begin() {
        let polling =
            Polling { clock: ManualClock::new().into(), settle_time: Duration::from_secs(10) };
        let (book, until) = (SharedOrderBook::default(), polling.clock.now());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| panic!("in the broker"));
        let read = std::panic::AssertUnwindSafe(|| book.read(&mock, &polling, until, None));
        std::panic::catch_unwind(read).unwrap_err();
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        assert!(book.read(&mock, &polling, until, None).is_ok());
    }
}
