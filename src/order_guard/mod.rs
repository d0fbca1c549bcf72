//! At most once, and always an answer: orders in front of a broker that may lose its own.
//!
//! A connection that breaks after an order was sent leaves the worst of questions: is it in the
//! market? Sending it again may buy twice, and giving up may leave a position that nobody knows of.
//! An [`OrderGuard`] finds out. It gives each order a unique tag, and when the outcome is unknown it
//! looks for the tag in the broker's order book, until it is found or until an order would long be
//! there. It is a decorator: strategies see a [`Broker`](crate::Broker), and nothing changes for
//! them but the answers.
//!
//! - `follow` finds out what became of a write whose answer is lost.
//! - `find` says whether an order in the book, or a row that cannot be read, is the one that was meant.
//! - `book_history` says whose an order is by what the book showed before, where the clocks are wrong.
//! - `shown` is what a book shows of it: one order, or slices.
//! - `hooks` are who is told of what is in no answer.
//! - `change` tells from an order whether a change or a cancellation was made.
//! - `patience` says when to look, and `evidence` when the looks so far are the last word.
//! - `book` shares one look into the book among all who wait for one.
//! - `tags` makes tags that no other order has, and checks those of the callers.
//! - `recover` asks after the orders without a final answer, and `watch` finds those that turn up late.
//! - `intents` are the orders without a final answer.
//! - `journal` (feature `journal`) keeps them over the end of the process.
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
//! An error of unknown outcome, and one of an absent order, has a [`OrderLookup`](crate::broker::OrderLookup): the tag to
//! look for, and what was seen so far. So has a slice of unknown outcome, and one that is absent. An order is
//! left to be asked after by [`recover`](OrderGuard::recover) then, and is watched for: one that turns up after all, in any order book that is read through the guard or in what is handed to
//! [`OrderGuard::order_update`], is reported to [`OrderGuardBuilder::on_turned_up`] and noted in the journal.
//!
//! An order is taken for sliced if it asks for that ([`OrderRequest::autoslice`](crate::OrderRequest)), or
//! if the book shows nothing of it but orders that have a parent. A parent whose own quantity is that of
//! the whole order is a name for its slices; otherwise it is one of them, as at Kite.
//!
//! # The settle time
//!
//! It is the one thing that is assumed: how long after a call was given up its order may still
//! appear in the book. Kite had one appear after 8 s. It must also cover a call that its caller gave
//! up while it was under way, so it is to be longer than the adapter's timeout. "Not there" counts
//! only from two looks that were sent after the settle time, a tenth of it apart and not more than 2 s; and a look
//! that failed is not "not there". The looks are kept with the order: [`recover`](OrderGuard::recover) goes on where
//! the search of its caller ended, who may leave before ([`patience`](OrderGuard::max_search_wait)).
//!
//! A look that is refused, by the broker for coming too fast or by a lane whose breaker is open, is
//! sent again when it was told to come back, in no more than the settle time. One that fails otherwise
//! is sent again soon. Five failures after the settle time end the search; so do, at any time, five
//! answers in a row by which nothing works ([`Fatal`](crate::BrokerError::Fatal),
//! [`Unauthorized`](crate::BrokerError::Unauthorized)), about 4 s: a gateway's page says "forbidden" too, but
//! goes away. After a new login, [`recover`](OrderGuard::recover) finds what
//! is left. A look that takes longer than the settle time is taken to hang: one of those
//! who wait for it looks alone, and the others leave after the settle time and as long again.
//!
//! # Tags
//!
//! The guard's tags are letters and digits, as long as the broker takes them: luck from the system,
//! drawn once for each guard, and a count. For a tag of your own see [`CallerTags`].
//!
//! # When the journal cannot be opened
//!
//! A torn last line is no harm: its order was not sent. Any other line that is not what was written is
//! `JournalError::Corrupt`, as the order in it may be in the market. The error names the tags of the
//! orders without an answer in the other lines. To go on: look through the broker's order book for
//! those tags, and for orders that nobody knows of; then move the file away. A line that is whole but
//! not understood is `JournalError::NotUnderstood`, and was written by a newer version: open it with
//! that one, or do the same.

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
