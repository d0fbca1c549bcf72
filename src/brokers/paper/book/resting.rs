//! The orders of one instrument that wait for a price, sorted so that a price finds the orders it meets without
//! scanning the others.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use crate::broker::{OrderType, Side};

/// The price that an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The price falls to this or below: a buy limit, or a sell stop.
    Fall(Decimal),
    /// The price rises to this or above: a sell limit, or a buy stop.
    Rise(Decimal),
}

impl Wait {
    /// Returns what an order of this kind waits for; `None` if it waits for nothing.
    pub(super) fn for_order(
        order_type: &OrderType,
        side: Side,
        price: Option<Decimal>,
        trigger: Option<Decimal>,
    ) -> Option<Self> {
        match (order_type, side) {
            (OrderType::Limit, Side::Buy) => price.map(Self::Fall),
            (OrderType::Limit, Side::Sell) => price.map(Self::Rise),
            (OrderType::Stop | OrderType::StopLimit, Side::Buy) => trigger.map(Self::Rise),
            (OrderType::Stop | OrderType::StopLimit, Side::Sell) => trigger.map(Self::Fall),
            _ => None,
        }
    }

    /// Returns whether `price` meets it.
    pub(super) fn is_met(self, price: Decimal) -> bool {
        match self {
            Self::Fall(level) => price <= level,
            Self::Rise(level) => price >= level,
        }
    }
}

/// Orders, as indices into the order book, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Resting {
    fall: BTreeSet<(Decimal, usize)>,
    rise: BTreeSet<(Decimal, usize)>,
}

impl Resting {
    pub(super) fn is_empty(&self) -> bool {
        self.fall.is_empty() && self.rise.is_empty()
    }

    pub(super) fn insert(&mut self, wait: Wait, order: usize) {
        match wait {
            Wait::Fall(level) => self.fall.insert((level, order)),
            Wait::Rise(level) => self.rise.insert((level, order)),
        };
    }

    pub(super) fn remove(&mut self, wait: Wait, order: usize) {
        match wait {
            Wait::Fall(level) => self.fall.remove(&(level, order)),
            Wait::Rise(level) => self.rise.remove(&(level, order)),
        };
    }

    /// Returns the orders that `price` meets, oldest first.
    pub(super) fn orders_met(&self, price: Decimal) -> Vec<usize> {
        let fall = self.fall.range((price, 0)..);
        let rise = self.rise.range(..=(price, usize::MAX));
        let mut met: Vec<usize> = fall.chain(rise).map(|&(_, order)| order).collect();
        met.sort_unstable();
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_price_finds_the_orders_it_meets_and_no_others(
            waits in prop::collection::vec((any::<bool>(), 0_i64..20), 0..40),
            price in 0_i64..20,
        ) {
            let waits: Vec<Wait> = waits
                .into_iter()
                .map(|(fall, level)| match fall {
                    true => Wait::Fall(Decimal::from(level)),
                    false => Wait::Rise(Decimal::from(level)),
                })
                .collect();
            let mut resting = Resting::default();
            for (order, &wait) in waits.iter().enumerate() {
                resting.insert(wait, order);
            }
            let price = Decimal::from(price);
            let expected: Vec<usize> =
                (0..waits.len()).filter(|&order| waits[order].is_met(price)).collect();
            prop_assert_eq!(resting.orders_met(price), expected);
            for (order, &wait) in waits.iter().enumerate() {
                resting.remove(wait, order);
            }
            prop_assert!(resting.is_empty());
        }
    }
}
