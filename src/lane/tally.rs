//! How many calls there are of each kind, and what they weigh.

use crate::quota::Cost;

/// Calls by what they are charged to. There are a handful of kinds, so a list will do.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Vec<Kind>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    charge: Cost,
    calls: usize,
    weight: u64,
}

impl Tally {
    pub(super) fn add(&mut self, charge: Cost) {
        self.add_many(charge, 1, weight_of(charge));
    }

    pub(super) fn remove(&mut self, charge: Cost) {
        if let Some(index) = self.0.iter().position(|kind| kind.charge == charge) {
            let kind = &mut self.0[index];
            kind.calls -= 1;
            kind.weight -= weight_of(charge);
            if kind.calls == 0 {
                self.0.swap_remove(index);
            }
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for kind in &other.0 {
            self.add_many(kind.charge, kind.calls, kind.weight);
        }
    }

    /// Adds the first `calls` of `other`, taken for a fair sample of it.
    pub(super) fn add_first(&mut self, other: &Self, calls: usize) {
        let all = other.calls();
        if calls >= all {
            return self.add_all(other);
        }
        let mut left = calls;
        for (index, kind) in other.0.iter().enumerate() {
            let is_last = index + 1 == other.0.len();
            // Queues are long enough for the product to need more than 32 bits.
            let even = kind.calls as u64 * calls as u64 / all as u64;
            let share = usize::try_from(even).unwrap_or(left).min(left);
            let share = if is_last { left } else { share };
            left -= share;
            self.add_many(kind.charge, share, weight_of(kind.charge) * share as u64);
        }
    }

    /// Of each kind no more than so much weight.
    pub(super) fn at_most(&self, mut weight: impl FnMut(Cost) -> u64) -> Self {
        let of_kind = |kind: &Kind| {
            let weight = weight(kind.charge).min(kind.weight);
            let calls = usize::try_from(weight / weight_of(kind.charge)).unwrap_or(kind.calls);
            Kind { calls, weight, ..*kind }
        };
        Self(self.0.iter().map(of_kind).filter(|kind| kind.calls > 0).collect())
    }

    fn add_many(&mut self, charge: Cost, calls: usize, weight: u64) {
        match self.0.iter_mut().find(|kind| kind.charge == charge) {
            Some(kind) => {
                kind.calls += calls;
                kind.weight += weight;
            }
            None if calls > 0 => self.0.push(Kind { charge, calls, weight }),
            None => {}
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.0.iter().map(|kind| kind.calls).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Cost> {
        self.0.iter().map(|kind| kind.charge)
    }

    /// Each kind with its weight, for an estimate.
    pub(super) fn weights(&self) -> Vec<(Cost, u64)> {
        self.0.iter().map(|kind| (kind.charge, kind.weight)).collect()
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
        let mut tally = Tally::default();
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
        let (mut all, mut some) = (Tally::default(), Tally::default());
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        some.add_first(&all, 2);
        assert_eq!(some.weights(), [(LIGHT, 1), (HEAVY, 5)]);
        // What a sample cannot divide evenly goes to the last.
        let mut three = Tally::default();
        three.add_first(&all, 3);
        assert_eq!(three.weights(), [(LIGHT, 1), (HEAVY, 10)]);
        let mut one = Tally::default();
        one.add_first(&all, 1);
        assert_eq!(one.weights(), [(HEAVY, 5)]);
        some.add_first(&all, 100);
        assert_eq!((some.calls(), some.weights()), (10, vec![(LIGHT, 5), (HEAVY, 25)]));
    }

    #[test]
    fn of_each_kind_only_so_much_counts() {
        let mut all = Tally::default();
        for _ in 0..4 {
            all.add(LIGHT);
            all.add(HEAVY);
        }
        let some = all.at_most(|kind| if kind == HEAVY { 12 } else { u64::MAX });
        assert_eq!((some.calls(), some.weights()), (6, vec![(LIGHT, 4), (HEAVY, 12)]));
        assert!(all.at_most(|_| 0).is_empty());
    }
}
