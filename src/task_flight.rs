//! Work that several tasks wait for, and that one of them does.
//!
//! The task that leads polls the work itself, so no thread is needed. If its future is dropped before the work is done, another
//! task that waits leads, and does the work from its beginning.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::quota::Moment;

/// Work for which tasks wait. `T` is what it results in.
pub(crate) struct TaskFlight<T>(Mutex<State<T>>);

struct State<T> {
    is_led: bool,
    result: Option<T>,
    /// The number of the next member.
    next: u64,
    /// The tasks that wait, by their numbers.
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Default for TaskFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(State { is_led: false, result: None, next: 0, waiting: BTreeMap::new() }))
    }
}

impl<T: Clone> TaskFlight<T> {
    /// Makes the calling task a member, until that is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> Member<T> {
        let mut state = self.0.lock();
        state.next += 1;
        Member { flight: Arc::clone(self), number: state.next, leads: false }
    }
}

/// A task that waits, or leads.
pub(crate) struct Member<T: Clone> {
    flight: Arc<TaskFlight<T>>,
    number: u64,
    leads: bool,
}

impl<T: Clone> Member<T> {
    /// Waits for the result. `None`: this task leads, and does the work. It does not begin to lead after `deadline`: its wait is
    /// about to end then, and so would the work.
    pub(crate) async fn wait(&mut self, clock: &Clock, deadline: Option<Moment>) -> Option<T> {
        let may_lead = || deadline.is_none_or(|deadline| clock.now() < deadline);
        poll_fn(|context| self.poll(context, &may_lead)).await
    }

    fn poll(&mut self, context: &Context<'_>, may_lead: &dyn Fn() -> bool) -> Poll<Option<T>> {
        let mut state = self.flight.0.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(Some(result.clone()));
        }
        if !state.is_led && may_lead() {
            state.is_led = true;
            self.leads = true;
            // Dropped without the lock.
            let known = state.waiting.remove(&self.number);
            drop(state);
            drop(known);
            return Poll::Ready(None);
        }
        let known = match state.waiting.get(&self.number) {
            Some(known) if known.will_wake(context.waker()) => None,
            _ => state.waiting.insert(self.number, context.waker().clone()),
        };
        drop(state);
        drop(known);
        Poll::Pending
    }

    /// Gives the result to all that wait.
    pub(crate) fn complete(&mut self, result: T) {
        let waiting = {
            let mut state = self.flight.0.lock();
            state.result = Some(result);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T: Clone> Drop for Member<T> {
    fn drop(&mut self) {
        let (own, next) = {
            let mut state = self.flight.0.lock();
            let own = state.waiting.remove(&self.number);
            if self.leads {
                state.is_led = false;
            }
            // This one may have been woken to lead, and drops before it was polled.
            let needs_leader = !state.is_led && state.result.is_none();
            let next = needs_leader.then(|| state.waiting.pop_first()).flatten();
            (own, next)
        };
        drop(own);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(member: &mut Member<u8>, wakes: &Arc<Wakes>) -> Poll<Option<u8>> {
        let waker = Waker::from(Arc::clone(wakes));
        let clock = Clock::system();
        pin!(member.wait(&clock, None)).as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(wakes: &Arc<Wakes>) -> usize {
        wakes.0.swap(0, Ordering::SeqCst)
    }

    #[test]
    fn the_result_of_the_leader_is_that_of_all() {
        let (flight, wakes) = (Arc::new(TaskFlight::default()), Arc::default());
        let [mut first, mut second, mut third] = [(); 3].map(|()| flight.join());
        assert_eq!(poll(&mut first, &wakes), Poll::Ready(None));
        assert_eq!(poll(&mut second, &wakes), Poll::Pending);
        assert_eq!(poll(&mut third, &wakes), Poll::Pending);
        first.complete(7);
        drop(first);
        assert_eq!(woken(&wakes), 2);
        assert_eq!(poll(&mut second, &wakes), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut third, &wakes), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut flight.join(), &wakes), Poll::Ready(Some(7)));
    }

    #[test]
    fn another_task_leads_when_the_leader_or_the_one_that_was_woken_to_lead_is_dropped() {
        let (flight, wakes) = (Arc::new(TaskFlight::default()), Arc::default());
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| flight.join());
        assert_eq!(poll(&mut first, &wakes), Poll::Ready(None));
        for waiting in [&mut second, &mut third, &mut fourth] {
            assert_eq!(poll(waiting, &wakes), Poll::Pending);
        }
        drop(first);
        assert_eq!(woken(&wakes), 1);
        // It is woken, and never polled.
        drop(second);
        assert_eq!(woken(&wakes), 1);
        assert_eq!(poll(&mut third, &wakes), Poll::Ready(None));
        drop(fourth);
        assert_eq!(woken(&wakes), 0);
        third.complete(1);
        assert_eq!(woken(&wakes), 0);
        assert_eq!(poll(&mut flight.join(), &wakes), Poll::Ready(Some(1)));
    }

    #[test]
    fn a_task_does_not_begin_to_lead_after_its_deadline() {
        let (flight, clock) = (Arc::new(TaskFlight::<u8>::default()), Clock::system());
        let (mut late, wakes) = (flight.join(), Arc::default());
        let context = &mut Context::from_waker(Waker::noop());
        assert!(pin!(late.wait(&clock, Some(clock.now()))).poll(context).is_pending());
        assert_eq!(poll(&mut flight.join(), &wakes), Poll::Ready(None));
    }
}
