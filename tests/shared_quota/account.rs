//! The account: the exchange, Redis, and three bots. What it counts is what the exchange saw.

use std::fmt;
use std::thread;
use std::time::Duration;

use lanekeeper::broker::lanes;
use lanekeeper_simulator::{Algorithm, SimulatedExchange};

use crate::bot::{Bot, limits};
use crate::path::RedisPath;
use crate::redis::RedisServer;

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);

pub struct Account {
    name: &'static str,
    pub redis: RedisServer,
    pub bots: Vec<Bot>,
    exchange: SimulatedExchange,
    /// How many arrivals came before the measured time, and how long that is.
    before: usize,
    length: Duration,
}

/// What the exchange saw.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    arrivals: usize,
    pub refused: u64,
    /// The part of what a client can use that is safe however the exchange counts, and has no credit.
    pub used: f64,
    pub by_bot: Vec<usize>,
    pub modes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, arrivals, refused, used, by_bot, modes, .. } = self;
        write!(
            f,
            "{name}: {arrivals} arrivals, {refused} refused, {:.1} % of the bound, by bot {by_bot:?}, modes {modes:?}",
            used * 100.0
        )
    }
}

impl Account {
    /// Starts all. The bots make urgent calls too in a run in which nothing happens: one that is made while its bot is cut off
    /// waits for nothing, and may be refused.
    pub fn start(name: &'static str, to_redis: Duration) -> Option<Self> {
        let redis = RedisServer::start()?;
        let exchange = SimulatedExchange::builder()
            .algorithm(Algorithm::SlidingLog)
            .limits(limits())
            .latency(LATENCY)
            .jitter(JITTER)
            .start()
            .unwrap();
        let start = |number| {
            let path = RedisPath::to(&redis.socket(), to_redis);
            Bot::start(&exchange.base_url(), path, number, name == "steady")
        };
        let bots = (0..3).map(start).collect();
        Some(Self { name, redis, bots, exchange, before: 0, length: Duration::ZERO })
    }

    /// Waits until the bots call, and for the first burst to be over.
    pub fn settle(&mut self) {
        for _ in 0..600 {
            if self.exchange.arrivals().len() >= 30 {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.before = self.exchange.arrivals().len();
    }

    /// Lets the bots run. Real time is what is measured here.
    pub fn run(&mut self, length: Duration) {
        thread::sleep(length);
        self.length += length;
    }

    pub fn end(mut self) -> Report {
        let arrivals = self.exchange.arrivals();
        let modes_and_calls: Vec<Vec<String>> = self.bots.drain(..).map(Bot::end).collect();
        let mut modes = Vec::new();
        let (mut sum, mut calls) = (0.0, 0.0);
        for line in modes_and_calls.iter().flatten() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["mode", mode, ..] => modes.push(mode.to_owned()),
                ["call", micros, _] => {
                    sum += micros.parse::<f64>().unwrap() / 1e6;
                    calls += 1.0;
                }
                _ => {}
            }
        }
        let measured = &arrivals[self.before..];
        let counted = measured.iter().filter(|it| it.lane == Some(lanes::TRANSACTIONAL));
        let of = |path: &str| counted.clone().filter(|it| it.path.ends_with(path)).count();
        let bound = 10.0 * self.length.as_secs_f64() / (1.0 + sum / f64::max(calls, 1.0));
        let report = Report {
            name: self.name,
            arrivals: counted.clone().count(),
            refused: self.exchange.refused(),
            used: counted.clone().count() as f64 / bound,
            by_bot: vec![of("positions"), of("holdings"), of("margins")],
            modes,
        };
        println!("{report}");
        let begin = arrivals.get(self.before).map_or(Duration::ZERO, |first| first.at);
        for refused in arrivals.iter().filter(|it| !it.admitted) {
            let window = arrivals
                .iter()
                .filter(|it| it.at <= refused.at && it.at + Duration::from_secs(1) > refused.at);
            let window: Vec<_> = window
                .map(|it| {
                    format!(
                        "{} {:.3}",
                        &it.path[it.path.len() - 4..],
                        it.at.as_secs_f64() - begin.as_secs_f64()
                    )
                })
                .collect();
            println!(
                "refused after {:.3}: {window:?}",
                refused.at.as_secs_f64() - begin.as_secs_f64()
            );
        }
        assert_eq!(report.refused, 0, "{report}");
        report
    }
}
