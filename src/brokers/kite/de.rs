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

use super::slice_tags::caller_tags;
use crate::broker::{RowProblem, Rows};

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
            Value::Number(number) => parse_decimal(number.as_str()),
            Value::String(text) => parse_decimal(text),
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
    pub(super) fn required(self, what: &str) -> Result<String, String> {
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
fn null_as_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) => Ok(entries),
        other => Err(D::Error::custom(format!("not a list but `{}`", json_type(&other)))),
    }
}

/// A list of small things, all of which can be read.
#[derive(Debug, Default)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = |entry| serde_json::from_value(entry).map_err(D::Error::custom);
        null_as_empty(from)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// A list of large things: orders, trades, positions.
///
/// Each entry is read and built before the next is looked at. An order on its way in takes five
/// hundred bytes where the answer may have written `{}`, so a book read as a whole before its first
/// entry is found to be none could fill the memory.
#[derive(Debug)]
pub(super) struct WireRows<T> {
    entries: Vec<Value>,
    marker: PhantomData<T>,
}

impl<'de, T> Deserialize<'de> for WireRows<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { entries: null_as_empty(from)?, marker: PhantomData })
    }
}

impl<T: DeserializeOwned> WireRows<T> {
    /// Builds each entry. One that cannot be read or built is a problem, named by its field `name`: none is
    /// left out in silence, since an order that nobody sees may be placed again.
    ///
    /// # Errors
    /// More than [`MAX_PROBLEMS`] of them.
    pub(super) fn build<U>(
        self,
        name: &str,
        build: impl Fn(T) -> Result<U, String>,
    ) -> Result<Rows<U>, String> {
        let mut rows = Rows::default();
        for (at, entry) in self.entries.into_iter().enumerate() {
            let built = T::deserialize(&entry).map_err(|error| error.to_string()).and_then(&build);
            match built {
                Ok(row) => rows.push(row),
                Err(why) => push_problem(&mut rows.problems, row_problem(at, name, &entry, &why))?,
            }
        }
        Ok(rows)
    }
}

/// An answer with more rows than this that cannot be read is none of which a part is worth having.
pub(super) const MAX_PROBLEMS: usize = 1000;

/// Adds a problem, if there are not too many already.
pub(super) fn push_problem(
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

/// What is told of an entry that cannot be read: what it is called, and the whole of it. It is shortened once it
/// is without secrets, for half of one at the cut would not be found.
pub(super) fn row_problem(row: usize, name: &str, entry: &Value, why: &str) -> RowProblem {
    let text = |value: &Value| Text::deserialize(value).ok().and_then(|text| text.0);
    let field = |name: &str| entry.get(name).and_then(text);
    let mut problem = RowProblem::new(row, why, entry.to_string());
    problem.name = field(name);
    let more = entry.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(text);
    let mut tags = caller_tags(field("tag").into_iter().chain(more)).into_iter();
    // Of several it is not known which is the caller's; then it may be any order.
    problem.tag = tags.next().filter(|_| tags.next().is_none());
    problem
}

fn json_type(value: &Value) -> &'static str {
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
pub(super) fn parse_decimal(text: &str) -> Option<Decimal> {
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
    fn an_entry_that_cannot_be_read_costs_no_other() {
        let read = |json: &str| {
            let book =
                serde_json::from_str::<WireRows<u8>>(json).map_err(|error| error.to_string());
            book?.build("id", |entry| entry.checked_add(1).ok_or_else(|| "too large".to_owned()))
        };
        assert_eq!(read("[1,2]"), Ok(vec![2, 3].into()));
        assert_eq!(read("null"), Ok(vec![].into()));
        let rows = read(r#"[1,255,{"id":7,"tags":["a"]},2]"#).unwrap();
        assert_eq!(rows.rows, [2, 3]);
        assert_eq!(rows.problems[0], RowProblem::new(1, "too large", "255"));
        assert!(rows.problems[1].reason.starts_with("invalid type"), "{:?}", rows.problems);
        let (name, tag) = (&rows.problems[1].name, &rows.problems[1].tag);
        assert_eq!(
            (rows.problems[1].row, name.as_deref(), tag.as_deref()),
            (2, Some("7"), Some("a"))
        );
        assert!(read("{}").unwrap_err().contains("not a list but `an object`"));
    }

    #[test]
    fn an_answer_of_nothing_but_problems_is_none() {
        let read = |entries: usize| {
            let json = format!("[{}]", vec!["{}"; entries].join(","));
            serde_json::from_str::<WireRows<u8>>(&json).unwrap().build("id", Ok)
        };
        assert_eq!(read(MAX_PROBLEMS).unwrap().problems.len(), MAX_PROBLEMS);
        let error = read(MAX_PROBLEMS + 1).unwrap_err();
        assert!(error.starts_with("more than 1000 rows cannot be read, first row 0: "), "{error}");
    }

    #[test]
    fn an_id_without_quotes_is_text() {
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        assert_eq!(text("1512200000000001234"), Some("1512200000000001234".to_owned()));
        assert_eq!(text("\"\""), None);
        assert_eq!(text("null"), None);
    }
}
