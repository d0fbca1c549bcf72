//! Orders at Kite: placements, changes and cancellations, each at most once and always with an answer.
//!
//! The bytes of the client are what is sent, with a tag if there is none. They are decoded only for the guard, which notes a placement in its
//! journal, and looks in the order book if the answer is lost. The client then gets an ordinary answer.
//!
//! - `route.rs` says which requests these are. `form.rs` reads a client's form, and adds the tag.
//! - `forwarded.rs` is the broker that the guard calls: it forwards the client's request.
//! - `guarded.rs` sends one request through the guard, and `reply.rs` says what its client gets.
//! - `placements.rs` knows which placements no client was told about, so that a client's own repetition is not a
//!   second order; `placement.rs` is one of them. `told.rs` keeps that in a file, for the next process. `seen.rs` tells
//!   which ids and tags were used.
//! - `recovery.rs` finds the orders of the process before.

mod form;
mod forwarded;
mod guarded;
mod placement;
mod placements;
mod recovery;
mod reply;
mod route;
mod seen;
mod told;

pub(crate) use guarded::{OrderCall, OrderResult};
pub(crate) use placement::Delivery;
#[cfg(test)]
pub(crate) use placements::tests as placement_tests;
pub(crate) use placements::{Placements, hang_up_delay};
pub(crate) use recovery::recover;
pub(crate) use reply::OrderReply;
pub(crate) use route::OrderRoute;
pub(crate) use told::ToldFile;

/// How many orders of a gateway that are no exits are under way or wait at a time. Each holds a thread, of which there are
/// more.
pub(crate) const MAX_ORDER_THREADS: usize = 1024;
