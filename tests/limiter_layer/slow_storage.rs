//! A storage that waits for another machine: other tasks go on, and clients may leave.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};
use std::thread::{self, ThreadId};

use http::{Request, Response};
use lanekeeper::ManualClock;
use lanekeeper::limiter::MemoryStorage;
use lanekeeper::limiter::layer::{Check, OwnedRequest, RateLimitLayer};
use lanekeeper::limiter::storage::{Storage, StorageError, Take, Taken};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::{Layer, ServiceExt, service_fn};

use super::{TWO_A_MINUTE, block_on, by_user, limiter, of_user};

/// A storage whose `take` says that it has begun, and ends when the test lets it.
struct Slow {
    memory: MemoryStorage,
    /// The thread of the runtime. A `take` there would wait for ever, so it fails instead.
    runtime: ThreadId,
    begun: UnboundedSender<()>,
    may_end: Mutex<mpsc::Receiver<()>>,
}

/// The test's side of a [`Slow`].
struct Control {
    begun: UnboundedReceiver<()>,
    may_end: mpsc::Sender<()>,
}

fn slow() -> (Slow, Control) {
    let (begun, has_begun) = unbounded_channel();
    let (let_end, may_end) = mpsc::channel();
    let memory = MemoryStorage::with_clock(ManualClock::new());
    let runtime = thread::current().id();
    let slow = Slow { memory, runtime, begun, may_end: Mutex::new(may_end) };
    (slow, Control { begun: has_begun, may_end: let_end })
}

impl Storage for Slow {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        self.begun.send(()).unwrap();
        if thread::current().id() == self.runtime {
            return Err(StorageError::new("asked on the thread of the runtime"));
        }
        self.may_end.lock().unwrap().recv().unwrap();
        self.memory.take(take)
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        self.memory.forgive(take)
    }

    fn may_block(&self) -> bool {
        true
    }
}

#[test]
fn other_tasks_of_the_thread_go_on_meanwhile() {
    block_on(async {
        let (storage, mut control) = slow();
        let layer = RateLimitLayer::new(limiter(TWO_A_MINUTE, storage), by_user());
        let service = layer.layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let response = tokio::spawn(service.oneshot(of_user("a")));
        // This task runs while the storage waits, and nothing else would let it end.
        let other = tokio::spawn(async move {
            control.begun.recv().await.unwrap();
            control.may_end.send(()).unwrap();
        });
        let response = response.await.unwrap().unwrap();
        assert_eq!(response.headers()["ratelimit"], r#""users";r=1;t=30"#);
        other.await.unwrap();
    });
}

#[test]
fn request_that_no_limit_describes_does_not_wait_for_a_thread() {
    let (storage, control) = slow();
    let limiter = limiter(TWO_A_MINUTE, storage);
    let is_there = |check: Check| pin!(check).poll(&mut Context::from_waker(Waker::noop()));
    assert!(is_there(limiter.check_async(OwnedRequest::new("/"))).is_ready());
    // The storage would wait for the test.
    let limited = OwnedRequest::new("/").entry("user", "a");
    assert!(is_there(limiter.check_async(limited)).is_pending());
    drop(control);
}

#[test]
fn request_of_a_client_that_leaves_is_not_served_and_the_next_is() {
    block_on(async {
        let (storage, mut control) = slow();
        let served = Arc::new(AtomicUsize::new(0));
        let layer = RateLimitLayer::new(limiter(TWO_A_MINUTE, storage), by_user());
        let count = Arc::clone(&served);
        let service = layer.layer(service_fn(move |_: Request<()>| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        }));
        let leaves = tokio::spawn(service.clone().oneshot(of_user("a")));
        control.begun.recv().await.unwrap();
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        control.may_end.send(()).unwrap();

        let stays = tokio::spawn(service.oneshot(of_user("a")));
        control.begun.recv().await.unwrap();
        control.may_end.send(()).unwrap();
        // The storage was asked about the first one, so it counts.
        let response = stays.await.unwrap().unwrap();
        assert_eq!(response.headers()["ratelimit"], r#""users";r=0;t=60"#);
        assert_eq!(served.load(Ordering::Relaxed), 1);
    });
}
