//! The socket of a client, which can be asked at any time whether the client has closed it.
//!
//! The runtime notices a hang-up when it next polls the socket, which a busy machine delays. A client that hangs up and
//! comes back at once must not be taken for two clients. The operating system knows at once, so it is asked.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that its connection owns.
pub(super) struct ClientSocket {
    shared: Arc<TcpStream>,
    is_shut: bool,
}

/// Asks the operating system about a socket. It does not keep the socket open.
#[derive(Clone, Default)]
pub(crate) struct SocketProbe(Weak<TcpStream>);

impl ClientSocket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { shared: Arc::new(stream), is_shut: false }
    }

    /// Returns an error of the connection that no read has shown yet, such as its reset.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.shared.take_error()
    }

    pub(super) fn probe(&self) -> SocketProbe {
        SocketProbe(Arc::downgrade(&self.shared))
    }
}

impl SocketProbe {
    /// Returns whether the client has closed the connection, or the gateway has. A client that has sent more since is
    /// there.
    pub(crate) fn is_closed(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return true };
        match SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

impl ClientSocket {
    /// Tries an operation again while the socket turns out not to be ready.
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.poll_write_ready(context))?;
            match write(&self.shared) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.shared.poll_read_ready(context))?;
            match self.shared.try_read(into.initialize_unfilled()) {
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

impl AsyncWrite for ClientSocket {
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
        Poll::Ready(SockRef::from(&*self.shared).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_hang_up_is_known_before_anything_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            client.flush().unwrap();
            (client, ClientSocket::new(TcpStream::from_std(server).unwrap()))
        };
        let (client, socket) = connect();
        let probe = socket.probe();
        assert!(!probe.is_closed());
        drop(client);
        assert!(probe.is_closed());

        let (mut client, socket) = connect();
        let probe = socket.probe();
        client.write_all(b"more").unwrap();
        assert!(!probe.is_closed(), "it has sent more");
        client.shutdown(Shutdown::Both).unwrap();
        drop(socket);
        assert!(probe.is_closed(), "the gateway has closed it");
        assert!(SocketProbe::default().is_closed());
    }
}
