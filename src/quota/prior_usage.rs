//! What was sent before there was a proxy.

use std::time::Duration;

/// What other processes may have sent to the account a moment ago, as far as nobody has written it down.
///
/// A process that starts knows nothing of the last second. If its predecessor was busy until then, a first burst
/// comes on top of the last one, and the broker counts both.
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
    /// Nothing, for as long as any window remembers. Right for an account that lives in this process, and for one
    /// that nobody has used today.
    None,
    /// Anything. So windows that remember for no longer than this count as full at first: no call that is charged
    /// to one of them goes before it has forgotten everything, but for urgent ones. A longer window is taken to
    /// be unused, since an hour without an order is too much to ask.
    Unknown(Duration),
}

impl PriorUsage {
    /// Anything, for windows of up to a minute.
    pub const UNKNOWN: Self = Self::Unknown(Duration::from_secs(60));
}
