//! The breaker against a plain model that evaluates the whole history.

use lanekeeper::quota::Moment;
use lanekeeper::resilience::{Admission, BreakerState, CallCounts, CallOutcome, CircuitBreaker};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::days::{Settings, Step, at, ms, settings, steps};

/// A plain model of the breaker: naive, eager, and with the whole history at hand.
struct Model {
    settings: Settings,
    state: ModelState,
    /// Counts the changes of state.
    generation: u32,
    /// Every outcome ever: in which generation, when, whether it failed, and whether it was slow.
    history: Vec<(u32, u64, bool, bool)>,
    /// How often it opened since it last was closed for a window.
    opened: u32,
    closed_at: u64,
}

#[derive(Debug, Clone)]
enum ModelState {
    Closed,
    /// Since when. Until when is random, within bounds, and learned from the breaker.
    Open {
        since: u64,
        until: Option<Moment>,
    },
    /// Since when, and when each probe in flight was sent.
    HalfOpen {
        since: u64,
        probes: Vec<(usize, u64)>,
        succeeded: u32,
    },
}

impl Model {
    fn new(settings: Settings) -> Self {
        let history = Vec::new();
        Self {
            settings,
            state: ModelState::Closed,
            generation: 0,
            history,
            opened: 0,
            closed_at: 0,
        }
    }

    fn enter(&mut self, state: ModelState) {
        self.state = state;
        self.generation += 1;
    }

    fn open(&mut self, now: u64) {
        if matches!(self.state, ModelState::Closed) && now - self.closed_at >= self.settings.window
        {
            self.opened = 0;
        }
        self.opened += 1;
        self.enter(ModelState::Open { since: now, until: None });
    }

    fn close(&mut self, now: u64) {
        self.closed_at = now;
        self.enter(ModelState::Closed);
    }

    /// Returns the moment at which the half-open period is decided by time, and how.
    fn decided(&self) -> Option<(u64, &'static str)> {
        let ModelState::HalfOpen { since, probes, succeeded } = &self.state else { return None };
        let end = since + self.settings.max_half_open;
        let overdue = probes.iter().map(|(_, left)| left + self.settings.deadline).min();
        Some(match overdue.filter(|overdue| *overdue <= end) {
            Some(overdue) => (overdue, "failed"),
            None if *succeeded > 0 => (end, "worked"),
            None => (end, "nothing"),
        })
    }

    fn pass(&mut self, now: u64) {
        match self.decided().filter(|(moment, _)| *moment <= now) {
            Some((moment, "failed")) => self.open(moment),
            Some((moment, "worked")) => self.close(moment),
            Some((moment, _)) => self.enter(ModelState::Open { since: moment, until: None }),
            None => {}
        }
    }

    /// Learns how long the breaker is open, which is random, and checks the bounds.
    fn learn(&mut self, breaker: &mut CircuitBreaker, now: u64) -> Result<(), TestCaseError> {
        let factor = (1..self.opened)
            .fold(1_u64, |factor, _| (factor * u64::from(self.settings.growth)).min(1 << 30));
        let most = (self.settings.open_for * factor).min(self.settings.max_open);
        let ModelState::Open { since, until: until @ None } = &mut self.state else {
            return Ok(());
        };
        let (least, most) = (at(*since) + ms(most) * 3 / 4, at(*since) + ms(most));
        match breaker.next_change(at(now)) {
            Some(moment) => {
                prop_assert!(least <= moment && moment <= most, "{least:?} {moment:?} {most:?}");
                prop_assert!(moment > at(now));
                *until = Some(moment);
            }
            None => {
                prop_assert!(least <= at(now));
                *until = Some(at(now));
            }
        }
        Ok(())
    }

    fn counts(&self, now: u64) -> (u32, u32, u32, u32) {
        let bucket = |at: u64| at / (self.settings.window / 10);
        let now_known = |(generation, ..): &&(u32, u64, bool, bool)| *generation == self.generation;
        let known: Vec<_> = self.history.iter().filter(now_known).collect();
        let lately = || known.iter().filter(|(_, at, ..)| bucket(*at) + 10 > bucket(now));
        let run = known.iter().rev().take_while(|(_, _, failed, _)| *failed).count();
        (
            lately().count() as u32,
            lately().filter(|(_, _, failed, _)| *failed).count() as u32,
            lately().filter(|(_, _, _, slow)| *slow).count() as u32,
            run as u32,
        )
    }

    fn record(&mut self, call: usize, generation: u32, now: u64, outcome: CallOutcome, took: u64) {
        if generation != self.generation {
            return;
        }
        let slow = self.settings.slow.is_some_and(|(after, _)| took >= after);
        let failed = outcome == CallOutcome::Failure;
        match &mut self.state {
            ModelState::Closed => {
                if outcome == CallOutcome::Ignored {
                    return;
                }
                self.history.push((generation, now, failed, slow));
                let (calls, failures, slows, run) = self.counts(now);
                let share = |of: u32| f64::from(of) * 100.0 / f64::from(calls);
                let percent =
                    |set: Option<u32>, of| set.is_some_and(|set| share(of) >= f64::from(set));
                let enough = calls >= self.settings.minimum;
                let slow_set = self.settings.slow.map(|(_, percent)| percent);
                if self.settings.run.is_some_and(|most| run >= most)
                    || enough && percent(self.settings.failures, failures)
                    || enough && percent(slow_set, slows)
                {
                    self.open(now);
                }
            }
            ModelState::HalfOpen { probes, succeeded, .. } => {
                probes.retain(|(probe, _)| *probe != call);
                match outcome {
                    CallOutcome::Ignored => {}
                    _ if failed || slow => self.open(now),
                    _ => {
                        *succeeded += 1;
                        if *succeeded == self.settings.probes {
                            self.close(now);
                        }
                    }
                }
            }
            // An exit: no other call was let through.
            ModelState::Open { .. } if outcome == CallOutcome::Success && !slow => {
                match self.settings.probes {
                    1 => self.close(now),
                    _ => {
                        let (since, probes, succeeded) = (now, Vec::new(), 1);
                        self.enter(ModelState::HalfOpen { since, probes, succeeded });
                    }
                }
            }
            ModelState::Open { .. } => {}
        }
    }

    /// Lets a call through as the breaker should. Returns whether it is a probe.
    fn admit(&mut self, call: usize, now: u64) -> Option<bool> {
        if let ModelState::Open { until: Some(until), .. } = self.state {
            if at(now) < until {
                return None;
            }
            self.enter(ModelState::HalfOpen { since: now, probes: Vec::new(), succeeded: 0 });
        }
        match &mut self.state {
            ModelState::HalfOpen { probes, .. }
                if probes.len() == self.settings.probes as usize =>
            {
                None
            }
            ModelState::HalfOpen { probes, .. } => {
                probes.push((call, now));
                Some(true)
            }
            _ => Some(false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_does_as_a_plain_model_of_the_whole_history(
        settings in settings(), steps in steps(), random in any::<u64>(),
    ) {
        let (mut breaker, mut model) = (settings.breaker(random), Model::new(settings));
        let mut out: Vec<(Admission, usize, u32)> = Vec::new();
        let mut now = 0_u64;
        for (call, step) in steps.into_iter().enumerate() {
            if let Step::Wait { millis } = step {
                now += millis;
            }
            model.pass(now);
            model.learn(&mut breaker, now)?;
            match step {
                Step::Wait { .. } => {}
                Step::Admit => {
                    let may = breaker.when(at(now));
                    let expected = model.admit(call, now);
                    match breaker.admit(at(now)) {
                        Ok(admission) => {
                            prop_assert_eq!(may, Ok(()));
                            prop_assert_eq!(expected, Some(admission.is_probe()));
                            out.push((admission, call, model.generation));
                        }
                        Err(refused) => {
                            prop_assert_eq!((may, expected), (Err(refused), None));
                        }
                    }
                }
                Step::Exit => {
                    let is_probe = model.admit(call, now).unwrap_or(false);
                    let admission = breaker.admit_exit(at(now)).unwrap();
                    prop_assert_eq!(is_probe, admission.is_probe());
                    out.push((admission, call, model.generation));
                }
                Step::Finish { which, outcome, took } if !out.is_empty() => {
                    let (admission, call, generation) = out.swap_remove(which.index(out.len()));
                    model.record(call, generation, now, outcome, took);
                    breaker.record(admission, at(now), outcome, ms(took));
                }
                Step::Lose { which } if !out.is_empty() => {
                    drop(out.swap_remove(which.index(out.len())));
                }
                Step::Finish { .. } | Step::Lose { .. } => {}
            }
            model.learn(&mut breaker, now)?;
            let state = match &model.state {
                ModelState::Closed => BreakerState::Closed,
                ModelState::Open { until, .. } if until.is_some_and(|until| at(now) < until) => {
                    BreakerState::Open
                }
                ModelState::Open { .. } | ModelState::HalfOpen { .. } => BreakerState::HalfOpen,
            };
            prop_assert_eq!(breaker.state(at(now)), state);
            if state == BreakerState::Closed {
                let CallCounts { calls, failures, slow, .. } = breaker.counts(at(now));
                let (all, failed, slowly, _) = model.counts(now);
                prop_assert_eq!((calls, failures, slow), (all, failed, slowly));
                prop_assert_eq!(breaker.next_change(at(now)), None);
            }
            if let Some((decided, _)) = model.decided() {
                prop_assert_eq!(breaker.next_change(at(now)), Some(at(decided)));
            }
        }
    }
}
