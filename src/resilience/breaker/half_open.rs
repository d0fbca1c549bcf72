//! The half-open state: a few probes and their outcomes. `machine.rs` owns it.
//!
//! Each probe has a deadline, and the half-open period has an end. So there is always a moment at
//! which the period is decided, even if no probe returns.

use super::policy::BreakerPolicy;
use crate::quota::Moment;

/// One half-open period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HalfOpen {
    pub(super) started_at: Moment,
    ends_at: Moment,
    /// The probes in flight, in the order of their deadlines.
    probes: Vec<PendingProbe>,
    probes_sent: u64,
    successes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PendingProbe {
    number: u64,
    deadline: Moment,
}

/// The outcome of a half-open period that passing time alone decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeVerdict {
    /// A probe did not return before its deadline.
    Failed,
    /// The period ended. At least one probe succeeded, and none failed.
    Succeeded,
    /// The period ended without an outcome of any probe.
    Inconclusive,
}

impl HalfOpen {
    pub(super) fn new(config: &BreakerPolicy, now: Moment) -> Self {
        let ends_at = now + config.max_half_open;
        Self { started_at: now, ends_at, probes: Vec::new(), probes_sent: 0, successes: 0 }
    }

    /// Admits one more probe, if the limit allows. Returns its number.
    pub(super) fn admit(&mut self, config: &BreakerPolicy, now: Moment) -> Option<u64> {
        if self.is_full(config) {
            return None;
        }
        let number = self.probes_sent;
        self.probes_sent += 1;
        self.probes.push(PendingProbe { number, deadline: now + config.probe_deadline });
        Some(number)
    }

    pub(super) fn is_full(&self, config: &BreakerPolicy) -> bool {
        self.probes.len() >= config.probes as usize
    }

    /// Removes a probe that returned, whatever its outcome.
    pub(super) fn on_probe_returned(&mut self, probe: Option<u64>) {
        self.probes.retain(|pending| Some(pending.number) != probe);
    }

    /// Counts a successful probe. Returns whether enough probes have succeeded.
    pub(super) fn on_success(&mut self, config: &BreakerPolicy) -> bool {
        self.successes += 1;
        self.successes >= config.probes
    }

    /// Returns when and how the period is decided if no further probe returns.
    pub(super) fn decision(&self) -> (Moment, ProbeVerdict) {
        match self.probes.first() {
            Some(probe) if probe.deadline <= self.ends_at => (probe.deadline, ProbeVerdict::Failed),
            _ if self.successes > 0 => (self.ends_at, ProbeVerdict::Succeeded),
            _ => (self.ends_at, ProbeVerdict::Inconclusive),
        }
    }
}
