//! The lanes of [`Broker`](super::Broker), by name: where a limit or a count is asked for by lane,
//! take the name from here.
//!
//! ```
//! use lanekeeper::broker::lanes;
//! use lanekeeper::{Limits, Quota};
//!
//! let limits = Limits::new().lane(lanes::QUOTE, Quota::per_second(1));
//! assert_eq!(lanes::ALL, ["transactional", "quote", "historical"]);
//! ```

/// Orders and the account.
pub const TRANSACTIONAL: &str = "transactional";
/// Quotes.
pub const QUOTE: &str = "quote";
/// Prices of the past.
pub const HISTORICAL: &str = "historical";

/// The budget of order placement. Changing and cancelling are not charged to it.
pub const ORDERS: &str = "orders";

/// All lanes, in the order in which the trait names them.
pub const ALL: [&str; 3] = [TRANSACTIONAL, QUOTE, HISTORICAL];
