//! The orders without a final answer: under way, or given up on.
//!
//! An order enters before it is sent and leaves with its final answer. With a record (the journal),
//! both are written down, the first of them before anything is sent.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

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
    record: Option<Box<dyn Record>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<String, Open>,
    /// Tags of the callers' own that were sent, or may have been.
    own_tags: HashSet<String>,
}

#[derive(Debug)]
struct Open {
    intent: Arc<Intent>,
    /// Since when nobody waits for its answer; `None` while somebody does.
    left: Option<Moment>,
}

impl Intents {
    /// Begins with `left`, the intents that an earlier process left without an answer.
    pub(super) fn new(clock: Clock, record: Option<Box<dyn Record>>, left: Vec<Intent>) -> Self {
        let now = clock.now();
        let mut state = State::default();
        for intent in left {
            if intent.own {
                state.own_tags.insert(intent.tag.clone());
            }
            let open = |intent| Open { intent: Arc::new(intent), left: Some(now) };
            state.open.insert(intent.tag.clone(), open(intent));
        }
        Self { clock, record, state: Mutex::new(state) }
    }

    /// Notes an intent that is about to be sent.
    pub(super) fn begin(&self, intent: Intent) -> Result<Flight<'_>, BrokerError> {
        let intent = Arc::new(intent);
        {
            let mut state = self.state.lock();
            if intent.own && !state.own_tags.insert(intent.tag.clone()) {
                return Err(BrokerError::NotSent(Detail::new(format!(
                    "the tag {:?} was used before, and by it the order could not be told from the \
                     other: take another one for each order, or none",
                    intent.tag
                ))));
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
            if let Some(left) = open.left.take() {
                since = since.max(left);
                let intent = Arc::clone(&open.intent);
                flights.push(Flight { intents: self, intent, ended: false });
            }
        }
        (flights, since)
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
