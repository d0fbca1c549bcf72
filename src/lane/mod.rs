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
//! - `handle.rs` is the lane as its proxy holds it; `ticket.rs` is a call as its caller holds it.
//! - `core/` is the state that callers and workers share: admission, polling, execution, estimates.
//! - `call/` is one call: what is known of it, its options, and the state machine of its answer. It knows no queue.
//! - `queue/` decides which call is sent next, and is the only place that does. It is pure: no clock, no locks.
//! - `workers/` is the pool of threads, and what the lane knows of the broker's health.
//! - `observer/` are the callbacks.
//! - `pacing.rs` is what the lanes of one proxy share, and `pace_log.rs` where calls are recorded for the next process.
//! - `capacity.rs` bounds the queue; `config.rs`, `resolved_config.rs`, `status.rs`, `state.rs`, `shutdown.rs` and `error.rs`
//!   are the types of the interface.
//! - `sync.rs` holds the locks that the model checker replaces.

mod call;
mod capacity;
mod config;
mod core;
mod error;
mod handle;
mod observer;
mod open_breaker;
mod pace_log;
mod pacing;
mod queue;
mod resolved_config;
mod shutdown;
mod state;
mod status;
mod sync;
mod ticket;
mod workers;

#[cfg(feature = "tracing")]
pub(crate) use call::CallMeta;
pub use call::options::CallOptions;
pub use call::priority::{Priority, PriorityError};
pub(crate) use call::{MethodSpec, OnceWork, RepeatableWork, Work};
pub use capacity::OverflowPolicy;
pub use config::{ExpiredSessionPolicy, LaneConfig};
pub use error::{LaneError, LaneErrorKind};
pub(crate) use handle::DROP_TIMEOUT;
pub use handle::Lane;
pub(crate) use observer::ObserverHandle;
pub use observer::{CallInfo, FinishedCall, Observer};
pub use open_breaker::OpenBreakerPolicy;
pub use pace_log::{PaceLog, RecordedCall, RecordedUsage};
pub(crate) use pacing::{PaceRecorder, SharedPacing};
pub use resolved_config::LaneConfigError;
pub(crate) use resolved_config::ResolvedLaneConfig;
pub use shutdown::{Shutdown, ShutdownSummary};
pub use state::LaneState;
pub use status::{BudgetStatus, LaneStatus, Status, WindowStatus};
pub use ticket::Ticket;

pub use crate::class::Effect;
