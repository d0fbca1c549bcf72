//! Answers that are kept of asynchronous methods, and fetches that tasks share.
#![cfg(feature = "responses")]
#![allow(clippy::unwrap_used)]

mod support;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneErrorKind};
use lanekeeper::proxy::CacheableResponse;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{CallOptions, LaneError, Priority};
use support::tasks::Task;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq)]
enum Failure {
    Lane(LaneErrorKind),
    Refused,
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        Self::Lane(error.kind)
    }
}

type Result<T> = std::result::Result<T, Failure>;
type Answer = Result<String>;

#[lanekeeper::proxy]
trait Catalog: Send + Sync {
    #[lane(all, read, cache = "1h")]
    async fn page(&self, shelf: &str, number: u32, hint: Option<&u8>) -> Result<String>;

    /// Its argument has the name of a variable in the generated code.
    #[lane(all, read, cache = "1h")]
    async fn never(&self, value: u32) -> Result<Never>;

    #[lane(all, read, cache = off, cache_for = only_even, first = unlock)]
    async fn even(&self, number: Box<u32>) -> Result<String>;
}

impl<T: Catalog + Send + Sync + 'static> CatalogProxy<T> {
    fn only_even(&self, number: &u32) -> Option<Duration> {
        (number % 2 == 0).then_some(SECOND)
    }

    async fn unlock(&self, number: &u32) -> Result<()> {
        if *number == 13 { Err(Failure::Refused) } else { Ok(()) }
    }
}

/// An answer that is not kept.
#[derive(Debug, Clone, PartialEq)]
struct Never(u32);

impl CacheableResponse for Never {
    fn heap_bytes(&self) -> usize {
        0
    }

    fn is_cacheable(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Library {
    asked: AtomicU32,
    is_open: AtomicBool,
    refuses: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Library {
    async fn answer(&self, page: String) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        poll_fn(|context| match self.is_open.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => {
                self.wakers.lock().unwrap().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await;
        if self.refuses.load(Ordering::SeqCst) { Err(Failure::Refused) } else { Ok(page) }
    }
}

impl Catalog for Arc<Library> {
    async fn page(&self, shelf: &str, number: u32, hint: Option<&u8>) -> Answer {
        self.answer(format!("{shelf} {number} {hint:?}")).await
    }

    async fn never(&self, value: u32) -> Result<Never> {
        Ok(Never(value + self.asked.fetch_add(1, Ordering::SeqCst)))
    }

    async fn even(&self, number: Box<u32>) -> Answer {
        self.answer(format!("{number}")).await
    }
}

type Proxy = CatalogProxy<Arc<Library>>;

/// A library that does not answer until it is opened, its proxy, and the clock.
fn library(quota: Quota) -> (Arc<Library>, Proxy, ManualClock) {
    let (library, clock) = (Arc::new(Library::default()), ManualClock::new());
    let builder = CatalogProxy::builder(Arc::clone(&library))
        .all(LaneConfig::new(quota).retry(RetryPolicy::none()));
    let proxy = builder.response_ttl("even", 3 * SECOND).clock(clock.clone()).build().unwrap();
    (library, proxy, clock)
}

fn page(proxy: &Proxy, number: u32) -> Task<Answer> {
    let proxy = proxy.clone();
    Task::new(async move { proxy.page("shelf", number, None).await })
}

fn answer_of(mut task: Task<Answer>) -> Answer {
    match task.poll() {
        Poll::Ready(answer) => answer,
        Poll::Pending => task.run(),
    }
}

fn open(library: &Library) {
    library.is_open.store(true, Ordering::SeqCst);
}

fn asked(library: &Library) -> u32 {
    library.asked.load(Ordering::SeqCst)
}

fn waiting(proxy: &Proxy) -> Task<Answer> {
    let mut task = page(proxy, 1);
    assert!(task.poll().is_pending());
    task
}

const FIRST: &str = "shelf 1 None";

#[test]
fn tasks_share_a_fetch_and_later_ones_find_its_answer() {
    let (library, proxy, clock) = library(Quota::unlimited());
    let mut tasks: Vec<_> = (0..10).map(|_| waiting(&proxy)).collect();
    open(&library);
    // Its own executor would wake the one that makes the call.
    let mut leader = tasks.remove(0);
    assert_eq!(leader.poll(), Poll::Ready(Ok(FIRST.into())));
    for mut task in tasks {
        assert!(task.is_woken());
        assert_eq!(task.poll(), Poll::Ready(Ok(FIRST.into())));
    }
    assert_eq!(answer_of(page(&proxy, 1)), Ok(FIRST.into()));
    assert_eq!(asked(&library), 1);
    assert_eq!(answer_of(page(&proxy, 2)), Ok("shelf 2 None".into()));
    let stats = proxy.responses().stats();
    assert_eq!((stats.hits, stats.misses, stats.joined, stats.entries), (1, 2, 9, 2));
    clock.advance(Duration::from_secs(3600));
    assert_eq!(answer_of(page(&proxy, 1)), Ok(FIRST.into()));
    assert_eq!(asked(&library), 3);
}

#[test]
fn another_task_makes_the_call_if_the_one_that_makes_it_is_dropped() {
    for is_sent in [true, false] {
        let (library, proxy, clock) = library(Quota::per_second(1));
        if !is_sent {
            open(&library);
            assert_eq!(answer_of(page(&proxy, 9)), Ok("shelf 9 None".into()));
        }
        let leader = waiting(&proxy);
        let (mut second, third) = (waiting(&proxy), waiting(&proxy));
        let before = asked(&library);
        drop(leader);
        drop(third);
        open(&library);
        assert!(second.is_woken());
        if second.poll().is_pending() {
            clock.advance(2 * SECOND);
            assert_eq!(second.run(), Ok(FIRST.into()));
        }
        assert_eq!(asked(&library), before + 1);
        assert_eq!(proxy.responses().stats().entries, if is_sent { 1 } else { 2 });
    }
}

/// Such as a future in the buffer of a stream, whose consumer makes the same call.
#[test]
fn a_task_does_not_hang_for_a_fetch_that_is_not_polled() {
    let (library, proxy, clock) = library(Quota::unlimited());
    let mut leader = waiting(&proxy);
    let mut follower = waiting(&proxy);
    // However long the answer takes, the fetch goes on.
    clock.advance(100 * SECOND);
    assert!(!follower.is_woken());
    open(&library);
    library.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    assert!(leader.is_woken() && follower.poll().is_pending());
    clock.advance(SECOND);
    assert_eq!(follower.run(), Ok(FIRST.into()));
    assert_eq!(asked(&library), 2);
    assert_eq!(leader.poll(), Poll::Ready(Ok(FIRST.into())));
}

/// The answer of a task that was late is as old as its request.
#[test]
fn a_fetch_that_was_given_up_on_does_not_pass_for_a_later_one() {
    let (library, proxy, clock) = library(Quota::unlimited());
    let mut late = waiting(&proxy);
    let mut second = waiting(&proxy);
    clock.advance(Duration::from_secs(3000));
    open(&library);
    library.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    assert!(second.poll().is_pending());
    library.is_open.store(false, Ordering::SeqCst);
    clock.advance(SECOND);
    // It begins a fetch of its own.
    assert!(second.poll_once_woken().is_pending());
    open(&library);
    assert_eq!(late.poll(), Poll::Ready(Ok(FIRST.into())));
    // Nobody joins that one, and its answer is kept for as long as its own age allows.
    let fresh = proxy.with(CallOptions::new().max_age(100 * SECOND));
    library.is_open.store(false, Ordering::SeqCst);
    let mut joins = waiting(&fresh);
    assert_eq!(asked(&library), 2);
    open(&library);
    assert_eq!(second.poll(), Poll::Ready(Ok(FIRST.into())));
    assert_eq!(joins.run(), Ok(FIRST.into()));
    clock.advance(Duration::from_secs(700));
    assert_eq!(answer_of(page(&proxy, 1)), Ok(FIRST.into()));
    assert_eq!(asked(&library), 2);
}

#[test]
fn all_that_wait_are_woken_if_the_task_that_fetches_is_dropped_and_an_urgent_one_goes_alone() {
    let (library, proxy, clock) = library(Quota::per_second(1));
    open(&library);
    assert_eq!(answer_of(page(&proxy, 9)), Ok("shelf 9 None".into()));
    let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    let (leader, mut second, mut third) = (waiting(&urgent), waiting(&proxy), waiting(&urgent));
    assert_eq!(proxy.status().lanes[0].queued, 1);
    drop(leader);
    assert!(second.is_woken() && third.is_woken());
    assert!(second.poll().is_pending() && third.poll().is_pending());
    assert_eq!(proxy.status().lanes[0].queued, 2);
    clock.advance(2 * SECOND);
    assert_eq!(third.run(), Ok(FIRST.into()));
}

#[test]
fn an_answer_that_says_so_is_not_kept_whatever_the_names_of_the_arguments() {
    let (_, proxy, _) = library(Quota::unlimited());
    let never = || {
        let proxy = proxy.clone();
        match Task::new(async move { proxy.never(5).await }).poll() {
            Poll::Ready(answer) => answer.unwrap(),
            Poll::Pending => panic!("it is not over"),
        }
    };
    assert_eq!((never(), never()), (Never(5), Never(6)));
}

#[test]
fn a_deadline_ends_the_wait_of_its_task_alone() {
    let (library, proxy, clock) = library(Quota::unlimited());
    let hasty = proxy.with(CallOptions::new().deadline(SECOND));
    let mut leader = waiting(&hasty);
    let mut follower = waiting(&hasty);
    let mut patient = waiting(&proxy);
    clock.advance(SECOND);
    for task in [&mut leader, &mut follower] {
        assert_eq!(task.run(), Err(Failure::Lane(LaneErrorKind::Unanswered)));
    }
    drop((leader, follower));
    open(&library);
    assert_eq!(patient.run(), Ok(FIRST.into()));
    assert_eq!(asked(&library), 2);
}

#[test]
fn an_error_is_the_answer_to_all_that_wait_and_is_not_kept() {
    let (library, proxy, _) = library(Quota::unlimited());
    library.refuses.store(true, Ordering::SeqCst);
    let (mut first, mut second) = (waiting(&proxy), waiting(&proxy));
    open(&library);
    assert_eq!(first.poll(), Poll::Ready(Err(Failure::Refused)));
    assert_eq!(second.poll(), Poll::Ready(Err(Failure::Refused)));
    library.refuses.store(false, Ordering::SeqCst);
    assert_eq!(answer_of(page(&proxy, 1)), Ok(FIRST.into()));
    assert_eq!(asked(&library), 2);
}

#[test]
fn a_task_joins_no_fetch_that_is_too_old_of_lower_priority_or_from_before_a_clear() {
    let (library, proxy, clock) = library(Quota::unlimited());
    let _first = waiting(&proxy);
    let _urgent = waiting(&proxy.with(CallOptions::new().priority(Priority::URGENT)));
    assert_eq!(asked(&library), 2);
    proxy.responses().clear("page").unwrap();
    let _cleared = waiting(&proxy);
    assert_eq!(asked(&library), 3);
    clock.advance(2 * SECOND);
    let _young = waiting(&proxy.with(CallOptions::new().max_age(SECOND)));
    assert_eq!(asked(&library), 4);
    let _joined = waiting(&proxy);
    assert_eq!(asked(&library), 4);
}

#[test]
fn a_hook_says_for_how_long_and_what_comes_first_may_fail() {
    let (library, proxy, clock) = library(Quota::unlimited());
    open(&library);
    let even = |number: u32| {
        let proxy = proxy.clone();
        answer_of(Task::new(async move { proxy.even(Box::new(number)).await }))
    };
    for _ in 0..2 {
        assert_eq!((even(2), even(3)), (Ok("2".into()), Ok("3".into())));
    }
    assert_eq!(asked(&library), 3);
    clock.advance(SECOND);
    assert_eq!(even(2), Ok("2".into()));
    assert_eq!(asked(&library), 4);
    assert_eq!(even(13), Err(Failure::Refused));
    assert_eq!(asked(&library), 4);
}
