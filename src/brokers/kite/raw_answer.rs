//! The answer to a raw request.

use std::fmt;

use serde::de::DeserializeOwned;

#[cfg(doc)]
use super::RawRequest;
use super::classify;
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail};

/// The answer to a [`RawRequest`] that Kite reports as a success. Its `Debug` does not show the body, which may be a
/// token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawAnswer {
    /// The HTTP status, from 200 to 299.
    pub status: u16,
    /// The body: JSON with Kite's envelope, or a listing as CSV.
    pub body: Vec<u8>,
    pub(super) effect: Effect,
    /// Whether no error may show any of it.
    pub(super) is_secret: bool,
}

impl RawAnswer {
    /// Decodes the `data` of the answer, into `serde_json::Value` or a type of your own.
    ///
    /// # Errors
    /// [`BrokerError::Malformed`] for a request that reads, and [`BrokerError::OutcomeUnknown`] for one that writes: the
    /// answer is not what was expected, so it may not be the answer to that request.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, BrokerError> {
        #[derive(serde::Deserialize)]
        struct Data<T> {
            data: T,
        }
        match serde_json::from_slice::<Data<T>>(&self.body) {
            Ok(Data { data }) => Ok(data),
            Err(error) => {
                let why = if self.is_secret { String::new() } else { format!(": {error}") };
                let detail = ErrorDetail::new(format!("the data cannot be decoded{why}"));
                Err(classify::decode_error(self.effect, detail.status(self.status)))
            }
        }
    }
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAnswer({}, {} bytes)", self.status, self.body.len())
    }
}
