//! The programs that are measured, each in a process of its own: the upstream, the bare proxy, and the gateway.

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
use tokio::net::{TcpListener, TcpStream};

/// What the upstream answers, which Kite's quote routes can be answered from.
const ANSWER: &str = concat!(
    r#"{"status":"success","data":{"NSE:INFY":{"instrument_token":408065,"last_price":1501.05,"#,
    r#""ohlc":{"open":1500.0,"high":1510.5,"low":1490.1,"close":1499.2}}}}"#,
);

/// A program that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The upstream: a hyper server that answers at once.
    Upstream,
    /// A reverse proxy of hyper alone, with a pool of connections like the gateway's.
    Bare,
    /// The gateway in front of any API: a lane without a limit, and a route whose answers are kept.
    Gateway,
    /// The same with the access log of the command, which is written to nowhere.
    Logged,
    /// The gateway in front of Kite.
    Kite,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Upstream, Self::Bare, Self::Gateway, Self::Logged, Self::Kite];

    /// Returns the word for it on a command line.
    pub(crate) fn word(self) -> String {
        format!("{self:?}")
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Runs it in this process until the standard input ends.
    pub(crate) fn run(self, upstream: &str) {
        match self {
            Self::Upstream => serve(tokio::runtime::Builder::new_current_thread(), None),
            Self::Bare => {
                let upstream = upstream.parse().unwrap();
                serve(tokio::runtime::Builder::new_multi_thread(), Some(Bare::new(upstream)));
            }
            Self::Gateway => gateway(rest(upstream)),
            Self::Logged => {
                tracing_subscriber::fmt().with_writer(io::sink).with_ansi(false).init();
                gateway(rest(upstream));
            }
            Self::Kite => {
                gateway(GatewayConfig::new(AccountConfig::kite(format!("http://{upstream}"))));
            }
        }
    }
}

fn rest(upstream: &str) -> GatewayConfig {
    let text = format!(
        "upstream: http://{upstream}
lanes: {{ all: {{ quota: unlimited, in_flight: 64 }} }}
routes: [{{ match: GET /kept, lane: all, cache: 30s }}]
unmatched: {{ lane: all }}"
    );
    GatewayConfig::from_yaml(&text).unwrap()
}

fn gateway(mut config: GatewayConfig) {
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = Gateway::builder(config).secret("KITE_API_KEY", "key");
    let gateway = builder.secret("KITE_ACCESS_TOKEN", "the-token-of-the-day").start().unwrap();
    println!("{}", gateway.address());
    until_input_ends();
}

fn until_input_ends() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// Serves on a free port: the proxy, or else the upstream.
fn serve(mut runtime: tokio::runtime::Builder, bare: Option<Bare>) {
    let runtime = runtime.enable_all().build().unwrap();
    let bare = Arc::new(bare);
    std::thread::spawn(|| {
        until_input_ends();
        std::process::exit(0);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        // In a task, as the gateway accepts: the thread that blocks here is none of the runtime's workers.
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let bare = Arc::clone(&bare);
                let service = service_fn(move |request| {
                    let bare = Arc::clone(&bare);
                    async move {
                        Ok::<_, Infallible>(match &*bare {
                            Some(bare) => bare.forward(request).await,
                            None => answer(),
                        })
                    }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        accepting.await.unwrap();
    });
}

fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The least that a reverse proxy does: it takes the request whole, sends it over a pooled connection, and takes the
/// answer whole.
struct Bare {
    upstream: SocketAddr,
    pool: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Bare {
    fn new(upstream: SocketAddr) -> Self {
        Self { upstream, pool: Arc::default() }
    }

    async fn forward(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut connection = self.connection().await;
        let request = Request::from_parts(parts, Full::new(body));
        let answer = connection.send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.put(connection);
        Response::from_parts(parts, Full::new(body))
    }

    async fn connection(&self) -> SendRequest<Full<Bytes>> {
        let idle = self.pool.lock().unwrap().pop();
        if let Some(connection) = idle.filter(SendRequest::is_ready) {
            return connection;
        }
        let stream = TcpStream::connect(self.upstream).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    fn put(&self, mut connection: SendRequest<Full<Bytes>>) {
        if connection.is_ready() {
            self.pool.lock().unwrap().push(connection);
            return;
        }
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            if connection.ready().await.is_ok() {
                pool.lock().unwrap().push(connection);
            }
        });
    }
}
