//! A fetch that tasks share, whose leader has a waker that panics.
#![cfg(feature = "responses")]
#![allow(clippy::unwrap_used)]

mod support;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use lanekeeper::LaneError;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneErrorKind};
use lanekeeper::quota::Quota;
use support::tasks::Task;

#[derive(Debug, Clone, PartialEq)]
struct Failure(LaneErrorKind);

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        Self(error.kind)
    }
}

#[lanekeeper::proxy]
trait Catalog: Send + Sync {
    #[lane(all, read, cache = "1h")]
    async fn page(&self, number: u32) -> Result<u32, Failure>;
}

#[derive(Default)]
struct Library {
    is_open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Catalog for Arc<Library> {
    async fn page(&self, number: u32) -> Result<u32, Failure> {
        poll_fn(|context| match self.is_open.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => {
                *self.waker.lock().unwrap() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await;
        Ok(number)
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("in the executor");
    }
}

#[test]
fn a_waker_that_panics_loses_no_other_task() {
    let (library, clock) = (Arc::new(Library::default()), ManualClock::new());
    let proxy = CatalogProxy::builder(Arc::clone(&library))
        .all(LaneConfig::new(Quota::unlimited()))
        .clock(clock.clone())
        .build()
        .unwrap();
    let page = || {
        let proxy = proxy.clone();
        Task::new(async move { proxy.page(1).await })
    };
    let (mut leader, mut follower) = (page(), page());
    assert!(leader.poll_with(&Waker::from(Arc::new(Panics))).is_pending());
    assert!(follower.poll().is_pending());
    library.is_open.store(true, Ordering::SeqCst);
    let waker = library.waker.lock().unwrap().take().unwrap();
    // The adapter's executor catches it.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
    // The leader is polled all the same, and has the answer.
    assert!(leader.poll().is_ready());
    drop(leader);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(10));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(follower.is_woken(), "the follower is never woken");
}
