//! When a call would go, as things stand: nothing here takes a slot.

use std::time::Duration;

use super::{LaneQuota, PacingState};
use crate::quota::moment::nanos;
use crate::quota::query::EstimateQuery;
use crate::quota::{Cost, Moment, NoCapacity, NotYet, Reserve};

impl PacingState {
    /// When a call would get its permit with `ahead` of weight of its equals before it, if calls
    /// take as long as they do on the average. None if it never will.
    pub fn estimate(&mut self, charge: Cost, ahead: u64, now: Moment) -> Option<Moment> {
        self.estimate_behind(charge, &[(charge, ahead)], now)
    }

    /// When a call would get its permit with so much weight of each kind before it, in its lane. A
    /// kind that waits for a budget which the call itself is not charged to is not in its way.
    pub fn estimate_behind(
        &mut self,
        charge: Cost,
        ahead: &[(Cost, u64)],
        now: Moment,
    ) -> Option<Moment> {
        let now = self.advance_to(now);
        let mut weight_ahead: u64 = 0;
        for (other, weight) in ahead {
            let in_the_way = self.slots_ahead(*other, charge, now).min(*weight);
            weight_ahead = weight_ahead.saturating_add(in_the_way);
        }
        let Self { wall_clock: wall, lanes, budgets, .. } = self;
        let lane = lanes.get_mut(charge.lane)?;
        let round_trip = nanos(lane.typical_round_trip().unwrap_or_default());
        let ask = EstimateQuery {
            urgent: charge.urgent,
            weight_ahead,
            weight: charge.slots(),
            reserve: Reserve::NONE,
            round_trip,
        };
        let mut latest = lane.quota.estimate(now, *wall, lane.credit, ask)?;
        for index in charge.distinct_budgets() {
            let budget = budgets.get_mut(index)?;
            let credit = budget.credit(lanes, charge.lane);
            let charged = ahead.iter().filter(|(other, _)| other.budgets.contains(&index));
            let ahead = charged.fold(0, |sum: u64, (_, weight)| sum.saturating_add(*weight));
            let ask =
                EstimateQuery { weight_ahead: ahead, reserve: budget.reserve_for(charge), ..ask };
            latest = latest.max(budget.quota.estimate(now, *wall, credit, ask)?);
        }
        // Those ahead of an urgent call are urgent too, and may all take the slots of hung calls.
        let beside_hung = charge.urgent.then(|| {
            let weight = weight_ahead.saturating_add(charge.slots());
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            match self.check_room(Cost { weight, ..charge }, now) {
                Ok(()) => Some(now),
                Err(NoCapacity { not_yet: NotYet::Until(at), .. }) => Some(at),
                Err(_) => None,
            }
        });
        Some(beside_hung.flatten().map_or(latest, |at| latest.min(at)))
    }

    /// What weight of `other` is in the way of `charge`: as much as may go now, as far as those
    /// budgets are concerned that `charge` has nothing to do with.
    pub fn slots_ahead(&mut self, other: Cost, charge: Cost, now: Moment) -> u64 {
        let Self { wall_clock: wall, lanes, budgets, .. } = self;
        let elsewhere = other.distinct_budgets().filter(|index| !charge.budgets.contains(index));
        let free = elsewhere.map(|index| {
            budgets.get_mut(index).map_or(0, |budget| {
                let credit = budget.credit(lanes, other.lane);
                let reserve = budget.reserve_for(other);
                budget.quota.free_slots(now, *wall, credit, reserve)
            })
        });
        free.min().unwrap_or(u64::MAX)
    }

    /// When the calls of a lane that are in flight will have been answered, and how long one takes: on
    /// the average of those on a path in use; of a lane that calls seldom, as long as its last one.
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
