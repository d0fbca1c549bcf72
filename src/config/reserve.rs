//! Checks the reserve of a budget or of a lane.

use super::table::Table;
use crate::quota::{Budget, Quota, Reserve};

/// Reports a reserve that leaves nothing of the quota, if that is known, or for which there is no window. `effective`
/// is the reserve that counts, and `written` the one in the file.
pub(super) fn check(
    table: &Table<'_>,
    what: &str,
    quota: Option<&Quota>,
    effective: Option<Reserve>,
    written: Option<Reserve>,
) {
    let budget = Budget::new(quota.cloned().unwrap_or_else(Quota::unlimited))
        .with_reserve(effective.unwrap_or(Reserve::NONE));
    if let Err(error) = budget.check() {
        table.report_invalid("reserve", error.to_string());
    } else if quota.is_some_and(|quota| quota.windows().is_empty())
        && written.is_some_and(is_non_zero)
    {
        table.report_invalid(
            "reserve",
            format!("nothing can be kept back of an unlimited {what}: write a quota too"),
        );
    }
}

/// Returns whether a reserve keeps at least one slot of a large window.
fn is_non_zero(reserve: Reserve) -> bool {
    reserve.of(u32::MAX) > 0
}
