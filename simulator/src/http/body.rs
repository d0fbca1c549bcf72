//! The body of a response, which a fault may truncate.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// A response body: bytes, and how they end.
#[derive(Debug)]
pub(crate) struct FaultyBody {
    bytes: Bytes,
    ending: BodyEnding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnding {
    /// The bytes are the complete body.
    Complete,
    /// The body is longer than the bytes, and the connection breaks after them.
    Truncated,
    /// The bytes are being written, and the connection breaks next.
    Aborting,
}

impl FaultyBody {
    pub(crate) fn complete(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), ending: BodyEnding::Complete }
    }

    /// Returns a body after whose `bytes` the connection breaks.
    pub(crate) fn truncated(bytes: Bytes) -> Self {
        Self { bytes, ending: BodyEnding::Truncated }
    }

    /// Returns the bytes, for faults that truncate them.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Body for FaultyBody {
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
            BodyEnding::Complete => Poll::Ready(None),
            // An error discards the bytes that hyper has not written yet. Returning `Pending` first makes it
            // write them.
            BodyEnding::Truncated => {
                self.ending = BodyEnding::Aborting;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            BodyEnding::Aborting => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ending == BodyEnding::Complete && self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            BodyEnding::Complete => SizeHint::with_exact(self.bytes.len() as u64),
            BodyEnding::Truncated | BodyEnding::Aborting => SizeHint::default(),
        }
    }
}

/// How a request ends that gets no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionFault {
    /// The connection is reset.
    #[error("reset")]
    Reset,
    /// Nothing more is sent on the connection.
    #[error("silent")]
    Silent,
}
