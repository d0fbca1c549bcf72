//! The settings of a lane, and of its policies. Keys have the names of the methods that set them.

use std::time::Duration;

use super::table::Table;
use crate::lane::{
    ExpiredSessionPolicy, LaneConfig, LaneConfigError, LaneSettings, OpenBreakerPolicy,
    OverflowPolicy,
};
use crate::quota::{Quota, RttCredit};
use crate::resilience::{BreakerMode, BreakerPolicy, PolicyError, RetryPolicy, ThrottlePolicy};

/// Sets what a table has, by keys that have the names of the methods.
macro_rules! set {
    ($policy:ident, $table:ident, $($kind:ident: $($key:ident),+);+) => {
        $($(
            if let Some(value) = $table.$kind(stringify!($key)) {
                $policy = $policy.$key(value);
            }
        )+)+
    };
}

/// A lane.
pub(super) fn lane(mut table: Table<'_>) -> LaneSettings {
    let words = [
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
    let settings = LaneSettings {
        quota: table.quota("quota"),
        credit: credit(&mut table),
        in_flight: table.number("in_flight"),
        urgent_workers: table.number("urgent_workers"),
        queue: table.number("queue"),
        when_full: table.choice("when_full", &words),
        user_interval: table.time("user_interval"),
        aging: aging(&mut table),
        retry: table.table_or_off("retry").map(|on| on.map_or(RetryPolicy::none(), retry)),
        breaker: table
            .table_or_off("breaker")
            .map(|on| on.map_or(BreakerPolicy::disabled(), breaker)),
        throttle: table.table("throttle").map(throttle),
        when_expired: table.choice("when_expired", &expired),
        when_down: table.choice("when_down", &down),
    };
    check_lane(&settings, &table);
    table.finish();
    settings
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

/// Notes what a lane would refuse, beside its policies, which have been looked at.
fn check_lane(settings: &LaneSettings, table: &Table<'_>) {
    let lane = LaneSettings { retry: None, breaker: None, throttle: None, ..settings.clone() };
    let Err(error) = lane.apply_to(LaneConfig::new(Quota::unlimited())).check() else { return };
    let key = match error {
        LaneConfigError::InFlight { .. } => "in_flight",
        LaneConfigError::UrgentWorkers { .. } => "urgent_workers",
        LaneConfigError::Queue { .. } => "queue",
        LaneConfigError::UserInterval { .. } => "user_interval",
        _ => "quota",
    };
    // `queue(0): write ..`, of which the path says the first part.
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

/// Both of its keys are needed, and each is looked at by itself.
fn with_slow_calls(policy: BreakerPolicy, mut table: Table<'_>) -> BreakerPolicy {
    let with = |after, percent| BreakerPolicy::default().slow(after, percent).check();
    let after: Option<Duration> = table.time("after");
    let percent = table.number("percent");
    for (key, refused) in [
        ("after", after.and_then(|after| with(after, 100).err())),
        ("percent", percent.and_then(|percent| with(Duration::from_secs(1), percent).err())),
    ] {
        if let Some(PolicyError { value, allowed, .. }) = refused {
            table.report_invalid(key, format!("{value} will not do: write {allowed}"));
        } else if !table.has(key) {
            table
                .report_invalid(key, "write this too: slowness is a time and a share of the calls");
        }
    }
    table.finish();
    match (after, percent) {
        (Some(after), Some(percent)) if with(after, percent).is_ok() => policy.slow(after, percent),
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
