//! The errors of the paper broker.

use crate::broker::{BrokerError, ErrorDetail, Instrument, OrderId};

/// Why a call is refused. A refused order never reaches the order book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PaperError {
    #[error("Invalid `{field}`: {what}.")]
    InvalidField { field: &'static str, what: String },
    /// A time that no broker could read, so the call counts as not sent.
    #[error("{0}")]
    InvalidTime(BrokerError),
    #[error("The instrument {0} does not exist or has expired.")]
    UnknownInstrument(Instrument),
    #[error("Couldn't find the order `{0}`.")]
    UnknownOrder(OrderId),
    #[error("The order cannot be changed: it is {status} already.")]
    OrderFinal { status: String },
    #[error(
        "Insufficient funds. Required margin is {required} but available margin is {available}."
    )]
    InsufficientFunds { required: String, available: String },
    // Kite's own message: clients recognise this error only by it.
    #[error("Maximum allowed order modifications exceeded.")]
    TooManyChanges,
}

impl PaperError {
    pub(crate) fn invalid_field(field: &'static str, what: impl Into<String>) -> Self {
        Self::InvalidField { field, what: what.into() }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::InvalidField { .. } | Self::InvalidTime(_) | Self::UnknownInstrument(_) => {
                "input"
            }
            Self::UnknownOrder(_) => "no_such_order",
            Self::OrderFinal { .. } => "order_done",
            Self::InsufficientFunds { .. } => "funds",
            Self::TooManyChanges => "modifications",
        }
    }
}

impl From<PaperError> for BrokerError {
    fn from(refusal: PaperError) -> Self {
        match refusal {
            PaperError::InvalidTime(error) => error,
            refusal => Self::Rejected(ErrorDetail::new(refusal.to_string()).code(refusal.code())),
        }
    }
}
