//! One look into the order book for everybody who waits for one.
//!
//! When a broker falters it loses many orders at once, and each of them would ask for the whole book
//! again and again. So whoever asks while a look is under way waits, and shares the next one: a look
//! counts for a caller only if it was sent after the caller asked.
//!
//! Nobody waits for ever. A look that takes longer than the settle time is taken to hang, and one of
//! those who wait looks by itself. The others wait for that one, and leave when their own time is up.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::patience::Patience;
use crate::broker::{Broker, BrokerError, ErrorDetail, Order, Rows};
use crate::quota::Moment;

/// The order book, as it was last read.
#[derive(Debug, Default)]
pub(super) struct Book {
    state: Mutex<State>,
    /// A look is over.
    landed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers the askings and the sendings, so that their order is known even if the clock stands.
    number: u64,
    /// The look that is under way.
    under_way: Option<UnderWay>,
    last: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    sent: u64,
    at: Moment,
}

#[derive(Debug)]
struct Reading {
    sent: u64,
    orders: Result<Arc<Rows<Order>>, BrokerError>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Book {
    /// The book, by a look that is sent after this is called. After `until`, nobody waits for a look
    /// that hangs; and when its caller is to `leave`, not for any look of another.
    pub(super) fn read(
        &self,
        broker: &dyn Broker,
        patience: &Patience,
        until: Moment,
        leave: Option<Moment>,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let sent = {
            let mut state = self.state.lock();
            let asked = state.next();
            loop {
                if let Some(reading) = state.last.as_ref().filter(|it| it.sent > asked) {
                    return reading.orders.clone();
                }
                let now = patience.clock.now();
                let Some(under_way) = state.under_way else { break };
                if leave.is_some_and(|leave| now >= leave) {
                    return Err(BrokerError::Transient(ErrorDetail::new(
                        "another look into the order book was under way when its caller left",
                    )));
                }
                let hangs = under_way.at + patience.settle;
                if now >= hangs {
                    if now >= until {
                        return Err(BrokerError::Transient(ErrorDetail::new(
                            "somebody else's look into the order book does not end",
                        )));
                    }
                    // One that was sent since is somebody's who was tired of waiting too.
                    if under_way.sent < asked {
                        break;
                    }
                }
                let until = if now < hangs { hangs } else { until };
                self.wait(&mut state, patience, leave.map_or(until, |leave| leave.min(until)));
            }
            let sent = state.next();
            state.under_way = Some(UnderWay { sent, at: patience.clock.now() });
            sent
        };
        let landing = Landing { book: self, sent };
        let orders = broker.orders().map(Arc::new);
        landing.with(&orders);
        orders
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>, patience: &Patience, until: Moment) {
        let _ = self.landed.wait_for(state, patience.clock.longest_sleep(until));
    }
}

/// Ends a look, even by a panic, so that the next may begin.
struct Landing<'a> {
    book: &'a Book,
    sent: u64,
}

impl Landing<'_> {
    fn with(self, orders: &Result<Arc<Rows<Order>>, BrokerError>) {
        let mut state = self.book.state.lock();
        // One that was taken to hang may come after a later one.
        if state.last.as_ref().is_none_or(|last| last.sent < self.sent) {
            state.last = Some(Reading { sent: self.sent, orders: orders.clone() });
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.book.state.lock();
        if state.under_way.is_some_and(|under_way| under_way.sent == self.sent) {
            state.under_way = None;
        }
        drop(state);
        self.book.landed.notify_all();
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
        let patience = Patience { clock: clock.clone().into(), settle };
        let (book, now) = (Book::default(), clock.now());
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
        let patience = Patience { clock: clock.clone().into(), settle };
        let (book, until) = (Book::default(), clock.now() + settle * 5);
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
            Patience { clock: ManualClock::new().into(), settle: Duration::from_secs(10) };
        let (book, until) = (Book::default(), patience.clock.now());
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| panic!("in the broker"));
        let read = std::panic::AssertUnwindSafe(|| book.read(&mock, &patience, until, None));
        std::panic::catch_unwind(read).unwrap_err();
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        assert!(book.read(&mock, &patience, until, None).is_ok());
    }
}
