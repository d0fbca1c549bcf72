//! Every limiter in front of every broker on every path, several times.

use std::thread;

use crate::broker::Counting;
use crate::crowd::{self, RunStats};
use crate::path::{PATHS, Path};
use crate::peers::{self, Kind};

/// How far below the bound lanekeeper may stay.
const SHORT: f64 = 0.02;

/// All runs of one limiter in front of one broker on one path.
pub struct Cell {
    pub peer: &'static Kind,
    pub counting: Counting,
    pub arrived: usize,
    pub refused: usize,
    /// In how many of the runs a call was refused, and the maximum in one of them.
    pub runs_with_refusals: usize,
    pub most_refused: usize,
    /// The first refusal, at the earliest and at the latest, in nanoseconds.
    pub first_refusal: Option<u64>,
    pub last_refusal: Option<u64>,
    /// Means over the runs.
    pub used: f64,
    pub bound: f64,
    pub strict_bound: f64,
    /// In milliseconds.
    pub mean_round_trip: f64,
    /// The waits of all runs, sorted, in nanoseconds.
    waits: Vec<u64>,
}

impl Cell {
    fn of(peer: &'static Kind, counting: Counting, path: &Path, seeds: u64) -> Self {
        let run = |seed: u64| crowd::run((peer.make)().as_mut(), path, counting, seed);
        let runs: Vec<RunStats> = (1..=seeds).map(run).collect();
        let mean = |of: &dyn Fn(&RunStats) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let mut waits: Vec<u64> = runs.iter().flat_map(|stats| stats.waits.iter().copied()).collect();
        waits.sort_unstable();
        Self {
            peer,
            counting,
            arrived: runs.iter().map(|stats| stats.arrivals.len()).sum(),
            refused: runs.iter().map(|stats| stats.refused.len()).sum(),
            runs_with_refusals: runs.iter().filter(|stats| !stats.refused.is_empty()).count(),
            most_refused: runs.iter().map(|stats| stats.refused.len()).max().unwrap_or(0),
            first_refusal: runs.iter().flat_map(|stats| stats.refused.iter().copied()).min(),
            last_refusal: runs.iter().flat_map(|stats| stats.refused.iter().copied()).max(),
            used: mean(&RunStats::used),
            bound: mean(&|stats| stats.bound(path)),
            strict_bound: mean(&RunStats::strict_bound),
            mean_round_trip: mean(&|stats| stats.mean() as f64 / 1e6),
            waits,
        }
    }

    /// Returns which share of the calls was refused.
    pub fn refusals(&self) -> f64 {
        self.refused as f64 / self.arrived.max(1) as f64
    }

    /// Returns the wait that `percent` of the calls did not exceed, in seconds.
    pub fn wait(&self, percent: usize) -> f64 {
        let index = (self.waits.len() * percent / 100).min(self.waits.len().saturating_sub(1));
        self.waits.get(index).map_or(0.0, |&wait| wait as f64 / 1e9)
    }
}

/// One path: the limiters in their order, and each in front of each broker that it is for.
pub struct Row {
    pub path: Path,
    pub cells: Vec<[Option<Cell>; 3]>,
}

/// Runs one path alone.
pub fn row(path: &Path, seeds: u64) -> Row {
    let cells = |peer: &'static Kind| {
        Counting::ALL.map(|counting| {
            let fits = peer.only.is_none_or(|only| only == counting);
            fits.then(|| Cell::of(peer, counting, path, seeds))
        })
    };
    Row { path: *path, cells: peers::ALL.iter().map(cells).collect() }
}

pub struct Grid {
    pub rows: Vec<Row>,
}

impl Grid {
    /// Runs all paths, each in a thread. The runs themselves use neither threads nor real time.
    pub fn run(seeds: u64) -> Self {
        let rows = thread::scope(|scope| {
            let started: Vec<_> =
                PATHS.iter().map(|path| scope.spawn(move || row(path, seeds))).collect();
            let rows = started.into_iter().map(|row| row.join());
            rows.map(|row| row.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        Self { rows }
    }

    /// Returns what lanekeeper promises and did not keep here.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for row in &self.rows {
            for number in peers::OURS {
                for cell in row.cells[number].iter().flatten() {
                    let bound = match number {
                        peers::STRICT => cell.strict_bound,
                        _ => cell.bound,
                    };
                    let place = format!(
                        "{} on the path `{}` in front of a {}",
                        cell.peer.name,
                        row.path.name,
                        cell.counting.name()
                    );
                    if cell.refused > 0 {
                        let (all, runs) = (cell.refused, cell.runs_with_refusals);
                        broken.push(format!("{place}: {all} refused, in {runs} runs"));
                    }
                    if cell.used < (1.0 - SHORT) * bound {
                        broken.push(format!("{place}: used {} of {bound}", cell.used));
                    }
                }
            }
        }
        broken
    }
}
