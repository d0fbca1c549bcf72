//! What is measured: each answers whether a key may go on.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use lanekeeper::limiter::storage::{Charge, CounterKey, Storage, Values};
use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rule, Rules};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};
use tower::{Service, service_fn};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;

/// A limiter, and what it says of a key.
pub struct Contender {
    pub name: String,
    pub admits: Box<dyn Fn(&String) -> bool + Send + Sync>,
}

/// What each key may do in a second. So much that every verdict admits.
const PLENTY: u32 = 1_000_000_000;

fn contender(
    name: impl Into<String>,
    admits: impl Fn(&String) -> bool + Send + Sync + 'static,
) -> Contender {
    Contender { name: name.into(), admits: Box::new(admits) }
}

fn limit(algorithm: Algorithm, requests: u32) -> RequestLimit {
    let period = match algorithm {
        // A log with this many requests would be memory, not time: it is refused most of the time.
        Algorithm::SlidingWindowLog => Duration::from_millis(1),
        _ => Duration::from_secs(1),
    };
    RequestLimit::new(algorithm, requests, period).unwrap()
}

/// The storage of the limiter alone.
pub fn storage(algorithm: Algorithm, requests: u32) -> Contender {
    let (storage, limit) = (MemoryStorage::new().max_keys(20_000_000), limit(algorithm, requests));
    contender(format!("lanekeeper storage, {algorithm}"), move |key| {
        let entries = [("user", key.as_str())];
        let key = CounterKey { rule: 1, values: Values::new(&entries) };
        let charge = Charge { key, limit: &limit, weight: 1, is_shadow: false };
        storage.take_one(&charge, None).unwrap().1.is_admitted()
    })
}

/// The limiter as it is used: rules, a request, a verdict.
pub fn limiter(algorithm: Algorithm, requests: u32) -> Contender {
    let rules = Rules::new([Rule::new("users", limit(algorithm, requests)).entry("user")]).unwrap();
    let limiter = RateLimiter::new(rules, MemoryStorage::new().max_keys(20_000_000));
    contender(format!("lanekeeper, {algorithm}"), move |key| {
        limiter.check(&Request::new("/orders").entry("user", key)).is_allowed()
    })
}

pub fn governor() -> Contender {
    let quota = Quota::per_second(NonZeroU32::new(PLENTY).unwrap());
    let limiter: DefaultKeyedRateLimiter<String> = DefaultKeyedRateLimiter::keyed(quota);
    contender("governor, keyed", move |key| limiter.check_key(key).is_ok())
}

/// The same, for a caller that has the key as it is kept.
pub fn governor_of_numbers() -> Contender {
    let quota = Quota::per_second(NonZeroU32::new(PLENTY).unwrap());
    let limiter: DefaultKeyedRateLimiter<u64> = DefaultKeyedRateLimiter::keyed(quota);
    contender("governor, keyed by u64", move |key| {
        limiter.check_key(&key.parse().unwrap_or_default()).is_ok()
    })
}

/// It has no keys.
pub fn ratelimit() -> Contender {
    let limiter = ratelimit::Ratelimiter::builder(PLENTY.into())
        .max_tokens(PLENTY.into())
        .initial_available(PLENTY.into())
        .build()
        .unwrap();
    contender("ratelimit, without keys", move |_| limiter.try_wait().is_ok())
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ByHeader;

impl KeyExtractor for ByHeader {
    type Key = String;

    fn extract<T>(
        &self,
        request: &http::Request<T>,
    ) -> Result<String, tower_governor::GovernorError> {
        let value = request.headers().get("user").and_then(|value| value.to_str().ok());
        value.map(str::to_owned).ok_or(tower_governor::GovernorError::UnableToExtractKey)
    }
}

/// A layer over a service that answers at once. Its time has the making of a request in it.
pub fn tower_governor() -> Contender {
    let config = GovernorConfigBuilder::default()
        .period(Duration::from_nanos(1))
        .burst_size(PLENTY)
        .key_extractor(ByHeader)
        .finish()
        .unwrap();
    let layer = GovernorLayer::<_, _, axum::body::Body>::new(config);
    contender("tower_governor, with its request", move |key| {
        let inner = service_fn(|_: http::Request<String>| {
            std::future::ready(Ok::<_, Infallible>(http::Response::new(axum::body::Body::empty())))
        });
        let mut service = tower::Layer::layer(&layer, inner);
        let request = http::Request::builder().uri("/orders").header("user", key);
        let answer = service.call(request.body(String::new()).unwrap());
        let mut answer = std::pin::pin!(answer);
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.is_ok_and(|answer| answer.status().is_success()),
            Poll::Pending => false,
        }
    })
}

/// What a request alone costs.
pub fn request_alone() -> Contender {
    contender("a request alone", move |key| {
        let request = http::Request::builder().uri("/orders").header("user", key);
        request.body(String::new()).unwrap().headers().contains_key("user")
    })
}

/// All that are measured.
pub fn all() -> Vec<fn() -> Contender> {
    vec![
        governor,
        || storage(Algorithm::TokenBucket, PLENTY),
        || limiter(Algorithm::TokenBucket, PLENTY),
        || limiter(Algorithm::FixedWindow, PLENTY),
        || limiter(Algorithm::SlidingWindowCounter, PLENTY),
        || limiter(Algorithm::SlidingWindowLog, 1),
        governor_of_numbers,
        ratelimit,
        tower_governor,
        request_alone,
    ]
}
