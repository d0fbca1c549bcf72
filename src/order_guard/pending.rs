//! The orders without a final answer: in flight, or given up.
//!
//! An order is registered before it is sent, and removed with its final answer. With a log (the journal), both are
//! recorded, the first one before the order is sent.

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
    /// The order is in the order book under this id.
    Placed(OrderId),
    /// The order is not in the market, and will not be.
    NotPlaced,
    /// The outcome is unknown, and the search was abandoned.
    Forgotten,
}

/// A durable log of intents.
pub(super) trait IntentLog: Send + Sync + fmt::Debug {
    /// Records an intent durably. Its order must not be sent before this returns, nor if it fails.
    fn record_intent(&self, intent: &Intent) -> io::Result<()>;
    /// Records that the order was not sent: [`record_intent`](Self::record_intent) failed, and may have recorded it
    /// nevertheless.
    fn retract(&self, tag: &str);
    /// Records the outcome, possibly later. If it is lost, the order is searched for once more, which does no harm.
    fn record_outcome(&self, tag: &str, outcome: &IntentOutcome);
}

/// All intents without a final answer.
#[derive(Debug)]
pub(super) struct PendingIntents {
    clock: Clock,
    /// The time zone of the broker's day.
    day_zone: TimeZone,
    log: Option<Box<dyn IntentLog>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<String, PendingIntent>,
    /// Intents that ended as absent, at least in part, and may appear later.
    absent: BTreeMap<String, (Arc<Intent>, ObservedOrder)>,
    /// Caller tags that were sent, or may have been, and when.
    caller_tags: HashMap<String, Timestamp>,
    /// The day on which expired caller tags were last dropped.
    tags_expired_on: Option<Date>,
}

/// How long a caller tag stays reserved, even if its day is over: midnight may differ by the broker's clock.
const TAG_GRACE: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
struct PendingIntent {
    intent: Arc<Intent>,
    observed: ObservedOrder,
    /// The evidence of the reads, once a search has begun.
    evidence: Option<Evidence>,
    /// Whether no caller waits for its answer.
    is_orphaned: bool,
}

impl PendingIntent {
    fn new(intent: Arc<Intent>) -> Self {
        Self { intent, observed: ObservedOrder::default(), evidence: None, is_orphaned: false }
    }

    /// Marks that no caller waits for its answer any more. If no search has begun, the order counts as given up at
    /// `now`.
    fn mark_orphaned(&mut self, now: Moment) {
        self.evidence.get_or_insert(Evidence::starting_at(now));
        self.is_orphaned = true;
    }
}

impl PendingIntents {
    /// Creates the set with the intents that an earlier process left without an answer.
    pub(super) fn new(
        clock: Clock,
        day_zone: TimeZone,
        log: Option<Box<dyn IntentLog>>,
        orphaned: Vec<Intent>,
    ) -> Self {
        let now = clock.now();
        let mut state = State::default();
        for intent in orphaned {
            if intent.is_caller_tag {
                state.caller_tags.insert(intent.tag.clone(), intent.at);
            }
            let tag = intent.tag.clone();
            let mut pending = PendingIntent::new(Arc::new(intent));
            pending.mark_orphaned(now);
            state.pending.insert(tag, pending);
        }
        Self { clock, day_zone, log, state: Mutex::new(state) }
    }

    /// Registers an intent that is about to be sent. If the log fails, an exit is sent nevertheless, and the returned
    /// intent has the error. `last_read_before_send` is the number of the last read of the order book.
    ///
    /// # Errors
    /// `NotSent`, if the tag is still reserved by another order, or if the log fails and the order is not an exit.
    pub(super) fn register(
        &self,
        intent: Intent,
        is_exit: bool,
        last_read_before_send: u64,
    ) -> Result<ClaimedIntent<'_>, BrokerError> {
        let intent = Arc::new(intent);
        {
            let mut state = self.state.lock();
            let now = self.clock.wall_clock().timestamp;
            self.expire_tags(&mut state, now);
            let tag = &intent.tag;
            let is_used = intent.is_caller_tag
                && state.caller_tags.get(tag).is_some_and(|at| self.is_tag_reserved(*at, now));
            // The caller learns a generated tag from the error of a lost order. An absent order may still appear
            // under it.
            let is_watched = state
                .absent
                .get(tag)
                .is_some_and(|(absent, _)| self.is_tag_reserved(absent.at, now));
            if state.pending.contains_key(tag) || is_used || is_watched {
                return Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the tag {tag:?} was used before, so the two orders could not be told apart by it: \
                     use another tag for each order, or none"
                ))));
            }
            if intent.is_caller_tag {
                state.caller_tags.insert(tag.clone(), intent.at);
            }
            state.absent.remove(tag);
            let mut pending = PendingIntent::new(Arc::clone(&intent));
            pending.observed.last_read_before_send = last_read_before_send;
            state.pending.insert(intent.tag.clone(), pending);
        }
        let mut claimed = ClaimedIntent::new(self, intent);
        match self.log.as_ref().map(|log| log.record_intent(&claimed.intent)) {
            None | Some(Ok(())) => Ok(claimed),
            Some(Err(error)) if is_exit => {
                claimed.log_error = Some(error);
                Ok(claimed)
            }
            Some(Err(error)) => {
                if let Some(log) = &self.log {
                    log.retract(&claimed.intent.tag);
                }
                claimed.discard();
                Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the order could not be written into the journal first, so it was not sent: \
                     {error}"
                ))))
            }
        }
    }

    /// Claims all intents without a waiting caller, for a search.
    pub(super) fn claim_orphaned(&self) -> Vec<ClaimedIntent<'_>> {
        self.state.lock().pending.values_mut().filter_map(|pending| pending.claim(self)).collect()
    }

    /// Claims the intent with this tag, if no caller waits for it.
    pub(super) fn claim_orphaned_by_tag(&self, tag: &str) -> Option<ClaimedIntent<'_>> {
        self.state.lock().pending.get_mut(tag)?.claim(self)
    }

    /// Returns the number of intents without a final answer and without a waiting caller.
    pub(super) fn orphaned(&self) -> usize {
        self.state.lock().pending.values().filter(|pending| pending.is_orphaned).count()
    }

    /// Calls `read` for each pending or absent intent, with whether no caller waits for it. Returns the findings about
    /// those without a caller. An intent whose finding is final cannot be claimed any more, and is not watched for:
    /// the caller then records its outcome by [`record_late_outcome`](Self::record_late_outcome).
    pub(super) fn collect_findings<T>(
        &self,
        mut read: impl FnMut(&Intent, &mut ObservedOrder, bool) -> Option<Finding<T>>,
    ) -> Vec<(Arc<Intent>, Finding<T>)> {
        let mut state = self.state.lock();
        let State { pending, absent, .. } = &mut *state;
        let all_pending =
            pending.values_mut().map(|it| (&it.intent, &mut it.observed, it.is_orphaned));
        let all_absent = absent.values_mut().map(|(intent, observed)| (&*intent, observed, true));
        let found: Vec<_> = all_pending
            .chain(all_absent)
            .filter_map(|(intent, observed, is_orphaned)| {
                let finding = read(intent, observed, is_orphaned)?;
                is_orphaned.then(|| (Arc::clone(intent), finding))
            })
            .collect();
        for (intent, _) in found.iter().filter(|(_, finding)| finding.is_final) {
            let is_same = |other: &Arc<Intent>| Arc::ptr_eq(other, intent);
            // The tag of a pending intent stays reserved until its outcome is recorded.
            if let Some(it) = pending.get_mut(&intent.tag).filter(|it| is_same(&it.intent)) {
                it.is_orphaned = false;
            }
            if absent.get(&intent.tag).is_some_and(|(other, _)| is_same(other)) {
                absent.remove(&intent.tag);
            }
        }
        found
    }

    /// Records the outcome of an intent whose finding was final, and removes the intent.
    pub(super) fn record_late_outcome(&self, intent: &Arc<Intent>, outcome: &IntentOutcome) {
        let tag = &intent.tag;
        // A day later another order may have the tag.
        if self.state.lock().pending.get(tag).is_some_and(|it| !Arc::ptr_eq(&it.intent, intent)) {
            return;
        }
        if let Some(log) = &self.log {
            log.record_outcome(tag, outcome);
        }
        let mut state = self.state.lock();
        if state.pending.get(tag).is_some_and(|it| Arc::ptr_eq(&it.intent, intent)) {
            state.pending.remove(tag);
        }
    }

    /// Returns whether today's order book would show an order of this time. An order book covers one day, which may
    /// end a little earlier by the broker's clock.
    pub(super) fn is_in_todays_book(&self, at: Timestamp) -> bool {
        let now = self.clock.wall_clock().timestamp;
        let skewed = SignedDuration::try_from(MAX_CLOCK_SKEW)
            .ok()
            .and_then(|skew| now.checked_add(skew).ok());
        [now, skewed.unwrap_or(now)].iter().all(|now| self.day(*now) == self.day(at))
    }

    /// Returns the current day in the broker's zone.
    pub(super) fn today(&self) -> Date {
        self.day(self.clock.wall_clock().timestamp)
    }

    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.day_zone.clone()).date()
    }

    /// Returns whether a tag that was used at `at` is still reserved.
    fn is_tag_reserved(&self, at: Timestamp, now: Timestamp) -> bool {
        self.day(at) == self.day(now) || now.duration_since(at) < TAG_GRACE
    }

    /// Drops expired tags, once a day, so that they do not accumulate.
    fn expire_tags(&self, state: &mut State, now: Timestamp) {
        let today = self.day(now);
        if state.tags_expired_on.replace(today) == Some(today) {
            return;
        }
        // An order of another day will not appear in today's order book.
        state.absent.retain(|_, (intent, _)| self.is_tag_reserved(intent.at, now));
        // The tag of a pending order stays reserved nevertheless, by that order.
        state.caller_tags.retain(|_, at| self.is_tag_reserved(*at, now));
    }
}

impl PendingIntent {
    /// Claims the intent for a waiter, unless there is one already.
    fn claim<'a>(&mut self, intents: &'a PendingIntents) -> Option<ClaimedIntent<'a>> {
        let was_orphaned = std::mem::take(&mut self.is_orphaned);
        was_orphaned.then(|| ClaimedIntent::new(intents, Arc::clone(&self.intent)))
    }
}

/// What to do with the tag of an intent that is closed.
enum CloseAction {
    Nothing,
    /// The order may still appear, so it is watched for.
    WatchForLate,
    /// Free its tag, which was not used.
    FreeTag,
}

/// What a read shows of an intent without a waiting caller.
pub(super) struct Finding<T> {
    pub(super) outcome: T,
    /// Whether nothing more can follow.
    pub(super) is_final: bool,
}

/// An intent with one waiter. If it is dropped without an outcome, even by a panic, it stays pending, for a later
/// search.
#[derive(Debug)]
pub(super) struct ClaimedIntent<'a> {
    intents: &'a PendingIntents,
    pub(super) intent: Arc<Intent>,
    /// The error of the log, which does not have this intent.
    pub(super) log_error: Option<io::Error>,
    is_closed: bool,
}

impl<'a> ClaimedIntent<'a> {
    fn new(intents: &'a PendingIntents, intent: Arc<Intent>) -> Self {
        Self { intents, intent, log_error: None, is_closed: false }
    }

    /// Calls a closure with what is known of the order, under the lock of all intents.
    pub(super) fn with_observed<R>(&self, read: impl FnOnce(&mut ObservedOrder) -> R) -> R {
        match self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            Some(pending) => read(&mut pending.observed),
            None => read(&mut ObservedOrder::default()),
        }
    }

    /// Returns the evidence so far.
    pub(super) fn evidence(&self) -> Evidence {
        let evidence =
            self.intents.state.lock().pending.get(&self.intent.tag).and_then(|it| it.evidence);
        evidence.unwrap_or_else(|| Evidence::starting_at(self.intents.clock.now()))
    }

    /// Stores the evidence, for the next search.
    pub(super) fn set_evidence(&self, evidence: Evidence) {
        if let Some(pending) = self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            pending.evidence = Some(evidence);
        }
    }

    /// Records the outcome, if it is known.
    pub(super) fn record_answer(self, answer: &Result<OrderId, BrokerError>) {
        match answer {
            Ok(id) => self.close_as(&IntentOutcome::Placed(id.clone())),
            Err(BrokerError::PartlyPlaced(order)) => self.record_sliced_answer(order),
            Err(error) if error.was_sent() == Sent::Unknown => {}
            Err(error) => {
                // If nothing of it can be at the broker, the caller may use its tag again.
                let is_unused =
                    matches!(error, BrokerError::NotSent(_) | BrokerError::Throttled { .. });
                let action = if is_unused { CloseAction::FreeTag } else { CloseAction::Nothing };
                self.close_with(&IntentOutcome::NotPlaced, action);
            }
        }
    }

    /// Records that a part of the order is in the market. While a slice is absent or of unknown outcome, the order
    /// stays pending.
    pub(super) fn record_sliced_answer(self, order: &SlicedOrder) {
        self.with_observed(|observed| observed.mark_reported(order));
        let is_open = order.unknown().chain(order.absent()).next().is_some();
        if let Some(id) = order.known_ids().next().filter(|_| !is_open) {
            self.close_as(&IntentOutcome::Placed(id.clone()));
        }
    }

    /// Records the same after recovery: absent slices are not searched for any more, but may still appear.
    pub(super) fn record_recovered_slices(self, order: &SlicedOrder) {
        self.with_observed(|observed| observed.mark_reported(order));
        match order.known_ids().next() {
            Some(id) if order.unknown().next().is_none() => {
                self.close_as_absent(&IntentOutcome::Placed(id.clone()));
            }
            _ => {}
        }
    }

    /// Records the outcome and removes the intent.
    pub(super) fn close_as(self, outcome: &IntentOutcome) {
        self.close_with(outcome, CloseAction::Nothing);
    }

    /// Records an outcome with absent parts, which may still appear.
    pub(super) fn close_as_absent(self, outcome: &IntentOutcome) {
        self.close_with(outcome, CloseAction::WatchForLate);
    }

    /// Records the outcome before the intent is removed: while the intent is pending no other order can use its tag,
    /// so the outcome cannot be mistaken for that of the next.
    fn close_with(mut self, outcome: &IntentOutcome, action: CloseAction) {
        let tag = &self.intent.tag;
        if let Some(log) = &self.intents.log {
            log.record_outcome(tag, outcome);
        }
        let mut state = self.intents.state.lock();
        let pending = state.pending.remove(tag);
        match (action, pending) {
            (CloseAction::WatchForLate, Some(pending)) => {
                state.absent.insert(tag.clone(), (pending.intent, pending.observed));
            }
            (CloseAction::FreeTag, _) => drop(state.caller_tags.remove(tag)),
            (CloseAction::Nothing | CloseAction::WatchForLate, _) => {}
        }
        drop(state);
        self.is_closed = true;
    }

    /// Removes an intent that was never sent.
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
        if let Some(pending) = self.intents.state.lock().pending.get_mut(&self.intent.tag) {
            pending.mark_orphaned(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, Weak};

    use super::*;
    use crate::broker::{Instrument, OrderRequest, Side};
    use crate::clock::ManualClock;

    /// A log that places an order with the same tag while it records an outcome.
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

    /// A log during which another thread reads an order book that shows the order.
    #[derive(Debug, Default)]
    struct ReadMeanwhile(OnceLock<Weak<PendingIntents>>);

    impl IntentLog for Arc<ReadMeanwhile> {
        fn record_intent(&self, _: &Intent) -> io::Result<()> {
            Ok(())
        }

        fn retract(&self, _: &str) {}

        fn record_outcome(&self, _: &str, _: &IntentOutcome) {
            let intents = self.0.get().and_then(Weak::upgrade).unwrap();
            assert!(intents.collect_findings(|_, _, _| found()).is_empty(), "reported twice");
            assert!(intents.claim_orphaned().is_empty(), "claimed, although it was found");
        }
    }

    #[allow(clippy::unnecessary_wraps)]
    fn found() -> Option<Finding<()>> {
        Some(Finding { outcome: (), is_final: true })
    }

    #[test]
    fn what_one_reader_of_the_book_found_no_other_finds() {
        let log = Arc::new(ReadMeanwhile::default());
        let boxed: Box<dyn IntentLog> = Box::new(Arc::clone(&log));
        let clock = ManualClock::new().into();
        let orphaned = vec![intent("orphaned", false)];
        let intents = Arc::new(PendingIntents::new(clock, TimeZone::UTC, Some(boxed), orphaned));
        log.0.set(Arc::downgrade(&intents)).unwrap();
        assert_eq!(intents.collect_findings(|_, _, _| found()).len(), 1);
        let other = Arc::new(intent("orphaned", false));
        intents.record_late_outcome(&other, &IntentOutcome::NotPlaced);
        assert_eq!(intents.state.lock().pending.len(), 1, "it is another one");
        let same = Arc::clone(&intents.state.lock().pending["orphaned"].intent);
        intents.record_late_outcome(&same, &IntentOutcome::NotPlaced);
        assert!(intents.collect_findings(|_, _, _| found()).is_empty());
        assert!(intents.claim_orphaned().is_empty());
    }

    fn intent(tag: &str, is_caller_tag: bool) -> Intent {
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1).tag(tag);
        Intent {
            tag: tag.to_owned(),
            is_caller_tag,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            order,
        }
    }

    #[test]
    fn the_end_of_an_order_is_never_taken_for_that_of_the_next() {
        let log = Arc::new(Meanwhile::default());
        let boxed: Box<dyn IntentLog> = Box::new(Arc::clone(&log));
        let clock = ManualClock::new().into();
        let intents = Arc::new(PendingIntents::new(clock, TimeZone::UTC, Some(boxed), Vec::new()));
        log.intents.set(Arc::downgrade(&intents)).unwrap();
        // The caller knows the generated tag from an error and uses it again, and also one of its own that was not
        // sent.
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
        assert_eq!(log.lines.lock()[..5], lines);
        assert!(intents.claim_orphaned_by_tag("t1").is_some());
    }
}
