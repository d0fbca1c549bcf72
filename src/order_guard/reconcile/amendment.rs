//! The outcome of a change or a cancellation, judged by the order itself.

use super::polling::Observation;
use crate::broker::{
    BrokerError, ErrorDetail, Order, OrderChange, OrderId, OrderStatus, OrderType,
};

/// Returns the answer that the broker would have given to the cancellation of this order.
pub(super) fn check_cancelled(order: &Order) -> Observation<Result<(), BrokerError>> {
    match &order.status {
        OrderStatus::Cancelled => Observation::Conclusive(Ok(())),
        OrderStatus::Other(_) => Observation::Unclear(in_transition(order)),
        status if status.is_final() => Observation::Conclusive(Err(too_late(order))),
        _ => Observation::NotFound,
    }
}

/// The parts of a change that no order book shows, for error messages.
pub(in crate::order_guard) const INVISIBLE_PARTS: &str =
    "its visible quantity, its market protection or extra fields";

/// What of a change an order book can show.
struct Visibility {
    has_visible_part: bool,
    has_invisible_part: bool,
}

impl Visibility {
    fn of(change: &OrderChange) -> Self {
        // Exhaustive, so that the compiler asks for the visibility of a new field.
        let OrderChange {
            quantity,
            price,
            trigger_price,
            order_type,
            time_in_force,
            disclosed_quantity,
            market_protection,
            extra,
        } = change;
        let has_visible_part = quantity.is_some()
            || price.is_some()
            || trigger_price.is_some()
            || order_type.is_some()
            || time_in_force.is_some();
        let has_invisible_part =
            disclosed_quantity.is_some() || market_protection.is_some() || !extra.is_empty();
        Self { has_visible_part, has_invisible_part }
    }
}

/// Returns whether an order would show that `change` was made, at least in part.
pub(in crate::order_guard) fn is_visible(change: &OrderChange) -> bool {
    Visibility::of(change).has_visible_part
}

/// Returns the answer that the broker would have given to `change` of this order. In an intermediate state the order
/// may show the change before the exchange has accepted it, so that is unclear. Unless the broker changes orders
/// `in_place`, a cancelled order may have been changed, by a new order that replaced it. The caller passes that order
/// if the broker names it.
pub(in crate::order_guard) fn check_amended(
    order: &Order,
    change: &OrderChange,
    in_place: bool,
) -> Observation<Result<OrderId, BrokerError>> {
    fn shows<T: PartialEq>(wanted: Option<&T>, shown: Option<&T>) -> bool {
        wanted.is_none() || wanted == shown
    }
    let is_made = shows(change.quantity.as_ref(), Some(&order.quantity))
        && shows(change.price.as_ref(), order.price.as_ref())
        && shows(change.trigger_price.as_ref(), order.trigger_price.as_ref())
        && shows(change.order_type.as_ref(), Some(&order.order_type))
        && shows(change.time_in_force.as_ref(), Some(&order.time_in_force));
    let id = &order.id;
    match &order.status {
        OrderStatus::Other(_) => Observation::Unclear(in_transition(order)),
        OrderStatus::Rejected => Observation::Conclusive(Err(too_late(order))),
        status @ (OrderStatus::Cancelled | OrderStatus::Replaced) if !in_place => {
            Observation::Unclear(format!(
                "order {id} is {status}, perhaps with another order in its place: search for that one"
            ))
        }
        // The visible part may have been so before the change.
        _ if is_made && Visibility::of(change).has_invisible_part => {
            Observation::Unclear(format!("order {id} does not show {INVISIBLE_PARTS}"))
        }
        _ if is_made => Observation::Conclusive(Ok(id.clone())),
        status if status.is_final() => Observation::Conclusive(Err(too_late(order))),
        _ if may_be_protected_market(order, change) => Observation::Unclear(format!(
            "order {id} is a {} order, and a {} order with a market protection may show as one",
            order.order_type,
            change.order_type.as_ref().unwrap_or(&order.order_type)
        )),
        _ => Observation::NotFound,
    }
}

/// Returns the answer to `change` of the order `id`, by the order that is in its place now. If that is another one and
/// not as asked for, this change may have made it: a broker may count what was filled before against its quantity. Only
/// if it was rejected, the change was not made.
pub(in crate::order_guard) fn check_replaced(
    id: &OrderId,
    order: &Order,
    change: &OrderChange,
    in_place: bool,
) -> Observation<Result<OrderId, BrokerError>> {
    match check_amended(order, change, in_place) {
        Observation::NotFound | Observation::Conclusive(Err(_))
            if order.id != *id && order.status != OrderStatus::Rejected =>
        {
            let Order { id: new, status, .. } = order;
            Observation::Unclear(format!(
                "order {new}, which is {status}, is in the place of order {id}, and not as asked for"
            ))
        }
        observation => observation,
    }
}

/// Returns whether the order may be the market order that `change` asks for. With a market protection, some brokers
/// (Kite) show it as a limit order.
fn may_be_protected_market(order: &Order, change: &OrderChange) -> bool {
    matches!(
        (&change.order_type, &order.order_type),
        (Some(OrderType::Market), OrderType::Limit) | (Some(OrderType::Stop), OrderType::StopLimit)
    )
}

fn in_transition(order: &Order) -> String {
    let Order { id, status, .. } = order;
    format!("order {id} is {status}, neither as before nor as asked for")
}

fn too_late(order: &Order) -> BrokerError {
    let Order { id, status, .. } = order;
    let by = order.replaced_by.as_ref().map(|new| format!(" by order {new}")).unwrap_or_default();
    BrokerError::Rejected(ErrorDetail::new(format!("too late: order {id} is {status}{by}")))
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::broker::{Instrument, MarketProtection, OrderRequest, Side, TimeInForce};

    fn order(status: &str) -> Order {
        let infy = Instrument::new("NSE", "INFY");
        let request = OrderRequest::limit(infy, Side::Buy, 10, 1500);
        Order::new(OrderId::new("1"), OrderStatus::from(status), &request)
    }

    /// Names an observation in one or two words.
    fn describe<A>(observation: Observation<Result<A, BrokerError>>) -> &'static str {
        match observation {
            Observation::Conclusive(Ok(_)) => "yes",
            Observation::Conclusive(Err(BrokerError::Rejected(_))) => "late",
            Observation::NotFound => "not yet",
            Observation::Unclear(_) => "unclear",
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
            ("REPLACED", "late"),
            ("OPEN", "not yet"),
            ("PARTIALLY FILLED", "not yet"),
            ("CANCEL PENDING", "unclear"),
        ];
        for (status, expected) in cases {
            assert_eq!(describe(check_cancelled(&order(status))), expected, "{status}");
        }
    }

    #[test]
    fn a_change_is_made_when_every_field_shows_it() {
        let unchanged = OrderChange::new()
            .quantity(10)
            .price(Decimal::new(150_000, 2))
            .order_type(OrderType::Limit)
            .time_in_force(TimeInForce::Day);
        assert_eq!(describe(check_amended(&order("OPEN"), &unchanged, true)), "yes");
        for change in [
            unchanged.clone().quantity(11),
            unchanged.clone().price(1501),
            unchanged.clone().trigger_price(1499),
            unchanged.clone().order_type(OrderType::StopLimit),
            unchanged.clone().time_in_force(TimeInForce::Ioc),
        ] {
            assert_eq!(
                describe(check_amended(&order("OPEN"), &change, true)),
                "not yet",
                "{change:?}"
            );
            assert_eq!(
                describe(check_amended(&order("FILLED"), &change, true)),
                "late",
                "{change:?}"
            );
        }
        assert_eq!(describe(check_amended(&order("FILLED"), &unchanged, true)), "yes");
        assert_eq!(describe(check_amended(&order("REJECTED"), &unchanged, true)), "late");
        assert_eq!(
            describe(check_amended(&order("MODIFY VALIDATION PENDING"), &unchanged, true)),
            "unclear"
        );
    }

    #[test]
    fn a_cancelled_order_was_changed_or_not() {
        let change = OrderChange::new().price(1501);
        assert_eq!(describe(check_amended(&order("CANCELLED"), &change, true)), "late");
        assert_eq!(describe(check_amended(&order("CANCELLED"), &change, false)), "unclear");
        assert_eq!(describe(check_amended(&order("REPLACED"), &change, false)), "unclear");
        for in_place in [true, false] {
            assert_eq!(describe(check_amended(&order("FILLED"), &change, in_place)), "late");
        }
    }

    #[test]
    fn nothing_confirms_a_visible_quantity() {
        let change = OrderChange::new().price(1500).disclosed_quantity(1);
        assert_eq!(describe(check_amended(&order("OPEN"), &change, true)), "unclear");
        assert_eq!(
            describe(check_amended(&order("OPEN"), &change.clone().price(1501), true)),
            "not yet"
        );
        assert_eq!(describe(check_amended(&order("FILLED"), &change.price(1501), true)), "late");
    }

    #[test]
    fn nothing_confirms_a_protection_or_an_extra_field() {
        let change = OrderChange::new().price(1500);
        for invisible in [
            change.clone().market_protection(MarketProtection::AUTO),
            change.clone().extra("parent_order_id", "7"),
        ] {
            assert_eq!(describe(check_amended(&order("OPEN"), &invisible, true)), "unclear");
        }
    }

    /// Kite turns a market order with a protection into a limit order.
    #[test]
    fn a_market_order_may_show_as_a_limit_order() {
        let exit = OrderChange::new().order_type(OrderType::Market);
        assert_eq!(describe(check_amended(&order("OPEN"), &exit, true)), "unclear");
        assert_eq!(describe(check_amended(&order("FILLED"), &exit, true)), "late");
        let mut shown = order("OPEN");
        shown.order_type = OrderType::Market;
        assert_eq!(describe(check_amended(&shown, &exit, true)), "yes");
        shown.order_type = OrderType::StopLimit;
        assert_eq!(describe(check_amended(&shown, &exit, true)), "not yet");
        let stop = OrderChange::new().order_type(OrderType::Stop);
        assert_eq!(describe(check_amended(&shown, &stop, true)), "unclear");
    }

    #[test]
    fn what_shows_nowhere_alone() {
        assert!(!is_visible(&OrderChange::new().disclosed_quantity(1)));
        assert!(!is_visible(&OrderChange::new().market_protection(MarketProtection::AUTO)));
        assert!(!is_visible(&OrderChange::new().extra("parent_order_id", "7")));
        assert!(is_visible(&OrderChange::new().disclosed_quantity(1).price(2)));
    }
}
