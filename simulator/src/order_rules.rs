//! The exchange's rules for orders, in addition to what the paper broker behind it checks: varieties, freeze quantities,
//! slices, tick sizes and circuit limits.
//!
//! `wire::placement` and `wire::orders` apply them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use lanekeeper::broker::{Exchange, OrderRequest, OrderType, Side, Variety};
use lanekeeper::brokers::PaperBroker;

use crate::http::response::ApiError;

/// Bounds the slices of one order. Kite has this bound to stay within its ten orders a second.
const MAX_SLICES: u8 = 10;

/// The rules of a simulated exchange.
#[derive(Debug, Clone)]
pub(crate) struct OrderRules {
    /// The largest quantity of one order, by exchange.
    freeze_quantities: BTreeMap<Exchange, Decimal>,
    /// Whether prices beyond the circuit limits are rejected.
    circuit_limits: bool,
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
        let freeze_quantities = freeze.map(|(exchange, most)| (exchange, most.into())).into();
        Self { freeze_quantities, circuit_limits: true }
    }
}

impl OrderRules {
    /// Sets the largest quantity of one order at `exchange`.
    pub(crate) fn set_freeze_quantity(&mut self, exchange: Exchange, most: Decimal) {
        self.freeze_quantities.insert(exchange, most);
    }

    /// Sets whether prices beyond the circuit limits are rejected.
    pub(crate) fn set_circuit_limits(&mut self, enforced: bool) {
        self.circuit_limits = enforced;
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
    pub(crate) fn check_quantity(
        &self,
        order: &OrderRequest,
        quantity: Decimal,
    ) -> Result<(), ApiError> {
        match self.max_quantity(order).filter(|most| quantity > *most) {
            Some(most) => Err(too_large_error(quantity, most)),
            None => Ok(()),
        }
    }

    /// Checks the prices that an order names when it is placed or changed: whole ticks, within the circuit limits where
    /// its type uses them.
    pub(crate) fn check_prices(
        &self,
        broker: &PaperBroker,
        order: &OrderRequest,
    ) -> Result<(), ApiError> {
        self.check_tick_size(broker, order)?;
        let (price, trigger) = (order.price, order.trigger_price);
        let limits = broker.backend().circuit_limits(&order.instrument);
        let Some(limits) = limits.filter(|_| self.circuit_limits) else { return Ok(()) };
        let of_types = |types: [OrderType; 2]| types.contains(&order.order_type);
        let price = price.filter(|_| of_types([OrderType::Limit, OrderType::StopLimit]));
        let trigger = trigger.filter(|_| of_types([OrderType::Stop, OrderType::StopLimit]));
        check_circuits([limits.lower, limits.upper], order.side, price, trigger)
    }

    /// Checks whether the prices that an order names are whole ticks.
    pub(crate) fn check_tick_size(
        &self,
        broker: &PaperBroker,
        order: &OrderRequest,
    ) -> Result<(), ApiError> {
        let tick = broker.backend().tick_size(&order.instrument);
        check_ticks(tick, [("price", order.price), ("trigger price", order.trigger_price)])
    }
}

/// Checks whether orders of this variety are simulated. An order of another variety would be filled like a regular one,
/// and a strategy that relies on what is special about it would look correct.
pub(crate) fn check_variety(variety: &Variety) -> Result<(), ApiError> {
    // Kite's message for the days on which it takes no cover orders. The others are not known from Kite.
    let message = match variety {
        Variety::Co => {
            "Cover orders are blocked for the day. Try placing an order in CNC, MIS, or NRML product type."
        }
        Variety::Amo => {
            "After market orders (AMO) cannot be placed while the market is open, and the simulated market is always \
             open. Place a regular order."
        }
        Variety::Iceberg => {
            "Iceberg orders are not simulated. Place a regular order, with autoslice if the quantity is large."
        }
        Variety::Auction => "Auction orders are not simulated: no auction is in progress.",
        _ => return Ok(()),
    };
    Err(ApiError::input(message))
}

/// Checks prices against the lower and the upper circuit limit.
fn check_circuits(
    [lower, upper]: [Decimal; 2],
    side: Side,
    price: Option<Decimal>,
    trigger: Option<Decimal>,
) -> Result<(), ApiError> {
    // The messages are Kite's.
    let of_price = |than: &str, limit: Decimal| {
        ApiError::input(format!(
            "Your order price is {than} circuit limit of {limit:.2}. Place an order within the daily range."
        ))
    };
    let side = match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    let of_trigger = |than: &str, towards: &str, limit: Decimal| {
        ApiError::input(format!(
            "Trigger price for stoploss {side} orders cannot be {than} circuit price. Please try placing the order \
             with trigger price {towards} {limit:.2}."
        ))
    };
    match (price, trigger) {
        (Some(price), _) if price < lower => Err(of_price("lower than the current lower", lower)),
        (Some(price), _) if price > upper => Err(of_price("higher than the current upper", upper)),
        (_, Some(price)) if price < lower => Err(of_trigger("below the lower", "above", lower)),
        (_, Some(price)) if price > upper => Err(of_trigger("above the upper", "below", upper)),
        _ => Ok(()),
    }
}

/// Checks whether each of these prices is a multiple of the tick size. Each comes with Kite's name for it.
fn check_ticks(
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
    fn a_price_lies_within_the_circuit_limits() {
        let check = |side, price: Option<i64>, trigger: Option<i64>| {
            let [lower, upper] = [80, 120].map(Decimal::from);
            check_circuits([lower, upper], side, price.map(Into::into), trigger.map(Into::into))
        };
        for side in [Side::Buy, Side::Sell] {
            for price in [80, 100, 120] {
                assert_eq!(check(side, Some(price), Some(price)), Ok(()));
            }
            assert_eq!(check(side, None, None), Ok(()));
        }
        for (side, price, trigger, message) in [
            (
                Side::Buy,
                Some(79),
                None,
                "Your order price is lower than the current lower circuit limit of 80.00. Place an order within \
                 the daily range.",
            ),
            (
                Side::Sell,
                Some(121),
                Some(121),
                "Your order price is higher than the current upper circuit limit of 120.00. Place an order within \
                 the daily range.",
            ),
            (
                Side::Sell,
                None,
                Some(79),
                "Trigger price for stoploss sell orders cannot be below the lower circuit price. Please try placing \
                 the order with trigger price above 80.00.",
            ),
            (
                Side::Buy,
                Some(100),
                Some(121),
                "Trigger price for stoploss buy orders cannot be above the upper circuit price. Please try placing \
                 the order with trigger price below 120.00.",
            ),
        ] {
            assert_eq!(check(side, price, trigger), Err(ApiError::input(message)));
        }
    }

    #[test]
    fn a_bound_that_no_order_satisfies_is_reported() {
        let mut rules = OrderRules::default();
        assert_eq!(rules.invalid_exchange(), None);
        rules.set_freeze_quantity(Exchange::Bse, Decimal::ZERO);
        assert_eq!(rules.invalid_exchange(), Some(&Exchange::Bse));
    }
}
