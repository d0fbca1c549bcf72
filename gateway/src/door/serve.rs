//! Serves one connection: reads requests one after the other, and writes their answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::stream::{AfterFlush, ClientStream};
use crate::body::ReplyBody;
use crate::call::HangUp;
use crate::handler;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// The longest head of a request, in bytes. The longest address that brokers take has 8 KiB.
const MAX_HEAD: usize = 32 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    // A small answer must not wait for the next packet. The gateway works without the option too.
    let _ = stream.set_nodelay(true);
    let after_flush = AfterFlush::default();
    let stream = ClientStream::new(stream, shared.door.write_timeout, after_flush.clone());
    let service = service_fn(|request| answer(request, peer, shared, &after_flush));
    // The timer of the head runs while the connection is idle too.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.door.idle_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, "a connection ended: {}", crate::net::describe(&error));
    }
}

/// Handles a request in a task of its own. The future of this function ends with the connection, the task does not.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    after_flush: &AfterFlush,
) -> Result<Response<ReplyBody>, Infallible> {
    let (_here, client) = HangUp::new();
    let (shared, after_flush) = (Arc::clone(shared), after_flush.clone());
    let task = tokio::spawn(async move {
        let _in_progress = InProgress::new(&shared);
        handler::handle(request, peer, &shared, &after_flush, client).await
    });
    Ok(task.await.unwrap_or_else(|error| {
        tracing::error!("a request was not handled: {error}");
        // It may have been sent before the fault.
        let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed");
        let sent = lanekeeper::Sent::Unknown;
        Refusal { sent, ..refusal }.to_response()
    }))
}

/// Counts a request while it is handled.
struct InProgress(Arc<Shared>);

impl InProgress {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.counts.requests.fetch_add(1, Ordering::Relaxed);
        shared.counts.in_progress.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.counts.in_progress.fetch_sub(1, Ordering::Relaxed);
        self.0.counts.idle.notify_waiters();
    }
}
