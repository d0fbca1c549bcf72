//! What each client did, for the page: requests, and how many wait, were refused, or were answered from memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// How many clients are told apart. Without configured clients their names are what they say.
const MAX_CLIENTS: usize = 200;

/// The name of all further clients.
const OTHER: &str = "other";

/// The counts of one client.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) from_cache: AtomicU64,
}

/// The counts of all clients.
#[derive(Default)]
pub(crate) struct ClientCounts(RwLock<HashMap<Arc<str>, Arc<Counts>>>);

impl ClientCounts {
    /// Returns the counts of a client.
    pub(crate) fn of(&self, name: &str) -> Arc<Counts> {
        if let Some(counts) = self.0.read().get(name) {
            return Arc::clone(counts);
        }
        let mut clients = self.0.write();
        let name = if clients.len() < MAX_CLIENTS { name } else { OTHER };
        Arc::clone(clients.entry(name.into()).or_default())
    }

    /// Returns the name under which a client is counted.
    pub(crate) fn label(&self, name: &Arc<str>) -> Arc<str> {
        let is_known = self.0.read().contains_key(name);
        if is_known { Arc::clone(name) } else { OTHER.into() }
    }

    /// Returns all counts, by name.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Arc<Counts>)> {
        let clients = self.0.read();
        let mut all: Vec<_> =
            clients.iter().map(|(name, counts)| (Arc::clone(name), Arc::clone(counts))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// Counts a request as waiting while it lives.
pub(crate) struct Waiting(Arc<Counts>);

impl Waiting {
    pub(crate) fn new(counts: &Arc<Counts>) -> Self {
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
