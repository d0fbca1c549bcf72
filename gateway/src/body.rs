//! The body of an answer to a client: one that is here as a whole, or one that comes in parts.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

use crate::door::Deliveries;
use crate::orders::Delivery;
use crate::upstream::StreamedBody;

/// A body.
pub(crate) enum ReplyBody {
    /// Here as a whole.
    Whole(Option<Bytes>),
    /// Here as a whole. It is followed to the client, and reported once that has read it.
    Followed(Bytes, Option<(Delivery, Deliveries)>),
    /// A large answer of the upstream, as it comes.
    Streamed(Box<StreamedBody>),
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
            Self::Followed(bytes, delivery) => {
                Poll::Ready(delivery.take().map(|(delivery, deliveries)| {
                    // The next write has the first of these bytes: hyper takes them now, and writes before it asks for more.
                    deliveries.push(delivery);
                    Ok(Frame::data(std::mem::take(bytes)))
                }))
            }
            Self::Streamed(rest) => Pin::new(&mut **rest)
                .poll_frame(context)
                .map_err(|error| CutBody(crate::describe::describe(&error))),
            Self::Events(events) => {
                events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Followed(_, delivery) => delivery.is_none(),
            Self::Streamed(rest) => rest.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Followed(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(rest) => rest.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
