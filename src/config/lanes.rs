//! Reads the settings of a lane and of its policies, and of a budget. Keys have the names of the methods that set them.

use std::time::Duration;

use super::reserve;
use super::table::Table;
use crate::lane::{
    ExpiredSessionPolicy, LaneConfig, LaneConfigError, OpenBreakerPolicy, OverflowPolicy,
};
use crate::quota::{Budget, Limits, Quota, Reserve, RttCredit};
use crate::resilience::{BreakerMode, BreakerPolicy, PolicyError, RetryPolicy, ThrottlePolicy};

/// Calls a setter for each key that is in a table. A key has the name of its setter.
macro_rules! set {
    ($policy:ident, $table:ident, $($kind:ident: $($key:ident),+);+) => {
        $($(
            if let Some(value) = $table.$kind(stringify!($key)) {
                $policy = $policy.$key(value);
            }
        )+)+
    };
}

/// Reads a lane. `documented` is its quota in the preset, if there is one.
pub fn lane(mut table: Table<'_>, documented: Option<&Quota>) -> LaneConfig {
    let overflow = [
        ("refuse", OverflowPolicy::Refuse),
        ("block", OverflowPolicy::Block),
        ("shed", OverflowPolicy::Shed),
    ];
    let expired = [("hold", ExpiredSessionPolicy::Hold), ("refuse", ExpiredSessionPolicy::Refuse)];
    let down = [
        ("hold_without_deadline", OpenBreakerPolicy::HoldWithoutDeadline),
        ("hold", OpenBreakerPolicy::Hold),
        ("refuse", OpenBreakerPolicy::Refuse),
    ];
    let mut config = table.quota("quota").map(LaneConfig::new).unwrap_or_default();
    let reserve = table.reserve("reserve");
    reserve::check(&table, "lane", config.quota().or(documented), reserve, reserve);
    if let Some(credit) = credit(&mut table) {
        config = config.credit(credit);
    }
    set!(config, table, number: in_flight, urgent_workers, queue; time: user_interval);
    if let Some(when_full) = table.choice("when_full", &overflow) {
        config = config.when_full(when_full);
    }
    if let Some(aging) = aging(&mut table) {
        config = config.aging(aging);
    }
    // The reserve and the policies come after the check, because each has its own.
    check_lane(&config, &table);
    if let Some(reserve) = reserve {
        config = config.with_reserve(reserve);
    }
    if let Some(on) = table.table_or_off("retry") {
        config = config.retry(on.map_or(RetryPolicy::none(), retry));
    }
    if let Some(on) = table.table_or_off("breaker") {
        config = config.breaker(on.map_or(BreakerPolicy::disabled(), breaker));
    }
    if let Some(table) = table.table("throttle") {
        config = config.throttle(throttle(table));
    }
    if let Some(when_expired) = table.choice("when_expired", &expired) {
        config = config.when_expired(when_expired);
    }
    if let Some(when_down) = table.choice("when_down", &down) {
        config = config.when_down(when_down);
    }
    table.finish();
    config
}

fn credit(table: &mut Table<'_>) -> Option<RttCredit> {
    let number: u32 = table.number("credit")?;
    let percent = u8::try_from(number).ok().filter(|percent| *percent <= 100);
    if percent.is_none() {
        table.report_invalid(
            "credit",
            format!("{number} will not do: write a percentage from 0 to 100"),
        );
    }
    percent.map(RttCredit::percent)
}

fn aging(table: &mut Table<'_>) -> Option<Option<u32>> {
    let aging = table.number_or_off("aging")?;
    if aging == Some(0) {
        table.report_invalid("aging", "0 will not do: write a multiple of at least 1, or \"off\"");
        return None;
    }
    Some(aging)
}

/// Reports a setting that is out of range. The policies of the lane are checked by their own functions.
fn check_lane(config: &LaneConfig, table: &Table<'_>) {
    let Err(error) = config.check() else { return };
    let key = match error {
        LaneConfigError::InFlight { .. } => "in_flight",
        LaneConfigError::UrgentWorkers { .. } => "urgent_workers",
        LaneConfigError::Queue { .. } => "queue",
        LaneConfigError::UserInterval { .. } => "user_interval",
        _ => "quota",
    };
    // The message is `queue(0): write ..`, whose first part repeats the path.
    let text = error.to_string();
    let value = text.strip_prefix(key).and_then(|rest| rest.strip_prefix('('));
    table.report_invalid(
        key,
        value.map_or(text.clone(), |value| value.replacen("): ", " will not do: ", 1)),
    );
}

fn retry(mut table: Table<'_>) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    set!(policy, table,
        number: attempts, budget_percent, budget_floor;
        time: base_delay, max_delay, max_wait, budget_life);
    table.check_policy(policy.check());
    table.finish();
    policy
}

fn breaker(mut table: Table<'_>) -> BreakerPolicy {
    let mut policy = BreakerPolicy::default();
    set!(policy, table,
        number: minimum, growth, probes;
        number_or_off: failures, failures_in_a_row;
        time: window, open_for, max_open, probe_deadline, max_half_open);
    let modes = [
        ("automatic", BreakerMode::Automatic),
        ("forced_open", BreakerMode::ForcedOpen),
        ("forced_closed", BreakerMode::ForcedClosed),
        ("disabled", BreakerMode::Disabled),
    ];
    if let Some(mode) = table.choice("mode", &modes) {
        policy = policy.mode(mode);
    }
    if let Some(slow) = table.table("slow") {
        policy = with_slow_calls(policy, slow);
    }
    table.check_policy(policy.check());
    table.finish();
    policy
}

/// Reads the table `slow`. Both keys are needed, and each is checked on its own.
fn with_slow_calls(policy: BreakerPolicy, mut table: Table<'_>) -> BreakerPolicy {
    let check = |after, percent| BreakerPolicy::default().slow(after, percent).check();
    let after: Option<Duration> = table.time("after");
    let percent = table.number("percent");
    for (key, error) in [
        ("after", after.and_then(|after| check(after, 100).err())),
        ("percent", percent.and_then(|percent| check(Duration::from_secs(1), percent).err())),
    ] {
        if let Some(PolicyError { value, allowed, .. }) = error {
            table.report_invalid(key, format!("{value} will not do: write {allowed}"));
        } else if !table.has(key) {
            table
                .report_invalid(key, "write this too: slowness is a time and a share of the calls");
        }
    }
    table.finish();
    match (after, percent) {
        (Some(after), Some(percent)) if check(after, percent).is_ok() => {
            policy.slow(after, percent)
        }
        _ => policy,
    }
}

fn throttle(mut table: Table<'_>) -> ThrottlePolicy {
    let mut policy = ThrottlePolicy::default();
    set!(policy, table, time: default_pause, max_pause; number: keep_percent, step_percent, min_percent);
    table.check_policy(policy.check());
    table.finish();
    policy
}

/// Reads a budget, and returns its quota and its reserve. Whether the reserve leaves a part of the budget to other
/// calls can only be checked if the quota is known.
pub fn budget(
    name: &str,
    mut table: Table<'_>,
    preset: Option<&Limits>,
) -> (Option<Quota>, Option<Reserve>) {
    let (quota, reserve) = (table.quota("quota"), table.reserve("reserve"));
    let documented = preset.and_then(|limits| limits.of_budget(name));
    let known = quota.as_ref().or(documented.map(Budget::quota));
    let reserved = reserve.or(documented.map(Budget::reserved));
    reserve::check(&table, "budget", known, reserved, reserve);
    table.finish();
    (quota, reserve)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::lane::ResolvedLaneConfig;

    const CHAPTER: &str = include_str!("../../docs/configuration.md");

    fn resolved(config: &LaneConfig) -> ResolvedLaneConfig {
        ResolvedLaneConfig::new(config, Quota::per_second(7)).unwrap()
    }

    #[test]
    fn the_defaults_of_the_chapter_are_the_defaults_of_a_lane() {
        let mut seen = 0;
        for row in CHAPTER.lines().filter(|line| line.starts_with("| `lanes.")) {
            let cells: Vec<&str> =
                row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            if cells[2].is_empty() {
                continue;
            }
            let path = cells[1].replace('*', "x");
            let config = Config::from_toml(&format!("{path} = {}", cells[2])).unwrap();
            let (_, lane) = config.settings().lanes().next().unwrap();
            assert_ne!(lane, &LaneConfig::default(), "{row}");
            assert_eq!(resolved(lane), resolved(&LaneConfig::default()), "{row}");
            seen += 1;
        }
        assert_eq!(seen, 31, "a default was added or taken away");
    }
}
