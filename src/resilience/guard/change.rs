//! Whether a change or a cancellation was made, as the order itself shows.

use super::patience::Look;
use crate::broker::{BrokerError, Detail, Order, OrderChange, OrderId, OrderStatus};

/// What the broker would have answered to a cancellation of this order.
pub(super) fn cancelled(order: &Order) -> Look<Result<(), BrokerError>> {
    match &order.status {
        OrderStatus::Cancelled => Look::Settled(Ok(())),
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
/// a name the order may show the change before the exchange has agreed to it.
pub(super) fn changed(order: &Order, change: &OrderChange) -> Look<Result<OrderId, BrokerError>> {
    fn is<T: PartialEq>(wanted: Option<&T>, shown: Option<&T>) -> bool {
        wanted.is_none() || wanted == shown
    }
    let made = is(change.quantity.as_ref(), Some(&order.quantity))
        && is(change.price.as_ref(), order.price.as_ref())
        && is(change.trigger_price.as_ref(), order.trigger_price.as_ref())
        && is(change.order_type.as_ref(), Some(&order.order_type))
        && is(change.time_in_force.as_ref(), Some(&order.time_in_force));
    match &order.status {
        OrderStatus::Other(_) => Look::NotYet,
        OrderStatus::Rejected => Look::Settled(Err(too_late(order))),
        _ if made => Look::Settled(Ok(order.id.clone())),
        status if status.is_final() => Look::Settled(Err(too_late(order))),
        _ => Look::NotYet,
    }
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
            ("CANCEL PENDING", "not yet"),
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
        assert_eq!(said(changed(&order("OPEN"), &as_it_is)), "yes");
        for change in [
            as_it_is.clone().quantity(11),
            as_it_is.clone().price(1501),
            as_it_is.clone().trigger_price(1499),
            as_it_is.clone().order_type(OrderType::Market),
            as_it_is.clone().time_in_force(TimeInForce::Ioc),
        ] {
            assert_eq!(said(changed(&order("OPEN"), &change)), "not yet", "{change:?}");
            assert_eq!(said(changed(&order("FILLED"), &change)), "late", "{change:?}");
        }
        assert_eq!(said(changed(&order("FILLED"), &as_it_is)), "yes");
        assert_eq!(said(changed(&order("REJECTED"), &as_it_is)), "late");
        assert_eq!(said(changed(&order("MODIFY VALIDATION PENDING"), &as_it_is)), "not yet");
    }

    #[test]
    fn the_visible_quantity_alone_shows_nowhere() {
        assert!(!shows(&OrderChange::new().disclosed_quantity(1)));
        assert!(shows(&OrderChange::new().disclosed_quantity(1).price(2)));
    }
}
