//! What an answer of the upstream means to the lanes: whether the call succeeded, came too fast, or has an unknown
//! outcome. The client gets the answer as it is, where it means what it says.

use std::time::Duration;

use hyper::StatusCode;
use lanekeeper::brokers::kite::wire::{self, WireAnswer};
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::LaneError;
use lanekeeper::proxy::Classify;
use lanekeeper::resilience::retry_after;
use lanekeeper::{BrokerError, Effect, ErrorClass, ErrorDetail, Failure};
use tokio::time::Instant;

use crate::upstream::{Answer, UpstreamError};

/// Whose protocol the upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Kite Connect v3.
    Kite,
    /// Any other, of which only HTTP itself is known.
    Rest,
}

/// An answer, and when its call was on the way.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) times: Times,
}

/// When a call was handed to the upstream, and when it came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

impl Times {
    pub(crate) fn broker(self) -> Duration {
        self.ended - self.started
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The lane answered in place of the broker.
    Lane(LaneError),
    /// The broker refused it, or there is no usable answer.
    Broker(Box<BrokerFailure>),
}

/// A call that reached the broker, or should have, and failed.
#[derive(Debug)]
pub(crate) struct BrokerFailure {
    pub(crate) error: BrokerError,
    /// What the upstream answered, if it did.
    pub(crate) answer: Option<Answer>,
    pub(crate) times: Times,
}

impl CallError {
    pub(crate) fn broker(error: BrokerError, answer: Option<Answer>, times: Times) -> Self {
        Self::Broker(Box::new(BrokerFailure { error, answer, times }))
    }
}

impl From<LaneError> for CallError {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

impl Classify for CallError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lane(error) => error.class(),
            Self::Broker(failure) => failure.error.class(),
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Lane(error) => Failure::from(error.class()),
            Self::Broker(failure) => failure.error.failure(),
        }
    }
}

impl Protocol {
    /// Returns the result of a call.
    pub(crate) fn judge(
        self,
        result: Result<Answer, UpstreamError>,
        effect: Effect,
        times: Times,
    ) -> Result<Answered, CallError> {
        match result {
            Ok(answer) => match self.check(&answer, effect) {
                Ok(()) => Ok(Answered { answer, times }),
                Err(error) => Err(CallError::broker(error, Some(answer), times)),
            },
            Err(error) => Err(CallError::broker(exchange_error(&error, effect), None, times)),
        }
    }

    /// Returns whether an answer is a success, or else what kind of failure.
    pub(crate) fn check(self, answer: &Answer, effect: Effect) -> Result<(), BrokerError> {
        match self {
            Self::Kite => match to_wire(answer) {
                Some(wire) => wire::check_answer(&wire, effect),
                // A read with a large answer, which is passed on as it comes.
                None => check_status(answer, effect),
            },
            Self::Rest => check_status(answer, effect),
        }
    }
}

/// Returns an answer as the adapter's functions take it. `None` if it is not here as a whole.
pub(crate) fn to_wire(answer: &Answer) -> Option<WireAnswer> {
    let body = answer.whole()?;
    let wire = WireAnswer::new(answer.status.as_u16(), body.to_vec());
    let names = ["retry-after", "date", "cf-mitigated"];
    Some(names.into_iter().fold(wire, |wire, name| match answer.header(name) {
        Some(value) => wire.header(name, value),
        None => wire,
    }))
}

fn exchange_error(error: &UpstreamError, effect: Effect) -> BrokerError {
    let detail = ErrorDetail::new(error.to_string());
    match (error, effect) {
        (UpstreamError::NotSent(_), _) => BrokerError::NotSent(detail),
        (UpstreamError::Lost(_), Effect::Read) => BrokerError::Transient(detail),
        (UpstreamError::Lost(_), Effect::Write) => BrokerError::OutcomeUnknown(detail),
    }
}

/// Judges an answer by what HTTP says of its status.
fn check_status(answer: &Answer, effect: Effect) -> Result<(), BrokerError> {
    let status = answer.status;
    // Redirects are not followed: the client gets them.
    if status.is_success() || status.is_redirection() || status.is_informational() {
        return Ok(());
    }
    let detail =
        ErrorDetail::new(format!("the upstream answered {status}")).status(status.as_u16());
    let lost = |detail| match effect {
        Effect::Read => BrokerError::Transient(detail),
        Effect::Write => BrokerError::OutcomeUnknown(detail),
    };
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = answer.header("retry-after");
            let retry_after = wait.and_then(|wait| retry_after(wait, Timestamp::now()));
            BrokerError::Throttled { retry_after, detail }
        }
        StatusCode::UNAUTHORIZED => BrokerError::Unauthorized(detail),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => lost(detail),
        _ if status.is_client_error() => BrokerError::Rejected(detail),
        // The request did not get far: it is not implemented, or the version of HTTP is not.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            BrokerError::Rejected(detail)
        }
        _ => lost(detail),
    })
}
