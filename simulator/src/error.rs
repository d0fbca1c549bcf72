//! Why the simulated exchange could not be started.

use std::net::SocketAddr;
use std::time::Duration;

use lanekeeper::broker::{Exchange as Market, lanes};
use lanekeeper::brokers::paper::PaperBuildError;
use lanekeeper::quota::QuotaError;

use crate::faults::FaultsError;

/// Why a simulated exchange could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// The address is reachable from other machines. The simulator accepts any credentials, so it must not be.
    #[error("{address} is not a loopback address; listen on 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address is in use, or not available.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The threads or the runtime of the server cannot be started.
    #[error("cannot start the exchange: {0}")]
    Start(std::io::Error),
    /// A limit is set for an unknown lane.
    #[error("there is no lane `{name}`; the lanes are {}", lanes::ALL.join(", "))]
    UnknownLane {
        /// The name.
        name: String,
    },
    /// A limit is invalid.
    #[error("the limit of the lane {lane}: {source}")]
    Quota {
        /// The lane.
        lane: String,
        /// What is invalid about the limit.
        source: QuotaError,
    },
    /// The latency or the jitter is longer than an hour.
    #[error("a {what} of {delay:?} is more than an hour")]
    TooSlow {
        /// `latency` or `jitter`.
        what: &'static str,
        /// The delay that was set.
        delay: Duration,
    },
    /// A freeze quantity that no order can satisfy.
    #[error("the freeze quantity of {market} is not a whole number of at least 1")]
    Freeze {
        /// The exchange that it was set for.
        market: Market,
    },
    /// A mutual fund that is not listed.
    #[error("no mutual fund with the ISIN `{isin}` is listed")]
    UnknownFund {
        /// The ISIN that a holding was set for.
        isin: String,
    },
    /// A holding of a mutual fund that is not positive, or too large for the arithmetic.
    #[error("the holding of {isin} is not between 0 and a thousand million")]
    FundHolding {
        /// The ISIN that the holding was set for.
        isin: String,
    },
    /// The read timeout is zero, so no request could be read.
    #[error("a read timeout of zero lets no request in")]
    NoTimeToRead,
    /// The bound on connections is zero, so no client could connect.
    #[error("a bound of zero connections admits no client")]
    NoConnections,
    /// A fault rule is invalid.
    #[error(transparent)]
    Faults(#[from] FaultsError),
    /// The paper broker cannot be built.
    #[error(transparent)]
    Paper(#[from] PaperBuildError),
}
