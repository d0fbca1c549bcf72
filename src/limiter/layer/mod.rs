//! A tower layer: limits the requests of an HTTP service, such as a router of axum, before they reach it.
//!
//! ```
//! use http::{HeaderName, Request, Response};
//! use lanekeeper::limiter::layer::{Entries, RateLimitLayer};
//! use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let rules = Rules::from_yaml("descriptors: [{ key: user, unit: second, requests_per_unit: 1 }]")?;
//! let limiter = RateLimiter::new(rules, MemoryStorage::new());
//! let entries = Entries::new().header("user", HeaderName::from_static("x-user"));
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(limiter, entries))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, String>(Response::new(String::new())) }));
//!
//! let request = || Request::get("/orders").header("x-user", "a").body(());
//! assert_eq!(service.ready().await?.call(request()?).await?.status(), 200);
//! let refused = service.ready().await?.call(request()?).await?;
//! assert_eq!(refused.status(), 429);
//! assert_eq!(refused.headers()["retry-after"], "1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With axum it is `router.layer(RateLimitLayer::new(limiter, entries))`; `examples/limiter_axum.rs` is a whole service.
//!
//! # What happens to a request
//!
//! 1. The inner service is ready before the request is judged: a service that is overloaded applies its backpressure
//!    first, and what it does not take is not counted.
//! 2. An [`Extract`] says what the rules are to know of the request, or rejects it. [`Entries`] is the usual one.
//! 3. The request is judged and counted when the service is called. A storage that may wait for another machine is
//!    asked on a thread of its own, so the task of the request yields meanwhile.
//! 4. An allowed request goes on, with its [`Verdict`] among its extensions. Its response has the headers
//!    `RateLimit-Policy` and `RateLimit`: see [`Verdict::headers`]. If several layers judge a request, each adds its
//!    items to these lists, and a handler sees the verdict of the innermost one.
//! 5. A refused request does not reach the inner service. Its response is a [`Refusal`]: 429 with the headers and
//!    `Retry-After`, or 503 if the storage gave no verdict and a rule denies without one.
//!
//! If the client leaves while the storage is asked, the inner service is not called. The request may be counted all the
//! same.
//!
//! # Implementation
//!
//! `extract.rs` is the interface to requests, `entries.rs` and `client_ip.rs` implement it. `check.rs` asks a limiter
//! without blocking, `response.rs` is the future of a response, and `refusal.rs` what a refused client is told.

mod check;
mod client_ip;
mod entries;
mod extract;
mod refusal;
mod response;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use check::{Check, OwnedRequest};
pub use client_ip::{ClientIp, InvalidNetwork};
pub use entries::Entries;
pub use extract::{Extract, Rejection};
pub use refusal::{JsonRefusal, Refusal, Refuse};
pub use response::ResponseFuture;

use self::response::{Answers, State};
use super::rate_limiter::RateLimiter;
#[cfg(doc)]
use super::verdict::Verdict;

/// Puts a [`RateLimit`] in front of services. Cheap to clone; the services of all clones share the limiter. See
/// [the module](self).
pub struct RateLimitLayer<E, R = JsonRefusal> {
    limiter: RateLimiter,
    extract: Arc<E>,
    answers: Answers<R>,
}

impl<E: Extract> RateLimitLayer<E> {
    /// Returns a layer that judges requests by what `extract` says of them, and refuses them with a JSON body.
    pub fn new(limiter: RateLimiter, extract: E) -> Self {
        let answers = Answers { refusal: Arc::new(JsonRefusal), shows_limits: true };
        Self { limiter, extract: Arc::new(extract), answers }
    }
}

impl<E, R> RateLimitLayer<E, R> {
    /// Sets how the response to a refused request is made, instead of by [`JsonRefusal`]. The layer adds the headers of
    /// the verdict to it.
    ///
    /// ```
    /// use http::Response;
    /// use lanekeeper::limiter::layer::{Entries, RateLimitLayer, Refusal};
    /// # use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
    /// # let limiter = RateLimiter::new(Rules::default(), MemoryStorage::new());
    ///
    /// let layer = RateLimitLayer::new(limiter, Entries::new()).on_refusal(|refusal: &Refusal| {
    ///     let mut response = Response::new(format!("not now: {refusal}"));
    ///     *response.status_mut() = refusal.status();
    ///     response
    /// });
    /// ```
    pub fn on_refusal<F, T>(self, refuse: F) -> RateLimitLayer<E, F>
    where
        F: Fn(&Refusal) -> Response<T>,
    {
        let answers =
            Answers { refusal: Arc::new(refuse), shows_limits: self.answers.shows_limits };
        RateLimitLayer { limiter: self.limiter, extract: self.extract, answers }
    }

    /// Sets whether responses to allowed requests have the headers `RateLimit-Policy` and `RateLimit`. The default is
    /// that they do. Refusals always have them.
    #[must_use]
    pub fn limits_in_responses(mut self, shows_limits: bool) -> Self {
        self.answers.shows_limits = shows_limits;
        self
    }
}

impl<E, R> Clone for RateLimitLayer<E, R> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            extract: Arc::clone(&self.extract),
            answers: self.answers.clone(),
        }
    }
}

impl<E, R> fmt::Debug for RateLimitLayer<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("limits_in_responses", &self.answers.shows_limits)
            .finish_non_exhaustive()
    }
}

impl<S, E, R> Layer<S> for RateLimitLayer<E, R> {
    type Service = RateLimit<S, E, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

/// A service whose requests are limited: what [`RateLimitLayer`] makes of a service.
pub struct RateLimit<S, E, R = JsonRefusal> {
    inner: S,
    layer: RateLimitLayer<E, R>,
}

impl<S: Clone, E, R> Clone for RateLimit<S, E, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, E, R> fmt::Debug for RateLimit<S, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl<S, E, R, B, T> Service<Request<B>> for RateLimit<S, E, R>
where
    S: Service<Request<B>, Response = Response<T>> + Clone,
    E: Extract,
    R: Refuse<T>,
{
    type Response = Response<T>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, T, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answers = &self.layer.answers;
        let (parts, body) = request.into_parts();
        let state = match self.layer.extract.extract(&parts) {
            Err(rejection) => answers.refuse(&Refusal::Rejected(rejection)),
            Ok(owned) => {
                let request = Request::from_parts(parts, body);
                match self.layer.limiter.check_async(owned).into_verdict() {
                    Ok(verdict) => answers.judged(verdict, request, &mut self.inner),
                    Err(check) => {
                        // The service that was polled to readiness is the one to call. A clone of it may not be ready.
                        let clone = self.inner.clone();
                        let ready = mem::replace(&mut self.inner, clone);
                        State::Checking { check, waiting: Some((ready, request)) }
                    }
                }
            }
        };
        ResponseFuture { state, answers: answers.clone() }
    }
}
