//! How many calls may wait, and what happens to the one that finds no place.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, Resters};
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
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: Mutex<Taken>,
    freed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Taken {
    places: usize,
    resters: Resters,
}

impl Places {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared { taken: Mutex::default(), freed: Condvar::new(), capacity }))
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity
    }

    pub(crate) fn taken(&self) -> usize {
        self.0.taken.lock().places
    }

    /// A place, if one is left.
    pub(crate) fn take(&self) -> Option<Place> {
        let mut taken = self.0.taken.lock();
        if taken.places >= self.0.capacity {
            return None;
        }
        taken.places += 1;
        Some(Place(Arc::clone(&self.0)))
    }

    /// A place, though none may be left.
    pub(crate) fn overdraw(&self) -> Place {
        self.0.taken.lock().places += 1;
        Place(Arc::clone(&self.0))
    }

    /// Waits for a place, until `until` if that is a moment, or until `gone` says that there will be
    /// none.
    pub(crate) fn wait(
        &self,
        clock: &Clock,
        until: Option<Moment>,
        gone: impl Fn() -> bool,
    ) -> Option<Place> {
        let mut mine = None;
        let mut taken = self.0.taken.lock();
        let place = loop {
            if gone() {
                // The ring that a freed place gave is passed on: it may have been for another.
                self.0.freed.notify_one();
                break None;
            }
            if taken.places < self.0.capacity {
                taken.places += 1;
                break Some(Place(Arc::clone(&self.0)));
            }
            if until.is_some_and(|until| clock.now() >= until) {
                break None;
            }
            taken.resters.rest(&mut mine, clock, until);
            match until {
                Some(until) => {
                    let _ = self.0.freed.wait_for(&mut taken, clock.longest_sleep(until));
                }
                None => self.0.freed.wait(&mut taken),
            }
        };
        taken.resters.leave(mine);
        place
    }

    /// Wakes those who wait for a place, to look again whether there will ever be one.
    pub(crate) fn wake(&self) {
        // Through the lock, so that who looked just before sleeps already.
        let _ = self.0.taken.lock().resters.rise();
        self.0.freed.notify_all();
    }
}

/// A place in the queue. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock();
        taken.places -= 1;
        // Who is counted as awake has to be woken.
        let all = taken.resters.rise();
        drop(taken);
        if all {
            self.0.freed.notify_all();
        } else {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_were_set_up() {
        let places = Places::new(2);
        let first = places.take().unwrap();
        let _second = places.take().unwrap();
        assert!(places.take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
    }
    #[test]
    fn who_waits_gets_a_place_that_is_free_and_no_other() {
        let places = Places::new(2);
        let clock = Clock::from(crate::clock::ManualClock::new());
        let wait = || places.wait(&clock, Some(clock.now()), || false);
        let first = wait().unwrap();
        let _second = wait().unwrap();
        assert!(wait().is_none());
        assert_eq!(places.taken(), 2);
        let third = places.overdraw();
        assert_eq!(places.taken(), 3);
        drop(first);
        assert!(wait().is_none());
        drop(third);
        assert!(wait().is_some());
        assert!(places.wait(&clock, None, || true).is_none());
    }
}
