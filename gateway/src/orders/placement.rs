//! Handles of one placement: `Placement` for its client's request, `PlacementSender` for the thread that sends it, and
//! `Delivery` for its answer on the way to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::form::Fingerprint;
use super::placements::{Entry, EntryClient, Outcome, Placements, REMEMBERED, RESET_REMEMBERED};
use super::reply::OrderReply;

/// One placement in the hands of its client's request.
///
/// Dropped before its client was [told](Delivery::report), its outcome is one that no client was told.
pub(crate) struct Placement {
    pub(super) owner: Arc<Placements>,
    pub(super) key: PlacementKey,
    /// The number of this request among those that had it in their hands.
    pub(super) holder: u64,
    pub(super) outcome: watch::Receiver<Outcome>,
    pub(super) is_told: bool,
    /// For how long it is remembered if no client was told.
    pub(super) remembered: Duration,
}

/// Tracks the delivery of an answer. Dropped before [`report`](Self::report), the client counts as not told.
pub(crate) struct Delivery(Placement);

/// Which placement of the table a handle is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlacementKey {
    pub(super) fingerprint: Fingerprint,
    pub(super) number: u64,
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
        let over = |outcome: &Outcome| !matches!(outcome, Outcome::InFlight);
        // If its entry is gone, the last outcome stays: only an outcome removes it.
        let _ = self.outcome.wait_for(over).await;
        self.outcome.borrow().clone()
    }

    /// The answer is here. Returns what tracks its delivery.
    pub(crate) fn into_delivery(self) -> Delivery {
        self.change(|entry| {
            // One that has left cannot be told any more.
            entry.client = match entry.client.take() {
                Some(EntryClient::Waits(client)) if !client.is_gone() => {
                    Some(EntryClient::Answered(client.into_socket()))
                }
                _ => None,
            };
            false
        });
        Delivery(self)
    }

    /// Changes the entry, unless another request has it in its hands by now. Removes it if `change` returns `true`.
    fn change(&self, change: impl FnOnce(&mut Entry) -> bool) {
        self.owner.with_entry(self.key, |entry| entry.holder == self.holder && change(entry));
    }
}

impl Delivery {
    /// The first bytes of the answer are written next. Returns `None` if its client has left.
    pub(crate) fn writing(self) -> Option<Self> {
        let mut is_there = false;
        self.0.change(|entry| {
            is_there = entry.has_client();
            entry.client = match entry.client.take() {
                Some(EntryClient::Answered(socket)) if is_there => {
                    Some(EntryClient::Written(socket))
                }
                other => other.filter(|_| is_there),
            };
            false
        });
        is_there.then_some(self)
    }

    /// The connection was reset after the answer was written. Most likely the client has not read it.
    pub(crate) fn reset(mut self) {
        self.0.remembered = RESET_REMEMBERED;
    }

    /// The client has read the answer.
    pub(crate) fn report(mut self) {
        let placement = &mut self.0;
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
                entry.client = None;
                // Of one with a key its client says what is the same.
                let is_keyed = entry.keyed_form.is_some();
                entry.until = now + if is_keyed { REMEMBERED } else { self.remembered };
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
    pub(super) fn new(owner: &Arc<Placements>, key: PlacementKey) -> Self {
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
