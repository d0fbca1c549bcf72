//! Whether a call starts on a warm connection.
//!
//! A call that must open its connection first takes one to three round trips longer. If a broker is called so rarely
//! that every connection is cold, the least round trip is that of a cold one, and the first burst on warm connections
//! would be sent too early by the difference. So only round trips on warm connections are evidence for the credit.
//!
//! Connections are not visible here, but their number is: three calls in flight use three connections, which are warm
//! when the calls end. A call that makes `n` calls in flight is warm if `n` connections were in use a moment ago.

use std::time::Duration;

use super::Moment;

/// How long an idle connection counts as warm. Long enough for a lane of one call a second, whose connection is idle
/// for a second at a time. Servers keep idle connections for 5 s or more.
const WARM_FOR: Duration = Duration::from_millis(1_200);

/// When a given number of connections was last in use at the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct WarmConnections {
    /// `last_used[n]`: when more than `n` connections were in use.
    last_used: Vec<Moment>,
}

impl WarmConnections {
    /// Returns whether a call that makes `in_flight` calls in flight starts on a warm connection.
    pub(super) fn is_warm(&self, in_flight: u32, now: Moment) -> bool {
        let used = (in_flight as usize).checked_sub(1).and_then(|n| self.last_used.get(n));
        used.is_some_and(|&used| now.since(used) <= WARM_FOR)
    }

    /// Records the end of a call that was one of `in_flight`.
    pub(super) fn record_use(&mut self, in_flight: u32, now: Moment) {
        let count = in_flight as usize;
        if self.last_used.len() < count {
            self.last_used.resize(count, now);
        }
        self.last_used[..count].fill(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::ORIGIN + Duration::from_millis(ms)
    }

    #[test]
    fn the_first_call_is_cold_and_the_next_is_warm_for_a_while() {
        let mut path = WarmConnections::default();
        assert!(!path.is_warm(1, at(0)));
        path.record_use(1, at(50));
        assert!(path.is_warm(1, at(1_250)));
        assert!(!path.is_warm(1, at(1_251)));
    }

    #[test]
    fn one_more_at_a_time_than_before_is_cold() {
        let mut path = WarmConnections::default();
        path.record_use(2, at(0));
        assert!(path.is_warm(2, at(10)));
        assert!(!path.is_warm(3, at(10)));
        // The second connection has idled since, the first has not.
        path.record_use(1, at(1_000));
        assert!(path.is_warm(1, at(1_500)));
        assert!(!path.is_warm(2, at(1_500)));
    }
}
