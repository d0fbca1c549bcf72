//! Answers of many rows, of which one may be unreadable.
//!
//! One row that a broker wrote in a way nobody expected must not cost the others: an order book is
//! what a strategy finds its way out by. Nor must it vanish in silence, since an order that is not
//! seen may be placed again. So the rows come with a list of those that could not be read.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::error::{BrokerError, ErrorDetail};
use super::instrument::Instrument;
use super::quote::Quote;

/// An answer, and the rows of it that could not be read.
///
/// It stands for the rows: it dereferences to them, and iterates over them. Look at
/// [`problems`](Self::problems) where a missing row matters, or ask for [`whole`](Self::complete).
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
    /// What could be read.
    pub rows: T,
    /// The rows that could not, in the order of the answer.
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
    /// Its place among the rows of the answer, counted from 0; of one that was refused, its place among the names
    /// that were asked for.
    pub row: usize,
    /// What it is called, as far as that could be read: the id of an order, the key of a quote.
    pub name: Option<String>,
    /// The tag in it, if it is an order and that could be read.
    pub tag: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// The row itself, or the beginning of a long one. Without secrets. Empty if there is no row: the
    /// broker would not answer for it.
    pub text: String,
    /// What came of this row alone, if it is another error than that it cannot be read: a name that the broker
    /// refused ([`QuoteCache`](crate::QuoteCache)), or that was not answered in time. Not serialized.
    #[serde(skip)]
    pub error: Option<Box<BrokerError>>,
}

impl<T> Partial<T> {
    /// The same with these rows of the answer that could not be read.
    #[must_use]
    pub fn with_problems(mut self, problems: impl IntoIterator<Item = RowProblem>) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Whether every row could be read.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }

    /// The rows, if every one of them could be read.
    ///
    /// # Errors
    /// The [error](RowProblem::error) of the first that has one of its own; or else
    /// [`BrokerError::Malformed`], with the first row that cannot be read.
    pub fn complete(self) -> Result<T, BrokerError> {
        if let Some(own) = self.problems.iter().find_map(|problem| problem.error.as_deref()) {
            return Err(own.clone());
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

    /// The rows, made into something else.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Partial<U> {
        Partial { rows: map(self.rows), problems: self.problems }
    }
}

impl RowProblem {
    /// The row at this place, counted from 0, cannot be read.
    pub fn new(row: usize, why: impl Into<String>, text: impl Into<String>) -> Self {
        Self { row, name: None, tag: None, reason: why.into(), text: text.into(), error: None }
    }

    /// The row at this place among those asked for has this error of its own.
    pub fn from_error(row: usize, error: BrokerError) -> Self {
        Self { error: Some(Box::new(error.clone())), ..Self::new(row, error.to_string(), "") }
    }

    /// With what the row is called.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With the tag of the order in it.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, name, reason: why, text, .. } = self;
        match name {
            Some(name) => write!(f, "row {row} ({name}): {why}")?,
            None => write!(f, "row {row}: {why}")?,
        }
        if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
    }
}

impl<T> From<T> for Partial<T> {
    /// All of it could be read.
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
        // One that was refused is not one that cannot be read.
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
