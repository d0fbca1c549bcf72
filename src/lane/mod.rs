//! One lane: many callers in, a few paced workers out.
//!
//! A caller pushes a job into a bounded channel and waits for its own answer. Workers move arrivals
//! into the schedule, wait for a permit, and only **then** choose the job, so that what arrives during
//! the wait can still go first. Whoever has chosen makes the call itself: one hop from thread to
//! thread for each call, and up to `in_flight` calls at once.
//!
//! Every caller is answered exactly once: with what the broker said, or with a [`LaneError`] that
//! says whether the call was sent.
//!
//! A call:
//! - `life.rs` is what may become of it, `job.rs` the call itself, `ticket.rs` its caller's end;
//! - `options.rs` and `priority.rs` are what its caller says of it, `error.rs` what the lane answers.
//!
//! The queue:
//! - `admit.rs` is which calls come in at all, `places.rs` how many may wait;
//! - `schedule.rs` is which call goes next, and the only place that knows, `band.rs` the calls of one
//!   priority, `tally.rs` how much of what kind waits;
//! - `shared/estimate.rs` is how long a call will wait.
//!
//! The threads:
//! - `shared.rs` is what callers and workers share, `pace.rs` what the lanes of a proxy share,
//!   `pace_log.rs` where it is noted for the next process;
//! - `worker.rs` is what a thread does, `look.rs` how it finds a call, `crew.rs` who sleeps and is woken,
//!   `settled.rs` who waits for the end, `hands.rs` what is cut off then;
//! - `care.rs` is what is done about a broker that fails, `routes.rs` the health of its parts, `down.rs` whether
//!   calls wait for one that is out of order, `contain.rs`
//!   what is done about code of others that panics;
//! - `within.rs` is what is done about calls that are made from within their own lane;
//! - `sync.rs` is the locks that the model checker tries.
//!
//! Its face:
//! - `entrance.rs` is the lane as its proxy holds it, `state.rs` whether it runs;
//! - `config.rs` is how it is set up by hand, `settings.rs` is the part of it that says
//!   only what is to be otherwise;
//! - `status.rs` is how it is doing, `observer.rs` who hears of its calls, `observers.rs` several of those.

mod admit;
mod band;
mod care;
mod config;
mod crew;
mod down;
mod entrance;
mod error;
mod hands;
mod job;
mod life;
mod look;
mod observer;
mod observers;
mod options;
mod pace;
mod pace_log;
mod places;
mod priority;
mod rank;
mod routes;
mod schedule;
mod settings;
mod settled;
mod shared;
mod state;
mod status;
mod sync;
mod tally;
mod ticket;
mod within;
mod worker;

use std::time::Duration;

pub use config::{ExpiredSessionPolicy, LaneConfig, LaneConfigError};
pub use down::OpenBreakerPolicy;
pub(crate) use entrance::DROP_TIMEOUT;
pub use entrance::Lane;
pub use error::{LaneError, LaneErrorKind};
pub use observer::{CallInfo, FinishedCall, Observer};
pub use options::CallOptions;
pub use pace_log::{PaceLog, RecordedCall, RecordedUsage};
pub use places::OverflowPolicy;
pub use priority::{Priority, PriorityError};
pub use settings::LaneSettings;
pub use state::LaneState;
pub use status::{BudgetStatus, LaneStatus, Status, WindowStatus};
pub use ticket::Ticket;

pub use crate::class::Effect;

#[cfg(feature = "tracing")]
pub(crate) use job::CallMeta;

pub(crate) use job::{OnceWork, RepeatableWork, Work};
pub(crate) use observer::ObserverHandle;
pub(crate) use pace::{PaceRecorder, SharedPacing};

use crate::quota::Cost;

/// What the trait says of one of its methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MethodSpec {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) priority: Priority,
    pub(crate) cost: Cost,
    /// The calls among which the broker's health is counted.
    pub(crate) route: &'static str,
    /// It gets its caller out: it is urgent, whatever the caller's options say.
    pub(crate) is_exit: bool,
}

/// How a lane is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// What waits still goes, for at most so long. What waits then is answered as not sent; and all
    /// of it at once, in a lane that was paused by hand. Who waits for a call that is still under way then is
    /// answered that its outcome is unknown ([`LaneErrorKind::CutOff`]), whatever the broker does; its answer, if it
    /// ever comes, is told to the [`Observer`] as a late one.
    Drain(Duration),
    /// What waits is answered as not sent, at once. Calls under way are left to the broker's answer. If that may
    /// not come, use `Drain`: also after this.
    Now,
}

/// What a shutdown came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownSummary {
    /// Calls that were answered as not sent.
    pub rejected: usize,
    /// Calls that are still under way. After a [`Drain`](Shutdown::Drain) their callers have been answered, as of
    /// unknown outcome; else they will be by the broker.
    pub in_flight: usize,
}

impl ShutdownSummary {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            rejected: self.rejected + other.rejected,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}
