//! Work that several tasks wait for, and that one of them does.
//!
//! The task that leads polls the work itself, so no thread is needed. If its future is dropped before the work is done, another
//! task that waits leads, and does the work from its beginning.
//!
//! # A leader that is not polled
//!
//! A future may be alive and not polled: it is in a buffer, or its task awaits something else first, perhaps this very work.
//! Those who wait would hang. So a leader that was woken and not polled for [`STUCK_AFTER`] loses the lead. It goes on if it is
//! polled again, and the first result counts.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{ActiveGuard, Clock, Timer};
use crate::quota::Moment;

/// How long a leader that was woken may take until it is polled: longer than any busy runtime needs.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Work for which tasks wait. `T` is what it results in.
pub(crate) struct TaskFlight<T>(Mutex<State<T>>);

struct State<T> {
    /// The number of the member that leads.
    leader: Option<u64>,
    /// When the leader was woken, if it was not polled since. An auto-advancing clock does not advance meanwhile.
    woken: Option<(Moment, ActiveGuard)>,
    result: Option<T>,
    /// The number of the next member.
    next: u64,
    /// The tasks that wait, by their numbers.
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Default for TaskFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            leader: None,
            woken: None,
            result: None,
            next: 0,
            waiting: BTreeMap::new(),
        }))
    }
}

impl<T: Clone> TaskFlight<T> {
    /// Makes the calling task a member, until that is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> Member<T> {
        let mut state = self.0.lock();
        state.next += 1;
        Member { flight: Arc::clone(self), number: state.next }
    }
}

/// A task that waits, or leads.
pub(crate) struct Member<T: Clone> {
    flight: Arc<TaskFlight<T>>,
    number: u64,
}

enum Waited<T> {
    Result(T),
    Leads,
    /// Look again then, if the leader is not polled before.
    Until(Option<Moment>),
}

impl<T: Clone> Member<T> {
    /// Waits for the result. `None`: this task leads, and does the work within [`lead`](Self::lead). It does not begin to lead
    /// after `deadline`: its wait is about to end then, and so would the work.
    pub(crate) async fn wait(&self, timer: &Timer, deadline: Option<Moment>) -> Option<T> {
        let mut sleep = None;
        poll_fn(|context| {
            loop {
                match self.poll(context, timer.clock(), deadline) {
                    Waited::Result(result) => return Poll::Ready(Some(result)),
                    Waited::Leads => return Poll::Ready(None),
                    Waited::Until(None) => return Poll::Pending,
                    Waited::Until(Some(at)) => {
                        let sleep = sleep.insert(Box::pin(timer.sleep_until(at)));
                        if sleep.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                    }
                }
            }
        })
        .await
    }

    fn poll(&self, context: &Context<'_>, clock: &Clock, deadline: Option<Moment>) -> Waited<T> {
        let now = clock.now();
        let mut state = self.flight.0.lock();
        if let Some(result) = &state.result {
            return Waited::Result(result.clone());
        }
        let stuck_at = state.woken.as_ref().map(|(woken, _)| *woken + STUCK_AFTER);
        let is_free = state.leader.is_none() || stuck_at.is_some_and(|at| at <= now);
        let dropped = if is_free && deadline.is_none_or(|deadline| now < deadline) {
            state.leader = Some(self.number);
            Err((state.waiting.remove(&self.number), state.woken.take()))
        } else {
            match state.waiting.get(&self.number) {
                Some(known) if known.will_wake(context.waker()) => Ok(None),
                _ => Ok(state.waiting.insert(self.number, context.waker().clone())),
            }
        };
        // What is dropped may be user code.
        drop(state);
        match dropped {
            Ok(_) => Waited::Until(stuck_at.filter(|at| now < *at)),
            Err(_) => Waited::Leads,
        }
    }

    /// Polls the work that this task leads.
    pub(crate) async fn lead<W>(&self, clock: &Clock, work: impl Future<Output = W>) -> W
    where
        T: Send + 'static,
    {
        let mut work = pin!(work);
        poll_fn(|context| {
            let _woken = {
                let mut state = self.flight.0.lock();
                (state.leader == Some(self.number)).then(|| state.woken.take()).flatten()
            };
            let waker = Waker::from(Arc::new(LeaderWaker {
                flight: Arc::clone(&self.flight),
                number: self.number,
                clock: clock.clone(),
                waker: context.waker().clone(),
            }));
            work.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }

    /// Gives the result to all that wait, unless there is one.
    pub(crate) fn complete(&self, result: T) {
        let (waiting, _unused) = {
            let mut state = self.flight.0.lock();
            let unused = match &state.result {
                Some(_) => Some(result),
                None => state.result.replace(result),
            };
            (std::mem::take(&mut state.waiting), (unused, state.woken.take()))
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T: Clone> Drop for Member<T> {
    fn drop(&mut self) {
        let (_own, next) = {
            let mut state = self.flight.0.lock();
            let own = state.waiting.remove(&self.number);
            let is_leader = state.leader == Some(self.number);
            let woken = is_leader.then(|| state.woken.take()).flatten();
            if is_leader {
                state.leader = None;
            }
            // This one may have been woken to lead, and drops before it was polled.
            let needs_leader = state.leader.is_none() && state.result.is_none();
            let next = needs_leader.then(|| state.waiting.pop_first()).flatten();
            ((own, woken), next)
        };
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

/// Notes that the leader is woken, and lets those who wait see it.
struct LeaderWaker<T> {
    flight: Arc<TaskFlight<T>>,
    number: u64,
    clock: Clock,
    waker: Waker,
}

impl<T: Send> Wake for LeaderWaker<T> {
    fn wake(self: Arc<Self>) {
        let active = self.clock.active_guard();
        let now = self.clock.now();
        let waiting: Vec<Waker> = {
            let mut state = self.flight.0.lock();
            if state.leader == Some(self.number) && state.woken.is_none() && state.result.is_none()
            {
                state.woken = Some((now, active));
                state.waiting.values().cloned().collect()
            } else {
                Vec::new()
            }
        };
        self.waker.wake_by_ref();
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::clock::ManualClock;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(member: &mut Member<u8>, wakes: &Arc<Wakes>) -> Poll<Option<u8>> {
        let (waker, timer) = (Waker::from(Arc::clone(wakes)), Timer::new(Clock::system()));
        pin!(member.wait(&timer, None)).as_mut().poll(&mut Context::from_waker(&waker))
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
        let (flight, timer) = (Arc::new(TaskFlight::<u8>::default()), Timer::new(Clock::system()));
        let (late, wakes) = (flight.join(), Arc::default());
        let context = &mut Context::from_waker(Waker::noop());
        let now = timer.clock().now();
        assert!(pin!(late.wait(&timer, Some(now))).poll(context).is_pending());
        assert_eq!(poll(&mut flight.join(), &wakes), Poll::Ready(None));
    }

    #[test]
    fn a_leader_that_is_woken_and_not_polled_loses_the_lead() {
        let (flight, clock) = (Arc::new(TaskFlight::<u8>::default()), ManualClock::new());
        let timer = Timer::new(clock.clone().into());
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        let context = &mut Context::from_waker(&waker);
        let (leader, follower) = (flight.join(), flight.join());
        assert_eq!(pin!(leader.wait(&timer, None)).poll(context), Poll::Ready(None));
        let inner = Mutex::new(None);
        let mut work = Box::pin(leader.lead(
            timer.clock(),
            poll_fn(|context| match inner.lock().replace(context.waker().clone()) {
                Some(_) => Poll::Ready(1),
                None => Poll::Pending,
            }),
        ));
        assert!(work.as_mut().poll(context).is_pending());
        let mut waits = Box::pin(follower.wait(&timer, None));
        assert!(waits.as_mut().poll(context).is_pending());
        // However long the work takes, its leader is not stuck.
        clock.advance(100 * STUCK_AFTER);
        assert!(waits.as_mut().poll(context).is_pending());
        assert_eq!(woken(&wakes), 0);
        let waker_of_work = inner.lock().clone().unwrap();
        waker_of_work.wake_by_ref();
        assert_eq!(woken(&wakes), 2);
        clock.advance(STUCK_AFTER - Duration::from_millis(1));
        assert!(waits.as_mut().poll(context).is_pending());
        clock.advance(Duration::from_millis(1));
        assert_eq!(waits.as_mut().poll(context), Poll::Ready(None));
        // The one before goes on if it is polled again, and the first result counts.
        assert_eq!(work.as_mut().poll(context), Poll::Ready(1));
        leader.complete(1);
        follower.complete(2);
        assert_eq!(poll(&mut flight.join(), &wakes), Poll::Ready(Some(1)));
    }
}
