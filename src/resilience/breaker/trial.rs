//! The half-open state: a few probes, and what they came to.
//!
//! Each probe has a deadline, and the whole has an end. So whatever becomes of the probes, there is a
//! moment at which it is decided.

use super::config::BreakerPolicy;
use crate::quota::Moment;

/// One time of being half open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) began: Moment,
    ends: Moment,
    /// Those under way, in the order of their deadlines.
    probes: Vec<Probe>,
    sent: u64,
    succeeded: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probe {
    number: u64,
    deadline: Moment,
}

/// What time alone has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A probe did not come back in time.
    Failed,
    /// It was over, some probe had succeeded and none had failed.
    Worked,
    /// It was over, and no probe told anything.
    Nothing,
}

impl Trial {
    pub(super) fn new(config: &BreakerPolicy, now: Moment) -> Self {
        let ends = now + config.longest_trial;
        Self { began: now, ends, probes: Vec::new(), sent: 0, succeeded: 0 }
    }

    /// Lets one more probe through, if there may be one. Gives its number.
    pub(super) fn admit(&mut self, config: &BreakerPolicy, now: Moment) -> Option<u64> {
        if self.is_full(config) {
            return None;
        }
        let number = self.sent;
        self.sent += 1;
        self.probes.push(Probe { number, deadline: now + config.probe_deadline });
        Some(number)
    }

    pub(super) fn is_full(&self, config: &BreakerPolicy) -> bool {
        self.probes.len() >= config.probes as usize
    }

    /// A probe is back, whatever it brought.
    pub(super) fn returned(&mut self, probe: Option<u64>) {
        self.probes.retain(|known| Some(known.number) != probe);
    }

    /// A probe succeeded. Says whether that is enough of them.
    pub(super) fn succeeded(&mut self, config: &BreakerPolicy) -> bool {
        self.succeeded += 1;
        self.succeeded >= config.probes
    }

    /// When it is decided, if no probe comes back before.
    pub(super) fn decided(&self) -> (Moment, Verdict) {
        match self.probes.first() {
            Some(probe) if probe.deadline <= self.ends => (probe.deadline, Verdict::Failed),
            _ if self.succeeded > 0 => (self.ends, Verdict::Worked),
            _ => (self.ends, Verdict::Nothing),
        }
    }
}
