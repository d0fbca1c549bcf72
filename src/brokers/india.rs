//! India, where Kite is: its times name no zone and are in this one.

use jiff::tz::{Offset, TimeZone};

/// India's time. It has had one offset, without summer time, since 1945, and so is not looked up in
/// the zone database.
pub(crate) fn zone() -> TimeZone {
    // 5 h 30 min is within what an offset may be, so the fallback is never taken.
    Offset::from_seconds(19_800).map_or(TimeZone::UTC, TimeZone::fixed)
}
