//! What is retried, and when: a write never twice by guess, nothing before the requested wait, and never more than
//! the budget.

use std::time::Duration;

use lanekeeper::Effect;
use lanekeeper::ErrorClass;
use lanekeeper::quota::Moment;
use lanekeeper::resilience::{RetryBudget, RetryPolicy};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A policy, and its base delay and its maximum delay in milliseconds.
fn policies() -> impl Strategy<Value = (RetryPolicy, u64, u64)> {
    (1..=20_u32, 1..=2000_u64, 0..=60_000_u64, 1..=86_400_000_u64).prop_map(
        |(attempts, base, more, longest)| {
            let policy = RetryPolicy::default().attempts(attempts).base_delay(ms(base));
            (policy.max_delay(ms(base + more)).max_wait(ms(longest)), base, base + more)
        },
    )
}

fn classes() -> impl Strategy<Value = ErrorClass> {
    let waits = prop_oneof![0..=5_000_u64, 0..=200_000_000_u64];
    prop_oneof![
        waits.prop_map(|wait| ErrorClass::Throttled { retry_after: Some(ms(wait)) }),
        Just(ErrorClass::Throttled { retry_after: Some(Duration::MAX) }),
        Just(ErrorClass::Throttled { retry_after: None }),
        Just(ErrorClass::NotSent),
        Just(ErrorClass::Transient),
        Just(ErrorClass::Unknown),
        Just(ErrorClass::Rejected),
        Just(ErrorClass::Fatal),
    ]
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::Read), Just(Effect::Write)]
}

/// The random number of every attempt, with the extremes more often than by chance.
fn random_numbers() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_write_is_sent_again_only_if_it_surely_was_not_executed(
        (policy, ..) in policies(), class in classes(), attempt in 0..=25_u32, random in random_numbers(),
    ) {
        prop_assert_eq!(policy.check(), Ok(()));
        if policy.delay(class, Effect::Write, attempt, random).is_some() {
            let not_executed = matches!(class, ErrorClass::NotSent | ErrorClass::Throttled { .. });
            prop_assert!(not_executed, "{class:?}");
        }
    }

    #[test]
    fn what_was_refused_or_cannot_work_is_never_sent_again(
        (policy, ..) in policies(), effect in effects(), attempt in 0..=25_u32, random in random_numbers(),
    ) {
        for class in [ErrorClass::Rejected, ErrorClass::Fatal] {
            prop_assert_eq!(policy.delay(class, effect, attempt, random), None);
        }
    }

    #[test]
    fn a_read_is_asked_again_after_any_fault_until_the_last_attempt(
        (policy, ..) in policies(), attempts in 1..=20_u32, attempt in 1..=25_u32, random in random_numbers(),
    ) {
        let policy = policy.attempts(attempts);
        for class in [ErrorClass::NotSent, ErrorClass::Transient, ErrorClass::Unknown] {
            let again = policy.delay(class, Effect::Read, attempt, random).is_some();
            prop_assert_eq!(again, attempt < attempts);
        }
    }

    #[test]
    fn a_delay_is_within_its_bounds(
        (policy, base, cap) in policies(), class in classes(), effect in effects(),
        attempt in 1..=25_u32, random in random_numbers(),
    ) {
        let backoff = (0..attempt - 1).fold(base, |delay, _| (2 * delay).min(cap)).min(cap);
        let (min, max) = match class {
            ErrorClass::Throttled { retry_after: Some(asked) } => (asked, asked.saturating_add(ms(backoff))),
            ErrorClass::Throttled { retry_after: None } => (ms(backoff) / 2, ms(backoff)),
            _ => (Duration::ZERO, ms(backoff)),
        };
        if let Some(delay) = policy.delay(class, effect, attempt, random) {
            prop_assert!((min..max).contains(&delay), "{delay:?} of {min:?} to {max:?}");
        }
    }

    #[test]
    fn a_delay_is_as_wide_as_its_bounds((policy, base, _) in policies(), effect in effects()) {
        let policy = policy.attempts(2);
        let delay = |class, random| policy.delay(class, effect, 1, random).unwrap();
        let width = |class| delay(class, u64::MAX) - delay(class, 0) + Duration::from_nanos(1);
        prop_assert_eq!(width(ErrorClass::NotSent), ms(base));
        prop_assert_eq!(width(ErrorClass::Throttled { retry_after: None }), ms(base) / 2);
        prop_assert_eq!(width(ErrorClass::Throttled { retry_after: Some(ms(1)) }), ms(base));
    }

    #[test]
    fn nothing_is_sent_again_by_a_policy_without_retries(
        class in classes(), effect in effects(), attempt in 0..=25_u32, random in random_numbers(),
    ) {
        prop_assume!(attempt > 0);
        prop_assert_eq!(RetryPolicy::none().delay(class, effect, attempt, random), None);
    }

    /// Against a plain model that counts the whole history at each step.
    #[test]
    fn the_budget_holds_over_any_history(
        percent in 1..=100_u32, floor in 0..=5_u32, life in 10..=20_000_u64,
        steps in prop::collection::vec((any::<bool>(), prop_oneof![0..=20_u64, 0..=5_000_u64]), 0..400),
    ) {
        let life = life * 10; // Ten buckets of whole milliseconds.
        let policy = RetryPolicy::default()
            .budget_percent(percent)
            .budget_floor(floor)
            .budget_life(ms(life));
        let mut budget = RetryBudget::new(&policy).unwrap();
        let (mut calls, mut retries) = (Vec::new(), Vec::new());
        let mut now = 0_u64;
        for (call, pause) in steps {
            now += pause;
            let moment = Moment::ORIGIN + ms(now);
            if call {
                budget.deposit(moment);
                calls.push(now);
                continue;
            }
            let bucket = |at: u64| at / (life / 10);
            let lately = |of: &[u64]| of.iter().filter(|&&at| bucket(at) + 10 > bucket(now)).count();
            let earned = u64::from(floor) * 100 + lately(&calls) as u64 * u64::from(percent);
            let affordable = (lately(&retries) as u64 + 1) * 100 <= earned;
            prop_assert_eq!(budget.withdraw(moment), affordable);
            if affordable {
                retries.push(now);
            }
        }
        // In total: a share of all calls, and the floor for each life.
        let lives = now / (life / 10 * 9) + 1;
        let max = lives * u64::from(floor) * 100 + calls.len() as u64 * u64::from(percent);
        prop_assert!(retries.len() as u64 * 100 <= max);
    }
}
