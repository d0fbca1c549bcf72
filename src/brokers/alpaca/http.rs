//! The requests of Alpaca's two APIs, trading and market data. [`client`](crate::brokers::http::client) sends each of
//! them once.
//!
//! # Answers out of step
//! HTTP/1.1 pairs answers with requests only by their order. So an answer counts only if it is about its call: a
//! placement names its `client_order_id`, a change the order that it replaces, and a read the order that was asked
//! for. Any other answer is [`ResponseError::WrongRequest`], and all idle connections are dropped.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request};

use super::classify;
use super::credentials::Credentials;
use crate::broker::{BrokerError, ErrorDetail, Partial, lanes};
use crate::brokers::http::answer::HttpAnswer;
use crate::brokers::http::client::{HttpClient, Terms, with_secret_header};
use crate::brokers::http::outcome::ResponseError;
use crate::{Effect, ReportedLimits};

const JSON: &str = "application/json";

/// The listing of all assets has megabytes. It gets this many times the ordinary timeout.
const LISTING_TIMEOUT_FACTOR: u32 = 10;

/// The API that a request goes to. Each has its own address and its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Trading,
    MarketData,
}

impl Api {
    /// Returns the lanes whose calls it counts together.
    fn lanes(self) -> &'static [&'static str] {
        match self {
            Self::Trading => &[lanes::TRANSACTIONAL],
            Self::MarketData => &[lanes::QUOTE, lanes::HISTORICAL],
        }
    }
}

/// One request.
pub(super) struct ApiRequest {
    api: Api,
    method: Method,
    /// From the root of the API, with the query string; made of checked parts.
    path: String,
    body: Option<String>,
    effect: Effect,
    is_listing: bool,
}

impl ApiRequest {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), None, Effect::Read)
    }

    /// Creates the request for the listing of assets, which may take longer.
    pub(super) fn get_listing(path: impl Into<String>) -> Self {
        Self { is_listing: true, ..Self::get(path) }
    }

    pub(super) fn get_market_data(path: impl Into<String>) -> Self {
        Self { api: Api::MarketData, ..Self::get(path) }
    }

    pub(super) fn post(path: impl Into<String>, body: String) -> Self {
        Self::new(Method::POST, path.into(), Some(body), Effect::Write)
    }

    pub(super) fn patch(path: impl Into<String>, body: String) -> Self {
        Self::new(Method::PATCH, path.into(), Some(body), Effect::Write)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), None, Effect::Write)
    }

    fn new(method: Method, path: String, body: Option<String>, effect: Effect) -> Self {
        Self { api: Api::Trading, method, path, body, effect, is_listing: false }
    }
}

/// The HTTP client, the addresses of the APIs, and the credentials.
pub(super) struct Http {
    pub(super) client: HttpClient,
    /// The address of orders and the account, without a slash at its end.
    pub(super) trading_url: String,
    /// The address of market data, without a slash at its end.
    pub(super) data_url: String,
    pub(super) timeout: Duration,
    /// The longest answer, in bytes after decompression.
    pub(super) max_answer: u64,
    /// The same for the listing of assets.
    pub(super) max_listing: u64,
    pub(super) credentials: Credentials,
    pub(super) reported: ReportedLimits,
    pub(super) counts: LastCounts,
}

/// The last count that each API reported: how many more requests it takes, and when it begins to count anew.
#[derive(Default)]
pub(super) struct LastCounts {
    trading: Mutex<Option<(u32, Timestamp)>>,
    market_data: Mutex<Option<(u32, Timestamp)>>,
}

impl LastCounts {
    fn of(&self, api: Api) -> &Mutex<Option<(u32, Timestamp)>> {
        match api {
            Api::Trading => &self.trading,
            Api::MarketData => &self.market_data,
        }
    }
}

impl Http {
    /// Sends a request and builds a value from the answer. If `build` fails, the answer cannot be used.
    pub(super) fn request_data<T: DeserializeOwned, U, E: Into<ResponseError>>(
        &self,
        call: &ApiRequest,
        build: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, BrokerError> {
        self.request(call, |answer| {
            parse(&answer.body).and_then(|data| build(data).map_err(Into::into))
        })
    }

    /// Like `request_data`, for an answer of many rows.
    pub(super) fn request_rows<T: DeserializeOwned, U, E: Into<ResponseError>>(
        &self,
        call: &ApiRequest,
        build: impl FnOnce(T) -> Result<Partial<U>, E>,
    ) -> Result<Partial<U>, BrokerError> {
        self.request_data(call, build).map(|rows| self.redact_rows(rows))
    }

    /// Returns the answer with secrets removed from its unreadable rows.
    pub(super) fn redact_rows<T>(&self, rows: Partial<T>) -> Partial<T> {
        if rows.is_complete() { rows } else { self.credentials.secrets().redact_rows(rows) }
    }

    /// Sends a request whose successful answer has no body. An answer with one is that to another call, or the page of a
    /// gateway.
    pub(super) fn execute(&self, call: &ApiRequest) -> Result<(), BrokerError> {
        self.request(call, |answer| match answer.body.trim_ascii() {
            [] => Ok(()),
            _ => Err(ResponseError::WrongRequest("it has a body".to_owned())),
        })
    }

    /// Sends `call` once and reads the answer. Secrets are removed from every error.
    fn request<T>(
        &self,
        call: &ApiRequest,
        read: impl FnOnce(&HttpAnswer) -> Result<T, ResponseError>,
    ) -> Result<T, BrokerError> {
        self.round_trip(call)
            .and_then(|answer| {
                classify::check_success(&answer, call.effect)?;
                read(&answer).map_err(|why| {
                    self.drop_connections_if_out_of_step(call.effect, &why);
                    classify::response_error(&answer, call.effect, &why)
                })
            })
            .map_err(|error| self.credentials.secrets().redact(error))
    }

    /// Drops all idle connections if an answer may have belonged to another call: on a connection that is out of
    /// step, each answer is that to the call before.
    fn drop_connections_if_out_of_step(&self, effect: Effect, why: &ResponseError) {
        if effect == Effect::Write || matches!(why, ResponseError::WrongRequest(_)) {
            self.client.drop_idle_connections();
        }
    }

    /// Checks whether the API takes one more request, of a call that has already made one.
    ///
    /// # Errors
    /// `Transient`: by its last answer it takes none at present. It is not `Throttled`, because the broker has refused
    /// nothing, and a pause would hold exits.
    pub(super) fn check_count(&self, api: Api) -> Result<(), BrokerError> {
        let last = *self.counts.of(api).lock();
        let Some((0, reset_at)) = last else { return Ok(()) };
        match Duration::try_from(reset_at.duration_since(Timestamp::now())) {
            Ok(wait) if !wait.is_zero() => Err(BrokerError::Transient(
                ErrorDetail::new("the answer has more pages than the broker's count allows")
                    .status(200)
                    .retry_in(wait),
            )),
            _ => Ok(()),
        }
    }

    /// Passes on the count that an answer reports.
    fn report(&self, api: Api, answer: &HttpAnswer) {
        let remaining = answer.header("x-ratelimit-remaining");
        let remaining = remaining.and_then(|text| text.trim().parse::<u32>().ok());
        let (Some(remaining), Some(reset_in)) = (remaining, classify::reset_wait(answer)) else {
            return;
        };
        let reset_at = answer.received.checked_add(reset_in).unwrap_or(answer.received);
        *self.counts.of(api).lock() = Some((remaining, reset_at));
        self.reported.report(api.lanes(), remaining, reset_in);
    }

    fn round_trip(&self, call: &ApiRequest) -> Result<HttpAnswer, BrokerError> {
        let base = match call.api {
            Api::Trading => &self.trading_url,
            Api::MarketData => &self.data_url,
        };
        let request = Request::builder().method(&call.method).uri(format!("{base}{}", call.path));
        let keys = self.credentials.keys();
        let request = with_secret_header(request, "apca-api-key-id", keys.key_id.expose_secret());
        let request =
            with_secret_header(request, "apca-api-secret-key", keys.secret_key.expose_secret());
        let factor = if call.is_listing { LISTING_TIMEOUT_FACTOR } else { 1 };
        let terms = Terms {
            effect: call.effect,
            timeout: self.timeout.saturating_mul(factor),
            max_answer: if call.is_listing { self.max_listing } else { self.max_answer },
        };
        let body = call.body.as_deref().map(|body| (JSON, body));
        let answer = self.client.exchange(request, body, terms)?;
        self.report(call.api, &answer);
        Ok(answer)
    }
}

/// Parses the body of a successful answer.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ResponseError> {
    serde_json::from_slice(body).map_err(|error| ResponseError::Unreadable(error.to_string()))
}
