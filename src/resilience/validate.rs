//! Validation of settings, shared by all policies.

use std::fmt::Debug;
use std::time::Duration;

/// The error for an invalid setting. Its message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}({value}): write {allowed}")]
#[non_exhaustive]
pub struct PolicyError {
    /// The method that sets it.
    pub setting: &'static str,
    /// The invalid value.
    pub value: String,
    /// The allowed values.
    pub allowed: &'static str,
}

/// Returns an error for the setting unless `holds`.
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

/// Returns an error for a time below 1 ms, which is most likely a mistake, or above one day.
pub(super) fn ensure_time(setting: &'static str, value: Duration) -> Result<(), PolicyError> {
    const MIN_TIME: Duration = Duration::from_millis(1);
    const MAX_TIME: Duration = Duration::from_secs(86_400);
    let holds = (MIN_TIME..=MAX_TIME).contains(&value);
    ensure(holds, setting, value, "a time from 1 ms to a day")
}

/// Returns an error unless the value is a percentage from 1 to 100.
pub(super) fn ensure_percent(setting: &'static str, value: u32) -> Result<(), PolicyError> {
    ensure((1..=100).contains(&value), setting, value, "a percentage from 1 to 100")
}
