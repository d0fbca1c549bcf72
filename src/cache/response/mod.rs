//! A response cache: answers of any proxied method, kept by method and arguments.
//!
//! For what seldom changes: instruments, a profile, the candles of a closed period. The macro expands a method with
//! `#[lane(.., cache = "1h")]` to calls of `proxy/cached.rs`.
//!
//! - `key.rs` is the key of an answer: its method and arguments, without their types. `hasher.rs` is its hash.
//! - `store.rs` keeps the answers in a moka cache, which bounds them by their size.
//! - `flight.rs` is one fetch, which all callers of a key share. `task_fetch.rs` is one that tasks share, and one of them makes.
//! - `cacheable.rs` is what an answer says of itself: its size, and whether it may be kept.
//!
//! # The age of an answer
//!
//! An answer is as old as its request: its age counts from the moment at which the request was sent, by the clock of the
//! lanes. Every lookup judges the age by that clock. moka has a clock of its own, which cannot be replaced. It only
//! frees memory: of answers that are older than the longest `ttl` of all methods, so that no lookup would return them.
//!
//! # Why not moka's own single flight
//!
//! moka's `try_get_with` blocks its waiters until the first caller's fetch ends. They could not leave at their deadlines,
//! an urgent caller would wait behind a fetch of low priority, and a waiter that participates in a manual clock would not
//! count as idle. So a fetch is a call of the lane without the deadline of a single caller, and callers wait for it as
//! they do for a ticket.

mod cacheable;
mod flight;
mod hasher;
mod key;
mod store;
mod task_fetch;

pub use cacheable::{
    CacheArgument, Cacheable, CacheableResponse, ResponseProbe, UnmeasuredResponse,
};
pub(crate) use flight::{Flight, FlightRequest, Measure};
pub(crate) use key::CallKey;
pub use store::{ResponseCache, UncachedMethod};
pub(crate) use store::{ResponseCacheSettings, ResponseLookup};
pub(crate) use task_fetch::TaskRole;
