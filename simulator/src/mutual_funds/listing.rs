//! The mutual funds that are listed: three invented ones, whose price does not move.

use rust_decimal::Decimal;

use crate::http::form::FormFields;
use crate::http::response::ApiError;

/// A mutual fund and its terms. Its symbol is its ISIN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fund {
    pub(crate) isin: &'static str,
    pub(crate) name: &'static str,
    pub(crate) purchase_allowed: bool,
    pub(crate) minimum_purchase: Decimal,
    pub(crate) purchase_multiple: Decimal,
    pub(crate) minimum_additional: Decimal,
    pub(crate) dividend_type: &'static str,
    pub(crate) scheme_type: &'static str,
    pub(crate) plan: &'static str,
    pub(crate) settlement_type: &'static str,
    pub(crate) last_price: Decimal,
}

/// The house of all funds.
pub(crate) const HOUSE: &str = "PaperMutualFund_MF";

/// The smallest number of units that can be redeemed, and the step.
pub(crate) const REDEMPTION_STEP: Decimal = decimal(1, 3);

/// The funds, in the order of the listing.
pub(crate) static FUNDS: [Fund; 3] = [
    Fund {
        isin: "INF000P01011",
        name: "Paper Equity Fund - Direct Plan",
        purchase_allowed: true,
        minimum_purchase: decimal(5000, 0),
        purchase_multiple: decimal(1, 0),
        minimum_additional: decimal(1000, 0),
        dividend_type: "growth",
        scheme_type: "equity",
        plan: "direct",
        settlement_type: "T3",
        last_price: decimal(1_234_500, 4),
    },
    Fund {
        isin: "INF000P01029",
        name: "Paper Liquid Fund - Direct Plan",
        purchase_allowed: true,
        minimum_purchase: decimal(100, 0),
        purchase_multiple: decimal(50, 0),
        minimum_additional: decimal(100, 0),
        dividend_type: "payout",
        scheme_type: "liquid",
        plan: "direct",
        settlement_type: "T1",
        last_price: decimal(10_012_345, 4),
    },
    Fund {
        isin: "INF000P01037",
        name: "Paper Closed Fund",
        purchase_allowed: false,
        minimum_purchase: decimal(5000, 0),
        purchase_multiple: decimal(1, 0),
        minimum_additional: decimal(1000, 0),
        dividend_type: "growth",
        scheme_type: "balanced",
        plan: "regular",
        settlement_type: "T3",
        last_price: decimal(456_700, 4),
    },
];

const fn decimal(digits: u32, scale: u32) -> Decimal {
    Decimal::from_parts(digits, 0, 0, false, scale)
}

impl Fund {
    pub(crate) fn with_isin(isin: &str) -> Option<&'static Self> {
        FUNDS.iter().find(|fund| fund.isin == isin)
    }

    /// Checks an amount to invest, of an account that holds the fund already or does not. `field` is the field of the
    /// form that it is in.
    pub(crate) fn check_purchase(
        &self,
        field: &str,
        amount: Decimal,
        additional: bool,
    ) -> Result<(), ApiError> {
        if !self.purchase_allowed {
            return Err(ApiError::input("Purchases of this fund are not allowed."));
        }
        let minimum = if additional { self.minimum_additional } else { self.minimum_purchase };
        let is_multiple = amount.checked_rem(self.purchase_multiple).is_some_and(|it| it.is_zero());
        match amount >= minimum && is_multiple {
            true => Ok(()),
            false => Err(FormFields::invalid(field)),
        }
    }

    /// Checks the number of units to redeem.
    pub(crate) fn check_redemption(&self, quantity: Decimal) -> Result<(), ApiError> {
        let is_multiple = quantity.checked_rem(REDEMPTION_STEP).is_some_and(|it| it.is_zero());
        match quantity > Decimal::ZERO && is_multiple {
            true => Ok(()),
            false => Err(FormFields::invalid("quantity")),
        }
    }
}
