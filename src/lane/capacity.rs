//! The capacity of a queue, and what happens to a call that finds it full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::{Clock, TimedCondvar};
use crate::quota::Moment;

/// What happens to a call that finds the queue full, unless it is [urgent](super::Priority::URGENT).
///
/// An urgent call is never refused because the queue is full. It takes the queue slot of a call of lower priority. If
/// there is none, or if callers block for their slots, it waits in addition to the calls that fill the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OverflowPolicy {
    /// Refuses the call at once.
    #[default]
    Refuse,
    /// Blocks the caller until a queue slot is free, or until the call's deadline. A call of
    /// [`Lanes::run`](crate::proxy::Lanes::run) is queued beyond the limit: to block the thread of a task could block the tasks
    /// whose calls fill the queue.
    Block,
    /// Sheds the queued call of the lowest priority, if that is lower than the call's own. Of several, sheds the one
    /// that came last. If there is none, refuses the call.
    Shed,
}

/// A counting semaphore for the queue slots of one lane. It also counts the calls beside it, which have no limit.
#[derive(Debug, Clone)]
pub(crate) struct QueueCapacity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_use: Mutex<usize>,
    /// The number of queued calls that do not count.
    uncounted: AtomicUsize,
    released: TimedCondvar,
    limit: usize,
}

impl QueueCapacity {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            in_use: Mutex::default(),
            uncounted: AtomicUsize::new(0),
            released: TimedCondvar::default(),
            limit: capacity,
        }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    pub(crate) fn in_use(&self) -> usize {
        *self.0.in_use.lock()
    }

    /// Returns the number of queued calls: the slots in use, and the calls that do not count.
    pub(crate) fn queued(&self) -> usize {
        self.in_use() + self.0.uncounted.load(Ordering::SeqCst)
    }

    /// Acquires a slot, if one is free.
    pub(crate) fn try_acquire(&self) -> Option<QueueSlot> {
        let mut in_use = self.0.in_use.lock();
        if *in_use >= self.0.limit {
            return None;
        }
        *in_use += 1;
        Some(self.slot())
    }

    /// Acquires a slot, beyond the limit if none is free.
    pub(crate) fn acquire_over_limit(&self) -> QueueSlot {
        *self.0.in_use.lock() += 1;
        self.slot()
    }

    /// Returns a slot that does not count.
    pub(crate) fn uncounted(&self) -> QueueSlot {
        self.0.uncounted.fetch_add(1, Ordering::SeqCst);
        QueueSlot { capacity: Arc::clone(&self.0), is_counted: false }
    }

    fn slot(&self) -> QueueSlot {
        QueueSlot { capacity: Arc::clone(&self.0), is_counted: true }
    }

    /// Blocks until a slot is free, and acquires it. Returns `None` once `deadline` passes, or once `is_closed` holds.
    pub(crate) fn acquire(
        &self,
        clock: &Clock,
        deadline: Option<Moment>,
        is_closed: impl Fn() -> bool,
    ) -> Option<QueueSlot> {
        let Inner { in_use, released, limit, .. } = &*self.0;
        let mut in_use = in_use.lock();
        let mut was_closed = false;
        let is_full = |in_use: &mut usize| {
            was_closed = is_closed();
            !was_closed && *in_use >= *limit
        };
        if !released.wait_while(&mut in_use, clock, deadline, is_full) {
            return None;
        }
        if was_closed {
            // Passes the notification of a released slot on: it may have been meant for another waiter.
            released.notify_one(in_use);
            return None;
        }
        *in_use += 1;
        Some(self.slot())
    }

    /// Wakes all callers that wait for a slot, so that they check again whether the lane is closed.
    pub(crate) fn wake_waiters(&self) {
        // With the lock: a caller that checked before the change sleeps by now.
        self.0.released.notify_all(self.0.in_use.lock());
    }
}

/// A queue slot. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct QueueSlot {
    capacity: Arc<Inner>,
    is_counted: bool,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        let Inner { in_use, uncounted, released, .. } = &*self.capacity;
        if !self.is_counted {
            uncounted.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let mut in_use = in_use.lock();
        *in_use -= 1;
        released.notify_one(in_use);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_slots_as_were_set_up() {
        let capacity = QueueCapacity::new(2);
        let first = capacity.try_acquire().unwrap();
        let _second = capacity.try_acquire().unwrap();
        assert!(capacity.try_acquire().is_none());
        drop(first);
        assert_eq!(capacity.in_use(), 1);
        assert!(capacity.try_acquire().is_some());
    }

    #[test]
    fn a_call_that_does_not_count_leaves_all_slots_to_others() {
        let capacity = QueueCapacity::new(1);
        let uncounted = [capacity.uncounted(), capacity.uncounted()];
        let slot = capacity.try_acquire().unwrap();
        assert_eq!((capacity.in_use(), capacity.queued()), (1, 3));
        drop(uncounted);
        assert_eq!((capacity.in_use(), capacity.queued()), (1, 1));
        drop(slot);
        assert_eq!((capacity.in_use(), capacity.queued()), (0, 0));
    }

    #[test]
    fn a_waiter_gets_a_slot_that_is_free_and_no_other() {
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
