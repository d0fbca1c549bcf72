//! The HTTP server: a thread with its own runtime, and the way of a request through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::brokers::PaperBroker;

use super::answer::{Answer, ApiError, respond};
use super::builder::ExchangeError;
use super::form::Fields;
use super::gate::Gate;
use super::network::Network;
use super::route::{self, Route};
use super::wire;

/// Kite's front server takes about so much of an address.
const LONGEST_ADDRESS: usize = 8 * 1024;

/// No form comes near this.
const LARGEST_BODY: usize = 64 * 1024;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) network: Network,
    pub(super) broker: PaperBroker,
}

/// A server that runs. Ends with [`Server::stop`].
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `listen` and serves until stopped.
    pub(super) fn start(listen: SocketAddr, shared: Arc<Shared>) -> Result<Self, ExchangeError> {
        let unbound = |source| ExchangeError::Bind { address: listen, source };
        let socket = std::net::TcpListener::bind(listen).map_err(unbound)?;
        socket.set_nonblocking(true).map_err(unbound)?;
        let address = socket.local_addr().map_err(unbound)?;
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        // The runtime lives and dies on a thread of its own, so that an exchange can be dropped
        // anywhere, inside of another runtime too.
        let thread = std::thread::Builder::new()
            .name("exchange".to_owned())
            .spawn(move || run(socket, shared, &ready, stopped))
            .map_err(ExchangeError::Start)?;
        let started = is_ready.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        started.map_err(ExchangeError::Start)?;
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
    shared: Arc<Shared>,
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
        tokio::spawn(accept(listener, shared));
        // When this returns, the runtime is dropped, and all of its tasks with it.
        let _ = stopped.await;
    });
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, shared.clone()))),
            // Out of files, most likely: some may be free again soon.
            Err(_) => delay(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Small answers must not wait for the next one. A socket that cannot do it still works.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move {
            // Not in the connection's own task, which ends when the client hangs up.
            let travels = tokio::spawn(travel(shared, request));
            let lost = |_| respond(Err(ApiError::internal()));
            Ok::<_, Infallible>(travels.await.unwrap_or_else(lost))
        }
    });
    // Half closed: what was sent arrives, though its sender has hung up since.
    let mut http = http1::Builder::new();
    http.half_close(true);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// The whole way of a request. Faults of the network, when there are some, belong to the trip;
/// faults of the exchange to [`Shared::arrive`].
async fn travel(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let trip = shared.network.trip();
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large()),
        // Half a request never gets to the exchange.
        Err(_) => return respond(Err(ApiError::input("The body is incomplete."))),
    };
    delay(trip.forward).await;
    let response = shared.arrive(&parts, body);
    delay(trip.back).await;
    response
}

async fn delay(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl Shared {
    /// The request is at the exchange: it is counted, recorded and done.
    fn arrive(&self, parts: &Parts, body: Result<Bytes, ApiError>) -> Response<Full<Bytes>> {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let lane = route::lane(path);
        let door = self.door(parts, lane);
        let entered = self.gate.enter(lane.filter(|_| door.is_ok()), method, path);
        let answer = match (door, entered.admitted) {
            (Err(error), _) => Err(error),
            (Ok(()), false) => Err(ApiError::too_many_requests()),
            (Ok(()), true) => body.and_then(|body| self.answer(parts, &body)),
        };
        let response = respond(answer);
        self.gate.answered(&entered, response.status().as_u16());
        response
    }

    /// Who gets no further than the door, and is not counted.
    fn door(&self, parts: &Parts, lane: Option<&str>) -> Result<(), ApiError> {
        let address = parts.uri.path_and_query().map_or(0, |address| address.as_str().len());
        if address > LONGEST_ADDRESS {
            return Err(ApiError::uri_too_long());
        }
        // A login has no token yet.
        if lane.is_some() {
            self.session(&parts.headers)?;
        }
        Ok(())
    }

    fn session(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let pair = header.and_then(|header| header.strip_prefix("token "));
        match pair.and_then(|pair| pair.trim().split_once(':')) {
            Some((key, token)) if !key.is_empty() && !token.is_empty() => {
                if self.gate.is_ended(token) {
                    return Err(ApiError::token("Token is invalid or has expired."));
                }
                Ok(())
            }
            _ => Err(ApiError::token("Incorrect `api_key` or `access_token`.")),
        }
    }

    fn answer(&self, parts: &Parts, body: &[u8]) -> Answer {
        let route = Route::of(parts.method.as_str(), parts.uri.path())?;
        let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let form = Fields::parse(body);
        match route {
            Route::Place { variety } => wire::orders::place(&self.broker, variety, &form),
            Route::Modify { variety, id } => wire::orders::modify(&self.broker, variety, id, &form),
            Route::Cancel { variety, id } => wire::orders::cancel(&self.broker, variety, id),
            Route::Orders => wire::orders::all(&self.broker),
            Route::History { id } => wire::orders::history(&self.broker, id),
            Route::OrderTrades { id } => wire::orders::order_trades(&self.broker, id),
            Route::Trades => wire::orders::trades(&self.broker),
            Route::Positions => wire::portfolio::positions(&self.broker),
            Route::Holdings => wire::portfolio::holdings(&self.broker),
            Route::Margins => wire::user::margins(&self.broker),
            Route::SegmentMargins { segment } => wire::user::segment_margins(&self.broker, segment),
            Route::Profile => wire::user::profile(&self.broker),
            Route::Quote => wire::market::quote(&self.broker, &query),
            Route::Ohlc => wire::market::ohlc(&self.broker, &query),
            Route::Ltp => wire::market::ltp(&self.broker, &query),
            Route::Instruments { exchange } => wire::market::instruments(&self.broker, exchange),
            Route::Historical { token, interval } => {
                wire::candles::historical(&self.broker, token, interval, &query)
            }
            Route::BeginSession => wire::user::begin_session(&self.broker, &self.gate, &form),
            Route::EndSession => wire::user::end_session(&self.gate, &query),
        }
    }
}
