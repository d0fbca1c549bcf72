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

use super::evidence::Evidence;
use super::find::{Intent, SKEW};
use super::known::Known;
use crate::Sent;
use crate::broker::{BrokerError, ErrorDetail, OrderId, SlicedOrder};
use crate::clock::Clock;
use crate::quota::Moment;

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// The order is in the book under this id.
    Placed(OrderId),
    /// It is not in the market, and will not be.
    NotPlaced,
    /// Nobody knows, and nobody is to ask any more.
    Forgotten,
}

/// Where intents are written down.
pub(super) trait Record: Send + Sync + fmt::Debug {
    /// Notes an intent for good. It is not to be sent before this returns, nor after it fails.
    fn begin(&self, intent: &Intent) -> io::Result<()>;
    /// Notes that it was not sent: [`begin`](Self::begin) failed, and may have noted it all the same.
    fn take_back(&self, tag: &str);
    /// Notes how it ended, some time: until then it will be asked after again, which does no harm.
    fn end(&self, tag: &str, end: &End);
}

/// All intents without a final answer.
#[derive(Debug)]
pub(super) struct Intents {
    clock: Clock,
    /// In which the broker's day ends.
    zone: TimeZone,
    record: Option<Box<dyn Record>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<String, Open>,
    /// Those that ended as absent, at least in part, and may turn up after all.
    absent: BTreeMap<String, (Arc<Intent>, Known)>,
    /// Tags of the callers' own that were sent, or may have been; and when.
    caller_tags: HashMap<String, Timestamp>,
    /// The day on which the old ones among them were last dropped.
    day: Option<Date>,
}

/// For how long a tag of the caller's stays taken, even if its day is over: midnight may be at another
/// time by the broker's clock.
const LINGERS: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
struct Open {
    intent: Arc<Intent>,
    known: Known,
    /// What the looks for it say, once somebody was to look.
    evidence: Option<Evidence>,
    /// Nobody waits for its answer.
    is_left: bool,
}

impl Open {
    fn new(intent: Arc<Intent>) -> Self {
        Self { intent, known: Known::default(), evidence: None, is_left: false }
    }

    /// Nobody waits for its answer any more. If nobody looked for it yet, it was given up now.
    fn leave(&mut self, now: Moment) {
        self.evidence.get_or_insert(Evidence::since(now));
        self.is_left = true;
    }
}

impl Intents {
    /// Begins with `left`, the intents that an earlier process left without an answer.
    pub(super) fn new(
        clock: Clock,
        zone: TimeZone,
        record: Option<Box<dyn Record>>,
        left: Vec<Intent>,
    ) -> Self {
        let now = clock.now();
        let mut state = State::default();
        for intent in left {
            if intent.own {
                state.caller_tags.insert(intent.tag.clone(), intent.at);
            }
            let tag = intent.tag.clone();
            let mut open = Open::new(Arc::new(intent));
            open.leave(now);
            state.open.insert(tag, open);
        }
        Self { clock, zone, record, state: Mutex::new(state) }
    }

    /// Notes an intent that is about to be sent. If it cannot be written down, an `exit` goes all the same, and
    /// the flight says so.
    ///
    /// `begun` numbers what was read of the book before.
    pub(super) fn begin(
        &self,
        intent: Intent,
        exit: bool,
        begun: u64,
    ) -> Result<Flight<'_>, BrokerError> {
        let intent = Arc::new(intent);
        {
            let mut state = self.state.lock();
            let now = self.clock.wall_clock().timestamp;
            self.drop_tags_of_other_days(&mut state, now);
            let tag = &intent.tag;
            let used =
                intent.own && state.caller_tags.get(tag).is_some_and(|at| self.holds(*at, now));
            // A tag of the guard's is known to its caller too, once the answer is lost.
            // One that was absent may still turn up under it.
            let watched =
                state.absent.get(tag).is_some_and(|(absent, _)| self.holds(absent.at, now));
            if state.open.contains_key(tag) || used || watched {
                return Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the tag {tag:?} was used before, and by it the order could not be told from the \
                     other: take another one for each order, or none"
                ))));
            }
            if intent.own {
                state.caller_tags.insert(tag.clone(), intent.at);
            }
            state.absent.remove(tag);
            let mut open = Open::new(Arc::clone(&intent));
            open.known.begun = begun;
            state.open.insert(intent.tag.clone(), open);
        }
        let mut flight = Flight::new(self, intent);
        match self.record.as_ref().map(|record| record.begin(&flight.intent)) {
            None | Some(Ok(())) => Ok(flight),
            Some(Err(error)) if exit => {
                flight.unrecorded = Some(error);
                Ok(flight)
            }
            Some(Err(error)) => {
                if let Some(record) = &self.record {
                    record.take_back(&flight.intent.tag);
                }
                flight.forget();
                Err(BrokerError::NotSent(ErrorDetail::new(format!(
                    "the order could not be written into the journal first, so it was not sent: \
                     {error}"
                ))))
            }
        }
    }

    /// All intents that nobody waits for any more, to be asked after.
    pub(super) fn left(&self) -> Vec<Flight<'_>> {
        self.state.lock().open.values_mut().filter_map(|open| open.take(self)).collect()
    }

    /// The intent of this tag, if nobody waits for it any more.
    pub(super) fn left_under(&self, tag: &str) -> Option<Flight<'_>> {
        self.state.lock().open.get_mut(tag)?.take(self)
    }

    /// Has `look` look for all intents; it is told whether nobody waits for the one. Gives the news of those, and
    /// takes out the ones of which that is the last word.
    pub(super) fn look_over<T>(
        &self,
        look: impl Fn(&Intent, &mut Known, bool) -> Option<News<T>>,
    ) -> Vec<(Arc<Intent>, News<T>)> {
        let mut state = self.state.lock();
        let State { open, absent, .. } = &mut *state;
        let open_ones = open.values_mut().map(|open| (&open.intent, &mut open.known, open.is_left));
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
                open.is_left = false;
            }
            if absent.get(&intent.tag).is_some_and(|(other, _)| is_it(other)) {
                absent.remove(&intent.tag);
            }
        }
        found
    }

    /// Notes the end of an intent that was taken out.
    pub(super) fn note_late(&self, intent: &Arc<Intent>, end: &End) {
        let tag = &intent.tag;
        // A day later another may have it.
        if self.state.lock().open.get(tag).is_some_and(|open| !Arc::ptr_eq(&open.intent, intent)) {
            return;
        }
        if let Some(record) = &self.record {
            record.end(tag, end);
        }
        let mut state = self.state.lock();
        if state.open.get(tag).is_some_and(|open| Arc::ptr_eq(&open.intent, intent)) {
            state.open.remove(tag);
        }
    }

    /// Whether the book of now would show an order of this time: a book is of one day, which by the
    /// broker's clock may be over a little sooner.
    pub(super) fn is_of_today(&self, at: Timestamp) -> bool {
        let now = self.clock.wall_clock().timestamp;
        let there = SignedDuration::try_from(SKEW).ok().and_then(|skew| now.checked_add(skew).ok());
        [now, there.unwrap_or(now)].iter().all(|now| self.day(*now) == self.day(at))
    }

    /// The day that it is.
    pub(super) fn today(&self) -> Date {
        self.day(self.clock.wall_clock().timestamp)
    }

    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// Whether a tag that was used then is taken now.
    fn holds(&self, at: Timestamp, now: Timestamp) -> bool {
        self.day(at) == self.day(now) || now.duration_since(at) < LINGERS
    }

    /// Once a day, so that they are not kept for ever.
    fn drop_tags_of_other_days(&self, state: &mut State, now: Timestamp) {
        let today = self.day(now);
        if state.day.replace(today) == Some(today) {
            return;
        }
        // What is of another day will not appear in a book of this one.
        state.absent.retain(|_, (intent, _)| self.holds(intent.at, now));
        // One of an order without an answer is taken all the same: it is among those.
        state.caller_tags.retain(|_, at| self.holds(*at, now));
    }
}

impl Open {
    /// The intent, for somebody who now waits for it; unless somebody does.
    fn take<'a>(&mut self, intents: &'a Intents) -> Option<Flight<'a>> {
        let is_left = std::mem::take(&mut self.is_left);
        is_left.then(|| Flight::new(intents, Arc::clone(&self.intent)))
    }
}

/// What becomes of an intent that ended.
enum After {
    Nothing,
    /// It may turn up after all.
    Watched,
    /// Its tag was not used.
    TagIsFree,
}

/// What was found of an intent that nobody waits for.
pub(super) struct News<T> {
    pub(super) what: T,
    /// Nothing more is to come.
    pub(super) is_final: bool,
}

/// An intent whose answer somebody waits for. Dropped without an end, even by a panic, it is left
/// open, to be asked after.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    intents: &'a Intents,
    pub(super) intent: Arc<Intent>,
    /// Why it is not in the record, although there is one.
    pub(super) unrecorded: Option<io::Error>,
    ended: bool,
}

impl<'a> Flight<'a> {
    fn new(intents: &'a Intents, intent: Arc<Intent>) -> Self {
        Self { intents, intent, unrecorded: None, ended: false }
    }

    /// What is known of it. `look` is called under the lock of all intents.
    pub(super) fn known<R>(&self, look: impl FnOnce(&mut Known) -> R) -> R {
        match self.intents.state.lock().open.get_mut(&self.intent.tag) {
            Some(open) => look(&mut open.known),
            None => look(&mut Known::default()),
        }
    }

    /// What the looks for it say so far.
    pub(super) fn evidence(&self) -> Evidence {
        let evidence =
            self.intents.state.lock().open.get(&self.intent.tag).and_then(|it| it.evidence);
        evidence.unwrap_or_else(|| Evidence::since(self.intents.clock.now()))
    }

    /// Keeps what the looks for it say, for whoever looks next.
    pub(super) fn keep(&self, evidence: Evidence) {
        if let Some(open) = self.intents.state.lock().open.get_mut(&self.intent.tag) {
            open.evidence = Some(evidence);
        }
    }

    /// Notes what became of it, if that is known.
    pub(super) fn answered(self, answer: &Result<OrderId, BrokerError>) {
        match answer {
            Ok(id) => self.end(&End::Placed(id.clone())),
            Err(BrokerError::PartlyPlaced(order)) => self.answered_in_slices(order),
            Err(error) if error.was_sent() == Sent::Unknown => {}
            Err(error) => {
                // Nothing of it may be anywhere, and then the caller may use its tag again.
                let unused =
                    matches!(error, BrokerError::NotSent(_) | BrokerError::Throttled { .. });
                let after = if unused { After::TagIsFree } else { After::Nothing };
                self.close(&End::NotPlaced, after);
            }
        }
    }

    /// Notes that something of it is in the market. While a slice is absent or of unknown outcome, the order is
    /// left open, to be asked after.
    pub(super) fn answered_in_slices(self, order: &SlicedOrder) {
        self.known(|known| known.tell(order));
        let is_open = order.unknown().chain(order.absent()).next().is_some();
        if let Some(id) = order.names().next().filter(|_| !is_open) {
            self.end(&End::Placed(id.clone()));
        }
    }

    /// The same, once it was asked after: a slice that is absent is asked after no more. It may turn up after all.
    pub(super) fn recovered_in_slices(self, order: &SlicedOrder) {
        self.known(|known| known.tell(order));
        match order.names().next() {
            Some(id) if order.unknown().next().is_none() => {
                self.end_absent(&End::Placed(id.clone()));
            }
            _ => {}
        }
    }

    /// Notes how it ended.
    pub(super) fn end(self, end: &End) {
        self.close(end, After::Nothing);
    }

    /// Notes an end as far as it is known: what is not there may turn up after all.
    pub(super) fn end_absent(self, end: &End) {
        self.close(end, After::Watched);
    }

    /// The end is noted first: as long as the intent is open nobody else can use its tag, and the end
    /// of one would be taken for that of the next.
    fn close(mut self, end: &End, after: After) {
        let tag = &self.intent.tag;
        if let Some(record) = &self.intents.record {
            record.end(tag, end);
        }
        let mut state = self.intents.state.lock();
        let open = state.open.remove(tag);
        match (after, open) {
            (After::Watched, Some(open)) => {
                state.absent.insert(tag.clone(), (open.intent, open.known));
            }
            (After::TagIsFree, _) => drop(state.caller_tags.remove(tag)),
            (After::Nothing | After::Watched, _) => {}
        }
        drop(state);
        self.ended = true;
    }

    /// It never began.
    fn forget(mut self) {
        self.ended = true;
        let mut state = self.intents.state.lock();
        state.open.remove(&self.intent.tag);
        state.caller_tags.remove(&self.intent.tag);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let now = self.intents.clock.now();
        if let Some(open) = self.intents.state.lock().open.get_mut(&self.intent.tag) {
            open.leave(now);
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
        intents: OnceLock<Weak<Intents>>,
        lines: Mutex<Vec<String>>,
    }

    impl Record for Arc<Meanwhile> {
        fn begin(&self, intent: &Intent) -> io::Result<()> {
            self.lines.lock().push(format!("begin {}", intent.tag));
            Ok(())
        }

        fn take_back(&self, _: &str) {}

        fn end(&self, tag: &str, _: &End) {
            let intents = self.intents.get().and_then(Weak::upgrade).unwrap();
            assert!(intents.begin(intent(tag, true), false, 0).is_err());
            self.lines.lock().push(format!("end {tag}"));
        }
    }

    /// A record in the middle of which somebody else reads a book that shows the order.
    #[derive(Debug, Default)]
    struct ReadMeanwhile(OnceLock<Weak<Intents>>);

    impl Record for Arc<ReadMeanwhile> {
        fn begin(&self, _: &Intent) -> io::Result<()> {
            Ok(())
        }

        fn take_back(&self, _: &str) {}

        fn end(&self, _: &str, _: &End) {
            let intents = self.0.get().and_then(Weak::upgrade).unwrap();
            assert!(intents.look_over(|_, _, _| found()).is_empty(), "told twice");
            assert!(intents.left().is_empty(), "asked after, although it was found");
        }
    }

    #[allow(clippy::unnecessary_wraps)]
    fn found() -> Option<News<()>> {
        Some(News { what: (), is_final: true })
    }

    #[test]
    fn what_one_reader_of_the_book_found_no_other_finds() {
        let record = Arc::new(ReadMeanwhile::default());
        let boxed: Box<dyn Record> = Box::new(Arc::clone(&record));
        let clock = ManualClock::new().into();
        let left = vec![intent("left", false)];
        let intents = Arc::new(Intents::new(clock, TimeZone::UTC, Some(boxed), left));
        record.0.set(Arc::downgrade(&intents)).unwrap();
        assert_eq!(intents.look_over(|_, _, _| found()).len(), 1);
        let left = Arc::new(intent("left", false));
        intents.note_late(&left, &End::NotPlaced);
        assert_eq!(intents.state.lock().open.len(), 1, "it is another one");
        let left = Arc::clone(&intents.state.lock().open["left"].intent);
        intents.note_late(&left, &End::NotPlaced);
        assert!(intents.look_over(|_, _, _| found()).is_empty());
        assert!(intents.left().is_empty());
    }

    fn intent(tag: &str, own: bool) -> Intent {
        let order = OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1).tag(tag);
        Intent { tag: tag.to_owned(), own, at: "2026-01-01T00:00:00Z".parse().unwrap(), order }
    }

    #[test]
    fn the_end_of_an_order_is_never_taken_for_that_of_the_next() {
        let record = Arc::new(Meanwhile::default());
        let boxed: Box<dyn Record> = Box::new(Arc::clone(&record));
        let clock = ManualClock::new().into();
        let intents = Arc::new(Intents::new(clock, TimeZone::UTC, Some(boxed), Vec::new()));
        record.intents.set(Arc::downgrade(&intents)).unwrap();
        // The caller knows the guard's tag from an error, and uses it again; and one of its own that
        // was not sent.
        intents.begin(intent("t1", false), false, 0).unwrap().end(&End::NotPlaced);
        intents.begin(intent("t1", true), false, 0).unwrap();
        let unsent = Err(BrokerError::NotSent(ErrorDetail::new("too late")));
        for _ in 0..2 {
            intents.begin(intent("mine", true), false, 0).unwrap().answered(&unsent);
        }
        let lines = ["begin t1", "end t1", "begin t1", "begin mine", "end mine"];
        assert_eq!(record.lines.lock()[..5], lines);
        assert!(intents.left_under("t1").is_some());
    }
}
