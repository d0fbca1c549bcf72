//! At-most-once placement of orders, with an answer even if that of the broker is lost.
//!
//! If a connection breaks after an order was sent, it is unknown whether the order is in the market. Sending it again
//! may buy twice, and giving up may leave an unknown position. An [`OrderGuard`] finds out. It gives each order a
//! unique tag. If the outcome is unknown, it searches the broker's order book for the tag, until the order is found
//! or would have appeared. It is a decorator: strategies see a [`Broker`](crate::Broker), and only the answers
//! change. In front of an `AsyncBroker`, an `AsyncOrderGuard` is the same for tasks; its page says what it means to drop a
//! future.
//!
//! - `guard.rs` is the guard in front of a broker, and `async_guard.rs` (feature `async`) that in front of an asynchronous
//!   one. `builder.rs` has the settings of both, and `hooks.rs` their callbacks.
//! - `handle.rs` is what both do with each call. `callers.rs` and `task_callers.rs` are what differs: how a guard makes its
//!   calls and waits. `notice.rs` is what threads and tasks wait for.
//! - `tags.rs` makes unique tags, and validates those of the callers.
//! - `pending.rs` holds the orders without a final answer; `journal/` (feature `journal`) keeps them across processes.
//! - `reconcile/` finds the outcome of a write whose answer was lost, by reads of the order book.
//! - `updates.rs` wakes searches when an order update comes from another source than a read.
//! - `recover.rs` searches for the orders without a final answer; `late_orders.rs` finds those that appear later.
//! - `state.rs` is what all handles of one guard share. `stats.rs` counts how their orders ended.
//!
//! # What the guard does if an outcome is unknown
//!
//! | outcome unknown | action | answer |
//! |---|---|---|
//! | of an order | search the order book for its tag | its id, or the broker's rejection if the order book shows it as rejected |
//! | .. not in the order book after the settle time | not sent again | [`Absent`](crate::BrokerError::Absent), with the evidence |
//! | .. the order book shows something that may be it: an order with its tag and another time, or an unreadable row | not sent again | [`OutcomeUnknown`](crate::BrokerError::OutcomeUnknown), [`LookupResult::Unclear`](crate::LookupResult), with the reason in the message |
//! | .. the order book cannot be read in time | not sent again | `OutcomeUnknown`, [`LookupResult::Unreadable`](crate::LookupResult) |
//! | .. its caller leaves before the settle time has passed | not sent again | `OutcomeUnknown`, [`LookupResult::NotYet`](crate::LookupResult) |
//! | of an order that the broker divides into slices | search for its tag, until the slices in the order book add up to the quantity | from `place_order` its parent's id, from `place_sliced` each slice |
//! | .. a part of the quantity is not in the order book after the settle time | not sent again | [`PartlyPlaced`](crate::BrokerError::PartlyPlaced), or the slices: those in the order book, and the missing quantity as [`Absent`](crate::broker::SliceOutcome::Absent) |
//! | .. the order book shows some slices as rejected | as above | `PartlyPlaced`, or the slices; `Rejected` if no other slice is there after the settle time |
//! | .. no slice names the parent | as above | `PartlyPlaced`, or the slices; never the id of one slice for the whole |
//! | .. at a broker that enforces unique tags | sent again once, under its tag; then search | the same |
//! | .. at a broker without tags | none | `OutcomeUnknown` at once, `LookupResult::Unreadable` |
//! | of a cancellation | cancelled again once, since a cancellation is idempotent; then read the order | `Ok`; `Rejected`, if the order is filled or otherwise final; `Absent`, if it is as before; or `OutcomeUnknown` |
//! | of a change | read the order; not sent again | its id, once it shows the change; `Rejected`, if it is final without the change; `Absent`, if it is as before; or `OutcomeUnknown` |
//! | .. the order is cancelled, at a broker that may replace a changed order by another one | not sent again | `OutcomeUnknown`, `LookupResult::Unclear`; see [`OrderTags::changed_in_place`](crate::broker::OrderTags::changed_in_place) |
//! | .. to a market order, which the broker may show as a limit order | not sent again | `OutcomeUnknown`, `LookupResult::Unclear` |
//! | .. of the visible quantity, the market protection or an extra field | not sent again, since no order book shows it | `OutcomeUnknown`, `LookupResult::Unclear` |
//!
//! An error of unknown outcome, or of an absent order, has an [`OrderLookup`](crate::broker::OrderLookup): the tag,
//! and what the search has found so far. So has a slice of unknown outcome or that is absent. Such an order stays
//! pending for [`recover`](OrderGuard::recover), and is watched for: if it appears later, in any order book that is
//! read through the guard or in an [`OrderGuard::order_update`], it is reported to
//! [`OrderGuardBuilder::on_turned_up`] and recorded in the journal.
//!
//! An order counts as sliced if it asks for that ([`OrderRequest::autoslice`](crate::OrderRequest)), or if the order
//! book shows only orders with a parent for it. A parent whose own quantity is that of the whole order only groups
//! its slices; otherwise it is one of them, as at Kite.
//!
//! # The settle time
//!
//! The settle time is the one assumption: how long after a call was given up its order may still appear in the order
//! book. At Kite one appeared after 8 s. It must also cover a call that its caller gave up while it was in flight, so
//! it should be longer than the adapter's timeout. An order is absent only after two reads that were sent after the
//! settle time, a tenth of it apart and at most 2 s, and did not show it. A failed read is no evidence. The evidence
//! is kept with the order: [`recover`](OrderGuard::recover) continues where the search of its caller ended, which may
//! stop earlier ([`max_search_wait`](OrderGuard::max_search_wait)).
//!
//! A read that is refused, because of throttling or an open circuit breaker, is repeated when the refusal allows it,
//! but after at most one settle time. A read that fails otherwise is repeated soon.
//!
//! Five failures after the settle time end the search. So do, at any time, five
//! [`Fatal`](crate::BrokerError::Fatal) or [`Unauthorized`](crate::BrokerError::Unauthorized) answers in a row, which
//! take about 4 s: a gateway's error page may read "forbidden" too, but only for a while. After a new login,
//! [`recover`](OrderGuard::recover) finds the rest. A read that takes longer than the settle time counts as hung: one
//! of its waiters reads alone, and the others leave after twice the settle time.
//!
//! # Tags
//!
//! The guard's tags are letters and digits, as long as the broker allows: a random series, drawn once for each guard,
//! and a counter. For a tag of your own see [`CallerTags`].
//!
//! # When the journal cannot be opened
//!
//! A torn last line does no harm: its order was not sent. Any other damaged line is `JournalError::Corrupt`, because
//! the order in it may be in the market. The error names the tags of the pending orders in the other lines. To
//! continue, search the broker's order book for those tags, and for unknown orders; then move the file away. A line
//! that is intact but not understood is `JournalError::NotUnderstood`, and was written by a newer version: open the
//! journal with that version, or proceed in the same way.

#[cfg(feature = "async")]
mod async_guard;
mod builder;
mod call_mode;
mod guard;
mod handle;
mod hooks;
#[cfg(feature = "journal")]
mod journal;
mod late_orders;
mod pending;
mod reconcile;
mod recover;
mod shared_condvar;
mod state;
mod stats;
mod tags;
#[cfg(feature = "async")]
mod task_mode;
mod updates;

#[cfg(feature = "async")]
pub use async_guard::AsyncOrderGuard;
pub use builder::{GuardBuildError, OrderGuardBuilder};
pub use guard::OrderGuard;
pub use hooks::Unrecorded;
#[cfg(feature = "journal")]
pub use journal::JournalError;
pub use recover::{RecoveredOrder, RecoveredOutcome};
pub use stats::GuardStats;
pub use tags::CallerTags;
