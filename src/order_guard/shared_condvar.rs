//! A condition variable that threads block on and tasks await.

use parking_lot::{Mutex, MutexGuard};

use crate::clock::{Clock, TimedCondvar};
use crate::quota::Moment;

/// Used with one mutex, under which its own lock is taken.
#[derive(Debug, Default)]
pub(super) struct SharedCondvar {
    threads: TimedCondvar,
    #[cfg(feature = "async")]
    tasks: Mutex<tasks::WaitingTasks>,
}

impl SharedCondvar {
    /// Blocks the thread while `condition` holds, but no longer than until `deadline`; see [`TimedCondvar::wait_while`].
    /// Returns whether the condition ended.
    pub(super) fn wait_while<T>(
        &self,
        state: &Mutex<T>,
        clock: &Clock,
        deadline: Moment,
        condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        self.threads.wait_while(&mut state.lock(), clock, Some(deadline), condition)
    }

    /// Blocks the thread like [`wait_while`](Self::wait_while), but counts as active; see
    /// [`TimedCondvar::wait_while_active`].
    pub(super) fn wait_while_active<T>(
        &self,
        state: &Mutex<T>,
        clock: &Clock,
        deadline: Moment,
        condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        self.threads.wait_while_active(&mut state.lock(), clock, Some(deadline), condition)
    }

    /// Releases the mutex, and wakes all that wait.
    pub(super) fn notify_all<T>(&self, guard: MutexGuard<'_, T>) {
        #[cfg(feature = "async")]
        let woken = self.tasks.lock().mark_woken();
        self.threads.notify_all(guard);
        #[cfg(feature = "async")]
        crate::panic::wake_all(woken);
    }
}

#[cfg(feature = "async")]
mod tasks {
    use std::collections::BTreeMap;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::{Poll, Waker};

    use parking_lot::Mutex;

    use super::SharedCondvar;
    use crate::clock::{ActiveGuard, Clock, Timer};
    use crate::quota::Moment;

    /// The tasks that wait for a condvar.
    #[derive(Debug, Default)]
    pub(super) struct WaitingTasks {
        tasks: BTreeMap<u64, WaitingTask>,
        /// The number of the next wait.
        next: u64,
    }

    #[derive(Debug)]
    enum WaitingTask {
        Waits(Waker, Clock),
        /// It was woken, and not polled since: an auto-advancing clock does not advance meanwhile.
        Woken {
            _active: ActiveGuard,
        },
    }

    impl WaitingTasks {
        /// Marks all tasks woken. Returns their wakers, to be called without a lock.
        pub(super) fn mark_woken(&mut self) -> Vec<Waker> {
            let mut woken = Vec::new();
            for task in self.tasks.values_mut() {
                let WaitingTask::Waits(_, clock) = task else { continue };
                let active = WaitingTask::Woken { _active: clock.active_guard() };
                if let WaitingTask::Waits(waker, _) = std::mem::replace(task, active) {
                    woken.push(waker);
                }
            }
            woken
        }
    }

    impl SharedCondvar {
        /// Suspends the task while `condition` holds, but no longer than until `deadline`. Returns whether the condition
        /// ended.
        pub(in crate::order_guard) async fn suspend_while<T>(
            &self,
            state: &Mutex<T>,
            timer: &Timer,
            deadline: Moment,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> bool {
            let wait = TaskWait::new(self);
            let mut sleep = pin!(timer.sleep_until(deadline));
            poll_fn(|context| {
                let mut waits =
                    Some(WaitingTask::Waits(context.waker().clone(), timer.clock().clone()));
                let (is_over, _known) = {
                    let mut state = state.lock();
                    match condition(&mut state) {
                        // Under the lock of the state, so that no notification is missed.
                        true => (false, wait.replace(waits.take())),
                        false => (true, None),
                    }
                };
                match is_over {
                    true => Poll::Ready(true),
                    false => sleep.as_mut().poll(context).map(|()| false),
                }
            })
            .await
        }
    }

    /// One wait of one task, until it is dropped.
    struct TaskWait<'a> {
        condvar: &'a SharedCondvar,
        number: u64,
    }

    impl<'a> TaskWait<'a> {
        fn new(condvar: &'a SharedCondvar) -> Self {
            let mut tasks = condvar.tasks.lock();
            tasks.next += 1;
            Self { condvar, number: tasks.next }
        }

        /// Sets what the task is doing. Returns what it did before, to be dropped without a lock.
        fn replace(&self, task: Option<WaitingTask>) -> Option<WaitingTask> {
            let mut tasks = self.condvar.tasks.lock();
            match task {
                Some(task) => tasks.tasks.insert(self.number, task),
                None => tasks.tasks.remove(&self.number),
            }
        }
    }

    impl Drop for TaskWait<'_> {
        fn drop(&mut self) {
            let _known = self.replace(None);
        }
    }
}
