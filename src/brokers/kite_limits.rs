//! What Zerodha documents of its limits. The adapter keeps to them and the exchange counts them, and
//! each can be had without the other.

use crate::broker::lanes::{HISTORICAL, ORDERS, QUOTE, TRANSACTIONAL};
use crate::brokers::india::zone;
use crate::quota::{Limits, Quota};

/// By kite.trade/docs/connect/v3/exceptions.
pub(crate) fn documented() -> Limits {
    Limits::new()
        .lane(TRANSACTIONAL, Quota::per_second(10))
        .lane(QUOTE, Quota::per_second(1))
        .lane(HISTORICAL, Quota::per_second(3))
        .budget(ORDERS, Quota::per_minute(400).and(Quota::per_calendar_day(5000, zone())))
}
