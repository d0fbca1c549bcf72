//! Answers with many rows, of which some may be unreadable.
//!
//! A row in an unexpected format must not make the other rows unusable, because a strategy needs
//! its order book to exit positions. The row must not be dropped silently either, because an order
//! that is not seen may be placed again. So the rows come with a list of those that could not be
//! read.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::error::{BrokerError, ErrorDetail};
use super::instrument::Instrument;
use super::quote::Quote;

/// An answer, with the rows that could not be read.
///
/// It dereferences to the rows and iterates over them. Check [`problems`](Self::problems) where a
/// missing row matters, or call [`complete`](Self::complete).
///
/// ```
/// use lanekeeper::broker::{Partial, RowProblem};
///
/// let problem = RowProblem::new(1, "it has no quantity", r#"{"exchange":"NSE"}"#);
/// let rows = Partial::from(vec!["a", "c"]).with_problems([problem]);
/// assert_eq!(rows.len(), 2);
/// assert_eq!(rows.problems[0].to_string(), r#"row 1: it has no quantity: {"exchange":"NSE"}"#);
/// assert!(rows.complete().is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial<T> {
    /// The rows that could be read.
    pub rows: T,
    /// The rows that could not be read, in the order of the answer.
    pub problems: Vec<RowProblem>,
}

/// Rows in the order of the answer.
pub type Rows<T> = Partial<Vec<T>>;

/// Quotes by instrument.
pub type Quotes = Partial<HashMap<Instrument, Quote>>;

/// A row that could not be read, or that the broker refused apart from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowProblem {
    /// The index of the row in the answer, from 0. For a refused row, the index of its name in the
    /// request.
    pub row: usize,
    /// The name of the row, if it could be read: the id of an order, the key of a quote.
    pub name: Option<String>,
    /// The tag of the row, if it is an order and the tag could be read.
    pub tag: Option<String>,
    /// The reason why the row could not be used.
    pub reason: String,
    /// The row itself, or the beginning of a long row, without secrets. Empty if the broker sent no
    /// row.
    pub text: String,
    /// The error of this row alone, if it is other than unreadable: a name that the broker refused
    /// ([`QuoteCache`](crate::QuoteCache)), or that was not answered in time. Not serialized.
    #[serde(skip)]
    pub error: Option<Box<BrokerError>>,
}

impl<T> Partial<T> {
    /// Adds rows that could not be read.
    #[must_use]
    pub fn with_problems(mut self, problems: impl IntoIterator<Item = RowProblem>) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Returns whether every row could be read.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the rows, if every row could be read.
    ///
    /// # Errors
    /// Returns the first [error](RowProblem::error) that a row has of its own, otherwise
    /// [`BrokerError::Malformed`] with the first row that could not be read.
    pub fn complete(self) -> Result<T, BrokerError> {
        if let Some(error) = self.problems.iter().find_map(|problem| problem.error.as_deref()) {
            return Err(error.clone());
        }
        match self.problems.first() {
            None => Ok(self.rows),
            Some(first) => {
                Err(BrokerError::Malformed(ErrorDetail::new(match self.problems.len() {
                    1 => first.to_string(),
                    count => format!("{count} rows, first {first}"),
                })))
            }
        }
    }

    /// Converts the rows, and keeps the problems.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Partial<U> {
        Partial { rows: map(self.rows), problems: self.problems }
    }
}

impl RowProblem {
    /// Creates the problem of a row that could not be read, by its index from 0.
    pub fn new(row: usize, reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self { row, name: None, tag: None, reason: reason.into(), text: text.into(), error: None }
    }

    /// Creates the problem of a row with its own error, by the index of its name in the request.
    pub fn from_error(row: usize, error: BrokerError) -> Self {
        Self { error: Some(Box::new(error.clone())), ..Self::new(row, error.to_string(), "") }
    }

    /// Sets the name of the row.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the tag of the order in the row.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, name, reason, text, .. } = self;
        match name {
            Some(name) => write!(f, "row {row} ({name}): {reason}")?,
            None => write!(f, "row {row}: {reason}")?,
        }
        if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
    }
}

impl<T> From<T> for Partial<T> {
    /// Creates an answer without problems.
    fn from(rows: T) -> Self {
        Self { rows, problems: Vec::new() }
    }
}

impl<A, T: FromIterator<A>> FromIterator<A> for Partial<T> {
    fn from_iter<I: IntoIterator<Item = A>>(rows: I) -> Self {
        T::from_iter(rows).into()
    }
}

impl<T> Deref for Partial<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.rows
    }
}

impl<T> DerefMut for Partial<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.rows
    }
}

impl<T: IntoIterator> IntoIterator for Partial<T> {
    type Item = T::Item;
    type IntoIter = T::IntoIter;

    fn into_iter(self) -> T::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Partial<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&self.rows).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_name_if_it_has_one() {
        let problem = RowProblem::new(3, "it has no status", "{}");
        assert_eq!(problem.to_string(), "row 3: it has no status: {}");
        assert_eq!(problem.name("1512").to_string(), "row 3 (1512): it has no status: {}");
        let no_row = RowProblem::new(3, "refused", "").name("NSE:X");
        assert_eq!(no_row.to_string(), "row 3 (NSE:X): refused");
    }

    #[test]
    fn only_an_answer_without_problems_is_whole() {
        let rows = Rows::from(vec![1, 2]);
        assert_eq!(rows.clone().complete(), Ok(vec![1, 2]));
        let one = rows.with_problems([RowProblem::new(2, "no", "x")]);
        let error = one.clone().complete().unwrap_err().to_string();
        assert!(error.ends_with("row 2: no: x"), "{error}");
        let two = one.with_problems([RowProblem::new(3, "no", "y")]);
        assert!(two.clone().complete().unwrap_err().to_string().contains("2 rows, first row 2"));
        // A refused row is not the same as an unreadable row.
        let refused = BrokerError::Rejected(ErrorDetail::new("no such name"));
        let mixed = two.with_problems([RowProblem::from_error(4, refused.clone())]);
        assert_eq!(mixed.problems[2].to_string(), format!("row 4: {refused}"));
        assert_eq!(mixed.complete(), Err(refused));
    }

    #[test]
    fn it_stands_for_its_rows() {
        let mut rows = Rows::from(vec![1, 2]).with_problems([RowProblem::new(2, "no", "x")]);
        rows.retain(|row| *row > 1);
        assert_eq!((&rows).into_iter().count(), 1);
        assert_eq!(rows.map(|rows| rows.len()).rows, 1);
    }
}
