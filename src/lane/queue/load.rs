//! How many calls there are of each kind, and what they weigh.

use crate::quota::Cost;

/// Calls by what they are charged to. There are a handful of kinds, so a list will do.
#[derive(Debug, Clone, Default)]
pub(in crate::lane) struct QueueLoad(Vec<CostLoad>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CostLoad {
    cost: Cost,
    calls: usize,
    weight: u64,
}

impl QueueLoad {
    pub(super) fn add(&mut self, charge: Cost) {
        self.add_many(charge, 1, weight_of(charge));
    }

    pub(super) fn remove(&mut self, charge: Cost) {
        if let Some(index) = self.0.iter().position(|kind| kind.cost == charge) {
            let kind = &mut self.0[index];
            kind.calls -= 1;
            kind.weight -= weight_of(charge);
            if kind.calls == 0 {
                self.0.swap_remove(index);
            }
        }
    }

    pub(super) fn add_load(&mut self, other: &Self) {
        for kind in &other.0 {
            self.add_many(kind.cost, kind.calls, kind.weight);
        }
    }

    /// Adds the first `calls` of `other`, taken for a fair sample of it.
    pub(in crate::lane) fn add_sample(&mut self, other: &Self, calls: usize) {
        let all = other.calls();
        if calls >= all {
            return self.add_load(other);
        }
        let mut left = calls;
        for (index, kind) in other.0.iter().enumerate() {
            let is_last = index + 1 == other.0.len();
            // Queues are long enough for the product to need more than 32 bits.
            let even = kind.calls as u64 * calls as u64 / all as u64;
            let share = usize::try_from(even).unwrap_or(left).min(left);
            let share = if is_last { left } else { share };
            left -= share;
            self.add_many(kind.cost, share, weight_of(kind.cost) * share as u64);
        }
    }

    /// Of each kind no more than so much weight.
    pub(in crate::lane) fn capped(&self, mut weight: impl FnMut(Cost) -> u64) -> Self {
        let of_kind = |kind: &CostLoad| {
            let weight = weight(kind.cost).min(kind.weight);
            let calls = usize::try_from(weight / weight_of(kind.cost)).unwrap_or(kind.calls);
            CostLoad { calls, weight, ..*kind }
        };
        Self(self.0.iter().map(of_kind).filter(|kind| kind.calls > 0).collect())
    }

    fn add_many(&mut self, charge: Cost, calls: usize, weight: u64) {
        match self.0.iter_mut().find(|kind| kind.cost == charge) {
            Some(kind) => {
                kind.calls += calls;
                kind.weight += weight;
            }
            None if calls > 0 => self.0.push(CostLoad { cost: charge, calls, weight }),
            None => {}
        }
    }

    pub(in crate::lane) fn calls(&self) -> usize {
        self.0.iter().map(|kind| kind.calls).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::lane) fn costs(&self) -> impl Iterator<Item = Cost> {
        self.0.iter().map(|kind| kind.cost)
    }

    /// Each kind with its weight, for an estimate.
    pub(in crate::lane) fn weights(&self) -> Vec<(Cost, u64)> {
        self.0.iter().map(|kind| (kind.cost, kind.weight)).collect()
    }
}

fn weight_of(charge: Cost) -> u64 {
    u64::from(charge.weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHT: Cost = Cost::to_lane(0);
    const HEAVY: Cost = Cost { weight: 5, ..LIGHT };

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut tally = QueueLoad::default();
        tally.add(LIGHT);
        tally.add(HEAVY);
        tally.add(HEAVY);
        assert_eq!((tally.calls(), tally.weights()), (3, vec![(LIGHT, 1), (HEAVY, 10)]));
        tally.remove(LIGHT);
        tally.remove(HEAVY);
        assert_eq!((tally.calls(), tally.weights()), (1, vec![(HEAVY, 5)]));
        tally.remove(HEAVY);
        assert!(tally.is_empty());
    }

    #[test]
    fn the_first_of_many_are_a_sample() {
        let (mut all, mut some) = (QueueLoad::default(), QueueLoad::default());
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        some.add_sample(&all, 2);
        assert_eq!(some.weights(), [(LIGHT, 1), (HEAVY, 5)]);
        // What a sample cannot divide evenly goes to the last.
        let mut three = QueueLoad::default();
        three.add_sample(&all, 3);
        assert_eq!(three.weights(), [(LIGHT, 1), (HEAVY, 10)]);
        let mut one = QueueLoad::default();
        one.add_sample(&all, 1);
        assert_eq!(one.weights(), [(HEAVY, 5)]);
        some.add_sample(&all, 100);
        assert_eq!((some.calls(), some.weights()), (10, vec![(LIGHT, 5), (HEAVY, 25)]));
    }

    #[test]
    fn of_each_kind_only_so_much_counts() {
        let mut all = QueueLoad::default();
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        let some = all.capped(|kind| if kind == HEAVY { 12 } else { u64::MAX });
        assert_eq!((some.calls(), some.weights()), (6, vec![(LIGHT, 4), (HEAVY, 12)]));
        assert!(all.capped(|_| 0).is_empty());
    }
}
