//! One request for quotes, and its result for each instrument.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::broker::{
    Broker, BrokerError, ErrorDetail, Instrument, Quote, QuoteBatch, Quotes, RowProblem,
};
use crate::cache::batch::fetch::Batch;
use crate::clock::Clock;
use crate::quota::Moment;

/// The error of a quote request, for all of its instruments or for one.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum QuoteFetchError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The quote arrived but cannot be read.
    #[error("{0}")]
    UnreadableRow(RowProblem),
}

impl From<QuoteFetchError> for BrokerError {
    fn from(error: QuoteFetchError) -> Self {
        match error {
            QuoteFetchError::Broker(error) => error,
            QuoteFetchError::UnreadableRow(problem) => {
                Self::Malformed(ErrorDetail::new(problem.to_string()))
            }
        }
    }
}

/// The answers of one request.
pub(super) type Answers = HashMap<Instrument, Result<Quote, QuoteFetchError>>;

/// Sends one request. Returns for each instrument its quote with the time of the fetch, or the
/// problem of its row.
pub(super) fn fetch_quotes(
    broker: &impl Broker,
    batch: &Batch<Instrument>,
    clock: &Clock,
) -> Result<Answers, QuoteFetchError> {
    let quotes = broker.quotes_of(&late(batch))?;
    Ok(to_answers(batch, quotes, clock))
}

/// Returns the batch for the broker, which chooses its instruments as late as possible.
pub(super) fn late(batch: &Batch<Instrument>) -> QuoteBatch {
    let batch = batch.clone();
    QuoteBatch::new(move || batch.keys())
}

/// Returns for each instrument of a request its quote, or the problem of its row.
pub(super) fn to_answers(
    batch: &Batch<Instrument>,
    Quotes { rows, problems }: Quotes,
    clock: &Clock,
) -> Answers {
    let fetched_at = batch.sent().and_then(|sent| wall_time_at(clock, sent));
    let with_time = |(instrument, quote)| (instrument, Ok(Quote { fetched_at, ..quote }));
    let mut answers: HashMap<_, _> = rows.into_iter().map(with_time).collect();
    if !problems.is_empty() {
        assign_problems(&batch.taken_keys(), problems, &mut answers);
    }
    answers
}

/// Assigns each problem to the instrument that it names. A problem without a known name is assigned
/// to every instrument without a quote: none of these may be mistaken for one that the broker has
/// no data for.
fn assign_problems(
    asked: &[Instrument],
    problems: Vec<RowProblem>,
    answers: &mut HashMap<Instrument, Result<Quote, QuoteFetchError>>,
) {
    let mut unnamed = None;
    let by_name: HashMap<&str, &Instrument> =
        asked.iter().map(|instrument| (instrument.as_str(), instrument)).collect();
    for problem in problems {
        match problem.name.as_deref().and_then(|name| by_name.get(name)) {
            Some(instrument) => {
                answers
                    .entry(Instrument::clone(instrument))
                    .or_insert(Err(QuoteFetchError::UnreadableRow(problem)));
            }
            None => drop(unnamed.get_or_insert(problem)),
        }
    }
    if let Some(problem) = unnamed {
        for instrument in asked {
            answers
                .entry(instrument.clone())
                .or_insert_with(|| Err(QuoteFetchError::UnreadableRow(problem.clone())));
        }
    }
}

/// Returns the wall clock time at `moment`.
pub(super) fn wall_time_at(clock: &Clock, moment: Moment) -> Option<Timestamp> {
    let wall = clock.wall_clock();
    let since = SignedDuration::try_from(wall.moment.since(moment)).ok()?;
    wall.timestamp.checked_sub(since).ok()
}
