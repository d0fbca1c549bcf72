//! Mutual funds: what is listed, and the orders, SIPs (systematic investment plans) and holdings of an account.
//!
//! Orders stay open until they are cancelled, as real ones do until the next price of their fund is known. No
//! instalment of a SIP falls due, and no cash of the paper broker is used. `wire::funds` and `wire::sips` parse and
//! render them.

pub(crate) mod listing;
pub(crate) mod sip;

use jiff::Zoned;
use rust_decimal::Decimal;

use lanekeeper::broker::Side;

use self::listing::Fund;
use self::sip::Sip;
use crate::accounts::register::{Entry, Register};
use crate::http::form::FormFields;
use crate::http::response::ApiError;

/// Bounds an amount, a price and a number of units, so that sums fit into the arithmetic.
pub(crate) const MAX_NUMBER: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// An order of a mutual fund: an amount to invest, or units to redeem.
#[derive(Debug, Clone)]
pub(crate) struct FundOrder {
    pub(crate) fund: &'static Fund,
    pub(crate) side: Side,
    /// Zero for a redemption.
    pub(crate) amount: Decimal,
    /// Zero for a purchase.
    pub(crate) quantity: Decimal,
    pub(crate) tag: Option<String>,
    /// Whether a SIP placed it.
    pub(crate) of_sip: bool,
    pub(crate) placed_at: Zoned,
    pub(crate) cancelled: bool,
}

/// Units of a fund that an account holds.
#[derive(Debug, Clone)]
pub(crate) struct FundHolding {
    pub(crate) fund: &'static Fund,
    pub(crate) quantity: Decimal,
    pub(crate) average_price: Decimal,
}

/// The mutual funds of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct FundAccount {
    pub(crate) orders: Register<FundOrder>,
    pub(crate) sips: Register<Sip>,
    pub(crate) holdings: Vec<FundHolding>,
}

impl FundOrder {
    pub(crate) fn status(&self) -> &'static str {
        if self.cancelled { "CANCELLED" } else { "OPEN" }
    }
}

impl Entry for FundOrder {
    fn is_open(&self) -> bool {
        !self.cancelled
    }
}

impl FundAccount {
    /// Returns whether the account holds the fund, so that a purchase is an additional one.
    pub(crate) fn holds(&self, fund: &Fund) -> bool {
        self.held(fund) > Decimal::ZERO
    }

    /// Checks an order against the terms of its fund and against the holdings, and adds it.
    pub(crate) fn place(&mut self, number: u64, order: FundOrder) -> Result<(), ApiError> {
        match order.side {
            Side::Buy => {
                order.fund.check_purchase("amount", order.amount, self.holds(order.fund))?
            }
            Side::Sell => {
                order.fund.check_redemption(order.quantity)?;
                let redeemed: Decimal = self
                    .orders
                    .iter()
                    .map(|(_, open)| open)
                    .filter(|open| open.is_open() && open.fund.isin == order.fund.isin)
                    .map(|open| open.quantity)
                    .sum();
                if order.quantity > self.held(order.fund) - redeemed {
                    return Err(ApiError::input("Insufficient quantity to redeem."));
                }
            }
        }
        self.orders.insert(number, order, "mutual fund orders")
    }

    /// Cancels an open order.
    pub(crate) fn cancel(&mut self, number: u64) -> Result<(), ApiError> {
        let order = self.orders.get_mut(number).ok_or_else(unknown_order)?;
        if order.cancelled {
            return Err(ApiError::input("The order is cancelled already."));
        }
        order.cancelled = true;
        Ok(())
    }

    pub(crate) fn order(&self, number: u64) -> Result<&FundOrder, ApiError> {
        self.orders.get(number).ok_or_else(unknown_order)
    }

    fn held(&self, fund: &Fund) -> Decimal {
        let of_fund = self.holdings.iter().filter(|holding| holding.fund.isin == fund.isin);
        of_fund.map(|holding| holding.quantity).sum()
    }
}

/// Returns the fund with this ISIN, which a form names in `tradingsymbol`.
pub(crate) fn find_fund(isin: &str) -> Result<&'static Fund, ApiError> {
    Fund::with_isin(isin).ok_or_else(|| FormFields::invalid("tradingsymbol"))
}

fn unknown_order() -> ApiError {
    ApiError::not_found("Couldn't find that `order_id`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(isin: &str, side: Side, number: i64) -> FundOrder {
        let (amount, quantity) = match side {
            Side::Buy => (number.into(), Decimal::ZERO),
            Side::Sell => (Decimal::ZERO, number.into()),
        };
        FundOrder {
            fund: Fund::with_isin(isin).unwrap(),
            side,
            amount,
            quantity,
            tag: None,
            of_sip: false,
            placed_at: "2024-01-01T10:00:00+05:30[+05:30]".parse().unwrap(),
            cancelled: false,
        }
    }

    #[test]
    fn only_held_units_are_redeemed_and_each_once() {
        let mut account = FundAccount::default();
        let growth = "INF000P01011";
        assert!(account.place(1, order(growth, Side::Sell, 1)).is_err());
        let fund = Fund::with_isin(growth).unwrap();
        account.holdings.push(FundHolding { fund, quantity: 10.into(), average_price: 100.into() });
        assert_eq!(account.place(1, order(growth, Side::Sell, 6)), Ok(()));
        assert!(account.place(2, order(growth, Side::Sell, 5)).is_err());
        assert_eq!(account.cancel(1), Ok(()));
        assert!(account.cancel(1).is_err() && account.cancel(2).is_err());
        assert_eq!(account.place(2, order(growth, Side::Sell, 10)), Ok(()));
    }

    #[test]
    fn a_purchase_keeps_to_the_terms_of_its_fund() {
        let mut account = FundAccount::default();
        for (isin, amount, ok) in [
            ("INF000P01011", 5000, true),
            ("INF000P01011", 4999, false),
            ("INF000P01029", 150, true),
            ("INF000P01029", 149, false),
            ("INF000P01037", 5000, false),
        ] {
            let placed = account.place(1, order(isin, Side::Buy, amount));
            assert_eq!(placed.is_ok(), ok, "{isin} {amount}");
        }
        // An additional purchase may be smaller.
        let fund = Fund::with_isin("INF000P01011").unwrap();
        account.holdings.push(FundHolding { fund, quantity: 1.into(), average_price: 1.into() });
        assert_eq!(account.place(2, order("INF000P01011", Side::Buy, 1000)), Ok(()));
    }
}
