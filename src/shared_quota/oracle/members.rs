//! Single processes in the real scripts: what they tell after they were away, and what they get beside those that are.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ::redis::{Client, Connection, Value, cmd};
use jiff::Timestamp;

use super::super::member::{Ask, Charge, Member, Retelling, Say, Time, Trip};
use super::super::protocol::{BEAT, STEP, Scope, StepOutcome, StepReply};
use super::runs::server::RedisServer;
use super::world::BEGIN;
use crate::lane::RefusedRoute;
use crate::quota::{BudgetSet, Cost, Moment, Quota, Reserve, WallClockSample, Window};

pub(super) const CALL: Cost = Cost { lane: 0, budgets: BudgetSet::EMPTY, weight: 1, urgent: false };

const CHARGE: Charge = Charge { lane: 0, budgets: BudgetSet::EMPTY };

/// An account whose processes have one lane, and a clock for all of them.
pub(super) struct Account {
    _server: RedisServer,
    pub(super) connection: Connection,
    /// Microseconds since the begin.
    now: u64,
}

impl Account {
    pub(super) fn start() -> Option<Self> {
        let server = RedisServer::start()?;
        let connection = Client::open(server.url()).unwrap().get_connection().unwrap();
        Some(Self { _server: server, connection, now: 0 })
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.now += (seconds * 1e6) as u64;
    }

    pub(super) fn moment(&self) -> Moment {
        Moment::from_nanos(self.now * 1000)
    }

    pub(super) fn time(&self) -> Time<'static> {
        let raw = BEGIN + self.now;
        let timestamp = Timestamp::from_microsecond(i64::try_from(raw).unwrap()).unwrap();
        let wall = WallClockSample { moment: self.moment(), timestamp };
        Time { moment: Some(raw), ..Time::for_tests(wall, "a", "run") }
    }

    pub(super) fn run(&mut self, code: &str, trip: &Trip) -> Value {
        let mut eval = cmd("EVAL");
        eval.arg(code);
        for word in &trip.words {
            eval.arg(word);
        }
        eval.query(&mut self.connection).unwrap()
    }

    pub(super) fn beat(&mut self, member: &mut Member) {
        let trip = member.beat(&silent(), self.time());
        let value = self.run(BEAT, &trip);
        member.on_beat(&trip, &value).unwrap();
    }

    pub(super) fn step(&mut self, member: &mut Member, ask: Option<&Ask>) -> StepReply {
        let trip = member.step(CHARGE, ask, self.time());
        let value = self.run(STEP, &trip);
        member.on_step(trip, ask, &value).unwrap()
    }

    pub(super) fn ask(&mut self, member: &mut Member, cost: Cost) -> (StepOutcome, u64) {
        let ask = member.ask(cost, if cost.urgent { 1 } else { 5 }, false, self.moment());
        (self.step(member, Some(&ask)).outcome, ask.number)
    }

    pub(super) fn return_to_redis(&mut self, member: &mut Member) {
        let retelling = member.begin_retelling(Some(Retelling::Returned));
        let trip = member.retell(CHARGE, retelling, self.time());
        let value = self.run(STEP, &trip);
        assert_ne!(member.on_step(trip, None, &value).unwrap().outcome, StepOutcome::Lost);
        member.finish_retelling();
        self.beat(member);
    }
}

/// A heartbeat that says nothing more.
pub(super) fn silent() -> Say<'static> {
    Say {
        place: "unknown",
        is_leaving: false,
        dead: &[],
        reserved_for: Duration::from_secs(600),
        lanes: &[],
        refused: &[],
    }
}

pub(super) fn member(name: &str, windows: &[Window]) -> Member {
    let scope = Scope::new("lane:l".to_owned(), windows, Reserve::NONE).unwrap();
    Member::new(name.to_owned(), vec!["l".to_owned()], vec![scope], Duration::from_secs(3))
}

#[test]
fn a_call_of_the_share_that_is_still_in_flight_counts_after_the_return_however_long_it_takes() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(2);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    account.beat(&mut one);
    account.beat(&mut other);
    account.wait(2.0);
    let hangs = one.take_share(CALL, account.moment());
    // Longer than a lease.
    account.wait(10.0);
    account.return_to_redis(&mut one);
    account.wait(0.1);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Granted);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Denied);
    one.end(hangs, account.moment(), account.moment());
    account.step(&mut one, None);
    account.wait(0.9);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Denied);
    account.wait(0.2);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Granted);
}

#[test]
fn a_call_of_redis_that_is_still_in_flight_counts_after_its_process_was_away() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(2);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    account.beat(&mut one);
    account.beat(&mut other);
    account.wait(2.0);
    assert_eq!(account.ask(&mut one, CALL).0, StepOutcome::Granted);
    account.wait(10.0);
    account.return_to_redis(&mut one);
    account.wait(0.1);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Granted);
    assert_eq!(account.ask(&mut other, CALL).0, StepOutcome::Denied);
}

#[test]
fn an_urgent_call_goes_out_although_the_shares_of_silent_processes_are_all_of_the_quota() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(1);
    let (mut first, mut second) =
        (member("first", quota.windows()), member("second", quota.windows()));
    account.beat(&mut first);
    account.wait(1.0);
    account.beat(&mut second);
    account.wait(1.0);
    account.beat(&mut first);
    account.beat(&mut second);
    for _ in 0..6 {
        account.wait(1.0);
        account.beat(&mut second);
    }
    // The whole share of a limit of one is that of the first.
    assert_eq!(account.ask(&mut second, CALL).0, StepOutcome::Denied);
    let urgent = Cost { urgent: true, ..CALL };
    assert_eq!(account.ask(&mut second, urgent).0, StepOutcome::Granted);
    assert_eq!(account.ask(&mut second, urgent).0, StepOutcome::Denied);
}

#[test]
fn a_share_is_left_alone_until_what_was_sent_by_it_is_forgotten() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(2);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    let say = Say { reserved_for: Duration::from_secs(10), ..silent() };
    let beat = |account: &mut Account, member: &mut Member| {
        let trip = member.beat(&say, account.time());
        let value = account.run(BEAT, &trip);
        member.on_beat(&trip, &value).unwrap();
    };
    beat(&mut account, &mut one);
    beat(&mut account, &mut other);
    account.wait(2.0);
    beat(&mut account, &mut one);
    let calls = |account: &mut Account, other: &mut Member| {
        beat(account, other);
        let granted = |_: &u32| {
            let (outcome, number) = account.ask(other, CALL);
            other.end(number, account.moment(), account.moment());
            outcome == StepOutcome::Granted
        };
        (0..3).filter(granted).count()
    };
    // The one is cut off, and may send a call by its share at the end of the tenth second.
    account.wait(10.1);
    assert_eq!(calls(&mut account, &mut other), 1);
    account.wait(2.0);
    assert_eq!(calls(&mut account, &mut other), 2);
}

/// An account in which one process has sent by its share for long, and then returns.
fn after_long_away(quota: &Quota, calls: u32) -> Option<(Account, Member, Trip)> {
    let mut account = Account::start()?;
    let mut one = member("one", quota.windows());
    account.beat(&mut one);
    account.wait(2.0);
    for _ in 0..calls {
        account.wait(0.1);
        let number = one.take_share(CALL, account.moment());
        one.end(number, account.moment(), account.moment());
    }
    let retelling = one.begin_retelling(Some(Retelling::Returned));
    let trip = one.retell(CHARGE, retelling, account.time());
    Some((account, one, trip))
}

#[test]
fn calls_that_a_log_has_forgotten_are_told_as_counts() {
    let quota = Quota::per_second(10).and(Quota::per_calendar_day(9_000, jiff::tz::TimeZone::UTC));
    let Some((mut account, mut one, trip)) = after_long_away(&quota, 5000) else { return };
    assert!(trip.words.len() < 200, "{}", trip.words.len());
    let value = account.run(STEP, &trip);
    one.on_step(trip, None, &value).unwrap();
    one.finish_retelling();
    account.beat(&mut one);
    let reply = account.step(&mut one, None);
    // The day that began eight seconds after the first of them.
    let used: u64 = reply.scopes[0].used[1].used + reply.scopes[0].used[1].next_day;
    assert!((4900..=5000).contains(&used), "{reply:?}");
    let trip = one.step(CHARGE, None, account.time());
    assert!(trip.words.len() < 100, "{}", trip.words.len());
}

#[test]
fn a_bucket_is_full_again_in_the_time_that_it_takes_however_long_a_process_was_away() {
    let bucket = Quota::token_bucket(10, Duration::from_secs(1), 20);
    let quota = bucket.and(Quota::per_calendar_day(100_000, jiff::tz::TimeZone::UTC));
    let Some((mut account, mut one, trip)) = after_long_away(&quota, 3000) else { return };
    let value = account.run(STEP, &trip);
    one.on_step(trip, None, &value).unwrap();
    one.finish_retelling();
    account.beat(&mut one);
    account.wait(2.1);
    for _ in 0..20 {
        assert_eq!(account.ask(&mut one, CALL).0, StepOutcome::Granted);
    }
    assert_eq!(account.ask(&mut one, CALL).0, StepOutcome::Denied);
}

#[test]
fn a_day_keeps_its_count_when_another_window_is_removed() {
    let Some(mut account) = Account::start() else { return };
    let day = Quota::per_calendar_day(5, jiff::tz::TimeZone::UTC);
    let quota = Quota::token_bucket(50, Duration::from_secs(1), 50).and(day.clone());
    let mut one = member("one", quota.windows());
    account.beat(&mut one);
    account.step(&mut one, None);
    // The day begins eight seconds later.
    account.wait(60.0);
    for _ in 0..5 {
        let (outcome, number) = account.ask(&mut one, CALL);
        assert_eq!(outcome, StepOutcome::Granted);
        one.end(number, account.moment(), account.moment());
    }
    account.step(&mut one, None);
    assert_eq!(account.ask(&mut one, CALL).0, StepOutcome::Denied);
    one.set_windows(0, day.windows(), None).unwrap();
    assert_eq!(account.ask(&mut one, CALL).0, StepOutcome::Denied);
}

#[test]
fn what_is_left_of_a_budget_is_known_before_it_is_used() {
    let Some(mut account) = Account::start() else { return };
    let quotas = [Quota::per_second(1000), Quota::new(100, Duration::from_secs(60))];
    let scope = |name: &str, quota: &Quota| {
        Scope::new(name.to_owned(), quota.windows(), Reserve::NONE).unwrap()
    };
    let scopes = vec![scope("lane:l", &quotas[0]), scope("budget:b", &quotas[1])];
    let new = |name: &str| {
        Member::new(name.to_owned(), vec!["l".to_owned()], scopes.clone(), Duration::from_secs(3))
    };
    let (mut one, mut other) = (new("one"), new("other"));
    account.beat(&mut one);
    account.beat(&mut other);
    account.wait(2.0);
    let mut budgets = BudgetSet::EMPTY;
    assert!(budgets.insert(0));
    let cost = Cost { budgets, ..CALL };
    for _ in 0..90 {
        let ask = other.ask(cost, 5, false, account.moment());
        let trip = other.step(cost.into(), Some(&ask), account.time());
        let value = account.run(STEP, &trip);
        assert_eq!(other.on_step(trip, Some(&ask), &value).unwrap().outcome, StepOutcome::Granted);
    }
    let left = |member: &Member| member.left(1).next().unwrap().1;
    // Nothing was heard of it.
    assert_eq!(left(&one), 0);
    for charge in one.charges().to_vec() {
        let trip = one.step(charge, None, account.time());
        let value = account.run(STEP, &trip);
        one.on_step(trip, None, &value).unwrap();
    }
    assert_eq!(left(&one), 10);
}

#[test]
fn telling_again_and_again_leaves_nothing_behind() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(10).and(Quota::per_calendar_day(9_000, jiff::tz::TimeZone::UTC));
    let mut one = member("one", quota.windows());
    account.beat(&mut one);
    account.return_to_redis(&mut one);
    let fields = |account: &mut Account| {
        let counts = super::super::protocol::key("a", "counts:lane:l");
        cmd("HLEN").arg(counts).query::<u32>(&mut account.connection).unwrap()
    };
    let first = fields(&mut account);
    for _ in 0..20 {
        account.return_to_redis(&mut one);
    }
    assert_eq!(fields(&mut account), first);
}

/// Returns how many milliseconds after the end of a call of one process the next one is granted, to the next process, which has
/// another credit since its last heartbeat.
fn reuse_after(
    account: &mut Account,
    one: &mut Member,
    next: &mut Member,
    credit: Option<Duration>,
) -> f64 {
    account.wait(2.0);
    account.beat(one);
    account.beat(next);
    if let Some(credit) = credit {
        next.set_credit(0, credit);
    }
    let (outcome, number) = account.ask(one, CALL);
    assert_eq!(outcome, StepOutcome::Granted);
    one.end(number, account.moment(), account.moment());
    account.step(one, None);
    for millis in 0..=1001 {
        let (outcome, number) = account.ask(next, CALL);
        if outcome == StepOutcome::Granted {
            next.give_back(number, account.moment());
            account.step(next, None);
            return f64::from(millis);
        }
        account.wait(0.001);
    }
    panic!("it was never granted");
}

#[test]
fn the_credit_of_an_account_is_the_least_of_its_processes() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(1);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    let ms = Duration::from_millis;
    one.set_credit(0, ms(100));
    account.beat(&mut one);
    account.beat(&mut other);
    let reuse = |account: &mut Account, one: &mut Member, other: &mut Member| {
        reuse_after(account, one, other, None)
    };
    // One of them has none.
    assert_eq!(reuse(&mut account, &mut one, &mut other), 1000.0);
    other.set_credit(0, ms(40));
    assert_eq!(reuse(&mut account, &mut one, &mut other), 960.0);
    assert_eq!(reuse(&mut account, &mut other, &mut one), 960.0);
    // Its own credit counts at once, before the others hear of it.
    assert_eq!(reuse_after(&mut account, &mut one, &mut other, Some(ms(20))), 980.0);
    assert_eq!(reuse(&mut account, &mut other, &mut one), 980.0);
    // A process that comes has none, and one that has left binds the others for a minute.
    let mut new = member("new", quota.windows());
    account.beat(&mut new);
    assert_eq!(reuse(&mut account, &mut one, &mut other), 1000.0);
    let leave = Say { is_leaving: true, ..silent() };
    let trip = new.beat(&leave, account.time());
    account.run(BEAT, &trip);
    assert_eq!(reuse(&mut account, &mut one, &mut other), 1000.0);
    account.wait(61.0);
    assert_eq!(reuse(&mut account, &mut one, &mut other), 980.0);
}

/// Returns how many milliseconds after a call the next one is granted, to a process that has the credit of this moment.
fn granted_after(account: &mut Account, next: &mut Member) -> Option<u32> {
    (0..=1001).find(|_| {
        let is_granted = account.ask(next, CALL).0 == StepOutcome::Granted;
        account.wait(if is_granted { 0.0 } else { 0.001 });
        is_granted
    })
}

#[test]
fn a_credit_that_falls_binds_the_others_from_the_next_word_of_its_process_on() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(1);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    let ms = Duration::from_millis;
    one.set_credit(0, ms(100));
    other.set_credit(0, ms(100));
    account.beat(&mut one);
    account.beat(&mut other);
    account.wait(2.0);
    let (outcome, number) = account.ask(&mut one, CALL);
    assert_eq!(outcome, StepOutcome::Granted);
    // Its path has become faster: this call took a fifth of the least round trip before.
    one.end(number, account.moment(), account.moment());
    one.set_credit(0, ms(20));
    account.step(&mut one, None);
    account.beat(&mut other);
    assert_eq!(granted_after(&mut account, &mut other), Some(980));
}

#[test]
fn after_a_loss_the_credit_of_a_process_binds_once_its_calls_are_told_again() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(1);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    one.set_credit(0, Duration::from_millis(20));
    other.set_credit(0, Duration::from_millis(100));
    account.beat(&mut one);
    account.beat(&mut other);
    account.wait(2.0);
    let (outcome, number) = account.ask(&mut one, CALL);
    assert_eq!(outcome, StepOutcome::Granted);
    cmd("FLUSHALL").exec(&mut account.connection).unwrap();
    // The heartbeat of the one is late: a worker of a lane tells its calls again before.
    account.beat(&mut other);
    for member in [&mut one, &mut other] {
        let trip = member.retell(CHARGE, Retelling::Lost, account.time());
        let value = account.run(STEP, &trip);
        assert_eq!(member.on_step(trip, None, &value).unwrap().outcome, StepOutcome::Heard);
        member.finish_retelling();
    }
    account.wait(1.4);
    one.end(number, account.moment(), account.moment());
    account.step(&mut one, None);
    account.beat(&mut other);
    assert_eq!(granted_after(&mut account, &mut other), Some(980));
}

#[test]
fn a_process_that_is_cut_off_for_long_has_no_credit_and_so_has_none_of_the_others() {
    let Some(mut account) = Account::start() else { return };
    // One of them for each process.
    let quota = Quota::per_second(2);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    for member in [&mut one, &mut other] {
        member.set_credit(0, Duration::from_millis(100));
        account.beat(member);
    }
    account.beat(&mut one);
    let mut reuse_after = |account: &mut Account, seconds: u32| {
        for _ in 0..seconds {
            account.wait(1.0);
            account.beat(&mut other);
        }
        let (outcome, number) = account.ask(&mut other, CALL);
        assert_eq!(outcome, StepOutcome::Granted);
        other.end(number, account.moment(), account.moment());
        account.step(&mut other, None);
        let granted = |_: &u32| {
            let (outcome, number) = account.ask(&mut other, CALL);
            other.end(number, account.moment(), account.moment());
            account.wait(0.001);
            outcome == StepOutcome::Granted
        };
        (0..=1001).find(granted)
    };
    assert_eq!(reuse_after(&mut account, 10), Some(900));
    assert_eq!(reuse_after(&mut account, 60), Some(1000));
}

#[test]
fn the_credit_of_a_budget_is_the_least_of_the_lanes_that_use_it() {
    let Some(mut account) = Account::start() else { return };
    let quotas = [Quota::per_second(100), Quota::per_second(100), Quota::per_second(1)];
    let names = ["lane:l", "lane:m", "budget:b"];
    let scopes = names.into_iter().zip(&quotas);
    let scopes = scopes
        .map(|(name, quota)| Scope::new(name.to_owned(), quota.windows(), Reserve::NONE).unwrap());
    let lanes = vec!["l".to_owned(), "m".to_owned()];
    let mut one = Member::new("one".to_owned(), lanes, scopes.collect(), Duration::from_secs(3));
    one.set_credit(0, Duration::from_millis(100));
    account.beat(&mut one);
    let mut budgets = BudgetSet::EMPTY;
    assert!(budgets.insert(0));
    // To look at what is used of a budget is not to use it.
    let trip = one.step(Charge { lane: 1, budgets }, None, account.time());
    let value = account.run(STEP, &trip);
    one.on_step(trip, None, &value).unwrap();
    let mut granted_after = |account: &mut Account, lane: usize| {
        account.beat(&mut one);
        account.wait(2.0);
        let cost = Cost { budgets, lane, ..CALL };
        let mut ask = |account: &mut Account| {
            let ask = one.ask(cost, 5, false, account.moment());
            let trip = one.step(cost.into(), Some(&ask), account.time());
            let value = account.run(STEP, &trip);
            let is_granted =
                one.on_step(trip, Some(&ask), &value).unwrap().outcome == StepOutcome::Granted;
            if is_granted {
                one.end(ask.number, account.moment(), account.moment());
                let trip = one.step(cost.into(), None, account.time());
                let value = account.run(STEP, &trip);
                one.on_step(trip, None, &value).unwrap();
            }
            is_granted
        };
        assert!(ask(account), "{lane}");
        (0..=1001).find(|_| {
            let is_granted = ask(account);
            account.wait(if is_granted { 0.0 } else { 0.001 });
            is_granted
        })
    };
    assert_eq!(granted_after(&mut account, 0), Some(900));
    // The other lane has no credit, and now uses the budget.
    assert_eq!(granted_after(&mut account, 1), Some(1000));
    assert_eq!(granted_after(&mut account, 0), Some(1000));
}

#[test]
fn a_route_that_a_process_refuses_is_a_hint_to_the_others_until_it_recovers_or_is_silent() {
    let Some(mut account) = Account::start() else { return };
    let quota = Quota::per_second(1);
    let (mut one, mut other) = (member("one", quota.windows()), member("other", quota.windows()));
    let say = |account: &mut Account, member: &mut Member, routes: &[&str]| {
        let of = |route: &&str| RefusedRoute { lane: "l".to_owned(), route: (*route).to_owned() };
        let refused: Vec<_> = routes.iter().map(of).collect();
        let trip = member.beat(&Say { refused: &refused, ..silent() }, account.time());
        let value = account.run(BEAT, &trip);
        let heard = member.on_beat(&trip, &value).unwrap().refused;
        heard.into_iter().map(|refused| refused.route).collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    // No name of a route breaks the format, and one that cannot be written is left out.
    let routes = ["GET /orders/{id}", "bad\nroute", "place order"];
    assert_eq!(say(&mut account, &mut one, &routes), nothing);
    assert_eq!(say(&mut account, &mut other, &[]), ["GET /orders/{id}", "place order"]);
    assert_eq!(say(&mut account, &mut one, &["place order"]), nothing);
    assert_eq!(say(&mut account, &mut other, &["quotes"]), ["place order"]);
    assert_eq!(say(&mut account, &mut one, &[]), ["quotes"]);
    assert_eq!(say(&mut account, &mut other, &[]), nothing);
    assert_eq!(say(&mut account, &mut one, &["quotes"]), nothing);
    account.wait(3.1);
    assert_eq!(say(&mut account, &mut other, &[]), nothing);
}
