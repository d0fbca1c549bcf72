//! The upstream: sends one request once, over a pool of connections, and returns the answer as it came.
//!
//! # At most once
//! A request is handed to a connection, which either takes it or gives it back. Given back, it was not sent, and
//! another connection may take it. Taken, it may have left, and whatever fails from then on is [`UpstreamError::Lost`]. No
//! answer is followed, and nothing is repeated here: the lanes decide that.
//!
//! # As it came
//! Method, path, query, body, status and body of the answer are not touched. Of the headers those that concern one
//! connection are replaced (`headers.rs`).
//!
//! - `address.rs` is where the upstream is, and how it is connected to.
//! - `pool.rs` keeps idle connections. `answer.rs` is an answer: small ones whole, large ones as they come.
//! - `redactor.rs` overwrites secrets that an upstream echoes.

mod address;
mod answer;
mod headers;
mod pool;
mod redactor;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};

pub use self::address::AddressError;
pub(crate) use self::address::UpstreamAddress;
pub(crate) use self::answer::{Answer, AnswerBody, StreamedBody};
pub(crate) use self::headers::{to_client, to_upstream};
use self::pool::{Connection, Pool};
pub(crate) use self::redactor::Redactor;
use crate::describe::describe;

/// How long a connection may take to be made. A client waits for it, so it is far below the timeout of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A request, as it is sent.
#[derive(Clone)]
pub(crate) struct UpstreamRequest {
    pub(crate) method: Method,
    /// The path and the query, as the client wrote them.
    pub(crate) target: String,
    /// Those of the client without what concerns the gateway, and the credentials of the gateway.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How one request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long it may take until the head and, unless it is large, the body of the answer are here.
    pub(crate) timeout: Duration,
    /// Up to which size an answer is taken whole. `usize::MAX`: always.
    pub(crate) whole_up_to: usize,
    /// The longest answer that is taken whole. A longer one is an error.
    pub(crate) max_whole: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The request did not leave.
    #[error("the upstream cannot be reached: {0}")]
    NotSent(String),
    /// The request may have left, and no answer can be used.
    #[error("the answer of the upstream was lost: {0}")]
    Lost(String),
}

/// The HTTP API of a broker.
pub(crate) struct Upstream {
    address: UpstreamAddress,
    pool: Pool,
}

impl Upstream {
    pub(crate) fn new(address: UpstreamAddress) -> Self {
        Self { address, pool: Pool::default() }
    }

    pub(crate) fn address(&self) -> &UpstreamAddress {
        &self.address
    }

    /// Closes the idle connections that cannot be used any more.
    pub(crate) fn close_unusable(&self) {
        self.pool.close_unusable();
    }

    /// Sends a request once, and returns its answer, whatever its status.
    pub(crate) async fn exchange(
        &self,
        request: UpstreamRequest,
        terms: Terms,
    ) -> Result<Answer, UpstreamError> {
        let deadline = Instant::now() + terms.timeout;
        let mut request = self.to_http(request)?;
        loop {
            let (mut connection, is_new) = match self.pool.take() {
                Some(connection) => (connection, false),
                None => (self.connect(deadline).await?, true),
            };
            let sent = timeout_at(deadline, connection.send(request)).await;
            let Ok(sent) = sent else {
                return Err(UpstreamError::Lost(format!(
                    "it did not begin within {:?}",
                    terms.timeout
                )));
            };
            match sent {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(UpstreamError::Lost("it is of another protocol".to_owned()));
                }
                Ok(response) => {
                    return answer::receive(response, connection, &self.pool, terms, deadline)
                        .await;
                }
                Err(mut error) => match error.take_message() {
                    // The connection was closed before it took the request: an idle one that the upstream gave up.
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) => return Err(UpstreamError::NotSent(describe(&error.into_error()))),
                    None => return Err(UpstreamError::Lost(describe(&error.into_error()))),
                },
            }
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, UpstreamError> {
        let limit = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        match timeout_at(limit, self.address.connect()).await {
            Ok(Ok((stream, probe))) => Connection::new(stream, probe)
                .await
                .map_err(|error| UpstreamError::NotSent(describe(&error))),
            Ok(Err(error)) => Err(UpstreamError::NotSent(describe(&error))),
            Err(_) => Err(UpstreamError::NotSent("no connection in time".to_owned())),
        }
    }

    fn to_http(&self, request: UpstreamRequest) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let UpstreamRequest { method, target, headers, body } = request;
        let uri: Uri = target.parse().map_err(|error| {
            UpstreamError::NotSent(format!("the address cannot be sent: {error}"))
        })?;
        let mut http = Request::new(Full::new(body));
        *http.method_mut() = method;
        *http.uri_mut() = uri;
        *http.headers_mut() = headers;
        http.headers_mut().insert(hyper::header::HOST, self.address.host_header().clone());
        Ok(http)
    }
}
