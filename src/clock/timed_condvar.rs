//! A condition variable whose waits have deadlines on a [`Clock`].

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Clock;
use super::idle::IdleSet;
use crate::quota::Moment;

/// A condition variable for threads that wait for something other than time, until a deadline of a [`Clock`].
///
/// It is used with one mutex, as any condition variable. A waiting thread that participates in a manual clock counts
/// as idle. A notification marks it active under that mutex, before it is scheduled, so that an auto-advancing clock
/// does not advance in between. Its own lock is taken under that mutex, and before the clock's.
#[derive(Debug, Default)]
pub(crate) struct TimedCondvar {
    condvar: Condvar,
    waiting: Mutex<IdleSet>,
}

impl TimedCondvar {
    /// Blocks while `condition` holds, but no longer than until `deadline`. Returns whether the condition ended.
    pub(crate) fn wait_while<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        clock: &Clock,
        deadline: Option<Moment>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        self.wait_as(true, guard, clock, deadline, condition)
    }

    /// Blocks like [`wait_while`](Self::wait_while), but counts as active. For a wait on a thread that does not
    /// participate in a manual clock: an auto-advancing clock must not advance to the deadline while that thread works.
    pub(crate) fn wait_while_active<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        clock: &Clock,
        deadline: Option<Moment>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        self.wait_as(false, guard, clock, deadline, condition)
    }

    fn wait_as<T>(
        &self,
        is_idle: bool,
        guard: &mut MutexGuard<'_, T>,
        clock: &Clock,
        deadline: Option<Moment>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        let mut idle_guard = None;
        let has_ended = loop {
            if !condition(guard) {
                break true;
            }
            if deadline.is_some_and(|deadline| clock.now() >= deadline) {
                break false;
            }
            if is_idle {
                self.waiting.lock().mark_idle(&mut idle_guard, clock, deadline);
            }
            match deadline {
                Some(deadline) => {
                    let _ = self.condvar.wait_for(guard, clock.max_wait(deadline));
                }
                None => self.condvar.wait(guard),
            }
        };
        if idle_guard.is_some() {
            self.waiting.lock().remove(idle_guard);
        }
        has_ended
    }

    /// Blocks until a notification. May return early.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, clock: &Clock) {
        self.wait_while(guard, clock, None, once());
    }

    /// Releases the mutex, and wakes one waiting thread.
    ///
    /// Which thread that will be is not known. So all threads that participate in a manual clock are marked active,
    /// and if there are any, all threads wake.
    pub(crate) fn notify_one<T>(&self, guard: MutexGuard<'_, T>) {
        let has_participants = self.waiting.lock().mark_all_active();
        drop(guard);
        if has_participants {
            self.condvar.notify_all();
        } else {
            self.condvar.notify_one();
        }
    }

    /// Releases the mutex, and wakes all waiting threads.
    pub(crate) fn notify_all<T>(&self, guard: MutexGuard<'_, T>) {
        let _ = self.waiting.lock().mark_all_active();
        drop(guard);
        self.condvar.notify_all();
    }
}

/// Returns a condition that holds once: a wait for it ends with the first wakeup.
fn once<T>() -> impl FnMut(&mut T) -> bool {
    let mut has_waited = false;
    move |_| !std::mem::replace(&mut has_waited, true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_wait_ends_with_its_condition_or_at_its_deadline() {
        let manual = ManualClock::new();
        let clock = Clock::from(manual.clone());
        let (condvar, mutex) = (TimedCondvar::default(), Mutex::new(0));
        let deadline = Some(clock.now() + Duration::from_secs(5));
        std::thread::scope(|scope| {
            let wait_for = |count| {
                let (condvar, mutex, clock) = (&condvar, &mutex, &clock);
                move || condvar.wait_while(&mut mutex.lock(), clock, deadline, |now| *now < count)
            };
            let (first, second) = (scope.spawn(wait_for(1)), scope.spawn(wait_for(2)));
            let mut guard = mutex.lock();
            *guard += 1;
            condvar.notify_all(guard);
            assert!(first.join().unwrap());
            assert!(!second.is_finished());
            manual.advance(Duration::from_secs(5));
            assert!(!second.join().unwrap());
        });
    }

    #[test]
    fn a_notified_participant_holds_up_an_auto_advancing_clock() {
        let clock = Clock::from(ManualClock::auto_advancing());
        let (condvar, mutex) = (TimedCondvar::default(), Mutex::new(false));
        let (began, deadline) = (clock.now(), clock.now() + Duration::from_secs(5));
        let notifier = clock.active_guard();
        let waiter = clock.active_guard();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                waiter.bind_to_thread();
                let is_not_set = |is_set: &mut bool| !*is_set;
                let ended =
                    condvar.wait_while(&mut mutex.lock(), &clock, Some(deadline), is_not_set);
                (ended, clock.now())
            });
            let mut guard = mutex.lock();
            while condvar.waiting.lock().is_empty() {
                MutexGuard::unlocked(&mut guard, std::thread::yield_now);
            }
            *guard = true;
            condvar.notify_one(guard);
            // With the waiter still idle, the clock would advance to its deadline.
            drop(notifier);
            assert_eq!(waiting.join().unwrap(), (true, began));
        });
    }
}
