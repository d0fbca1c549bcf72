//! What an order book shows of an order: the order itself, or its slices.

use rust_decimal::Decimal;

use super::matching::Intent;
use crate::broker::saturating_sum;
use crate::broker::{
    ErrorDetail, LookupResult, Order, OrderLookup, OrderStatus, Slice, SliceOutcome, SlicedOrder,
};

/// Returns whether a part of the order is, or was, in the market.
pub(super) fn is_live(order: &Order) -> bool {
    order.status != OrderStatus::Rejected || !order.filled_quantity.is_zero()
}

/// What an order book shows of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::order_guard) struct OrderInBook {
    /// The order, or those of its slices that are in the order book.
    pub(in crate::order_guard) order: SlicedOrder,
    /// The ordered quantity that the order book does not show.
    pub(in crate::order_guard) missing: Decimal,
    /// Why the missing quantity is not absent; for example, one of the orders shows no quantity.
    pub(in crate::order_guard) missing_doubt: Option<&'static str>,
    /// Whether it may change: a quantity is missing, or there are only rejected slices, while others may still be on
    /// their way.
    pub(super) is_inconclusive: bool,
}

impl OrderInBook {
    /// Returns whether it is final before the settle time is over. If the order `was_resent`, a rejected one may be
    /// the second sending, while the first is still on its way.
    pub(in crate::order_guard) fn is_final(&self, was_resent: bool) -> bool {
        !self.is_inconclusive && (!was_resent || self.order.placed().next().is_some())
    }

    /// Returns the whole order, with the missing quantity as one more slice.
    pub(in crate::order_guard) fn with_missing(self, slice: impl FnOnce() -> Slice) -> SlicedOrder {
        let Self { mut order, missing, .. } = self;
        if !missing.is_zero() {
            order.slices.push(slice().quantity(missing));
        }
        order
    }
}

impl Intent {
    /// Returns what an order book shows of the order of this intent; `None` if nothing.
    ///
    /// There may be several orders with its tag. A live one wins over a rejected one, and among those, one without a
    /// parent: the others are its legs. If the order was to be sliced, or there are only slices, all of them are the
    /// order.
    pub(super) fn find_in_book<'a>(
        &self,
        book: impl IntoIterator<Item = &'a Order>,
    ) -> Option<OrderInBook> {
        let ours: Vec<&Order> = book.into_iter().filter(|order| self.matches(order)).collect();
        let first = ours.iter().min_by_key(|order| (!is_live(order), order.parent.is_some()))?;
        if self.order.autoslice || first.parent.is_some() {
            return Some(self.as_slices(&ours));
        }
        let order =
            SlicedOrder::new(Some(first.id.clone()), self.order.quantity, [to_slice(first)]);
        Some(OrderInBook {
            order,
            missing: Decimal::ZERO,
            missing_doubt: None,
            is_inconclusive: false,
        })
    }

    /// Returns the orders as the slices of this one.
    fn as_slices(&self, ours: &[&Order]) -> OrderInBook {
        let parent_of = |order: &&Order| order.parent.clone();
        let parent = match ours {
            // The first slice, or an order that was not sliced.
            [only] => only.parent.clone().or_else(|| Some(only.id.clone())),
            several => {
                let parent = several.iter().find_map(parent_of);
                let is_shared = several.iter().filter_map(parent_of).all(|it| Some(it) == parent);
                parent.filter(|_| is_shared)
            }
        };
        let is_parent = |order: &Order| parent.as_ref() == Some(&order.id);
        // A parent of the whole quantity only groups the slices. At Kite the parent is the first slice.
        let is_slice = |order: &&Order| {
            ours.len() == 1 || !is_parent(order) || order.quantity < self.order.quantity
        };
        let mut slices: Vec<&Order> = ours.iter().copied().filter(is_slice).collect();
        slices.sort_by_key(|order| !is_parent(order));
        let shown = saturating_sum(slices.iter().map(|order| order.quantity));
        let missing = self.order.quantity.saturating_sub(shown).max(Decimal::ZERO);
        let lacks_quantity = slices.iter().any(|order| order.quantity.is_zero());
        let missing_doubt = lacks_quantity
            .then_some("it shows an order with the tag and without a quantity, which may be that");
        let is_inconclusive = !missing.is_zero() || !slices.iter().any(|order| is_live(order));
        let slices = slices.into_iter().map(to_slice);
        let order = SlicedOrder::new(parent, self.order.quantity, slices);
        OrderInBook { order, missing, missing_doubt, is_inconclusive }
    }

    /// Adds the tag for the lookup to slices of unknown outcome.
    pub(in crate::order_guard) fn with_lookup(&self, mut order: SlicedOrder) -> SlicedOrder {
        for slice in &mut order.slices {
            if let SliceOutcome::Unknown(detail) = &mut slice.outcome {
                let lookup =
                    || Box::new(OrderLookup::new(Some(self.tag.clone()), LookupResult::Unreadable));
                detail.lookup.get_or_insert_with(lookup);
            }
        }
        order
    }
}

/// Returns an order in the order book as a slice: placed if a part of it was in the market, else rejected.
fn to_slice(order: &Order) -> Slice {
    let slice = if is_live(order) {
        Slice::placed(order.id.clone())
    } else {
        let why = order.status_message.as_deref().unwrap_or("the order book does not say why");
        Slice::rejected(ErrorDetail::new(format!("order {}: {why}", order.id)))
    };
    slice.quantity(order.quantity)
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::{intent, order};
    use super::*;
    use crate::broker::{BrokerError, OrderId};

    fn found(intent: &Intent, book: &[Order]) -> Option<String> {
        let shown = intent.find_in_book(book)?;
        Some(shown.order.complete().map_or_else(|error| error.to_string(), |id| id.to_string()))
    }

    /// An intent for an order that the broker is to divide.
    fn sliced() -> Intent {
        let mut intent = intent(false);
        intent.order.autoslice = true;
        intent
    }

    fn slice_of(id: &str, parent: Option<&str>, quantity: i64) -> Order {
        let mut order = order(id);
        order.parent = parent.map(OrderId::new);
        order.quantity = quantity.into();
        order
    }

    /// Returns the parent, the ids of the placed slices, the number of rejected ones, and the missing quantity.
    fn slices(book: &[Order]) -> (Option<String>, Vec<String>, usize, i64) {
        let OrderInBook { order, missing, .. } = sliced().find_in_book(book).unwrap();
        let placed = order.placed().map(ToString::to_string).collect();
        let missing = missing.to_string().parse().unwrap();
        (order.parent.as_ref().map(ToString::to_string), placed, order.rejected().count(), missing)
    }

    #[test]
    fn an_order_stands_for_its_legs_and_a_leg_for_nothing_but_its_parent() {
        let mut leg = order("1");
        leg.parent = Some(OrderId::new("2"));
        assert_eq!(found(&intent(false), &[leg.clone(), order("2")]), Some("2".into()));
        assert_eq!(found(&intent(false), &[leg]), Some("2".into()));
    }

    #[test]
    fn slices_are_reported_with_what_is_missing() {
        let of = |id: &str, quantity| slice_of(id, Some("1"), quantity);
        let first = || slice_of("1", None, 4);
        let some = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let parent = Some("1".to_owned());
        let whole = [of("2", 4), first(), of("3", 2)];
        assert_eq!(slices(&whole), (parent.clone(), some(&["1", "2", "3"]), 0, 0));
        assert_eq!(found(&sliced(), &whole), Some("1".into()));
        assert_eq!(slices(&whole[..2]), (parent.clone(), some(&["1", "2"]), 0, 2));
        // The parent may not be in the order book yet. Its slices name it.
        assert_eq!(slices(&whole[..1]), (parent.clone(), some(&["2"]), 0, 6));
        assert_eq!(slices(&[first()]), (parent.clone(), some(&["1"]), 0, 6));
        let mut refused = of("3", 2);
        refused.status = OrderStatus::Rejected;
        let mixed = [first(), of("2", 4), refused];
        assert_eq!(slices(&mixed), (parent.clone(), some(&["1", "2"]), 1, 0));
        // A parent of the whole quantity only groups its slices.
        let named = [slice_of("1", None, 10), of("2", 5), of("3", 5)];
        assert_eq!(slices(&named), (parent.clone(), some(&["2", "3"]), 0, 0));
        // An order that was not divided.
        assert_eq!(slices(&[slice_of("1", None, 10)]), (parent, some(&["1"]), 0, 0));
        // No order names the parent.
        let without_parent = [slice_of("1", None, 5), slice_of("2", None, 5)];
        assert_eq!(slices(&without_parent), (None, some(&["1", "2"]), 0, 0));
        let unrelated = [slice_of("1", Some("7"), 5), slice_of("2", Some("8"), 5)];
        assert_eq!(slices(&unrelated), (None, some(&["1", "2"]), 0, 0));
    }

    #[test]
    fn slices_are_inconclusive_while_some_are_missing_or_all_refused() {
        let is_inconclusive = |book: &[Order]| sliced().find_in_book(book).unwrap().is_inconclusive;
        let rejected = |id: &str, quantity| {
            let mut order = slice_of(id, Some("1"), quantity);
            order.status = OrderStatus::Rejected;
            order
        };
        assert!(is_inconclusive(&[slice_of("1", None, 4)]));
        assert!(!is_inconclusive(&[slice_of("1", None, 4), slice_of("2", Some("1"), 6)]));
        assert!(!is_inconclusive(&[slice_of("1", None, 4), rejected("2", 6)]));
        assert!(is_inconclusive(&[rejected("1", 4), rejected("2", 6)]));
        // A broker may divide an order that did not ask for it.
        assert!(intent(false).find_in_book(&[rejected("1", 10)]).unwrap().is_inconclusive);
        assert!(!intent(false).find_in_book(&[order("1")]).unwrap().is_inconclusive);
    }

    #[test]
    fn a_live_one_speaks_for_those_that_were_rejected() {
        let mut rejected = order("rejected");
        rejected.status = OrderStatus::Rejected;
        for book in [[rejected.clone(), order("live")], [order("live"), rejected.clone()]] {
            assert_eq!(found(&intent(false), &book), Some("live".into()));
        }
        // A part of this order was in the market.
        let mut filled = rejected.clone();
        filled.id = OrderId::new("filled");
        filled.filled_quantity = 1.into();
        assert_eq!(found(&intent(false), &[rejected, filled]), Some("filled".into()));
    }

    #[test]
    fn an_order_found_rejected_is_the_brokers_refusal() {
        let answer = |order: Order| intent(false).find_in_book(&[order]).unwrap().order.complete();
        assert_eq!(answer(order("1")), Ok(OrderId::new("1")));
        let mut rejected = order("1");
        rejected.status = OrderStatus::Rejected;
        rejected.status_message = Some("no funds".to_owned());
        assert_eq!(
            answer(rejected),
            Err(BrokerError::Rejected(ErrorDetail::new("order 1: no funds")))
        );
    }
}
