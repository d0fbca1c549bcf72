//! Which placements no client was told about, so that a client's own repetition is not a second order.
//!
//! A client that got no answer, or was told that the outcome is unknown, may send the same order again. It is then the
//! same placement: the client gets its outcome, and nothing is sent. The rule is narrow, because two equal orders may
//! both be meant:
//!
//! - The fields, the path and the client are the same. A client with tags of its own therefore repeats an order only with
//!   the same tag.
//! - The first one has an unknown outcome or was placed, **and no client was told so**. Its client hung up, or was told
//!   that the outcome is unknown, or this process was killed before.
//! - It is at most [`REMEMBERED`] ago.
//! - One repetition takes one placement over.
//!
//! With a header `Idempotency-Key` the client itself says what is the same: the answer is then the same however often,
//! told or not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::{Clock, quota::Moment};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::form::Fingerprint;
use super::guarded::OrderReply;
use super::told::ToldFile;

/// For how long a placement that no client was told about is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// How many ids of orders are known, so that no answer names one twice. A day has at most 5000 orders.
const KNOWN_IDS: usize = 20_000;

/// What became of a placement.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It is under way.
    UnderWay,
    /// It is in the market: what its client gets.
    Placed(Arc<OrderReply>),
    /// Nothing says so far what became of it.
    Unknown,
    /// It is surely not in the market.
    NotPlaced,
}

struct Entry {
    number: u64,
    /// What its client was not told yet.
    outcome: watch::Sender<Outcome>,
    /// Whether a client waits for its answer.
    has_client: bool,
    /// Whether its answer is the same for every repetition.
    has_key: bool,
    /// The tag under which it was sent.
    tag: Option<String>,
    since: Moment,
}

/// The placements of an account that may still be repeated.
pub(crate) struct Placements {
    clock: Clock,
    state: Mutex<State>,
    file: Option<ToldFile>,
}

#[derive(Default)]
struct State {
    last: u64,
    entries: HashMap<Fingerprint, VecDeque<Entry>>,
    known_ids: VecDeque<String>,
    used_tags: HashSet<String>,
}

/// What a placement is.
pub(crate) enum Begun {
    /// A new one, to be sent.
    New(Placement),
    /// The repetition of an earlier one, which is not sent.
    Repeated(Placement),
}

/// One placement in the hands of its client's request.
///
/// Dropped before [`told`](Self::told), its outcome is one that no client was told.
pub(crate) struct Placement {
    owner: Arc<Placements>,
    key: PlacementKey,
    outcome: watch::Receiver<Outcome>,
    is_told: bool,
}

/// Reports that the answer has reached the connection of the client.
pub(crate) struct Told(Placement);

impl Placements {
    pub(crate) fn new(clock: Clock, file: Option<ToldFile>) -> Arc<Self> {
        let placements = Self { clock, state: Mutex::default(), file };
        let placements = Arc::new(placements);
        placements.restore();
        placements
    }

    /// Takes over what the previous process left: placements that no client was told about.
    fn restore(&self) {
        let Some(file) = &self.file else { return };
        let now = self.clock.now();
        let mut state = self.state.lock();
        for left in file.left() {
            let outcome = match &left.order_id {
                Some(id) => Outcome::Placed(Arc::new(OrderReply::placed(id))),
                None => Outcome::Unknown,
            };
            state.last += 1;
            let entry = Entry {
                number: state.last,
                outcome: watch::Sender::new(outcome),
                has_client: false,
                has_key: left.has_key,
                tag: left.tag.clone(),
                since: now,
            };
            state.entries.entry(left.fingerprint).or_default().push_back(entry);
        }
    }

    /// Returns the fingerprints and tags of the placements that the previous process left without an outcome.
    pub(crate) fn left_open(&self) -> Vec<(Fingerprint, Option<String>)> {
        let left = self.file.iter().flat_map(ToldFile::left);
        left.filter(|left| left.order_id.is_none())
            .map(|left| (left.fingerprint, left.tag.clone()))
            .collect()
    }

    /// Sets the outcome of a placement of the previous process.
    pub(crate) fn resolve_left(&self, fingerprint: Fingerprint, outcome: Outcome) {
        let mut state = self.state.lock();
        let Some(entries) = state.entries.get_mut(&fingerprint) else { return };
        let open = |entry: &&mut Entry| matches!(*entry.outcome.borrow(), Outcome::Unknown);
        if let Some(entry) = entries.iter_mut().find(open) {
            entry.outcome.send_replace(outcome.clone());
        }
        if matches!(outcome, Outcome::NotPlaced) {
            entries.retain(|entry| !matches!(*entry.outcome.borrow(), Outcome::NotPlaced));
        }
    }

    /// Begins a placement, or takes over an earlier one that this repeats.
    pub(crate) fn begin(self: &Arc<Self>, fingerprint: Fingerprint, has_key: bool) -> Begun {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.entries.retain(|_, entries| {
            entries.retain(|entry| entry.has_client || now.since(entry.since) < REMEMBERED);
            !entries.is_empty()
        });
        state.last += 1;
        let next = state.last;
        let entries = state.entries.entry(fingerprint).or_default();
        let handle = |number, outcome: &watch::Sender<Outcome>| Placement {
            owner: Arc::clone(self),
            key: PlacementKey { fingerprint, number },
            outcome: outcome.subscribe(),
            is_told: false,
        };
        if let Some(entry) = entries.iter_mut().find(|entry| has_key || !entry.has_client) {
            entry.has_client = true;
            return Begun::Repeated(handle(entry.number, &entry.outcome));
        }
        let outcome = watch::Sender::new(Outcome::UnderWay);
        let placement = handle(next, &outcome);
        let (number, has_client, tag) = (next, true, None);
        entries.push_back(Entry { number, outcome, has_client, has_key, tag, since: now });
        drop(state);
        if let Some(file) = &self.file {
            file.begun(fingerprint, has_key);
        }
        Begun::New(placement)
    }

    /// Returns whether an id is new. An answer with one that was seen before belongs to another order.
    pub(crate) fn claim_id(&self, id: &str) -> bool {
        let mut state = self.state.lock();
        if state.known_ids.iter().any(|known| known == id) {
            return false;
        }
        state.known_ids.push_back(id.to_owned());
        if state.known_ids.len() > KNOWN_IDS {
            state.known_ids.pop_front();
        }
        true
    }

    /// Returns whether a tag is new. An order is found by its tag only if no other order has it.
    pub(crate) fn claim_tag(&self, tag: &str) -> bool {
        let mut state = self.state.lock();
        if state.used_tags.len() >= KNOWN_IDS {
            // A day has far fewer. What is forgotten is found by its time, as tags of earlier processes are.
            state.used_tags.clear();
        }
        state.used_tags.insert(tag.to_owned())
    }

    /// Changes the entry of a placement, if it is there, and removes it if `change` returns `true`.
    fn with_entry(&self, key: PlacementKey, change: impl FnOnce(&mut Entry) -> bool) {
        let mut state = self.state.lock();
        let Some(entries) = state.entries.get_mut(&key.fingerprint) else { return };
        let Some(at) = entries.iter().position(|entry| entry.number == key.number) else { return };
        if entries.get_mut(at).is_some_and(change) {
            entries.remove(at);
        }
        if entries.is_empty() {
            state.entries.remove(&key.fingerprint);
        }
    }
}

/// Which placement of the table a handle is for.
#[derive(Debug, Clone, Copy)]
struct PlacementKey {
    fingerprint: Fingerprint,
    number: u64,
}

impl Placement {
    /// Returns the tag under which it was sent, if it was.
    pub(crate) fn tag(&self) -> Option<String> {
        let mut tag = None;
        self.owner.with_entry(self.key, |entry| {
            tag.clone_from(&entry.tag);
            false
        });
        tag
    }

    /// Returns a handle for the thread that sends the placement.
    pub(crate) fn sender(&self) -> PlacementSender {
        PlacementSender {
            owner: Arc::clone(&self.owner),
            key: self.key,
            is_over: AtomicBool::new(false),
        }
    }

    /// Waits until it is no longer under way.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let over = |outcome: &Outcome| !matches!(outcome, Outcome::UnderWay);
        // If its entry is gone, the last outcome stays: only an outcome removes it.
        let _ = self.outcome.wait_for(over).await;
        self.outcome.borrow().clone()
    }

    /// Returns what reports that the client has the answer.
    pub(crate) fn into_told(self) -> Told {
        Told(self)
    }
}

impl Told {
    /// The answer has been handed to the connection.
    pub(crate) fn report(mut self) {
        let Placement { owner, key, is_told, .. } = &mut self.0;
        *is_told = true;
        owner.with_entry(*key, |entry| {
            entry.has_client = false;
            // One with a key is remembered for its time.
            !entry.has_key
        });
        if let Some(file) = &owner.file {
            file.told(key.fingerprint);
        }
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        if !self.is_told {
            let now = self.owner.clock.now();
            self.owner.with_entry(self.key, |entry| {
                entry.has_client = false;
                entry.since = now;
                matches!(*entry.outcome.borrow(), Outcome::NotPlaced)
            });
        }
    }
}

/// One placement in the hands of the thread that sends it.
///
/// Dropped without an outcome, for example because the thread panicked, the outcome is unknown.
pub(crate) struct PlacementSender {
    owner: Arc<Placements>,
    key: PlacementKey,
    is_over: AtomicBool,
}

impl PlacementSender {
    /// The placement is about to be sent under this tag.
    pub(crate) fn tagged(&self, tag: &str) {
        self.owner.with_entry(self.key, |entry| {
            entry.tag = Some(tag.to_owned());
            false
        });
        if let Some(file) = &self.owner.file {
            file.tagged(self.key.fingerprint, tag);
        }
    }

    /// The broker named this order.
    pub(crate) fn answered(&self, id: &str) {
        if let Some(file) = &self.owner.file {
            file.answered(self.key.fingerprint, id);
        }
    }

    /// Leaves the outcome as it is.
    pub(crate) fn leave(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Sets the outcome. What is surely not in the market may be sent again, so its entry goes.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.leave();
        let is_not_placed = matches!(outcome, Outcome::NotPlaced);
        self.owner.with_entry(self.key, |entry| {
            entry.outcome.send_replace(outcome);
            is_not_placed
        });
        if let Some(file) = self.owner.file.as_ref().filter(|_| is_not_placed) {
            file.told(self.key.fingerprint);
        }
    }
}

impl Drop for PlacementSender {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Relaxed) {
            self.finish(Outcome::Unknown);
        }
    }
}
