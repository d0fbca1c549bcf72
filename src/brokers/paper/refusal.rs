//! Why the paper broker does not do what it is asked.

use crate::broker::{BrokerError, ErrorDetail, Instrument, OrderId};

/// A refusal. An order that is refused so never reaches the book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Invalid `{field}`: {what}.")]
    Field { field: &'static str, what: String },
    /// A time that no broker could read: not even sent.
    #[error("{0}")]
    Time(BrokerError),
    #[error("The instrument {0} does not exist or has expired.")]
    Instrument(Instrument),
    #[error("Couldn't find the order `{0}`.")]
    NoOrder(OrderId),
    #[error("The order cannot be changed: it is {status} already.")]
    Done { status: String },
    #[error(
        "Insufficient funds. Required margin is {required} but available margin is {available}."
    )]
    Funds { required: String, available: String },
    // Kite's own words: a client tells it from other errors of its kind by them alone.
    #[error("Maximum allowed order modifications exceeded.")]
    TooManyChanges,
}

impl Refusal {
    pub(crate) fn field(field: &'static str, what: impl Into<String>) -> Self {
        Self::Field { field, what: what.into() }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Field { .. } | Self::Time(_) | Self::Instrument(_) => "input",
            Self::NoOrder(_) => "no_such_order",
            Self::Done { .. } => "order_done",
            Self::Funds { .. } => "funds",
            Self::TooManyChanges => "modifications",
        }
    }
}

impl From<Refusal> for BrokerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Time(error) => error,
            refusal => Self::Rejected(ErrorDetail::new(refusal.to_string()).code(refusal.code())),
        }
    }
}
