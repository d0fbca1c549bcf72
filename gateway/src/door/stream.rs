//! A client's connection with a limit on how long a write may be blocked, and with a report of what has been written.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::orders::Told;

/// What is to be done once all that was written so far has left this process.
#[derive(Clone, Default)]
pub(crate) struct AfterFlush(Arc<Mutex<Vec<Told>>>);

impl AfterFlush {
    /// Reports `told` after the next flush. What it is about must have been handed to the connection.
    pub(crate) fn push(&self, told: Told) {
        self.0.lock().push(told);
    }

    fn run(&self) {
        let due = std::mem::take(&mut *self.0.lock());
        due.into_iter().for_each(Told::report);
    }
}

/// A stream whose writes fail once the client has read nothing for `write_timeout`.
pub(super) struct ClientStream {
    stream: TcpStream,
    write_timeout: Duration,
    /// Runs while a write is blocked.
    stall: Option<Pin<Box<Sleep>>>,
    after_flush: AfterFlush,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration, after_flush: AfterFlush) -> Self {
        Self { stream, write_timeout, stall: None, after_flush }
    }

    /// Returns the result of a write, or `TimedOut` if writes have been blocked for too long.
    fn check_stall(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let limit = self.write_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        stall.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_stall(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.check_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // hyper flushes the stream only after it has written its buffer to it.
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.after_flush.run();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
