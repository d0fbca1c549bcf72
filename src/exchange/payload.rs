//! The body of an answer, which may break off in the middle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bytes, and how they end.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Bytes,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// They are all.
    End,
    /// More was promised, and will not come.
    Promised,
    /// What there was is on its way out.
    Sent,
}

impl Payload {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), ending: Ending::End }
    }

    /// The connection breaks after `bytes`.
    pub(super) fn cut(bytes: Bytes) -> Self {
        Self { bytes, ending: Ending::Promised }
    }

    /// For those who want to cut it.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.ending {
            Ending::End => Poll::Ready(None),
            // An error throws away what is not written yet; a pause has it written.
            Ending::Promised => {
                self.ending = Ending::Sent;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Sent => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ending == Ending::End && self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::End => SizeHint::with_exact(self.bytes.len() as u64),
            Ending::Promised | Ending::Sent => SizeHint::default(),
        }
    }
}

/// How a request ends that is not answered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// The connection is reset.
    #[error("reset")]
    Reset,
    /// Nothing more is said on the connection.
    #[error("silent")]
    Silent,
}
