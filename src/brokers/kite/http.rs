//! HTTP: sends one request once, and reads its answer to the end.
//!
//! # At most once
//! ureq 3 sends a request once: its `run` has one loop, for redirects only, and nothing in it catches
//! an error to retry, not even on a stale connection (read in 3.5.1). Before it takes a connection from its pool, it
//! checks whether the peer has closed it or sent anything, and takes another one if so; that is before the first byte
//! is written. If a connection breaks between that check and the answer, the call fails, and
//! `transport_error.rs` classifies the error. Redirects are switched off, because an order
//! that follows one is sent twice.
//!
//! # Answers out of step
//! HTTP/1.1 pairs answers with requests only by their order. ureq drops a connection with bytes
//! beyond its answer, both when it returns the connection to the pool (from 3.4.1 on, this includes bytes that it has
//! read already) and when it takes it out again. It cannot see bytes that arrive after that check: a second answer to
//! an earlier request that arrives while the next one is in flight, or an unsolicited answer on a new connection.
//! Such bytes look like the answer, and only their content can tell: an answer about another order than the requested
//! one, or, for a new order, with an id that [is known](super::known_ids), is [`ResponseError::WrongRequest`].

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use ureq::{Agent, Body, SendBody};

use super::classify;
use super::classify::ResponseError;
use super::credentials::Credentials;
use super::instruments;
use super::response::RawResponse;
use super::transport_error;
use super::transport_error::TrackedBody;
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail, InstrumentInfo, Partial, Rows, SlicedOrder};

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

/// A connection pool, the address of the API, and the credentials.
pub(super) struct Http {
    /// Replaced when its connections can no longer be trusted.
    pub(super) agent: RwLock<Agent>,
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
            agent: RwLock::new(Agent::new_with_config(self.agent.read().config().clone())),
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
            let mut agent = self.agent.write();
            *agent = Agent::new_with_config(agent.config().clone());
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
        let (result, body_left) = match &call.body {
            Some(RequestBody { text, .. }) => {
                let mut body = TrackedBody::new(text);
                let result = self.send(call, SendBody::from_reader(&mut body));
                (result, Some(body.handed_over()))
            }
            None => (self.send(call, SendBody::none()), None),
        };
        match result {
            Ok(response) => self.read_response(response, call),
            Err(error) => Err(transport_error::transport_error(&error, call.effect, body_left)),
        }
    }

    fn send(&self, call: &ApiRequest, body: SendBody<'_>) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header("X-Kite-Version", API_VERSION);
        if let Some(RequestBody { content_type, text }) = &call.body {
            // With a known length the body is sent as it is, not in chunks, which some gateways refuse.
            request = request
                .header(header::CONTENT_TYPE, *content_type)
                .header(header::CONTENT_LENGTH, text.len());
        }
        if let Some(token) = self.credentials.token() {
            let text = format!("token {}:{}", self.api_key, token.expose_secret());
            let mut value = HeaderValue::from_str(&text).map_err(ureq::http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let factor = if call.is_listing { LISTING_TIMEOUT_FACTOR } else { 1 };
        // Cloned, so that no other thread waits for the lock during the call.
        let agent = self.agent.read().clone();
        let request = agent
            .configure_request(request.body(body)?)
            .timeout_global(Some(self.timeout.saturating_mul(factor)))
            .build();
        agent.run(request)
    }

    fn read_response(
        &self,
        response: Response<Body>,
        call: &ApiRequest,
    ) -> Result<RawResponse, BrokerError> {
        let (head, body) = response.into_parts();
        let mut answer = RawResponse {
            status: head.status.as_u16(),
            retry_after: header_text(&head.headers, "retry-after"),
            date: header_text(&head.headers, "date"),
            received: Timestamp::now(),
            answered_by_edge: head.headers.contains_key("cf-mitigated"),
            body: Vec::new(),
        };
        let most = if call.is_listing { self.max_listing } else { self.max_answer };
        let Err(cut) = read_limited(most, body.into_reader(), &mut answer.body) else {
            return Ok(answer);
        };
        // A throttle is recognised by its status. The beginning of any other answer proves nothing.
        if answer.status == 429 {
            return Ok(answer);
        }
        let detail = ErrorDetail::new(cut.to_string()).status(answer.status);
        Err(match cut {
            // The next answer may be complete.
            BodyReadError::Interrupted(_) => classify::no_answer_error(call.effect, detail),
            // The next answer would be as long.
            BodyReadError::TooLong(_) => classify::decode_error(call.effect, detail),
        })
    }
}

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyReadError {
    #[error("the answer broke off: {0}")]
    Interrupted(std::io::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
}

/// Reads `body`, at most `most` bytes of it, and returns an error if that is not all. It counts bytes after
/// decompression, so a small gzip cannot fill the memory, and it ignores the length that the header announces.
pub(super) fn read_limited(
    most: u64,
    body: impl Read,
    into: &mut Vec<u8>,
) -> Result<(), BodyReadError> {
    // One byte more than allowed tells "too long" from "just fits".
    match body.take(most.saturating_add(1)).read_to_end(into) {
        Err(error) => Err(BodyReadError::Interrupted(error)),
        Ok(_) if into.len() as u64 > most => Err(BodyReadError::TooLong(most)),
        Ok(_) => Ok(()),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Returns the error for a request that was refused locally: nothing left this process.
pub(super) fn not_sent_error(why: impl Into<String>) -> BrokerError {
    BrokerError::NotSent(ErrorDetail::new(why).local())
}
