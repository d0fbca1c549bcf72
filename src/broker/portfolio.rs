//! What the account holds and may spend.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::Instrument;
use super::order::Product;

/// An open position, or one that was closed today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Position {
    /// Of what.
    pub instrument: Instrument,
    /// How the shares are held.
    pub product: Option<Product>,
    /// How much; below zero is short.
    pub quantity: Decimal,
    /// The part of it carried over from the day before.
    pub overnight_quantity: Decimal,
    /// The units of value in one unit of quantity.
    pub multiplier: Decimal,
    /// The mean price at which it was entered.
    pub average_price: Decimal,
    /// The price of the last trade in the market.
    pub last_price: Option<Decimal>,
    /// Profit and loss, in the account's currency.
    pub pnl: Option<Decimal>,
    /// The part of it that is sure.
    pub realised: Option<Decimal>,
    /// The part of it that still moves.
    pub unrealised: Option<Decimal>,
    /// Bought today.
    pub buy_quantity: Decimal,
    /// What the day's buys cost.
    pub buy_value: Decimal,
    /// Sold today.
    pub sell_quantity: Decimal,
    /// What the day's sales brought.
    pub sell_value: Decimal,
}

impl Position {
    /// An empty position.
    pub fn new(instrument: Instrument, product: Option<Product>) -> Self {
        Self {
            instrument,
            product,
            quantity: Decimal::ZERO,
            overnight_quantity: Decimal::ZERO,
            multiplier: Decimal::ONE,
            average_price: Decimal::ZERO,
            last_price: None,
            pnl: None,
            realised: None,
            unrealised: None,
            buy_quantity: Decimal::ZERO,
            buy_value: Decimal::ZERO,
            sell_quantity: Decimal::ZERO,
            sell_value: Decimal::ZERO,
        }
    }
}

/// The account's positions, seen in two ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Positions {
    /// What is held now.
    pub net: Vec<Position>,
    /// What today's trading did. Empty where a broker does not tell the two apart.
    pub day: Vec<Position>,
}

impl Positions {
    /// Both views.
    pub fn new(net: Vec<Position>, day: Vec<Position>) -> Self {
        Self { net, day }
    }
}

/// Shares in the account, held beyond the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holding {
    /// Of what.
    pub instrument: Instrument,
    /// The international securities number, where known.
    pub isin: Option<String>,
    /// How many can be sold.
    pub quantity: Decimal,
    /// How many were bought but not yet delivered.
    pub unsettled_quantity: Decimal,
    /// The mean price paid.
    pub average_price: Decimal,
    /// The price of the last trade in the market.
    pub last_price: Option<Decimal>,
    /// Profit and loss, in the account's currency.
    pub pnl: Option<Decimal>,
}

impl Holding {
    /// `quantity` shares bought at `average_price`.
    pub fn new(instrument: Instrument, quantity: Decimal, average_price: Decimal) -> Self {
        Self {
            instrument,
            isin: None,
            quantity,
            unsettled_quantity: Decimal::ZERO,
            average_price,
            last_price: None,
            pnl: None,
        }
    }
}

/// The money of one segment, in the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Margin {
    /// Whether the account may trade in the segment.
    pub enabled: bool,
    /// What can be used now.
    pub net: Decimal,
    /// Where it comes from, by the broker's own names (`cash`, `collateral`, ..).
    pub available: BTreeMap<String, Decimal>,
    /// What holds the rest, by the broker's own names (`debits`, `span`, ..).
    pub used: BTreeMap<String, Decimal>,
}

/// Margins by segment (`equity`, `commodity`; one called `account` where there is only one).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Margins {
    /// Each segment's money.
    pub segments: BTreeMap<String, Margin>,
}

impl Margins {
    /// The money of `segment`, if the account has it.
    pub fn segment(&self, segment: &str) -> Option<&Margin> {
        self.segments.get(segment)
    }
}

/// Whose account it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// The broker's id of the account.
    pub user_id: String,
    /// The holder's name.
    pub user_name: String,
    /// The holder's address for mail; may be empty.
    pub email: String,
    /// The broker's name.
    pub broker: String,
    /// Where the account may trade.
    pub exchanges: Vec<String>,
    /// What it may hold, by the broker's words.
    pub products: Vec<String>,
}
