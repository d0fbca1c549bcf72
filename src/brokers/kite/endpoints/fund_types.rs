//! Mutual funds: orders, holdings, and the listing.

use jiff::Zoned;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::ids::FundOrderId;
use crate::broker::{OrderStatus, Side};

/// An order of units of a mutual fund. Funds are bought for an amount, and sold by the unit.
///
/// ```
/// use lanekeeper::brokers::kite::FundOrderRequest;
/// use lanekeeper::rust_decimal::Decimal;
///
/// let buy = FundOrderRequest::buy("INF209K01VD7", 5000).tag("monthly");
/// let sell = FundOrderRequest::sell("INF209K01VD7", Decimal::new(12_345, 3));
/// assert_eq!((buy.quantity, sell.amount), (None, None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FundOrderRequest {
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// Buy or sell.
    pub side: Side,
    /// The amount to invest, in rupees. Only to buy.
    pub amount: Option<Decimal>,
    /// The units to sell, which may have a fraction. Only to sell.
    pub quantity: Option<Decimal>,
    /// The caller's own mark on the order, of up to 20 letters and digits.
    pub tag: Option<String>,
}

impl FundOrderRequest {
    /// Creates an order to buy units for `amount` rupees.
    pub fn buy(fund: impl Into<String>, amount: impl Into<Decimal>) -> Self {
        let (side, amount) = (Side::Buy, Some(amount.into()));
        Self { fund: fund.into(), side, amount, quantity: None, tag: None }
    }

    /// Creates an order to sell `quantity` units.
    pub fn sell(fund: impl Into<String>, quantity: impl Into<Decimal>) -> Self {
        let (side, quantity) = (Side::Sell, Some(quantity.into()));
        Self { fund: fund.into(), side, amount: None, quantity, tag: None }
    }

    /// Marks the order.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

/// An order of a mutual fund as Kite shows it at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FundOrder {
    /// Kite's id of the order.
    pub id: FundOrderId,
    /// The id of the order at the platform of the exchange, once it has one.
    pub exchange_order_id: Option<String>,
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// The name of the fund.
    pub fund_name: Option<String>,
    /// Buy or sell.
    pub side: Side,
    /// The state of the order.
    pub status: OrderStatus,
    /// Kite's words on the state.
    pub status_message: Option<String>,
    /// The amount that is invested, in rupees.
    pub amount: Decimal,
    /// The units. Zero until the fund has allotted them.
    pub quantity: Decimal,
    /// The price at which units were allotted.
    pub average_price: Option<Decimal>,
    /// The last published value of a unit.
    pub last_price: Option<Decimal>,
    /// The day of `last_price`.
    pub last_price_day: Option<Date>,
    /// The folio in which the units are held.
    pub folio: Option<String>,
    /// How the order came about, in Kite's word: `regular`, `sip`, `amc_sip`.
    pub variety: Option<String>,
    /// `FRESH`, or `ADDITIONAL` for a fund that is held already.
    pub purchase_type: Option<String>,
    /// The exchange's id of the settlement.
    pub settlement_id: Option<String>,
    /// The caller's tag.
    pub tag: Option<String>,
    /// The user that placed the order.
    pub placed_by: Option<String>,
    /// When Kite accepted the order.
    pub placed_at: Option<Zoned>,
    /// The day on which the exchange got the order.
    pub exchange_day: Option<Date>,
}

/// Units of a mutual fund in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FundHolding {
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// The name of the fund.
    pub fund_name: Option<String>,
    /// The folio in which the units are held.
    pub folio: Option<String>,
    /// The units.
    pub quantity: Decimal,
    /// The units that are pledged.
    pub pledged_quantity: Decimal,
    /// The mean price paid for a unit.
    pub average_price: Decimal,
    /// The last published value of a unit.
    pub last_price: Option<Decimal>,
    /// The day of `last_price`.
    pub last_price_day: Option<Date>,
    /// Profit and loss, in rupees, if Kite computes it: it writes zero otherwise.
    pub pnl: Option<Decimal>,
}

/// A mutual fund in Kite's listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FundInstrument {
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// The code of the company that manages it.
    pub amc: String,
    /// Its name.
    pub name: String,
    /// Whether units can be bought.
    pub purchase_allowed: bool,
    /// Whether units can be sold.
    pub redemption_allowed: bool,
    /// The least amount of a first order to buy, in rupees.
    pub minimum_purchase_amount: Option<Decimal>,
    /// The step of that amount, in rupees.
    pub purchase_amount_multiplier: Option<Decimal>,
    /// The least amount of further orders to buy, in rupees.
    pub minimum_additional_purchase_amount: Option<Decimal>,
    /// The least number of units of an order to sell.
    pub minimum_redemption_quantity: Option<Decimal>,
    /// The step of that number.
    pub redemption_quantity_multiplier: Option<Decimal>,
    /// How dividends are used, in Kite's word: `payout`, `growth`.
    pub dividend_type: String,
    /// The kind of the fund, in Kite's word: `equity`, `debt`, `liquid`.
    pub scheme_type: String,
    /// `direct` or `regular`.
    pub plan: String,
    /// When units are settled, in Kite's word: `T3` is three days after the trade.
    pub settlement_type: String,
    /// The last published value of a unit.
    pub last_price: Option<Decimal>,
    /// The day of `last_price`.
    pub last_price_day: Option<Date>,
}
