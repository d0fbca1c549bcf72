//! How a status reads as text: the exact lines, and that their columns are aligned.

#![allow(clippy::unwrap_used)]
mod support;

use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, SharedMode, SharedQuotaStatus};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Budget, Limits, Quota};
use lanekeeper::{ErrorClass, Session};
use support::failing::{Fault, class, ended};
use support::lanes::{READ, WRITE, hold, options, priority, submit};

const ORDER: CallSpec = CallSpec { budgets: &[0], ..WRITE };
const QUOTE: CallSpec = CallSpec { lane: 1, ..READ };

/// Two lanes, and a budget of five calls a day, of which two are for urgent calls.
fn lanes(clock: &ManualClock) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["transactional", "quote"], &["orders"]);
    builder.lane(0, LaneConfig::new(Quota::per_second(10).and(Quota::per_minute(400))));
    builder.lane(1, LaneConfig::new(Quota::per_second(1)).in_flight(1).queue(100));
    builder.budget(0, Budget::new(Quota::per_day(5)).reserve(2));
    builder.clock(clock.clone().into());
    builder.session(Session::new());
    builder.build(Limits::new()).unwrap()
}

#[test]
fn each_lane_and_each_budget_has_an_aligned_line() {
    let lanes = lanes(&ManualClock::new());
    submit(&lanes, ORDER, &options(), || ()).wait().unwrap();
    let held = hold(&lanes, QUOTE);
    let waiting = submit(&lanes, QUOTE, &options(), || ());
    let expected = [
        "transactional  running  queued 0/1024  in flight 0/10  wait 0s  breaker closed  left 9 of 10/s, 399 of 400/min",
        "quote          running  queued 1/100   in flight 1/1   wait 2s  breaker closed  left 0 of 1/s",
        "budget orders  left 4 of 5/day (2 for urgent calls)",
    ];
    assert_eq!(lanes.status().to_string(), expected.join("\n"));
    let lane =
        "quote  running  queued 1/100  in flight 1/1  wait 2s  breaker closed  left 0 of 1/s";
    assert_eq!(lanes.status().lane("quote").unwrap().to_string(), lane);
    assert!(waiting.cancel());
    held.let_go().wait().unwrap();
}

#[test]
fn a_spent_budget_says_when_the_next_call_can_be_sent() {
    let clock = ManualClock::new();
    let lanes = lanes(&clock);
    // The last two slots are for urgent calls.
    for _ in 0..5 {
        submit(&lanes, ORDER, &priority(1), || ()).wait().unwrap();
    }
    clock.advance(Duration::from_secs(5 * 3600));
    let status = lanes.status();
    let expected = "budget orders  left 0 of 5/day (2 for urgent calls)  next in 19h";
    assert_eq!(status.budget("orders").unwrap().to_string(), expected);
}

#[test]
fn a_line_ends_with_what_is_unusual() {
    let lanes = lanes(&ManualClock::new());
    let answered = |call, fault: Option<Fault>| {
        drop(lanes.call_spec(call, &options(), move || ended(fault), class));
    };
    let retry_after = Some(Duration::from_millis(2_500));
    (0..9).for_each(|_| answered(WRITE, None));
    answered(WRITE, Some(Some(ErrorClass::Throttled { retry_after })));
    answered(QUOTE, Some(Some(ErrorClass::Unauthorized)));
    let expected = [
        "transactional  running  queued 0/1024  in flight 0/10  wait 2.5s  breaker closed  \
         left 0 of 10/s, 390 of 400/min, 0 of 7/s (rate cut)  rate 70 %, paused for 2.5s",
        "quote          running  queued 0/100   in flight 0/1   wait 1s    breaker closed  left 0 of 1/s",
        "budget orders  left 5 of 5/day (2 for urgent calls)",
        "session        expired: the broker does not accept the credentials",
    ];
    assert_eq!(lanes.status().to_string(), expected.join("\n"));
}

#[cfg(feature = "paper")]
#[test]
fn a_cache_has_a_line_of_its_own() {
    use lanekeeper::{Broker, BrokerProxy, Instrument, PaperBroker};

    let clock = ManualClock::new();
    let paper = PaperBroker::builder().clock(clock.clone()).build().unwrap();
    let broker = BrokerProxy::builder(paper)
        .quote(LaneConfig::new(Quota::per_second(1)))
        .clock(clock)
        .quote_ttl(Duration::from_secs(5))
        .build()
        .unwrap();
    for _ in 0..4 {
        broker.ltp(&Instrument::new("NSE", "YESBANK")).unwrap();
    }
    let text = broker.status().to_string();
    let lines: Vec<_> = text.lines().skip(3).collect();
    let expected = [
        "budget orders  no quota",
        "quote cache    lookups 4  from memory 75 %  joined 0  requests 1  keys requested 1  failed 0  keys in memory 1",
    ];
    assert_eq!(lines, expected);
}

/// A process that does not know what was sent before it holds its quota, although all of it is left.
#[test]
fn a_quota_that_is_held_at_the_start_is_shown_as_held() {
    let lane = Quota::per_second(10).and(Quota::per_minute(400));
    let lanes = lanekeeper::proxy::LanesBuilder::new("Test", &["only"], &[]);
    let lanes = {
        let mut builder = lanes;
        builder.lane(0, LaneConfig::new(lane));
        builder.clock(ManualClock::new().into());
        builder.prior_usage(lanekeeper::PriorUsage::UNKNOWN);
        builder.build(lanekeeper::Limits::new()).unwrap()
    };
    let text = lanes.status().to_string();
    assert!(text.ends_with("left 10 of 10/s, 400 of 400/min  held for 1m 1s"), "{text}");
}

#[test]
fn a_shared_quota_has_a_line_that_says_how_it_is_shared() {
    let mut status = lanes(&ManualClock::new()).status();
    let mut shared = SharedQuotaStatus::default();
    shared.account = "account-1".to_owned();
    (shared.processes, shared.mode_for) = (3, Duration::from_secs(90));
    for (mode, line) in [
        (SharedMode::Shared, "account-1, 3 processes"),
        (SharedMode::Share, "account-1, Redis is away: this process keeps to its share for 1m 30s"),
        (SharedMode::Stopped, "account-1, Redis is away: only urgent calls are sent for 1m 30s"),
        (SharedMode::Returning, "account-1, Redis is back and is told what was sent, for 1m 30s"),
    ] {
        shared.mode = mode;
        status.shared = Some(shared.clone());
        let text = status.to_string();
        assert_eq!(text.lines().last().unwrap(), format!("shared quota   {line}"));
    }
}
