//! The HTTP server: a thread with its own runtime, which brings requests to the exchange and
//! answers back. What a request does there is in `request`.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::answer::{ApiError, to_response};
use super::builder::SimulatorError;
use super::patient::WriteTimeoutStream;
use super::payload::{ConnectionFault, FaultyBody};
use super::request::SimulatorState;

/// No form comes near this.
const MAX_BODY_SIZE: usize = 64 * 1024;

/// A server that runs. Ends with [`Server::stop`].
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `listen` and serves until stopped.
    pub(super) fn start(
        listen: SocketAddr,
        max_connections: usize,
        shared: Arc<SimulatorState>,
    ) -> Result<Self, SimulatorError> {
        let unbound = |source| SimulatorError::Bind { address: listen, source };
        let socket = std::net::TcpListener::bind(listen).map_err(unbound)?;
        socket.set_nonblocking(true).map_err(unbound)?;
        let address = socket.local_addr().map_err(unbound)?;
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        // The runtime lives and dies on a thread of its own, so that an exchange can be dropped
        // anywhere, inside of another runtime too.
        let thread = std::thread::Builder::new()
            .name("exchange".to_owned())
            .spawn(move || run(socket, places, shared, &ready, stopped))
            .map_err(SimulatorError::Start)?;
        let started = is_ready.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        started.map_err(SimulatorError::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Hangs up on everybody, and waits until the threads are gone.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error would be a panic of the server, which its own thread has reported.
            let _ = thread.join();
        }
    }
}

fn run(
    socket: std::net::TcpListener,
    permits: Arc<Semaphore>,
    shared: Arc<SimulatorState>,
    ready: &mpsc::Sender<std::io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("exchange-worker")
        .enable_io()
        .enable_time()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        tokio::spawn(accept(listener, permits, shared));
        // When this returns, the runtime is dropped, and all of its tasks with it.
        let _ = stopped.await;
    });
}

/// Lets connections in, as many at a time as there are `places`. One more is closed at once: if it
/// waited, clients that send half a request would keep all others out for as long as they like.
async fn accept(listener: TcpListener, permits: Arc<Semaphore>, shared: Arc<SimulatorState>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = permits.clone().try_acquire_owned() {
                    tokio::spawn(serve(stream, place, shared.clone()));
                }
            }
            // Out of files, most likely: some may be free again soon.
            Err(_) => sleep_unless_zero(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, permit: OwnedSemaphorePermit, shared: Arc<SimulatorState>) {
    // Small answers must not wait for the next one. A socket that cannot do it still works.
    let _ = stream.set_nodelay(true);
    let read_timeout = shared.read_timeout;
    // A request that is on its way keeps the place of its connection: its client may be gone by then.
    let place = Arc::new(permit);
    let service = service_fn(move |request| {
        let (shared, place) = (shared.clone(), place.clone());
        async move {
            // Not in the connection's own task, which ends when the client hangs up.
            let travels = tokio::spawn(async move {
                let answer = handle_request(shared, request).await;
                drop(place);
                answer
            });
            travels.await.unwrap_or_else(|ended| match ended.is_panic() {
                true => Ok(to_response(Err(ApiError::internal()))),
                // The exchange stops: what is on its way gets no answer.
                false => Err(ConnectionFault::Reset),
            })
        }
    });
    // Half closed: what was sent arrives, though its sender has hung up since. A head that does not come in
    // time ends the connection, and so does one that never begins: of neither may there be many.
    let mut http = http1::Builder::new();
    http.half_close(true).timer(TokioTimer::new()).header_read_timeout(read_timeout);
    let stream = WriteTimeoutStream::new(stream, read_timeout);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else { return };
    let stream = connection.into_parts().io.into_inner().into_inner();
    match error.source().and_then(|source| source.downcast_ref()) {
        // Dropped with nothing to linger for, the socket tells its peer so.
        Some(ConnectionFault::Reset) => drop(stream.set_zero_linger()),
        Some(ConnectionFault::Silent) => wait_for_close(&stream).await,
        None => {}
    }
}

/// Says nothing and waits for the other side to go. A silent connection does not outlive its client,
/// or an exchange that runs for days would end without sockets.
async fn wait_for_close(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 1024]) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// The whole way of a request.
async fn handle_request(
    shared: Arc<SimulatorState>,
    request: Request<Incoming>,
) -> Result<Response<FaultyBody>, ConnectionFault> {
    let trip = shared.network.next_delays();
    let (parts, body) = request.into_parts();
    // Half a request never gets to the exchange.
    let unread = |error| Ok(to_response(Err(error)));
    let whole = Limited::new(body, MAX_BODY_SIZE).collect();
    let body = match timeout(shared.read_timeout, whole).await {
        Err(_) => return unread(ApiError::too_slow()),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large()),
        Ok(Err(_)) => return unread(ApiError::input("The body is incomplete.")),
    };
    sleep_unless_zero(trip.forward).await;
    let answered = shared.handle(parts, body);
    sleep_unless_zero(answered.delay).await;
    sleep_unless_zero(trip.backward).await;
    answered.response
}

async fn sleep_unless_zero(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
