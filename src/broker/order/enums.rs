//! Enums of orders: side, type, product, time in force, variety and status.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::broker::open_enum::open_enum;

/// The side of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// Increases a long position, or reduces a short one.
    Buy,
    /// Reduces a long position, or increases a short one.
    Sell,
}

impl Side {
    /// Returns the other side.
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        })
    }
}

open_enum! {
    /// How the price of an order is set.
    pub enum OrderType {
        /// At the best available price.
        Market = "MARKET",
        /// At this price or a better one.
        Limit = "LIMIT",
        /// Becomes a market order when the trigger price is reached.
        Stop = "STOP",
        /// Becomes a limit order when the trigger price is reached.
        StopLimit = "STOP_LIMIT",
        /// A stop order whose trigger price follows the market at a distance, which such brokers take as an extra
        /// field.
        TrailingStop = "TRAILING_STOP",
    }
}

open_enum! {
    /// How the broker holds the shares of an order. Brokers outside India do not have it.
    pub enum Product {
        /// Cash and carry: delivered, and held without a time limit.
        Cnc = "CNC",
        /// Intraday, squared off by the broker at the end of the day.
        Mis = "MIS",
        /// Derivatives carried overnight.
        Nrml = "NRML",
        /// Margin trading facility.
        Mtf = "MTF",
        /// Cover order.
        Co = "CO",
    }
}

open_enum! {
    /// How long an order waits to be filled.
    pub enum TimeInForce {
        /// Until the end of the trading day.
        Day = "DAY",
        /// Immediate or cancel: the quantity that is not filled at once is cancelled.
        Ioc = "IOC",
        /// Fill or kill: the whole quantity is filled at once, or none of it.
        Fok = "FOK",
        /// Good till cancelled.
        Gtc = "GTC",
        /// In the opening auction only.
        Opg = "OPG",
        /// In the closing auction only.
        Cls = "CLS",
        /// Good for a number of minutes, which such brokers take as an extra field.
        Ttl = "TTL",
    }
}

open_enum! {
    /// The route by which an order reaches the market.
    pub enum Variety {
        /// A regular order.
        Regular = "regular",
        /// After-market order: held until the market opens.
        Amo = "amo",
        /// Cover order.
        Co = "co",
        /// Iceberg order: sent in several smaller legs.
        Iceberg = "iceberg",
        /// An order in an auction session.
        Auction = "auction",
    }
}

open_enum! {
    /// The status of an order. Brokers have many names for the states between broker and exchange.
    /// Those stay in [`OrderStatus::Other`], as the broker spelled them.
    pub enum OrderStatus {
        /// In the market, with none or a part of it filled.
        Open = "OPEN",
        /// Waiting for the trigger price.
        TriggerPending = "TRIGGER PENDING",
        /// Filled in part, with the rest still in the market.
        PartiallyFilled = "PARTIALLY FILLED",
        /// Filled completely.
        Filled = "FILLED",
        /// Cancelled. The quantity that was filled before stays filled.
        Cancelled = "CANCELLED",
        /// Rejected by the broker or the exchange.
        Rejected = "REJECTED",
        /// Ended because its time in force has passed.
        Expired = "EXPIRED",
        /// Ended because a change put another order in its place, see
        /// [`Order::replaced_by`](super::Order::replaced_by). The quantity that was filled before stays filled.
        Replaced = "REPLACED",
    }
}

impl OrderStatus {
    /// Returns whether an order of this status cannot change any more.
    ///
    /// An unknown status is not final, because reading the order again is the safe choice.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Filled | Self::Cancelled | Self::Rejected | Self::Expired | Self::Replaced
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_is_not_final() {
        assert!(!OrderStatus::from("MODIFY VALIDATION PENDING").is_final());
        assert!(OrderStatus::from("REJECTED").is_final());
    }
}
