//! How an account shares its quota with other processes, in the words of the gateway's page.

use super::model::Shared;
use super::text::time;

/// Returns a few words for it. `None` if [`trouble`] has more to say.
pub fn summary(shared: &Shared) -> Option<String> {
    match (shared.mode.as_str(), shared.processes) {
        ("share" | "stopped" | "returning", _) => None,
        ("shared", ..2) => Some("shared quota".to_owned()),
        ("shared", processes) => Some(format!("quota shared by {processes} processes")),
        _ => Some(format!("shared quota: {}", shared.mode.words())),
    }
}

/// Returns what the user has to know while Redis is away, or has just come back.
pub fn trouble(shared: &Shared) -> Option<String> {
    let since = time(shared.mode_for.unwrap_or(0.0));
    let share = match shared.processes {
        ..2 => "share of the quota".to_owned(),
        processes => format!("share of the quota, one of {processes}"),
    };
    match shared.mode.as_str() {
        "share" => Some(format!(
            "Redis is away. For {since} the gateway has kept to its {share}. Calls wait for longer than usual."
        )),
        "stopped" => Some(format!(
            "Redis is away. For {since} only exits have been sent. Every other call waits."
        )),
        "returning" => {
            Some("Redis is back. It is told what was sent meanwhile. Then calls go on.".to_owned())
        }
        _ => None,
    }
}
