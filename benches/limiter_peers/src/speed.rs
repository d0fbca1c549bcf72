//! Nanoseconds for each verdict, and bytes for each key.

use std::time::Instant;

use crate::contenders::{self, Contender};
use crate::{ALLOCATOR, Size};

pub fn run(size: Size) {
    let mut bytes = Vec::new();
    for keys in [1, 1_000, size.many_keys] {
        // A number, so that all contenders can read it.
        let names: Vec<String> = (0..keys).map(|number| number.to_string()).collect();
        // The same random order for all.
        let mut random = fastrand::Rng::with_seed(7);
        let order: Vec<u32> = (0..size.verdicts).map(|_| random.u32(0..keys as u32)).collect();
        let contenders: Vec<Contender> = contenders::all()
            .into_iter()
            .map(|make| {
                let before = ALLOCATOR.current_usage();
                let contender = make();
                // Every key is there before the time is taken.
                for name in &names {
                    (contender.admits)(name);
                }
                if keys == size.many_keys {
                    let used = ALLOCATOR.current_usage().saturating_sub(before);
                    bytes.push((contender.name.clone(), used as f64 / keys as f64));
                }
                contender
            })
            .collect();
        for threads in [1, 2] {
            println!("\nns for each verdict: {keys} keys, {threads} threads");
            let mut times: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
            for _ in 0..size.rounds {
                for (contender, times) in contenders.iter().zip(&mut times) {
                    times.push(round(contender, &names, &order, threads));
                }
            }
            let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
            for (contender, median) in contenders.iter().zip(&medians) {
                println!(
                    "  {:<46} {median:>8.1}  {:>5.2} x governor",
                    contender.name,
                    median / medians[0]
                );
            }
        }
    }
    println!("\nbytes for each key, of {}", size.many_keys);
    for (name, bytes) in
        bytes.iter().filter(|(name, _)| !name.contains("alone") && !name.contains("without keys"))
    {
        println!("  {name:<46} {bytes:>8.1}");
    }
}

/// Returns the time from one verdict to the next one, of all threads together.
fn round(contender: &Contender, names: &[String], order: &[u32], threads: usize) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                // Each thread begins elsewhere.
                let from = order.len() / threads * thread;
                for &key in order[from..].iter().chain(&order[..from]) {
                    std::hint::black_box((contender.admits)(&names[key as usize]));
                }
            });
        }
    });
    begin.elapsed().as_nanos() as f64 / (order.len() * threads) as f64
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Alternates governor and the limiter on one key, for a profiler and for quick looks.
pub fn profile() {
    use lanekeeper::quota::request_limit::Algorithm;
    let contenders = [
        contenders::governor(),
        contenders::storage(Algorithm::TokenBucket, 1_000_000_000),
        contenders::limiter(Algorithm::TokenBucket, 1_000_000_000),
    ];
    let names = ["1".to_owned()];
    let order = vec![0; 1_000_000];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..9 {
        for (contender, times) in contenders.iter().zip(&mut times) {
            times.push(round(contender, &names, &order, 1));
        }
    }
    println!("{:?}", times.map(|mut times| median(&mut times)));
}
