//! A socket whose state at the other end can be asked for at any time.
//!
//! The runtime notices that the other end has closed a connection when it next polls the socket, which a busy machine
//! delays. The operating system knows at once, so it is asked:
//!
//! - A client that hangs up and comes back at once must not be taken for two clients.
//! - An order must not be handed to a connection that its upstream has just closed.
//!
//! A reset says more than a close: the other end's system sends one if what was written finds no program any more, or if
//! the program closes the connection without having read it.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP socket, owned by its connection.
pub(crate) struct Socket {
    shared: Arc<SharedSocket>,
    is_shut: bool,
}

/// Asks the operating system about a socket. It does not keep the socket open.
#[derive(Clone, Default)]
pub(crate) struct SocketProbe(Weak<SharedSocket>);

struct SharedSocket {
    stream: TcpStream,
    /// Whether the other end is on this machine, so that nothing is lost or late on the way.
    is_local: bool,
    /// The operating system tells each error once, so the first operation that meets a reset notes it for all.
    is_reset: AtomicBool,
}

/// Returns whether an error says that what was written was not read: a reset, or no acknowledgement in time. A network may
/// tell of others, after which the connection goes on.
fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
    )
}

impl SharedSocket {
    /// Notes whether the result of an operation tells of a reset.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(is_reset) {
            self.is_reset.store(true, Ordering::Release);
        }
        result
    }

    /// Looks at the next byte. `Some(0)` if the client sends nothing more, `None` if nothing is here.
    fn peek(&self) -> io::Result<Option<usize>> {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        match self.note(peeked) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.peek(), Ok(Some(0)) | Err(_))
    }

    fn is_reset(&self) -> bool {
        // A reset that follows a close shows only here.
        if matches!(self.stream.take_error(), Ok(Some(error)) if is_reset(&error)) {
            self.is_reset.store(true, Ordering::Release);
        }
        // The operation that met the error may be one of another thread: hence the note.
        let _ = self.peek();
        self.is_reset.load(Ordering::Acquire)
    }
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let is_local = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        let shared = SharedSocket { stream, is_local, is_reset: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), is_shut: false }
    }

    /// Returns whether the other end has reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        self.shared.is_reset()
    }

    /// Returns whether the connection is open, and nothing has come on it that was not read.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.shared.peek(), Ok(None))
    }

    /// Returns whether the other end is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.shared.is_local
    }

    /// Limits how long what was written may wait for the other end's system to acknowledge it. The connection then ends
    /// with an error. Without a limit, that takes a quarter of an hour. Linux has this, and the limit is left out elsewhere.
    pub(crate) fn limit_unacknowledged(&self, limit: Option<Duration>) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // Without it, a lost answer counts as read after a while. Nothing else depends on it.
        let _ = SockRef::from(&self.shared.stream).set_tcp_user_timeout(limit);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = limit;
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn unacknowledged_limit(&self) -> Option<Duration> {
        SockRef::from(&self.shared.stream).tcp_user_timeout().ok().flatten()
    }

    pub(crate) fn probe(&self) -> SocketProbe {
        SocketProbe(Arc::downgrade(&self.shared))
    }
}

impl SocketProbe {
    /// Returns whether the other end has closed the connection, or the gateway has. A client that has sent more since is
    /// there.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| socket.is_closed())
    }

    /// Returns whether the other end is on this machine, or has left.
    pub(crate) fn is_local(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| socket.is_local)
    }

    /// Returns whether the connection is open, and nothing has come on it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.upgrade().is_some_and(|socket| matches!(socket.peek(), Ok(None)))
    }

    /// Returns whether the other end has reset the connection, as far as that is known before the gateway closes it.
    pub(crate) fn is_reset(&self) -> bool {
        self.0.upgrade().is_some_and(|socket| socket.is_reset())
    }
}

impl Socket {
    /// Tries an operation again while the socket turns out not to be ready.
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.stream.poll_write_ready(context))?;
            match self.shared.note(write(&self.shared.stream)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.shared.stream.poll_read_ready(context))?;
            let read = self.shared.stream.try_read(into.initialize_unfilled());
            match self.shared.note(read) {
                Ok(count) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The operating system has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.is_shut, true) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(SockRef::from(&self.shared.stream).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Returns the two ends of a connection.
    pub(crate) fn connect() -> (std::net::TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        client.flush().unwrap();
        (client, Socket::new(TcpStream::from_std(server).unwrap()))
    }

    #[tokio::test]
    async fn a_hang_up_is_known_before_anything_is_read() {
        let (client, socket) = connect();
        let probe = socket.probe();
        assert!(!probe.is_closed() && probe.is_quiet());
        drop(client);
        assert!(probe.is_closed() && !probe.is_quiet() && !probe.is_reset());

        let (mut client, socket) = connect();
        let probe = socket.probe();
        client.write_all(b"more").unwrap();
        assert!(!probe.is_closed() && !probe.is_quiet(), "it has sent more");
        client.shutdown(Shutdown::Both).unwrap();
        drop(socket);
        assert!(probe.is_closed(), "the gateway has closed it");
        assert!(SocketProbe::default().is_closed());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_is_answered_by_a_reset() {
        for is_first_closed in [false, true] {
            let (client, mut socket) = connect();
            let mut client = Some(client);
            let (probe, later) = (socket.probe(), socket.probe());
            if is_first_closed {
                client = None;
                assert!(probe.is_closed() && !probe.is_reset());
            }
            socket.write_all(b"answer").await.unwrap();
            assert_eq!(probe.is_reset(), is_first_closed);
            drop(client);
            // The system tells it here, and only once.
            assert!(probe.is_closed());
            assert!(probe.is_reset(), "closed first: {is_first_closed}");
            // However often it is asked, by whomever, and whatever the connection reads meanwhile.
            let _ = socket.read(&mut [0; 1]).await;
            assert!(probe.is_reset() && later.is_reset() && socket.is_reset());
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_its_answer_and_leaves_resets_nothing() {
        let (mut client, mut socket) = connect();
        socket.write_all(b"answer").await.unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        drop(client);
        let probe = socket.probe();
        assert!(probe.is_closed() && !probe.is_reset());
    }
}
