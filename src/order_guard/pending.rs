//! The orders without a final answer: under way, or given up on.
//!
//! An order enters before it is sent and leaves with its final answer. With a record (the journal),
//! both are written down, the first of them before anything is sent.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::reconcile::evidence::Evidence;
use super::reconcile::matching::{Intent, MAX_CLOCK_SKEW};
use super::reconcile::observed_order::ObservedOrder;
use crate::Sent;
use crate::broker::{BrokerError, ErrorDetail, OrderId, SlicedOrder};
use crate::clock::Clock;
use crate::quota::Moment;

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentOutcome {
    /// The order is in the book under this id.
    Placed(OrderId),
    /// It is not in the market, and will not be.
    NotPlaced,
    /// Nobody knows, and nobody is to ask any more.
    Forgotten,
}

/// Where intents are written down.
pub(super) trait IntentLog: Send + Sync + fmt::Debug {
    /// Notes an intent for good. It is not to be sent before this returns, nor after it fails.
    fn record_intent(&self, intent: &Intent) -> io::Result<()>;
    /// Notes that it was not sent: [`begin`](Self::begin) failed, and may have noted it all the same.
    fn retract(&self, tag: &str);
    /// Notes how it ended, some time: until then it will be asked after again, which does no harm.
    fn record_outcome(&self, tag: &str, end: &IntentOutcome);
}

/// All intents without a final answer.
#[derive(Debug)]
pub(super) struct PendingIntents {
    clock: Clock,
    /// In which the broker's day ends.
    day_zone: TimeZone,
    log: Option<Box<dyn IntentLog>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<String, PendingIntent>,
    /// Those that ended as absent, at least in part, and may turn up after all.
    absent: BTreeMap<String, (Arc<Intent>, ObservedOrder)>,
    /// Tags of the callers' own that were sent, or may have been; and when.
    caller_tags: HashMap<String, Timestamp>,
    /// The day on which the old ones among them were last dropped.
    tags_expired_on: Option<Date>,
}

/// For how long a tag of the caller's stays taken, even if its day is over: midnight may be at another
/// time by the broker's clock.
const TAG_GRACE: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
struct PendingIntent {
    intent: Arc<Intent>,
    observed: ObservedOrder,
    /// What the looks for it say, once somebody was to look.
    evidence: Option<Evidence>,
    /// Nobody waits for its answer.
    is_orphaned: bool,
}

impl PendingIntent {
    fn new(intent: Arc<Intent>) -> Self {
        Self { intent, observed: ObservedOrder::default(), evidence: None, is_orphaned: false }
    }

    /// Nobody waits for its answer any more. If nobody looked for it yet, it was given up now.
    fn mark_orphaned(&mut self, now: Moment) {
        self.evidence.get_or_insert(Evidence::starting_at(now));
        self.is_orphaned = true;
    }
}

impl PendingIntents {
    /// Begins with `left`, the intents that an earlier process left without an answer.
    pub(super) fn new(
        clock: Clock,
        zone: TimeZone,
        record: Option<Box<dyn IntentLog>>,
        left: Vec<Intent>,
    ) -> Self {
        let now = clock.now();
        let mut state = State::default();
        for intent in left {
            if intent.own {
                state.caller_tags.insert(intent.tag.clone(), intent.at);
            }
            let tag = intent.tag.clone();
            let mut open = PendingIntent::new(Arc::new(intent));
            open.mark_orphaned(now);
            state.pending.insert(tag, open);
        }
        Self { clock, day_zone: zone, log: record, state: Mutex::new(state) }
    }

    /// Notes an intent that is about to be sent. If it cannot be written down, an `exit` goes all the same, and
    /// the flight says so.
    ///
    /// `begun` numbers what was read of the book before.
    pub(super) fn register(
        &self,
        intent: Intent,
        exit: bool,
        last_read_before_send: u64,
    ) -> Result<ClaimedIntent<'_>, BrokerError> {
        let intent = Arc::new(intent);
        {
            let mut state = self.state.lock();
            let now = self.clock.wall_clock().timestamp;
            self.expire_tags(&mut state, now);
            let tag = &intent.tag;
            let used = intent.own
                && state.caller_tags.get(tag).is_some_and(|at| self.is_tag_reserved(*at, now));
            // A tag of the guard's is known to its caller too, once the answer is lost.
            // One that was absent may still turn up under it.
            let watched = state
                .absent
                .get(tag)
                .is_some_and(|(absent, _)| self.is_tag_reserved(absent.at, now));
            if state.pending.contains_key(tag) || used || watched {
                return Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the tag {tag:?} was used before, and by it the order could not be told from the \
                     other: take another one for each order, or none"
                ))));
            }
            if intent.own {
                state.caller_tags.insert(tag.clone(), intent.at);
            }
            state.absent.remove(tag);
            let mut open = PendingIntent::new(Arc::clone(&intent));
            open.observed.last_read_before_send = last_read_before_send;
            state.pending.insert(intent.tag.clone(), open);
        }
        let mut flight = ClaimedIntent::new(self, intent);
        match self.log.as_ref().map(|record| record.record_intent(&flight.intent)) {
            None | Some(Ok(())) => Ok(flight),
            Some(Err(error)) if exit => {
                flight.log_error = Some(error);
                Ok(flight)
            }
            Some(Err(error)) => {
                if let Some(record) = &self.log {
                    record.retract(&flight.intent.tag);
                }
                flight.discard();
                Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the order could not be written into the journal first, so it was not sent: \
                     {error}"
                ))))
            }
        }
    }

    /// All intents that nobody waits for any more, to be asked after.
    pub(super) fn claim_orphaned(&self) -> Vec<ClaimedIntent<'_>> {
        self.state.lock().pending.values_mut().filter_map(|open| open.claim(self)).collect()
    }

    /// The intent of this tag, if nobody waits for it any more.
    pub(super) fn claim_orphaned_by_tag(&self, tag: &str) -> Option<ClaimedIntent<'_>> {
        self.state.lock().pending.get_mut(tag)?.claim(self)
    }

    /// Has `look` look for all intents; it is told whether nobody waits for the one. Gives the news of those, and
    /// takes out the ones of which that is the last word.
    pub(super) fn collect_findings<T>(
        &self,
        look: impl Fn(&Intent, &mut ObservedOrder, bool) -> Option<Finding<T>>,
    ) -> Vec<(Arc<Intent>, Finding<T>)> {
        let mut state = self.state.lock();
        let State { pending: open, absent, .. } = &mut *state;
        let open_ones =
            open.values_mut().map(|open| (&open.intent, &mut open.observed, open.is_orphaned));
        let absent_ones = absent.values_mut().map(|(intent, known)| (&*intent, known, true));
        let found: Vec<_> = open_ones
            .chain(absent_ones)
            .filter_map(|(intent, known, is_left)| {
                let news = look(intent, known, is_left)?;
                is_left.then(|| (Arc::clone(intent), news))
            })
            .collect();
        for (intent, _) in found.iter().filter(|(_, news)| news.is_final) {
            let is_it = |other: &Arc<Intent>| Arc::ptr_eq(other, intent);
            // The tag of an open one stays taken until its end is noted.
            if let Some(open) = open.get_mut(&intent.tag).filter(|open| is_it(&open.intent)) {
                open.is_orphaned = false;
            }
            if absent.get(&intent.tag).is_some_and(|(other, _)| is_it(other)) {
                absent.remove(&intent.tag);
            }
        }
        found
    }

    /// Notes the end of an intent that was taken out.
    pub(super) fn record_late_outcome(&self, intent: &Arc<Intent>, end: &IntentOutcome) {
        let tag = &intent.tag;
        // A day later another may have it.
        if self.state.lock().pending.get(tag).is_some_and(|open| !Arc::ptr_eq(&open.intent, intent))
        {
            return;
        }
        if let Some(record) = &self.log {
            record.record_outcome(tag, end);
        }
        let mut state = self.state.lock();
        if state.pending.get(tag).is_some_and(|open| Arc::ptr_eq(&open.intent, intent)) {
            state.pending.remove(tag);
        }
    }

    /// Whether the book of now would show an order of this time: a book is of one day, which by the
    /// broker's clock may be over a little sooner.
    pub(super) fn is_in_todays_book(&self, at: Timestamp) -> bool {
        let now = self.clock.wall_clock().timestamp;
        let there = SignedDuration::try_from(MAX_CLOCK_SKEW)
            .ok()
            .and_then(|skew| now.checked_add(skew).ok());
        [now, there.unwrap_or(now)].iter().all(|now| self.day(*now) == self.day(at))
    }

    /// The day that it is.
    pub(super) fn today(&self) -> Date {
        self.day(self.clock.wall_clock().timestamp)
    }

    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.day_zone.clone()).date()
    }

    /// Whether a tag that was used then is taken now.
    fn is_tag_reserved(&self, at: Timestamp, now: Timestamp) -> bool {
        self.day(at) == self.day(now) || now.duration_since(at) < TAG_GRACE
    }

    /// Once a day, so that they are not kept for ever.
    fn expire_tags(&self, state: &mut State, now: Timestamp) {
        let today = self.day(now);
        if state.tags_expired_on.replace(today) == Some(today) {
            return;
        }
        // What is of another day will not appear in a book of this one.
        state.absent.retain(|_, (intent, _)| self.is_tag_reserved(intent.at, now));
        // One of an order without an answer is taken all the same: it is among those.
        state.caller_tags.retain(|_, at| self.is_tag_reserved(*at, now));
    }
}

impl PendingIntent {
    /// The intent, for somebody who now waits for it; unless somebody does.
    fn claim<'a>(&mut self, intents: &'a PendingIntents) -> Option<ClaimedIntent<'a>> {
        let is_left = std::mem::take(&mut self.is_orphaned);
        is_left.then(|| ClaimedIntent::new(intents, Arc::clone(&self.intent)))
    }
}

/// What becomes of an intent that ended.
enum CloseAction {
    Nothing,
    /// It may turn up after all.
    WatchForLate,
    /// Its tag was not used.
    FreeTag,
}

/// What was found of an intent that nobody waits for.
pub(super) struct Finding<T> {
    pub(super) outcome: T,
    /// Nothing more is to come.
    pub(super) is_final: bool,
}

/// An intent whose answer somebody waits for. Dropped without an end, even by a panic, it is left
/// open, to be asked after.
#[derive(Debug)]
pub(super) struct ClaimedIntent<'a> {
    intents: &'a PendingIntents,
    pub(super) intent: Arc<Intent>,
    /// Why it is not in the record, although there is one.
    pub(super) log_error: Option<io::Error>,
    is_closed: bool,
}

impl<'a> ClaimedIntent<'a> {
    fn new(intents: &'a PendingIntents, intent: Arc<Intent>) -> Self {
        Self { intents, intent, log_error: None, is_closed: false }
    }

    /// What is known of it. `look` is called under the lock of all intents.
    pub(super) fn with_observed<R>(&self, look: impl FnOnce(&mut ObservedOrder) -> R) -> R {
        match self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            Some(open) => look(&mut open.observed),
            None => look(&mut ObservedOrder::default()),
        }
    }

    /// What the looks for it say so far.
    pub(super) fn evidence(&self) -> Evidence {
        let evidence =
            self.intents.state.lock().pending.get(&self.intent.tag).and_then(|it| it.evidence);
        evidence.unwrap_or_else(|| Evidence::starting_at(self.intents.clock.now()))
    }

    /// Keeps what the looks for it say, for whoever looks next.
    pub(super) fn set_evidence(&self, evidence: Evidence) {
        if let Some(open) = self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            open.evidence = Some(evidence);
        }
    }

    /// Notes what became of it, if that is known.
    pub(super) fn record_answer(self, answer: &Result<OrderId, BrokerError>) {
        match answer {
            Ok(id) => self.close_as(&IntentOutcome::Placed(id.clone())),
            Err(BrokerError::PartlyPlaced(order)) => self.record_sliced_answer(order),
            Err(error) if error.was_sent() == Sent::Unknown => {}
            Err(error) => {
                // Nothing of it may be anywhere, and then the caller may use its tag again.
                let unused =
                    matches!(error, BrokerError::NotSent(_) | BrokerError::Throttled { .. });
                let after = if unused { CloseAction::FreeTag } else { CloseAction::Nothing };
                self.close_with(&IntentOutcome::NotPlaced, after);
            }
        }
    }

    /// Notes that something of it is in the market. While a slice is absent or of unknown outcome, the order is
    /// left open, to be asked after.
    pub(super) fn record_sliced_answer(self, order: &SlicedOrder) {
        self.with_observed(|known| known.mark_reported(order));
        let is_open = order.unknown().chain(order.absent()).next().is_some();
        if let Some(id) = order.known_ids().next().filter(|_| !is_open) {
            self.close_as(&IntentOutcome::Placed(id.clone()));
        }
    }

    /// The same, once it was asked after: a slice that is absent is asked after no more. It may turn up after all.
    pub(super) fn record_recovered_slices(self, order: &SlicedOrder) {
        self.with_observed(|known| known.mark_reported(order));
        match order.known_ids().next() {
            Some(id) if order.unknown().next().is_none() => {
                self.close_as_absent(&IntentOutcome::Placed(id.clone()));
            }
            _ => {}
        }
    }

    /// Notes how it ended.
    pub(super) fn close_as(self, end: &IntentOutcome) {
        self.close_with(end, CloseAction::Nothing);
    }

    /// Notes an end as far as it is known: what is not there may turn up after all.
    pub(super) fn close_as_absent(self, end: &IntentOutcome) {
        self.close_with(end, CloseAction::WatchForLate);
    }

    /// The end is noted first: as long as the intent is open nobody else can use its tag, and the end
    /// of one would be taken for that of the next.
    fn close_with(mut self, end: &IntentOutcome, after: CloseAction) {
        let tag = &self.intent.tag;
        if let Some(record) = &self.intents.log {
            record.record_outcome(tag, end);
        }
        let mut state = self.intents.state.lock();
        let open = state.pending.remove(tag);
        match (after, open) {
            (CloseAction::WatchForLate, Some(open)) => {
                state.absent.insert(tag.clone(), (open.intent, open.observed));
            }
            (CloseAction::FreeTag, _) => drop(state.caller_tags.remove(tag)),
            (CloseAction::Nothing | CloseAction::WatchForLate, _) => {}
        }
        drop(state);
        self.is_closed = true;
    }

    /// It never began.
    fn discard(mut self) {
        self.is_closed = true;
        let mut state = self.intents.state.lock();
        state.pending.remove(&self.intent.tag);
        state.caller_tags.remove(&self.intent.tag);
    }
}

impl Drop for ClaimedIntent<'_> {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        let now = self.intents.clock.now();
        if let Some(open) = self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            open.mark_orphaned(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, Weak};

    use super::*;
    use crate::broker::{Instrument, OrderRequest, Side};
    use crate::clock::ManualClock;

    /// A record in the middle of which somebody places an order under the tag that ends.
    #[derive(Debug, Default)]
    struct Meanwhile {
        intents: OnceLock<Weak<PendingIntents>>,
        lines: Mutex<Vec<String>>,
    }

    impl IntentLog for Arc<Meanwhile> {
        fn record_intent(&self, intent: &Intent) -> io::Result<()> {
            self.lines.lock().push(format!("begin {}", intent.tag));
            Ok(())
        }

        fn retract(&self, _: &str) {}

        fn record_outcome(&self, tag: &str, _: &IntentOutcome) {
            let intents = self.intents.get().and_then(Weak::upgrade).unwrap();
            assert!(intents.register(intent(tag, true), false, 0).is_err());
            self.lines.lock().push(format!("end {tag}"));
        }
    }

    /// A record in the middle of which somebody else reads a book that shows the order.
    #[derive(Debug, Default)]
    struct ReadMeanwhile(OnceLock<Weak<PendingIntents>>);

    impl IntentLog for Arc<ReadMeanwhile> {
        fn record_intent(&self, _: &Intent) -> io::Result<()> {
            Ok(())
        }

        fn retract(&self, _: &str) {}

        fn record_outcome(&self, _: &str, _: &IntentOutcome) {
            let intents = self.0.get().and_then(Weak::upgrade).unwrap();
            assert!(intents.collect_findings(|_, _, _| found()).is_empty(), "told twice");
            assert!(intents.claim_orphaned().is_empty(), "asked after, although it was found");
        }
    }

    #[allow(clippy::unnecessary_wraps)]
    fn found() -> Option<Finding<()>> {
        Some(Finding { outcome: (), is_final: true })
    }

    #[test]
    fn what_one_reader_of_the_book_found_no_other_finds() {
        let record = Arc::new(ReadMeanwhile::default());
        let boxed: Box<dyn IntentLog> = Box::new(Arc::clone(&record));
        let clock = ManualClock::new().into();
        let left = vec![intent("left", false)];
        let intents = Arc::new(PendingIntents::new(clock, TimeZone::UTC, Some(boxed), left));
        record.0.set(Arc::downgrade(&intents)).unwrap();
        assert_eq!(intents.collect_findings(|_, _, _| found()).len(), 1);
        let left = Arc::new(intent("left", false));
        intents.record_late_outcome(&left, &IntentOutcome::NotPlaced);
        assert_eq!(intents.state.lock().pending.len(), 1, "it is another one");
        let left = Arc::clone(&intents.state.lock().pending["left"].intent);
        intents.record_late_outcome(&left, &IntentOutcome::NotPlaced);
        assert!(intents.collect_findings(|_, _, _| found()).is_empty());
        assert!(intents.claim_orphaned().is_empty());
    }

    fn intent(tag: &str, own: bool) -> Intent {
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1).tag(tag);
        Intent { tag: tag.to_owned(), own, at: "2026-01-01T00:00:00Z".parse().unwrap(), order }
    }

    #[test]
    fn the_end_of_an_order_is_never_taken_for_that_of_the_next() {
        let record = Arc::new(Meanwhile::default());
        let boxed: Box<dyn IntentLog> = Box::new(Arc::clone(&record));
        let clock = ManualClock::new().into();
        let intents = Arc::new(PendingIntents::new(clock, TimeZone::UTC, Some(boxed), Vec::new()));
        record.intents.set(Arc::downgrade(&intents)).unwrap();
        // The caller knows the guard's tag from an error, and uses it again; and one of its own that
        // was not sent.
        intents
            .register(intent("t1", false), false, 0)
            .unwrap()
            .close_as(&IntentOutcome::NotPlaced);
        intents.register(intent("t1", true), false, 0).unwrap();
        let unsent = Err(BrokerError::NotSent(ErrorDetail::new("too late")));
        for _ in 0..2 {
            intents.register(intent("mine", true), false, 0).unwrap().record_answer(&unsent);
        }
        let lines = ["begin t1", "end t1", "begin t1", "begin mine", "end mine"];
        assert_eq!(record.lines.lock()[..5], lines);
        assert!(intents.claim_orphaned_by_tag("t1").is_some());
    }
}
