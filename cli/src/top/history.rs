//! The rate of a lane in the last minute: one sample for each status, one status a second.

use std::collections::VecDeque;
use std::time::Duration;

/// How many seconds are kept.
pub const SECONDS: usize = 60;

/// The samples of one lane, the newest last. `None` is a second of which nothing is known.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Option<f64>>,
    last: Duration,
}

impl History {
    /// Adds a sample. Seconds without a status since the last sample become gaps.
    pub fn push(&mut self, now: Duration, rate: f64) {
        let silent = now.saturating_sub(self.last);
        // A status that is a little late leaves no gap.
        if !self.samples.is_empty() && silent >= Duration::from_millis(2_500) {
            let missed = usize::try_from(silent.as_secs()).unwrap_or(SECONDS) - 1;
            self.samples.extend(std::iter::repeat_n(None, missed.min(SECONDS)));
        }
        self.samples.push_back(Some(rate));
        self.last = now;
        let surplus = self.samples.len().saturating_sub(SECONDS);
        self.samples.drain(..surplus);
    }

    /// Returns the newest samples, the newest last.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = Option<f64>> {
        self.samples.iter().skip(self.samples.len().saturating_sub(count)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(history: &History) -> Vec<Option<f64>> {
        history.newest(SECONDS).collect()
    }

    #[test]
    fn a_late_status_leaves_no_gap_and_missed_ones_do() {
        let mut history = History::default();
        for (at, rate) in [(10_000, 1.0), (11_900, 2.0), (15_000, 3.0)] {
            history.push(Duration::from_millis(at), rate);
        }
        assert_eq!(samples(&history), [Some(1.0), Some(2.0), None, None, Some(3.0)]);
        assert_eq!(history.newest(2).collect::<Vec<_>>(), [None, Some(3.0)]);
    }

    #[test]
    fn a_minute_is_kept() {
        let mut history = History::default();
        for second in 0..100 {
            history.push(Duration::from_secs(second), second as f64);
        }
        assert_eq!(samples(&history).len(), 60);
        assert_eq!(samples(&history)[0], Some(40.0));
        history.push(Duration::from_secs(100_000), 7.0);
        assert_eq!(samples(&history).iter().flatten().collect::<Vec<_>>(), [&7.0]);
    }
}
