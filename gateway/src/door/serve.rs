//! Serves one connection: reads requests one after the other, and writes their answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lanekeeper::Effect;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::malformed;
use super::stream::{AfterFlush, ClientStream, Phase};
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
    let phase = Phase::default();
    let stream = ClientStream::new(stream, &shared.door, phase.clone(), after_flush.clone());
    let service = service_fn(async |request| {
        phase.next();
        let response = answer(request, peer, shared, &after_flush).await;
        phase.next();
        Ok::<_, Infallible>(response)
    });
    // hyper's timer of the head runs while the connection is idle too. The stream limits a head that has begun.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.door.idle_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = (&mut connection).await {
        tracing::debug!(%peer, "a connection ended: {}", crate::net::describe(&error));
        let mut stream = connection.into_parts().io.into_inner();
        if stream.is_head_late() {
            // The client may have left.
            let _ = stream.write_all(&malformed::late_head()).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// Handles a request in a task of its own. The future of this function ends with the connection, the task does not.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    after_flush: &AfterFlush,
) -> Response<ReplyBody> {
    let (_here, client) = HangUp::new();
    let (shared, after_flush) = (Arc::clone(shared), after_flush.clone());
    let task = tokio::spawn(async move {
        let _in_progress = InProgress::new(&shared);
        handler::handle(request, peer, &shared, &after_flush, client).await
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!("a request was not handled: {error}");
        // It may have been sent before the fault.
        Refusal::unknown(Effect::Write, "the gateway failed").to_response()
    })
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
