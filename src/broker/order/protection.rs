//! Market protection: how far from the last price a market order may be filled.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// The market protection of a market order, or of a stop order that becomes one.
///
/// The broker turns the order into a limit order, at a price this far from the last one. Beyond that
/// price it is not filled, and the unfilled part stays in the market.
///
/// Kite rejects MARKET and SL-M orders without a protection that are placed by API, and changes of an
/// order to one of these types; see its documentation of
/// [orders](https://kite.trade/docs/connect/v3/orders/#market-protection). Its field
/// `market_protection` is -1 for [`AUTO`](Self::AUTO), or a percentage above 0 and up to 100. Kite
/// rejects 0, which means no protection, so this type cannot represent it.
///
/// As text, including JSON and the journal, it is `auto` or the percentage as a number.
///
/// ```
/// use lanekeeper::broker::MarketProtection;
/// use lanekeeper::rust_decimal::Decimal;
///
/// let narrow = MarketProtection::percent(Decimal::new(5, 1))?;
/// assert_eq!(narrow.as_percent(), Some(Decimal::new(5, 1)));
/// assert_eq!("0.5".parse(), Ok(narrow));
/// assert_eq!("auto".parse(), Ok(MarketProtection::AUTO));
/// assert!(MarketProtection::percent(0).is_err());
/// # Ok::<(), lanekeeper::broker::MarketProtectionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MarketProtection(Option<Decimal>);

/// The error for a market protection that is not a percentage above 0 and up to 100.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a market protection is `auto`, or a percentage above 0 and up to 100, and not `{given}`")]
pub struct MarketProtectionError {
    /// The value that was passed.
    pub given: String,
}

impl MarketProtection {
    /// The broker decides the distance, by its rules for the instrument.
    pub const AUTO: Self = Self(None);

    /// Creates a protection of at most `percent` from the last price.
    ///
    /// # Errors
    /// Returns an error if `percent` is not above 0, or is above 100.
    pub fn percent(percent: impl Into<Decimal>) -> Result<Self, MarketProtectionError> {
        let percent = percent.into();
        if percent <= Decimal::ZERO || percent > Decimal::ONE_HUNDRED {
            return Err(MarketProtectionError { given: percent.to_string() });
        }
        Ok(Self(Some(percent.normalize())))
    }

    /// Returns the percentage, or `None` if the broker decides.
    pub fn as_percent(&self) -> Option<Decimal> {
        self.0
    }
}

impl fmt::Display for MarketProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.pad("auto"),
            Some(percent) => f.pad(&percent.to_string()),
        }
    }
}

impl FromStr for MarketProtection {
    type Err = MarketProtectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::AUTO);
        }
        let wrong = || MarketProtectionError { given: text.to_owned() };
        Self::percent(text.parse::<Decimal>().map_err(|_| wrong())?).map_err(|_| wrong())
    }
}

impl TryFrom<String> for MarketProtection {
    type Error = MarketProtectionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MarketProtection> for String {
    fn from(protection: MarketProtection) -> Self {
        protection.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_above_0_and_up_to_100() {
        for text in ["0.01", "2", "100"] {
            assert_eq!(text.parse::<MarketProtection>().unwrap().to_string(), text);
        }
        for text in ["0", "-1", "100.01", "", "2%", "Auto"] {
            let error = text.parse::<MarketProtection>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("and not `{text}`")), "{error}");
        }
    }

    #[test]
    fn it_survives_json_and_json_makes_none_that_is_wrong() {
        for protection in [MarketProtection::AUTO, MarketProtection::percent(2).unwrap()] {
            let json = serde_json::to_string(&protection).unwrap();
            assert_eq!(serde_json::from_str::<MarketProtection>(&json).unwrap(), protection);
        }
        assert!(serde_json::from_str::<MarketProtection>("\"0\"").is_err());
    }
}
