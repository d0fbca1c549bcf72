//! Polls a future again at once if it has woken itself.
//!
//! The parts of a request wake each other within one poll of its task: the connection that reads an answer wakes the
//! future that waits for it, and the end of a call wakes its ticket. The runtime would queue the task again for each of
//! these, and wake another thread to take it. That costs more than the request does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// How often a future is polled before other tasks have their turn.
const MAX_POLLS: usize = 8;

/// A future whose wake-ups of itself do not pass through the runtime.
pub(crate) struct Repolled<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    wakes: Arc<Wakes>,
}

/// The wake-ups of a future.
struct Wakes {
    is_polled: AtomicBool,
    is_woken: AtomicBool,
    task: Mutex<Waker>,
}

impl<T> Repolled<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let task = Mutex::new(Waker::noop().clone());
        let (is_polled, is_woken) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { future: Box::pin(future), wakes: Arc::new(Wakes { is_polled, is_woken, task }) }
    }
}

impl<T> Future for Repolled<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let wakes = Arc::clone(&self.wakes);
        {
            let mut task = wakes.task.lock();
            if !task.will_wake(context.waker()) {
                task.clone_from(context.waker());
            }
        }
        let waker = Waker::from(Arc::clone(&wakes));
        let mut own = Context::from_waker(&waker);
        for _ in 0..MAX_POLLS {
            // A swap: what the waker wrote before it is then seen by the poll.
            wakes.is_woken.swap(false, Ordering::SeqCst);
            wakes.is_polled.store(true, Ordering::SeqCst);
            let poll = self.future.as_mut().poll(&mut own);
            wakes.is_polled.store(false, Ordering::SeqCst);
            // In this order. A wake-up of another thread writes first and reads then, so one of the two sees the other.
            if poll.is_ready() || !wakes.is_woken.load(Ordering::SeqCst) {
                return poll;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_polled.load(Ordering::SeqCst) {
            let task = self.task.lock().clone();
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls a future once that wakes itself `times` times. Returns whether it was ready, and how often its task was woken.
    fn poll_once(times: usize) -> (bool, usize) {
        let mut left = times;
        let future = poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut repolled = Repolled::new(future);
        let poll = Pin::new(&mut repolled).poll(&mut Context::from_waker(&waker));
        (poll.is_ready(), count.0.load(Ordering::SeqCst))
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_without_its_task() {
        assert_eq!(poll_once(0), (true, 0));
        assert_eq!(poll_once(3), (true, 0));
        assert_eq!(poll_once(MAX_POLLS - 1), (true, 0));
    }

    #[test]
    fn one_that_wakes_itself_again_and_again_leaves_other_tasks_their_turn() {
        assert_eq!(poll_once(MAX_POLLS), (false, 1));
        assert_eq!(poll_once(usize::MAX), (false, 1));
    }

    #[tokio::test]
    async fn no_wake_up_of_another_thread_is_lost() {
        for _ in 0..2_000 {
            let (is_over, waker) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
            let other = {
                let (is_over, waker) = (Arc::clone(&is_over), Arc::clone(&waker));
                thread::spawn(move || {
                    let waker = loop {
                        let waker: Option<Waker> = waker.lock().take();
                        match waker {
                            Some(waker) => break waker,
                            None => thread::yield_now(),
                        }
                    };
                    is_over.store(true, Ordering::SeqCst);
                    waker.wake();
                })
            };
            let future = poll_fn(move |context| {
                let is_ready = is_over.load(Ordering::SeqCst);
                *waker.lock() = Some(context.waker().clone());
                // Between the look and the end of the poll.
                thread::yield_now();
                if is_ready { Poll::Ready(()) } else { Poll::Pending }
            });
            let repolled = Repolled::new(future);
            tokio::time::timeout(Duration::from_secs(60), repolled).await.expect("a lost wake-up");
            other.join().unwrap();
        }
    }
}
