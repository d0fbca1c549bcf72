//! At most once, and always an answer: orders in front of a broker that may lose its own.
//!
//! If a connection breaks after an order was sent, it is unknown whether the order is in the market. To send it again
//! may buy twice, and to give up may leave an unknown position. An [`OrderGuard`] finds out. It gives each order a
//! unique tag. If the outcome is unknown, it searches the broker's order book for the tag, until the order is found
//! or would have appeared. It is a decorator: strategies see a [`Broker`](crate::Broker), and only the answers
//! change.
//!
//! - `guard.rs` is the guard in front of a broker, `builder.rs` its settings, and `hooks.rs` its callbacks.
//! - `tags.rs` makes unique tags, and validates those of the callers.
//! - `pending.rs` holds the orders without a final answer; `journal/` (feature `journal`) keeps them across processes.
//! - `reconcile/` finds the outcome of a write whose answer was lost, by reads of the order book.
//! - `recover.rs` searches for the orders without a final answer; `late_orders.rs` finds those that appear later.
//! - `state.rs` is what all handles of one guard share.
//!
//! # What becomes of a call
//!
//! | outcome unknown | what is done | the answer |
//! |---|---|---|
//! | of an order | look for its tag | its id; the broker's refusal, if the book has it as rejected |
//! | .. not in the book after the settle time | nothing is sent again | [`Absent`](crate::BrokerError::Absent), with the evidence |
//! | .. the book has something that may be it: an order of its tag and another time, a row that cannot be read | nothing is sent again | [`OutcomeUnknown`](crate::BrokerError::OutcomeUnknown), [`LookupResult::Unclear`](crate::LookupResult); the message says what |
//! | .. the book cannot be read in time | nothing is sent again | `OutcomeUnknown`, [`LookupResult::Unreadable`](crate::LookupResult) |
//! | .. its caller leaves before the settle time is over | nothing is sent again | `OutcomeUnknown`, [`LookupResult::NotYet`](crate::LookupResult) |
//! | of an order that the broker divides into slices | look for its tag; the slices in the book are to make up the quantity | by `place_order` its parent's id, by `place_sliced` each slice |
//! | .. not all of the quantity is in the book after the settle time | nothing is sent again | [`PartlyPlaced`](crate::BrokerError::PartlyPlaced), or the slices: those in the book, and the rest as [`Absent`](crate::broker::SliceOutcome::Absent) |
//! | .. some slices are in the book as rejected | | `PartlyPlaced`, or the slices; `Rejected` if no other is there after the settle time |
//! | .. nothing names the parent | | `PartlyPlaced`, or the slices: never the id of one slice for the whole |
//! | .. at a broker that enforces unique tags | send it again once, under its tag; then look | the same |
//! | .. at a broker without tags | nothing | `OutcomeUnknown` at once, `LookupResult::Unreadable` |
//! | of a cancellation | cancel again, once: two do what one does; then look at the order | done; `Rejected`, if it is filled or otherwise final; `Absent`, if it is as before; or `OutcomeUnknown` |
//! | of a change | look at the order; never sent again | its id, once it is as asked for; `Rejected`, if it is final and is not; `Absent`, if it is as before; or `OutcomeUnknown` |
//! | .. the order shows as cancelled, at a broker that may change an order by another in its place | nothing is sent again | `OutcomeUnknown`, `LookupResult::Unclear`; see [`OrderTags::changed_in_place`](crate::broker::OrderTags::changed_in_place) |
//! | .. to a market order, which the broker may show as the limit order that it makes of it | nothing is sent again | `OutcomeUnknown`, `LookupResult::Unclear` |
//! | .. of the visible quantity, the market protection or an extra field | nothing is sent again: no book shows it | `OutcomeUnknown`, `LookupResult::Unclear` |
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
//! after the settle time at most. A read that fails otherwise is repeated soon. Five failures after the settle time
//! end the search. So do, at any time, five `Fatal` or `Unauthorized` answers in a row
//! ([`Fatal`](crate::BrokerError::Fatal), [`Unauthorized`](crate::BrokerError::Unauthorized)), which takes about 4 s:
//! a gateway's error page may say "forbidden" too, but only for a while. After a new login,
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

mod builder;
mod guard;
mod hooks;
#[cfg(feature = "journal")]
mod journal;
mod late_orders;
mod pending;
mod reconcile;
mod recover;
mod state;
mod tags;

pub use builder::{GuardBuildError, OrderGuardBuilder};
pub use guard::OrderGuard;
pub use hooks::Unrecorded;
#[cfg(feature = "journal")]
pub use journal::JournalError;
pub use recover::{RecoveredOrder, RecoveredOutcome};
pub use tags::CallerTags;
