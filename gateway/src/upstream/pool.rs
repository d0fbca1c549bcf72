//! Connections to an upstream, and the idle ones among them.
//!
//! # A connection is driven by the call that uses it
//! No task reads from a connection: the call that waits for an answer does. So an answer wakes one task, which is that of
//! its client's request, and not one task after the other. Nothing reads from an idle connection either. Before it is used
//! again, the operating system is asked whether the upstream has closed it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::UpstreamStream;
use crate::socket::SocketProbe;

/// How long an idle connection is kept. Servers close theirs after a minute or more, and a connection that both ends
/// close at the same moment loses the request that is on its way.
const MAX_IDLE: Duration = Duration::from_secs(25);

/// How many idle connections are kept.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// Reads from the socket, and writes to it.
type Driver = http1::Connection<TokioIo<UpstreamStream>, Full<Bytes>>;

/// One connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended. Its error reaches the request that is under way.
    driver: Option<Box<Driver>>,
    probe: SocketProbe,
}

impl Connection {
    /// Speaks HTTP/1.1 on a stream.
    pub(super) async fn new(stream: UpstreamStream, probe: SocketProbe) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), probe })
    }

    /// Sends a request. An error gives the request back if it did not leave.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let Self { sender, driver, .. } = self;
        let mut response = pin!(sender.try_send_request(request));
        poll_fn(|context| {
            drive(driver, context);
            response.as_mut().poll(context)
        })
        .await
    }

    /// Returns the next frame of the body of an answer on this connection.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut *body).poll_frame(context);
        if frame.is_ready() {
            return frame;
        }
        drive(&mut self.driver, context);
        Pin::new(body).poll_frame(context)
    }

    /// Returns whether it can take a request: it is open, and the answer before was read to its end.
    fn is_ready(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // It notices the end of an answer when it is polled next.
        drive(&mut self.driver, &mut context);
        self.driver.is_some() && self.sender.is_ready()
    }
}

fn drive(driver: &mut Option<Box<Driver>>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(&mut **driver).poll(context).is_ready()) {
        *driver = None;
    }
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
        let mut closed = Vec::new();
        let mut idle = self.0.lock();
        let open = loop {
            let Some(last) = idle.pop() else { break None };
            if last.is_usable() {
                break Some(last.connection);
            }
            closed.push(last);
        };
        // Closing a socket takes its time.
        drop(idle);
        open
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, mut connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let mut idle = self.0.lock();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the idle connections that cannot be used any more.
    pub(super) fn close_unusable(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        let (mut usable, unusable): (Vec<_>, Vec<_>) = all.into_iter().partition(Idle::is_usable);
        let mut idle = self.0.lock();
        // Those that became idle meanwhile were used last.
        usable.append(&mut idle);
        *idle = usable;
        drop(idle);
        drop(unusable);
    }
}

impl Idle {
    /// On one that is not quiet the upstream has sent something unasked, or has closed it.
    fn is_usable(&self) -> bool {
        self.since.elapsed() <= MAX_IDLE && self.connection.probe.is_quiet()
    }
}
