//! Instruments: Alpaca knows them by a symbol and an asset class. The class is the exchange of an
//! [`Instrument`]: `US:AAPL`, `CRYPTO:BTC/USD`, `US_OPTION:AAPL260320C00200000`.

use crate::broker::{BrokerError, Instrument};
use crate::brokers::http::de::Text;
use crate::brokers::http::outcome::not_sent_error;

const US: &str = "US";
const CRYPTO: &str = "CRYPTO";
const US_OPTION: &str = "US_OPTION";

/// Longer than any symbol (an option has up to 21 characters).
const MAX_SYMBOL_LENGTH: usize = 64;

/// The kind of instrument, which decides the routes of its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssetClass {
    Equity,
    Crypto,
    Option,
}

impl AssetClass {
    /// Returns the class by Alpaca's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equity => "us_equity",
            Self::Crypto => "crypto",
            Self::Option => "us_option",
        }
    }

    /// Returns the class that an exchange stands for.
    pub(super) fn of_exchange(exchange: &str) -> Option<Self> {
        match exchange {
            US => Some(Self::Equity),
            CRYPTO => Some(Self::Crypto),
            US_OPTION => Some(Self::Option),
            _ => None,
        }
    }
}

/// Returns the instrument of a row. Some rows have no class, and then the symbol shows it: a pair has a slash, and an
/// option ends with its day, its kind and its strike price. A class that this version does not know becomes the
/// exchange, in capital letters.
pub(super) fn instrument(symbol: Text, class: &Text) -> Result<Instrument, String> {
    let symbol = symbol.required("symbol")?;
    let exchange = match class.as_deref() {
        Some("us_equity") => US.to_owned(),
        // Perpetual futures and the like have names that begin with it.
        Some("crypto") => CRYPTO.to_owned(),
        Some(other) => other.to_ascii_uppercase(),
        None if symbol.contains('/') => CRYPTO.to_owned(),
        None if is_option_symbol(&symbol) => US_OPTION.to_owned(),
        None => US.to_owned(),
    };
    Ok(Instrument::new(exchange, symbol))
}

/// Returns the class and the symbol of an instrument that can be requested.
///
/// # Errors
/// It is of another exchange, so that its symbol may mean another instrument at Alpaca. Or its symbol cannot be sent.
pub(super) fn class_and_symbol(instrument: &Instrument) -> Result<(AssetClass, &str), BrokerError> {
    let Some(class) = AssetClass::of_exchange(instrument.exchange()) else {
        return Err(not_sent_error(format!(
            "{instrument} is not at Alpaca, whose instruments are written {US}:AAPL, {CRYPTO}:BTC/USD or \
             {US_OPTION}:AAPL260320C00200000"
        )));
    };
    let symbol = instrument.symbol();
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    if symbol.is_empty() || symbol.len() > MAX_SYMBOL_LENGTH || !symbol.bytes().all(is_plain) {
        return Err(not_sent_error(format!(
            "no symbol, which is 1 to {MAX_SYMBOL_LENGTH} letters, digits, and any of . - _ /: {symbol:?}"
        )));
    }
    Ok((class, symbol))
}

/// Returns whether a symbol ends like that of an option: six digits, `C` or `P`, eight digits.
fn is_option_symbol(symbol: &str) -> bool {
    let Some(split) = symbol.len().checked_sub(15).filter(|&at| at > 0) else { return false };
    let Some(tail) = symbol.as_bytes().get(split..) else { return false };
    tail.iter().enumerate().all(|(at, byte)| match at {
        6 => matches!(byte, b'C' | b'P'),
        _ => byte.is_ascii_digit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_the_exchange() {
        let read = |symbol: &str, class: Option<&str>| {
            let class = Text(class.map(str::to_owned));
            instrument(Text(Some(symbol.to_owned())), &class).unwrap().to_string()
        };
        assert_eq!(read("AAPL", Some("us_equity")), "US:AAPL");
        assert_eq!(read("BTC/USD", Some("crypto")), "CRYPTO:BTC/USD");
        assert_eq!(read("X", Some("ipo_share")), "IPO_SHARE:X");
        for (symbol, found) in [
            ("AAPL", "US:AAPL"),
            ("BRK.B", "US:BRK.B"),
            ("BTC/USD", "CRYPTO:BTC/USD"),
            ("AAPL260320C00200000", "US_OPTION:AAPL260320C00200000"),
            ("260320C00200000", "US:260320C00200000"),
        ] {
            assert_eq!(read(symbol, None), found);
        }
    }

    #[test]
    fn an_instrument_of_another_exchange_is_refused() {
        for text in ["NSE:INFY", "US:A B", "US:a?b", "US:é"] {
            let error = class_and_symbol(&text.parse().unwrap()).unwrap_err();
            assert!(error.failure().is_local(), "{error}");
        }
        let pair = "CRYPTO:BTC/USD".parse().unwrap();
        assert_eq!(class_and_symbol(&pair).unwrap(), (AssetClass::Crypto, "BTC/USD"));
    }
}
