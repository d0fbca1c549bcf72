//! The requests of Kite's API. [`client`](crate::brokers::http::client) sends each of them once.
//!
//! # Answers out of step
//! HTTP/1.1 pairs answers with requests only by their order. ureq drops a connection with bytes
//! beyond its answer, both when it returns the connection to the pool (from 3.4.1 on, this includes bytes that it has
//! read already) and when it takes it out again. It cannot see bytes that arrive after that check: a second answer to
//! an earlier request that arrives while the next one is in flight, or an unsolicited answer on a new connection.
//! Such bytes look like the answer, and only their content can tell: an answer about another order than the requested
//! one, or, for a new order, with an id that [is known](super::known_ids), is [`ResponseError::WrongRequest`].

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request};

use super::classify;
use super::classify::ResponseError;
use super::credentials::Credentials;
use super::instruments;
use super::response::RawResponse;
use crate::Effect;
use crate::broker::{BrokerError, InstrumentInfo, Partial, Rows, SlicedOrder};
use crate::brokers::http::client::{HttpClient, Terms, with_secret_header};
pub(super) use crate::brokers::http::outcome::not_sent_error;

/// The version of Kite's API that this module speaks.
const API_VERSION: &str = "3";

/// The listing of all instruments has megabytes, and Kite builds it on request. It gets this many times the ordinary
/// timeout.
const LISTING_TIMEOUT_FACTOR: u32 = 10;

/// The content types of Kite's requests.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// The body of a request, and its content type.
struct RequestBody {
    content_type: &'static str,
    text: String,
}

/// One request. No `Debug`: the form of a login and the path of a logout hold secrets.
pub(super) struct ApiRequest {
    method: Method,
    /// From the root of the API, with the query string; made of checked segments.
    path: String,
    body: Option<RequestBody>,
    effect: Effect,
    is_listing: bool,
    /// Whether its answer holds new secrets, so that none of it may be shown.
    has_secret_response: bool,
}

impl ApiRequest {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None, Effect::Read)
    }

    /// Creates the request for the listing of instruments, which has a longer timeout.
    pub(super) fn get_listing(path: impl Into<String>) -> Self {
        Self { is_listing: true, ..Self::get(path) }
    }

    pub(super) fn post(path: impl Into<String>, form: String) -> Self {
        Self::new(Method::POST, path, Some((FORM, form)), Effect::Write)
    }

    /// Creates a request that computes something from `json`, such as a margin. It changes nothing, so it is a read
    /// although its method is POST.
    pub(super) fn compute(path: impl Into<String>, json: String) -> Self {
        Self::new(Method::POST, path, Some((JSON, json)), Effect::Read)
    }

    /// Creates the request for a token.
    pub(super) fn login(path: impl Into<String>, form: String) -> Self {
        Self { has_secret_response: true, ..Self::post(path, form) }
    }

    /// Creates a request of any method, for an endpoint that this adapter does not know.
    pub(super) fn raw(
        method: Method,
        path: String,
        body: Option<(&'static str, String)>,
        effect: Effect,
    ) -> Self {
        Self::new(method, path, body, effect)
    }

    /// Gives the request the longer timeout of a listing, if it is one.
    pub(super) fn listing_if(self, is_listing: bool) -> Self {
        Self { is_listing, ..self }
    }

    /// Lets no error show anything of the answer, if that may hold new secrets.
    pub(super) fn secret_if(self, has_secret_response: bool) -> Self {
        Self { has_secret_response, ..self }
    }

    pub(super) fn put(path: impl Into<String>, form: String) -> Self {
        Self::new(Method::PUT, path, Some((FORM, form)), Effect::Write)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None, Effect::Write)
    }

    fn new(
        method: Method,
        path: impl Into<String>,
        body: Option<(&'static str, String)>,
        effect: Effect,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            body: body.map(|(content_type, text)| RequestBody { content_type, text }),
            effect,
            is_listing: false,
            has_secret_response: false,
        }
    }
}

/// The HTTP client, the address of the API, and the credentials.
pub(super) struct Http {
    pub(super) client: HttpClient,
    /// Without a slash at its end.
    pub(super) base: String,
    pub(super) timeout: Duration,
    /// The longest answer, in bytes after decompression.
    pub(super) max_answer: u64,
    /// The same for the listing of instruments.
    pub(super) max_listing: u64,
    pub(super) api_key: String,
    pub(super) credentials: Credentials,
}

impl Http {
    /// Returns a client of the same settings with other credentials, and with connections of its own.
    pub(super) fn with_credentials(&self, credentials: Credentials) -> Self {
        Self {
            client: self.client.with_own_connections(),
            base: self.base.clone(),
            api_key: self.api_key.clone(),
            credentials,
            ..*self
        }
    }

    /// Sends a request and builds a value from the `data` of the answer. If `build` fails, the answer cannot be used.
    pub(super) fn request_data<T: DeserializeOwned, U, E: Into<ResponseError>>(
        &self,
        call: &ApiRequest,
        build: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, BrokerError> {
        self.request(call, |answer| {
            classify::check_success(answer, call.effect)?;
            classify::parse_data(answer).and_then(|data| build(data).map_err(Into::into)).map_err(
                |why| {
                    self.drop_connections_if_out_of_step(call.effect, &why);
                    classify::response_error(answer, call.effect, &why)
                },
            )
        })
    }

    /// Drops all idle connections if an answer may have belonged to another call: on a connection that is out of
    /// step, each answer is that to the call before. Calls in flight keep their connections. A read whose answer
    /// cannot be decoded is not such a sign: the next answer would be the same, and new handshakes would slow down
    /// orders.
    pub(super) fn drop_connections_if_out_of_step(&self, effect: Effect, why: &ResponseError) {
        if effect == Effect::Write || matches!(why, ResponseError::WrongRequest(_)) {
            self.client.drop_idle_connections();
        }
    }

    /// Like `request_data`, for an answer of many rows.
    pub(super) fn request_rows<T: DeserializeOwned, U, E: Into<ResponseError>>(
        &self,
        call: &ApiRequest,
        build: impl FnOnce(T) -> Result<Partial<U>, E>,
    ) -> Result<Partial<U>, BrokerError> {
        self.request_data(call, build).map(|partial| self.redact_rows(partial))
    }

    /// Like `request_data`, for an order that Kite may have divided into slices.
    pub(super) fn request_slices<T: DeserializeOwned>(
        &self,
        call: &ApiRequest,
        build: impl FnOnce(T) -> Result<SlicedOrder, ResponseError>,
    ) -> Result<SlicedOrder, BrokerError> {
        self.request_data(call, build).map(|order| self.credentials.secrets().redact_slices(order))
    }

    /// Requests the rows of a listing of instruments.
    pub(super) fn request_listing(
        &self,
        call: &ApiRequest,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.request_listing_of(call, instruments::parse_response)
    }

    /// Requests the rows of a listing that `parse` reads.
    pub(super) fn request_listing_of<T>(
        &self,
        call: &ApiRequest,
        parse: impl FnOnce(&RawResponse) -> Result<Rows<T>, BrokerError>,
    ) -> Result<Rows<T>, BrokerError> {
        self.request(call, parse).map(|rows| self.redact_rows(rows))
    }

    fn redact_rows<T>(&self, partial: Partial<T>) -> Partial<T> {
        if partial.is_complete() {
            partial
        } else {
            self.credentials.secrets().redact_rows(partial)
        }
    }

    /// Sends a request and checks only that Kite reports success.
    pub(super) fn execute(&self, call: &ApiRequest) -> Result<(), BrokerError> {
        self.request(call, |answer| classify::check_success(answer, call.effect))
    }

    /// Sends `call` once and reads the answer. Secrets are removed from every error.
    pub(super) fn request<T>(
        &self,
        call: &ApiRequest,
        read: impl FnOnce(&RawResponse) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        self.round_trip(call)
            .and_then(|answer| {
                read(&answer).map_err(|error| {
                    if call.has_secret_response {
                        classify::without_message(&answer, error)
                    } else {
                        error
                    }
                })
            })
            .map_err(|error| self.credentials.secrets().redact(error))
    }

    fn round_trip(&self, call: &ApiRequest) -> Result<RawResponse, BrokerError> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header("X-Kite-Version", API_VERSION);
        if let Some(token) = self.credentials.token() {
            let text = format!("token {}:{}", self.api_key, token.expose_secret());
            request = with_secret_header(request, "authorization", &text);
        }
        let factor = if call.is_listing { LISTING_TIMEOUT_FACTOR } else { 1 };
        let terms = Terms {
            effect: call.effect,
            timeout: self.timeout.saturating_mul(factor),
            max_answer: if call.is_listing { self.max_listing } else { self.max_answer },
        };
        let body = call.body.as_ref().map(|body| (body.content_type, body.text.as_str()));
        let answer = self.client.exchange(request, body, terms)?;
        Ok(RawResponse {
            status: answer.status,
            retry_after: answer.header("retry-after").map(str::to_owned),
            date: answer.header("date").map(str::to_owned),
            received: answer.received,
            answered_by_edge: answer.headers.contains_key("cf-mitigated"),
            body: answer.body,
        })
    }
}
