//! One request for quotes: what comes back for each instrument.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::broker::{
    Broker, BrokerError, ErrorDetail, Instrument, Quote, QuoteBatch, Quotes, RowProblem,
};
use crate::cache::batch::fetcher::Batch;
use crate::clock::Clock;
use crate::quota::Moment;

/// What a request for quotes can come to, for all of its instruments or for one.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum QuoteFetchError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The quote came, and cannot be read.
    #[error("{0}")]
    UnreadableRow(RowProblem),
}

impl From<QuoteFetchError> for BrokerError {
    fn from(fault: QuoteFetchError) -> Self {
        match fault {
            QuoteFetchError::Broker(error) => error,
            QuoteFetchError::UnreadableRow(problem) => {
                Self::Malformed(ErrorDetail::new(problem.to_string()))
            }
        }
    }
}

/// One request: a quote for each instrument, with when it was sent; or what is wrong with the one that
/// came.
pub(super) fn fetch_quotes(
    broker: &impl Broker,
    batch: &Batch<Instrument>,
    clock: &Clock,
) -> Result<HashMap<Instrument, Result<Quote, QuoteFetchError>>, QuoteFetchError> {
    let late = batch.clone();
    let Quotes { rows, problems } = broker.quotes_of(&QuoteBatch::new(move || late.keys()))?;
    let fetched_at = batch.sent().and_then(|sent| wall_time_at(clock, sent));
    let dated = |(instrument, quote)| (instrument, Ok(Quote { fetched_at, ..quote }));
    let mut answers: HashMap<_, _> = rows.into_iter().map(dated).collect();
    if !problems.is_empty() {
        assign_problems(&batch.taken_keys(), problems, &mut answers);
    }
    Ok(answers)
}

/// Gives each problem to the instrument that it names. One that names none of them may be of any that
/// has no answer: none of these may pass for one that the broker has no data for.
fn assign_problems(
    asked: &[Instrument],
    problems: Vec<RowProblem>,
    answers: &mut HashMap<Instrument, Result<Quote, QuoteFetchError>>,
) {
    let mut nameless = None;
    let by_name: HashMap<&str, &Instrument> =
        asked.iter().map(|instrument| (instrument.as_str(), instrument)).collect();
    for problem in problems {
        match problem.name.as_deref().and_then(|name| by_name.get(name)) {
            Some(instrument) => {
                answers
                    .entry(Instrument::clone(instrument))
                    .or_insert(Err(QuoteFetchError::UnreadableRow(problem)));
            }
            None => drop(nameless.get_or_insert(problem)),
        }
    }
    if let Some(problem) = nameless {
        for instrument in asked {
            answers
                .entry(instrument.clone())
                .or_insert_with(|| Err(QuoteFetchError::UnreadableRow(problem.clone())));
        }
    }
}

/// What the clock on the wall said at `moment`.
fn wall_time_at(clock: &Clock, moment: Moment) -> Option<Timestamp> {
    let wall = clock.wall_clock();
    let since = SignedDuration::try_from(wall.moment.since(moment)).ok()?;
    wall.timestamp.checked_sub(since).ok()
}
