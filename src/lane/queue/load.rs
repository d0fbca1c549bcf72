//! The queue load: the number of calls with each cost, and their total weight.

use crate::quota::Cost;

/// The number and weight of calls, by cost. There are only a handful of distinct costs, so a list suffices.
#[derive(Debug, Clone, Default)]
pub(in crate::lane) struct QueueLoad(Vec<CostLoad>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CostLoad {
    cost: Cost,
    calls: usize,
    weight: u64,
}

impl QueueLoad {
    pub(super) fn add(&mut self, cost: Cost) {
        self.add_many(cost, 1, weight_of(cost));
    }

    /// Adds this many calls of one cost.
    pub(in crate::lane) fn add_calls(&mut self, cost: Cost, calls: usize) {
        self.add_many(cost, calls, weight_of(cost).saturating_mul(calls as u64));
    }

    pub(super) fn remove(&mut self, cost: Cost) {
        if let Some(index) = self.0.iter().position(|entry| entry.cost == cost) {
            let entry = &mut self.0[index];
            entry.calls -= 1;
            entry.weight -= weight_of(cost);
            if entry.calls == 0 {
                self.0.swap_remove(index);
            }
        }
    }

    pub(super) fn add_load(&mut self, other: &Self) {
        for entry in &other.0 {
            self.add_many(entry.cost, entry.calls, entry.weight);
        }
    }

    /// Adds the first `calls` of `other`, assuming that the costs are spread evenly over it.
    pub(in crate::lane) fn add_sample(&mut self, other: &Self, calls: usize) {
        let all = other.calls();
        if calls >= all {
            return self.add_load(other);
        }
        let mut remaining = calls;
        for (index, entry) in other.0.iter().enumerate() {
            let is_last = index + 1 == other.0.len();
            // Queues can be so long that the product needs more than 32 bits.
            let even = entry.calls as u64 * calls as u64 / all as u64;
            let share = usize::try_from(even).unwrap_or(remaining).min(remaining);
            let share = if is_last { remaining } else { share };
            remaining -= share;
            self.add_many(entry.cost, share, weight_of(entry.cost) * share as u64);
        }
    }

    /// Returns the load with the weight of each cost capped at `weight(cost)`.
    pub(in crate::lane) fn capped(&self, mut weight: impl FnMut(Cost) -> u64) -> Self {
        let capped_entry = |entry: &CostLoad| {
            let weight = weight(entry.cost).min(entry.weight);
            let calls = usize::try_from(weight / weight_of(entry.cost)).unwrap_or(entry.calls);
            CostLoad { calls, weight, ..*entry }
        };
        Self(self.0.iter().map(capped_entry).filter(|entry| entry.calls > 0).collect())
    }

    fn add_many(&mut self, cost: Cost, calls: usize, weight: u64) {
        match self.0.iter_mut().find(|entry| entry.cost == cost) {
            Some(entry) => {
                entry.calls += calls;
                entry.weight += weight;
            }
            None if calls > 0 => self.0.push(CostLoad { cost, calls, weight }),
            None => {}
        }
    }

    pub(in crate::lane) fn calls(&self) -> usize {
        self.0.iter().map(|entry| entry.calls).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::lane) fn costs(&self) -> impl Iterator<Item = Cost> {
        self.0.iter().map(|entry| entry.cost)
    }

    /// Returns each cost with its total weight, for an estimate.
    pub(in crate::lane) fn weights(&self) -> Vec<(Cost, u64)> {
        self.0.iter().map(|entry| (entry.cost, entry.weight)).collect()
    }
}

fn weight_of(cost: Cost) -> u64 {
    u64::from(cost.weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHT: Cost = Cost::to_lane(0);
    const HEAVY: Cost = Cost { weight: 5, ..LIGHT };

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut load = QueueLoad::default();
        load.add(LIGHT);
        load.add(HEAVY);
        load.add(HEAVY);
        assert_eq!((load.calls(), load.weights()), (3, vec![(LIGHT, 1), (HEAVY, 10)]));
        load.remove(LIGHT);
        load.remove(HEAVY);
        assert_eq!((load.calls(), load.weights()), (1, vec![(HEAVY, 5)]));
        load.remove(HEAVY);
        assert!(load.is_empty());
    }

    #[test]
    fn the_first_of_many_are_a_sample() {
        let (mut all, mut part) = (QueueLoad::default(), QueueLoad::default());
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        part.add_sample(&all, 2);
        assert_eq!(part.weights(), [(LIGHT, 1), (HEAVY, 5)]);
        // What a sample cannot divide evenly goes to the last cost.
        let mut three = QueueLoad::default();
        three.add_sample(&all, 3);
        assert_eq!(three.weights(), [(LIGHT, 1), (HEAVY, 10)]);
        let mut one = QueueLoad::default();
        one.add_sample(&all, 1);
        assert_eq!(one.weights(), [(HEAVY, 5)]);
        part.add_sample(&all, 100);
        assert_eq!((part.calls(), part.weights()), (10, vec![(LIGHT, 5), (HEAVY, 25)]));
    }

    #[test]
    fn of_each_cost_only_so_much_counts() {
        let mut all = QueueLoad::default();
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        let part = all.capped(|cost| if cost == HEAVY { 12 } else { u64::MAX });
        assert_eq!((part.calls(), part.weights()), (6, vec![(LIGHT, 4), (HEAVY, 12)]));
        assert!(all.capped(|_| 0).is_empty());
    }
}
