//! Which ids and tags orders had before, so that no order is taken for another one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// How many ids and how many tags are known. A day has at most 5000 orders.
const MAX_SEEN: usize = 20_000;

/// The ids of known orders. An answer that names one of them belongs to another placement.
#[derive(Default)]
pub(super) struct SeenIds {
    known: HashSet<Arc<str>>,
    oldest_first: VecDeque<Arc<str>>,
}

impl SeenIds {
    /// Adds an id. Returns whether it is new.
    pub(super) fn claim(&mut self, id: &str) -> bool {
        let id: Arc<str> = id.into();
        if !self.known.insert(Arc::clone(&id)) {
            return false;
        }
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > MAX_SEEN {
            self.oldest_first.pop_front().inspect(|oldest| {
                self.known.remove(oldest);
            });
        }
        true
    }
}

/// How many orders were sent under each tag. An order is found by its tag only if no other order has it.
#[derive(Default)]
pub(super) struct UsedTags {
    uses: HashMap<Arc<str>, u32>,
    oldest_first: VecDeque<Arc<str>>,
}

impl UsedTags {
    /// Counts an order under this tag. Returns whether it is the first one.
    pub(super) fn claim(&mut self, tag: &str) -> bool {
        self.add(tag, 1);
        self.uses.get(tag) == Some(&1)
    }

    /// Counts several orders under this tag.
    pub(super) fn add(&mut self, tag: &str, orders: u32) {
        if let Some(uses) = self.uses.get_mut(tag) {
            *uses = uses.saturating_add(orders);
            return;
        }
        let tag: Arc<str> = tag.into();
        self.uses.insert(Arc::clone(&tag), orders);
        self.oldest_first.push_back(tag);
        if self.oldest_first.len() > MAX_SEEN {
            self.oldest_first.pop_front().inspect(|oldest| {
                self.uses.remove(oldest);
            });
        }
    }

    /// Returns whether more than one order was sent under this tag.
    pub(super) fn is_shared(&self, tag: &str) -> bool {
        self.uses.get(tag).is_some_and(|uses| *uses > 1)
    }

    /// Frees a tag whose only order was not sent. Returns whether it is free.
    pub(super) fn free(&mut self, tag: &str) -> bool {
        if self.uses.get(tag) != Some(&1) {
            return false;
        }
        self.uses.remove(tag);
        // The last one, most likely.
        if let Some(at) = self.oldest_first.iter().rposition(|known| **known == *tag) {
            self.oldest_first.remove(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_one_order() {
        let mut ids = SeenIds::default();
        assert!(ids.claim("1") && ids.claim("2") && !ids.claim("1"));
        assert!((3..3 + MAX_SEEN).all(|id| ids.claim(&id.to_string())));
        assert!(ids.claim("1"), "the oldest is forgotten");
        assert_eq!(ids.known.len(), MAX_SEEN);
    }

    #[test]
    fn a_tag_is_free_again_only_if_its_one_order_was_not_sent() {
        let mut tags = UsedTags::default();
        assert!(tags.claim("a") && tags.free("a") && tags.claim("a"));
        assert!(!tags.is_shared("a"));
        assert!(!tags.claim("a"), "a second order has it");
        assert!(tags.is_shared("a") && !tags.free("a") && !tags.free("b"));
        assert!((0..MAX_SEEN).all(|tag| tags.claim(&tag.to_string())));
        assert!(tags.claim("a"), "the oldest is forgotten");
        assert_eq!(tags.uses.len(), MAX_SEEN);
    }
}
