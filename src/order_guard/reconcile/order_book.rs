//! One read of the order book, shared by all waiters (single-flight).
//!
//! When a broker fails, many orders lose their answers at once, and each would read the whole order book repeatedly.
//! So a caller that asks while a read is in flight waits and shares the next one: a read counts for a caller only if
//! it was sent after the caller asked.
//!
//! No waiter waits for ever. A read that takes longer than the settle time counts as hung, and one of the waiters
//! reads alone. The others wait for that read, and leave at their own deadline.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

use super::polling::Polling;
use crate::broker::{BrokerError, ErrorDetail, Order, Rows};
use crate::clock::Clock;
#[cfg(feature = "async")]
use crate::clock::Timer;
use crate::order_guard::call_mode::CallMode;
use crate::order_guard::shared_condvar::SharedCondvar;
use crate::quota::Moment;

/// The last read of the order book.
#[derive(Debug, Default)]
pub(in crate::order_guard) struct SharedOrderBook {
    state: Mutex<State>,
    /// Notified when a read has ended.
    read_ended: SharedCondvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last number. It numbers requests and sendings, so that their order is known even if the clock does not
    /// advance.
    number: u64,
    /// The number of reads that have ended.
    ended: u64,
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

/// How long a caller waits for reads of others.
#[derive(Debug, Clone, Copy)]
pub(in crate::order_guard) struct ReadDeadlines {
    /// For a read that hangs.
    pub(in crate::order_guard) search: Moment,
    /// For any read of another caller.
    pub(in crate::order_guard) caller: Option<Moment>,
}

/// What a caller that asks for the order book does next.
enum Step {
    Return(Result<Arc<Rows<Order>>, BrokerError>),
    /// Reads, by this number.
    Read(u64),
    /// Waits until more than `ended` reads have ended, at the latest until `until`.
    Wait {
        ended: u64,
        until: Moment,
    },
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Returns what the caller with the request of this number does next.
    fn next_step(&mut self, requested: u64, polling: &Polling, deadlines: ReadDeadlines) -> Step {
        if let Some(read) = self.last_read.as_ref().filter(|it| it.send_number > requested) {
            return Step::Return(read.orders.clone());
        }
        let now = polling.clock.now();
        let Some(pending_read) = self.pending_read else { return self.begin_read(now) };
        let timed_out =
            |why: &str| Step::Return(Err(BrokerError::Transient(ErrorDetail::new(why))));
        if deadlines.caller.is_some_and(|deadline| now >= deadline) {
            return timed_out("another read of the order book was in flight when its caller left");
        }
        let hung_from = pending_read.sent_at + polling.settle_time;
        if now >= hung_from {
            if now >= deadlines.search {
                return timed_out("the read of the order book by another call does not end");
            }
            // A read that was sent after this request is of another waiter that reads alone.
            if pending_read.send_number < requested {
                return self.begin_read(now);
            }
        }
        let until = if now < hung_from { hung_from } else { deadlines.search };
        let until = deadlines.caller.map_or(until, |deadline| deadline.min(until));
        Step::Wait { ended: self.ended, until }
    }

    fn begin_read(&mut self, now: Moment) -> Step {
        let send_number = self.next_number();
        self.pending_read = Some(PendingRead { send_number, sent_at: now });
        Step::Read(send_number)
    }
}

impl SharedOrderBook {
    /// Returns the order book from a read that is sent after this call. It waits for a hung read only until
    /// `deadlines.search`, and for a read of another caller only until `deadlines.caller`.
    ///
    /// # Errors
    /// The error of the read, or `Transient` if one of the deadlines passes.
    pub(in crate::order_guard) async fn read<F>(
        &self,
        mode: &impl CallMode,
        polling: &Polling,
        deadlines: ReadDeadlines,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<Rows<Order>>, BrokerError>
    where
        F: Future<Output = Result<Rows<Order>, BrokerError>>,
    {
        let requested = self.state.lock().next_number();
        let send_number = loop {
            let step = self.state.lock().next_step(requested, polling, deadlines);
            match step {
                Step::Return(orders) => return orders,
                Step::Read(send_number) => break send_number,
                Step::Wait { ended, until } => mode.read_end(self, ended, until).await,
            }
        };
        let guard = ReadGuard { book: self, send_number };
        let orders = read().await.map(Arc::new);
        guard.complete(&orders);
        orders
    }

    /// Blocks the thread until more than `ended` reads have ended, but no longer than until `until`.
    pub(in crate::order_guard) fn wait_for_end(&self, clock: &Clock, ended: u64, until: Moment) {
        let is_as_before = |state: &mut State| state.ended == ended;
        self.read_ended.wait_while_active(&self.state, clock, until, is_as_before);
    }

    /// Suspends the task until more than `ended` reads have ended, but no longer than until `until`.
    #[cfg(feature = "async")]
    pub(in crate::order_guard) async fn suspend_until_end(
        &self,
        timer: &Timer,
        ended: u64,
        until: Moment,
    ) {
        let is_as_before = |state: &mut State| state.ended == ended;
        self.read_ended.suspend_while(&self.state, timer, until, is_as_before).await;
    }
}

/// Ends a read, even by a panic or a dropped future, so that the next one may begin.
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
        state.ended += 1;
        self.book.read_ended.notify_all(state);
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::broker::{Broker as _, MockBroker};
    use crate::clock::ManualClock;
    use crate::order_guard::call_mode::{ThreadMode, block_on};

    /// Reads on this thread.
    fn read(
        book: &SharedOrderBook,
        broker: &MockBroker,
        polling: &Polling,
        search: Moment,
    ) -> Result<Arc<Rows<Order>>, BrokerError> {
        let threads = ThreadMode { clock: polling.clock.clone(), lookup_broker: None };
        let deadlines = ReadDeadlines { search, caller: None };
        let orders = || std::future::ready(broker.orders());
        block_on(book.read(&threads, polling, deadlines, orders))
    }

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
            let first = scope.spawn(|| read(&book, &mock, &polling, now + settle));
            begins.recv().unwrap();
            let second = scope.spawn(|| read(&book, &mock, &polling, now));
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
            let read = move || read(book, mock, polling, until);
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
        let panics = std::panic::AssertUnwindSafe(|| read(&book, &mock, &polling, until));
        std::panic::catch_unwind(panics).unwrap_err();
        let mut mock = MockBroker::new();
        mock.expect_orders().times(1).returning(|| Ok(Rows::default()));
        assert!(read(&book, &mock, &polling, until).is_ok());
    }
}
