//! One raw request, as its caller writes it and as it is sent.

use std::fmt;
use std::sync::LazyLock;

use form_urlencoded::Serializer;
use ureq::http::Method;

use super::http::{ApiRequest, not_sent_error};
use super::routes;
use crate::Effect;
use crate::broker::BrokerError;
use crate::proxy::LaneCall;
use crate::routes::RouteTable;

/// Returns the route table of Kite.
pub(super) fn kite_routes() -> &'static RouteTable {
    static ROUTES: LazyLock<RouteTable> = LazyLock::new(routes::routes);
    &ROUTES
}

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
    pub(super) method: String,
    pub(super) path: String,
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
    pub(super) fn lane_call(&self) -> Result<&'static LaneCall, BrokerError> {
        kite_routes()
            .find(&self.method, &self.path)
            .map_err(|error| not_sent_error(error.to_string()))
    }

    /// Returns the request as it is sent.
    pub(super) fn to_api_request(&self, effect: Effect) -> Result<ApiRequest, BrokerError> {
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
        Ok(ApiRequest::raw(method, path, body, effect)
            .listing_if(self.is_listing())
            .secret_if(self.has_secret_answer()))
    }

    /// Returns whether its answer is a listing of instruments, which has megabytes.
    fn is_listing(&self) -> bool {
        let mut segments = self.path.split('/').skip(1);
        match segments.next() {
            // All, or those of one exchange. Below that are candles and trigger ranges.
            Some("instruments") => segments.count() <= 1,
            _ => self.path == "/mf/instruments",
        }
    }

    /// Returns whether its answer may be a token.
    pub(super) fn has_secret_answer(&self) -> bool {
        has_secret_answer(&self.path)
    }
}

/// Returns whether the answer to a request for this path may be a token.
pub(super) fn has_secret_answer(path: &str) -> bool {
    path.starts_with("/session")
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

#[cfg(test)]
mod tests {
    use super::RawRequest;

    #[test]
    fn only_the_lists_of_instruments_are_listings() {
        for (path, is_listing) in [
            ("/instruments", true),
            ("/instruments/NSE", true),
            ("/mf/instruments", true),
            ("/instruments/historical/1/day", false),
            ("/instruments/trigger_range/buy", false),
            ("/quote", false),
            ("/", false),
        ] {
            assert_eq!(RawRequest::get(path).is_listing(), is_listing, "{path}");
        }
    }
}
