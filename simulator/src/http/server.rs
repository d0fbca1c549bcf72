//! The HTTP server: a thread with its own tokio runtime, which reads requests, simulates the network delays and
//! sends the replies. `handler` decides the reply of each request.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::body::{ConnectionFault, FaultyBody};
use super::response::{ApiError, to_response};
use super::write_timeout::WriteTimeoutStream;
use crate::dispatch::SimulatorState;
use crate::error::SimulatorError;
use crate::gtt::watch::watch_prices;

/// Bounds a request body: far larger than any form.
const MAX_BODY_SIZE: usize = 64 * 1024;

/// A running server. [`Server::stop`] ends it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `listen` and serves until it is stopped.
    pub(crate) fn start(
        listen: SocketAddr,
        max_connections: usize,
        state: Arc<SimulatorState>,
    ) -> Result<Self, SimulatorError> {
        let bind_error = |source| SimulatorError::Bind { address: listen, source };
        let socket = std::net::TcpListener::bind(listen).map_err(bind_error)?;
        socket.set_nonblocking(true).map_err(bind_error)?;
        let address = socket.local_addr().map_err(bind_error)?;
        let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        // The runtime is created and dropped on its own thread, so that an exchange can be dropped anywhere,
        // also inside of another runtime.
        let thread = std::thread::Builder::new()
            .name("exchange".to_owned())
            .spawn(move || run(socket, permits, state, &ready, stopped))
            .map_err(SimulatorError::Start)?;
        let started = is_ready.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        started.map_err(SimulatorError::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Closes all connections and blocks until the threads have ended.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the server panicked, which its thread has reported.
            let _ = thread.join();
        }
    }
}

fn run(
    socket: std::net::TcpListener,
    permits: Arc<Semaphore>,
    state: Arc<SimulatorState>,
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
        tokio::spawn(watch_prices(state.clone()));
        tokio::spawn(accept(listener, permits, state));
        // When this returns, the runtime is dropped with all of its tasks.
        let _ = stopped.await;
    });
}

/// Accepts connections, at most as many at a time as there are `permits`. A further connection is closed at once. If
/// it waited, clients that send half a request could keep all others out indefinitely.
async fn accept(listener: TcpListener, permits: Arc<Semaphore>, state: Arc<SimulatorState>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(permit) = permits.clone().try_acquire_owned() {
                    tokio::spawn(serve(stream, permit, state.clone()));
                }
            }
            // Most likely no file descriptor is free. Retry soon.
            Err(_) => sleep_unless_zero(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, permit: OwnedSemaphorePermit, state: Arc<SimulatorState>) {
    // Small responses must not wait for the next packet. The server works without the option too.
    let _ = stream.set_nodelay(true);
    let read_timeout = state.read_timeout;
    // A request in flight keeps the permit of its connection, since its client may disconnect before it is done.
    let permit = Arc::new(permit);
    let service = service_fn(move |request| {
        let (state, permit) = (state.clone(), permit.clone());
        async move {
            // In a separate task: the connection's task ends when the client disconnects.
            let handling = tokio::spawn(async move {
                let response = handle_request(state, request).await;
                drop(permit);
                response
            });
            handling.await.unwrap_or_else(|ended| match ended.is_panic() {
                true => Ok(to_response(Err(ApiError::internal()))),
                // The exchange is stopping: requests in flight get no response.
                false => Err(ConnectionFault::Reset),
            })
        }
    });
    // `half_close`: a request arrives even if its sender has closed the connection since. `header_read_timeout`:
    // a connection ends if no head begins or completes in time, so that such connections do not pile up.
    let mut http = http1::Builder::new();
    http.half_close(true).timer(TokioTimer::new()).header_read_timeout(read_timeout);
    let stream = WriteTimeoutStream::new(stream, read_timeout);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else { return };
    let stream = connection.into_parts().io.into_inner().into_inner();
    match error.source().and_then(|source| source.downcast_ref()) {
        // Dropping a socket with zero linger resets the connection.
        Some(ConnectionFault::Reset) => drop(stream.set_zero_linger()),
        Some(ConnectionFault::Silent) => wait_for_close(&stream).await,
        None => {}
    }
}

/// Sends nothing and waits until the client closes the connection. A silent connection must not outlive its client,
/// or an exchange that runs for days would run out of sockets.
async fn wait_for_close(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 1024]) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Handles a request from arrival to reply, with the network delays in both directions.
async fn handle_request(
    state: Arc<SimulatorState>,
    request: Request<Incoming>,
) -> Result<Response<FaultyBody>, ConnectionFault> {
    let delays = state.network.next_delays();
    let (parts, body) = request.into_parts();
    // An incomplete request never arrives.
    let incomplete = |error| Ok(to_response(Err(error)));
    let complete = Limited::new(body, MAX_BODY_SIZE).collect();
    let body = match timeout(state.read_timeout, complete).await {
        Err(_) => return incomplete(ApiError::too_slow()),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large()),
        Ok(Err(_)) => return incomplete(ApiError::input("The body is incomplete.")),
    };
    let sent_at = Instant::now();
    sleep_unless_zero(delays.forward).await;
    let (reply, entry) = state.handle(parts, body);
    sleep_unless_zero(reply.delay).await;
    sleep_unless_zero(delays.backward).await;
    state.notify_observer(&entry, sent_at.elapsed());
    reply.response
}

async fn sleep_unless_zero(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
