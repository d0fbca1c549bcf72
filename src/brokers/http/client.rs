//! Sends one request once, and reads its answer to the end.
//!
//! # At most once
//! ureq 3 sends a request once: its `run` has one loop, for redirects only, and nothing in it catches
//! an error to retry, not even on a stale connection (read in 3.5.1). Before it takes a connection from its pool, it
//! checks whether the peer has closed it or sent anything, and takes another one if so; that is before the first byte
//! is written. If a connection breaks between that check and the answer, the call fails, and
//! `transport_error.rs` classifies the error. Redirects are switched off, because an order
//! that follows one is sent twice.
//!
//! # Connections
//! ureq drops a connection with bytes beyond its answer, both when it returns the connection to the pool (from 3.4.1
//! on, this includes bytes that it has read already) and when it takes it out again.

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use ureq::http::request::Builder;
use ureq::http::{HeaderValue, Response, header};
use ureq::{Agent, Body, SendBody};

use super::answer::HttpAnswer;
use super::outcome::{decode_error, no_answer_error};
use super::transport_error::{TrackedBody, transport_error};
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail};

/// A connection pool.
pub(in crate::brokers) struct HttpClient {
    /// Replaced when its connections can no longer be trusted.
    agent: RwLock<Agent>,
}

/// The terms of one exchange.
#[derive(Debug, Clone, Copy)]
pub(in crate::brokers) struct Terms {
    pub(in crate::brokers) effect: Effect,
    /// How long it may take, from the name lookup to the last byte.
    pub(in crate::brokers) timeout: Duration,
    /// The longest answer, in bytes after decompression.
    pub(in crate::brokers) max_answer: u64,
}

impl HttpClient {
    pub(in crate::brokers) fn new(agent: Agent) -> Self {
        Self { agent: RwLock::new(agent) }
    }

    /// Returns a client of the same settings with connections of its own.
    #[cfg(feature = "kite")]
    pub(in crate::brokers) fn with_own_connections(&self) -> Self {
        Self::new(Agent::new_with_config(self.agent.read().config().clone()))
    }

    /// Drops all idle connections. Calls in flight keep theirs.
    pub(in crate::brokers) fn drop_idle_connections(&self) {
        let mut agent = self.agent.write();
        *agent = Agent::new_with_config(agent.config().clone());
    }

    /// Sends a request once and reads its answer. `body` is its content type and its text.
    ///
    /// # Errors
    /// There is no answer, or it broke off, or it is too long. An answer with any status is not an error here.
    pub(in crate::brokers) fn exchange(
        &self,
        request: Builder,
        body: Option<(&str, &str)>,
        terms: Terms,
    ) -> Result<HttpAnswer, BrokerError> {
        let (result, body_left) = match body {
            Some((kind, text)) => {
                // With a known length the body is sent as it is, not in chunks, which some gateways refuse.
                let request = request
                    .header(header::CONTENT_TYPE, kind)
                    .header(header::CONTENT_LENGTH, text.len());
                let mut body = TrackedBody::new(text);
                let result = self.send(request, SendBody::from_reader(&mut body), terms);
                (result, Some(body.handed_over()))
            }
            None => (self.send(request, SendBody::none(), terms), None),
        };
        match result {
            Ok(response) => read_response(response, terms),
            Err(error) => Err(transport_error(&error, terms.effect, body_left)),
        }
    }

    fn send(
        &self,
        request: Builder,
        body: SendBody<'_>,
        terms: Terms,
    ) -> Result<Response<Body>, ureq::Error> {
        // Cloned, so that no other thread waits for the lock during the call.
        let agent = self.agent.read().clone();
        let request = agent
            .configure_request(request.body(body)?)
            .timeout_global(Some(terms.timeout))
            .build();
        agent.run(request)
    }
}

/// Adds a header that is never logged. A value that no header can carry stays in the builder as an error.
pub(in crate::brokers) fn with_secret_header(request: Builder, name: &str, text: &str) -> Builder {
    match HeaderValue::from_str(text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(name, value)
        }
        Err(_) => request.header(name, text),
    }
}

fn read_response(response: Response<Body>, terms: Terms) -> Result<HttpAnswer, BrokerError> {
    let (head, body) = response.into_parts();
    let mut answer = HttpAnswer {
        status: head.status.as_u16(),
        headers: head.headers,
        received: Timestamp::now(),
        body: Vec::new(),
    };
    let Err(cut) = read_limited(terms.max_answer, body.into_reader(), &mut answer.body) else {
        return Ok(answer);
    };
    // A throttle is recognised by its status. The beginning of any other answer proves nothing.
    if answer.status == 429 {
        return Ok(answer);
    }
    let detail = ErrorDetail::new(cut.to_string()).status(answer.status);
    Err(match cut {
        // The next answer may be complete.
        BodyReadError::Interrupted(_) => no_answer_error(terms.effect, detail),
        // The next answer would be as long.
        BodyReadError::TooLong(_) => decode_error(terms.effect, detail),
    })
}

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::brokers) enum BodyReadError {
    #[error("the answer broke off: {0}")]
    Interrupted(std::io::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
}

/// Reads `body`, at most `most` bytes of it, and returns an error if that is not all. It counts bytes after
/// decompression, so a small gzip cannot fill the memory, and it ignores the length that the header announces.
pub(in crate::brokers) fn read_limited(
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
