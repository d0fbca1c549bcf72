//! Three bots, three processes, one account: a strict exchange over real HTTP, and one Redis. Whatever happens to a bot or to
//! Redis, the exchange refuses nothing.
//!
//! The bots are this test binary, started again (`bot.rs`). Time is real, since processes and sockets are. What is asserted
//! holds on a machine of any speed; how much of the quota was used is printed, and only a floor far below it is asserted. There is
//! a run in which nothing happens, and one for each thing that does.
#![cfg(all(feature = "kite", feature = "redis", unix))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/redis.rs"]
#[allow(dead_code, reason = "the tests of the limiter use more of it")]
mod redis;

mod account;
mod bot;
mod failures;
mod path;
mod throttled;

use std::time::Duration;

use account::Account;

#[test]
fn three_bots_use_all_of_the_quota_in_equal_shares() {
    let Some(mut account) = Account::start("steady", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(20));
    let report = account.end();
    assert!(report.used >= 0.75, "{report}");
    let mean = report.by_bot.iter().sum::<usize>() as f64 / 3.0;
    assert!(report.by_bot.iter().all(|bot| (*bot as f64 - mean).abs() <= mean * 0.3), "{report}");
}

#[test]
fn a_bot_that_is_killed_half_way() {
    let Some(mut account) = Account::start("killed", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(5));
    account.bots[0].kill();
    account.run(Duration::from_secs(15));
    let report = account.end();
    // Its leases last eight seconds, and its share is left alone until the others have found out that it is dead.
    assert!(report.used >= 0.35, "{report}");
}

#[test]
fn a_bot_that_stands_still_for_five_seconds() {
    let Some(mut account) = Account::start("stopped", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(4));
    account.bots[0].signal("-STOP");
    account.run(Duration::from_secs(5));
    account.bots[0].signal("-CONT");
    account.run(Duration::from_secs(10));
    let report = account.end();
    assert!(report.used >= 0.35, "{report}");
    assert!(report.by_bot[0] > 5, "{report}");
}

#[test]
fn a_redis_that_is_started_again_empty() {
    let Some(mut account) = Account::start("restarted", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(4));
    account.redis.crash();
    account.redis.start_again();
    account.run(Duration::from_secs(10));
    let report = account.end();
    assert!(report.used >= 0.3, "{report}");
}

#[test]
fn a_redis_that_forgets_everything_under_load() {
    let Some(mut account) = Account::start("flushed", Duration::ZERO) else { return };
    account.settle();
    for _ in 0..3 {
        account.run(Duration::from_secs(4));
        account.redis.send("FLUSHALL");
    }
    account.run(Duration::from_secs(4));
    let report = account.end();
    assert!(report.used >= 0.3, "{report}");
}

#[test]
fn a_redis_that_is_away_for_ten_seconds() {
    let Some(mut account) = Account::start("away", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(4));
    account.redis.signal("-STOP");
    account.run(Duration::from_secs(10));
    account.redis.signal("-CONT");
    account.run(Duration::from_secs(8));
    let report = account.end();
    assert!(report.used >= 0.3, "{report}");
    assert!(report.modes.iter().any(|mode| mode == "share"), "{report}");
}

#[test]
fn a_redis_that_answers_twenty_milliseconds_late() {
    let Some(mut account) = Account::start("slow", Duration::from_millis(10)) else { return };
    account.settle();
    account.run(Duration::from_secs(15));
    let report = account.end();
    assert!(report.used >= 0.6, "{report}");
}

#[test]
fn a_bot_that_is_cut_off_from_redis() {
    let Some(mut account) = Account::start("cut off", Duration::ZERO) else { return };
    account.settle();
    account.run(Duration::from_secs(4));
    account.bots[0].path.cut();
    account.run(Duration::from_secs(14));
    account.bots[0].path.mend();
    account.run(Duration::from_secs(6));
    let report = account.end();
    assert!(report.used >= 0.35, "{report}");
    assert!(report.modes.iter().any(|mode| mode == "share"), "{report}");
}
