//! Estimates of when a call would be sent. Nothing here takes a slot.

use std::time::Duration;

use super::{LaneQuota, PacingState};
use crate::quota::moment::nanos;
use crate::quota::query::EstimateQuery;
use crate::quota::{Cost, Moment, NoCapacity, NotYet};

impl PacingState {
    /// Estimates when a call gets its permit behind calls of the same cost with a total weight of `ahead`, if each
    /// call takes the average round trip. Returns `None` if it never will.
    pub fn estimate(&mut self, cost: Cost, ahead: u64, now: Moment) -> Option<Moment> {
        self.estimate_behind(cost, &[(cost, ahead)], now)
    }

    /// Estimates when a call gets its permit behind the given costs and weights in its lane. Calls that wait for a
    /// budget which this call does not use are not in its way.
    pub fn estimate_behind(
        &mut self,
        cost: Cost,
        ahead: &[(Cost, u64)],
        now: Moment,
    ) -> Option<Moment> {
        let now = self.advance_to(now);
        let mut weight_ahead: u64 = 0;
        for (other, weight) in ahead {
            let in_the_way = self.slots_ahead(*other, cost, now).min(*weight);
            weight_ahead = weight_ahead.saturating_add(in_the_way);
        }
        let Self { wall_clock, lanes, budgets, reported, .. } = self;
        let lane = lanes.get_mut(cost.lane)?;
        let round_trip = nanos(lane.typical_round_trip().unwrap_or_default());
        let query = EstimateQuery {
            urgent: cost.urgent,
            weight_ahead,
            weight: cost.slots(),
            reserve: lane.reserve_for(cost),
            round_trip,
        };
        let mut latest = lane.quota.estimate(now, *wall_clock, lane.credit, query)?;
        let needed = weight_ahead.saturating_add(cost.slots());
        let needed = needed.saturating_add(lane.heard_reserve(cost));
        for reported in reported.iter().filter(|_| !cost.urgent) {
            latest = latest.max(reported.blocks_until(cost.lane, needed, now).unwrap_or(latest));
        }
        for index in cost.budgets.iter() {
            let budget = budgets.get_mut(index)?;
            let credit = budget.credit(lanes, cost.lane);
            let charged = ahead.iter().filter(|(other, _)| other.budgets.contains(index));
            let ahead = charged.fold(0, |sum: u64, (_, weight)| sum.saturating_add(*weight));
            let query =
                EstimateQuery { weight_ahead: ahead, reserve: budget.reserve_for(cost), ..query };
            latest = latest.max(budget.quota.estimate(now, *wall_clock, credit, query)?);
        }
        // The calls ahead of an urgent call are urgent too, so all of them may take the slots of hung calls.
        let beside_hung = cost.urgent.then(|| {
            let weight = weight_ahead.saturating_add(cost.slots());
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            match self.check_room(Cost { weight, ..cost }, now) {
                Ok(()) => Some(now),
                Err(NoCapacity { not_yet: NotYet::Until(at), .. }) => Some(at),
                Err(_) => None,
            }
        });
        Some(beside_hung.flatten().map_or(latest, |at| latest.min(at)))
    }

    /// Returns the weight of `other` calls that can be sent before a call of `cost`: as much as the budgets that
    /// `cost` does not use have room for now.
    pub fn slots_ahead(&mut self, other: Cost, cost: Cost, now: Moment) -> u64 {
        let Self { wall_clock, lanes, budgets, .. } = self;
        let elsewhere = other.budgets.iter().filter(|index| !cost.budgets.contains(*index));
        let free = elsewhere.map(|index| {
            budgets.get_mut(index).map_or(0, |budget| {
                let credit = budget.credit(lanes, other.lane);
                let reserve = budget.reserve_for(other);
                budget.quota.free_slots(now, *wall_clock, credit, reserve)
            })
        });
        free.min().unwrap_or(u64::MAX)
    }

    /// Estimates when the calls in flight of a lane will have been answered, and how long one call takes: the mean
    /// over warm connections, or the last round trip in a lane that is called too seldom for one.
    pub fn typical_call(&mut self, lane: usize, now: Moment) -> Option<(Moment, Duration)> {
        let now = self.advance_to(now);
        let lane = self.lanes.get(lane)?;
        let typical = lane.typical_round_trip()?;
        Some((lane.quota.in_flight_answered_at(now, nanos(typical)), typical))
    }
}

impl LaneQuota {
    fn typical_round_trip(&self) -> Option<Duration> {
        self.round_trip.mean().or(self.last_round_trip)
    }
}
