//! Where the nouns of trading meet the lanes.

use super::{BrokerError, Detail};
use crate::Sent;
use crate::lane::{Effect, LaneError};
use crate::proxy::Classify;

impl From<LaneError> for BrokerError {
    fn from(error: LaneError) -> Self {
        let detail = Detail::new(error.to_string());
        match error {
            // A call that changes nothing has no outcome to be unknown.
            LaneError::Panicked { effect: Effect::Read, .. } => Self::Transient(detail),
            _ if error.was_sent() == Sent::No => Self::NotSent(detail),
            _ => Self::OutcomeUnknown(detail),
        }
    }
}

impl Classify for BrokerError {
    fn was_sent(&self) -> Sent {
        BrokerError::was_sent(self)
    }
}
