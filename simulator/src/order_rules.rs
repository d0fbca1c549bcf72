//! The exchange's rules for orders, in addition to what the paper broker behind it checks: freeze quantities,
//! slices and tick sizes.
//!
//! `wire::placement` and `wire::orders` apply them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use lanekeeper::broker::{Exchange, OrderRequest};

use crate::http::response::ApiError;

/// The field of an iceberg order's `extra` that holds the leg quantity.
pub(crate) const LEG_QUANTITY_FIELD: &str = "iceberg_quantity";

/// Bounds the slices of one order. Kite has this bound to stay within its ten orders a second.
const MAX_SLICES: u8 = 10;

/// The rules of a simulated exchange.
#[derive(Debug, Clone)]
pub(crate) struct OrderRules {
    /// The largest quantity of one order, by exchange.
    freeze_quantities: BTreeMap<Exchange, Decimal>,
}

impl Default for OrderRules {
    /// Returns freeze quantities of the order of magnitude of the real ones, which depend on the instrument: an
    /// equity order at Zerodha is for at most 100,000, one of NIFTY options for 1,800 at NSE, and one of SENSEX
    /// options for 1,000 at BSE.
    fn default() -> Self {
        let freeze = [
            (Exchange::Nse, 100_000),
            (Exchange::Bse, 100_000),
            (Exchange::Nfo, 1800),
            (Exchange::Bfo, 1000),
        ];
        Self { freeze_quantities: freeze.map(|(exchange, most)| (exchange, most.into())).into() }
    }
}

impl OrderRules {
    /// Sets the largest quantity of one order at `exchange`.
    pub(crate) fn set_freeze_quantity(&mut self, exchange: Exchange, most: Decimal) {
        self.freeze_quantities.insert(exchange, most);
    }

    /// Returns an exchange whose freeze quantity no order can satisfy, if there is one.
    pub(crate) fn invalid_exchange(&self) -> Option<&Exchange> {
        let is_invalid = |most: &Decimal| *most < Decimal::ONE || !most.fract().is_zero();
        self.freeze_quantities
            .iter()
            .find(|(_, most)| is_invalid(most))
            .map(|(exchange, _)| exchange)
    }

    fn max_quantity(&self, order: &OrderRequest) -> Option<Decimal> {
        self.freeze_quantities.get(&Exchange::from(order.instrument.exchange())).copied()
    }

    /// Returns the quantities of the slices of an order: a single one unless the order is to be divided.
    pub(crate) fn slices(&self, order: &OrderRequest) -> Result<Vec<Decimal>, ApiError> {
        let whole = order.quantity;
        let Some(most) = self.max_quantity(order) else { return Ok(vec![whole]) };
        if let Some(leg) = leg_quantity(order) {
            return if leg > most { Err(too_large_error(leg, most)) } else { Ok(vec![whole]) };
        }
        match (order.autoslice, whole > most) {
            (false, false) => Ok(vec![whole]),
            (false, true) => Err(too_large_error(whole, most)),
            // Kite rejects `autoslice` on an order that needs no slicing, with this message.
            (true, false) => Err(ApiError::input(format!(
                "Quantity should be greater than {most} for order slicing."
            ))),
            (true, true) if whole > most * Decimal::from(MAX_SLICES) => Err(ApiError::input(
                format!("The order would be divided into more than {MAX_SLICES} slices of {most}."),
            )),
            (true, true) => Ok(split_quantity(whole, most)),
        }
    }

    /// Checks whether the exchange accepts an order that is changed to `quantity`.
    ///
    /// # Errors
    /// `quantity` is above the freeze quantity.
    pub(crate) fn check(&self, order: &OrderRequest, quantity: Decimal) -> Result<(), ApiError> {
        let most = self.max_quantity(order).filter(|_| leg_quantity(order).is_none());
        match most.filter(|most| quantity > *most) {
            Some(most) => Err(too_large_error(quantity, most)),
            None => Ok(()),
        }
    }
}

/// Checks whether each of these prices is a multiple of the tick size. Each comes with Kite's name for it.
pub(crate) fn check_ticks(
    tick: Option<Decimal>,
    prices: [(&str, Option<Decimal>); 2],
) -> Result<(), ApiError> {
    let Some(tick) = tick.filter(|tick| !tick.is_zero()) else { return Ok(()) };
    let is_off = |(_, price): &(&str, Option<Decimal>)| {
        price.is_some_and(|price| !price.checked_rem(tick).unwrap_or_default().is_zero())
    };
    match prices.iter().find(|price| is_off(price)) {
        // Kite's message.
        Some((name, _)) => Err(ApiError::input(format!(
            "Tick size for this script is {tick:.2}. Kindly enter {name} in the multiple of tick size for \
             this script"
        ))),
        None => Ok(()),
    }
}

/// Returns the leg quantity of an iceberg order, which is the part of the order that the exchange sees.
fn leg_quantity(order: &OrderRequest) -> Option<Decimal> {
    order.extra.get(LEG_QUANTITY_FIELD)?.parse().ok()
}

/// Divides `whole` into slices of `most` and one slice of the rest.
fn split_quantity(whole: Decimal, most: Decimal) -> Vec<Decimal> {
    let mut slices = Vec::new();
    let mut remaining = whole;
    while remaining > Decimal::ZERO {
        slices.push(remaining.min(most));
        remaining -= most;
    }
    slices
}

/// Returns Kite's error for a quantity above the freeze quantity. The lot size is 1, as in the listing.
fn too_large_error(quantity: Decimal, most: Decimal) -> ApiError {
    ApiError::input(format!(
        "The order quantity {quantity} ({quantity} lots) is higher than the maximum quantity of {most} \
         ({most} lots) allowed by the exchanges. Please reduce the order quantity or use iceberg orders."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lanekeeper::broker::{Instrument, Side};

    fn slices(exchange: &str, quantity: u64, autoslice: bool) -> Result<Vec<Decimal>, ApiError> {
        let mut rules = OrderRules::default();
        rules.set_freeze_quantity(Exchange::Nse, 4.into());
        let order = OrderRequest::market(Instrument::new(exchange, "X"), Side::Buy, quantity);
        rules.slices(&order.autoslice(autoslice))
    }

    #[test]
    fn an_order_is_divided_into_ten_slices_at_most() {
        let of = |numbers: &[u64]| Ok(numbers.iter().copied().map(Decimal::from).collect());
        assert_eq!(slices("NSE", 4, false), of(&[4]));
        assert!(slices("NSE", 5, false).is_err());
        assert!(slices("NSE", 4, true).is_err());
        assert_eq!(slices("NSE", 5, true), of(&[4, 1]));
        assert_eq!(slices("NSE", 8, true), of(&[4, 4]));
        assert_eq!(slices("NSE", 40, true), of(&[4; 10]));
        assert!(slices("NSE", 41, true).is_err());
        // An exchange without a freeze quantity has no bound.
        assert_eq!(slices("MCX", 1_000_000, false), of(&[1_000_000]));
        assert!(slices("NFO", 1801, false).is_err());
        // The exchange sees the legs of an iceberg order one after the other.
        let of_legs = |leg: u64| {
            let order = OrderRequest::market(Instrument::new("NFO", "X"), Side::Buy, 20_000);
            OrderRules::default().slices(&order.extra(LEG_QUANTITY_FIELD, leg.to_string()))
        };
        assert_eq!((of_legs(1800), of_legs(1801).is_err()), (of(&[20_000]), true));
    }

    #[test]
    fn a_price_is_a_multiple_of_the_tick_size() {
        let dec = |text: &str| Some(text.parse::<Decimal>().unwrap());
        let check = |tick, price, trigger| {
            check_ticks(tick, [("price", price), ("trigger price", trigger)])
                .map_err(|it| it.to_slice_json())
        };
        assert_eq!(check(dec("0.05"), dec("1.05"), dec("1.10")), Ok(()));
        assert_eq!(check(dec("0.05"), None, None), Ok(()));
        assert_eq!(check(None, dec("1.03"), None), Ok(()));
        let message =
            |refused: Result<(), serde_json::Value>| refused.unwrap_err()["message"].to_string();
        assert_eq!(
            message(check(dec("0.5"), dec("1.03"), None)),
            "\"Tick size for this script is 0.50. Kindly enter price in the multiple of tick size for this \
             script\""
        );
        assert!(
            message(check(dec("5"), None, dec("7"))).contains("5.00. Kindly enter trigger price")
        );
    }

    #[test]
    fn a_bound_that_no_order_satisfies_is_reported() {
        let mut rules = OrderRules::default();
        assert_eq!(rules.invalid_exchange(), None);
        rules.set_freeze_quantity(Exchange::Bse, Decimal::ZERO);
        assert_eq!(rules.invalid_exchange(), Some(&Exchange::Bse));
    }
}
