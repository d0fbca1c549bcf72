//! The error of a call that has no usable answer, by whether the call reads or writes.

use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail};

/// Returns the error for a call whose outcome no answer shows.
pub(in crate::brokers) fn no_answer_error(effect: Effect, detail: ErrorDetail) -> BrokerError {
    match effect {
        Effect::Read => BrokerError::Transient(detail),
        Effect::Write => BrokerError::OutcomeUnknown(detail),
    }
}

/// Returns the error for an answer that cannot be decoded. A read is not repeated, since the next answer would be the
/// same. A write may have been executed.
pub(in crate::brokers) fn decode_error(effect: Effect, detail: ErrorDetail) -> BrokerError {
    match effect {
        Effect::Read => BrokerError::Malformed(detail),
        Effect::Write => BrokerError::OutcomeUnknown(detail),
    }
}

/// Returns the error for a request that was refused locally: nothing left this process.
pub(in crate::brokers) fn not_sent_error(why: impl Into<String>) -> BrokerError {
    BrokerError::NotSent(ErrorDetail::new(why).local())
}

/// Why the data of a successful answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::brokers) enum ResponseError {
    /// It cannot be read.
    Unreadable(String),
    /// It is about something other than the request. It may be the answer to another call, which arrived late or
    /// twice on the same connection.
    WrongRequest(String),
}

impl From<String> for ResponseError {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}
