//! The ids of GTTs, of orders of mutual funds, and of systematic investment plans. Each has a type of its own, so that
//! none is passed where another is meant.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Kite's number of a GTT.
///
/// ```
/// use lanekeeper::brokers::kite::GttId;
///
/// assert_eq!(GttId::new(123).to_string(), "123");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GttId(u64);

impl GttId {
    /// Creates the id from Kite's number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns Kite's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GttId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines an id that is text.
macro_rules! text_id {
    ($(#[$outer:meta])* pub struct $name:ident) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates the id from Kite's text.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id! {
    /// Kite's id of an order of a mutual fund: a UUID.
    ///
    /// ```
    /// use lanekeeper::brokers::kite::FundOrderId;
    ///
    /// let id = FundOrderId::new("6f1b2a10-0c4e-4b5e-9a51-2c3d4e5f6a7b");
    /// assert_eq!(id.as_str().len(), 36);
    /// ```
    pub struct FundOrderId
}

text_id! {
    /// Kite's id of a systematic investment plan.
    ///
    /// ```
    /// use lanekeeper::brokers::kite::SipId;
    ///
    /// assert_eq!(SipId::new("181635213661372").to_string(), "181635213661372");
    /// ```
    pub struct SipId
}
