//! Single flight for tasks: one task does the work, the others wait for its result.
//!
//! The task that leads polls the work itself, so no thread is needed. If it leaves before the work is done, the flight is
//! abandoned: all that wait are woken, and the first of them begins another one. Where the work has to outlive the task that
//! began it, see `cache/batch/task_fetcher.rs`. A thread may lead too: it calls `complete`, and is never taken for stuck.
//!
//! # A leader that is not polled
//!
//! A future may be alive and not polled: it is in a buffer, or its task awaits something else first, perhaps this very work.
//! The others would hang. So a flight is abandoned too if its leader was woken and not polled for [`STUCK_AFTER`].

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{ActiveGuard, Clock, Timer};
use crate::panic::wake_all;
use crate::quota::Moment;

/// How long a leader that was woken may take until it is polled: longer than a busy runtime needs. It is shorter than the
/// longest offer of a turn (`lane/core/offer.rs`): to abandon a flight costs one call, and not to do so costs answers.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Work for which tasks wait. `T` is what it results in.
pub(crate) struct TaskFlight<T>(Mutex<State<T>>);

struct State<T> {
    result: Option<T>,
    is_abandoned: bool,
    /// When the leader was woken, if it was not polled since. An auto-advancing clock does not advance meanwhile.
    woken: Option<(Moment, ActiveGuard)>,
    /// The number of the next follower.
    next: u64,
    /// The tasks that wait, by their numbers.
    waiting: BTreeMap<u64, Waker>,
}

impl<T: Clone> TaskFlight<T> {
    /// Begins a flight, which the calling task leads.
    pub(crate) fn begin() -> Leader<T> {
        let state = State {
            result: None,
            is_abandoned: false,
            woken: None,
            next: 0,
            waiting: BTreeMap::new(),
        };
        Leader(Arc::new(Self(Mutex::new(state))))
    }

    /// Returns whether there will be no result.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lock().is_abandoned
    }

    /// Lets the calling task wait.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower<T> {
        let mut state = self.0.lock();
        state.next += 1;
        Follower { flight: Arc::clone(self), number: state.next }
    }
}

/// The task that does the work. Dropped without a result, it abandons the flight.
pub(crate) struct Leader<T: Clone>(Arc<TaskFlight<T>>);

impl<T: Clone> Leader<T> {
    pub(crate) fn flight(&self) -> &Arc<TaskFlight<T>> {
        &self.0
    }

    /// Polls the work.
    pub(crate) async fn lead<W>(&self, clock: &Clock, work: impl Future<Output = W>) -> W
    where
        T: Send + 'static,
    {
        let mut work = pin!(work);
        poll_fn(|context| {
            // Kept while the work is polled.
            let _woken = self.0.0.lock().woken.take();
            let waker = Waker::from(Arc::new(LeaderWaker {
                flight: Arc::clone(&self.0),
                clock: clock.clone(),
                waker: context.waker().clone(),
            }));
            work.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }

    /// Gives the result to all that wait.
    pub(crate) fn complete(&self, result: T) {
        let (waiting, _woken) = {
            let mut state = self.0.0.lock();
            state.result = Some(result);
            (std::mem::take(&mut state.waiting), state.woken.take())
        };
        wake_all(waiting.into_values());
    }
}

impl<T: Clone> Drop for Leader<T> {
    fn drop(&mut self) {
        let (waiting, _woken) = {
            let mut state = self.0.0.lock();
            state.is_abandoned |= state.result.is_none();
            (std::mem::take(&mut state.waiting), state.woken.take())
        };
        wake_all(waiting.into_values());
    }
}

/// Notes that the leader is woken, and wakes the tasks that wait, which see it.
struct LeaderWaker<T> {
    flight: Arc<TaskFlight<T>>,
    clock: Clock,
    waker: Waker,
}

impl<T: Send> Wake for LeaderWaker<T> {
    fn wake(self: Arc<Self>) {
        let (active, now) = (self.clock.active_guard(), self.clock.now());
        let (waiting, _unused) = {
            let mut state = self.flight.0.lock();
            let is_noted = state.woken.is_some() || state.result.is_some() || state.is_abandoned;
            match is_noted {
                true => (BTreeMap::new(), Some(active)),
                false => {
                    state.woken = Some((now, active));
                    // Each registers again when it is polled.
                    (std::mem::take(&mut state.waiting), None)
                }
            }
        };
        // A waker is code of the user, and may panic: the others are woken nevertheless.
        wake_all([self.waker.clone()]);
        wake_all(waiting.into_values());
    }
}

/// A task that waits.
pub(crate) struct Follower<T: Clone> {
    flight: Arc<TaskFlight<T>>,
    number: u64,
}

enum Waited<T> {
    Result(T),
    Abandoned,
    /// Look again at this moment, if there is one and the leader is not polled before.
    Until(Option<Moment>),
}

impl<T: Clone> Follower<T> {
    /// Waits for the result. `None`: the flight is abandoned.
    pub(crate) async fn wait(&self, timer: &Timer) -> Option<T> {
        let mut sleep = None;
        poll_fn(|context| {
            loop {
                // The sleep of an earlier poll is over.
                sleep = None;
                match self.poll(context, timer.clock()) {
                    Waited::Result(result) => return Poll::Ready(Some(result)),
                    Waited::Abandoned => return Poll::Ready(None),
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

    fn poll(&self, context: &Context<'_>, clock: &Clock) -> Waited<T> {
        let (now, waker) = (clock.now(), context.waker().clone());
        let mut state = self.flight.0.lock();
        if let Some(result) = &state.result {
            return Waited::Result(result.clone());
        }
        let stuck_at = state.woken.as_ref().map(|(woken, _)| *woken + STUCK_AFTER);
        state.is_abandoned |= stuck_at.is_some_and(|at| at <= now);
        if state.is_abandoned {
            let (waiting, woken) = (std::mem::take(&mut state.waiting), state.woken.take());
            drop(state);
            drop(woken);
            wake_all(waiting.into_values());
            return Waited::Abandoned;
        }
        let replaced = state.waiting.insert(self.number, waker);
        drop(state);
        // It may be user code.
        drop(replaced);
        Waited::Until(stuck_at)
    }
}

impl<T: Clone> Drop for Follower<T> {
    fn drop(&mut self) {
        let _own = self.flight.0.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::ManualClock;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }

    fn poll(follower: &Follower<u8>, wakes: &Arc<Wakes>) -> Poll<Option<u8>> {
        let (waker, timer) = (Waker::from(Arc::clone(wakes)), Timer::new(Clock::system()));
        pin!(follower.wait(&timer)).as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Work that does not end, and notes what wakes it.
    fn hangs(waker: &Mutex<Option<Waker>>) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let _ = waker.lock().replace(context.waker().clone());
            Poll::Pending
        })
    }

    #[test]
    fn the_result_of_the_leader_is_that_of_all() {
        let (leader, wakes) = (TaskFlight::begin(), Arc::default());
        let [first, second, left] = [(); 3].map(|()| leader.flight().follow());
        for follower in [&first, &second, &left] {
            assert_eq!(poll(follower, &wakes), Poll::Pending);
        }
        drop(left);
        leader.complete(7);
        assert_eq!(wakes.take(), 2);
        let flight = Arc::clone(leader.flight());
        drop(leader);
        assert!(!flight.is_abandoned());
        for follower in [first, second, flight.follow()] {
            assert_eq!(poll(&follower, &wakes), Poll::Ready(Some(7)));
        }
    }

    #[test]
    fn all_are_woken_when_the_leader_is_dropped() {
        let (leader, wakes) = (TaskFlight::begin(), Arc::default());
        let [first, second] = [(); 2].map(|()| leader.flight().follow());
        for follower in [&first, &second] {
            assert_eq!(poll(follower, &wakes), Poll::Pending);
        }
        drop(leader);
        assert_eq!(wakes.take(), 2);
        for follower in [first, second] {
            assert_eq!(poll(&follower, &wakes), Poll::Ready(None));
        }
    }

    #[test]
    fn a_flight_is_abandoned_if_its_leader_is_woken_and_not_polled() {
        let (leader, clock) = (TaskFlight::<u8>::begin(), ManualClock::new());
        let timer = Timer::new(clock.clone().into());
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        let context = &mut Context::from_waker(&waker);
        let follower = leader.flight().follow();
        let inner = Mutex::new(None);
        let wake_work = || inner.lock().clone().map(|waker: Waker| waker.wake());
        let mut work = Box::pin(leader.lead(timer.clock(), hangs(&inner)));
        assert!(work.as_mut().poll(context).is_pending());
        let mut waits = Box::pin(follower.wait(&timer));
        assert!(waits.as_mut().poll(context).is_pending());
        // However long the work takes, its leader is not stuck. Nor is it if it is polled in time.
        for _ in 0..3 {
            clock.advance(100 * STUCK_AFTER);
            assert!(waits.as_mut().poll(context).is_pending());
            wake_work();
            assert_eq!(wakes.take(), 2);
            assert!(waits.as_mut().poll(context).is_pending());
            assert!(work.as_mut().poll(context).is_pending());
            assert!(waits.as_mut().poll(context).is_pending());
        }
        wake_work();
        clock.advance(STUCK_AFTER - Duration::from_millis(1));
        assert!(waits.as_mut().poll(context).is_pending());
        clock.advance(Duration::from_millis(1));
        assert_eq!(waits.as_mut().poll(context), Poll::Ready(None));
        assert!(leader.flight().is_abandoned());
    }

    /// A wait that has noted when the leader would be stuck lets the clock go on once the leader was polled.
    #[test]
    fn an_auto_advancing_clock_goes_on_when_the_leader_is_polled() {
        let (leader, clock) = (TaskFlight::<u8>::begin(), ManualClock::auto_advancing());
        let timer = Timer::new(clock.clone().into());
        let context = &mut Context::from_waker(Waker::noop());
        let follower = leader.flight().follow();
        let inner = Mutex::new(None);
        let mut work = Box::pin(leader.lead(timer.clock(), hangs(&inner)));
        assert!(work.as_mut().poll(context).is_pending());
        let mut waits = Box::pin(follower.wait(&timer));
        assert!(waits.as_mut().poll(context).is_pending());
        let waker = inner.lock().take();
        waker.into_iter().for_each(Waker::wake);
        assert!(waits.as_mut().poll(context).is_pending());
        assert!(work.as_mut().poll(context).is_pending());
        assert!(waits.as_mut().poll(context).is_pending());
        // Hangs otherwise.
        timer.clock().sleep(10 * STUCK_AFTER);
        assert!(waits.as_mut().poll(context).is_pending());
    }
}
