//! Names of the lanes and budgets of [`Broker`](super::Broker), for limits, metrics and settings
//! that are keyed by lane.
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
/// Historical prices.
pub const HISTORICAL: &str = "historical";

/// The budget of order placement. Changes and cancellations cost no slot of it.
pub const ORDERS: &str = "orders";

/// All lanes, in the order in which the trait names them.
pub const ALL: [&str; 3] = [TRANSACTIONAL, QUOTE, HISTORICAL];
