//! The body of an answer, which may break off in the middle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bytes, and how they end.
#[derive(Debug)]
pub(super) struct FaultyBody {
    bytes: Bytes,
    ending: BodyEnding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnding {
    /// They are all.
    Complete,
    /// More was promised, and will not come.
    Truncated,
    /// What there was is on its way out.
    Aborting,
}

impl FaultyBody {
    pub(super) fn complete(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), ending: BodyEnding::Complete }
    }

    /// The connection breaks after `bytes`.
    pub(super) fn truncated(bytes: Bytes) -> Self {
        Self { bytes, ending: BodyEnding::Truncated }
    }

    /// For those who want to cut it.
    pub(super) fn bytes(&self) -> &Bytes {
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
            // An error throws away what is not written yet; a pause has it written.
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

/// How a request ends that is not answered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionFault {
    /// The connection is reset.
    #[error("reset")]
    Reset,
    /// Nothing more is said on the connection.
    #[error("silent")]
    Silent,
}
