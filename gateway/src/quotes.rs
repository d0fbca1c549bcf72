//! The quotes of all clients of an account at Kite: one request a second, whatever their number.
//!
//! The three quote routes of Kite share one cache of the rows of `/quote`, the fullest of them. `/quote/ohlc` and
//! `/quote/ltp` are answered with a part of the same row. So the quote lane carries one batch for all. A row is kept as
//! it was written, so that numbers reach the client digit by digit.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use lanekeeper::broker::lanes::QUOTE;
use lanekeeper::cache::{
    Batch, BatchBuilder, BatchCache, BatchConfig, BatchResult, CacheStats, Cached, FetchError,
    GetOptions, Origin, SharedValues,
};
use lanekeeper::lane::CallOptions;
use lanekeeper::shared_quota::{SharedQuota, SharedQuotaError};
use lanekeeper::{Broker, BrokerError, Effect, ErrorDetail, Instrument, LaneCall};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::account::Account;
use crate::call::{Failed, MAX_WHOLE};
use crate::judge::{Answered, CallError};
use crate::upstream::{Answer, UpstreamRequest};

/// How many requests may wait for quotes at a time. Each holds a thread, of which there are more.
const MAX_WAITING: usize = 256;

/// The name of the user of the shared batches in the lanes.
const QUOTE_USER: &str = "quotes";

/// Which of the quote routes a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteRoute {
    Full,
    Ohlc,
    Ltp,
}

impl QuoteRoute {
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        if method != Method::GET {
            return None;
        }
        match path {
            "/quote" => Some(Self::Full),
            "/quote/ohlc" => Some(Self::Ohlc),
            "/quote/ltp" => Some(Self::Ltp),
            _ => None,
        }
    }

    /// The fields of its rows, in Kite's order. `None` is the whole row.
    fn fields(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Full => None,
            Self::Ohlc => Some(&["instrument_token", "last_price", "ohlc"]),
            Self::Ltp => Some(&["instrument_token", "last_price"]),
        }
    }
}

/// Why there is no batch.
#[derive(Debug, Clone)]
pub(crate) enum BatchError {
    /// The lanes or the broker refused it. With the upstream's answer, if there is one.
    Failed(Arc<CallError>),
    /// The gateway is ending.
    Ended,
}

/// One row, as Kite wrote it.
pub(crate) type Row = Box<RawValue>;

/// The quotes of an account.
pub(crate) struct Quotes {
    cache: Arc<BatchCache<String, Row, BatchError>>,
    waiting: Semaphore,
}

/// The quotes that a request asked for.
pub(crate) struct Found {
    pub(crate) rows: HashMap<String, Cached<Row>>,
    pub(crate) is_from_memory: bool,
    /// The age of the oldest row.
    pub(crate) age: Duration,
}

impl Quotes {
    /// Makes the cache. The account exists later than it, so `account` is looked up for each batch. With a shared quota the rows
    /// are shared with the other gateways of the account.
    pub(crate) fn new(
        kite: &impl Broker,
        ttl: Duration,
        shared: Option<&SharedQuota>,
        account: impl Fn() -> Weak<Account> + Send + Sync + 'static,
    ) -> Self {
        let limit = kite.quote_batch_limit();
        let mut config = BatchConfig::default();
        config.ttl = ttl;
        config.negative_ttl = Duration::from_secs(5);
        config.max_age = Some(Duration::from_secs(60));
        config.max_batch_keys = limit.count;
        config.max_batch_weight = limit.bytes;
        config.time_to_idle = Duration::from_secs(10);
        let builder = BatchBuilder::new(config)
            .weigher(move |key: &String| limit.cost(&instrument(key)))
            .split_on(|error| {
                let BatchError::Failed(error) = error else { return false };
                match &**error {
                    CallError::Broker(failure) => {
                        matches!(failure.error, BrokerError::Rejected(_))
                    }
                    CallError::Lane(_) => false,
                }
            });
        let fetch = move |batch: &Batch<String>| {
            let account = account().upgrade().ok_or(BatchError::Ended)?;
            let rows = fetch(&account, batch)?;
            Ok(rows.into_iter().map(|(key, row)| (key, Ok(row))).collect())
        };
        // It was checked with the quota that it can be shared.
        let cache = match shared.and_then(|quota| shared_rows(quota).ok()) {
            Some(rows) => builder.build_shared(rows, fetch),
            None => builder.build_each(fetch),
        };
        Self { cache: Arc::new(cache), waiting: Semaphore::new(MAX_WAITING) }
    }

    /// Returns the quotes of `keys`, from memory if all are there and young enough.
    pub(crate) async fn get(
        &self,
        keys: Vec<String>,
        max_age: Option<Duration>,
        time: Duration,
    ) -> Result<Found, BatchFailure> {
        let options = GetOptions::new();
        let options = max_age.map_or(options, |max_age| options.max_age(max_age));
        let found = match self.cache.cached_many(&keys, &options) {
            Some(found) => found,
            None => {
                let deadline = tokio::time::Instant::now() + time;
                let waiting = tokio::time::timeout_at(deadline, self.waiting.acquire()).await;
                let Ok(Ok(_waiting)) = waiting else { return Err(BatchFailure::OutOfTime) };
                let cache = Arc::clone(&self.cache);
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                let options = options.deadline(left);
                let task = move || cache.get_many_with(&keys, &options);
                let found = tokio::task::spawn_blocking(task).await;
                found.map_err(|_| BatchFailure::OutOfTime)?
            }
        };
        to_found(found)
    }

    pub(crate) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

/// Returns what the gateways of an account need to share rows, as Kite wrote them.
fn shared_rows(quota: &SharedQuota) -> Result<SharedValues<String, Row>, SharedQuotaError> {
    let encode = |row: &Row| Some(row.get().as_bytes().to_vec());
    let decode = |_: &String, text: &[u8], _| serde_json::from_slice(text).ok();
    SharedValues::new(quota, "row", encode, decode)
}

/// Why a request for quotes has no answer.
#[derive(Debug)]
pub(crate) enum BatchFailure {
    /// No batch came in the client's time.
    OutOfTime,
    /// The batch failed.
    Failed(BatchError),
    /// A fault of this program.
    Internal(String),
}

fn to_found(found: BatchResult<String, Row, BatchError>) -> Result<Found, BatchFailure> {
    let rows = found.complete().map_err(|error| match error {
        FetchError::Failed(error) | FetchError::KeyFailed(error) => BatchFailure::Failed(error),
        FetchError::TimedOut { .. } | FetchError::TooOld { .. } => BatchFailure::OutOfTime,
        FetchError::Panicked { message } => BatchFailure::Internal(message),
        FetchError::NoThread { error } => BatchFailure::Internal(error),
        _ => BatchFailure::Internal("the batch took no instruments".to_owned()),
    })?;
    let is_from_memory = !rows.is_empty() && rows.values().all(is_from_memory);
    let age = rows.values().map(|row| row.age).max().unwrap_or_default();
    Ok(Found { rows, is_from_memory, age })
}

fn instrument(key: &str) -> Instrument {
    let (exchange, symbol) = key.split_once(':').unwrap_or(("", key));
    Instrument::new(exchange, symbol)
}

/// Returns the instruments of a query, if it asks for nothing else.
pub(crate) fn instruments(query: &str) -> Option<Vec<String>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut keys: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for (name, value) in pairs {
        if name != "i" || value.is_empty() {
            return None;
        }
        if known.insert(value.clone()) {
            keys.push(value.into_owned());
        }
    }
    (!keys.is_empty()).then_some(keys)
}

/// Fetches one batch through the quote lane.
fn fetch(
    account: &Arc<Account>,
    batch: &Batch<String>,
) -> Result<HashMap<String, Row>, BatchError> {
    let call = LaneCall::read(QUOTE).name("GET /quote");
    let options = CallOptions::new().user(QUOTE_USER);
    let (account, lanes) = (Arc::clone(account), account.lanes.clone());
    let batch = batch.clone();
    let work = move || {
        let keys = batch.keys();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        fetch_rows(&account, &keys)
    };
    lanes.call(&call, &options, work).map_err(|error| BatchError::Failed(Arc::new(error)))
}

/// Makes one request for quotes. Blocks the thread, which is that of a lane.
pub(crate) fn fetch_rows(
    account: &Account,
    keys: &[String],
) -> Result<HashMap<String, Row>, CallError> {
    rows(account.exchange_blocking(Effect::Read, request(keys), MAX_WHOLE)?)
}

fn request(keys: &[String]) -> UpstreamRequest {
    let pairs = keys.iter().map(|key| ("i", key));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let target = format!("/quote?{query}");
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-kite-version"), HeaderValue::from_static("3"));
    UpstreamRequest { method: Method::GET, target, headers, body: Bytes::new() }
}

/// Reads the rows of an answer, as they were written.
fn rows(answered: Answered) -> Result<HashMap<String, Row>, CallError> {
    #[derive(Deserialize)]
    struct Envelope {
        data: HashMap<String, Row>,
    }
    let Answered { answer, times } = answered;
    let body = answer.whole().map(|body| serde_json::from_slice::<Envelope>(body));
    match body {
        Some(Ok(envelope)) => Ok(envelope.data),
        Some(Err(error)) => Err(malformed(error.to_string(), answer, times)),
        None => Err(malformed("it is too long".to_owned(), answer, times)),
    }
}

fn malformed(why: String, answer: Answer, times: crate::judge::Times) -> CallError {
    let detail = ErrorDetail::new(format!("the quotes cannot be decoded: {why}"));
    CallError::broker(BrokerError::Malformed(detail), Some(answer), times)
}

/// Writes Kite's answer to a quote route.
pub(crate) fn body(route: QuoteRoute, keys: &[String], found: &Found) -> Bytes {
    let mut text = String::from(r#"{"status":"success","data":{"#);
    let mut separator = "";
    for key in keys {
        let Some(row) = found.rows.get(key) else { continue };
        // A string is always written.
        let name = serde_json::to_string(key).unwrap_or_default();
        let _ = write!(text, "{separator}{name}:{}", part(route, &row.value));
        separator = ",";
    }
    text.push_str("}}");
    Bytes::from(text)
}

/// Returns the part of a row that a route has.
fn part(route: QuoteRoute, row: &RawValue) -> String {
    let Some(fields) = route.fields() else { return row.get().to_owned() };
    let Ok(members) = serde_json::from_str::<HashMap<&str, &RawValue>>(row.get()) else {
        return row.get().to_owned();
    };
    let present = fields
        .iter()
        .filter_map(|field| members.get(field).map(|value| format!("\"{field}\":{}", value.get())));
    format!("{{{}}}", present.collect::<Vec<_>>().join(","))
}

/// Returns whether a row was in memory already, of this gateway or of another one.
pub(crate) fn is_from_memory(row: &Cached<Row>) -> bool {
    matches!(row.origin, Origin::Memory | Origin::Shared)
}

/// Returns the last price of a row, as it was written.
pub(crate) fn last_price(row: &RawValue) -> Option<String> {
    let members: HashMap<&str, &RawValue> = serde_json::from_str(row.get()).ok()?;
    members.get("last_price").map(|price| price.get().trim_matches('"').to_owned())
}

/// Returns a failed batch as the failure of a call, for the words that a client gets.
pub(crate) fn to_failed(failure: BatchFailure) -> Failed {
    match failure {
        BatchFailure::OutOfTime => Failed::OutOfTime,
        BatchFailure::Failed(BatchError::Ended) => Failed::OutOfTime,
        BatchFailure::Failed(BatchError::Failed(error)) => Failed::Call(copy(&error)),
        BatchFailure::Internal(why) => {
            let now = tokio::time::Instant::now();
            let times = crate::judge::Times { started: now, ended: now };
            let error = BrokerError::Transient(ErrorDetail::new(why));
            Failed::Call(CallError::broker(error, None, times))
        }
    }
}

/// Copies an error that several clients get. An answer in it is whole, as all of errors are.
fn copy(error: &CallError) -> CallError {
    match error {
        CallError::Lane(error) => CallError::Lane(error.clone()),
        CallError::Broker(failure) => {
            let answer = failure.answer.as_ref().and_then(Answer::copy);
            CallError::broker(failure.error.clone(), answer, failure.times)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reaches_each_route_digit_by_digit() {
        let row = r#"{"instrument_token":408065,"timestamp":"2026-11-30 10:00:00","last_price":1501.0500,
            "ohlc":{"open":1.10,"high":2,"low":1e0,"close":99725.05000000002},"depth":{}}"#;
        let row: Box<RawValue> = serde_json::from_str(row).unwrap();
        assert_eq!(
            part(QuoteRoute::Ltp, &row),
            r#"{"instrument_token":408065,"last_price":1501.0500}"#
        );
        let ohlc = r#"{"instrument_token":408065,"last_price":1501.0500,"ohlc":{"open":1.10,"high":2,"low":1e0,"close":99725.05000000002}}"#;
        assert_eq!(part(QuoteRoute::Ohlc, &row), ohlc);
        assert_eq!(part(QuoteRoute::Full, &row), row.get());
        assert_eq!(last_price(&row).as_deref(), Some("1501.0500"));
    }

    #[test]
    fn only_a_query_of_instruments_alone_is_answered_from_the_cache() {
        let keys = |query| instruments(query).unwrap_or_default();
        assert_eq!(keys("i=NSE:INFY&i=NSE%3AM%26M&i=NSE:INFY"), ["NSE:INFY", "NSE:M&M"]);
        for query in ["", "i=", "i=NSE:INFY&x=1", "j=NSE:INFY"] {
            assert_eq!(instruments(query), None, "{query}");
        }
        assert_eq!(request(&keys("i=NSE:M%26M&i=A:B")).target, "/quote?i=NSE%3AM%26M&i=A%3AB");
    }
}
