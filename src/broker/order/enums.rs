//! The words of orders: sides, types, products, and where an order stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::broker::open_enum::open_enum;

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// To own more, or owe less.
    Buy,
    /// To own less, or owe more.
    Sell,
}

impl Side {
    /// The side that undoes this one.
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
        /// At the best price there is.
        Market = "MARKET",
        /// At this price or a better one.
        Limit = "LIMIT",
        /// A market order once the trigger price is met.
        Stop = "STOP",
        /// A limit order once the trigger price is met.
        StopLimit = "STOP_LIMIT",
    }
}

open_enum! {
    /// What an order's shares are held as. Brokers outside India have no such thing.
    pub enum Product {
        /// Cash and carry: delivered, held for as long as one likes.
        Cnc = "CNC",
        /// Intraday, squared off by the broker at the end of the day.
        Mis = "MIS",
        /// Derivatives carried over night.
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
        /// Immediate or cancel: what is not filled at once is cancelled.
        Ioc = "IOC",
        /// Fill or kill: all at once, or none.
        Fok = "FOK",
        /// Good till cancelled.
        Gtc = "GTC",
        /// For a number of minutes; brokers that have it take the number as an extra.
        Ttl = "TTL",
    }
}

open_enum! {
    /// The way by which an order reaches the market.
    pub enum Variety {
        /// In the ordinary way.
        Regular = "regular",
        /// After market hours, held until the market opens.
        Amo = "amo",
        /// Cover order.
        Co = "co",
        /// In several smaller legs.
        Iceberg = "iceberg",
        /// In an auction session.
        Auction = "auction",
    }
}

open_enum! {
    /// Where an order stands. What lies between the broker's desk and the exchange has many names;
    /// those stay in [`OrderStatus::Other`], as the broker spelled them.
    pub enum OrderStatus {
        /// In the market, nothing filled or a part of it.
        Open = "OPEN",
        /// Waits for its trigger price.
        TriggerPending = "TRIGGER PENDING",
        /// A part is filled, the rest is still in the market.
        PartiallyFilled = "PARTIALLY FILLED",
        /// All of it is filled.
        Filled = "FILLED",
        /// Cancelled, with what was filled before kept.
        Cancelled = "CANCELLED",
        /// Refused by the broker or the exchange.
        Rejected = "REJECTED",
        /// Its time in force is over.
        Expired = "EXPIRED",
    }
}

impl OrderStatus {
    /// Nothing will happen to an order in this state any more.
    ///
    /// A status this version does not know is not final: looking again is the safe answer.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected | Self::Expired)
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
