//! How often calls may go out: windows, and pacing by completion.
//!
//! Everything in here is a pure function of time. There are no threads, no sleeping, no I/O and no
//! look at a clock: whoever calls says what time it is, as a [`Moment`]. So the whole of the pacing
//! can be driven through months of virtual time by a property test.
//!
//! - [`Quota`] is the value that users write: `Quota::per_second(10).and(Quota::per_minute(400))`.
//! - [`Limits`] names the quotas of a broker's lanes.
//! - [`Pacer`] holds the state of one quota: which slots are taken, and when each is free again.
//! - [`RoundTrip`] remembers the round trips seen, and [`Credit`] is what may be made of them.

mod limits;
mod moment;
mod pacer;
mod path;
mod round_trip;
mod window;

pub use limits::Limits;
pub use moment::Moment;
pub use pacer::{NotYet, Pacer, Permit};
pub use round_trip::{Credit, RoundTrip};
pub use window::{Quota, QuotaError, Window};
