//! The states of the breaker, and the ways between them.
//!
//! ```text
//!            enough failed                     the time is over, and a call comes
//!   closed ----------------> open ----------------------------------------------> half open
//!      ^                      ^                                                    |     |
//!      |                      +------- a probe failed, or did not come back -------+     |
//!      +------------------------------- enough probes succeeded -------------------------+
//! ```
//!
//! An exit is let through in every state: see [`CircuitBreaker::admit_exit`]. One that is answered while the breaker
//! is open ends that state at once, as the broker can be reached; one that is not changes nothing then.
//!
//! Nothing happens by itself: what time decides is made up for at the next look, as of the moment at
//! which it was due. Each change of state begins a new generation, and an outcome of an older one
//! changes nothing.

use std::time::Duration;

use super::half_open::{HalfOpen, ProbeVerdict};
use super::policy::BreakerPolicy;
use super::types::{
    Admission, BreakerMode, BreakerState, CallCounts, CallNotPermitted, CallOutcome,
};
use crate::quota::Moment;
use crate::resilience::random;
use crate::resilience::random::scale;
use crate::resilience::rolling::RollingCounter;
use crate::resilience::validate::PolicyError;

/// A circuit breaker at work. A pure state machine: every method is told the time.
///
/// Should the time it is told ever go back, it takes the latest that it has heard.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::Moment;
/// use lanekeeper::resilience::{CircuitBreaker, BreakerState, BreakerPolicy, CallOutcome, CallNotPermitted};
///
/// let config = BreakerPolicy::default().failures_in_a_row(Some(2)).probes(1);
/// let mut breaker = CircuitBreaker::new(config, 0)?;
/// let (now, took) = (Moment::ORIGIN, Duration::from_millis(40));
///
/// // Two failures in a row open it, and who comes then is told when to come back.
/// for _ in 0..2 {
///     let admission = breaker.admit(now).unwrap();
///     breaker.record(admission, now, CallOutcome::Failure, took);
/// }
/// let Err(CallNotPermitted::Open { until }) = breaker.admit(now) else { panic!("it is open") };
///
/// // Then one call is a probe, and closes it.
/// let probe = breaker.admit(until).unwrap();
/// assert!(breaker.admit(until).is_err());
/// breaker.record(probe, until + took, CallOutcome::Success, took);
/// assert_eq!(breaker.state(until + took), BreakerState::Closed);
/// # Ok::<(), lanekeeper::resilience::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitBreaker {
    config: BreakerPolicy,
    mode: BreakerMode,
    state: State,
    generation: u64,
    /// How many times it opened without having been closed for a window.
    times_opened: u32,
    /// When the last trial began that failed, unless it has been closed since.
    last_failed_half_open: Option<Moment>,
    random: u64,
    latest: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed(ClosedStats),
    Open { until: Moment },
    HalfOpen(HalfOpen),
}

/// What is seen of the calls while it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClosedStats {
    closed_since: Moment,
    recent: RollingCounter<CallCounts>,
    /// How many failed one after the other, up to now.
    failures_in_a_row: u32,
}

impl CircuitBreaker {
    /// Closed, unless the mode says otherwise. `luck` is any number; it spreads the times of
    /// breakers that open together.
    ///
    /// # Errors
    /// The settings make no sense, see [`BreakerPolicy::check`].
    pub fn new(config: BreakerPolicy, luck: u64) -> Result<Self, PolicyError> {
        config.check()?;
        Ok(Self::from_checked(config, luck))
    }

    /// Of settings that were checked.
    pub(crate) fn from_checked(config: BreakerPolicy, luck: u64) -> Self {
        let state = State::Closed(ClosedStats::new(&config, Moment::ORIGIN));
        let mode = config.mode;
        let latest = Moment::ORIGIN;
        Self {
            config,
            mode,
            state,
            generation: 0,
            times_opened: 0,
            last_failed_half_open: None,
            random: luck,
            latest,
        }
    }

    /// Whether a call would be let through now. Only looks.
    ///
    /// # Errors
    /// It would not; says when to come back.
    pub fn when(&mut self, now: Moment) -> Result<(), CallNotPermitted> {
        let now = self.advance_to(now);
        match (self.mode, &self.state) {
            (BreakerMode::ForcedOpen, _) => Err(CallNotPermitted::Forced),
            (BreakerMode::Automatic, State::Open { until }) if now < *until => {
                Err(CallNotPermitted::Open { until: *until })
            }
            (BreakerMode::Automatic, State::HalfOpen(trial)) if trial.is_full(&self.config) => {
                Err(CallNotPermitted::Probing { until: trial.decision().0 })
            }
            _ => Ok(()),
        }
    }

    /// Lets a call through, or not. Ask right before it is sent.
    ///
    /// # Errors
    /// It must not be sent; says when to come back.
    pub fn admit(&mut self, now: Moment) -> Result<Admission, CallNotPermitted> {
        self.when(now)?;
        let now = self.latest;
        if matches!(self.state, State::Open { .. }) {
            self.set_state(State::HalfOpen(HalfOpen::new(&self.config, now)));
        }
        let probe = match &mut self.state {
            State::HalfOpen(trial) => trial.admit(&self.config, now),
            State::Closed(_) | State::Open { .. } => None,
        };
        Ok(Admission { generation: self.generation, probe })
    }

    /// Lets a call through that must not be refused for the broker's sake, such as the cancellation of an
    /// order. It is a probe if one is due, and goes without being one if not: its outcome counts all the
    /// same.
    ///
    /// # Errors
    /// The breaker was forced open by hand.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lanekeeper::quota::Moment;
    /// use lanekeeper::resilience::{CircuitBreaker, BreakerState, BreakerPolicy, CallOutcome};
    ///
    /// let config = BreakerPolicy::default().failures_in_a_row(Some(1));
    /// let mut breaker = CircuitBreaker::new(config, 0)?;
    /// let (now, took) = (Moment::ORIGIN, Duration::from_millis(40));
    /// let call = breaker.admit(now).unwrap();
    /// breaker.record(call, now, CallOutcome::Failure, took);
    /// assert!(breaker.admit(now).is_err());
    ///
    /// // An exit goes, and its answer shows that the broker can be reached.
    /// let exit = breaker.admit_exit(now).unwrap();
    /// breaker.record(exit, now, CallOutcome::Success, took);
    /// assert_eq!(breaker.state(now), BreakerState::HalfOpen);
    /// # Ok::<(), lanekeeper::resilience::PolicyError>(())
    /// ```
    pub fn admit_exit(&mut self, now: Moment) -> Result<Admission, CallNotPermitted> {
        match self.admit(now) {
            Err(CallNotPermitted::Open { .. } | CallNotPermitted::Probing { .. }) => {
                Ok(Admission { generation: self.generation, probe: None })
            }
            admitted => admitted,
        }
    }

    /// What became of a call, and how long it took from dispatch to answer. A call that was not sent
    /// after all gives its admission back with [`CallOutcome::Ignored`].
    pub fn record(
        &mut self,
        admission: Admission,
        now: Moment,
        outcome: CallOutcome,
        took: Duration,
    ) {
        let now = self.advance_to(now);
        if admission.generation != self.generation || self.mode == BreakerMode::Disabled {
            return;
        }
        let slow = self.config.is_slow(took);
        match &mut self.state {
            State::Closed(watch) => {
                watch.record_outcome(now, outcome, slow);
                let counts = watch.counts(now);
                let trips = outcome != CallOutcome::Ignored
                    && self.config.trips(&counts, watch.failures_in_a_row);
                if trips && self.mode == BreakerMode::Automatic {
                    self.open(now);
                }
            }
            State::HalfOpen(trial) => {
                trial.on_probe_returned(admission.probe);
                match outcome {
                    CallOutcome::Ignored => {}
                    CallOutcome::Success if !slow => {
                        if trial.on_success(&self.config) {
                            self.close(now);
                        }
                    }
                    CallOutcome::Success | CallOutcome::Failure => self.open(now),
                }
            }
            // Opening began a generation in which nothing but exits was let through.
            State::Open { .. } => {
                if outcome == CallOutcome::Success && !slow {
                    let mut trial = HalfOpen::new(&self.config, now);
                    match trial.on_success(&self.config) {
                        true => self.close(now),
                        false => self.set_state(State::HalfOpen(trial)),
                    }
                }
            }
        }
    }

    /// When time alone will change what [`when`](Self::when) says, if it will: the next moment to look
    /// again. It lies after `now`.
    pub fn next_change(&mut self, now: Moment) -> Option<Moment> {
        let now = self.advance_to(now);
        match &self.state {
            State::Open { until } if *until > now => Some(*until),
            State::HalfOpen(trial) => Some(trial.decision().0),
            State::Open { .. } | State::Closed(_) => None,
        }
    }

    /// What it does at the moment. Forced open is open, forced closed and disabled are closed.
    pub fn state(&mut self, now: Moment) -> BreakerState {
        let now = self.advance_to(now);
        match (self.mode, &self.state) {
            (BreakerMode::ForcedOpen, _) => BreakerState::Open,
            (_, State::Closed(_)) => BreakerState::Closed,
            (_, State::Open { until }) if now < *until => BreakerState::Open,
            (_, State::Open { .. } | State::HalfOpen(_)) => BreakerState::HalfOpen,
        }
    }

    /// What was seen of the calls in the window, while it is closed. Nothing otherwise.
    pub fn counts(&mut self, now: Moment) -> CallCounts {
        let now = self.advance_to(now);
        match &mut self.state {
            State::Closed(watch) => watch.counts(now),
            State::Open { .. } | State::HalfOpen(_) => CallCounts::default(),
        }
    }

    /// When the last half-open state began, if it ended without success and the breaker has not been closed
    /// since.
    pub(crate) fn last_failed_half_open(&self) -> Option<Moment> {
        self.last_failed_half_open
    }

    /// Who decides.
    pub fn mode(&self) -> BreakerMode {
        self.mode
    }

    /// Says who decides from now on. What was seen so far is forgotten, and calls under way tell
    /// nothing any more.
    pub fn set_mode(&mut self, mode: BreakerMode, now: Moment) {
        let now = self.advance_to(now);
        self.mode = mode;
        self.times_opened = 0;
        self.close(now);
    }

    /// Makes up for what time has decided since the last look.
    fn advance_to(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        if let State::HalfOpen(trial) = &self.state {
            let (at, verdict) = trial.decision();
            if at <= self.latest {
                match verdict {
                    ProbeVerdict::Failed => self.open(at),
                    ProbeVerdict::Succeeded => self.close(at),
                    ProbeVerdict::Inconclusive => self.stay_open(at),
                }
            }
        }
        self.latest
    }

    fn close(&mut self, now: Moment) {
        self.last_failed_half_open = None;
        self.set_state(State::Closed(ClosedStats::new(&self.config, now)));
    }

    /// Opens for longer than the last time, unless that is long ago.
    fn open(&mut self, now: Moment) {
        match &self.state {
            State::Closed(watch) if now.since(watch.closed_since) >= self.config.window => {
                self.times_opened = 0
            }
            State::HalfOpen(trial) => self.last_failed_half_open = Some(trial.started_at),
            State::Closed(_) | State::Open { .. } => {}
        }
        self.times_opened = self.times_opened.saturating_add(1);
        self.stay_open(now);
    }

    fn stay_open(&mut self, now: Moment) {
        self.random = random::next(self.random);
        let time = self.config.open_duration(self.times_opened);
        let until = now + (time - scale(time / 4, self.random));
        self.set_state(State::Open { until });
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

impl ClosedStats {
    fn new(config: &BreakerPolicy, since: Moment) -> Self {
        Self {
            closed_since: since,
            recent: RollingCounter::new(config.window),
            failures_in_a_row: 0,
        }
    }

    fn record_outcome(&mut self, now: Moment, outcome: CallOutcome, slow: bool) {
        let failed = match outcome {
            CallOutcome::Ignored => return,
            CallOutcome::Success => false,
            CallOutcome::Failure => true,
        };
        self.failures_in_a_row = if failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        let seen = CallCounts { calls: 1, failures: failed.into(), slow: slow.into() };
        let bucket = self.recent.bucket_at(now);
        *bucket = bucket.plus(seen);
    }

    fn counts(&mut self, now: Moment) -> CallCounts {
        self.recent.buckets_until(now).fold(CallCounts::default(), CallCounts::plus)
    }
}
