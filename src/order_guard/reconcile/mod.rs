//! The outcome of a write whose answer was lost, found by reads of the order book.
//!
//! - `resolve.rs` decides the outcome of one placement, amendment or cancellation. `polling.rs` decides when to read
//!   again, and `evidence.rs` which read without the write is conclusive.
//! - `order_book.rs` shares one read of the order book among all callers that wait for it.
//! - `matching.rs` decides which order in an order book is the one that was sent. `book_history.rs` and
//!   `observed_order.rs` keep what earlier reads showed, and `order_in_book.rs` adds up the slices of one order.
//! - `amendment.rs` decides whether an order shows a change or a cancellation.

pub(super) mod amendment;
pub(super) mod book_history;
pub(super) mod evidence;
pub(super) mod matching;
pub(super) mod observed_order;
pub(super) mod order_book;
pub(super) mod order_in_book;
pub(super) mod polling;
pub(super) mod resolve;
