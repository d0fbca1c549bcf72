//! A lane that is refused for coming too fast: one cut for many refusals, a pause that nothing shortens, the rate
//! that comes back, and never a call above the quota.
#![allow(clippy::unwrap_used)]

mod support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::{
    Cost, Moment, NotYet, PacingState, Permit, Quota, RttCredit, WallClockSample,
};
use lanekeeper::resilience::{SendStamp, Throttle, ThrottlePolicy};
use proptest::prelude::*;
use proptest::sample::Index;
use support::cases::cases;
use support::oracle::{Algorithm, refused};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Moment {
    Moment::ORIGIN + ms(millis)
}

/// Calls by the second or by the minute, with or without a longer window.
fn quotas() -> impl Strategy<Value = Quota> {
    let length = prop_oneof![200..=2_000_u64, Just(60_000)];
    (1..=40_u32, length, prop::option::of(100..=1000_u32)).prop_map(|(limit, length, hourly)| {
        let quota = Quota::new(limit, ms(length));
        match hourly {
            Some(limit) => quota.and(Quota::per_hour(limit)),
            None => quota,
        }
    })
}

fn policies() -> impl Strategy<Value = ThrottlePolicy> {
    (1..=5_000_u64, 0..=600_000_u64, 1..=100_u32, 1..=100_u32, 1..=100_u32).prop_map(
        |(default, more, keep, step, least)| {
            let policy = ThrottlePolicy::default().default_pause(ms(default));
            policy
                .max_pause(ms(default + more))
                .keep_percent(keep)
                .step_percent(step)
                .min_percent(least)
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Send { weight: u32, waiting: bool },
    Refuse { which: Index, retry_after: Option<Duration> },
    Wait { millis: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let asked = prop_oneof![
        Just(None),
        (0..=10_000_u64).prop_map(|wait| Some(ms(wait))),
        Just(Some(Duration::MAX)),
    ];
    let step = prop_oneof![
        4 => (0..=3_u32, prop::bool::weighted(0.8))
            .prop_map(|(weight, waiting)| Step::Send { weight, waiting }),
        3 => (any::<Index>(), asked)
            .prop_map(|(which, retry_after)| Step::Refuse { which, retry_after }),
        3 => prop_oneof![0..=100_u64, 0..=3_000_u64, 0..=100_000_u64]
            .prop_map(|millis| Step::Wait { millis }),
    ];
    prop::collection::vec(step, 1..300)
}

/// Returns the calls a second that a quota allows beside the configured one, if it does not allow more.
fn cut_of(throttle: &Throttle, configured: &Quota) -> Option<f64> {
    let quota = throttle.quota();
    let windows = quota.windows();
    assert_eq!(&windows[..configured.windows().len()], configured.windows());
    let cut = windows.get(configured.windows().len())?;
    Some(f64::from(cut.limit) / cut.length.as_secs_f64())
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn whatever_happens_it_keeps_to_its_rules(
        policy in policies(), quota in quotas(), steps in steps(),
    ) {
        let mut throttle = Throttle::new(policy, quota.clone()).unwrap();
        let shortest = quota.windows()[0].length;
        let full = f64::from(quota.windows()[0].limit) / shortest.as_secs_f64();
        let mut out: Vec<SendStamp> = Vec::new();
        let (mut now, mut last_cut, mut rate) = (0_u64, None::<u64>, full);
        for step in steps {
            let paused = throttle.pause(at(now));
            let percent = throttle.percent();
            match step {
                Step::Wait { millis } => now += millis,
                Step::Send { weight, waiting } => {
                    out.push(throttle.on_send(at(now), weight, waiting));
                    prop_assert!(waiting || throttle.percent() == percent, "no caller waited");
                }
                Step::Refuse { which, retry_after } if !out.is_empty() => {
                    let send_stamp = out[which.index(out.len())];
                    throttle.on_throttled(send_stamp, at(now), retry_after);
                    let until = throttle.pause(at(now));
                    prop_assert!(until >= paused, "a pause must not become shorter");
                    let asked = retry_after.filter(|asked| *asked < ms(1_000_000));
                    // As long as the broker asked for, within the policy's bound.
                    if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
                        let least = throttle_pause(policy, asked);
                        prop_assert!(until >= Some(at(now) + least));
                    }
                    prop_assert!(throttle.percent() <= percent, "a refusal gives nothing back");
                }
                Step::Refuse { .. } => {}
            }
            let cut = cut_of(&throttle, &quota);
            prop_assert!(cut.is_none_or(|cut| cut <= full * 1.000_001), "above the quota");
            prop_assert_eq!(throttle.quota().check(), Ok(()));
            if throttle.percent() < percent {
                let since = last_cut.map(|last| ms(now - last));
                prop_assert!(since.is_none_or(|since| since >= shortest), "two cuts in a window");
                last_cut = Some(now);
            }
            // `take_new_quota` returns every change of the percentage.
            match throttle.take_new_quota() {
                Some(quota) => prop_assert_eq!(quota, throttle.quota()),
                None => prop_assert_eq!(cut.unwrap_or(full), rate),
            }
            rate = cut.unwrap_or(full);
        }
    }

    #[test]
    fn many_refusals_cut_once_and_a_shorter_wait_does_not_shorten_the_pause(
        quota in quotas(), mut waits in prop::collection::vec(prop::option::of(0..20_000_u64), 1..60),
        round_trip in 0..30_000_u64,
    ) {
        let mut throttle = Throttle::new(ThrottlePolicy::default(), quota).unwrap();
        let out: Vec<_> = waits.iter().map(|_| throttle.on_send(at(0), 1, true)).collect();
        let mut percents = vec![throttle.percent()];
        let (mut max_pause, mut now) = (0, round_trip);
        for (send_stamp, wait) in out.into_iter().zip(waits.drain(..)) {
            throttle.on_throttled(send_stamp, at(now), wait.map(ms));
            max_pause = max_pause.max(now + wait.unwrap_or(1000));
            prop_assert_eq!(throttle.pause(at(now)), (max_pause > now).then(|| at(max_pause)));
            percents.push(throttle.percent());
            now += 777; // Far longer than most windows: they all left before the first cut.
        }
        percents.dedup();
        prop_assert!(percents.len() <= 2, "{percents:?}");
    }

    #[test]
    fn the_rate_comes_back_while_calls_wait(
        policy in policies(), quota in quotas(), steps in steps(),
    ) {
        let mut throttle = Throttle::new(policy, quota.clone()).unwrap();
        let (mut now, mut out) = (0_u64, Vec::new());
        for step in steps {
            match step {
                Step::Wait { millis } => now += millis,
                Step::Send { weight, waiting } => out.push(throttle.on_send(at(now), weight, waiting)),
                Step::Refuse { which, retry_after } if !out.is_empty() => {
                    throttle.on_throttled(out[which.index(out.len())], at(now), retry_after);
                }
                Step::Refuse { .. } => {}
            }
        }
        now = now.max(throttle.pause(at(now)).unwrap_or_default().as_nanos() / 1_000_000 + 1);
        // A hundred steps at the most, and each window as long as the rate is low.
        let mut windows = 0;
        while throttle.percent() < 100 || throttle.quota() != quota {
            throttle.on_send(at(now), 1, true);
            let cut = throttle.quota().windows().last().unwrap().length;
            now += cut.min(ms(24 * 3_600_000)).as_millis() as u64 + 1;
            windows += 1;
            prop_assert!(windows <= 102, "{throttle:?}");
        }
    }

    /// A lane that always has calls, a path, and a broker that for a while admits fewer than it documents: the exact
    /// oracle counts what arrives.
    #[test]
    fn a_throttled_lane_is_never_over_its_quota_and_comes_back(
        limit in 1..=20_u32, share in 10..=90_u32, round_trip in 0..=1_500_u64,
        in_flight in 1..=16_usize, phase in any::<u32>(),
    ) {
        let quota = Quota::per_second(limit);
        let stats = saturate(&quota, limit * share / 100, ms(round_trip), in_flight);
        let second = 1_000_000_000;
        for algorithm in [
            Algorithm::SlidingLog, Algorithm::FixedWindow { phase: phase.into() }, Algorithm::TokenBucket,
        ] {
            prop_assert_eq!(refused(&stats.arrivals, limit, second, algorithm), 0);
        }
        prop_assert_eq!(stats.sent_while_paused, 0);
        for cuts in stats.cuts.windows(2) {
            prop_assert!(cuts[1] - cuts[0] >= second);
        }
        prop_assert_eq!(stats.percent_in_the_end, 100);
    }
}

/// Returns the requested wait, limited to the policy's maximum pause as the policy would.
fn throttle_pause(policy: ThrottlePolicy, asked: Duration) -> Duration {
    let mut fresh = Throttle::new(policy, Quota::unlimited()).unwrap();
    let send_stamp = fresh.on_send(at(0), 1, false);
    fresh.on_throttled(send_stamp, at(0), Some(Duration::MAX));
    let max_pause = fresh.pause(at(0)).unwrap().since(at(0));
    asked.min(max_pause)
}

#[derive(Debug, Default)]
struct RunStats {
    arrivals: Vec<u64>,
    cuts: Vec<u64>,
    sent_while_paused: usize,
    percent_in_the_end: u32,
}

/// Runs five virtual minutes. In the first, the broker admits `admits` calls in a second and refuses the others,
/// with a wait of 2 s for every third. Then it admits what it documents.
fn saturate(quota: &Quota, admits: u32, round_trip: Duration, in_flight: usize) -> RunStats {
    const BAD: u64 = 60_000_000_000;
    const END: u64 = 300_000_000_000;
    let wall = WallClockSample { moment: Moment::ORIGIN, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacing_state = PacingState::new(wall);
    let lane = pacing_state.add_lane(quota, RttCredit::STRICT).unwrap();
    let mut throttle = Throttle::new(ThrottlePolicy::default(), quota.clone()).unwrap();
    let mut stats = RunStats::default();
    let mut admitted: Vec<u64> = Vec::new();
    let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut calls: Vec<Option<(Permit, SendStamp, bool)>> = Vec::new();
    let (mut now, mut paused_until) = (0_u64, Moment::ORIGIN);
    while now < END {
        let moment = Moment::from_nanos(now);
        while let Some(&Reverse((answer, call))) = answers.peek().filter(|next| next.0.0 <= now) {
            answers.pop();
            let (permit, send_stamp, ok) = calls[call].take().unwrap();
            pacing_state.finish(permit, Moment::from_nanos(answer));
            if !ok {
                let before = throttle.percent();
                let asked = (call % 3 == 0).then_some(ms(2000));
                paused_until = paused_until.max(moment + asked.unwrap_or(ms(1000)));
                throttle.on_throttled(send_stamp, moment, asked);
                if throttle.percent() < before {
                    stats.cuts.push(now);
                }
            }
        }
        if let Some(quota) = throttle.take_new_quota() {
            pacing_state.set_lane(lane, &quota, moment).unwrap();
        }
        let answer = answers.peek().map_or(END, |next| next.0.0);
        let next = match throttle.pause(moment) {
            Some(until) => until.as_nanos(),
            None if answers.len() == in_flight => END,
            None => match pacing_state.take(Cost::to_lane(lane), moment) {
                Ok(permit) => {
                    stats.sent_while_paused += usize::from(moment < paused_until);
                    let send_stamp = throttle.on_send(moment, 1, true);
                    let arrival = now + round_trip.as_nanos() as u64 / 2;
                    let lately =
                        admitted.iter().rev().take_while(|at| arrival - **at < 1_000_000_000);
                    let ok = arrival > BAD || (lately.count() as u32) < admits;
                    if ok {
                        admitted.push(arrival);
                    }
                    stats.arrivals.push(arrival);
                    answers.push(Reverse((now + round_trip.as_nanos() as u64, calls.len())));
                    calls.push(Some((permit, send_stamp, ok)));
                    now
                }
                Err(NotYet::Until(until)) => until.as_nanos(),
                Err(_) => END,
            },
        };
        now = next.min(answer).max(now);
    }
    stats.percent_in_the_end = throttle.percent();
    stats
}
