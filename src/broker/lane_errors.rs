//! Conversion of lane errors to [`BrokerError`], and the classification that lanes need.

use super::{BrokerError, ErrorDetail};
use crate::lane::{LaneError, LaneErrorKind};
use crate::proxy::Classify;
use crate::{Effect, ErrorClass, Failure, Sent};

impl From<LaneError> for BrokerError {
    fn from(error: LaneError) -> Self {
        let mut detail = ErrorDetail::new(error.to_string());
        // Matters where a proxy is the broker of another one: this lane's refusal is no evidence about the broker.
        detail.local = error.was_sent() == Sent::No;
        detail.retry_in = match &error.kind {
            LaneErrorKind::BrokerDown { retry_in } => *retry_in,
            LaneErrorKind::TooLate { retry_in } => Some(*retry_in),
            _ => None,
        };
        match (error.was_sent(), error.effect) {
            (Sent::No, _) => Self::NotSent(detail),
            // A read changes nothing, so it has no unknown outcome.
            (_, Effect::Read) => Self::Transient(detail),
            (_, Effect::Write) => Self::OutcomeUnknown(detail),
        }
    }
}

impl Classify for BrokerError {
    fn class(&self) -> ErrorClass {
        BrokerError::class(self)
    }

    fn failure(&self) -> Failure {
        BrokerError::failure(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_back_if_the_lane_knows() {
        let wait = Duration::from_secs(7);
        for (reason, retry_in) in [
            (LaneErrorKind::BrokerDown { retry_in: Some(wait) }, Some(wait)),
            (LaneErrorKind::BrokerDown { retry_in: None }, None),
            (LaneErrorKind::TooLate { retry_in: wait }, Some(wait)),
            (LaneErrorKind::Closed, None),
        ] {
            let (lane, method, effect) = ("transactional", "orders", Effect::Read);
            let error = BrokerError::from(LaneError { lane, method, effect, kind: reason });
            let BrokerError::NotSent(detail) = &error else { panic!("{error:?}") };
            assert_eq!(detail.retry_in, retry_in, "{error}");
        }
    }
}
