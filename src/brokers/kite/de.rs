//! Decoding what Kite sends, which is looser than its documents say.
//!
//! Prices come as `99725.05000000002`, as integers, now and then as text; fields come and go. So a
//! field is read as what it can be read as, and is `None` otherwise. What a value cannot do without
//! is asked for by the one who builds it.

use std::marker::PhantomData;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A number, however it is written; `None` for null, `NaN` and what is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Num(pub(super) Option<Decimal>);

impl Num {
    /// The number, or zero.
    pub(super) fn or_zero(self) -> Decimal {
        self.0.unwrap_or_default()
    }

    /// The number, unless it is zero, which Kite writes for "none".
    pub(super) fn non_zero(self) -> Option<Decimal> {
        self.0.filter(|number| !number.is_zero())
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::from(&Value::deserialize(from)?))
    }
}

impl From<&Value> for Num {
    fn from(value: &Value) -> Self {
        Self(match value {
            // The digits as they were sent: a float in between would already have changed them.
            Value::Number(number) => decimal(number.as_str()),
            Value::String(text) => decimal(text),
            _ => None,
        })
    }
}

/// Text that says something; `None` for null and for nothing between the quotes. A number is taken
/// as its digits, for ids that lost their quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Option<String>);

impl Text {
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text, or an error that names what lacks it.
    pub(super) fn needed(self, what: &str) -> Result<String, String> {
        self.0.ok_or_else(|| format!("it has no {what}"))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(from)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }))
    }
}

/// A list that must be there, but may be null: Kite writes null for an empty one.
///
/// It reads a value and not an `Option`, which serde would take for `None` where the field is
/// missing: an order book that is not in the answer must not pass for an empty one.
fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) => Ok(entries),
        other => Err(D::Error::custom(format!("not a list but `{}`", kind(&other)))),
    }
}

/// A list of small things, all of which can be read.
#[derive(Debug, Default)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = |entry| serde_json::from_value(entry).map_err(D::Error::custom);
        list(from)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// A list of large things: orders, trades, positions.
///
/// Each entry is read and built before the next is looked at. An order on its way in takes five
/// hundred bytes where the answer may have written `{}`, so a book read as a whole before its first
/// entry is found to be none could fill the memory.
#[derive(Debug)]
pub(super) struct Book<T> {
    entries: Vec<Value>,
    of: PhantomData<T>,
}

impl<'de, T> Deserialize<'de> for Book<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { entries: list(from)?, of: PhantomData })
    }
}

impl<T: DeserializeOwned> Book<T> {
    /// Builds each entry, or says which one could not be read or built, and why. None is left out:
    /// an order that vanishes in silence may be placed again.
    pub(super) fn build<U>(self, build: impl Fn(T) -> Result<U, String>) -> Result<Vec<U>, String> {
        let read = |entry| serde_json::from_value(entry).map_err(|error| error.to_string());
        let numbered = self.entries.into_iter().enumerate();
        let built = numbered.map(|(at, entry)| {
            read(entry).and_then(&build).map_err(|why| format!("entry {at}: {why}"))
        });
        built.collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A part that may be missing, null, or of a shape not known.
pub(super) fn lenient<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// Reads a number without going through a float. More digits than a [`Decimal`] holds are rounded.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Decimal::from_str(text).ok();
    };
    let mut number = Decimal::from_str(mantissa).ok()?;
    let exponent = i32::from_str(exponent).ok()?;
    if number.is_zero() {
        return Some(number);
    }
    if exponent < -MOST_SHIFTS {
        return Some(Decimal::ZERO);
    }
    if exponent > MOST_SHIFTS {
        return None;
    }
    for _ in 0..exponent {
        number = number.checked_mul(Decimal::TEN)?;
    }
    for _ in exponent..0 {
        number = number.checked_div(Decimal::TEN)?;
    }
    Some(number)
}

/// A shift by more decimal places takes any [`Decimal`] to zero or out of range: it has 28 before
/// the point and 28 behind it.
const MOST_SHIFTS: i32 = 57;

#[cfg(test)]
mod tests {
    use super::*;

    fn num(json: &str) -> Option<Decimal> {
        serde_json::from_str::<Num>(json).unwrap().0
    }

    fn dec(text: &str) -> Option<Decimal> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_number_arrives_as_it_was_written() {
        assert_eq!(num("99725.05000000002"), dec("99725.05000000002"));
        assert_eq!(num("1500"), dec("1500"));
        assert_eq!(num("-0.1"), dec("-0.1"));
        assert_eq!(num("\"1412.95\""), dec("1412.95"));
        assert_eq!(num("0.30000000000000004"), dec("0.30000000000000004"));
    }

    #[test]
    fn exponents_are_read() {
        assert_eq!(num("1.5e3"), dec("1500"));
        assert_eq!(num("1.5E+3"), dec("1500"));
        assert_eq!(num("125e-2"), dec("1.25"));
        assert_eq!(num("0e999999999"), dec("0"));
        assert_eq!(num("1e-999999999"), dec("0"));
        assert_eq!(num("1e999999999"), None);
        assert_eq!(num("1e28"), dec("10000000000000000000000000000"));
    }

    #[test]
    fn too_many_digits_are_rounded() {
        let long = num("3.14159265358979323846264338327950288419716939937510").unwrap();
        assert_eq!(long.to_string(), "3.1415926535897932384626433833");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for json in ["null", "\"\"", "\"NaN\"", "\"-\"", "true", "[]", "{}", "\"1e\"", "\"e5\""] {
            assert_eq!(num(json), None, "{json}");
        }
    }

    #[test]
    fn a_book_is_read_up_to_the_first_entry_that_is_none() {
        let read = |json: &str| {
            let book = serde_json::from_str::<Book<u8>>(json).map_err(|error| error.to_string());
            book?.build(|entry| entry.checked_add(1).ok_or_else(|| "too large".to_owned()))
        };
        assert_eq!(read("[1,2]"), Ok(vec![2, 3]));
        assert_eq!(read("null"), Ok(vec![]));
        assert_eq!(read("[1,255,{}]"), Err("entry 1: too large".to_owned()));
        assert!(read("[1,{},255]").unwrap_err().starts_with("entry 1: invalid type"));
        assert!(read("{}").unwrap_err().contains("not a list but `an object`"));
    }

    #[test]
    fn an_id_without_quotes_is_text() {
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        assert_eq!(text("1512200000000001234"), Some("1512200000000001234".to_owned()));
        assert_eq!(text("\"\""), None);
        assert_eq!(text("null"), None);
    }
}
