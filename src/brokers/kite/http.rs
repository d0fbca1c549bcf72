//! The mechanics of HTTP: send one request, once, and read its answer to the end.
//!
//! # At most once
//! ureq 3 sends a request once: its `run` has one loop, which goes round for redirects only, and
//! nothing in it catches an error to try again, stale connection or not (read in 3.5.1). Before it
//! takes a connection from its pool it looks whether the peer has closed it or said anything, and
//! takes another one if so; that is before the first byte is written. A connection that dies between
//! that look and the answer is an error, which [`transport`](super::transport) classes. Redirects
//! are switched off, for an order that follows one is sent twice.
//!
//! # Answers out of step
//! HTTP/1.1 pairs answers with requests by their order alone. ureq drops a connection that says more than
//! its answer, both when it returns it to the pool (from 3.4.1 on, what it has read already too) and when it
//! takes it out again. What it cannot see are bytes that arrive after that look: a second answer to an earlier
//! request that comes while the next is under way, or one that is sent unasked on a new connection. Those look
//! like the answer, and only what they say can tell: an answer that names another order than the one that was
//! asked for, or for a new order one that [is known](super::known_ids), is [`Unusable::OfAnother`].

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use ureq::{Agent, Body, SendBody};

use super::answer::Answer;
use super::classify::{self, Unusable};
use super::credentials::Credentials;
use super::listing;
use super::transport::{self, Form};
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail, InstrumentInfo, Partial, Rows, SlicedOrder};

/// The version of Kite's API that this module speaks.
const API_VERSION: &str = "3";

/// The dump of all instruments is megabytes, and Kite builds it on request. It gets this many times
/// the ordinary timeout.
const DUMP_PATIENCE: u32 = 10;

/// One request to be made. No `Debug`: the form of a login and the path of a logout hold secrets.
pub(super) struct Call {
    method: Method,
    /// From the root of the API, with the query string; made of checked segments.
    path: String,
    form: Option<String>,
    effect: Effect,
    dump: bool,
    /// Its answer holds secrets that nobody knows yet, so none of it may be shown.
    private: bool,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None, Effect::Read)
    }

    /// The dump of instruments, which takes its time.
    pub(super) fn dump(path: impl Into<String>) -> Self {
        Self { dump: true, ..Self::get(path) }
    }

    pub(super) fn post(path: impl Into<String>, form: String) -> Self {
        Self::new(Method::POST, path, Some(form), Effect::Write)
    }

    /// Asks for a token.
    pub(super) fn login(path: impl Into<String>, form: String) -> Self {
        Self { private: true, ..Self::post(path, form) }
    }

    pub(super) fn put(path: impl Into<String>, form: String) -> Self {
        Self::new(Method::PUT, path, Some(form), Effect::Write)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None, Effect::Write)
    }

    fn new(method: Method, path: impl Into<String>, form: Option<String>, effect: Effect) -> Self {
        Self { method, path: path.into(), form, effect, dump: false, private: false }
    }
}

/// A connection pool, an address, and the key to it.
pub(super) struct Http {
    /// Replaced when its connections are no longer to be trusted.
    pub(super) agent: RwLock<Agent>,
    /// Without a slash at its end.
    pub(super) base: String,
    pub(super) timeout: Duration,
    /// The longest answer, in bytes and unpacked.
    pub(super) max_answer: u64,
    /// The same of the dump of instruments.
    pub(super) max_listing: u64,
    pub(super) api_key: String,
    pub(super) credentials: Credentials,
}

impl Http {
    /// The `data` of Kite's answer, made into something. What `build` cannot make is an answer that
    /// cannot be used.
    pub(super) fn build<T: DeserializeOwned, U, E: Into<Unusable>>(
        &self,
        call: &Call,
        build: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, BrokerError> {
        self.send(call, |answer| {
            classify::success(answer, call.effect)?;
            classify::data(answer).and_then(|data| build(data).map_err(Into::into)).map_err(|why| {
                self.doubt_connections(call.effect, &why);
                classify::unusable(answer, call.effect, &why)
            })
        })
    }

    /// Leaves all connections behind if an answer may have been that to another call: on a connection that
    /// is out of step each answer is that to the call before. Calls under way keep theirs to their end. A read
    /// that cannot be read is no such sign, since the next one would come to the same, and the handshakes would
    /// slow down the orders.
    fn doubt_connections(&self, effect: Effect, why: &Unusable) {
        if effect == Effect::Write || matches!(why, Unusable::OfAnother(_)) {
            let mut agent = self.agent.write();
            *agent = Agent::new_with_config(agent.config().clone());
        }
    }

    /// The same of an answer of many rows.
    pub(super) fn rows<T: DeserializeOwned, U, E: Into<Unusable>>(
        &self,
        call: &Call,
        build: impl FnOnce(T) -> Result<Partial<U>, E>,
    ) -> Result<Partial<U>, BrokerError> {
        self.build(call, build).map(|partial| self.clean_rows(partial))
    }

    /// The same of an order that may have been divided.
    pub(super) fn sliced<T: DeserializeOwned>(
        &self,
        call: &Call,
        build: impl FnOnce(T) -> Result<SlicedOrder, Unusable>,
    ) -> Result<SlicedOrder, BrokerError> {
        self.build(call, build).map(|order| self.credentials.secrets().clean_slices(order))
    }

    /// The rows of a listing of instruments.
    pub(super) fn listing(&self, call: &Call) -> Result<Rows<InstrumentInfo>, BrokerError> {
        self.send(call, listing::answer).map(|rows| self.clean_rows(rows))
    }

    fn clean_rows<T>(&self, partial: Partial<T>) -> Partial<T> {
        if partial.is_complete() { partial } else { self.credentials.secrets().clean_rows(partial) }
    }

    /// Kite's word that it was done, whatever else it says.
    pub(super) fn done(&self, call: &Call) -> Result<(), BrokerError> {
        self.send(call, |answer| classify::success(answer, call.effect))
    }

    /// Sends `call` once and reads the answer. Every error leaves without secrets.
    pub(super) fn send<T>(
        &self,
        call: &Call,
        read: impl FnOnce(&Answer) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        self.exchange(call)
            .and_then(|answer| {
                read(&answer).map_err(|error| {
                    if call.private { classify::without_words(&answer, error) } else { error }
                })
            })
            .map_err(|error| self.credentials.secrets().clean(error))
    }

    fn exchange(&self, call: &Call) -> Result<Answer, BrokerError> {
        let (result, form_left) = match &call.form {
            Some(text) => {
                let mut form = Form::new(text);
                let result = self.run(call, SendBody::from_reader(&mut form));
                (result, Some(form.handed_over()))
            }
            None => (self.run(call, SendBody::none()), None),
        };
        match result {
            Ok(response) => self.read(response, call),
            Err(error) => Err(transport::failure(&error, call.effect, form_left)),
        }
    }

    fn run(&self, call: &Call, body: SendBody<'_>) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header("X-Kite-Version", API_VERSION);
        if let Some(form) = &call.form {
            // With its length known the form goes out as it is, not in chunks, which not every
            // gateway takes.
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::CONTENT_LENGTH, form.len());
        }
        if let Some(token) = self.credentials.token() {
            let text = format!("token {}:{}", self.api_key, token.expose_secret());
            let mut value = HeaderValue::from_str(&text).map_err(ureq::http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let patience = if call.dump { DUMP_PATIENCE } else { 1 };
        // Cloned, so that nobody waits for the lock during the call.
        let agent = self.agent.read().clone();
        let request = agent
            .configure_request(request.body(body)?)
            .timeout_global(Some(self.timeout.saturating_mul(patience)))
            .build();
        agent.run(request)
    }

    fn read(&self, response: Response<Body>, call: &Call) -> Result<Answer, BrokerError> {
        let (head, body) = response.into_parts();
        let mut answer = Answer {
            status: head.status.as_u16(),
            retry_after: text(&head.headers, "retry-after"),
            date: text(&head.headers, "date"),
            received: Timestamp::now(),
            mitigated: head.headers.contains_key("cf-mitigated"),
            body: Vec::new(),
        };
        let most = if call.dump { self.max_listing } else { self.max_answer };
        let Err(cut) = up_to(most, body.into_reader(), &mut answer.body) else {
            return Ok(answer);
        };
        // A throttle needs no words. Anything else may be the beginning of any answer.
        if answer.status == 429 {
            return Ok(answer);
        }
        let detail = ErrorDetail::new(cut.to_string()).status(answer.status);
        Err(match cut {
            // The next one may be whole.
            Cut::BrokeOff(_) => classify::lost(call.effect, detail),
            // The next one would be as long.
            Cut::TooLong(_) => classify::undecodable(call.effect, detail),
        })
    }
}

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the answer broke off: {0}")]
    BrokeOff(std::io::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
}

/// Reads all of `body`, if it is `most` bytes at most; else a beginning, and why that is not all.
/// What is counted was unpacked, so a small gzip cannot fill the memory; and it is counted as it
/// comes, whatever the head says.
pub(super) fn up_to(most: u64, body: impl Read, into: &mut Vec<u8>) -> Result<(), Cut> {
    // One byte more than allowed tells "too long" from "just fits".
    match body.take(most.saturating_add(1)).read_to_end(into) {
        Err(error) => Err(Cut::BrokeOff(error)),
        Ok(_) if into.len() as u64 > most => Err(Cut::TooLong(most)),
        Ok(_) => Ok(()),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Refused here; nothing left this process.
pub(super) fn not_sent(why: impl Into<String>) -> BrokerError {
    BrokerError::NotSent(ErrorDetail::new(why).local())
}
