//! How many calls may wait, and what happens to the one that finds no place.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, IdleSet};
use crate::quota::Moment;

/// What happens to a call that finds the queue full, unless it is
/// [urgent](super::Priority::URGENT): an urgent call is never refused for that. It takes the place of a
/// lesser one; where there is none, or callers wait for their places, it waits beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OverflowPolicy {
    /// It is refused at once.
    #[default]
    Refuse,
    /// Its caller waits for a place, until its deadline.
    Block,
    /// It takes the place of the call of the lowest priority, if that is lower than its own; of
    /// several the one that came last. Otherwise it is refused.
    Shed,
}

/// The places of one queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueCapacity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    released: Condvar,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    idle_set: IdleSet,
}

impl QueueCapacity {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), released: Condvar::new(), limit: capacity }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    pub(crate) fn in_use(&self) -> usize {
        self.0.state.lock().in_use
    }

    /// A place, if one is left.
    pub(crate) fn try_acquire(&self) -> Option<QueueSlot> {
        let mut state = self.0.state.lock();
        if state.in_use >= self.0.limit {
            return None;
        }
        state.in_use += 1;
        Some(QueueSlot(Arc::clone(&self.0)))
    }

    /// A place, though none may be left.
    pub(crate) fn acquire_over_limit(&self) -> QueueSlot {
        self.0.state.lock().in_use += 1;
        QueueSlot(Arc::clone(&self.0))
    }

    /// Waits for a place, until `until` if that is a moment, or until `gone` says that there will be
    /// none.
    pub(crate) fn acquire(
        &self,
        clock: &Clock,
        until: Option<Moment>,
        gone: impl Fn() -> bool,
    ) -> Option<QueueSlot> {
        let mut mine = None;
        let mut state = self.0.state.lock();
        let slot = loop {
            if gone() {
                // The ring that a freed place gave is passed on: it may have been for another.
                self.0.released.notify_one();
                break None;
            }
            if state.in_use < self.0.limit {
                state.in_use += 1;
                break Some(QueueSlot(Arc::clone(&self.0)));
            }
            if until.is_some_and(|until| clock.now() >= until) {
                break None;
            }
            state.idle_set.mark_idle(&mut mine, clock, until);
            match until {
                Some(until) => {
                    let _ = self.0.released.wait_for(&mut state, clock.max_wait(until));
                }
                None => self.0.released.wait(&mut state),
            }
        };
        state.idle_set.remove(mine);
        slot
    }

    /// Wakes those who wait for a place, to look again whether there will ever be one.
    pub(crate) fn wake_waiters(&self) {
        // Through the lock, so that who looked just before sleeps already.
        let _ = self.0.state.lock().idle_set.mark_all_active();
        self.0.released.notify_all();
    }
}

/// A place in the queue. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct QueueSlot(Arc<Inner>);

impl Drop for QueueSlot {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_use -= 1;
        // Who is counted as awake has to be woken.
        let all = state.idle_set.mark_all_active();
        drop(state);
        if all {
            self.0.released.notify_all();
        } else {
            self.0.released.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_were_set_up() {
        let capacity = QueueCapacity::new(2);
        let first = capacity.try_acquire().unwrap();
        let _second = capacity.try_acquire().unwrap();
        assert!(capacity.try_acquire().is_none());
        drop(first);
        assert_eq!(capacity.in_use(), 1);
        assert!(capacity.try_acquire().is_some());
    }
    #[test]
    fn who_waits_gets_a_place_that_is_free_and_no_other() {
        let capacity = QueueCapacity::new(2);
        let clock = Clock::from(crate::clock::ManualClock::new());
        let wait = || capacity.acquire(&clock, Some(clock.now()), || false);
        let first = wait().unwrap();
        let _second = wait().unwrap();
        assert!(wait().is_none());
        assert_eq!(capacity.in_use(), 2);
        let third = capacity.acquire_over_limit();
        assert_eq!(capacity.in_use(), 3);
        drop(first);
        assert!(wait().is_none());
        drop(third);
        assert!(wait().is_some());
        assert!(capacity.acquire(&clock, None, || true).is_none());
    }
}
