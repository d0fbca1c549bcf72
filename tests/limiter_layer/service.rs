//! The contract of tower, and the switches of the layer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use http::{Request, Response};
use lanekeeper::ManualClock;
use lanekeeper::limiter::MemoryStorage;
use lanekeeper::limiter::layer::{RateLimitLayer, Refusal};
use lanekeeper::limiter::storage::{Storage, StorageError, Take, Taken};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use super::{TWO_A_MINUTE, block_on, by_user, limiter, of_user};

/// A service that panics if it is called before it was ready, as the contract lets it. A clone is not ready.
#[derive(Default)]
struct Strict {
    is_ready: bool,
    is_busy: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let (is_busy, calls) = (Arc::clone(&self.is_busy), Arc::clone(&self.calls));
        Self { is_ready: false, is_busy, calls }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.is_busy.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new("served".to_owned())))
    }
}

/// The memory, asked as if it were on another machine.
struct Remote(MemoryStorage);

impl Storage for Remote {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        self.0.take(take)
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        self.0.forgive(take)
    }

    fn may_block(&self) -> bool {
        true
    }
}

fn memory() -> MemoryStorage {
    MemoryStorage::with_clock(ManualClock::new())
}

fn service_is_called_when_it_was_ready(storage: impl Storage) {
    let strict = Strict::default();
    let calls = Arc::clone(&strict.calls);
    let mut service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(limiter(TWO_A_MINUTE, storage), by_user()))
        .service(strict);
    block_on(async {
        let mut statuses = Vec::new();
        for user in ["a", "a", "a", "b", "a", "b", "b"] {
            let response = service.ready().await.unwrap().call(of_user(user)).await.unwrap();
            statuses.push(response.status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 429, 200, 429, 200, 429]);
        // Two responses that are awaited in another order than they were asked for.
        let first = service.ready().await.unwrap().call(of_user("c"));
        let second = service.ready().await.unwrap().call(of_user("c"));
        assert_eq!(second.await.unwrap().status(), 200);
        assert_eq!(first.await.unwrap().status(), 200);
    });
    assert_eq!(calls.load(Ordering::Relaxed), 6);
}

#[test]
fn inner_service_is_called_when_it_was_ready() {
    service_is_called_when_it_was_ready(memory());
    service_is_called_when_it_was_ready(Remote(memory()));
}

#[test]
fn backpressure_comes_first_and_nothing_is_counted_meanwhile() {
    let strict = Strict::default();
    let is_busy = Arc::clone(&strict.is_busy);
    let limiter = limiter(TWO_A_MINUTE, memory());
    let mut service = RateLimitLayer::new(limiter, by_user()).layer(strict);
    let mut context = Context::from_waker(Waker::noop());
    is_busy.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(service.poll_ready(&mut context).is_pending());
    }
    is_busy.store(false, Ordering::Relaxed);
    let response = block_on(service.oneshot(of_user("a"))).unwrap();
    assert_eq!(response.headers()["ratelimit"], r#""users";r=1;t=30"#);
}

fn exactly_the_limit_is_admitted(storage: impl Storage) {
    let rules = "descriptors: [{ key: user, unit: minute, requests_per_unit: 20 }]";
    let limiter = limiter(rules, storage);
    let service = RateLimitLayer::new(limiter, by_user()).layer(Strict::default());
    let barrier = Barrier::new(64);
    let admitted = thread::scope(|scope| {
        let ask = || {
            scope.spawn(|| {
                barrier.wait();
                block_on(service.clone().oneshot(of_user("a"))).unwrap().status() == 200
            })
        };
        let threads: Vec<_> = (0..64).map(|_| ask()).collect();
        threads.into_iter().map(|it| usize::from(it.join().unwrap())).sum::<usize>()
    });
    assert_eq!(admitted, 20);
}

#[test]
fn of_64_requests_at_once_exactly_the_limit_is_admitted() {
    exactly_the_limit_is_admitted(memory());
    exactly_the_limit_is_admitted(Remote(memory()));
}

#[test]
fn headers_of_allowed_requests_can_be_left_out() {
    let layer = RateLimitLayer::new(limiter(TWO_A_MINUTE, memory()), by_user());
    let service = layer.limits_in_responses(false).layer(Strict::default());
    let ask = || block_on(service.clone().oneshot(of_user("a"))).unwrap();
    for _ in 0..2 {
        let served = ask();
        assert!(served.status() == 200 && served.headers().is_empty(), "{served:?}");
    }
    let refused = ask();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"30".parse().unwrap())
    );
    assert_eq!(refused.headers()["ratelimit"], r#""users";r=0;t=60"#);
}

#[test]
fn refusal_is_made_by_a_closure_and_has_the_headers() {
    let layer = RateLimitLayer::new(limiter(TWO_A_MINUTE, memory()), by_user());
    let layer = layer.on_refusal(|refusal: &Refusal| {
        let wait = refusal.retry_after().unwrap();
        let rule = refusal.verdict().and_then(|verdict| verdict.rule()).unwrap().name().to_owned();
        Response::builder()
            .status(420)
            .header("retry-after", "1")
            .body(format!("{refusal}: {wait:?} by {rule}"))
            .unwrap()
    });
    let service = layer.layer(Strict::default());
    let ask = || block_on(service.clone().oneshot(of_user("a"))).unwrap();
    assert_eq!((ask().status().as_u16(), ask().status().as_u16()), (200, 200));
    let refused = ask();
    assert_eq!(refused.status().as_u16(), 420);
    let waits: Vec<_> = refused.headers().get_all("retry-after").iter().collect();
    assert_eq!(waits, ["30"]);
    assert_eq!(refused.body(), "too many requests: 30s by users");
}

#[test]
fn request_that_is_never_admitted_has_no_time_to_come_back() {
    let rules = "rules: [{ unit: minute, requests_per_unit: 0 }]";
    let service = RateLimitLayer::new(limiter(rules, memory()), by_user()).layer(Strict::default());
    let refused = block_on(service.oneshot(of_user("a"))).unwrap();
    assert_eq!(refused.status(), 429);
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!(refused.body(), r#"{"error":"too many requests"}"#);
}
