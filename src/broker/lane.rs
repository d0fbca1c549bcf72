//! Where the nouns of trading meet the lanes.

use super::{BrokerError, Detail};
use crate::lane::{LaneError, Reason};
use crate::proxy::Classify;
use crate::{Class, Effect, Sent};

impl From<LaneError> for BrokerError {
    fn from(error: LaneError) -> Self {
        let mut detail = Detail::new(error.to_string());
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
}
