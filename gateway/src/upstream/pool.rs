//! Connections to an upstream, and the idle ones among them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::UpstreamStream;

/// How long an idle connection is kept. Servers close theirs after a minute or more, and a connection that both ends
/// close at the same moment loses the request that is on its way.
const MAX_IDLE: Duration = Duration::from_secs(25);

/// How many idle connections are kept.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// One connection, which a task drives.
pub(super) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Sends a request. An error gives the request back if it did not leave.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.0.try_send_request(request).await
    }
}

/// Speaks HTTP/1.1 on a stream.
pub(super) async fn handshake(stream: UpstreamStream) -> hyper::Result<Connection> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The error reaches the request that is under way, if there is one.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection(sender))
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// The idle connections. The one that was used last is used next, so that a quiet hour lets the others end.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Idle>>>);

impl Pool {
    /// Returns a connection that is open and idle.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.0.lock();
        let now = Instant::now();
        while let Some(Idle { connection, since }) = idle.pop() {
            if now - since > MAX_IDLE {
                // Those below it have been idle for longer.
                idle.clear();
                return None;
            }
            // One that the upstream has closed, or on which it sent something unasked, is not ready.
            if connection.0.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end, once its task has noticed that too.
    pub(super) fn put(&self, mut connection: Connection) {
        if connection.0.is_closed() {
            return;
        }
        if connection.0.is_ready() {
            self.keep(connection);
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            if connection.0.ready().await.is_ok() {
                pool.keep(connection);
            }
        });
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.0.lock();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}
