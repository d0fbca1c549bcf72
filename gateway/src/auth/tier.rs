//! What one client has used of what its tier allows. Requests beyond that are refused, and do not wait.

use std::time::Duration;

use lanekeeper::lane::Priority;
use lanekeeper::quota::{Cost, NotYet, PacingState, RttCredit};
use lanekeeper::{Clock, Quota};
use parking_lot::Mutex;

use crate::config::TierConfig;

/// A tier, and what one client has used of it.
pub(crate) struct TierUse {
    config: TierConfig,
    clock: Clock,
    requests: Option<Mutex<PacingState>>,
    orders: Option<Mutex<PacingState>>,
}

/// Why a tier does not allow a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TierRefusal {
    /// The client has used up `what`, for `retry_in`.
    TooMany { what: &'static str, retry_in: Option<Duration> },
    /// The tier only reads.
    ReadOnly,
    /// The tier does not have the lane.
    Lane,
}

/// What a request would do, for the judgement of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) lane: &'a str,
    pub(crate) is_read: bool,
    pub(crate) is_exit: bool,
    pub(crate) is_placement: bool,
}

impl TierUse {
    pub(crate) fn new(config: TierConfig, clock: Clock) -> Self {
        let state = |quota: &Option<Quota>| quota.as_ref().and_then(|quota| counter(quota, &clock));
        let (requests, orders) = (state(&config.requests), state(&config.orders));
        Self { config, clock, requests, orders }
    }

    pub(crate) fn config(&self) -> &TierConfig {
        &self.config
    }

    /// Checks a request, and counts it if it is allowed. An exit is counted and never refused.
    pub(crate) fn admit(&self, asked: Asked<'_>) -> Result<(), TierRefusal> {
        if !asked.is_exit {
            if self.config.is_read_only && !asked.is_read {
                return Err(TierRefusal::ReadOnly);
            }
            let has_lane = |lanes: &Vec<String>| lanes.iter().any(|lane| lane == asked.lane);
            if !self.config.lanes.as_ref().is_none_or(has_lane) {
                return Err(TierRefusal::Lane);
            }
        }
        let orders = self.orders.as_ref().filter(|_| asked.is_placement);
        let now = self.clock.now();
        // Both are checked before either is charged.
        let counters = [("orders", orders), ("requests", self.requests.as_ref())];
        let mut locked: Vec<_> =
            counters.into_iter().filter_map(|(what, state)| Some((what, state?.lock()))).collect();
        for (what, state) in &mut locked {
            if state.uses_wall_clock() {
                state.set_wall_clock(self.clock.wall_clock());
            }
            match state.available_at(ONE, now) {
                Ok(()) => {}
                Err(_) if asked.is_exit => {}
                Err(NotYet::Until(at)) => {
                    return Err(TierRefusal::TooMany { what, retry_in: Some(at.since(now)) });
                }
                Err(_) => return Err(TierRefusal::TooMany { what, retry_in: None }),
            }
        }
        for (_, state) in &mut locked {
            if let Ok(permit) = state.take(ONE, now) {
                state.finish(permit, now);
            }
        }
        Ok(())
    }

    /// Returns the priority of a request that asks for `asked`, on a route of this priority.
    pub(crate) fn priority(&self, asked: Option<Priority>, of_route: Priority) -> Priority {
        let wanted = asked.or(self.config.priority).unwrap_or(of_route);
        // A lower number is more urgent.
        wanted.max(self.config.max_priority)
    }
}

const ONE: Cost =
    Cost { lane: 0, budgets: lanekeeper::quota::BudgetSet::EMPTY, weight: 1, urgent: false };

fn counter(quota: &Quota, clock: &Clock) -> Option<Mutex<PacingState>> {
    let mut state = PacingState::new(clock.wall_clock());
    // A quota that cannot be kept was refused with the configuration.
    state.add_lane(quota, RttCredit::STRICT).ok()?;
    Some(Mutex::new(state))
}

#[cfg(test)]
mod tests {
    use lanekeeper::ManualClock;

    use super::*;

    const READ: Asked<'_> =
        Asked { lane: "data", is_read: true, is_exit: false, is_placement: false };
    const ORDER: Asked<'_> = Asked { is_read: false, is_placement: true, ..READ };
    const EXIT: Asked<'_> = Asked { is_read: false, is_exit: true, ..READ };

    fn tier(config: TierConfig) -> (TierUse, ManualClock) {
        let clock = ManualClock::new();
        (TierUse::new(config, Clock::from(clock.clone())), clock)
    }

    #[test]
    fn requests_beyond_the_quota_are_refused_until_the_named_moment() {
        let config = TierConfig { requests: Some(Quota::per_second(2)), ..TierConfig::default() };
        let (tier, clock) = tier(config);
        assert_eq!(tier.admit(READ), Ok(()));
        assert_eq!(tier.admit(READ), Ok(()));
        let Err(TierRefusal::TooMany { what: "requests", retry_in: Some(wait) }) = tier.admit(READ)
        else {
            panic!()
        };
        clock.advance(wait - Duration::from_nanos(1));
        assert!(tier.admit(READ).is_err());
        clock.advance(Duration::from_nanos(1));
        assert_eq!(tier.admit(READ), Ok(()));
    }

    #[test]
    fn a_refused_order_is_charged_to_nothing_and_an_exit_is_never_refused() {
        let config = TierConfig {
            requests: Some(Quota::per_second(3)),
            orders: Some(Quota::per_minute(1)),
            ..TierConfig::default()
        };
        let (tier, _) = tier(config);
        assert_eq!(tier.admit(ORDER), Ok(()));
        for _ in 0..5 {
            assert!(matches!(tier.admit(ORDER), Err(TierRefusal::TooMany { what: "orders", .. })));
        }
        assert_eq!((tier.admit(READ), tier.admit(READ)), (Ok(()), Ok(())));
        assert!(tier.admit(READ).is_err());
        assert_eq!(tier.admit(EXIT), Ok(()));
    }

    #[test]
    fn a_tier_reads_only_and_has_its_lanes() {
        let config = TierConfig {
            is_read_only: true,
            lanes: Some(vec!["data".to_owned()]),
            ..TierConfig::default()
        };
        let (tier, _) = tier(config);
        assert_eq!(tier.admit(READ), Ok(()));
        assert_eq!(tier.admit(ORDER), Err(TierRefusal::ReadOnly));
        assert_eq!(tier.admit(Asked { lane: "trading", ..READ }), Err(TierRefusal::Lane));
        assert_eq!(tier.admit(Asked { lane: "trading", ..EXIT }), Ok(()));
    }

    #[test]
    fn a_priority_is_at_most_the_tiers() {
        let priority = |text: u8| Priority::new(text).unwrap();
        let config = TierConfig {
            max_priority: priority(3),
            priority: Some(priority(6)),
            ..TierConfig::default()
        };
        let (tier, _) = tier(config);
        assert_eq!(tier.priority(Some(priority(1)), priority(5)), priority(3));
        assert_eq!(tier.priority(Some(priority(8)), priority(5)), priority(8));
        assert_eq!(tier.priority(None, priority(5)), priority(6));
    }
}
