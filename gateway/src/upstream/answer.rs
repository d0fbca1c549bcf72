//! An answer of the upstream. A small one is taken whole, so that it can be judged. A large one, such as a listing of
//! instruments, is passed on as it comes, and is never in memory as a whole.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::pool::{Connection, Pool};
use super::redactor::Redactor;
use super::{Terms, UpstreamError};
use crate::describe::describe;

/// How long the upstream may send nothing in the middle of a large answer.
const MAX_STALL: Duration = Duration::from_secs(30);

/// An answer, as it came. No `Debug` of the body: it may be a token.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Bytes),
    Streamed(StreamedBody),
}

impl Answer {
    /// Returns the body, if it is here as a whole.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.body {
            AnswerBody::Whole(bytes) => Some(bytes),
            AnswerBody::Streamed(_) => None,
        }
    }

    /// Returns a copy, if it is here as a whole.
    pub(crate) fn copy(&self) -> Option<Self> {
        let body = AnswerBody::Whole(self.whole()?.clone());
        Some(Self { status: self.status, headers: self.headers.clone(), body })
    }

    /// Returns the text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Reads an answer: whole, or as much as `terms` say.
pub(super) async fn receive(
    response: Response<Incoming>,
    mut connection: Connection,
    pool: &Pool,
    terms: Terms,
    deadline: Instant,
) -> Result<Answer, UpstreamError> {
    let (head, mut incoming) = response.into_parts();
    let mut chunks = VecDeque::new();
    let parts = read_parts(&mut incoming, &mut connection, terms, &mut chunks);
    let is_whole = timeout_at(deadline, parts)
        .await
        .unwrap_or_else(|_| Err(UpstreamError::Lost("it did not end in time".to_owned())))?;
    let body = if is_whole {
        pool.put(connection);
        AnswerBody::Whole(join(chunks))
    } else {
        AnswerBody::Streamed(StreamedBody {
            chunks,
            incoming,
            connection: Some(connection),
            pool: pool.clone(),
            stall: None,
            redactor: None,
        })
    };
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// Reads as much of a body as `terms` say. Returns whether that is all of it.
async fn read_parts(
    incoming: &mut Incoming,
    connection: &mut Connection,
    terms: Terms,
    chunks: &mut VecDeque<Bytes>,
) -> Result<bool, UpstreamError> {
    let mut length = 0;
    loop {
        let frame = match poll_fn(|context| connection.poll_frame(incoming, context)).await {
            None => return Ok(true),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(UpstreamError::Lost(describe(&error))),
        };
        // Trailers are dropped: no client of such an API reads them.
        let Ok(chunk) = frame.into_data() else { continue };
        length += chunk.len();
        chunks.push_back(chunk);
        if length > terms.max_whole && terms.whole_up_to >= terms.max_whole {
            let message = format!("it is longer than {} bytes", terms.max_whole);
            return Err(UpstreamError::Lost(message));
        }
        if length > terms.whole_up_to {
            return Ok(false);
        }
    }
}

fn join(mut chunks: VecDeque<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop_front().unwrap_or_default();
    }
    let length = chunks.iter().map(Bytes::len).sum();
    let mut whole = BytesMut::with_capacity(length);
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}

/// A large body, of which the first part is here.
pub(crate) struct StreamedBody {
    chunks: VecDeque<Bytes>,
    incoming: Incoming,
    /// Reads the body. Idle again once that has ended.
    connection: Option<Connection>,
    pool: Pool,
    /// Runs while the upstream is waited for. A client that is slow to take what is here does not start it.
    stall: Option<Pin<Box<Sleep>>>,
    redactor: Option<Redactor>,
}

impl StreamedBody {
    /// Overwrites secrets in what is still to come.
    pub(crate) fn redact(&mut self, redactor: Redactor) {
        self.redactor = Some(redactor);
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }

    /// Returns how many bytes the redactor holds back.
    fn held(&self) -> u64 {
        self.redactor.as_ref().map_or(0, |redactor| redactor.held() as u64)
    }

    /// Returns the next part, as it came.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match connection.poll_frame(&mut self.incoming, context) {
                Poll::Ready(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(frame)) => {
                    self.stall = None;
                    // Nothing asks for what follows the last part of a body whose length is known.
                    if self.incoming.is_end_stream() {
                        self.end();
                    }
                    // Trailers are dropped, as in a small answer.
                    match frame.map(Frame::into_data) {
                        Ok(Ok(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                        Ok(Err(_trailers)) => {}
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    }
                }
                Poll::Pending => {
                    let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(MAX_STALL)));
                    ready!(stall.as_mut().poll(context));
                    return Poll::Ready(Some(Err(BrokenBody::Stalled)));
                }
            }
        }
    }
}

/// Why a large body ended early. The client's connection is then cut, so that it does not take the body for complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenBody {
    #[error("the upstream sent nothing for {MAX_STALL:?}")]
    Stalled,
    #[error(transparent)]
    Lost(#[from] hyper::Error),
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = self.get_mut();
        loop {
            let chunk = match ready!(this.poll_chunk(context)) {
                Some(Ok(chunk)) => match &mut this.redactor {
                    Some(redactor) => redactor.pass(chunk),
                    None => chunk,
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let held = this.redactor.as_mut().map(Redactor::finish);
                    let held = held.filter(|held| !held.is_empty());
                    return Poll::Ready(held.map(|held| Ok(Frame::data(held))));
                }
            };
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.held() == 0 && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let here: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        match self.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(here + self.held() + rest),
            None => SizeHint::default(),
        }
    }
}
