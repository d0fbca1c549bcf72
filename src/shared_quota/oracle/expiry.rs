//! The expiry of keys in the real scripts: what is needed is kept, whichever script ran last.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::cmd;

use super::super::member::{Ask, Charge, Member, Retelling, Say};
use super::super::protocol::{BEAT, STEP, Scope, StepOutcome, StepReply};
use super::members::{Account, CALL, member, silent};
use crate::quota::{BudgetSet, Cost, Quota, Reserve};

/// In seconds.
const DAY: f64 = 86_400.0;

fn days(days: u32) -> Duration {
    Duration::from_secs(86_400) * days
}

impl Account {
    /// Returns all keys, and after how many seconds each expires.
    fn expiries(&mut self) -> BTreeMap<String, f64> {
        let keys: Vec<String> = cmd("KEYS").arg("*").query(&mut self.connection).unwrap();
        let expires_after = |key: String| {
            let millis: i64 = cmd("PTTL").arg(&key).query(&mut self.connection).unwrap();
            (key, millis as f64 / 1e3)
        };
        keys.into_iter().map(expires_after).collect()
    }

    /// Lets time pass in Redis too: the keys that expire meanwhile are gone.
    fn wait_in_redis(&mut self, seconds: f64) {
        self.wait(seconds);
        for (key, after) in self.expiries() {
            // Redis deletes a key whose expiry is in the past.
            let left = ((after - seconds) * 1e3) as i64;
            cmd("PEXPIRE").arg(key).arg(left).exec(&mut self.connection).unwrap();
        }
    }

    fn step_of(&mut self, member: &mut Member, charge: Charge, ask: Option<&Ask>) -> StepReply {
        let trip = member.step(charge, ask, self.time());
        let value = self.run(STEP, &trip);
        member.on_step(trip, ask, &value).unwrap()
    }

    fn tell_again(&mut self, member: &mut Member) {
        let retelling = member.begin_retelling(Some(Retelling::Returned));
        for charge in member.charges().to_vec() {
            let trip = member.retell(charge, retelling, self.time());
            let value = self.run(STEP, &trip);
            member.on_step(trip, None, &value).unwrap();
        }
        member.finish_retelling();
    }
}

#[test]
fn calls_in_a_long_window_count_after_all_processes_were_gone_for_days() {
    let Some(mut account) = Account::start() else { return };
    let (lane, budget) = (Quota::per_second(10), Quota::new(2, days(20)));
    let scope = |name: &str, quota: &Quota| {
        Scope::new(name.to_owned(), quota.windows(), Reserve::NONE).unwrap()
    };
    let cost = Cost { budgets: BudgetSet::of(&[0]), ..CALL };
    // A process comes, asks for one permit, and leaves. Returns whether it was granted.
    let come_and_go = |account: &mut Account, name: &str, cost: Cost, scopes: Vec<Scope>| {
        let lanes = vec!["l".to_owned()];
        let mut member = Member::new(name.to_owned(), lanes, scopes, Duration::from_secs(3));
        account.beat(&mut member);
        account.tell_again(&mut member);
        account.wait(2.0);
        let ask = member.ask(cost, 5, false, account.moment());
        let outcome = account.step_of(&mut member, cost.into(), Some(&ask)).outcome;
        member.end(ask.number, account.moment(), account.moment());
        account.step_of(&mut member, cost.into(), None);
        let trip = member.beat(&Say { is_leaving: true, ..silent() }, account.time());
        account.run(BEAT, &trip);
        outcome
    };
    let with_budget = |account: &mut Account, name: &str| {
        let scopes = vec![scope("lane:l", &lane), scope("budget:b", &budget)];
        come_and_go(account, name, cost, scopes)
    };
    // It is the last in the account, and knows of the short window only.
    let without_budget = |account: &mut Account| {
        let outcome = come_and_go(account, "short", CALL, vec![scope("lane:l", &lane)]);
        assert_eq!(outcome, StepOutcome::Granted);
    };
    for name in ["first", "second"] {
        assert_eq!(with_budget(&mut account, name), StepOutcome::Granted);
    }
    without_budget(&mut account);
    for (name, passed) in [("third", 3.0), ("fourth", 16.0)] {
        account.wait_in_redis(passed * DAY);
        let outcome = with_budget(&mut account, name);
        assert_eq!(outcome, StepOutcome::Denied, "{passed} days later");
        without_budget(&mut account);
    }
    account.wait_in_redis(DAY);
    assert_eq!(with_budget(&mut account, "fifth"), StepOutcome::Granted);
}

#[test]
fn no_script_of_a_process_with_shorter_windows_shortens_an_expiry() {
    let Some(mut account) = Account::start() else { return };
    let short = Quota::per_second(2);
    let long = short.clone().and(Quota::new(100, days(20)));
    let (mut long, mut short) = (member("long", long.windows()), member("short", short.windows()));
    account.beat(&mut long);
    account.return_to_redis(&mut long);
    account.wait(2.0);
    // The third one waits, and so has a line in the queue.
    for _ in 0..3 {
        account.ask(&mut long, CALL);
    }
    let check = |account: &mut Account, script: &str, keys: usize| {
        let expiries = account.expiries();
        assert_eq!(expiries.len(), keys, "after {script}: {expiries:?}");
        for (key, after) in expiries {
            let days = after / DAY;
            assert!(days > 21.0, "{key} expires in {days:.1} days after {script}");
        }
    };
    check(&mut account, "the scripts of the long window", 5);
    account.beat(&mut short);
    check(&mut account, "a heartbeat", 5);
    account.return_to_redis(&mut short);
    check(&mut account, "a retelling", 5);
    assert_eq!(account.ask(&mut short, CALL).0, StepOutcome::Denied);
    check(&mut account, "a refusal", 5);
    account.wait(5.0);
    // It is silent no more, so its share is not left alone.
    account.beat(&mut long);
    assert_eq!(account.ask(&mut short, CALL).0, StepOutcome::Granted);
    // Nothing waits, so there is no queue.
    check(&mut account, "a permit", 4);
    account.step(&mut short, None);
    check(&mut account, "a step without an ask", 4);
}
