//! How often calls may be sent: windows, and pacing by completion.
//!
//! Everything in here is a pure function of time. There are no threads, no sleeping, no I/O, and no clock is read:
//! the caller passes the time as a [`Moment`]. So a property test can drive the pacing through months of virtual
//! time.
//!
//! - [`Quota`] is the value that users write: `Quota::per_second(10).and(Quota::per_minute(400))`.
//! - [`Budget`] is a quota that only some calls use, with an optional reserve.
//! - [`Limits`] names the quotas of a broker's lanes and budgets.
//! - [`WindowKind`] is how a window counts: a sliding log unless something else is asked for.
//! - [`PacingState`] holds the state of all quotas of one proxy: what is used, and when it is free.
//! - [`PaceSnapshot`] is what was used of them, for the next proxy; [`PriorUsage`] is what was not recorded.
//! - [`Pacer`] is one quota alone, for a limiter of your own.
//! - [`Cost`] is what a call takes, and [`Permit`] is the right to send it.
//! - [`WallClockSample`] pairs this time with the wall clock, for windows that begin at midnight.
//! - `request_limit` (feature `limiter`) is the other side: limits on requests that arrive, counted on arrival.
//! - [`RoundTrip`] keeps the least round trip, from which the credit is computed.

mod budget;
mod calendar;
mod completion_log;
mod cost;
mod error;
mod limits;
mod moment;
mod pace_snapshot;
mod pacer;
mod pacing_state;
#[cfg(test)]
mod pacing_state_tests;
mod parse;
mod permit;
mod prior_usage;
mod query;
mod reported_room;
#[cfg(feature = "limiter")]
pub mod request_limit;
// Named after the type that it holds.
#[allow(clippy::module_inception)]
mod quota;
mod quota_state;
#[cfg(test)]
mod quota_tests;
mod round_trip;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod share;
mod sliding_counter;
mod sliding_log;
mod spacing;
mod token_bucket;
mod wall_clock;
mod warm_connections;
mod window;
mod window_state;

pub use budget::{Budget, Reserve};
pub use cost::{BudgetSet, Cost};
pub use error::QuotaError;
pub use limits::Limits;
pub use moment::Moment;
pub use pace_snapshot::PaceSnapshot;
pub use pacer::Pacer;
pub(crate) use pacing_state::LaneLimits;
pub use pacing_state::PacingState;
pub use parse::ParseQuotaError;
#[cfg(feature = "config")]
pub(crate) use parse::parse_time;
pub use permit::{BlockedBy, NoCapacity, NotYet, Permit, WindowUse};
pub use prior_usage::PriorUsage;
pub use quota::Quota;
pub use round_trip::{RoundTrip, RttCredit};
#[cfg_attr(not(feature = "redis"), allow(unused_imports))]
pub(crate) use share::{Restriction, Share};
pub use wall_clock::WallClockSample;
pub use window::{Window, WindowKind};
