//! The errors of the paper broker.

use crate::broker::{BrokerError, ErrorDetail, Instrument, OrderId};

/// Why the paper broker rejects a request. An order that is rejected with this error is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// A field is missing or invalid.
    #[error("Invalid `{field}`: {what}.")]
    InvalidField {
        /// The name of the field, as Kite names it.
        field: &'static str,
        /// What is invalid about it.
        what: String,
    },
    /// A time that no broker can represent, so the request is not sent.
    #[error("{0}")]
    InvalidTime(BrokerError),
    /// The instrument is not listed.
    #[error("The instrument {0} does not exist or has expired.")]
    UnknownInstrument(Instrument),
    /// There is no order with this id.
    #[error("Couldn't find the order `{0}`.")]
    UnknownOrder(OrderId),
    /// The order is closed, so it cannot be changed or cancelled.
    #[error("The order cannot be changed: it is {status} already.")]
    OrderFinal {
        /// The status of the order.
        status: String,
    },
    /// The account lacks funds for the order.
    #[error(
        "Insufficient funds. Required margin is {required} but available margin is {available}."
    )]
    InsufficientFunds {
        /// The margin that the order needs.
        required: String,
        /// The margin that the account has.
        available: String,
    },
    /// The order was changed as often as the broker allows. The message is Kite's: a client recognises the
    /// error by its message alone.
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
