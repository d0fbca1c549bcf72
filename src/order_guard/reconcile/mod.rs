//! What became of a write whose answer was lost: reads the order book until it is known.
//!
//! - `resolve.rs` decides the outcome of one placement, amendment or cancellation; `polling.rs` decides when to read
//!   the book again, and `evidence.rs` which read without the order is conclusive.
//! - `order_book.rs` reads the book once for all callers that wait for it.
//! - `matching.rs` decides which order in a book is the one that was sent; `book_history.rs` and `observed_order.rs`
//!   remember what earlier books showed, and `order_in_book.rs` adds up the slices of one order.
//! - `amendment.rs` decides whether a book shows a change or a cancellation.

pub(super) mod amendment;
pub(super) mod book_history;
pub(super) mod evidence;
pub(super) mod matching;
pub(super) mod observed_order;
pub(super) mod order_book;
pub(super) mod order_in_book;
pub(super) mod polling;
pub(super) mod resolve;
