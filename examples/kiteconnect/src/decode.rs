//! Answers, decoded row by row; numbers and times.
//!
//! The client decodes an order book as a whole: one row in an unexpected format, and the answer is an error. Then no
//! order can be found, and no position closed. So the adapter takes the answer as JSON (`Call::raw`), decodes each row
//! by the client's type, and reports a row that cannot be read beside the others.

use chrono::NaiveDateTime;
use lanekeeper::broker::{BrokerError, RowProblem, Rows};
use lanekeeper::jiff::Zoned;
use lanekeeper::jiff::civil::DateTime;
use lanekeeper::jiff::tz::{Offset, TimeZone};
use lanekeeper::rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors::malformed;

/// Builds the rows of a list. `name` is the field that identifies a row.
pub(crate) fn rows<W: DeserializeOwned, T>(
    data: Value,
    name: &str,
    build: impl Fn(W) -> Result<T, String>,
) -> Result<Rows<T>, BrokerError> {
    // A missing order book is not an empty one: in that, a lost order would look absent.
    let Value::Array(entries) = data else { return Err(malformed("the answer is not a list")) };
    let mut rows = Rows::default();
    for (at, entry) in entries.into_iter().enumerate() {
        match W::deserialize(&entry).map_err(|error| error.to_string()).and_then(&build) {
            Ok(row) => rows.rows.push(row),
            Err(reason) => rows.problems.push(problem(at, reason, &entry, name)),
        }
    }
    Ok(rows)
}

/// Returns the problem of a row, with the id and the tag by which an order guard connects it with an order.
pub(crate) fn problem(at: usize, reason: String, entry: &Value, name: &str) -> RowProblem {
    let text: String = entry.to_string().chars().take(500).collect();
    let mut problem = RowProblem::new(at, reason, text);
    let field = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    (problem.name, problem.tag) = (field(name), field("tag"));
    problem
}

/// Returns the decimal number that was written, since a float prints as the shortest text that it is read from.
pub(crate) fn decimal(number: f64) -> Result<Decimal, String> {
    number.to_string().parse().map_err(|error| format!("{number}: {error}"))
}

/// Kite writes 0 for a price that there is not.
pub(crate) fn non_zero(number: f64) -> Result<Option<Decimal>, String> {
    Ok(Some(decimal(number)?).filter(|number| !number.is_zero()))
}

/// Returns a number that may be missing.
pub(crate) fn optional(number: Option<f64>) -> Result<Option<Decimal>, String> {
    number.map(decimal).transpose()
}

/// Kite's times have no zone and mean India's, which has had one offset since 1945. Years up to 1970 mean "never".
pub(crate) fn time(naive: &NaiveDateTime) -> Option<Zoned> {
    let at: DateTime = naive.to_string().parse().ok()?;
    at.to_zoned(zone()).ok().filter(|at| at.year() > 1970)
}

pub(crate) fn zone() -> TimeZone {
    Offset::from_seconds(19_800).map_or(TimeZone::UTC, TimeZone::fixed)
}
