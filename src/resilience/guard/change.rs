//! Whether a change or a cancellation was made, as the order itself shows.

use super::patience::Look;
use crate::broker::{BrokerError, Detail, Order, OrderChange, OrderId, OrderStatus};

/// What the broker would have answered to a cancellation of this order.
pub(super) fn cancelled(order: &Order) -> Look<Result<(), BrokerError>> {
    match &order.status {
        OrderStatus::Cancelled => Look::Settled(Ok(())),
        OrderStatus::Other(_) => Look::Unclear(between(order)),
        status if status.is_final() => Look::Settled(Err(too_late(order))),
        _ => Look::NotYet,
    }
}

/// Whether an order would show that `change` was made. The visible quantity is in no order book.
pub(super) fn shows(change: &OrderChange) -> bool {
    let OrderChange { quantity, price, trigger_price, order_type, time_in_force, .. } = change;
    quantity.is_some()
        || price.is_some()
        || trigger_price.is_some()
        || order_type.is_some()
        || time_in_force.is_some()
}

/// What the broker would have answered to `change` of this order. In a state between two that have
/// a name the order may show the change before the exchange has agreed to it. Unless the broker
/// changes orders `in_place`, a cancelled one may have been changed: by another that took its place.
pub(super) fn changed(
    order: &Order,
    change: &OrderChange,
    in_place: bool,
) -> Look<Result<OrderId, BrokerError>> {
    fn is<T: PartialEq>(wanted: Option<&T>, shown: Option<&T>) -> bool {
        wanted.is_none() || wanted == shown
    }
    let made = is(change.quantity.as_ref(), Some(&order.quantity))
        && is(change.price.as_ref(), order.price.as_ref())
        && is(change.trigger_price.as_ref(), order.trigger_price.as_ref())
        && is(change.order_type.as_ref(), Some(&order.order_type))
        && is(change.time_in_force.as_ref(), Some(&order.time_in_force));
    let id = &order.id;
    match &order.status {
        OrderStatus::Other(_) => Look::Unclear(between(order)),
        OrderStatus::Rejected => Look::Settled(Err(too_late(order))),
        OrderStatus::Cancelled if !in_place => Look::Unclear(format!(
            "order {id} is CANCELLED, perhaps with another order in its place: look for that one"
        )),
        // What shows may have been so before.
        _ if made && change.disclosed_quantity.is_some() => {
            Look::Unclear(format!("order {id} does not show its visible quantity"))
        }
        _ if made => Look::Settled(Ok(id.clone())),
        status if status.is_final() => Look::Settled(Err(too_late(order))),
        _ => Look::NotYet,
    }
}

fn between(order: &Order) -> String {
    let Order { id, status, .. } = order;
    format!("order {id} is {status}, neither as before nor as asked for")
}

fn too_late(order: &Order) -> BrokerError {
    let Order { id, status, .. } = order;
    BrokerError::Rejected(Detail::new(format!("too late: order {id} is {status}")))
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::broker::{Instrument, OrderRequest, OrderType, Side, TimeInForce};

    fn order(status: &str) -> Order {
        let infy = Instrument::new("NSE", "INFY");
        let request = OrderRequest::limit(infy, Side::Buy, 10, 1500);
        Order::new(OrderId::new("1"), OrderStatus::from(status), &request)
    }

    /// `yes`, `late`, `not yet`.
    fn said<A>(look: Look<Result<A, BrokerError>>) -> &'static str {
        match look {
            Look::Settled(Ok(_)) => "yes",
            Look::Settled(Err(BrokerError::Rejected(_))) => "late",
            Look::NotYet => "not yet",
            Look::Unclear(_) => "unclear",
            _ => "never",
        }
    }

    #[test]
    fn only_a_cancelled_order_is_cancelled() {
        let cases = [
            ("CANCELLED", "yes"),
            ("FILLED", "late"),
            ("REJECTED", "late"),
            ("EXPIRED", "late"),
            ("OPEN", "not yet"),
            ("PARTIALLY FILLED", "not yet"),
            ("CANCEL PENDING", "unclear"),
        ];
        for (status, verdict) in cases {
            assert_eq!(said(cancelled(&order(status))), verdict, "{status}");
        }
    }

    #[test]
    fn a_change_is_made_when_every_field_shows_it() {
        let as_it_is = OrderChange::new()
            .quantity(10)
            .price(Decimal::new(150_000, 2))
            .order_type(OrderType::Limit)
            .time_in_force(TimeInForce::Day);
        assert_eq!(said(changed(&order("OPEN"), &as_it_is, true)), "yes");
        for change in [
            as_it_is.clone().quantity(11),
            as_it_is.clone().price(1501),
            as_it_is.clone().trigger_price(1499),
            as_it_is.clone().order_type(OrderType::Market),
            as_it_is.clone().time_in_force(TimeInForce::Ioc),
        ] {
            assert_eq!(said(changed(&order("OPEN"), &change, true)), "not yet", "{change:?}");
            assert_eq!(said(changed(&order("FILLED"), &change, true)), "late", "{change:?}");
        }
        assert_eq!(said(changed(&order("FILLED"), &as_it_is, true)), "yes");
        assert_eq!(said(changed(&order("REJECTED"), &as_it_is, true)), "late");
        assert_eq!(said(changed(&order("MODIFY VALIDATION PENDING"), &as_it_is, true)), "unclear");
    }

    #[test]
    fn a_cancelled_order_was_changed_or_not() {
        let change = OrderChange::new().price(1501);
        assert_eq!(said(changed(&order("CANCELLED"), &change, true)), "late");
        assert_eq!(said(changed(&order("CANCELLED"), &change, false)), "unclear");
        for in_place in [true, false] {
            assert_eq!(said(changed(&order("FILLED"), &change, in_place)), "late");
        }
    }

    #[test]
    fn nothing_confirms_a_visible_quantity() {
        let change = OrderChange::new().price(1500).disclosed_quantity(1);
        assert_eq!(said(changed(&order("OPEN"), &change, true)), "unclear");
        assert_eq!(said(changed(&order("OPEN"), &change.clone().price(1501), true)), "not yet");
        assert_eq!(said(changed(&order("FILLED"), &change.price(1501), true)), "late");
    }

    #[test]
    fn the_visible_quantity_alone_shows_nowhere() {
        assert!(!shows(&OrderChange::new().disclosed_quantity(1)));
        assert!(shows(&OrderChange::new().disclosed_quantity(1).price(2)));
    }
}
