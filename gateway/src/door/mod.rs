//! The door: accepts connections and reads requests, within limits.
//!
//! - `stream.rs` is a connection that gives up on a client that is too slow, and reports what its client was told.
//! - `malformed.rs` answers requests that cannot be read.
//! - `request.rs` checks that a request is one for a gateway: for a path, to a host that is its own.
//! - `serve.rs` serves one connection. The handling of a request goes on if the client hangs up.

mod malformed;
pub(crate) mod request;
mod serve;
mod stream;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::Semaphore;

pub(crate) use request::ClientRequest;
pub(crate) use stream::Deliveries;

use crate::logging;
use crate::shared::Shared;

/// How long the door waits after a connection could not be accepted: most likely no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Accepts connections until the gateway closes.
///
/// A connection beyond the limit is closed at once. If it waited, clients that send half a request could keep all
/// others out.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let limit = shared.door.max_connections.min(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = shared.closing() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(permit) = permits.clone().try_acquire_owned() {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let _open = OpenConnection::new(&shared);
                        serve::serve(stream, peer, &shared).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                logging::log(|| tracing::warn!("no connection can be accepted: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection until it is dropped.
struct OpenConnection<'a>(&'a Shared);

impl<'a> OpenConnection<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
