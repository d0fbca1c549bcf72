//! One call through a lane: from a client's request to an answer or a refusal, within the client's time.
//!
//! # The client's time
//! A client gives up at some time, 7 s for the official ones, and may then send again. So each call is answered before.
//! A call that the lane estimates to be *answered* too late is refused at once: the lane's deadline is the client's time
//! less what an answer takes. When the time is over, a queued call is taken back, and the client is told that it was not
//! sent. One that is under way goes on, and the client is told that the outcome is unknown.
//!
//! # A client that hangs up
//! What is queued is taken back, except an exit: that goes out, even if its client is gone. What is under way goes on to its end,
//! and is noted.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{ACCEPT_ENCODING, HeaderValue};
use lanekeeper::brokers::kite::wire::WireAnswer;
use lanekeeper::lane::{CallOptions, LaneErrorKind, Ticket};
use lanekeeper::{Effect, LaneCall, Sent};
use tokio::runtime::Handle;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::account::Account;
use crate::hang_up::HangUp;
use crate::judge::{Answered, BrokerFailure, CallError, Protocol, Times};
use crate::refusal::Refusal;
use crate::upstream::{Answer, Terms, UpstreamRequest};

/// The longest answer that is taken whole, in bytes.
pub(crate) const MAX_WHOLE: usize = 32 << 20;

/// Up to which size the answer to a read is judged as a whole. An error is far smaller, so a larger one is a success.
pub(crate) const WHOLE_READ: usize = 256 << 10;

/// How a call is made.
#[derive(Clone)]
pub(crate) struct CallTerms {
    /// Its lane, budgets and effect.
    pub(crate) call: LaneCall,
    /// Its user and its priority.
    pub(crate) options: CallOptions,
    /// When its request was here.
    pub(crate) received: Instant,
    /// Within which time from then its client expects the answer.
    pub(crate) client_time: Duration,
    /// Whether it is an exit, or its client made it urgent.
    pub(crate) is_urgent: bool,
}

impl CallTerms {
    /// When the client has to have the answer.
    pub(crate) fn deadline(&self) -> Instant {
        self.received + self.client_time
    }

    /// Returns whether it ends or reduces a position, or may: an exit by its route, or an urgent write.
    pub(crate) fn is_exit(&self) -> bool {
        self.call.is_exit() || (self.is_urgent && self.call.effect() == Effect::Write)
    }

    /// Returns the options for the lane: the call is not sent so late that its answer would be. An exit is, since it is
    /// better late than never.
    pub(crate) fn lane_options(&self, account: &Account) -> CallOptions {
        let left = self.deadline().saturating_duration_since(Instant::now());
        let margin = match self.is_urgent {
            true => Duration::ZERO,
            false => account.answer_margin(self.call.lane_name(), self.client_time),
        };
        self.options.clone().deadline(left.saturating_sub(margin))
    }
}

/// Why a client gets no answer of the upstream as it is.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The client hung up, so that there is nobody to answer.
    Gone,
    /// The call failed, maybe with an answer of the upstream.
    Call(CallError),
    /// The client's time is over, and the call is not sent.
    OutOfTime,
    /// The client's time is over, and the call is under way.
    InFlight,
}

/// An attempt that the task of the request makes itself, without a worker of the lane.
type OwnAttempt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A call that is queued or under way. One that is under way goes on when this is dropped.
struct BegunCall {
    ticket: Ticket<Answered, CallError>,
    own_attempt: Option<OwnAttempt>,
    is_attempted: bool,
}

impl BegunCall {
    /// Makes the call if it is this task's turn, and waits for its answer. That may come first: the lane cuts off what is
    /// under way when it is shut down.
    async fn answer(&mut self) -> Result<Answered, CallError> {
        let Self { ticket, own_attempt, is_attempted } = self;
        *is_attempted = true;
        poll_fn(|context| {
            if own_attempt.as_mut().is_some_and(|own| own.as_mut().poll(context).is_ready()) {
                *own_attempt = None;
            }
            Pin::new(&mut *ticket).poll(context)
        })
        .await
    }

    /// Takes the call back if it is queued, and then fails with `unsent`. One that waits for a retry is answered with what
    /// its last attempt came to. One that is under way goes on.
    fn leave(&mut self, unsent: Failed) -> Result<Answered, Failed> {
        if self.ticket.cancel() {
            return Err(unsent);
        }
        match self.ticket.try_wait() {
            Some(result) => result.map_err(Failed::Call),
            None => Err(Failed::InFlight),
        }
    }
}

impl Drop for BegunCall {
    fn drop(&mut self) {
        let own_attempt = self.own_attempt.take().filter(|_| self.is_attempted);
        // The runtime ends with the gateway. The call is lost then, as any other one that is under way.
        if let (Some(own_attempt), Ok(runtime)) = (own_attempt, Handle::try_current()) {
            runtime.spawn(own_attempt);
        }
    }
}

impl Account {
    /// Sends a request once and judges its answer. Blocks the thread, which is a worker of a lane.
    pub(crate) fn exchange_blocking(
        &self,
        effect: Effect,
        request: UpstreamRequest,
        whole_up_to: usize,
    ) -> Result<Answered, CallError> {
        self.runtime.block_on(self.exchange(effect, request, whole_up_to))
    }

    /// Sends a request once and judges its answer.
    async fn exchange(
        &self,
        effect: Effect,
        mut request: UpstreamRequest,
        whole_up_to: usize,
    ) -> Result<Answered, CallError> {
        let started = Instant::now();
        // At the last moment, so that a call that waited for a new token has it.
        self.credentials.apply(&mut request.headers);
        if request.headers.contains_key(ACCEPT_ENCODING) && !self.may_be_packed(&request) {
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let whole_up_to = if effect == Effect::Write { MAX_WHOLE } else { whole_up_to };
        let terms = Terms { timeout: self.timeout, whole_up_to, max_whole: MAX_WHOLE };
        let result = self.upstream.exchange(request, terms).await;
        let result = result.map(|answer| self.credentials.redact(answer));
        self.protocol.judge(result, effect, Times { started, ended: Instant::now() })
    }

    /// Returns whether the answer may be packed as the client asks. Kite's answers are judged by what they say, and a secret
    /// can be overwritten only where it can be read. The listing of instruments is large, and has no secret.
    fn may_be_packed(&self, request: &UpstreamRequest) -> bool {
        match self.protocol {
            Protocol::Kite => {
                request.method == Method::GET && request.target.starts_with("/instruments")
            }
            Protocol::Rest => !self.credentials.has_secret(),
        }
    }

    /// Begins a call: queues it, or makes it at once if the lane is idle.
    fn begin_call(
        self: &Arc<Self>,
        terms: &CallTerms,
        request: UpstreamRequest,
        whole_up_to: usize,
    ) -> BegunCall {
        let effect = terms.call.effect();
        let request = Arc::new(request);
        let work = {
            let (account, request) = (Arc::clone(self), Arc::clone(&request));
            move || account.exchange_blocking(effect, (*request).clone(), whole_up_to)
        };
        let options = terms.lane_options(self);
        let (ticket, turn) = self.lanes.submit_or_begin(&terms.call, &options, work);
        let own_attempt = turn.map(|turn| {
            let account = Arc::clone(self);
            let exchange =
                async move { account.exchange(effect, (*request).clone(), whole_up_to).await };
            Box::pin(turn.run(exchange)) as OwnAttempt
        });
        BegunCall { ticket, own_attempt, is_attempted: false }
    }

    /// Makes a call, and waits for its answer within the client's time.
    pub(crate) async fn call(
        self: &Arc<Self>,
        terms: &CallTerms,
        request: UpstreamRequest,
        whole_up_to: usize,
        client: &mut HangUp,
    ) -> Result<Answered, Failed> {
        if client.is_gone() && !terms.is_urgent {
            return Err(Failed::Gone);
        }
        let mut call = self.begin_call(terms, request, whole_up_to);
        select! {
            biased;
            result = call.answer() => result.map_err(Failed::Call),
            () = client.wait(), if !terms.is_urgent => call.leave(Failed::Gone),
            () = sleep_until(terms.deadline()) => call.leave(Failed::OutOfTime),
        }
    }

    /// Makes a call like [`call`](Self::call), but one that is under way is waited for, even if its client has left.
    /// Blocks the thread.
    pub(crate) fn call_to_the_end<R: Send + 'static>(
        &self,
        terms: &CallTerms,
        work: impl FnMut() -> Result<R, CallError> + Send + 'static,
        client: &mut HangUp,
    ) -> Result<R, Failed> {
        // It may have waited for a thread.
        if client.is_gone() && !terms.is_urgent {
            return Err(Failed::Gone);
        }
        let mut ticket = self.lanes.submit(&terms.call, &terms.lane_options(self), work);
        self.runtime.block_on(async {
            select! {
                biased;
                result = &mut ticket => return result.map_err(Failed::Call),
                () = client.wait(), if !terms.is_urgent => if ticket.cancel() {
                    return Err(Failed::Gone);
                },
                () = sleep_until(terms.deadline()) => if ticket.cancel() {
                    return Err(Failed::OutOfTime);
                },
            }
            ticket.await.map_err(Failed::Call)
        })
    }

    /// Adds the secrets that no error of the answer may show.
    pub(crate) fn with_secrets(&self, answer: WireAnswer) -> WireAnswer {
        self.credentials.secrets().into_iter().fold(answer, WireAnswer::secret)
    }

    /// Returns what a client is told of a call that failed: the upstream's own answer where that means what it says, or
    /// a refusal of the gateway.
    pub(crate) fn explain(&self, failed: Failed, terms: &CallTerms) -> Result<Answered, Refusal> {
        let effect = terms.call.effect();
        let lane = terms.call.lane_name();
        match failed {
            // Nothing reaches a client that is gone.
            Failed::Gone => Err(Refusal::later("the client is gone", None)),
            Failed::OutOfTime => {
                Err(Refusal::later("not sent: the client's time was over first", self.wait(lane)))
            }
            Failed::InFlight => Err(Refusal::unknown(
                effect,
                "the broker has not answered within the client's time",
            )),
            Failed::Call(CallError::Lane(error)) => match error.kind {
                LaneErrorKind::SessionExpired => Err(Refusal::session_expired()),
                _ => Err(Refusal::of_lane(&error, self.wait(lane))),
            },
            Failed::Call(CallError::Broker(failure)) => {
                let BrokerFailure { error, answer, times } = *failure;
                self.explain_broker(&error, answer, times, effect)
            }
        }
    }

    fn explain_broker(
        &self,
        error: &lanekeeper::BrokerError,
        answer: Option<Answer>,
        times: Times,
        effect: Effect,
    ) -> Result<Answered, Refusal> {
        match (answer, error.was_sent()) {
            // It was not executed, whatever the status looks like.
            (None, Sent::No) => {
                Err(Refusal::new(hyper::StatusCode::BAD_GATEWAY, error.to_string()))
            }
            (None, _) => Err(Refusal::unknown_after(effect, error)),
            // A write whose outcome the answer does not tell. Its status may be one that clients send again on.
            (Some(_), Sent::Unknown) if effect == Effect::Write => {
                Err(Refusal::unknown_after(effect, error))
            }
            (Some(answer), _) => Ok(Answered { answer, times }),
        }
    }
}
