//! The half-open state: a few probes, and what they came to.
//!
//! Each probe has a deadline, and the whole has an end. So whatever becomes of the probes, there is a
//! moment at which it is decided.

use super::policy::BreakerPolicy;
use crate::quota::Moment;

/// One time of being half open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HalfOpen {
    pub(super) started_at: Moment,
    ends_at: Moment,
    /// Those under way, in the order of their deadlines.
    probes: Vec<PendingProbe>,
    probes_sent: u64,
    successes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PendingProbe {
    number: u64,
    deadline: Moment,
}

/// What time alone has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeVerdict {
    /// A probe did not come back in time.
    Failed,
    /// It was over, some probe had succeeded and none had failed.
    Succeeded,
    /// It was over, and no probe told anything.
    Inconclusive,
}

impl HalfOpen {
    pub(super) fn new(config: &BreakerPolicy, now: Moment) -> Self {
        let ends = now + config.max_half_open;
        Self { started_at: now, ends_at: ends, probes: Vec::new(), probes_sent: 0, successes: 0 }
    }

    /// Lets one more probe through, if there may be one. Gives its number.
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

    /// A probe is back, whatever it brought.
    pub(super) fn on_probe_returned(&mut self, probe: Option<u64>) {
        self.probes.retain(|known| Some(known.number) != probe);
    }

    /// A probe succeeded. Says whether that is enough of them.
    pub(super) fn on_success(&mut self, config: &BreakerPolicy) -> bool {
        self.successes += 1;
        self.successes >= config.probes
    }

    /// When it is decided, if no probe comes back before.
    pub(super) fn decision(&self) -> (Moment, ProbeVerdict) {
        match self.probes.first() {
            Some(probe) if probe.deadline <= self.ends_at => (probe.deadline, ProbeVerdict::Failed),
            _ if self.successes > 0 => (self.ends_at, ProbeVerdict::Succeeded),
            _ => (self.ends_at, ProbeVerdict::Inconclusive),
        }
    }
}
