//! The modelled broker: 10 calls a second, counted to the nanosecond in one of three ways.
//!
//! A refused call uses up nothing. The refusals are checked against the oracle of the library's own tests, which
//! reads the finished list of arrivals instead.

use std::collections::VecDeque;

#[path = "../../../tests/support/oracle.rs"]
#[allow(dead_code)]
mod oracle;

use oracle::Algorithm;

use crate::path::SECOND;

/// The number of calls ..
pub const LIMIT: u32 = 10;
/// .. in this many nanoseconds.
pub const WINDOW: u64 = SECOND;

/// How a broker counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// At most `LIMIT` in every interval of length `WINDOW`.
    SlidingLog,
    /// At most `LIMIT` in each of the windows that follow one another.
    FixedWindow,
    /// `LIMIT` tokens at first and at most, `LIMIT` more in each `WINDOW`.
    TokenBucket,
}

impl Counting {
    pub const ALL: [Self; 3] = [Self::SlidingLog, Self::FixedWindow, Self::TokenBucket];

    pub fn name(self) -> &'static str {
        match self {
            Self::SlidingLog => "sliding log",
            Self::FixedWindow => "fixed window",
            Self::TokenBucket => "token bucket",
        }
    }
}

pub struct Broker {
    counting: Counting,
    /// The moment at which the fixed windows begin.
    phase: u64,
    /// The admitted calls that still count.
    log: VecDeque<u64>,
    window: u64,
    count: u32,
    /// The tokens times `WINDOW`, so that nothing is rounded.
    level: u128,
    last: u64,
    arrivals: Vec<u64>,
    refused: usize,
}

impl Broker {
    pub fn new(counting: Counting, phase: u64) -> Self {
        Self {
            counting,
            phase: phase % WINDOW,
            log: VecDeque::new(),
            window: u64::MAX,
            count: 0,
            level: Self::FULL,
            last: 0,
            arrivals: Vec::new(),
            refused: 0,
        }
    }

    const FULL: u128 = LIMIT as u128 * WINDOW as u128;

    /// Counts a call that arrives, and returns whether it is admitted. Calls must come in the order of time.
    pub fn admits(&mut self, at: u64) -> bool {
        let admitted = match self.counting {
            Counting::SlidingLog => self.by_log(at),
            Counting::FixedWindow => self.by_window(at),
            Counting::TokenBucket => self.by_tokens(at),
        };
        self.arrivals.push(at);
        self.refused += usize::from(!admitted);
        admitted
    }

    fn by_log(&mut self, at: u64) -> bool {
        while self.log.front().is_some_and(|&old| old + WINDOW <= at) {
            self.log.pop_front();
        }
        let room = self.log.len() < LIMIT as usize;
        if room {
            self.log.push_back(at);
        }
        room
    }

    fn by_window(&mut self, at: u64) -> bool {
        let here = (at + WINDOW - self.phase) / WINDOW;
        if here != self.window {
            (self.window, self.count) = (here, 0);
        }
        let room = self.count < LIMIT;
        self.count += u32::from(room);
        room
    }

    fn by_tokens(&mut self, at: u64) -> bool {
        let gained = u128::from(at - self.last) * u128::from(LIMIT);
        (self.level, self.last) = (Self::FULL.min(self.level + gained), at);
        let room = self.level >= u128::from(WINDOW);
        if room {
            self.level -= u128::from(WINDOW);
        }
        room
    }

    /// Returns all arrivals, admitted or not.
    ///
    /// # Panics
    /// If the oracle counts otherwise than this broker did.
    pub fn close(self) -> Vec<u64> {
        let algorithm = match self.counting {
            Counting::SlidingLog => Algorithm::SlidingLog,
            Counting::FixedWindow => Algorithm::FixedWindow { phase: self.phase },
            Counting::TokenBucket => Algorithm::TokenBucket,
        };
        let oracle = oracle::refused(&self.arrivals, LIMIT, WINDOW, algorithm);
        assert_eq!(self.refused, oracle, "the broker and the oracle disagree");
        self.arrivals
    }
}
