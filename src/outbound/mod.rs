//! A tower layer for the client's side: the requests of any HTTP client wait for their turn in the lanes.
//!
//! A [`RouteTable`] says which lane and budgets a request is charged to, and whether it reads or writes. The request then waits
//! as any other call of the lanes, with its priority, user and deadline, and the inner service is called by its own task: see
//! [`Lanes::run`]. Threads and tasks, traits and raw requests can share lanes.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use lanekeeper::outbound::LaneLayer;
//! use lanekeeper::proxy::LanesBuilder;
//! use lanekeeper::{LaneCall, LaneConfig, Limits, Quota, RouteTable};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let mut lanes = LanesBuilder::new("Broker", &["orders", "data"], &[]);
//! lanes.lane(0, LaneConfig::new(Quota::per_second(10)));
//! lanes.lane(1, LaneConfig::new(Quota::per_second(3)));
//! let lanes = lanes.build(Limits::new())?;
//! let routes = RouteTable::new(LaneCall::read("data"), LaneCall::write("orders"))
//!     .route("DELETE /orders/**", LaneCall::write("orders").exit())?;
//!
//! // The client: hyper-util's, for example.
//! let client = service_fn(|_: Request<String>| async { Ok::<_, String>(Response::new("{}")) });
//! let mut client = ServiceBuilder::new().layer(LaneLayer::new(lanes, routes)).service(client);
//! let request = Request::post("https://api.example.com/orders").body("{}".to_owned())?;
//! let response = client.ready().await?.call(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a request meets
//!
//! 1. A path that a server may read as another one is refused ([`OutboundError::Route`]), since its effect is unknown.
//! 2. The [`CallOptions`] among its extensions, or else those of the layer, give its user, priority and deadline.
//! 3. The lane may refuse it, or its deadline may pass while it waits: [`OutboundError::Lane`], and nothing was sent.
//! 4. With its turn, the inner service is polled until it is ready, and called. The slots are held until it has answered.
//! 5. The response is returned as it is, whatever its status. The lane learns from it: see [`LaneLayer::judge`].
//!
//! The layer never repeats a request, since its body may be a stream. A retry layer belongs in front of it: each of its attempts
//! then waits for a turn. Let it repeat a write only if [`OutboundError::was_sent`] says that it was not sent.
//!
//! A response future that is dropped before the inner service was called takes its request back: it is never sent.
//!
//! `error.rs` has the error, and `judge.rs` what a lane learns from a response.

mod error;
mod judge;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

pub use self::error::OutboundError;
pub use self::judge::by_status;
use crate::lane::CallOptions;
use crate::proxy::Lanes;
use crate::routes::RouteTable;
use crate::{Effect, ErrorClass, Failure};

type Judge = dyn Fn(Effect, StatusCode, &HeaderMap) -> Option<Failure> + Send + Sync;

/// Puts lanes in front of a client. Cheap to clone; the services of all clones share the lanes. See [the module](self).
#[derive(Clone)]
pub struct LaneLayer {
    lanes: Lanes,
    routes: Arc<RouteTable>,
    options: CallOptions,
    judge: Arc<Judge>,
}

impl LaneLayer {
    /// Returns a layer that sends each request through the lane of its route. Lanes learn from responses [by their
    /// status](by_status).
    pub fn new(lanes: Lanes, routes: RouteTable) -> Self {
        let (routes, judge) = (Arc::new(routes), Arc::new(by_status));
        Self { lanes, routes, options: CallOptions::new(), judge }
    }

    /// Sets the options of requests that have no [`CallOptions`] among their extensions.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what a lane learns from a response, by its status and headers, in place of [`by_status`]: `None` is a success. A
    /// report that calls come too fast pauses the lane, and a failure that is [unreachable](crate::Reachability::Unreachable)
    /// counts in the circuit breaker of the route.
    ///
    /// ```
    /// use http::StatusCode;
    /// use lanekeeper::outbound::{LaneLayer, by_status};
    /// use lanekeeper::{ErrorClass, Failure};
    ///
    /// # fn layer(layer: LaneLayer) -> LaneLayer {
    /// // This server says 420 where others say 429.
    /// layer.judge(|effect, status, headers| match status.as_u16() {
    ///     420 => by_status(effect, StatusCode::TOO_MANY_REQUESTS, headers),
    ///     _ => by_status(effect, status, headers),
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn judge(
        mut self,
        judge: impl Fn(Effect, StatusCode, &HeaderMap) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        self.judge = Arc::new(judge);
        self
    }
}

impl fmt::Debug for LaneLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneLayer").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for LaneLayer {
    type Service = LaneService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LaneService { inner, layer: self.clone() }
    }
}

/// A client whose requests wait for their turns: what [`LaneLayer`] makes of a client.
#[derive(Debug, Clone)]
pub struct LaneService<S> {
    inner: S,
    layer: LaneLayer,
}

impl<S, B, T> Service<Request<B>> for LaneService<S>
where
    S: Service<Request<B>, Response = Response<T>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: Send + 'static,
    T: Send + 'static,
{
    type Response = Response<T>;
    type Error = OutboundError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Is always ready: requests wait in their lanes.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let LaneLayer { lanes, routes, options, judge } = &self.layer;
        let call = routes.find(request.method().as_str(), request.uri().path()).cloned();
        let options = request.extensions().get().unwrap_or(options).clone();
        let (lanes, judge, mut inner) = (lanes.clone(), Arc::clone(judge), self.inner.clone());
        Box::pin(async move {
            let call = call?;
            let effect = call.effect();
            let failure = move |answer: &Result<Response<T>, OutboundError<S::Error>>| match answer
            {
                Ok(response) => judge(effect, response.status(), response.headers()),
                Err(OutboundError::NotReady(_)) => Some(ErrorClass::NotSent.into()),
                Err(_) => Some(ErrorClass::unknown(effect).into()),
            };
            let attempt = async move {
                // A clone of a service may not be ready although the service itself is.
                poll_fn(|context| inner.poll_ready(context))
                    .await
                    .map_err(OutboundError::NotReady)?;
                inner.call(request).await.map_err(OutboundError::Service)
            };
            lanes.run_once(&call, &options, failure, attempt).await
        })
    }
}
