//! The health of the broker, counted by route class.
//!
//! The calls of a lane share its quota but go to different parts of the broker: placing orders may fail while the
//! order book works. So each route class has its own circuit breaker, and a broken one does not stop the calls of
//! another. A route class is created with its first call.
//!
//! A breaker that opened by itself never refuses an urgent call: the call is sent, and its result counts.
//!
//! Another process of the account may say that its breaker refuses a route. That is a hint: its network may be broken, and not
//! the broker. So calls here are still sent, and the first of them that fails opens the breaker here too. A hint does so once: if
//! the breaker has closed again, calls that were made from here have shown that the route works. The hint counts again after a
//! heartbeat without a hint for the route.

use std::time::Duration;

use crate::quota::Moment;
use crate::resilience::{
    Admission, BreakerMode, BreakerPolicy, BreakerState, CallNotPermitted, CallOutcome,
    CircuitBreaker, PolicyError,
};

/// The breakers of one lane.
pub(super) struct RouteBreakers {
    policy: BreakerPolicy,
    rng: fastrand::Rng,
    routes: Vec<RouteBreaker>,
    /// Whether any of them may refuse a call. Nearly always none does, and then none is checked.
    may_refuse: bool,
    /// The routes that the breakers of other processes refuse.
    hints: Vec<Hint>,
    /// Until when they count.
    hints_until: Moment,
}

/// A route that the breaker of another process refuses.
struct Hint {
    route: String,
    /// Whether it has opened the breaker here.
    is_used: bool,
}

struct RouteBreaker {
    name: &'static str,
    breaker: CircuitBreaker,
    /// The state that was reported last.
    reported: BreakerState,
}

/// A state change of the breaker of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lane) struct BreakerChange {
    pub(in crate::lane) route: &'static str,
    pub(in crate::lane) state: BreakerState,
}

/// A route whose calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lane) struct BlockedRoute {
    pub(in crate::lane) route: &'static str,
    /// Until when, if that is known.
    pub(in crate::lane) until: Option<Moment>,
    /// Whether it was forced open by hand, so that urgent calls are refused too.
    pub(in crate::lane) is_forced: bool,
    /// When the last half-open period that failed began.
    pub(in crate::lane) last_failed_half_open: Option<Moment>,
}

impl RouteBreaker {
    /// Returns why its calls are refused, if they are.
    fn blocked(&mut self, now: Moment) -> Option<BlockedRoute> {
        let refused = self.breaker.when(now).err()?;
        let (until, is_forced) = (refused.until(), refused == CallNotPermitted::Forced);
        Some(BlockedRoute {
            route: self.name,
            until,
            is_forced,
            last_failed_half_open: self.breaker.last_failed_half_open(),
        })
    }
}

impl RouteBreakers {
    pub(super) fn new(policy: BreakerPolicy, rng: fastrand::Rng) -> Result<Self, PolicyError> {
        policy.check()?;
        let is_troubled = policy.initial_mode() == BreakerMode::ForcedOpen;
        Ok(Self {
            policy,
            rng,
            routes: Vec::new(),
            may_refuse: is_troubled,
            hints: Vec::new(),
            hints_until: Moment::ORIGIN,
        })
    }

    /// Returns why a call of `route` is refused now, if it is.
    pub(super) fn blocked_route(
        &mut self,
        route: &'static str,
        is_urgent: bool,
        now: Moment,
    ) -> Option<BlockedRoute> {
        if !self.may_refuse {
            return None;
        }
        let blocked = self.route_mut(route).blocked(now)?;
        (blocked.is_forced || !is_urgent).then_some(blocked)
    }

    /// Returns the routes whose calls are refused now.
    pub(super) fn blocked_routes(&mut self, now: Moment) -> Vec<BlockedRoute> {
        if !self.may_refuse {
            return Vec::new();
        }
        self.routes.iter_mut().filter_map(|route| route.blocked(now)).collect()
    }

    /// Admits a call that was not refused a moment ago.
    pub(super) fn admit(
        &mut self,
        route: &'static str,
        is_urgent: bool,
        now: Moment,
    ) -> Option<Admission> {
        let breaker = &mut self.route_mut(route).breaker;
        let admitted = if is_urgent { breaker.admit_exit(now) } else { breaker.admit(now) };
        let is_closed = breaker.state(now) == BreakerState::Closed;
        self.update_may_refuse(is_closed, now);
        admitted.ok()
    }

    /// Records the outcome of a call.
    pub(super) fn record(
        &mut self,
        route: &'static str,
        admission: Admission,
        now: Moment,
        outcome: CallOutcome,
        took: Duration,
    ) {
        let hint = self.hints.iter().position(|hint| hint.route == route && !hint.is_used);
        let hint = hint.filter(|_| now < self.hints_until);
        let breaker = &mut self.route_mut(route).breaker;
        let is_used = breaker.record_with_hint(admission, now, outcome, took, hint.is_some());
        let is_closed = breaker.state(now) == BreakerState::Closed;
        self.update_may_refuse(is_closed, now);
        if let Some(hint) = hint.and_then(|index| self.hints.get_mut(index)) {
            hint.is_used = is_used;
        }
    }

    /// Returns the state change of the breaker of a route, if it was not reported yet.
    pub(super) fn take_change(
        &mut self,
        route: &'static str,
        now: Moment,
    ) -> Option<BreakerChange> {
        let entry = self.route_mut(route);
        let state = entry.breaker.state(now);
        let is_new = state != entry.reported;
        entry.reported = state;
        is_new.then_some(BreakerChange { route, state })
    }

    /// Returns the unreported state changes of all routes.
    pub(super) fn take_changes(&mut self, now: Moment) -> Vec<BreakerChange> {
        let names: Vec<_> = self.routes.iter().map(|route| route.name).collect();
        names.into_iter().filter_map(|route| self.take_change(route, now)).collect()
    }

    /// Returns the state of each breaker.
    pub(super) fn states(&mut self, now: Moment) -> Vec<BreakerChange> {
        let state = |route: &mut RouteBreaker| BreakerChange {
            route: route.name,
            state: route.breaker.state(now),
        };
        self.routes.iter_mut().map(state).collect()
    }

    /// Returns the routes of which the calls of this process say that the broker fails.
    #[cfg(feature = "redis")]
    pub(super) fn troubled(&mut self, now: Moment) -> Vec<&'static str> {
        let routes = self.routes.iter_mut();
        routes.filter_map(|it| it.breaker.is_evidence(now).then_some(it.name)).collect()
    }

    /// Hears which routes the breakers of other processes refuse. That counts until the given moment.
    #[cfg(feature = "redis")]
    pub(super) fn set_hints(&mut self, mut routes: Vec<String>, until: Moment) {
        // Several processes may refuse the same one.
        routes.sort_unstable();
        routes.dedup();
        let is_used = |route: &String| self.hints.iter().any(|it| it.is_used && it.route == *route);
        let hints = routes.into_iter().map(|route| Hint { is_used: is_used(&route), route });
        self.hints = hints.collect();
        self.hints_until = until;
    }

    /// Sets the mode of every breaker.
    pub(super) fn set_mode(&mut self, mode: BreakerMode, now: Moment) {
        self.policy = self.policy.mode(mode);
        self.routes.iter_mut().for_each(|route| route.breaker.set_mode(mode, now));
        self.may_refuse = mode == BreakerMode::ForcedOpen;
    }

    /// Updates the flag after a breaker was used.
    fn update_may_refuse(&mut self, is_closed: bool, now: Moment) {
        let may_refuse =
            |route: &mut RouteBreaker| route.breaker.state(now) != BreakerState::Closed;
        self.may_refuse = !is_closed || (self.may_refuse && self.routes.iter_mut().any(may_refuse));
    }

    fn route_mut(&mut self, name: &'static str) -> &mut RouteBreaker {
        let index = match self.routes.iter().position(|route| route.name == name) {
            Some(index) => index,
            None => {
                let breaker = CircuitBreaker::from_checked(self.policy, self.rng.u64(..));
                self.routes.push(RouteBreaker { name, breaker, reported: BreakerState::Closed });
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

    fn routes() -> RouteBreakers {
        let policy = BreakerPolicy::default().failures_in_a_row(Some(2));
        RouteBreakers::new(policy, fastrand::Rng::with_seed(1)).unwrap()
    }

    fn call(
        routes: &mut RouteBreakers,
        route: &'static str,
        is_urgent: bool,
        outcome: CallOutcome,
    ) {
        let admission = routes.admit(route, is_urgent, NOW).unwrap();
        routes.record(route, admission, NOW, outcome, TOOK);
    }

    #[test]
    fn a_route_that_fails_does_not_stop_another() {
        let mut routes = routes();
        call(&mut routes, "reads", false, CallOutcome::Success);
        assert_eq!(routes.blocked_routes(NOW), []);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        let blocked = routes.blocked_route("writes", false, NOW).unwrap();
        assert!(blocked.until.is_some() && !blocked.is_forced);
        assert_eq!(routes.blocked_routes(NOW), [blocked]);
        assert_eq!(routes.blocked_route("reads", false, NOW), None);
        assert_eq!(routes.blocked_route("never called", false, NOW), None);
        let change = BreakerChange { route: "writes", state: BreakerState::Open };
        assert_eq!(routes.take_changes(NOW), [change]);
        assert_eq!(routes.take_changes(NOW), []);
    }

    #[test]
    fn an_urgent_call_is_refused_only_by_hand() {
        let mut routes = routes();
        call(&mut routes, "writes", false, CallOutcome::Failure);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert_eq!(routes.blocked_route("writes", true, NOW), None);
        call(&mut routes, "writes", true, CallOutcome::Failure);
        assert!(routes.blocked_route("writes", false, NOW).is_some());
        call(&mut routes, "writes", true, CallOutcome::Success);
        assert_eq!(routes.blocked_route("writes", false, NOW), None);
        routes.set_mode(BreakerMode::ForcedOpen, NOW);
        for route in ["writes", "never called"] {
            assert!(
                routes.blocked_route(route, true, NOW).is_some_and(|blocked| blocked.is_forced)
            );
        }
        routes.set_mode(BreakerMode::Automatic, NOW);
        assert_eq!(routes.blocked_route("writes", false, NOW), None);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_hint_refuses_no_call_and_the_first_that_fails_confirms_it() {
        let later = NOW + Duration::from_secs(3);
        let mut routes = routes();
        routes.set_hints(vec!["writes".to_owned()], later);
        assert_eq!(routes.blocked_route("writes", false, NOW), None);
        call(&mut routes, "writes", false, CallOutcome::Success);
        call(&mut routes, "writes", false, CallOutcome::Ignored);
        call(&mut routes, "reads", false, CallOutcome::Failure);
        assert_eq!(routes.blocked_routes(NOW), []);
        assert_eq!(routes.troubled(NOW), [""; 0]);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert!(routes.blocked_route("writes", false, NOW).is_some());
        assert_eq!(routes.blocked_route("writes", true, NOW), None);
        // It is no hint to others in its turn.
        assert_eq!(routes.troubled(NOW), [""; 0]);
        // A hint that was not said again is none.
        let mut routes = self::routes();
        routes.set_hints(vec!["writes".to_owned()], NOW);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert_eq!(routes.blocked_routes(NOW), []);
        // What a person opened is no evidence.
        routes.set_mode(BreakerMode::ForcedOpen, NOW);
        assert_eq!(routes.troubled(NOW), [""; 0]);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_breaker_that_no_call_tries_again_is_no_hint_for_longer_than_it_refuses_calls() {
        let mut routes = routes();
        call(&mut routes, "writes", false, CallOutcome::Failure);
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert_eq!(routes.troubled(NOW), ["writes"]);
        let until = routes.blocked_route("writes", false, NOW).unwrap().until.unwrap();
        assert_eq!(routes.troubled(until), [""; 0]);
        assert_eq!(routes.states(until)[0].state, BreakerState::HalfOpen);
        let probe = routes.admit("writes", false, until).unwrap();
        assert_eq!(routes.troubled(until), ["writes"]);
        routes.record("writes", probe, until, CallOutcome::Failure, TOOK);
        assert_eq!(routes.troubled(until), ["writes"]);
    }

    /// Probes a breaker until it is closed.
    #[cfg(feature = "redis")]
    fn recover(routes: &mut RouteBreakers, route: &'static str, now: Moment) -> Moment {
        let now = routes.blocked_route(route, false, now).and_then(|it| it.until).unwrap_or(now);
        for _ in 0..2 {
            let probe = routes.admit(route, false, now).unwrap();
            routes.record(route, probe, now, CallOutcome::Success, TOOK);
        }
        assert_eq!(routes.blocked_route(route, false, now), None);
        now
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_hint_opens_a_breaker_once_until_it_was_lifted() {
        // Two processes say so.
        let hint = vec!["writes".to_owned(); 2];
        let mut routes = routes();
        let fails = |routes: &mut RouteBreakers, now: Moment| {
            let admission = routes.admit("writes", false, now).unwrap();
            routes.record("writes", admission, now, CallOutcome::Failure, TOOK);
            routes.blocked_route("writes", false, now).is_some()
        };
        let later = |now: Moment| now + Duration::from_secs(3);
        routes.set_hints(hint.clone(), later(NOW));
        assert!(fails(&mut routes, NOW));
        // Its own calls have shown that the route works from here.
        let now = recover(&mut routes, "writes", NOW);
        for _ in 0..2 {
            assert!(!fails(&mut routes, now));
            call_at(&mut routes, now, CallOutcome::Success);
            routes.set_hints(hint.clone(), later(now));
        }
        routes.set_hints(Vec::new(), later(now));
        routes.set_hints(hint, later(now));
        assert!(fails(&mut routes, now));
    }

    #[cfg(feature = "redis")]
    fn call_at(routes: &mut RouteBreakers, now: Moment, outcome: CallOutcome) {
        let admission = routes.admit("writes", false, now).unwrap();
        routes.record("writes", admission, now, outcome, TOOK);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_hint_opens_no_breaker_that_failures_do_not_open() {
        let policy = BreakerPolicy::default().failures(None).failures_in_a_row(None);
        let policy = policy.slow(Duration::from_secs(1), 50);
        let mut routes = RouteBreakers::new(policy, fastrand::Rng::with_seed(1)).unwrap();
        routes.set_hints(vec!["writes".to_owned()], NOW + Duration::from_secs(3));
        call(&mut routes, "writes", false, CallOutcome::Failure);
        assert_eq!(routes.blocked_routes(NOW), []);
    }

    /// Two processes whose calls fail now and then, as those of any broker.
    #[cfg(feature = "redis")]
    #[test]
    fn two_processes_do_not_keep_each_others_breakers_open() {
        let mut rng = fastrand::Rng::with_seed(7);
        let policy = BreakerPolicy::default();
        let mut both =
            [1, 2].map(|seed| RouteBreakers::new(policy, fastrand::Rng::with_seed(seed)).unwrap());
        let at = |millis: u64| NOW + Duration::from_millis(millis);
        let mut refused = 0;
        for step in 0..6000_u64 {
            let now = at(step * 100);
            for (index, routes) in both.iter_mut().enumerate() {
                // The network of one of them is down for a while. The broker fails one call in twenty.
                let fails = (index == 0 && step < 100) || rng.u32(..20) == 0;
                let outcome = if fails { CallOutcome::Failure } else { CallOutcome::Success };
                if routes.blocked_route("writes", false, now).is_some() {
                    refused += usize::from(step > 1000);
                    continue;
                }
                call_at(routes, now, outcome);
            }
            if step % 10 == 0 {
                let heard = [1, 0].map(|other| both[other].troubled(now));
                for (routes, heard) in both.iter_mut().zip(heard) {
                    let heard = heard.into_iter().map(str::to_owned).collect();
                    routes.set_hints(heard, now + Duration::from_secs(3));
                }
            }
        }
        assert_eq!(refused, 0);
    }
}
