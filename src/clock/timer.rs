//! A timer for tasks.
//!
//! Its thread sleeps until the next moment for which a task waits, and wakes the task. The thread starts with the first task
//! that waits, and ends once none does.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use parking_lot::Mutex;

use super::{ActiveGuard, Clock, TimedCondvar};
use crate::panic::wake_all;
use crate::quota::Moment;

/// A timer of one clock. Cheap to clone, and clones share the thread.
#[derive(Clone)]
pub(crate) struct Timer(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    changed: TimedCondvar,
}

#[derive(Default)]
struct State {
    /// The tasks that wait, the next one first.
    waiting: BTreeMap<(Moment, u64), Waker>,
    /// Those that were woken and not polled since: an auto-advancing clock does not advance meanwhile.
    due: HashMap<u64, ActiveGuard>,
    /// The number of the next wait.
    next: u64,
    is_running: bool,
}

impl Timer {
    pub(crate) fn new(clock: Clock) -> Self {
        let changed = TimedCondvar::default();
        Self(Arc::new(Shared { clock, state: Mutex::default(), changed }))
    }

    #[cfg(any(feature = "async", feature = "responses"))]
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns a future that is ready at `at`.
    pub(crate) fn sleep_until(&self, at: Moment) -> Sleep {
        let number = {
            let mut state = self.0.state.lock();
            state.next += 1;
            state.next
        };
        Sleep { timer: self.clone(), at, number, is_waiting: false }
    }

    /// Polls `future` until `deadline` at the longest. Returns `None` if it is not ready by then.
    pub(crate) async fn within<T>(
        &self,
        deadline: Option<Moment>,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let Some(deadline) = deadline else { return Some(future.await) };
        let (mut future, mut sleep) = (pin!(future), pin!(self.sleep_until(deadline)));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        // Until the thread participates itself.
        let starting = shared.clock.active_guard();
        let run = move || {
            let _participation = shared.clock.participate();
            drop(starting);
            shared.run();
        };
        thread::Builder::new().name("lanekeeper-timer".to_owned()).spawn(run).map(drop)
    }
}

impl Shared {
    /// Wakes the tasks at their moments, until none waits.
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            let now = self.clock.now();
            let mut due = Vec::new();
            while let Some(first) = state.waiting.first_entry().filter(|it| it.key().0 <= now) {
                let ((_, number), waker) = first.remove_entry();
                state.due.insert(number, self.clock.active_guard());
                due.push(waker);
            }
            if !due.is_empty() {
                drop(state);
                wake_all(due);
                state = self.state.lock();
                continue;
            }
            let Some(next) = state.waiting.first_key_value().map(|((at, _), _)| *at) else {
                state.is_running = false;
                return;
            };
            let is_next = |state: &mut State| {
                state.waiting.first_key_value().is_some_and(|((at, _), _)| *at == next)
            };
            self.changed.wait_while(&mut state, &self.clock, Some(next), is_next);
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("waiting", &self.0.state.lock().waiting.len()).finish()
    }
}

/// A future that is ready at a moment.
pub(crate) struct Sleep {
    timer: Timer,
    at: Moment,
    number: u64,
    is_waiting: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Shared { clock, state, changed } = &*self.timer.0;
        if clock.now() >= self.at {
            self.leave();
            return Poll::Ready(());
        }
        // Cloned before the lock is taken: it may be user code.
        let waker = context.waker().clone();
        let mut guard = state.lock();
        // Woken early, by something else that it waits for too.
        let known = guard.due.remove(&self.number);
        let replaced = guard.waiting.insert((self.at, self.number), waker);
        let needs_thread = !std::mem::replace(&mut guard.is_running, true);
        let is_first =
            guard.waiting.first_key_value().is_some_and(|((_, it), _)| *it == self.number);
        if is_first && !needs_thread && replaced.is_none() {
            changed.notify_all(guard);
        } else {
            drop(guard);
        }
        drop((known, replaced));
        if needs_thread && self.timer.start_thread().is_err() {
            // Without a thread the tasks poll until their moments: slow, and right.
            let waiting = {
                let mut guard = state.lock();
                guard.is_running = false;
                std::mem::take(&mut guard.waiting)
            };
            wake_all(waiting.into_values());
        }
        self.is_waiting = true;
        Poll::Pending
    }
}

impl Sleep {
    fn leave(&mut self) {
        if !std::mem::take(&mut self.is_waiting) {
            return;
        }
        let Shared { clock, state, changed } = &*self.timer.0;
        let mut guard = state.lock();
        let removed =
            (guard.waiting.remove(&(self.at, self.number)), guard.due.remove(&self.number));
        // An auto-advancing clock would advance to this moment.
        match clock.is_system() {
            true => drop(guard),
            false => changed.notify_all(guard),
        }
        drop(removed);
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    struct Sends(mpsc::Sender<u8>, u8);

    impl Wake for Sends {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(self.1);
        }
    }

    fn is_ready(sleep: &mut Sleep, waker: &Waker) -> bool {
        Pin::new(sleep).poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn tasks_are_woken_at_their_moments() {
        let clock = ManualClock::new();
        let timer = Timer::new(clock.clone().into());
        let (sender, woken) = mpsc::channel();
        let waker = |number| Waker::from(Arc::new(Sends(sender.clone(), number)));
        let now = clock.now();
        let mut sleeps = [3, 1, 2].map(|seconds| timer.sleep_until(now + seconds * SECOND));
        for (sleep, number) in sleeps.iter_mut().zip(1..) {
            assert!(!is_ready(sleep, &waker(number)));
        }
        let [mut first, mut second, third] = sleeps;
        clock.advance(SECOND);
        assert_eq!(woken.recv(), Ok(2));
        assert!(is_ready(&mut second, &waker(0)));
        // Dropped, it wakes no task.
        drop(third);
        clock.advance(2 * SECOND);
        assert_eq!(woken.recv(), Ok(1));
        assert!(is_ready(&mut first, &waker(0)));
        assert!(woken.try_recv().is_err());
        // The thread has ended or is about to, and another one starts.
        let mut again = timer.sleep_until(clock.now() + SECOND);
        assert!(!is_ready(&mut again, &waker(4)));
        clock.advance(SECOND);
        assert_eq!(woken.recv(), Ok(4));
    }

    #[test]
    fn an_auto_advancing_clock_waits_for_the_task_that_was_woken() {
        let clock = ManualClock::auto_advancing();
        let timer = Timer::new(clock.clone().into());
        let (sender, woken) = mpsc::channel();
        let waker = |number| Waker::from(Arc::new(Sends(sender.clone(), number)));
        let begun = clock.now();
        let mut first = timer.sleep_until(begun + SECOND);
        let mut second = timer.sleep_until(begun + 2 * SECOND);
        // Both wait before the clock may advance.
        let active = timer.0.clock.active_guard();
        assert!(!is_ready(&mut first, &waker(1)) && !is_ready(&mut second, &waker(2)));
        drop(active);
        assert_eq!(woken.recv(), Ok(1));
        assert_eq!(clock.now(), begun + SECOND);
        assert!(is_ready(&mut first, &waker(1)));
        assert_eq!(woken.recv(), Ok(2));
        assert_eq!(clock.now(), begun + 2 * SECOND);
    }
}
