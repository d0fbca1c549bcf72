//! Where the nouns of trading meet the lanes.

use super::{BrokerError, Detail};
use crate::lane::{LaneError, Reason};
use crate::proxy::Classify;
use crate::{Class, Effect, Failure, Sent};

impl From<LaneError> for BrokerError {
    fn from(error: LaneError) -> Self {
        let mut detail = Detail::new(error.to_string());
        // A proxy behind another one: that this lane refuses says nothing of the broker.
        detail.local = error.was_sent() == Sent::No;
        detail.possible_in = match &error.reason {
            Reason::BrokerDown { possible_in } => *possible_in,
            Reason::TooLate { possible_in } => Some(*possible_in),
            _ => None,
        };
        match (error.was_sent(), error.effect) {
            (Sent::No, _) => Self::NotSent(detail),
            // A call that changes nothing has no outcome to be unknown.
            (_, Effect::Read) => Self::Transient(detail),
            (_, Effect::Write) => Self::OutcomeUnknown(detail),
        }
    }
}

impl Classify for BrokerError {
    fn class(&self) -> Class {
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
        for (reason, possible_in) in [
            (Reason::BrokerDown { possible_in: Some(wait) }, Some(wait)),
            (Reason::BrokerDown { possible_in: None }, None),
            (Reason::TooLate { possible_in: wait }, Some(wait)),
            (Reason::Closed, None),
        ] {
            let (lane, method, effect) = ("transactional", "orders", Effect::Read);
            let error = BrokerError::from(LaneError { lane, method, effect, reason });
            let BrokerError::NotSent(detail) = &error else { panic!("{error:?}") };
            assert_eq!(detail.possible_in, possible_in, "{error}");
        }
    }
}
