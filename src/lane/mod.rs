//! One lane: many callers submit calls, a few paced workers send them.
//!
//! A caller pushes a job into a bounded channel and waits for its own answer. Workers move arrivals into the scheduler,
//! wait for a permit, and only **then** select the job, so that a call that arrives during the wait can still go first.
//! The worker that selected a call executes it. So each call crosses threads once, or not at all if its caller makes it by
//! a turn. Up to `in_flight` calls run at once.
//!
//! Every caller is answered exactly once: with the broker's answer, or with a [`LaneError`] that says whether the call
//! was sent.
//!
//! - `handle.rs` is the lane as its proxy holds it, and `ticket.rs` is a call as its caller holds it. `turn.rs` is the right
//!   of a caller to make its call itself, and `task_call.rs` a call whose task waits for that.
//! - `core/` is the state that callers and workers share: admission, polling, execution, estimates.
//! - `call/` is one call: its metadata, its options, and the state machine of its answer. It does not depend on the
//!   queue.
//! - `queue/` alone decides which call is sent next. It is pure: no clock, no locks.
//! - `workers/` is the worker pool, and the health of the broker as the lane sees it.
//! - `observer/` has the callbacks.
//! - `pacing.rs` is what the lanes of one proxy share, and `pace_log.rs` records calls for the next process.
//! - `permit_source.rs` is where permits come from if several processes share a quota.
//! - `attachment.rs` is the state of one proxy over lanes that several proxies may share.
//! - `capacity.rs` bounds the queue. `config.rs`, `resolved_config.rs`, `status.rs`, `state.rs`, `shared_mode.rs`,
//!   `shutdown.rs`, `error.rs` and
//!   `open_breaker.rs` are the types of the interface. `status_text.rs` prints a status.
//! - `sync.rs` has the locks that the model checker replaces.

mod attachment;
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
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod permit_source;
mod queue;
mod resolved_config;
mod shared_mode;
mod shutdown;
mod state;
mod status;
mod status_text;
mod sync;
mod task_call;
mod ticket;
mod turn;
mod workers;

pub(crate) use attachment::Attachment;
#[cfg(feature = "tracing")]
pub(crate) use call::CallMeta;
pub use call::options::CallOptions;
pub use call::priority::{Priority, PriorityError};
pub(crate) use call::{MethodSpec, OnceWork, RepeatableWork, Work};
pub use capacity::OverflowPolicy;
pub use config::{ExpiredSessionPolicy, LaneConfig};
pub(crate) use core::reentrancy::is_within_call;
pub use error::{LaneError, LaneErrorKind};
pub(crate) use handle::DROP_TIMEOUT;
pub use handle::Lane;
pub(crate) use observer::ObserverHandle;
pub use observer::{CallInfo, FinishedCall, LongWait, Observer};
pub use open_breaker::OpenBreakerPolicy;
pub use pace_log::{PaceLog, RecordedCall, RecordedUsage};
#[cfg(feature = "redis")]
pub(crate) use pacing::RefusedRoute;
pub(crate) use pacing::{PaceRecorder, SharedPacing};
pub(crate) use permit_source::PermitSource;
#[cfg(feature = "redis")]
pub(crate) use permit_source::{PermitEnd, PermitRequest, SharedPermit};
pub use resolved_config::LaneConfigError;
pub(crate) use resolved_config::ResolvedLaneConfig;
pub use shared_mode::{SharedMode, SharedQuotaEvent, SharedQuotaStatus};
pub use shutdown::{Shutdown, ShutdownSummary};
pub use state::LaneState;
pub use status::{BudgetStatus, LaneStatus, ResponseStats, Status, WindowStatus};
pub(crate) use status_text::StatusText;
#[cfg(feature = "redis")]
pub(crate) use status_text::about;
pub(crate) use task_call::TaskCall;
pub use ticket::Ticket;
pub use turn::Turn;
