//! The body of an answer to a client: one that is here as a whole, or one that comes in parts.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

use crate::door::ToBeTold;
use crate::orders::Told;
use crate::upstream::RestOfBody;

/// A body.
pub(crate) enum ReplyBody {
    /// Here as a whole.
    Whole(Option<Bytes>),
    /// Here as a whole, with what is reported once it has been written.
    Told(Bytes, Option<(Told, ToBeTold)>),
    /// A large answer of the upstream, as it comes.
    Rest(Box<RestOfBody>),
    /// Events, as they happen.
    Events(Receiver<Bytes>),
}

/// The body ended early, so the connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early: {0}")]
pub(crate) struct CutBody(String);

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutBody>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Told(bytes, told) => Poll::Ready(told.take().map(|(told, to_be_told)| {
                // hyper takes the bytes now, and flushes them next.
                to_be_told.push(told);
                Ok(Frame::data(std::mem::take(bytes)))
            })),
            Self::Rest(rest) => Pin::new(&mut **rest)
                .poll_frame(context)
                .map_err(|error| CutBody(crate::net::describe(&error))),
            Self::Events(events) => {
                events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Told(_, told) => told.is_none(),
            Self::Rest(rest) => rest.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Told(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Rest(rest) => rest.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
