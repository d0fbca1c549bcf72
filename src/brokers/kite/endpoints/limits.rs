//! The documented limits of the lanes that the traits of this folder name. A proxy refuses limits for a lane that its
//! trait does not have.

use crate::broker::lanes::{QUOTE, TRANSACTIONAL};
use crate::presets;
use crate::quota::Limits;

/// Returns the limits of a trait with the lane `transactional`.
pub(super) fn transactional() -> Limits {
    of_lane(TRANSACTIONAL)
}

/// Returns the limits of a trait with the lane `quote`.
pub(super) fn quote() -> Limits {
    of_lane(QUOTE)
}

fn of_lane(lane: &str) -> Limits {
    let documented = presets::kite();
    let limits = Limits::new().shared_account();
    match documented.of_lane(lane) {
        Some(quota) => limits.lane(lane, quota.clone()),
        None => limits,
    }
}
