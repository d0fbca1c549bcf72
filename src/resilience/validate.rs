//! What is wrong with a setting, said once for all policies.

use std::fmt::Debug;
use std::time::Duration;

/// A setting that no policy can work with. It says what can be written instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}({value}): write {allowed}")]
#[non_exhaustive]
pub struct PolicyError {
    /// The method that set it.
    pub setting: &'static str,
    /// What was written.
    pub value: String,
    /// What may be.
    pub allowed: &'static str,
}

/// Refuses a setting unless it `holds`.
pub(super) fn ensure(
    holds: bool,
    setting: &'static str,
    value: impl Debug,
    allowed: &'static str,
) -> Result<(), PolicyError> {
    if holds {
        return Ok(());
    }
    Err(PolicyError { setting, value: format!("{value:?}"), allowed })
}

/// Refuses a time of less than a millisecond, which is a slip of the pen, and one of more than a day.
pub(super) fn ensure_time(setting: &'static str, value: Duration) -> Result<(), PolicyError> {
    const MIN_TIME: Duration = Duration::from_millis(1);
    const MAX_TIME: Duration = Duration::from_secs(86_400);
    let holds = (MIN_TIME..=MAX_TIME).contains(&value);
    ensure(holds, setting, value, "a time from 1 ms to a day")
}

/// Refuses what is no share of something.
pub(super) fn ensure_percent(setting: &'static str, value: u32) -> Result<(), PolicyError> {
    ensure((1..=100).contains(&value), setting, value, "a percentage from 1 to 100")
}
