//! What was sent to the account before the proxy started.

use std::time::Duration;

/// What other processes may have sent to the account recently, as far as no pace log recorded it.
///
/// A new process knows nothing of the last second. If its predecessor was busy until then, the first burst adds to
/// the last one, and the broker counts both.
///
/// ```
/// # #[cfg(feature = "kite")] {
/// use std::time::Duration;
/// use lanekeeper::{BrokerProxy, Kite};
/// use lanekeeper::quota::PriorUsage;
///
/// let kite = Kite::builder().api_key("key").access_token("token").build()?;
/// // This process runs once a day, and nothing else has the keys.
/// let broker = BrokerProxy::builder(kite).prior_usage(PriorUsage::None).build()?;
/// # drop(broker);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorUsage {
    /// No calls, within any window. Right for an account that only this process uses, and for one that was not used
    /// today.
    None,
    /// Unknown. Windows that remember calls for at most this long count as full at first: no call is sent through
    /// them before they have forgotten everything, except urgent calls. Longer windows count as unused, since an hour
    /// without orders is too long a wait.
    Unknown(Duration),
}

impl PriorUsage {
    /// Unknown, for windows of up to a minute.
    pub const UNKNOWN: Self = Self::Unknown(Duration::from_secs(60));
}
