//! A client's connection: with limits on how long a head may take and how long a write may be blocked, and with a report
//! of what its client was told.
//!
//! An answer that was written may still find a client that has just left. The system of such a client resets the
//! connection, and resets it too if the client closes it without reading the answer. If the network has lost the client,
//! the answer is not acknowledged, and the connection ends with an error after [`LOST`]. So a client counts as told once
//! it sends something more, or nothing of this happens for [`UNREAD`], or it has closed the connection and no reset follows
//! within [`hang_up_delay`].

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::malformed;
use crate::config::DoorConfig;
use crate::orders::{Delivery, hang_up_delay};
use crate::socket::Socket;

/// How long a connection that the gateway ends is read on. If it were closed while the client still sends, the client's
/// system would drop the answer that says why.
const LINGER: Duration = Duration::from_secs(2);

/// Within which time after an answer a reset or an error says that its client has not read it.
const UNREAD: Duration = Duration::from_secs(3);

/// After which time an answer that is not acknowledged is lost.
const LOST: Duration = Duration::from_secs(2);

/// The deliveries of the answers that are written next.
#[derive(Clone, Default)]
pub(crate) struct Deliveries(Arc<Mutex<Vec<Delivery>>>);

impl Deliveries {
    /// Tracks the delivery of an answer, which must be handed to the connection now.
    pub(crate) fn push(&self, delivery: Delivery) {
        self.0.lock().push(delivery);
    }

    fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Whether a connection is between two requests. The number is even then, and grows with each.
#[derive(Clone, Default)]
pub(super) struct Phase(Arc<AtomicUsize>);

impl Phase {
    /// The head of a request is here, or its answer is.
    pub(super) fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of the phase, if a head is what comes next.
    fn before_head(&self) -> Option<usize> {
        let number = self.0.load(Ordering::Relaxed);
        (number % 2 == 0).then_some(number)
    }
}

/// A head of which a part is here.
struct BegunHead {
    phase: usize,
    limit: Pin<Box<Sleep>>,
}

/// A stream whose reads fail once a head takes longer than `read_timeout`, and its writes once the client has read
/// nothing for `write_timeout`.
pub(super) struct ClientStream {
    stream: Socket,
    read_timeout: Duration,
    write_timeout: Duration,
    phase: Phase,
    head: Option<BegunHead>,
    is_head_late: bool,
    /// Runs while a write is blocked.
    stall: Option<Pin<Box<Sleep>>>,
    /// What is written in place of hyper's own answer.
    in_place: Option<Bytes>,
    linger: Option<Pin<Box<Sleep>>>,
    deliveries: Deliveries,
    unread: Unread,
}

/// The answers that are written or were, and that the client may not have read yet.
#[derive(Default)]
struct Unread {
    deliveries: Vec<Delivery>,
    /// Runs once they were written.
    limit: Option<Pin<Box<Sleep>>>,
    /// Runs once the client has ended the connection: a reset may follow until it is over.
    ended: Option<Pin<Box<Sleep>>>,
    /// Whether the connection ends if what was written is not acknowledged.
    is_limited: bool,
    /// Whether the client had sent more before it had the answer, so that more from it does not show that it read that.
    is_pipelined: bool,
}

impl Unread {
    /// Their first bytes are written next. A client that has left before does not get them.
    fn writing(&mut self, deliveries: Vec<Delivery>) {
        self.deliveries.extend(deliveries.into_iter().filter_map(Delivery::writing));
    }

    fn written(&mut self, stream: &Socket) {
        if !self.deliveries.is_empty() && self.limit.is_none() {
            self.limit = Some(Box::pin(sleep(UNREAD)));
            // Also if it has reset the connection already: what it had sent before can still be read after that.
            self.is_pipelined = !stream.is_quiet();
        }
        self.limit_unacknowledged(stream);
    }

    /// A client that is slow to read other answers must not lose its connection.
    fn limit_unacknowledged(&mut self, stream: &Socket) {
        let is_limited = self.limit.is_some();
        if std::mem::replace(&mut self.is_limited, is_limited) != is_limited {
            stream.limit_unacknowledged(is_limited.then_some(LOST));
        }
    }

    /// The client has read them.
    fn report(&mut self) {
        self.deliveries.drain(..).for_each(Delivery::report);
        self.limit = None;
    }

    /// The client has not read them.
    fn lose(&mut self) {
        self.deliveries.clear();
        self.limit = None;
    }

    /// The client has reset the connection.
    fn reset(&mut self) {
        self.deliveries.drain(..).for_each(Delivery::reset);
        self.limit = None;
    }

    /// The gateway ends the connection, for example because it is shut down, or because a write has failed.
    fn end(&mut self, stream: &Socket) {
        match self.limit.is_some() {
            true if stream.is_reset() => self.reset(),
            true => self.report(),
            // Not all of it was written.
            false => self.lose(),
        }
    }

    /// Looks at the result of a read of `count` bytes. The end of the connection is held back for [`hang_up_delay`].
    fn check(
        &mut self,
        context: &mut Context<'_>,
        stream: &Socket,
        read: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.deliveries.is_empty() {
            return read;
        }
        match &read {
            Poll::Ready(Ok(0)) => {
                let delay = || Box::pin(sleep(hang_up_delay(stream.is_local())));
                let is_over =
                    self.ended.get_or_insert_with(delay).as_mut().poll(context).is_ready();
                match stream.is_reset() {
                    true if self.limit.is_some() => self.reset(),
                    // Not all of it was written.
                    true => self.lose(),
                    false if is_over && self.limit.is_none() => self.lose(),
                    false if is_over => self.report(),
                    false => return Poll::Pending,
                }
            }
            // It has sent the next request, or a part of it before.
            Poll::Ready(Ok(_)) if self.limit.is_some() && !self.is_pipelined => self.report(),
            Poll::Ready(Ok(_)) => {}
            // Nothing acknowledged it: its client surely has not read it.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::TimedOut => self.lose(),
            Poll::Ready(Err(_)) => self.reset(),
            Poll::Pending => {
                let limit = self.limit.as_mut().map(|limit| limit.as_mut().poll(context));
                if limit.is_some_and(|limit| limit.is_ready()) {
                    self.report();
                }
            }
        }
        self.limit_unacknowledged(stream);
        read
    }
}

impl ClientStream {
    pub(super) fn new(
        stream: Socket,
        door: &DoorConfig,
        phase: Phase,
        deliveries: Deliveries,
    ) -> Self {
        Self {
            stream,
            read_timeout: door.read_timeout,
            write_timeout: door.write_timeout,
            phase,
            head: None,
            is_head_late: false,
            stall: None,
            in_place: None,
            linger: None,
            deliveries,
            unread: Unread::default(),
        }
    }

    /// The bytes that are written next are those of the answers to be told, or the last of them.
    fn writing(&mut self) {
        let begun = self.deliveries.take();
        self.unread.writing(begun);
    }

    /// Returns whether it ended because a head took too long, and the client can be told.
    pub(super) fn is_head_late(&self) -> bool {
        self.is_head_late && self.stall.is_none()
    }

    /// Returns the result of a read of `count` bytes, or `TimedOut` if a head has taken too long.
    fn check_head(
        &mut self,
        context: &mut Context<'_>,
        read: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(phase) = self.phase.before_head() else {
            self.head = None;
            return read;
        };
        self.head = self.head.take().filter(|head| head.phase == phase);
        match read {
            Poll::Ready(Ok(count)) if count > 0 && self.head.is_none() => {
                let limit = Box::pin(sleep(self.read_timeout));
                self.head = Some(BegunHead { phase, limit });
                read
            }
            Poll::Pending => {
                let Some(head) = &mut self.head else { return Poll::Pending };
                ready!(head.limit.as_mut().poll(context));
                self.is_head_late = true;
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
            read => read,
        }
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

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.unread.end(&self.stream);
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let read = read.map_ok(|()| into.filled().len() - before);
        let this = &mut *self;
        let read = this.unread.check(context, &this.stream, read);
        self.check_head(context, read).map_ok(drop)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.in_place.is_none() {
            self.in_place = malformed::in_place_of(bytes);
        }
        while let Some(left) = self.in_place.take() {
            if left.is_empty() {
                return Poll::Ready(Ok(bytes.len()));
            }
            let written = Pin::new(&mut self.stream).poll_write(context, &left);
            let written = self.check_stall(context, written);
            let mut left = left;
            if let Poll::Ready(Ok(count)) = written {
                left.advance(count);
            }
            self.in_place = Some(left);
            ready!(written)?;
        }
        self.writing();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_stall(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bytes {
            return self.poll_write(context, only);
        }
        self.writing();
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
            self.writing();
            let this = &mut *self;
            this.unread.written(&this.stream);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        let this = &mut *self;
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; 4096];
        loop {
            let mut into = ReadBuf::new(&mut space);
            let read = Pin::new(&mut this.stream).poll_read(context, &mut into);
            let read = read.map_ok(|()| into.filled().len());
            let read = ready!(this.unread.check(context, &this.stream, read));
            if !matches!(read, Ok(1..)) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::Shutdown;
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::orders::placement_tests::{is_repeated_by_another, placements, written_to};
    use crate::socket::tests::connect;

    /// Over a network, a reset comes later than the end that the client sent before.
    #[tokio::test(start_paused = true)]
    async fn an_end_counts_once_no_reset_has_followed_it() {
        for is_read in [false, true] {
            let (placements, _) = placements();
            let (mut client, mut socket) = connect();
            let mut unread = Unread::default();
            unread.deliveries.push(written_to(&placements, socket.probe()));
            socket.write_all(b"answer").await.unwrap();
            unread.written(&socket);
            client.shutdown(Shutdown::Write).unwrap();
            let mut check = |socket: &Socket| {
                unread.check(&mut Context::from_waker(Waker::noop()), socket, Poll::Ready(Ok(0)))
            };
            assert!(check(&socket).is_pending());
            if is_read {
                client.read_exact(&mut [0; 6]).unwrap();
                tokio::time::advance(hang_up_delay(true)).await;
            }
            drop(client);
            assert!(matches!(check(&socket), Poll::Ready(Ok(0))));
            assert_eq!(is_repeated_by_another(&placements), !is_read);
        }
    }

    /// No read tells of the reset: the connection ends because another answer cannot be written.
    #[tokio::test]
    async fn a_reset_that_no_read_has_met_counts_at_the_end_of_the_connection() {
        for is_read in [false, true] {
            let (placements, _) = placements();
            let (mut client, mut socket) = connect();
            let mut unread = Unread::default();
            unread.deliveries.push(written_to(&placements, socket.probe()));
            socket.write_all(b"answer").await.unwrap();
            unread.written(&socket);
            if is_read {
                client.read_exact(&mut [0; 6]).unwrap();
            }
            drop(client);
            unread.end(&socket);
            assert_eq!(is_repeated_by_another(&placements), !is_read);
        }
    }

    #[cfg(target_os = "linux")]
    fn limit_of(socket: &Socket) -> Option<Duration> {
        socket.unacknowledged_limit().filter(|limit| !limit.is_zero())
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_counts_as_told_after_a_while() {
        let (placements, _) = placements();
        let (_client, socket) = connect();
        let mut unread = Unread::default();
        unread.deliveries.push(written_to(&placements, socket.probe()));
        let check = |unread: &mut Unread| {
            assert!(
                unread
                    .check(&mut Context::from_waker(Waker::noop()), &socket, Poll::Pending)
                    .is_pending()
            );
            unread.deliveries.len()
        };
        tokio::time::advance(UNREAD * 2).await;
        assert_eq!(check(&mut unread), 1, "nothing is written yet");
        assert_eq!(limit_of(&socket), None);
        unread.written(&socket);
        assert_eq!(check(&mut unread), 1);
        assert_eq!(limit_of(&socket), Some(LOST));
        tokio::time::advance(UNREAD).await;
        assert_eq!(check(&mut unread), 0);
        assert_eq!(limit_of(&socket), None);
    }
}
