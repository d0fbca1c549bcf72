//! A storage that fails or panics: the rules say what is done, and the service goes on.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use lanekeeper::ManualClock;
use lanekeeper::limiter::layer::{Entries, RateLimitLayer};
use lanekeeper::limiter::storage::{Storage, StorageError, Take, Taken};
use lanekeeper::limiter::{MemoryStorage, Request, Verdict};

use super::{Server, limiter};

/// A storage that fails at first: once by an error, and once by a panic.
struct Failing {
    memory: MemoryStorage,
    asked: AtomicUsize,
    may_block: bool,
}

impl Failing {
    fn new(may_block: bool) -> Self {
        let memory = MemoryStorage::with_clock(ManualClock::new());
        Self { memory, asked: AtomicUsize::new(0), may_block }
    }
}

impl Storage for Failing {
    fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err(StorageError::new("the connection was lost")),
            1 => panic!("this storage panics once"),
            _ => self.memory.take(take),
        }
    }

    fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        self.memory.forgive(take)
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
}

fn server(on_storage_error: &str, may_block: bool) -> Server {
    let rules = format!(
        "on_storage_error: {on_storage_error}
rules: [{{ name: all, unit: minute, requests_per_unit: 1 }}]"
    );
    let handler = |Extension(verdict): Extension<Verdict>| async move {
        verdict.storage_error().map(ToString::to_string).unwrap_or_default()
    };
    let limiter = limiter(&rules, Failing::new(may_block));
    let layer = RateLimitLayer::new(limiter, Entries::new());
    Server::start(Router::new().route("/", get(handler)).layer(layer))
}

#[test]
fn rule_that_allows_without_the_storage_serves_without_headers() {
    for may_block in [false, true] {
        let server = server("allow", may_block);
        for why in ["the connection was lost", "it panicked"] {
            let served = server.get("/", &[]);
            assert_eq!(served.status, 200);
            assert!(served.body.ends_with(why), "{}", served.body);
            assert!(served.header("ratelimit").is_empty());
        }
        let served = server.get("/", &[]);
        assert_eq!((served.status, served.header("ratelimit")), (200, vec![r#""all";r=0;t=60"#]));
        assert_eq!(server.get("/", &[]).status, 429);
    }
}

#[test]
fn rule_that_denies_without_the_storage_answers_503_and_tells_no_reason() {
    for may_block in [false, true] {
        let server = server("deny", may_block);
        for _ in 0..2 {
            let refused = server.get("/", &[]);
            assert_eq!(refused.status, 503);
            assert_eq!(refused.body, r#"{"error":"the limit of requests cannot be checked"}"#);
            assert!(refused.header("retry-after").is_empty());
            assert!(refused.header("ratelimit").is_empty());
        }
        assert_eq!(server.get("/", &[]).status, 200);
        assert_eq!(server.get("/", &[]).status, 429);
    }
}

/// Several requests at once are asked about by another operation.
#[test]
fn storage_that_panics_gives_no_verdict_about_several_requests_either() {
    let rules = "rules: [{ unit: minute, requests_per_unit: 1 }]";
    let limiter = limiter(rules, Failing::new(false));
    let requests = [Request::new("/"), Request::new("/")];
    let why = |verdict: &Verdict| verdict.storage_error().is_some();
    assert!(limiter.check_all(&requests).iter().all(why));
    assert!(!limiter.check_all(&requests).iter().any(why));
}
