//! The health of the broker, counted by route class.
//!
//! The calls of a lane share its quota, and go to different parts of the broker: placing orders may fail
//! while the order book answers. So each route class has a circuit breaker of its own, and one that is out
//! of order does not stop the calls of another. A route class comes into being with its first call.
//!
//! An urgent call is refused by no breaker that opened by itself: it goes, and its answer counts.

use std::time::Duration;

use crate::quota::Moment;
use crate::resilience::{
    Admission, BreakerMode, BreakerPolicy, BreakerState, CallNotPermitted, CallOutcome,
    CircuitBreaker, PolicyError,
};

/// The breakers of one lane.
pub(super) struct Routes {
    policy: BreakerPolicy,
    rng: fastrand::Rng,
    routes: Vec<Route>,
    /// Whether any of them may refuse a call. Nearly always none does, and then none is asked.
    is_troubled: bool,
}

struct Route {
    name: &'static str,
    breaker: CircuitBreaker,
    /// The state that was reported last.
    reported: BreakerState,
}

/// What the breaker of a route has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) route: &'static str,
    pub(super) state: BreakerState,
}

/// A route whose calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Down {
    pub(super) route: &'static str,
    /// Until when, if that is known.
    pub(super) until: Option<Moment>,
    /// It was forced open by hand, so urgent calls are refused too.
    pub(super) is_forced: bool,
    /// When the last trial began that failed.
    pub(super) in_vain: Option<Moment>,
}

impl Route {
    /// Whether its calls are refused.
    fn down(&mut self, now: Moment) -> Option<Down> {
        let refused = self.breaker.when(now).err()?;
        let (until, is_forced) = (refused.until(), refused == CallNotPermitted::Forced);
        Some(Down {
            route: self.name,
            until,
            is_forced,
            in_vain: self.breaker.last_failed_half_open(),
        })
    }
}

impl Routes {
    pub(super) fn new(policy: BreakerPolicy, rng: fastrand::Rng) -> Result<Self, PolicyError> {
        policy.check()?;
        let is_troubled = policy.initial_mode() == BreakerMode::ForcedOpen;
        Ok(Self { policy, rng, routes: Vec::new(), is_troubled })
    }

    /// Why a call of `route` is refused now, if it is.
    pub(super) fn refusal(
        &mut self,
        route: &'static str,
        is_urgent: bool,
        now: Moment,
    ) -> Option<Down> {
        if !self.is_troubled {
            return None;
        }
        let down = self.of(route).down(now)?;
        (down.is_forced || !is_urgent).then_some(down)
    }

    /// The routes whose calls are refused now.
    pub(super) fn down(&mut self, now: Moment) -> Vec<Down> {
        if !self.is_troubled {
            return Vec::new();
        }
        self.routes.iter_mut().filter_map(|route| route.down(now)).collect()
    }

    /// Lets a call through that was not refused a moment ago.
    pub(super) fn admit(
        &mut self,
        route: &'static str,
        is_urgent: bool,
        now: Moment,
    ) -> Option<Admission> {
        let breaker = &mut self.of(route).breaker;
        let admitted = if is_urgent { breaker.admit_exit(now) } else { breaker.admit(now) };
        let is_closed = breaker.state(now) == BreakerState::Closed;
        self.look_for_trouble(is_closed, now);
        admitted.ok()
    }

    /// What became of a call.
    pub(super) fn record(
        &mut self,
        route: &'static str,
        admission: Admission,
        now: Moment,
        (outcome, took): (CallOutcome, Duration),
    ) {
        let breaker = &mut self.of(route).breaker;
        breaker.record(admission, now, outcome, took);
        let is_closed = breaker.state(now) == BreakerState::Closed;
        self.look_for_trouble(is_closed, now);
    }

    /// What the breaker of a route has become, if it was not reported.
    pub(super) fn change(&mut self, route: &'static str, now: Moment) -> Option<Change> {
        let known = self.of(route);
        let state = known.breaker.state(now);
        let is_new = state != known.reported;
        known.reported = state;
        is_new.then_some(Change { route, state })
    }

    /// The same of all routes.
    pub(super) fn changes(&mut self, now: Moment) -> Vec<Change> {
        let names: Vec<_> = self.routes.iter().map(|route| route.name).collect();
        names.into_iter().filter_map(|route| self.change(route, now)).collect()
    }

    /// What each breaker does.
    pub(super) fn states(&mut self, now: Moment) -> Vec<Change> {
        let state =
            |route: &mut Route| Change { route: route.name, state: route.breaker.state(now) };
        self.routes.iter_mut().map(state).collect()
    }

    /// Says who decides from now on, in every route.
    pub(super) fn set_mode(&mut self, mode: BreakerMode, now: Moment) {
        self.policy = self.policy.mode(mode);
        self.routes.iter_mut().for_each(|route| route.breaker.set_mode(mode, now));
        self.is_troubled = mode == BreakerMode::ForcedOpen;
    }

    /// A breaker was asked or told something, and is closed or not.
    fn look_for_trouble(&mut self, is_closed: bool, now: Moment) {
        let may_refuse = |route: &mut Route| route.breaker.state(now) != BreakerState::Closed;
        self.is_troubled =
            !is_closed || (self.is_troubled && self.routes.iter_mut().any(may_refuse));
    }

    fn of(&mut self, name: &'static str) -> &mut Route {
        let index = match self.routes.iter().position(|route| route.name == name) {
            Some(index) => index,
            None => {
                let breaker = CircuitBreaker::from_checked(self.policy, self.rng.u64(..));
                self.routes.push(Route { name, breaker, reported: BreakerState::Closed });
                self.routes.len() - 1
            }
        };
        &mut self.routes[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(40);
    const NOW: Moment = Moment::ORIGIN;

    fn routes() -> Routes {
        let policy = BreakerPolicy::default().failures_in_a_row(Some(2));
        Routes::new(policy, fastrand::Rng::with_seed(1)).unwrap()
    }

    fn call(routes: &mut Routes, route: &'static str, is_urgent: bool, outcome: CallOutcome) {
        let admission = routes.admit(route, is_urgent, NOW).unwrap();
        routes.record(route, admission, NOW, (outcome, TOOK));
    }

    #[test]
    fn a_route_that_fails_does_not_stop_another() {
        let mut routes = routes();
        call(&mut routes, "reads", false, CallOutcome::Success);
        assert_eq!(routes.down(NOW), []);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        let down = routes.refusal("writes", false, NOW).unwrap();
        assert!(down.until.is_some() && !down.is_forced);
        assert_eq!(routes.down(NOW), [down]);
        assert_eq!(routes.refusal("reads", false, NOW), None);
        assert_eq!(routes.refusal("never called", false, NOW), None);
        let change = Change { route: "writes", state: BreakerState::Open };
        assert_eq!(routes.changes(NOW), [change]);
        assert_eq!(routes.changes(NOW), []);
    }

    #[test]
    fn an_urgent_call_is_refused_only_by_hand() {
        let mut routes = routes();
        call(&mut routes, "writes", false, CallOutcome::Failure);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert_eq!(routes.refusal("writes", true, NOW), None);
        call(&mut routes, "writes", true, CallOutcome::Failure);
        assert!(routes.refusal("writes", false, NOW).is_some());
        call(&mut routes, "writes", true, CallOutcome::Success);
        assert_eq!(routes.refusal("writes", false, NOW), None);
        routes.set_mode(BreakerMode::ForcedOpen, NOW);
        for route in ["writes", "never called"] {
            assert!(routes.refusal(route, true, NOW).is_some_and(|down| down.is_forced));
        }
        routes.set_mode(BreakerMode::Automatic, NOW);
        assert_eq!(routes.refusal("writes", false, NOW), None);
    }
}
