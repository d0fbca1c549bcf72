//! One look into the order book for everybody who waits for one.
//!
//! When a broker falters it loses many orders at once, and each of them would ask for the whole book
//! again and again. So whoever asks while a look is under way waits, and shares the next one: a look
//! counts for a caller only if it was sent after the caller asked.
//!
//! Nobody waits for ever. A look that takes longer than the settle time is taken to hang, and one of
//! those who wait looks by itself. The others wait for that one, and leave when their own time is up.

use std::sync::Arc;

use parking_lot::Mutex;

use super::polling::Polling;
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, Rows};
use crate::clock::TimedCondvar;
use crate::quota::Moment;

/// The order book, as it was last read.
#[derive(Debug, Default)]
pub(in crate::order_guard) struct SharedOrderBook {
    state: Mutex<State>,
    /// A look is over.
    read_finished: TimedCondvar,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers the askings and the sendings, so that their order is known even if the clock stands.
    number: u64,
    /// The look that is under way.
    pending_read: Option<PendingRead>,
    last_read: Option<BookSnapshot>,
}

#[derive(Debug, Clone, Copy)]
struct PendingRead {
    send_number: u64,
    sent_at: Moment,
}

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
    /// The book, by a look that is sent after this is called. After `until`, nobody waits for a look
    /// that hangs; and when its caller is to `leave`, not for any look of another.
    pub(in crate::order_guard) fn read(
        &self,
        broker: &dyn Broker,
        patience: &Polling,
        search_deadline: Moment,
        caller_deadline: Option<Moment>,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let sent = {
            let mut state = self.state.lock();
            let asked = state.next_number();
            loop {
                if let Some(reading) = state.last_read.as_ref().filter(|it| it.send_number > asked)
                {
                    return reading.orders.clone();
                }
                let now = patience.clock.now();
                let Some(under_way) = state.pending_read else { break };
                if caller_deadline.is_some_and(|leave| now >= leave) {
                    return Err(BrokerError::Transient(ErrorDetail::new(
                        "another look into the order book was under way when its caller left",
                    )));
                }
                let hangs = under_way.sent_at + patience.settle_time;
                if now >= hangs {
                    if now >= search_deadline {
                        return Err(BrokerError::Transient(ErrorDetail::new(
                            "somebody else's look into the order book does not end",
                        )));
                    }
                    // One that was sent since is somebody's who was tired of waiting too.
                    if under_way.send_number < asked {
                        break;
                    }
                }
                let until = if now < hangs { hangs } else { search_deadline };
                let until = caller_deadline.map_or(until, |leave| leave.min(until));
                self.read_finished.wait(&mut state, &patience.clock, until);
            }
            let sent = state.next_number();
            state.pending_read =
                Some(PendingRead { send_number: sent, sent_at: patience.clock.now() });
            sent
        };
        let landing = ReadGuard { book: self, send_number: sent };
        let orders = broker.orders().map(Arc::new);
        landing.complete(&orders);
        orders
    }
}

/// Ends a look, even by a panic, so that the next may begin.
struct ReadGuard<'a> {
    book: &'a SharedOrderBook,
    send_number: u64,
}

impl ReadGuard<'_> {
    fn complete(self, orders: &Result<Arc<Rows<Order>>, BrokerError>) {
        let mut state = self.book.state.lock();
        // One that was taken to hang may come after a later one.
        if state.last_read.as_ref().is_none_or(|last| last.send_number < self.send_number) {
            state.last_read =
                Some(BookSnapshot { send_number: self.send_number, orders: orders.clone() });
        }
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.book.state.lock();
        if state.pending_read.is_some_and(|under_way| under_way.send_number == self.send_number) {
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
    fn a_sound_look_is_waited_for_even_when_ones_own_time_is_up() {
        let clock = ManualClock::new();
        let settle = Duration::from_secs(10);
        let patience = Polling { clock: clock.clone().into(), settle_time: settle };
        let (book, now) = (SharedOrderBook::default(), clock.now());
        let ((began, begins), (go_on, told)) = (channel::<()>(), channel::<()>());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(2).returning(move || {
            let _ = began.send(());
            let _ = told.recv(); // Until the other end is dropped.
            Ok(Rows::default())
        });
        std::thread::scope(|scope| {
            let first = scope.spawn(|| book.read(&mock, &patience, now + settle, None));
            begins.recv().unwrap();
            let second = scope.spawn(|| book.read(&mock, &patience, now, None));
            // The first has asked and sent, the second has asked.
            while book.state.lock().number < 3 {
                std::thread::yield_now();
            }
            drop(go_on);
            assert_eq!(first.join().unwrap().unwrap().len(), 0);
            assert_eq!(second.join().unwrap().unwrap().len(), 0);
        });
    }

    #[test]
    fn one_alone_looks_in_place_of_a_look_that_hangs() {
        let clock = ManualClock::new();
        let settle = Duration::from_secs(10);
        let patience = Polling { clock: clock.clone().into(), settle_time: settle };
        let (book, until) = (SharedOrderBook::default(), clock.now() + settle * 5);
        let ((began, begins), (go_on, told)) = (channel::<()>(), channel::<()>());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(2).returning(move || {
            let _ = began.send(());
            let _ = told.recv();
            Ok(Rows::default())
        });
        std::thread::scope(|scope| {
            let (book, mock, patience) = (&book, &mock, &patience);
            let read = move || book.read(mock, patience, until, None);
            let number = || book.state.lock().number;
            let first = scope.spawn(read);
            begins.recv().unwrap();
            let others = [scope.spawn(read), scope.spawn(read)];
            while number() < 4 {
                std::thread::yield_now();
            }
            // Asked three times and sent twice, however late it gets.
            while !others.iter().any(|other| other.is_finished()) {
                clock.advance(Duration::from_millis(100));
                assert!(number() <= 5, "the second look hangs too, and a third was sent");
                std::thread::sleep(Duration::from_millis(1)); // So often they look at the clock.
            }
            assert!(clock.now() >= until && !first.is_finished());
            drop(go_on);
            let answers = others.map(|other| other.join().unwrap());
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        });
    }

    #[test]
    fn a_look_that_panics_lets_the_next_one_begin() {
        let patience =
            Polling { clock: ManualClock::new().into(), settle_time: Duration::from_secs(10) };
        let (book, until) = (SharedOrderBook::default(), patience.clock.now());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| panic!("in the broker"));
        let read = std::panic::AssertUnwindSafe(|| book.read(&mock, &patience, until, None));
        std::panic::catch_unwind(read).unwrap_err();
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        assert!(book.read(&mock, &patience, until, None).is_ok());
    }
}
