//! Measures what a call from a task costs through an idle lane (`Lanes::run`), beside the same call behind a bare
//! `tokio::sync::Semaphore`.
//!
//! ```text
//! taskset -c 0 cargo bench -p lanekeeper-benches --bench task_calls
//! ```
//!
//! The lane has a quota that never holds a call up, so each call gets its turn at once. What differs is what a lane does
//! beside limiting how many calls are under way.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::lane::{CallOptions, LaneConfig, LaneError};
use lanekeeper::proxy::{Classify, LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{ErrorClass, Session};
use support::paired;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Semaphore};

const IN_FLIGHT: usize = 16;
const ROUNDS: usize = 100;

/// An error of a call.
#[derive(Debug)]
struct Failed(ErrorClass);

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Self(error.class())
    }
}

impl Classify for Failed {
    fn class(&self) -> ErrorClass {
        self.0
    }
}

/// Runs a future to its end, on this thread.
trait Executor {
    fn run<T>(&self, future: impl Future<Output = T>) -> T;
}

/// Polls until the future is ready, without a runtime.
struct Bare;

impl Executor for Bare {
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
    }
}

impl Executor for Runtime {
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.block_on(future)
    }
}

/// A call that returns to the executor once.
fn yielding(number: u64) -> impl Future<Output = u64> {
    let mut has_yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(number);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// A call that takes the processor for a while.
async fn busy(duration: Duration) -> u64 {
    let began = Instant::now();
    while began.elapsed() < duration {}
    7
}

fn lanes(quota: &Quota) -> Lanes {
    let mut builder = LanesBuilder::new("Bench", &["main"], &[]);
    builder.lane(0, LaneConfig::new(quota.clone()).in_flight(IN_FLIGHT));
    builder.session(Session::new());
    builder.build(Limits::new()).unwrap()
}

/// Measures a call through a lane and behind a semaphore, in turns.
fn beside_semaphore<F: Future<Output = u64>>(
    what: &str,
    (rounds, calls): (usize, u32),
    executor: &impl Executor,
    lanes: &Lanes,
    call: impl Fn() -> F,
) {
    // The beginnings of the lines to measure, if not all of them.
    let mut wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    if wanted.peek().is_some() && !wanted.any(|begin| what.starts_with(&begin)) {
        return;
    }
    let named = LaneCall::write("main").name("call");
    let options = CallOptions::new();
    let semaphore = Semaphore::new(IN_FLIGHT);
    let through_lane = || {
        executor.run(async {
            let began = Instant::now();
            for _ in 0..calls {
                let attempt = || async { Ok::<_, Failed>(call().await) };
                black_box(lanes.run(&named, &options, attempt).await.unwrap());
            }
            began.elapsed() / calls
        })
    };
    let behind_semaphore = || {
        executor.run(async {
            let began = Instant::now();
            for _ in 0..calls {
                let permit = semaphore.acquire().await.unwrap();
                black_box(call().await);
                drop(permit);
            }
            began.elapsed() / calls
        })
    };
    paired(what, rounds, through_lane, behind_semaphore);
}

/// Starts a server that answers each request, on a thread of its own, and connects to it.
fn connect(executor: &Runtime) -> Mutex<TcpStream> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_nodelay(true).unwrap();
        let mut request = [0; REQUEST.len()];
        while connection.read_exact(&mut request).is_ok() {
            connection.write_all(RESPONSE).unwrap();
        }
    });
    let stream = executor.block_on(TcpStream::connect(address)).unwrap();
    stream.set_nodelay(true).unwrap();
    Mutex::new(stream)
}

const REQUEST: &[u8] =
    b"POST /orders/regular HTTP/1.1\r\nhost: localhost\r\nauthorization: token key:secret\r\n\
    content-type: application/x-www-form-urlencoded\r\ncontent-length: 62\r\n\r\n\
    exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=1";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 62\r\n\r\n\
    {\"status\":\"success\",\"data\":{\"order_id\":\"151220000000000\"}}      ";

async fn round_trip(connection: &Mutex<TcpStream>) -> u64 {
    let mut connection = connection.lock().await;
    connection.write_all(REQUEST).await.unwrap();
    let mut response = [0; RESPONSE.len()];
    connection.read_exact(&mut response).await.unwrap() as u64
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let unlimited = lanes(&Quota::unlimited());
    // More than can be made, and a log of few enough calls that it stays in the processor's cache.
    let paced = lanes(&Quota::new(10_000, Duration::from_millis(1)));
    let short = (ROUNDS, 5_000);
    for (name, lanes) in [("no window", &unlimited), ("10000/ms", &paced)] {
        let name = |what: &str| format!("{what}, {name}");
        beside_semaphore(&name("ready, bare"), short, &Bare, lanes, || ready(black_box(7)));
        beside_semaphore(&name("yields, bare"), short, &Bare, lanes, || yielding(7));
        beside_semaphore(&name("ready, tokio"), short, &runtime, lanes, || ready(black_box(7)));
        beside_semaphore(&name("yields, tokio"), short, &runtime, lanes, || yielding(7));
    }
    for nanos in [500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 100_000] {
        let duration = Duration::from_nanos(nanos);
        let calls = 10_000_000 / u32::try_from(nanos.max(2_000)).unwrap();
        let what = format!("busy for {duration:?}, tokio, 10000/ms");
        beside_semaphore(&what, (ROUNDS, calls), &runtime, &paced, || busy(duration));
    }
    let connection = connect(&runtime);
    let what = "HTTP on loopback, tokio, 10000/ms";
    beside_semaphore(what, (ROUNDS, 300), &runtime, &paced, || round_trip(&connection));
}
