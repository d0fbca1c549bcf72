//! The settings of an [`OrderGuard`] and of an `AsyncOrderGuard`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "async")]
use super::async_guard::AsyncOrderGuard;
use super::call_mode::ThreadMode;
use super::guard::OrderGuard;
use super::hooks::{GuardHooks, Hook, Unrecorded};
use super::pending::{IntentLog, PendingIntents};
use super::reconcile::book_history::BookHistory;
use super::reconcile::matching::Intent;
use super::reconcile::order_book::SharedOrderBook;
use super::reconcile::polling::Polling;
use super::recover::RecoveredOrder;
use super::state::GuardState;
use super::stats::OutcomeCounters;
use super::tags::{CallerTags, MIN_TAG_LENGTH, TagGenerator};
#[cfg(feature = "async")]
use super::task_mode::TaskMode;
use super::updates::OrderUpdates;
#[cfg(feature = "async")]
use crate::broker::AsyncBroker;
use crate::broker::{Broker, OrderTags, TagSupport};
use crate::clock::Clock;
#[cfg(feature = "async")]
use crate::clock::Timer;

/// Settings of an [`OrderGuard`], from [`OrderGuard::builder`], or of an `AsyncOrderGuard`, from its `builder`.
///
/// `L` is the trait of the brokers: [`dyn Broker`](Broker), or `dyn AsyncBroker` for an `AsyncOrderGuard`. It decides what
/// [`lookup_broker`](Self::lookup_broker) takes and what [`build`](Self::build) returns. All other settings are the same.
///
/// An `OrderGuardBuilder<()>` has no broker yet: it is what the closure of
/// [`BrokerProxyBuilder::order_guard`](crate::broker::BrokerProxyBuilder::order_guard) changes. The builder of the stack
/// adds the broker, its clock, and its handle for lookups.
#[must_use = "a builder does nothing until it is built"]
pub struct OrderGuardBuilder<B, L: ?Sized = dyn Broker> {
    inner: B,
    lookup_broker: LookupBroker<L>,
    settle_time: Duration,
    caller_tags: CallerTags,
    clock: Clock,
    hooks: GuardHooks,
    #[cfg(feature = "journal")]
    journal: Option<std::path::PathBuf>,
}

/// The handle of the broker by which the order book is read, if it is another one.
struct LookupBroker<L: ?Sized>(Option<Arc<L>>);

impl<B: fmt::Debug, L: ?Sized> fmt::Debug for OrderGuardBuilder<B, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("OrderGuardBuilder");
        fields
            .field("inner", &self.inner)
            .field("has_lookup_broker", &self.lookup_broker.0.is_some())
            .field("settle_time", &self.settle_time)
            .field("caller_tags", &self.caller_tags)
            .field("clock", &self.clock)
            .field("hooks", &self.hooks);
        #[cfg(feature = "journal")]
        fields.field("journal", &self.journal);
        fields.finish()
    }
}

/// Why a guard cannot be built from these settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardBuildError {
    /// The settle time is zero, so a lost order would be given up at once.
    #[error("the settle time is zero; give it longer than an order may take to appear, as 20 s")]
    NoSettleTime,
    /// The broker's tags are too short to be unique.
    #[error(
        "the broker takes tags of {longest} characters, and {MIN_TAG_LENGTH} are needed for unique tags"
    )]
    ShortTags {
        /// The longest tag that the broker takes.
        longest: usize,
    },
    /// The adapter does not know when the broker's day, and its order book, ends.
    #[error(
        "the broker's `order_tags` have an unknown time zone; set one, for example Asia/Kolkata or +05:30"
    )]
    NoZone,
    /// The operating system's random source failed, so unique tags cannot be generated.
    #[error("no random numbers from the system, so no unique tags: {0}")]
    NoEntropy(String),
    /// The journal cannot be used.
    #[cfg(feature = "journal")]
    #[error(transparent)]
    Journal(#[from] super::JournalError),
}

impl<B, L: ?Sized> OrderGuardBuilder<B, L> {
    pub(crate) fn new(inner: B) -> Self {
        Self {
            inner,
            lookup_broker: LookupBroker(None),
            settle_time: Duration::from_secs(20),
            caller_tags: CallerTags::default(),
            clock: Clock::system(),
            hooks: GuardHooks::default(),
            #[cfg(feature = "journal")]
            journal: None,
        }
    }

    /// Sets how long after a call was given up its order may still appear in the order book; see [the
    /// module](super#the-settle-time). A caller whose order is lost waits for this long. 20 s by default.
    pub fn settle_time(mut self, settle_time: Duration) -> Self {
        self.settle_time = settle_time;
        self
    }

    /// Sets how a tag that the caller set is used.
    pub fn caller_tags(mut self, caller_tags: CallerTags) -> Self {
        self.caller_tags = caller_tags;
        self
    }

    /// Sets a callback for an order that appears after it was reported as [`Absent`](crate::BrokerError::Absent) or
    /// of unknown outcome, to its caller or by [`recover`](OrderGuard::recover), or after its future was dropped. For an
    /// order in slices, it is called each time another slice is found in the market, until all are. Orders are found in
    /// any order book that is read through this guard, and in an [`order_update`](OrderGuard::order_update); no read is
    /// made for this alone. The outcome is recorded in the journal. Without a callback, only `recover` reports such
    /// orders.
    ///
    /// `callback` runs with no lock held, on the thread that read the order book, or within the poll of the task that
    /// did. It must not block. If two threads find two slices, the call with fewer slices may come last. A panic in it
    /// is caught.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use lanekeeper::broker::MockBroker;
    /// use lanekeeper::OrderGuard;
    ///
    /// let guard = OrderGuard::builder(MockBroker::new())
    ///     .on_turned_up(|late| eprintln!("{} is in the market after all: {:?}", late.tag, late.outcome));
    /// # let _ = guard;
    /// # }
    /// ```
    pub fn on_turned_up(
        mut self,
        callback: impl Fn(&RecoveredOrder) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_turned_up = Hook::new(callback);
        self
    }

    /// Sets a callback for an order that was sent [as an exit](OrderGuard::for_exits) although the journal could not
    /// record it. It is called after the order was sent, also if its future is dropped or the broker panics meanwhile.
    /// Other orders are not sent in that case.
    ///
    /// `callback` runs on the thread that placed the order, or within a poll or the drop of its future. A panic in it is
    /// caught.
    ///
    /// ```
    /// # #[cfg(feature = "mock")] {
    /// use lanekeeper::broker::MockBroker;
    /// use lanekeeper::OrderGuard;
    ///
    /// let guard = OrderGuard::builder(MockBroker::new())
    ///     .on_unrecorded(|it| eprintln!("{} is not in the journal: {}", it.tag, it.error));
    /// # let _ = guard;
    /// # }
    /// ```
    pub fn on_unrecorded(mut self, callback: impl Fn(&Unrecorded) + Send + Sync + 'static) -> Self {
        self.hooks.on_unrecorded = Hook::new(callback);
        self
    }

    /// Sets the file that records each order before it is sent, and its outcome afterwards. So after a restart
    /// [`recover`](OrderGuard::recover) can search for the orders that were without an outcome when the process ended.
    ///
    /// The file is created if it does not exist. One file is for one account, whichever path refers to it. Beside it,
    /// the same path with `.lock` appended excludes a second guard, and with `.new` it is a replacement that is being
    /// written.
    ///
    /// If the file is deleted while the guard has it open, it is recreated before the next order. If it is replaced
    /// or changed, no more orders are sent.
    ///
    /// An order that cannot be recorded is not sent. Changes and cancellations are not recorded: the order itself
    /// shows their outcome, and a full disk must not prevent an exit.
    #[cfg(feature = "journal")]
    pub fn journal(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.journal = Some(path.into());
        self
    }
}

impl OrderGuardBuilder<()> {
    /// Returns the same settings for a guard in front of `broker`.
    pub(crate) fn in_front_of<B, L: ?Sized>(self, broker: B) -> OrderGuardBuilder<B, L> {
        OrderGuardBuilder {
            inner: broker,
            lookup_broker: LookupBroker(None),
            settle_time: self.settle_time,
            caller_tags: self.caller_tags,
            clock: self.clock,
            hooks: self.hooks,
            #[cfg(feature = "journal")]
            journal: self.journal,
        }
    }
}

impl<B: Broker> OrderGuardBuilder<B> {
    /// Sets another handle of the same broker for reads of the order book, usually the same proxy with urgent
    /// priority. Without one, reads use the guard's own handle.
    pub fn lookup_broker(mut self, broker: impl Broker + 'static) -> Self {
        self.lookup_broker = LookupBroker(Some(Arc::new(broker)));
        self
    }

    /// Sets the clock; use that of the broker's proxy.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Builds the guard.
    ///
    /// # Errors
    /// A setting is invalid, or the journal cannot be used. The error message states what to do.
    pub fn build(self) -> Result<OrderGuard<B>, GuardBuildError> {
        let order_tags = self.inner.order_tags();
        let (tag_generator, log, orphaned) = self.prepare(&order_tags)?;
        Ok(self.assemble(order_tags, tag_generator, log, orphaned))
    }

    fn assemble(
        self,
        order_tags: OrderTags,
        tag_generator: TagGenerator,
        log: Option<Box<dyn IntentLog>>,
        orphaned: Vec<Intent>,
    ) -> OrderGuard<B> {
        let (inner, state, LookupBroker(lookup_broker)) =
            self.into_state(order_tags, tag_generator, log, orphaned);
        let clock = state.polling.clock.clone();
        OrderGuard::new(inner, state, ThreadMode { clock, lookup_broker })
    }
}

/// The same for an [`AsyncOrderGuard`].
#[cfg(feature = "async")]
impl<B: AsyncBroker> OrderGuardBuilder<B, dyn AsyncBroker> {
    /// Sets another handle of the same broker for reads of the order book, usually the same proxy with urgent
    /// priority. Without one, reads use the guard's own handle.
    pub fn lookup_broker(mut self, broker: impl AsyncBroker + 'static) -> Self {
        self.lookup_broker = LookupBroker(Some(Arc::new(broker)));
        self
    }

    /// Sets the clock; use that of the broker's proxy.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Builds the guard.
    ///
    /// # Errors
    /// A setting is invalid, or the journal cannot be used. The error message states what to do.
    pub fn build(self) -> Result<AsyncOrderGuard<B>, GuardBuildError> {
        let order_tags = self.inner.order_tags();
        let (tag_generator, log, orphaned) = self.prepare(&order_tags)?;
        let (inner, state, LookupBroker(lookup_broker)) =
            self.into_state(order_tags, tag_generator, log, orphaned);
        let timer = Timer::new(state.polling.clock.clone());
        Ok(AsyncOrderGuard::new(inner, state, TaskMode { timer, lookup_broker }))
    }
}

impl<B, L: ?Sized> OrderGuardBuilder<B, L> {
    /// Checks the settings, and opens the journal.
    fn prepare(&self, order_tags: &OrderTags) -> Result<Prepared, GuardBuildError> {
        if self.settle_time.is_zero() {
            return Err(GuardBuildError::NoSettleTime);
        }
        let longest = order_tags.max_length();
        if longest < MIN_TAG_LENGTH && *order_tags.support() != TagSupport::None {
            return Err(GuardBuildError::ShortTags { longest });
        }
        if order_tags.day_zone().is_unknown() {
            return Err(GuardBuildError::NoZone);
        }
        let tag_generator = TagGenerator::new(longest.max(MIN_TAG_LENGTH))
            .map_err(|error| GuardBuildError::NoEntropy(error.to_string()))?;
        let (log, orphaned) = self.open_log()?;
        Ok((tag_generator, log, orphaned))
    }

    fn into_state(
        self,
        order_tags: OrderTags,
        tag_generator: TagGenerator,
        log: Option<Box<dyn IntentLog>>,
        orphaned: Vec<Intent>,
    ) -> (B, GuardState, LookupBroker<L>) {
        let day_zone = order_tags.day_zone().clone();
        let state = GuardState {
            pending_intents: PendingIntents::new(self.clock.clone(), day_zone, log, orphaned),
            polling: Polling { clock: self.clock, settle_time: self.settle_time },
            caller_tags: self.caller_tags,
            order_tags,
            tag_generator,
            order_book: SharedOrderBook::default(),
            book_history: BookHistory::default(),
            hooks: self.hooks,
            outcomes: OutcomeCounters::default(),
            updates: OrderUpdates::default(),
        };
        (self.inner, state, self.lookup_broker)
    }

    #[cfg(feature = "journal")]
    fn open_log(&self) -> Result<OpenedLog, super::JournalError> {
        let Some(path) = &self.journal else { return Ok((None, Vec::new())) };
        let (journal, orphaned) = super::journal::Journal::open(path)?;
        Ok((Some(Box::new(journal)), orphaned))
    }

    #[cfg(not(feature = "journal"))]
    fn open_log(&self) -> Result<OpenedLog, GuardBuildError> {
        Ok((None, Vec::new()))
    }
}

/// What the settings alone decide.
type Prepared = (TagGenerator, Option<Box<dyn IntentLog>>, Vec<Intent>);

/// The journal, and the pending intents in it.
type OpenedLog = (Option<Box<dyn IntentLog>>, Vec<Intent>);

#[cfg(all(test, feature = "mock"))]
mod tests {
    use std::io;

    use parking_lot::Mutex;

    use super::super::pending::IntentOutcome;
    use super::*;
    use crate::broker::{
        BrokerError, ErrorDetail, Instrument, MockBroker, OrderId, OrderRequest, Side,
    };
    use crate::clock::ManualClock;

    /// A journal that cannot be written.
    #[derive(Debug)]
    struct FullLog;

    impl IntentLog for FullLog {
        fn record_intent(&self, _: &Intent) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn retract(&self, _: &str) {}

        fn record_outcome(&self, _: &str, _: &IntentOutcome) {}
    }

    #[test]
    fn an_order_that_cannot_be_written_down_is_not_sent_and_may_be_tried_again() {
        let mut mock = MockBroker::new();
        mock.expect_place_order().never();
        mock.expect_cancel_order().returning(|_| Ok(()));
        let guard = OrderGuard::builder(mock).assemble(
            OrderTags::echoed(20),
            TagGenerator::new(20).unwrap(),
            Some(Box::new(FullLog)),
            Vec::new(),
        );
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1);
        for _ in 0..2 {
            // With a tag of the caller, which stays free.
            let error = guard.place_order(&order.clone().tag("mine")).unwrap_err();
            assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
            assert!(error.to_string().contains("could not be written into the journal"), "{error}");
        }
        assert_eq!(guard.recover(), []);
        // Cancelling must work even when the journal is full.
        assert_eq!(guard.cancel_order(&OrderId::new("1")), Ok(()));
    }

    #[test]
    fn an_exit_that_cannot_be_written_down_is_sent_and_reported() {
        let mut urgent = MockBroker::new();
        let placed = |id: &'static str| move |_: &OrderRequest| Ok(OrderId::new(id));
        urgent.expect_place_order().times(1).returning(placed("1"));
        urgent.expect_place_order().times(1).returning(placed("2"));
        let lost = || BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset"));
        urgent.expect_place_order().times(1).returning(move |_| Err(lost()));
        let reported = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&reported);
        let guard = OrderGuard::builder(MockBroker::new()).on_unrecorded(move |it| {
            recorder.lock().push((it.tag.clone(), it.error.clone()));
            panic!("in the callback");
        });
        let clock = ManualClock::auto_advancing();
        let guard = guard.clock(clock).assemble(
            OrderTags::none(),
            TagGenerator::new(20).unwrap(),
            Some(Box::new(FullLog)),
            Vec::new(),
        );
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Sell, 1);
        let exits = guard.for_exits(Arc::new(urgent));
        for (exits, tag) in [(exits.clone(), "a"), (exits, "b")] {
            assert!(guard.place_order(&order).is_err());
            assert!(exits.place_order(&order.clone().tag(tag)).is_ok());
            let twice = exits.place_order(&order.clone().tag(tag)).unwrap_err();
            assert!(matches!(twice, BrokerError::NotSent(_)), "{twice}");
            if tag == "b" {
                // It can still be recovered, as long as this process lives.
                exits.place_order(&order.clone().tag("c")).unwrap_err();
            }
        }
        assert_eq!(guard.recover().remove(0).tag, "c");
        let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
        let reported = std::mem::take(&mut *reported.lock());
        assert_eq!(reported, ["a", "b", "c"].map(|tag| (tag.to_owned(), full.clone())));
    }

    /// It may have been sent, and is not in the journal.
    #[test]
    fn an_exit_without_an_answer_is_reported_too() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&reported);
        let builder = OrderGuard::builder(MockBroker::new()).on_unrecorded(move |it| {
            recorder.lock().push(it.tag.clone());
            panic!("in the callback");
        });
        let tags = TagGenerator::new(20).unwrap();
        let guard = builder.assemble(OrderTags::none(), tags, Some(Box::new(FullLog)), Vec::new());
        let mut urgent = MockBroker::new();
        urgent.expect_place_order().times(1).returning(|_| panic!("in the broker"));
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Sell, 1).tag("mine");
        let exits = guard.for_exits(urgent);
        let panics = std::panic::AssertUnwindSafe(|| exits.place_order(&order));
        std::panic::catch_unwind(panics).unwrap_err();
        assert_eq!(std::mem::take(&mut *reported.lock()), ["mine"]);
        assert_eq!(guard.recover().remove(0).tag, "mine");
    }

    #[cfg(feature = "async")]
    #[test]
    fn an_exit_whose_future_is_dropped_is_reported_too() {
        use std::pin::pin;
        use std::task::{Context, Waker};

        use crate::broker::ImmediateBroker;

        /// A broker that takes an order and never answers.
        struct Silent {
            inner: ImmediateBroker<MockBroker>,
        }

        #[crate::async_trait]
        #[allow(renamed_and_removed_lints)]
        impl AsyncBroker for Silent {
            crate::broker::delegate_async_broker! { to self.inner; except place_order, place_sliced }

            async fn place_order(&self, _: &OrderRequest) -> Result<OrderId, BrokerError> {
                std::future::pending().await
            }
        }

        let reported = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&reported);
        let silent = || Silent { inner: ImmediateBroker(MockBroker::new()) };
        let builder = AsyncOrderGuard::builder(silent())
            .on_unrecorded(move |it| recorder.lock().push(it.tag.clone()));
        let tags = TagGenerator::new(20).unwrap();
        let log: Box<dyn IntentLog> = Box::new(FullLog);
        let (inner, state, _) = builder.into_state(OrderTags::none(), tags, Some(log), Vec::new());
        let tasks =
            TaskMode { timer: Timer::new(state.polling.clock.clone()), lookup_broker: None };
        let guard = AsyncOrderGuard::new(inner, state, tasks);
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Sell, 1).tag("mine");
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(guard.place_order(&order)).poll(&mut context).is_ready(), "it is not sent");
        let exits = guard.for_exits(silent());
        {
            let mut exit = pin!(exits.place_order(&order));
            assert!(exit.as_mut().poll(&mut context).is_pending());
            assert!(reported.lock().is_empty(), "a callback must not delay it");
        }
        assert_eq!(std::mem::take(&mut *reported.lock()), ["mine"]);
        assert_eq!(guard.stats().pending, 1);
    }
}
