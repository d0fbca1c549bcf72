//! Raw requests: any endpoint of Kite, by method and path, through the lanes.
//!
//! For what neither [`Broker`](crate::Broker) nor the traits of this module have, such as an endpoint that Kite adds
//! next year. The [route table](super::routes()) says how a request is paced, and whether it may be repeated.

use std::fmt;
use std::sync::{Arc, LazyLock};

use form_urlencoded::Serializer;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use super::classify::ResponseError;
use super::http::{ApiRequest, not_sent_error};
use super::known_ids::PendingPlacement;
use super::response::{BodyKind, RawResponse};
use super::{Kite, classify, routes};
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail};
use crate::lane::{CallOptions, LaneError, Ticket};
use crate::proxy::{HasLanes, LaneCall, Lanes};
use crate::routes::RouteTable;

static ROUTES: LazyLock<RouteTable> = LazyLock::new(routes::routes);

/// A request to any endpoint of Kite.
///
/// The values of the query and of the form are encoded. The path is sent as it is, so it has to be in its
/// [canonical form](crate::RouteTable::find). Its `Debug` shows no values, since they may be secret.
///
/// ```
/// use lanekeeper::brokers::kite::RawRequest;
///
/// let request = RawRequest::post("/alerts")
///     .form("name", "NIFTY above 27000")
///     .form("lhs_exchange", "INDICES");
/// assert_eq!(format!("{request:?}"), "POST /alerts {name, lhs_exchange}");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawRequest {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone, PartialEq, Eq)]
enum Body {
    None,
    Form(Vec<(String, String)>),
    Json(String),
}

impl RawRequest {
    /// Returns a request by an HTTP method in capital letters, for a path from the root of the API.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Self { method: method.into(), path: path.into(), query: Vec::new(), body: Body::None }
    }

    /// Returns a `GET` request.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Returns a `POST` request.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    /// Returns a `PUT` request.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new("PUT", path)
    }

    /// Returns a `DELETE` request.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    /// Adds a pair to the query.
    #[must_use]
    pub fn query(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Adds a pair to the form, which replaces a JSON body.
    #[must_use]
    pub fn form(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let pair = (key.into(), value.into());
        match &mut self.body {
            Body::Form(pairs) => pairs.push(pair),
            Body::None | Body::Json(_) => self.body = Body::Form(vec![pair]),
        }
        self
    }

    /// Sets a JSON body, which replaces a form. The text is sent as it is.
    #[must_use]
    pub fn json(mut self, text: impl Into<String>) -> Self {
        self.body = Body::Json(text.into());
        self
    }

    /// Returns what the lanes have to know of the request.
    fn lane_call(&self) -> Result<&'static LaneCall, BrokerError> {
        ROUTES.find(&self.method, &self.path).map_err(|error| not_sent_error(error.to_string()))
    }

    /// Returns the request as it is sent.
    fn to_api_request(&self, effect: Effect) -> Result<ApiRequest, BrokerError> {
        let has_body = self.body != Body::None;
        let method = match self.method.as_str() {
            "GET" if has_body => return Err(not_sent_error("a GET request has no body")),
            "DELETE" if has_body => return Err(not_sent_error("a DELETE request has no body")),
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            other => return Err(not_sent_error(format!("no request can be made by {other}"))),
        };
        let mut path = self.path.clone();
        if !self.query.is_empty() {
            path.push('?');
            path.push_str(&encode(&self.query));
        }
        let body = match &self.body {
            // Kite's server expects a length from these methods.
            Body::None if matches!(method, Method::GET | Method::DELETE) => None,
            Body::None => Some((super::http::FORM, String::new())),
            Body::Form(pairs) => Some((super::http::FORM, encode(pairs))),
            Body::Json(text) => Some((super::http::JSON, text.clone())),
        };
        let is_listing = self.path.starts_with("/instruments") || self.path == "/mf/instruments";
        Ok(ApiRequest::raw(method, path, body, effect)
            .listing_if(is_listing)
            .secret_if(self.has_secret_answer()))
    }

    /// Returns whether its answer may be a token.
    fn has_secret_answer(&self) -> bool {
        self.path.starts_with("/session")
    }
}

fn encode(pairs: &[(String, String)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query in the path is refused when the request is sent, and may hold a secret.
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{} {path}", self.method)?;
        let names = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        };
        if !self.query.is_empty() {
            write!(f, "?{{{}}}", names(&self.query))?;
        }
        match &self.body {
            Body::None => Ok(()),
            Body::Form(pairs) => write!(f, " {{{}}}", names(pairs)),
            Body::Json(text) => write!(f, " ({} bytes of JSON)", text.len()),
        }
    }
}

/// The answer to a [`RawRequest`] that Kite reports as a success. Its `Debug` does not show the body, which may be a
/// token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawAnswer {
    /// The HTTP status, from 200 to 299.
    pub status: u16,
    /// The body: JSON with Kite's envelope, or a listing as CSV.
    pub body: Vec<u8>,
    effect: Effect,
    /// Whether no error may show any of it.
    is_secret: bool,
}

impl RawAnswer {
    /// Decodes the `data` of the answer, into `serde_json::Value` or a type of your own.
    ///
    /// # Errors
    /// [`BrokerError::Malformed`] for a request that reads, and [`BrokerError::OutcomeUnknown`] for one that writes: the
    /// answer is not what was expected, so it may not be the answer to that request.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, BrokerError> {
        #[derive(serde::Deserialize)]
        struct Data<T> {
            data: T,
        }
        match serde_json::from_slice::<Data<T>>(&self.body) {
            Ok(Data { data }) => Ok(data),
            Err(error) => {
                let why = if self.is_secret { String::new() } else { format!(": {error}") };
                let detail = ErrorDetail::new(format!("the data cannot be decoded{why}"));
                Err(classify::decode_error(self.effect, detail.status(self.status)))
            }
        }
    }
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAnswer({}, {} bytes)", self.status, self.body.len())
    }
}

/// Any endpoint of Kite, by method and path.
///
/// [`Kite`] sends a request at once. A [`KiteRawProxy`] sends it through the lanes of a
/// [`BrokerProxy`](crate::BrokerProxy).
pub trait KiteRaw: Send + Sync {
    /// Sends a request once, and returns Kite's answer.
    ///
    /// A raw order does not pass an [`OrderGuard`](crate::OrderGuard): place orders through the guard.
    ///
    /// # Errors
    /// As for a method of [`Broker`](crate::Broker). Whether the request reads or writes is what the
    /// [route table](super::routes()) says. A path that is not in its canonical form, and a body that the method
    /// cannot have, are [`NotSent`](BrokerError::NotSent).
    fn request(&self, request: &RawRequest) -> Result<RawAnswer, BrokerError>;
}

impl KiteRaw for Kite {
    fn request(&self, request: &RawRequest) -> Result<RawAnswer, BrokerError> {
        let effect = request.lane_call()?.effect();
        let call = request.to_api_request(effect)?;
        let expected = self.expected_order(request);
        self.http().request(&call, |answer| {
            check_answer(answer, effect)?;
            let (status, body, is_secret) =
                (answer.status, answer.body.clone(), request.has_secret_answer());
            let raw = RawAnswer { status, body, effect, is_secret };
            if let Err(why) = expected.check(named_order(&raw)) {
                let why = ResponseError::WrongRequest(why);
                self.http().drop_connections_if_out_of_step(effect, &why);
                return Err(classify::response_error(answer, effect, &why));
            }
            Ok(raw)
        })
    }
}

/// Which order the answer to a request has to name. Otherwise it may be the answer to another request, see
/// `http.rs`.
enum ExpectedOrder<'a> {
    /// The request is not about one order.
    Any,
    /// One that was not seen before.
    New(PendingPlacement<'a>),
    /// The one in the path.
    Number(String),
}

impl ExpectedOrder<'_> {
    fn check(&self, named: Option<String>) -> Result<(), String> {
        match (self, named) {
            (Self::Any, _) => Ok(()),
            (_, None) => Err("it names no order".to_owned()),
            (Self::New(new), Some(id)) if new.claim(&id) => Ok(()),
            (Self::New(_), Some(id)) => {
                Err(format!("it names the order {id}, which was seen before"))
            }
            (Self::Number(number), Some(id)) if *number == id => Ok(()),
            (Self::Number(number), Some(id)) => {
                Err(format!("it names the order {id}, and not {number}"))
            }
        }
    }
}

impl Kite {
    fn expected_order(&self, request: &RawRequest) -> ExpectedOrder<'_> {
        let segments: Vec<_> = request.path.split('/').skip(1).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["orders", _]) => ExpectedOrder::New(self.inner.known_ids.begin_placement()),
            ("PUT" | "DELETE", ["orders", _, number]) => {
                ExpectedOrder::Number((*number).to_owned())
            }
            _ => ExpectedOrder::Any,
        }
    }
}

impl<T: KiteRaw + ?Sized> KiteRaw for Arc<T> {
    fn request(&self, request: &RawRequest) -> Result<RawAnswer, BrokerError> {
        (**self).request(request)
    }
}

/// Checks that an answer is a success. One that reads may also be a listing, which has no envelope.
fn check_answer(answer: &RawResponse, effect: Effect) -> Result<(), BrokerError> {
    let is_success = (200..300).contains(&answer.status);
    let is_listing = is_success
        && effect == Effect::Read
        && !answer.body.is_empty()
        && answer.describe().0 == BodyKind::Plain
        && !answer.is_broken_envelope();
    if is_listing { Ok(()) } else { classify::check_success(answer, effect) }
}

/// Returns the id of the order that an answer names.
fn named_order(answer: &RawAnswer) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        order_id: String,
    }
    answer.data::<Named>().ok().map(|named| named.order_id)
}

/// Raw requests through the lanes of a proxy. Cheap to clone.
///
/// ```no_run
/// use lanekeeper::brokers::kite::{KiteRaw, KiteRawProxy, RawRequest};
/// use lanekeeper::{BrokerProxy, Kite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kite = Kite::builder().api_key("key").access_token("token").build()?;
/// let broker = BrokerProxy::builder(kite.clone()).order_guard(|guard| guard).build()?;
/// let raw = KiteRawProxy::new(kite, &broker)?;
///
/// let alerts: serde_json::Value = raw.request(&RawRequest::get("/alerts"))?.data()?;
/// println!("{alerts}");
/// # Ok(())
/// # }
/// ```
///
/// The requests count in the same quotas as the calls of the proxy, have the same priorities, users and deadlines, and
/// are repeated by the same rules: a write only if it was certainly not executed. They end with that proxy: its shutdown
/// is theirs.
pub struct KiteRawProxy<T> {
    inner: Arc<T>,
    lanes: Lanes,
    options: CallOptions,
}

impl<T: KiteRaw + 'static> KiteRawProxy<T> {
    /// Puts the lanes of `broker` in front of `inner`.
    ///
    /// # Errors
    /// The lanes lack one that the [route table](super::routes()) names; those of a `BrokerProxy` have all.
    pub fn new(inner: T, broker: &(impl HasLanes + ?Sized)) -> Result<Self, LaneError> {
        let lanes = broker.lanes().clone();
        ROUTES.calls().try_for_each(|call| lanes.check(call))?;
        Ok(Self { inner: Arc::new(inner), lanes, options: CallOptions::new() })
    }

    /// Returns the same requests with these options.
    #[must_use = "the proxy itself keeps the options it has"]
    pub fn with(&self, options: CallOptions) -> Self {
        Self { options, ..self.clone() }
    }

    /// Queues a request, and returns at once.
    ///
    /// # Errors
    /// The request cannot be sent as it is, see [`KiteRaw::request`].
    pub fn submit(
        &self,
        request: &RawRequest,
    ) -> Result<Ticket<RawAnswer, BrokerError>, BrokerError> {
        let call = request.lane_call()?;
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        Ok(self.lanes.submit(call, &self.options, move || inner.request(&request)))
    }

    /// Returns the value behind the lanes. Its requests are not paced.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: KiteRaw + 'static> KiteRaw for KiteRawProxy<T> {
    fn request(&self, request: &RawRequest) -> Result<RawAnswer, BrokerError> {
        self.submit(request)?.wait()
    }
}

impl<T> HasLanes for KiteRawProxy<T> {
    fn lanes(&self) -> &Lanes {
        &self.lanes
    }
}

impl<T> Clone for KiteRawProxy<T> {
    fn clone(&self) -> Self {
        let Self { inner, lanes, options } = self;
        Self { inner: Arc::clone(inner), lanes: lanes.clone(), options: options.clone() }
    }
}

impl<T> fmt::Debug for KiteRawProxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KiteRawProxy").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}
