//! How often calls may go out: windows, and pacing by completion.
//!
//! Everything in here is a pure function of time. There are no threads, no sleeping, no I/O and no
//! look at a clock: whoever calls says what time it is, as a [`Moment`]. So the whole of the pacing
//! can be driven through months of virtual time by a property test.
//!
//! - [`Quota`] is the value that users write: `Quota::per_second(10).and(Quota::per_minute(400))`.
//! - [`Budget`] is a quota that only some calls are charged to, perhaps with a reserve.
//! - [`Limits`] names the quotas of a broker's lanes and budgets.
//! - [`WindowKind`] is how a window counts: a sliding log unless something else is asked for.
//! - [`PacingState`] holds the state of all quotas of one proxy: what is used, and when it is free.
//! - [`PaceSnapshot`] is what was used of them, for the next proxy, and [`PriorUsage`] what nobody has written down.
//! - [`Pacer`] is one quota alone, for a limiter of your own.
//! - [`Cost`] is what a call takes, and [`Permit`] what it was given for it.
//! - [`WallClockSample`] pairs the time of all this with the clock on the wall, for windows that begin at midnight.
//! - [`RoundTrip`] remembers the least round trip, from which the credit comes.

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
// Named after the type that it holds.
#[allow(clippy::module_inception)]
mod quota;
mod quota_state;
#[cfg(test)]
mod quota_tests;
mod round_trip;
mod sliding_counter;
mod sliding_log;
mod token_bucket;
mod wall_clock;
mod warm_connections;
mod window;
mod window_state;

pub use budget::{Budget, Reserve};
pub use cost::Cost;
pub use error::QuotaError;
pub use limits::Limits;
pub use moment::Moment;
pub use pace_snapshot::PaceSnapshot;
pub use pacer::Pacer;
pub use pacing_state::PacingState;
pub use parse::ParseQuotaError;
#[cfg(feature = "config")]
pub(crate) use parse::parse_time;
pub use permit::{BlockedBy, NoCapacity, NotYet, Permit, WindowUse};
pub use prior_usage::PriorUsage;
pub use quota::Quota;
pub use round_trip::{RoundTrip, RttCredit};
pub use wall_clock::WallClockSample;
pub use window::{Window, WindowKind};
