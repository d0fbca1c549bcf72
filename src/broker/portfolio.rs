//! The account: its positions, holdings, margins and profile.

use std::collections::BTreeMap;

use jiff::Zoned;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::Instrument;
use super::order::Product;

/// A position that is open, or was closed today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Position {
    /// The instrument that is held.
    pub instrument: Instrument,
    /// How the shares are held.
    pub product: Option<Product>,
    /// The quantity. A negative quantity is a short position.
    pub quantity: Decimal,
    /// The part of the quantity that was carried over from the day before.
    pub overnight_quantity: Decimal,
    /// The units of value in one unit of quantity.
    pub multiplier: Decimal,
    /// The mean price at which the position was entered.
    pub average_price: Decimal,
    /// The price of the last trade in the market.
    pub last_price: Option<Decimal>,
    /// Profit and loss, in the account's currency.
    pub pnl: Option<Decimal>,
    /// The part of `pnl` that is realised by closing trades.
    pub realised: Option<Decimal>,
    /// The part of `pnl` that still changes with the market.
    pub unrealised: Option<Decimal>,
    /// The quantity bought today.
    pub buy_quantity: Decimal,
    /// The value of today's buys.
    pub buy_value: Decimal,
    /// The quantity sold today.
    pub sell_quantity: Decimal,
    /// The value of today's sales.
    pub sell_value: Decimal,
}

impl Position {
    /// Creates a position with no quantity.
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

/// The account's positions, in two views.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Positions {
    /// The positions that are held now.
    pub net: Vec<Position>,
    /// The positions from today's trading. Empty if the broker does not distinguish the two.
    pub day: Vec<Position>,
}

impl Positions {
    /// Creates positions from both views.
    pub fn new(net: Vec<Position>, day: Vec<Position>) -> Self {
        Self { net, day }
    }
}

/// Shares in the account that are held beyond the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holding {
    /// The instrument that is held.
    pub instrument: Instrument,
    /// The International Securities Identification Number, if known.
    pub isin: Option<String>,
    /// The quantity that can be sold.
    pub quantity: Decimal,
    /// The quantity that was bought and is not delivered yet.
    pub unsettled_quantity: Decimal,
    /// The part of the quantity that was sold today.
    #[serde(default)]
    pub used_quantity: Decimal,
    /// The part of the quantity that the holder has authorised for sale. In India a sale needs it where the broker has
    /// no power of attorney.
    #[serde(default)]
    pub authorised_quantity: Decimal,
    /// The time that the broker states for this authorisation.
    #[serde(default)]
    pub authorised_at: Option<Zoned>,
    /// The quantity that is pledged as collateral.
    #[serde(default)]
    pub collateral_quantity: Decimal,
    /// The kind of the pledge, in the broker's own words.
    #[serde(default)]
    pub collateral_type: Option<String>,
    /// What was bought with money that the broker lent. Kite does not count it in `quantity`.
    #[serde(default)]
    pub margin_funded: Option<MarginFunded>,
    /// The mean price paid.
    pub average_price: Decimal,
    /// Whether the broker doubts `average_price`, for example after a transfer from another depository.
    #[serde(default)]
    pub discrepancy: bool,
    /// The price of the last trade in the market.
    pub last_price: Option<Decimal>,
    /// The previous day's closing price.
    #[serde(default)]
    pub close_price: Option<Decimal>,
    /// Profit and loss, in the account's currency.
    pub pnl: Option<Decimal>,
}

/// Shares that were bought with money that the broker lent (in India: margin trading facility).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MarginFunded {
    /// The quantity that is held.
    pub quantity: Decimal,
    /// The part of it that was sold today.
    pub used_quantity: Decimal,
    /// The mean price paid.
    pub average_price: Decimal,
    /// The value at which it was bought, in the account's currency.
    pub value: Decimal,
    /// The margin that the holder paid, in the account's currency.
    pub initial_margin: Decimal,
}

impl Holding {
    /// Creates a holding of `quantity` shares bought at `average_price`.
    pub fn new(instrument: Instrument, quantity: Decimal, average_price: Decimal) -> Self {
        Self {
            instrument,
            isin: None,
            quantity,
            unsettled_quantity: Decimal::ZERO,
            used_quantity: Decimal::ZERO,
            authorised_quantity: Decimal::ZERO,
            authorised_at: None,
            collateral_quantity: Decimal::ZERO,
            collateral_type: None,
            margin_funded: None,
            average_price,
            discrepancy: false,
            last_price: None,
            close_price: None,
            pnl: None,
        }
    }
}

/// The funds of one segment, in the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Margin {
    /// Whether the account may trade in the segment.
    pub enabled: bool,
    /// The amount that can be used now.
    pub net: Decimal,
    /// The sources of the funds, by the broker's own names (`cash`, `collateral`, ..).
    pub available: BTreeMap<String, Decimal>,
    /// The funds that are blocked, by the broker's own names (`debits`, `span`, ..).
    pub used: BTreeMap<String, Decimal>,
}

/// Margins by segment: `equity`, `commodity`, or `account` if the broker has only one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Margins {
    /// The funds of each segment.
    pub segments: BTreeMap<String, Margin>,
}

impl Margins {
    /// Returns the funds of `segment`, if the account has it.
    pub fn segment(&self, segment: &str) -> Option<&Margin> {
        self.segments.get(segment)
    }
}

/// The account and its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// The broker's id of the account.
    pub user_id: String,
    /// The holder's name.
    pub user_name: String,
    /// The holder's e-mail address; may be empty.
    pub email: String,
    /// The broker's name.
    pub broker: String,
    /// The exchanges on which the account may trade.
    pub exchanges: Vec<String>,
    /// The products that the account may hold, by the broker's names.
    pub products: Vec<String>,
}
