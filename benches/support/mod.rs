//! Helpers shared by the benchmarks.
#![allow(dead_code)] // Each benchmark uses its own part.

use std::time::{Duration, Instant};

/// Times `a` and `b` in turns, so that other load on the machine affects both alike. Prints the median of each and
/// the median of the ratios `a / b`.
pub(crate) fn paired(
    what: &str,
    rounds: usize,
    mut a: impl FnMut() -> Duration,
    mut b: impl FnMut() -> Duration,
) {
    // Warms up both.
    a();
    b();
    let mut both: Vec<(f64, f64)> =
        (0..rounds).map(|_| (a().as_secs_f64(), b().as_secs_f64())).collect();
    let mut ratios: Vec<f64> = both.iter().map(|(a, b)| a / b).collect();
    let mut median = |of: fn(&(f64, f64)) -> f64| {
        both.sort_by(|x, y| of(x).total_cmp(&of(y)));
        of(&both[both.len() / 2])
    };
    let (a, b) = (median(|pair| pair.0), median(|pair| pair.1));
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    println!("{what:<36} {:>9.3} us   bare {:>9.3} us   ratio {ratio:.2}", a * 1e6, b * 1e6);
}

/// Returns the mean time of one of `count` runs.
pub(crate) fn each(count: u32, mut once: impl FnMut()) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        once();
    }
    began.elapsed() / count
}
