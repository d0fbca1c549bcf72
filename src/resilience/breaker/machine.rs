//! The states of the circuit breaker and their transitions.
//!
//! ```text
//!            enough calls failed               the open time is over, and a call comes
//!   closed ----------------> open ----------------------------------------------> half open
//!      ^                      ^                                                    |     |
//!      |                      +------ a probe failed, or did not return in time ---+     |
//!      +------------------------------- enough probes succeeded -------------------------+
//! ```
//!
//! An exit is admitted in every state, see [`CircuitBreaker::admit_exit`]. An exit that succeeds
//! while the breaker is open ends the open state at once, because the broker can be reached. A
//! failed exit then changes nothing.
//!
//! No timer runs. Transitions due by time are applied by the next method call, as of the moment at
//! which they were due. Each transition begins a new generation, and outcomes of older generations
//! are ignored.

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

/// A circuit breaker: a pure state machine whose methods take the current time.
///
/// If the time passed in goes back, the latest time so far counts.
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
/// // Two failures in a row open it, and a rejected caller gets the time to come back.
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
    /// How many times it has opened since it was last closed for a whole window.
    times_opened: u32,
    /// The start of the last failed half-open period, unless the breaker has been closed since.
    last_failed_half_open: Option<Moment>,
    /// Whether only a hint opened it, and not enough of its own calls.
    is_hinted: bool,
    random: u64,
    latest: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed(ClosedStats),
    Open { until: Moment },
    HalfOpen(HalfOpen),
}

/// The statistics of the closed state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClosedStats {
    closed_since: Moment,
    recent: RollingCounter<CallCounts>,
    /// The number of failures in a row up to now.
    failures_in_a_row: u32,
}

impl CircuitBreaker {
    /// Creates a breaker in the closed state, unless the mode overrides it. `random` is uniformly
    /// distributed. It spreads the open times of breakers that open together.
    ///
    /// # Errors
    /// Fails if the policy is invalid, see [`BreakerPolicy::check`].
    pub fn new(config: BreakerPolicy, random: u64) -> Result<Self, PolicyError> {
        config.check()?;
        Ok(Self::from_checked(config, random))
    }

    /// Creates a breaker from a policy that was validated before.
    pub(crate) fn from_checked(config: BreakerPolicy, random: u64) -> Self {
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
            is_hinted: false,
            random,
            latest,
        }
    }

    /// Returns whether a call would be admitted now. Does not admit one.
    ///
    /// # Errors
    /// If it would not, with the time to come back.
    pub fn when(&mut self, now: Moment) -> Result<(), CallNotPermitted> {
        let now = self.advance_to(now);
        match (self.mode, &self.state) {
            (BreakerMode::ForcedOpen, _) => Err(CallNotPermitted::Forced),
            (BreakerMode::Automatic, State::Open { until }) if now < *until => {
                Err(CallNotPermitted::Open { until: *until })
            }
            (BreakerMode::Automatic, State::HalfOpen(half_open))
                if half_open.is_full(&self.config) =>
            {
                Err(CallNotPermitted::Probing { until: half_open.decision().0 })
            }
            _ => Ok(()),
        }
    }

    /// Admits or rejects a call. Call this right before the call is sent.
    ///
    /// # Errors
    /// If the call must not be sent, with the time to come back.
    pub fn admit(&mut self, now: Moment) -> Result<Admission, CallNotPermitted> {
        self.when(now)?;
        let now = self.latest;
        if matches!(self.state, State::Open { .. }) {
            self.set_state(State::HalfOpen(HalfOpen::new(&self.config, now)));
        }
        let probe = match &mut self.state {
            State::HalfOpen(half_open) => half_open.admit(&self.config, now),
            State::Closed(_) | State::Open { .. } => None,
        };
        Ok(Admission { generation: self.generation, probe })
    }

    /// Admits a call that must not be rejected to protect the broker, such as the cancellation of
    /// an order. It is a probe if one is due, and is admitted without being one otherwise. Its
    /// outcome counts in either case.
    ///
    /// # Errors
    /// If the breaker was forced open.
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
    /// // An exit is admitted, and its answer shows that the broker can be reached.
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

    /// Records the outcome of a call, and how long it took from dispatch to answer. For a call that
    /// was not sent after all, record [`CallOutcome::Ignored`].
    pub fn record(
        &mut self,
        admission: Admission,
        now: Moment,
        outcome: CallOutcome,
        took: Duration,
    ) {
        self.record_with_hint(admission, now, outcome, took, false);
    }

    /// Does the same. With a hint there is other evidence that the broker fails, and one failure opens the breaker, if failures
    /// can. Returns whether that has opened it, and its own calls would not have.
    pub(crate) fn record_with_hint(
        &mut self,
        admission: Admission,
        now: Moment,
        outcome: CallOutcome,
        took: Duration,
        is_hinted: bool,
    ) -> bool {
        let now = self.advance_to(now);
        if admission.generation != self.generation || self.mode == BreakerMode::Disabled {
            return false;
        }
        let slow = self.config.is_slow(took);
        match &mut self.state {
            State::Closed(stats) => {
                stats.record_outcome(now, outcome, slow);
                let counts = stats.counts(now);
                let is_confirmed =
                    is_hinted && outcome == CallOutcome::Failure && self.config.counts_failures();
                let trips = outcome != CallOutcome::Ignored
                    && self.config.trips(&counts, stats.failures_in_a_row);
                if (trips || is_confirmed) && self.mode == BreakerMode::Automatic {
                    self.is_hinted = !trips;
                    self.open(now);
                    return self.is_hinted;
                }
            }
            State::HalfOpen(half_open) => {
                half_open.on_probe_returned(admission.probe);
                match outcome {
                    CallOutcome::Ignored => {}
                    CallOutcome::Success if !slow => {
                        if half_open.on_success(&self.config) {
                            self.close(now);
                        }
                    }
                    CallOutcome::Success | CallOutcome::Failure => self.open(now),
                }
            }
            // Opening began a generation in which only exits were admitted.
            State::Open { .. } => {
                if outcome == CallOutcome::Success && !slow {
                    let mut half_open = HalfOpen::new(&self.config, now);
                    match half_open.on_success(&self.config) {
                        true => self.close(now),
                        false => self.set_state(State::HalfOpen(half_open)),
                    }
                }
            }
        }
        false
    }

    /// Returns whether its own calls say now that the broker fails: they have opened it, and it refuses or probes. A breaker that
    /// a hint opened says nothing of its own, or two breakers would keep each other open. Nor does one that no call has tried
    /// since its open time, or it would say so for as long as none comes.
    #[cfg(feature = "redis")]
    pub(crate) fn is_evidence(&mut self, now: Moment) -> bool {
        let now = self.advance_to(now);
        let is_tried = match &self.state {
            State::Closed(_) => false,
            State::Open { until } => now < *until,
            State::HalfOpen(_) => true,
        };
        is_tried && !self.is_hinted && self.mode == BreakerMode::Automatic
    }

    /// Returns the next moment after `now` at which time alone changes the result of
    /// [`when`](Self::when), if there is one.
    pub fn next_change(&mut self, now: Moment) -> Option<Moment> {
        let now = self.advance_to(now);
        match &self.state {
            State::Open { until } if *until > now => Some(*until),
            State::HalfOpen(half_open) => Some(half_open.decision().0),
            State::Open { .. } | State::Closed(_) => None,
        }
    }

    /// Returns the current state. Forced open counts as open, forced closed and disabled as closed.
    pub fn state(&mut self, now: Moment) -> BreakerState {
        let now = self.advance_to(now);
        match (self.mode, &self.state) {
            (BreakerMode::ForcedOpen, _) => BreakerState::Open,
            (_, State::Closed(_)) => BreakerState::Closed,
            (_, State::Open { until }) if now < *until => BreakerState::Open,
            (_, State::Open { .. } | State::HalfOpen(_)) => BreakerState::HalfOpen,
        }
    }

    /// Returns the counts of the window while the breaker is closed, otherwise zeros.
    pub fn counts(&mut self, now: Moment) -> CallCounts {
        let now = self.advance_to(now);
        match &mut self.state {
            State::Closed(stats) => stats.counts(now),
            State::Open { .. } | State::HalfOpen(_) => CallCounts::default(),
        }
    }

    /// Returns the start of the last half-open period that failed, unless the breaker has been
    /// closed since. An inconclusive period does not count.
    pub(crate) fn last_failed_half_open(&self) -> Option<Moment> {
        self.last_failed_half_open
    }

    /// Returns the mode.
    pub fn mode(&self) -> BreakerMode {
        self.mode
    }

    /// Sets the mode and closes the breaker. Discards the statistics, and outcomes of calls in
    /// flight are ignored.
    pub fn set_mode(&mut self, mode: BreakerMode, now: Moment) {
        let now = self.advance_to(now);
        self.mode = mode;
        self.times_opened = 0;
        self.close(now);
    }

    /// Applies the transitions that time has decided since the last call. Returns the latest time.
    fn advance_to(&mut self, now: Moment) -> Moment {
        self.latest = self.latest.max(now);
        if let State::HalfOpen(half_open) = &self.state {
            let (at, verdict) = half_open.decision();
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

    /// Opens for longer than the last time, unless the breaker was closed for a whole window.
    fn open(&mut self, now: Moment) {
        match &self.state {
            State::Closed(stats) if now.since(stats.closed_since) >= self.config.window => {
                self.times_opened = 0
            }
            State::HalfOpen(half_open) => self.last_failed_half_open = Some(half_open.started_at),
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
    fn new(config: &BreakerPolicy, closed_since: Moment) -> Self {
        Self { closed_since, recent: RollingCounter::new(config.window), failures_in_a_row: 0 }
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
