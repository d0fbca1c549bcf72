//! The rows of Kite's answers, and the problems of those that cannot be read. `brokers/http/de.rs` reads the values.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::slice_tags::caller_tags;
use crate::broker::{RowProblem, Rows};
pub(super) use crate::brokers::http::de::{Num, Text, lenient, parse_decimal, push_problem};
use crate::brokers::http::de::{build_rows, text_field};

/// Reads a list that is required but may be null: Kite writes null for an empty one.
///
/// It reads a value and not an `Option`, which serde would set to `None` for a missing field: an order book that is
/// missing from the answer must not count as empty.
fn null_as_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) => Ok(entries),
        other => Err(D::Error::custom(format!("not a list but `{}`", json_type(&other)))),
    }
}

/// A list of small values, all of which can be read.
#[derive(Debug, Default)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = |entry| serde_json::from_value(entry).map_err(D::Error::custom);
        null_as_empty(from)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// A list of large values: orders, trades, positions.
///
/// Each entry is read and built before the next. A decoded order takes five hundred bytes where the answer may have
/// only `{}`, so decoding a whole order book before its first entry is checked could fill the memory.
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
    /// Builds each entry. An entry that cannot be read or built becomes a problem, named by its field `name`. No
    /// entry is dropped silently, since a strategy may place an order again that it does not see.
    ///
    /// # Errors
    /// More than [`MAX_PROBLEMS`](crate::brokers::http::de::MAX_PROBLEMS) of them.
    pub(super) fn build<U>(
        self,
        name: &str,
        build: impl Fn(T) -> Result<U, String>,
    ) -> Result<Rows<U>, String> {
        let problem = |at: usize, entry: &Value, why: &str| row_problem(at, name, entry, why);
        build_rows(self.entries, problem, build)
    }
}

/// Returns the problem for an entry that cannot be read: its name and its whole text. The text is shortened only
/// after secrets are removed, since half a secret at the cut would not be found.
pub(super) fn row_problem(row: usize, name: &str, entry: &Value, why: &str) -> RowProblem {
    let text = |value: &Value| Text::deserialize(value).ok().and_then(|text| text.0);
    let mut problem = RowProblem::new(row, why, entry.to_string());
    problem.name = text_field(entry, name);
    let more = entry.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(text);
    let mut tags = caller_tags(text_field(entry, "tag").into_iter().chain(more)).into_iter();
    // If there are several tags, it is unknown which one is the caller's.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brokers::http::de::MAX_PROBLEMS;

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
}
