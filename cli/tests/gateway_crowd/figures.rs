//! What a run came to, and what is asked of it.

use std::collections::BTreeMap;
use std::time::Duration;

use lanekeeper_simulator::SimulatedExchange;
use serde_json::Value;

use crate::{JITTER, LATENCY, PROCESSES};

/// How much of the transactional lane is used.
const LEAST_USED: f64 = 0.92;
/// And how much beside the library, on a machine that is too busy for that.
const LEAST_OF_LIBRARY: f64 = 0.97;

/// What one run came to, at the exchange and at its clients.
pub struct Figures {
    name: &'static str,
    seconds: u64,
    pub arrivals: usize,
    pub refused: u64,
    /// The used part of the transactional lane.
    used: f64,
    /// That of the library, in the same time and beside it.
    used_by_library: Option<f64>,
    quote_calls: usize,
    orders: usize,
    /// The transactional calls that each process got an answer to.
    shares: Vec<u64>,
    errors: BTreeMap<String, u64>,
    /// One for each kind of error and method, of each process.
    messages: Vec<String>,
    slowest: f64,
}

/// Returns how many requests of a lane were admitted in the first `seconds` of a run.
fn admitted(exchange: &SimulatedExchange, lane: &str, seconds: u64) -> usize {
    let arrivals = exchange.arrivals();
    let began = arrivals.iter().map(|arrival| arrival.at).min().unwrap();
    let end = began + Duration::from_secs(seconds);
    let of_lane = arrivals.iter().filter(|arrival| arrival.lane == Some(lane));
    of_lane.filter(|arrival| arrival.admitted && arrival.at < end).count()
}

/// Returns which part of the transactional lane was used in the first `seconds` of a run.
fn used(exchange: &SimulatedExchange, seconds: u64) -> f64 {
    admitted(exchange, "transactional", seconds) as f64 / (10 * seconds) as f64
}

impl Figures {
    pub fn of(
        name: &'static str,
        exchange: &SimulatedExchange,
        library: Option<&SimulatedExchange>,
        reports: &[Value],
        seconds: u64,
    ) -> Self {
        let mut errors = BTreeMap::new();
        for report in reports {
            for (kind, count) in report["errors"].as_object().unwrap() {
                *errors.entry(kind.clone()).or_default() += count.as_u64().unwrap();
            }
        }
        let messages = reports.iter().flat_map(|report| report["messages"].as_object().unwrap());
        Self {
            name,
            seconds,
            arrivals: exchange.arrivals().len(),
            refused: exchange.refused(),
            used: used(exchange, seconds),
            used_by_library: library.map(|library| used(library, seconds)),
            quote_calls: admitted(exchange, "quote", seconds),
            orders: exchange.orders().len(),
            shares: reports.iter().map(|it| it["transactional"].as_u64().unwrap()).collect(),
            errors,
            messages: messages.map(|(kind, message)| format!("{kind}: {message}")).collect(),
            slowest: reports.iter().filter_map(|it| it["slowest"].as_f64()).fold(0.0, f64::max),
        }
    }

    /// Returns how far the largest share is above the smallest one, as a part of the mean.
    fn spread(&self) -> f64 {
        let (min, max) = (self.shares.iter().min().unwrap(), self.shares.iter().max().unwrap());
        let mean = self.shares.iter().sum::<u64>() as f64 / self.shares.len() as f64;
        (max - min) as f64 / mean
    }

    /// Checks what holds in every run behind the gateway, however busy the machine is.
    pub fn check(&self) {
        assert_eq!(self.refused, 0);
        // One at the start, and one a second after that.
        assert!(self.quote_calls as u64 <= self.seconds + 1, "{} quote calls", self.quote_calls);
        // Not sent, or a read that was sent in time and answered too late.
        let is_harmless = |message: &String| {
            message.starts_with("NetworkException 429 ") || message.contains("it changes nothing")
        };
        assert!(self.messages.iter().all(is_harmless), "{:#?}", self.messages);
    }

    /// Returns what a run came short of. On a busy machine each call takes longer, so less is sent.
    pub fn shortfall(&self, max_spread: f64) -> Option<String> {
        let library = self.used_by_library.unwrap_or(1.0);
        if self.used < LEAST_USED.min(LEAST_OF_LIBRARY * library) {
            return Some(format!("{} of the lane was used, by the library {library}", self.used));
        }
        // Less than that, and the threads wait for longer than their client does.
        if library >= LEAST_USED && !self.messages.is_empty() {
            return Some(format!("a client was refused: {:#?}", self.messages));
        }
        // The threads ask for quotes about twice a second.
        if (self.quote_calls as f64) < 0.4 * self.seconds as f64 {
            return Some(format!("{} quote calls", self.quote_calls));
        }
        (self.spread() > max_spread).then(|| format!("the shares are {:?}", self.shares))
    }
}

pub fn print<'a>(table: impl Iterator<Item = &'a Figures>) {
    println!(
        "{PROCESSES} processes of the official Python client with mixed calls;\n\
         the exchange is {LATENCY:?} + {JITTER:?} away, each way\n\
         | run | seconds | requests at the exchange | refused there | transactional lane used | \
         by the library beside it | quote calls | orders | calls of each process | spread | \
         client exceptions | slowest call |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|---|--:|---|--:|"
    );
    for it in table {
        let percent = |part: f64| format!("{:.1} %", 100.0 * part);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:?} | {} | {:?} | {:.1} s |",
            it.name,
            it.seconds,
            it.arrivals,
            it.refused,
            percent(it.used),
            it.used_by_library.map_or_else(|| "-".to_owned(), percent),
            it.quote_calls,
            it.orders,
            it.shares,
            percent(it.spread()),
            it.errors,
            it.slowest,
        );
    }
}
