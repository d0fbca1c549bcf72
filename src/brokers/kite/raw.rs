//! Raw requests: any endpoint of Kite, by method and path, through the lanes.
//!
//! For what neither [`Broker`](crate::Broker) nor the traits of this module have, such as an endpoint that Kite adds
//! next year. The [route table](super::routes()) says how a request is paced, and whether it may be repeated.

use std::fmt;
use std::sync::Arc;

use super::classify::ResponseError;
use super::known_ids::PendingPlacement;
use super::raw_answer::RawAnswer;
use super::raw_request::{RawRequest, kite_routes};
use super::response::{BodyKind, RawResponse};
use super::{Kite, classify};
use crate::Effect;
use crate::broker::BrokerError;
use crate::lane::{CallOptions, LaneError, Ticket};
use crate::proxy::{HasLanes, Lanes};

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
pub(super) fn check_answer(answer: &RawResponse, effect: Effect) -> Result<(), BrokerError> {
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
        kite_routes().calls().try_for_each(|call| lanes.check(call))?;
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
