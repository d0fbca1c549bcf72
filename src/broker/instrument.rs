//! Instruments: an exchange and a symbol, cheap to clone and to hash.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::open_enum::open_enum;

open_enum! {
    /// A marketplace, by the code that brokers use for it.
    pub enum Exchange {
        /// National Stock Exchange of India.
        Nse = "NSE",
        /// Bombay Stock Exchange.
        Bse = "BSE",
        /// NSE futures and options.
        Nfo = "NFO",
        /// BSE futures and options.
        Bfo = "BFO",
        /// NSE currency derivatives.
        Cds = "CDS",
        /// BSE currency derivatives.
        Bcd = "BCD",
        /// Multi Commodity Exchange of India.
        Mcx = "MCX",
        /// Equities of the United States, where the broker chooses the venue.
        Us = "US",
        /// Cryptocurrencies, where the broker names no venue.
        Crypto = "CRYPTO",
    }
}

/// An instrument: `EXCHANGE:SYMBOL`.
///
/// A clone increments one reference count. So an instrument can be kept in every strategy, used as
/// a map key and moved to a lane without a copy of its text.
///
/// ```
/// use lanekeeper::broker::Instrument;
///
/// let infy = Instrument::new("NSE", "INFY");
/// assert_eq!(infy.to_string(), "NSE:INFY");
/// assert_eq!("NSE:INFY".parse(), Ok(infy));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instrument {
    key: Arc<str>,
    /// The byte position of the colon in `key`. An exchange code may be of any length.
    colon: usize,
}

impl Instrument {
    /// Creates the instrument `symbol` on `exchange`.
    pub fn new(exchange: impl AsRef<str>, symbol: impl AsRef<str>) -> Self {
        let (exchange, symbol) = (exchange.as_ref(), symbol.as_ref());
        Self { key: format!("{exchange}:{symbol}").into(), colon: exchange.len() }
    }

    /// Returns the code of the exchange, for example `NSE`.
    pub fn exchange(&self) -> &str {
        &self.key[..self.colon]
    }

    /// Returns the symbol on that exchange, for example `INFY`.
    pub fn symbol(&self) -> &str {
        &self.key[self.colon + 1..]
    }

    /// Returns both as one text, for example `NSE:INFY`.
    pub fn as_str(&self) -> &str {
        &self.key
    }
}

// Compares the key only: the same text is the same instrument, wherever it was split.
impl PartialEq for Instrument {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Instrument {}

impl Hash for Instrument {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialOrd for Instrument {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Instrument {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl fmt::Debug for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instrument({})", self.key)
    }
}

impl fmt::Display for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.key)
    }
}

/// The error for a text that is not `EXCHANGE:SYMBOL`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an instrument: write EXCHANGE:SYMBOL, as in NSE:INFY")]
pub struct InstrumentError {
    /// The text that was parsed.
    pub text: String,
}

impl FromStr for Instrument {
    type Err = InstrumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((exchange, symbol)) if !exchange.is_empty() && !symbol.is_empty() => {
                Ok(Self::new(exchange, symbol))
            }
            _ => Err(InstrumentError { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Instrument {
    type Error = InstrumentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Instrument> for String {
    fn from(instrument: Instrument) -> Self {
        instrument.key.as_ref().to_owned()
    }
}

/// An instrument as the broker lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstrumentInfo {
    /// The instrument.
    pub instrument: Instrument,
    /// The broker's own number or id for the instrument, if it has one.
    pub token: Option<String>,
    /// The name of the company or contract; may be empty.
    pub name: String,
    /// The kind, as the broker spells it: `EQ`, `FUT`, `CE`, `us_equity`.
    pub kind: String,
    /// The market segment, as the broker spells it; may be empty.
    pub segment: String,
    /// The last day of a contract.
    pub expiry: Option<Date>,
    /// The strike price of an option.
    pub strike: Option<Decimal>,
    /// The smallest step of a price.
    pub tick_size: Option<Decimal>,
    /// The smallest step of a quantity. Less than 1 if the broker trades fractions of it.
    pub lot_size: Option<Decimal>,
    /// Whether the broker takes orders for it at present. `true` for a broker that lists no others.
    #[serde(default = "tradable_by_default", skip_serializing_if = "Clone::clone")]
    pub is_tradable: bool,
}

fn tradable_by_default() -> bool {
    true
}

impl InstrumentInfo {
    /// Creates a listing with no details beside the instrument.
    pub fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            token: None,
            name: String::new(),
            kind: String::new(),
            segment: String::new(),
            expiry: None,
            strike: None,
            tick_size: None,
            lot_size: None,
            is_tradable: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_parts_agree() {
        let odd = Instrument::new("NSE", "M&M:X");
        assert_eq!((odd.exchange(), odd.symbol()), ("NSE", "M&M:X"));
        assert_eq!(odd.as_str().parse::<Instrument>().unwrap(), odd);
    }

    #[test]
    fn half_an_instrument_is_none() {
        for text in ["", "INFY", ":INFY", "NSE:"] {
            assert_eq!(text.parse::<Instrument>().unwrap_err().text, text);
        }
    }
}
