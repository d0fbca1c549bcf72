//! Decoding of answers, which are looser than their documentation.
//!
//! Prices arrive as `99725.05000000002`, as integers, sometimes as text; fields come and go. So every field is
//! optional here, and `None` if it cannot be read. The code that builds a value checks for what it requires.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::broker::{RowProblem, Rows};

/// A number in any notation. `None` for null, `NaN` and anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::brokers) struct Num(pub(in crate::brokers) Option<Decimal>);

impl Num {
    /// The number, or zero.
    pub(in crate::brokers) fn or_zero(self) -> Decimal {
        self.0.unwrap_or_default()
    }

    /// The number, unless it is zero, which a broker may write for "none".
    pub(in crate::brokers) fn non_zero(self) -> Option<Decimal> {
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
            // Reads the digits as they were sent: a float would already have changed them.
            Value::Number(number) => parse_decimal(number.as_str()),
            Value::String(text) => parse_decimal(text),
            _ => None,
        })
    }
}

/// A text that is not empty. `None` for null and for an empty text. A number is read as its digits, for ids without
/// quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::brokers) struct Text(pub(in crate::brokers) Option<String>);

impl Text {
    pub(in crate::brokers) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Returns the text, or an error that names what is missing.
    pub(in crate::brokers) fn required(self, what: &str) -> Result<String, String> {
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

/// Builds each entry of a list. An entry that cannot be read or built becomes the problem that `problem` returns for
/// its row, its value and the reason. No entry is dropped silently, since a strategy may place an order again that it
/// does not see.
///
/// Each entry is read and built before the next. A decoded order takes five hundred bytes where the answer may have
/// only `{}`, so decoding a whole order book before its first entry is checked could fill the memory.
///
/// # Errors
/// More than [`MAX_PROBLEMS`] of them.
pub(in crate::brokers) fn build_rows<T: DeserializeOwned, U>(
    entries: Vec<Value>,
    problem: impl Fn(usize, &Value, &str) -> RowProblem,
    build: impl Fn(T) -> Result<U, String>,
) -> Result<Rows<U>, String> {
    let mut rows = Rows::default();
    for (at, entry) in entries.into_iter().enumerate() {
        let built = T::deserialize(&entry).map_err(|error| error.to_string()).and_then(&build);
        match built {
            Ok(row) => rows.push(row),
            Err(why) => push_problem(&mut rows.problems, problem(at, &entry, &why))?,
        }
    }
    Ok(rows)
}

/// An answer with more unreadable rows than this fails as a whole.
pub(in crate::brokers) const MAX_PROBLEMS: usize = 1000;

/// Adds a problem, unless there are too many already.
pub(in crate::brokers) fn push_problem(
    problems: &mut Vec<RowProblem>,
    problem: RowProblem,
) -> Result<(), String> {
    if problems.len() == MAX_PROBLEMS {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        return Err(format!("more than {MAX_PROBLEMS} rows cannot be read, first {first}"));
    }
    problems.push(problem);
    Ok(())
}

/// Returns a field of an entry as text.
pub(in crate::brokers) fn text_field(entry: &Value, name: &str) -> Option<String> {
    Text::deserialize(entry.get(name)?).ok()?.0
}

/// Reads a part that may be missing, null, or of an unknown shape.
pub(in crate::brokers) fn lenient<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// Reads a number without going through a float. More digits than a [`Decimal`] holds are rounded.
pub(in crate::brokers) fn parse_decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Decimal::from_str(text).ok();
    };
    let mut number = Decimal::from_str(mantissa).ok()?;
    let exponent = i32::from_str(exponent).ok()?;
    if number.is_zero() {
        return Some(number);
    }
    if exponent < -MAX_SHIFT {
        return Some(Decimal::ZERO);
    }
    if exponent > MAX_SHIFT {
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
const MAX_SHIFT: i32 = 57;

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
    fn an_id_without_quotes_is_text() {
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        assert_eq!(text("1512200000000001234"), Some("1512200000000001234".to_owned()));
        assert_eq!(text("\"\""), None);
        assert_eq!(text("null"), None);
    }
}
