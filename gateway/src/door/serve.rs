//! Serves one connection: reads requests one after the other, and writes their answers. When the gateway ends, the
//! answer that is being written is the last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lanekeeper::Effect;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::select;
use tokio::sync::watch;

use super::malformed;
use super::stream::{ClientStream, Deliveries, Phase};
use crate::body::{CutBody, ReplyBody};
use crate::handler;
use crate::hang_up::HangUp;
use crate::logging;
use crate::refusal::Refusal;
use crate::repoll::Repolled;
use crate::shared::Shared;
use crate::socket::{Socket, SocketProbe};

/// The longest head of a request, in bytes. The longest address that brokers take has 8 KiB.
const MAX_HEAD: usize = 32 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    // A small answer must not wait for the next packet. The gateway works without the option too.
    let _ = stream.set_nodelay(true);
    let deliveries = Deliveries::default();
    let phase = Phase::default();
    let socket = Socket::new(stream);
    let probe = socket.probe();
    let stream = ClientStream::new(socket, &shared.door, phase.clone(), deliveries.clone());
    let service = service_fn(|request| {
        phase.next();
        // Here, and not when it is polled: a client that leaves right after its request ends the connection before that.
        let handling = answer(request, peer, &probe, shared, &deliveries);
        async {
            let response = handling.await;
            phase.next();
            Ok::<_, Infallible>(response)
        }
    });
    // hyper's timer of the head runs while the connection is idle too. The stream limits a head that has begun.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.door.idle_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let ended = select! {
        ended = &mut connection => ended,
        () = shared.closing() => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = ended {
        let why = crate::describe::describe(&error);
        logging::log(|| tracing::debug!(%peer, "a connection ended: {why}"));
        let mut stream = connection.into_parts().io.into_inner();
        if stream.is_head_late() {
            // The client may have left.
            let _ = stream.write_all(&malformed::late_head()).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// Handles a request.
fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    probe: &SocketProbe,
    shared: &Arc<Shared>,
    deliveries: &Deliveries,
) -> Handling {
    let (here, client) = HangUp::of_socket(probe.clone());
    let (shared, deliveries) = (Arc::clone(shared), deliveries.clone());
    let work = async move {
        let in_progress = InProgress::new(&shared);
        let response = handler::handle(request, peer, &shared, &deliveries, client).await;
        response.map(|body| CountedBody::new(body, in_progress))
    };
    Handling { work: Some(Repolled::new(work)), here: Some(here) }
}

/// The handling of a request, on the task of its connection. hyper drops it when the client hangs up. It then goes on in a
/// task of its own.
struct Handling {
    work: Option<Repolled<Response<CountedBody>>>,
    here: Option<watch::Sender<()>>,
}

impl Future for Handling {
    type Output = Response<CountedBody>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        // A fault in one request must not end the connection without a word.
        let poll = catch_unwind(AssertUnwindSafe(|| Pin::new(work).poll(context)));
        let response = match poll {
            Ok(poll) => ready!(poll),
            Err(_) => {
                logging::log(|| tracing::error!("a request was not handled: the gateway failed"));
                // It may have been sent before the fault.
                let response = Refusal::unknown(Effect::Write, "the gateway failed").to_response();
                response.map(|body| CountedBody { body, _in_progress: None })
            }
        };
        self.work = None;
        Poll::Ready(response)
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        // First, so that what goes on knows that its client is gone.
        self.here = None;
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// Counts a request until the connection has taken its answer.
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
    }
}

/// A body whose request is in progress until all of it has been taken.
struct CountedBody {
    body: ReplyBody,
    _in_progress: Option<InProgress>,
}

impl CountedBody {
    fn new(body: ReplyBody, in_progress: InProgress) -> Self {
        // A stream of events has no end of its own, so a drain does not wait for it.
        let in_progress = Some(in_progress).filter(|_| !matches!(body, ReplyBody::Events(_)));
        Self { body, _in_progress: in_progress }
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = CutBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutBody>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
