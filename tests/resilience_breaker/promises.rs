//! The main promises of a breaker, one by one, for all settings and all random numbers.

use std::time::Duration;

use lanekeeper::resilience::{Admission, BreakerMode, BreakerState, CallNotPermitted, CallOutcome};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::days::{QUICK, Settings, at, ms, opened, outcomes, run, settings, steps};

const NANO: Duration = Duration::from_nanos(1);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// Refused at every instant before, and no more at exactly that instant.
    #[test]
    fn a_refusal_names_the_moment_to_come_back(
        settings in settings(), steps in steps(), random in any::<u64>(), early in 0..1000_u64,
    ) {
        let mut breaker = settings.breaker(random);
        let now = run(&mut breaker, steps, 0).0;
        let Err(refused) = breaker.when(at(now)) else { return Ok(()) };
        let until = refused.until().unwrap();
        prop_assert!(until > at(now));
        let gap = until.since(at(now));
        let before = at(now) + (gap - NANO) * (early as u32) / 1000;
        prop_assert_eq!(breaker.clone().when(before), Err(refused));
        prop_assert_eq!(breaker.clone().when(until - NANO), Err(refused));
        prop_assert_eq!(breaker.next_change(at(now)), Some(until));
        match breaker.when(until) {
            Ok(()) => {}
            // The probes opened it again: for a while longer.
            Err(CallNotPermitted::Open { until: later }) => {
                let probing = matches!(refused, CallNotPermitted::Probing { .. });
                prop_assert!(probing && later > until);
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn what_comes_back_late_changes_nothing(
        settings in settings(), before in steps(), between in steps(), random in any::<u64>(),
        outcome in outcomes(), took in 0..=400_u64,
    ) {
        let mut breaker = settings.breaker(random);
        let (now, late) = run(&mut breaker, before, 0);
        // After that, the breaker has changed its state at least once.
        breaker.set_mode(BreakerMode::Automatic, at(now));
        let (now, _) = run(&mut breaker, between, now);
        let _ = breaker.state(at(now));
        for admission in late {
            let as_it_was = breaker.clone();
            breaker.record(admission, at(now), outcome, ms(took));
            prop_assert_eq!(&breaker, &as_it_was);
        }
    }

    #[test]
    fn half_open_lets_the_configured_probes_through_and_no_more(
        settings in settings(), random in any::<u64>(), callers in 1..=64_usize,
    ) {
        let (mut breaker, opened) = opened(settings, random);
        let admitted: Vec<_> = (0..callers).filter_map(|_| breaker.admit(opened).ok()).collect();
        prop_assert_eq!(admitted.len(), callers.min(settings.probes as usize));
        prop_assert!(admitted.iter().all(Admission::is_probe));
    }

    #[test]
    fn a_cancelled_probe_gives_its_permit_back_and_no_verdict(
        settings in settings(), random in any::<u64>(), cancelled in 1..=64_usize,
    ) {
        let (mut breaker, mut now) = opened(settings, random);
        for _ in 0..cancelled {
            let probe = breaker.admit(now).unwrap();
            // Not so long that the half-open period ends.
            now = now + ms(settings.max_half_open.min(settings.deadline)) / 100;
            breaker.record(probe, now, CallOutcome::Ignored, Duration::MAX);
            prop_assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        }
        let permits = (0..100).take_while(|_| breaker.admit(now).is_ok()).count();
        prop_assert_eq!(permits, settings.probes as usize);
    }

    /// The others close the breaker long before the deadline of the one that hangs.
    #[test]
    fn one_hung_probe_blocks_no_other(
        settings in settings(), random in any::<u64>(), probes in 2..=5_u32,
    ) {
        let settings = Settings { probes, slow: None, ..settings };
        let (mut breaker, now) = opened(settings, random);
        let hung = breaker.admit(now).unwrap();
        for _ in 0..probes {
            let probe = breaker.admit(now).unwrap();
            breaker.record(probe, now, CallOutcome::Success, QUICK);
        }
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
        // And its late result changes nothing.
        let late = now + ms(settings.deadline);
        breaker.record(hung, late, CallOutcome::Failure, ms(settings.deadline));
        prop_assert_eq!(breaker.counts(late).calls, 0);
        prop_assert!(breaker.admit(late).is_ok());
    }

    /// Even if all of them hang for ever, again and again: each half-open period is decided, and the next one probes
    /// again.
    #[test]
    fn hung_probes_never_block_for_longer_than_their_deadline(
        settings in settings(), random in any::<u64>(),
    ) {
        let (mut breaker, mut now) = opened(settings, random);
        for _ in 0..20 {
            let _hung = breaker.admit(now).unwrap();
            let decided = breaker.next_change(now).unwrap();
            prop_assert!(decided <= now + ms(settings.deadline.min(settings.max_half_open)));
            let Err(CallNotPermitted::Open { until }) = breaker.when(decided) else {
                return Err(TestCaseError::fail("a hung probe must not close it"));
            };
            prop_assert!(until <= decided + ms(settings.max_open));
            now = until;
        }
    }
}
