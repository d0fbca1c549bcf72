//! Reads how a quota is shared with other processes.

use std::time::Duration;

use super::table::Table;
use crate::shared_quota::{SharedSettings, WhenAway, check_name, has_password};

const ADDRESS: &str =
    "the address of Redis, as redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH";

/// Reads the settings, without an account.
pub fn shared(mut table: Table<'_>) -> SharedSettings {
    let settings = settings(&mut table);
    table.finish();
    settings
}

/// Reads the account, and the settings. `None` if there is no account, which is reported.
pub(super) fn shared_account(mut table: Table<'_>) -> Option<(String, SharedSettings)> {
    let account = name(&mut table, "account", "an account");
    if !table.has("account") {
        table.report_misplaced("write `account` too: processes with the same one share its quota");
    }
    let settings = settings(&mut table);
    table.finish();
    account.map(|account| (account, settings))
}

fn settings(table: &mut Table<'_>) -> SharedSettings {
    let settings = SharedSettings {
        url: address(table),
        url_env: table.parsed(
            "url_env",
            "the name of an environment variable, in capital letters",
            env_name,
        ),
        process: name(table, "process", "a process"),
        lease: time(table, "lease", |settings| &mut settings.lease),
        timeout: time(table, "timeout", |settings| &mut settings.timeout),
        away_after: time(table, "away_after", |settings| &mut settings.away_after),
        when_away: table
            .choice("when_away", &[("share", WhenAway::Share), ("stop", WhenAway::Stop)]),
        share_for: time(table, "share_for", |settings| &mut settings.share_for),
        processes: table.number("processes"),
        one_path: table.switch("one_path"),
    };
    if settings.processes == Some(0) {
        table.report_invalid("processes", "0 will not do: write a number of at least 1");
    }
    if !table.has("url") && !table.has("url_env") {
        table.report_misplaced(format!(
            "write `url`, {ADDRESS}, or `url_env`, the environment variable that has it"
        ));
    }
    settings
}

fn address(table: &mut Table<'_>) -> Option<String> {
    let url = table.text("url", ADDRESS)?;
    match has_password(url) {
        Ok(false) => return Some(url.to_owned()),
        Ok(true) => table.report_invalid(
            "url",
            "a password does not belong in a file of settings, which is copied, committed and shown: put the whole address \
             into an environment variable, and its name into `url_env`",
        ),
        Err(_) => table.report_invalid("url", format!("write {ADDRESS}")),
    }
    None
}

fn name(table: &mut Table<'_>, key: &'static str, of: &'static str) -> Option<String> {
    let what = format!("the name of {of}: up to 64 letters, digits, dots, dashes and underscores");
    // A random part is added to the name of a process.
    let added = if key == "process" { "-00000000" } else { "" };
    let is_allowed =
        |name: &str| !name.is_empty() && check_name(of, &format!("{name}{added}")).is_ok();
    table.parsed(key, &what, |name| is_allowed(name).then(|| name.to_owned()))
}

fn env_name(text: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let begins_well = !text.starts_with(|c: char| c.is_ascii_digit());
    (!text.is_empty() && begins_well && text.chars().all(is_allowed)).then(|| text.to_owned())
}

/// Reads a time, and reports it if a shared quota does not take it.
fn time(
    table: &mut Table<'_>,
    key: &'static str,
    setting: impl Fn(&mut SharedSettings) -> &mut Option<Duration>,
) -> Option<Duration> {
    let time = table.time(key)?;
    let mut alone = SharedSettings::default();
    *setting(&mut alone) = Some(time);
    match alone.check() {
        Ok(()) => Some(time),
        Err(error) => {
            // The message is `the lease is 1s: write ..`, whose first part repeats the path.
            let text = error.to_string();
            let allowed = text.split_once(": ").map_or(text.as_str(), |(_, allowed)| allowed);
            table.report_invalid(key, format!("{time:?} will not do: {allowed}"));
            None
        }
    }
}
