//! Tasks that a test polls by hand, so that each step is the test's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::lanes::until;

/// Remembers that its task was woken.
#[derive(Default)]
pub struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A task that the test polls by hand.
pub struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
}

impl<T> Task<T> {
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    /// Begins a future, and polls it once.
    pub fn begin(future: impl Future<Output = T> + 'static) -> (Self, Poll<T>) {
        let mut task = Self::new(future);
        let poll = task.poll();
        (task, poll)
    }

    /// Begins a future that has to wait.
    pub fn waiting(future: impl Future<Output = T> + 'static) -> Self {
        let (task, poll) = Self::begin(future);
        assert!(poll.is_pending());
        task
    }

    pub fn poll(&mut self) -> Poll<T> {
        self.woken.0.store(false, Ordering::SeqCst);
        self.poll_with(&Waker::from(Arc::clone(&self.woken)))
    }

    pub fn poll_with(&mut self, waker: &Waker) -> Poll<T> {
        self.future.as_mut().poll(&mut Context::from_waker(waker))
    }

    pub fn is_woken(&self) -> bool {
        self.woken.is_set()
    }

    /// Polls it each time it is woken, as an executor does, until it is ready. A task may be woken for nothing: its turn may
    /// have ended meanwhile.
    pub fn run(&mut self) -> T {
        loop {
            if let Poll::Ready(answer) = self.poll_once_woken() {
                return answer;
            }
        }
    }

    /// Polls it now, and then as [`run`](Self::run) does.
    pub fn run_now(&mut self) -> T {
        match self.poll() {
            Poll::Ready(answer) => answer,
            Poll::Pending => self.run(),
        }
    }

    /// Waits until it is woken, and polls it.
    pub fn poll_once_woken(&mut self) -> Poll<T> {
        until(|| self.is_woken());
        self.poll()
    }
}
