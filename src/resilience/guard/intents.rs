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

use super::find::Intent;
use crate::Sent;
use crate::broker::{BrokerError, Detail, OrderId};
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
    /// Tags of the callers' own that were sent, or may have been; and when.
    own_tags: HashMap<String, Timestamp>,
    /// The day on which the old ones among them were last dropped.
    day: Option<Date>,
}

/// For how long a tag of the caller's stays taken, even if its day is over: midnight may be at another
/// time by the broker's clock.
const LINGERS: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
struct Open {
    intent: Arc<Intent>,
    /// Since when nobody waits for its answer; `None` while somebody does.
    left: Option<Moment>,
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
                state.own_tags.insert(intent.tag.clone(), intent.at);
            }
            let open = |intent| Open { intent: Arc::new(intent), left: Some(now) };
            state.open.insert(intent.tag.clone(), open(intent));
        }
        Self { clock, zone, record, state: Mutex::new(state) }
    }

    /// Notes an intent that is about to be sent.
    pub(super) fn begin(&self, intent: Intent) -> Result<Flight<'_>, BrokerError> {
        let intent = Arc::new(intent);
        {
            let mut state = self.state.lock();
            self.drop_tags_of_other_days(&mut state);
            let tag = &intent.tag;
            // A tag of the guard's is known to its caller too, once the answer is lost.
            if state.open.contains_key(tag) || (intent.own && state.own_tags.contains_key(tag)) {
                return Err(BrokerError::NotSent(Detail::new(format!(
                    "the tag {tag:?} was used before, and by it the order could not be told from the \
                     other: take another one for each order, or none"
                ))));
            }
            if intent.own {
                state.own_tags.insert(tag.clone(), intent.at);
            }
            let open = Open { intent: Arc::clone(&intent), left: None };
            state.open.insert(intent.tag.clone(), open);
        }
        let flight = Flight { intents: self, intent, ended: false };
        if let Some(record) = &self.record {
            if let Err(error) = record.begin(&flight.intent) {
                flight.forget();
                return Err(BrokerError::NotSent(Detail::new(format!(
                    "the order could not be written into the journal first, so it was not sent: \
                     {error}"
                ))));
            }
        }
        Ok(flight)
    }

    /// All intents that nobody waits for any more, to be asked after; and since when the last of
    /// them was left.
    pub(super) fn left(&self) -> (Vec<Flight<'_>>, Moment) {
        let mut since = Moment::ORIGIN;
        let mut flights = Vec::new();
        for open in self.state.lock().open.values_mut() {
            if let Some(left) = open.left {
                since = since.max(left);
                flights.extend(open.take(self));
            }
        }
        (flights, since)
    }

    /// The intent of this tag, if nobody waits for it any more.
    pub(super) fn left_under(&self, tag: &str) -> Option<Flight<'_>> {
        self.state.lock().open.get_mut(tag)?.take(self)
    }

    /// Whether the book of now would show an order of this time: a book is of one day.
    pub(super) fn is_of_today(&self, at: Timestamp) -> bool {
        self.day(at) == self.day(self.clock.wall().timestamp)
    }

    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    fn drop_tags_of_other_days(&self, state: &mut State) {
        let now = self.clock.wall().timestamp;
        let today = self.day(now);
        if state.day.replace(today) == Some(today) {
            return;
        }
        // One of an order without an answer is taken all the same: it is among those.
        state.own_tags.retain(|_, at| self.day(*at) == today || now.duration_since(*at) < LINGERS);
    }
}

impl Open {
    /// The intent, for somebody who now waits for it; unless somebody does.
    fn take<'a>(&mut self, intents: &'a Intents) -> Option<Flight<'a>> {
        self.left.take()?;
        Some(Flight { intents, intent: Arc::clone(&self.intent), ended: false })
    }
}

/// An intent whose answer somebody waits for. Dropped without an end, even by a panic, it is left
/// open, to be asked after.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    intents: &'a Intents,
    pub(super) intent: Arc<Intent>,
    ended: bool,
}

impl Flight<'_> {
    /// Notes what became of it, if that is known.
    pub(super) fn answered(self, answer: &Result<OrderId, BrokerError>) {
        match answer {
            Ok(id) => self.end(&End::Placed(id.clone())),
            Err(error) if error.was_sent() == Sent::Unknown => {}
            Err(error) => {
                let (intents, tag) = (self.intents, self.intent.tag.clone());
                self.end(&End::NotPlaced);
                // Nothing of it is anywhere, so the caller may use its tag again: now that its end is
                // noted, which else would be taken for the end of the next.
                if matches!(error, BrokerError::NotSent(_) | BrokerError::Throttled { .. }) {
                    intents.state.lock().own_tags.remove(&tag);
                }
            }
        }
    }

    /// Notes how it ended.
    pub(super) fn end(mut self, end: &End) {
        self.ended = true;
        self.intents.state.lock().open.remove(&self.intent.tag);
        if let Some(record) = &self.intents.record {
            record.end(&self.intent.tag, end);
        }
    }

    /// It never began.
    fn forget(mut self) {
        self.ended = true;
        let mut state = self.intents.state.lock();
        state.open.remove(&self.intent.tag);
        state.own_tags.remove(&self.intent.tag);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let now = self.intents.clock.now();
        if let Some(open) = self.intents.state.lock().open.get_mut(&self.intent.tag) {
            open.left = Some(now);
        }
    }
}
