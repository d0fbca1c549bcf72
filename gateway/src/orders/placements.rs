//! Which placements no client was told about, so that a client's own repetition is not a second order.
//!
//! A client that got no answer, or was told that the outcome is unknown, may send the same order again. It is then the
//! same placement: the client gets its outcome, and nothing is sent. The rule is narrow, because two equal orders may
//! both be meant:
//!
//! - The fields, the path and the client are the same. A client with tags of its own therefore repeats an order only with
//!   the same tag.
//! - The first one is under way, has an unknown outcome, or was placed, **and no client was told so**. Its client hung
//!   up, or was told that the outcome is unknown, or this process was killed before.
//! - It is at most [`REMEMBERED`] ago.
//! - A client that waits for the answer to an equal placement does not wait any more within [`NOTICE`]: a connection that
//!   a client closes and the next one that it opens may be noticed in either order.
//! - One repetition takes one placement over.
//!
//! With a header `Idempotency-Key` the client itself says what is the same: the answer is then the same however often,
//! told or not. Another order under the same key is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::{Clock, quota::Moment};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::form::Fingerprint;
use super::guarded::OrderReply;
use super::seen::{SeenIds, UsedTags};
use super::told::{Left, ToldFile};
use crate::call::HangUp;

/// For how long a placement that no client was told about is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// For how long an equal placement of a client that waits holds up the next one.
pub(crate) const NOTICE: Duration = Duration::from_millis(100);

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
    /// The client that waits for its answer.
    client: Option<HangUp>,
    /// Counts the requests that it was in the hands of.
    holder: u64,
    /// The fingerprint of its form, if its client gave it a key. Its answer is then the same for every repetition.
    keyed_form: Option<Fingerprint>,
    /// The tag under which it was sent, if it is found by that.
    tag: Option<String>,
    since: Moment,
}

impl Entry {
    /// Returns whether a client waits for its answer. A hang-up counts from the moment at which the door notices it.
    fn has_client(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_gone())
    }

    /// Gives it into the hands of a request.
    fn hold(&mut self, client: HangUp) -> u64 {
        self.client = Some(client);
        self.holder += 1;
        self.holder
    }
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
    ids: SeenIds,
    tags: UsedTags,
}

/// What a placement is.
pub(crate) enum Begun {
    /// A new one, to be sent.
    New(Placement),
    /// The repetition of an earlier one, which is not sent.
    Repeated(Placement),
    /// Its client gave another order the same key.
    OtherOrder,
    /// A client waits for the answer to an equal one. If that client left a moment ago, this is a repetition.
    Twin,
}

/// One placement in the hands of its client's request.
///
/// Dropped before [`told`](Self::told), its outcome is one that no client was told.
pub(crate) struct Placement {
    owner: Arc<Placements>,
    key: PlacementKey,
    holder: u64,
    outcome: watch::Receiver<Outcome>,
    is_told: bool,
}

/// A placement that the previous process left without an outcome.
pub(crate) struct LeftOpen {
    pub(crate) sender: PlacementSender,
    pub(crate) tag: String,
    /// When it began, in seconds of the wall clock.
    pub(crate) since: i64,
}

/// Reports that the answer has reached the connection of the client.
pub(crate) struct Told {
    placement: Placement,
    /// While the answer is written its client counts as there. If the connection ends first, this is dropped.
    _here: watch::Sender<()>,
}

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
        for (tag, orders) in file.tags() {
            state.tags.add(tag, orders);
        }
        for left in file.left() {
            let is_shared = left.tag.as_deref().is_some_and(|tag| state.tags.is_shared(tag));
            let outcome = match &left.order_id {
                Some(id) => Outcome::Placed(Arc::new(OrderReply::placed(id))),
                // No search can find it.
                None if is_shared => Outcome::Unknown,
                // Until its search has ended. A repetition waits for that.
                None => Outcome::UnderWay,
            };
            if let Some(id) = &left.order_id {
                state.ids.claim(id);
            }
            state.last = state.last.max(left.number);
            let entry = Entry {
                number: left.number,
                outcome: watch::Sender::new(outcome),
                client: None,
                holder: 0,
                keyed_form: left.keyed_form,
                tag: left.tag.clone().filter(|_| !is_shared),
                since: now,
            };
            state.entries.entry(left.fingerprint).or_default().push_back(entry);
        }
    }

    /// Returns the placements that the previous process left without an outcome. They are searched for.
    pub(crate) fn left_open(self: &Arc<Self>) -> Vec<LeftOpen> {
        let state = self.state.lock();
        let open = |left: &Left| {
            let tag = left.tag.clone().filter(|tag| !state.tags.is_shared(tag))?;
            let key = PlacementKey { fingerprint: left.fingerprint, number: left.number };
            let sender = || PlacementSender::new(self, key);
            let is_open = left.order_id.is_none();
            is_open.then(|| LeftOpen { sender: sender(), tag, since: left.since })
        };
        self.file.iter().flat_map(ToldFile::left).filter_map(open).collect()
    }

    /// An order that was not found before is in the market after all, or is in the order book as rejected.
    pub(crate) fn turned_up(&self, tag: &str, id: Option<&str>) {
        let mut state = self.state.lock();
        if state.tags.is_shared(tag) {
            return;
        }
        let is_it = |entry: &&mut Entry| {
            entry.tag.as_deref() == Some(tag) && matches!(*entry.outcome.borrow(), Outcome::Unknown)
        };
        for entries in state.entries.values_mut() {
            for entry in entries.iter_mut().filter(is_it) {
                if let Some(file) = &self.file {
                    id.map_or_else(
                        || file.told(entry.number),
                        |id| file.answered(entry.number, id),
                    );
                }
                entry.outcome.send_replace(id.map_or(Outcome::NotPlaced, |id| {
                    Outcome::Placed(Arc::new(OrderReply::placed(id)))
                }));
            }
            entries.retain(|entry| !matches!(*entry.outcome.borrow(), Outcome::NotPlaced));
        }
    }

    /// Begins a placement of a client, or takes over an earlier one that this repeats. `keyed_form` is the fingerprint of
    /// its form, if its client gave it a key. `may_be_twin`: an equal one of a client that waits does not matter any more.
    pub(crate) fn begin(
        self: &Arc<Self>,
        fingerprint: Fingerprint,
        keyed_form: Option<Fingerprint>,
        client: &HangUp,
        may_be_twin: bool,
    ) -> Begun {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.entries.retain(|_, entries| {
            entries.retain(|entry| entry.has_client() || now.since(entry.since) < REMEMBERED);
            !entries.is_empty()
        });
        state.last += 1;
        let number = state.last;
        let entries = state.entries.entry(fingerprint).or_default();
        let handle = |entry: &mut Entry| Placement {
            owner: Arc::clone(self),
            key: PlacementKey { fingerprint, number: entry.number },
            holder: entry.hold(client.clone()),
            outcome: entry.outcome.subscribe(),
            is_told: false,
        };
        let is_repeated = |entry: &&mut Entry| keyed_form.is_some() || !entry.has_client();
        if let Some(entry) = entries.iter_mut().find(is_repeated) {
            return match entry.keyed_form == keyed_form {
                true => Begun::Repeated(handle(entry)),
                false => Begun::OtherOrder,
            };
        }
        if !entries.is_empty() && !may_be_twin {
            return Begun::Twin;
        }
        let outcome = watch::Sender::new(Outcome::UnderWay);
        let (client, tag) = (None, None);
        let mut entry = Entry { number, outcome, client, holder: 0, keyed_form, tag, since: now };
        let placement = handle(&mut entry);
        entries.push_back(entry);
        drop(state);
        if let Some(file) = &self.file {
            file.begun(number, fingerprint, keyed_form);
        }
        Begun::New(placement)
    }

    /// Returns whether an id is new. An answer with one that was seen before belongs to another order.
    pub(crate) fn claim_id(&self, id: &str) -> bool {
        self.state.lock().ids.claim(id)
    }

    /// Returns whether a tag is new. An order is found by its tag only if no other order has it.
    pub(crate) fn claim_tag(&self, tag: &str) -> bool {
        self.state.lock().tags.claim(tag)
    }

    /// Returns whether several orders were sent under a tag.
    pub(crate) fn is_shared(&self, tag: &str) -> bool {
        self.state.lock().tags.is_shared(tag)
    }

    /// Frees a tag whose order was not sent.
    pub(crate) fn free_tag(&self, tag: &str) {
        let is_free = self.state.lock().tags.free(tag);
        if let Some(file) = self.file.as_ref().filter(|_| is_free) {
            file.freed(tag);
        }
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
        PlacementSender::new(&self.owner, self.key)
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
        let (here, client) = HangUp::new();
        self.change(|entry| {
            // One that has left cannot be told any more.
            entry.client = entry.has_client().then_some(client);
            false
        });
        Told { placement: self, _here: here }
    }
}

impl Placement {
    /// Changes the entry, unless another request has it in its hands by now. Removes it if `change` returns `true`.
    fn change(&self, change: impl FnOnce(&mut Entry) -> bool) {
        self.owner.with_entry(self.key, |entry| entry.holder == self.holder && change(entry));
    }
}

impl Told {
    /// The answer has been handed to the connection.
    pub(crate) fn report(mut self) {
        let placement = &mut self.placement;
        placement.is_told = true;
        let mut is_over = false;
        placement.change(|entry| {
            entry.client = None;
            // One with a key is remembered for its time.
            is_over = entry.keyed_form.is_none();
            is_over
        });
        if let Some(file) = placement.owner.file.as_ref().filter(|_| is_over) {
            file.told(placement.key.number);
        }
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        if !self.is_told {
            let now = self.owner.clock.now();
            self.change(|entry| {
                (entry.client, entry.since) = (None, now);
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
    is_tagged: AtomicBool,
    is_over: AtomicBool,
}

impl PlacementSender {
    fn new(owner: &Arc<Placements>, key: PlacementKey) -> Self {
        let (is_tagged, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { owner: Arc::clone(owner), key, is_tagged, is_over }
    }

    /// The placement is about to be sent under this tag. Call this before the journal knows the tag too.
    pub(crate) fn tagged(&self, tag: &str) {
        if self.is_tagged.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_shared = self.owner.is_shared(tag);
        self.owner.with_entry(self.key, |entry| {
            entry.tag = Some(tag.to_owned()).filter(|_| !is_shared);
            false
        });
        if let Some(file) = &self.owner.file {
            file.tagged(self.key.number, tag);
        }
    }

    /// The broker named this order.
    pub(crate) fn answered(&self, id: &str) {
        if let Some(file) = &self.owner.file {
            file.answered(self.key.number, id);
        }
    }

    /// Returns whether several orders were sent under a tag.
    pub(crate) fn is_shared(&self, tag: &str) -> bool {
        self.owner.is_shared(tag)
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
            file.told(self.key.number);
        }
    }

    /// Sets the outcome to an order that is in the market.
    pub(crate) fn placed(&self, id: &str, reply: OrderReply) {
        self.owner.claim_id(id);
        self.answered(id);
        self.finish(Outcome::Placed(Arc::new(reply)));
    }
}

impl Drop for PlacementSender {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Relaxed) {
            self.finish(Outcome::Unknown);
        }
    }
}
