//! Conversions, auctions and authorisations of holdings, and trigger ranges.

use std::collections::HashMap;
use std::fmt;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::broker::{Holding, Instrument, Partial, Product, Side, open_enum};

open_enum! {
    /// Since when a position is held.
    pub enum PositionType {
        /// Since today.
        Day = "day",
        /// Since a day before.
        Overnight = "overnight",
    }
}

/// A change of the product of a position, for example from intraday to delivery.
///
/// ```
/// use lanekeeper::broker::Product;
/// use lanekeeper::brokers::kite::{PositionConversion, PositionType};
/// use lanekeeper::{Instrument, Side};
///
/// // Keeps ten shares that were bought intraday beyond the end of the day.
/// let infy = Instrument::new("NSE", "INFY");
/// let keep = PositionConversion::new(infy, Side::Buy, 10, Product::Mis, Product::Cnc);
/// assert_eq!(keep.position_type, PositionType::Day);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PositionConversion {
    /// The instrument that is held.
    pub instrument: Instrument,
    /// The side that opened the position: `Buy` for a long one.
    pub side: Side,
    /// The quantity to convert, in whole units of the instrument.
    pub quantity: Decimal,
    /// How the shares are held now.
    pub from: Product,
    /// How they are to be held.
    pub to: Product,
    /// Since when the position is held.
    pub position_type: PositionType,
}

impl PositionConversion {
    /// Creates the conversion of a position of today.
    pub fn new(
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        from: Product,
        to: Product,
    ) -> Self {
        Self {
            instrument,
            side,
            quantity: quantity.into(),
            from,
            to,
            position_type: PositionType::Day,
        }
    }

    /// Sets since when the position is held.
    #[must_use]
    pub fn position_type(mut self, position_type: PositionType) -> Self {
        self.position_type = position_type;
        self
    }
}

/// A holding that may be offered in today's auction, to sellers who could not deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuctionHolding {
    /// What is held.
    pub holding: Holding,
    /// The number of the auction. An order of the variety `auction` names it in its extra field `auction_number`.
    pub auction_number: String,
}

/// The sums of all holdings, in the account's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HoldingsSummary {
    /// What was paid for them.
    pub invested: Decimal,
    /// What they are worth now.
    pub value: Decimal,
    /// Profit and loss since they were bought.
    pub pnl: Decimal,
    /// The same, as a percentage of `invested`.
    pub pnl_percent: Option<Decimal>,
    /// Profit and loss of today.
    pub day_pnl: Option<Decimal>,
    /// The same, as a percentage of yesterday's value.
    pub day_pnl_percent: Option<Decimal>,
}

open_enum! {
    /// What an authorisation of holdings is for.
    pub enum TransferType {
        /// A sale that is still to be placed.
        BeforeTrade = "pre",
        /// A sale that was placed.
        AfterTrade = "post",
        /// A transfer outside the market.
        OffMarket = "off",
        /// A gift.
        Gift = "gift",
    }
}

/// Holdings that their owner is to authorise for sale at the depository. Without instruments, these are all of them.
///
/// ```
/// use lanekeeper::brokers::kite::HoldingsAuthorisation;
///
/// let some = HoldingsAuthorisation::new().instrument("INE009A01021", 10);
/// assert_eq!(some.instruments.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldingsAuthorisation {
    /// Whether the holdings are of mutual funds and not of shares.
    pub mutual_funds: bool,
    /// What it is for. `None` leaves it to Kite.
    pub transfer_type: Option<TransferType>,
    /// The day of the transfer.
    pub day: Option<Date>,
    /// The International Securities Identification Numbers, each with its quantity.
    pub instruments: Vec<(String, Decimal)>,
}

impl HoldingsAuthorisation {
    /// Creates an authorisation of all shares.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an authorisation of all units of mutual funds.
    pub fn of_mutual_funds() -> Self {
        Self { mutual_funds: true, ..Self::default() }
    }

    /// Adds an instrument, by its International Securities Identification Number.
    #[must_use]
    pub fn instrument(mut self, isin: impl Into<String>, quantity: impl Into<Decimal>) -> Self {
        self.instruments.push((isin.into(), quantity.into()));
        self
    }

    /// Sets what it is for.
    #[must_use]
    pub fn transfer_type(mut self, transfer_type: TransferType) -> Self {
        self.transfer_type = Some(transfer_type);
        self
    }

    /// Sets the day of the transfer.
    #[must_use]
    pub fn day(mut self, day: Date) -> Self {
        self.day = Some(day);
        self
    }
}

/// An authorisation that waits for its owner. Its `Debug` does not show the address.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldingsConsent {
    /// Kite's id of the request.
    pub request_id: String,
    /// The page on which the owner consents, in a browser. It has the api_key in its address.
    pub url: String,
}

impl fmt::Debug for HoldingsConsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldingsConsent")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// The trigger prices that a cover order may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TriggerRange {
    /// The lowest.
    pub lower: Decimal,
    /// The highest.
    pub upper: Decimal,
}

impl TriggerRange {
    /// Creates a range.
    pub const fn new(lower: Decimal, upper: Decimal) -> Self {
        Self { lower, upper }
    }

    /// Returns whether `price` is in the range.
    ///
    /// ```
    /// use lanekeeper::brokers::kite::TriggerRange;
    ///
    /// let range = TriggerRange::new(1075.into(), 1138.into());
    /// assert!(range.contains(1100.into()) && !range.contains(1139.into()));
    /// ```
    pub fn contains(&self, price: Decimal) -> bool {
        (self.lower..=self.upper).contains(&price)
    }
}

/// Trigger ranges by instrument.
pub type TriggerRanges = Partial<HashMap<Instrument, TriggerRange>>;
