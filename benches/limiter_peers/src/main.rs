//! Measures the keyed limiter beside its peers, in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/limiter_peers/Cargo.toml            # about two minutes
//! cargo run --release --manifest-path benches/limiter_peers/Cargo.toml -- redis   # Redis alone
//! cargo run --release --manifest-path benches/limiter_peers/Cargo.toml -- quick   # that it runs
//! cargo run --release --manifest-path benches/limiter_peers/Cargo.toml -- profile # one key, for a profiler
//! ```
//!
//! - Time: nanoseconds for each verdict, by keys and threads. The rounds of all contenders alternate, and the median
//!   counts. All verdicts admit, except those of the log, most of which refuse.
//! - Memory: bytes for each key that is kept, of a million.
//! - A flood of ten million keys.
//! - Redis: verdicts a second, beside `redis-benchmark` with the same script, if both programs are there.

mod contenders;
mod flood;
mod redis;
mod speed;

#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    verdicts: usize,
    rounds: usize,
    many_keys: usize,
    flood: usize,
    redis: usize,
}

fn main() {
    let size = match std::env::args().nth(1).as_deref() {
        Some("quick") => {
            Size { verdicts: 20_000, rounds: 1, many_keys: 20_000, flood: 200_000, redis: 500 }
        }
        _ => Size {
            verdicts: 1_000_000,
            rounds: 5,
            many_keys: 1_000_000,
            flood: 10_000_000,
            redis: 20_000,
        },
    };
    match std::env::args().nth(1).as_deref() {
        Some("profile") => return speed::profile(),
        Some("redis") => return redis::run(size),
        _ => {}
    }
    speed::run(size);
    flood::run(size);
    redis::run(size);
}
