//! The future of a response: the check, if it takes a while, and then the response of the inner service or a refusal.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::check::Check;
use super::refusal::{Refusal, Refuse};
use crate::limiter::verdict::Verdict;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, B, T, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        pub(super) state: State<S, S::Future, B, T>,
        pub(super) answers: Answers<R>,
    }
}

pin_project! {
    #[project = StateProjection]
    pub(super) enum State<S, F, B, T> {
        /// The storage is asked. The service that waits is ready to be called.
        Checking { check: Check, waiting: Option<(S, Request<B>)> },
        /// The inner service answers. The verdict is there if the response is to have its headers.
        Allowed { #[pin] response: F, verdict: Option<Verdict> },
        Refused { #[pin] response: Ready<Response<T>> },
    }
}

/// How requests are answered that were judged.
pub(super) struct Answers<R> {
    pub(super) refusal: Arc<R>,
    pub(super) shows_limits: bool,
}

impl<R> Clone for Answers<R> {
    fn clone(&self) -> Self {
        Self { refusal: Arc::clone(&self.refusal), shows_limits: self.shows_limits }
    }
}

impl<R> Answers<R> {
    /// Calls the service, which is ready, if the verdict allows it.
    pub(super) fn judged<S, B, T>(
        &self,
        verdict: Verdict,
        mut request: Request<B>,
        service: &mut S,
    ) -> State<S, S::Future, B, T>
    where
        S: Service<Request<B>, Response = Response<T>>,
        R: Refuse<T>,
    {
        if !verdict.is_allowed() {
            return self.refuse(&Refusal::new(verdict));
        }
        request.extensions_mut().insert(verdict.clone());
        let verdict = self.shows_limits.then_some(verdict);
        State::Allowed { response: service.call(request), verdict }
    }

    pub(super) fn refuse<S, F, B, T>(&self, refusal: &Refusal) -> State<S, F, B, T>
    where
        R: Refuse<T>,
    {
        let mut response = self.refusal.refuse(refusal);
        if let Some(verdict) = refusal.verdict() {
            add_limits(response.headers_mut(), verdict);
        }
        State::Refused { response: ready(response) }
    }
}

impl<S, B, T, R> Future for ResponseFuture<S, B, T, R>
where
    S: Service<Request<B>, Response = Response<T>>,
    R: Refuse<T>,
{
    type Output = Result<Response<T>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Refused { response } => return response.poll(cx).map(Ok),
                StateProjection::Allowed { response, verdict } => {
                    let mut response = task::ready!(response.poll(cx))?;
                    if let Some(verdict) = verdict {
                        add_limits(response.headers_mut(), verdict);
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Checking { check, waiting } => {
                    let verdict = task::ready!(Pin::new(check).poll(cx));
                    // Taken once, because the state ends here.
                    let Some((mut service, request)) = waiting.take() else { return Poll::Pending };
                    this.answers.judged(verdict, request, &mut service)
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, B, T, R> fmt::Debug for ResponseFuture<S, B, T, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Adds the headers of a verdict. Those of limits are lists, to which each layer adds its items.
fn add_limits(headers: &mut HeaderMap, verdict: &Verdict) {
    for (name, value) in verdict.headers() {
        // Printable ASCII always is a value.
        let Ok(value) = HeaderValue::try_from(value) else { continue };
        match HeaderName::from_static(name) {
            RETRY_AFTER => drop(headers.insert(RETRY_AFTER, value)),
            name => drop(headers.append(name, value)),
        }
    }
}
