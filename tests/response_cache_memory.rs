//! The response cache under many keys: the memory of the process stays within its capacity.
//!
//! A test program of its own, because it counts the memory of the whole process.

#![cfg(feature = "responses")]
#![allow(clippy::unwrap_used)]

use lanekeeper::lane::LaneError;
use lanekeeper::{ManualClock, Quota};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const CAPACITY: u64 = 4 << 20;
const KEYS: u64 = 100_000;

#[lanekeeper::proxy]
trait Squares: Send + Sync {
    #[lane(general, read, cache = "1day")]
    fn square(&self, of: &str) -> Result<String, LaneError>;
}

struct Server;

impl Squares for Server {
    fn square(&self, of: &str) -> Result<String, LaneError> {
        Ok(of.repeat(4))
    }
}

#[test]
fn many_keys_take_no_more_memory_than_the_capacity() {
    let squares = SquaresProxy::builder(Server)
        .general(Quota::unlimited())
        .clock(ManualClock::new())
        .response_capacity(CAPACITY)
        .build()
        .unwrap();
    // The text is a part of the key.
    let square = |key: u64| squares.square(&key.to_string().repeat(8)).map(drop);
    // With everything in place that takes memory only once.
    (0..1000).for_each(|key| square(key).unwrap());
    squares.responses().clear_all();
    let _ = squares.responses().stats();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let keys = (part * KEYS / 4)..((part + 1) * KEYS / 4);
            let square = &square;
            scope.spawn(move || keys.for_each(|key| square(key).unwrap()));
        }
    });
    let stats = squares.responses().stats();
    let (used, peak) = (MEMORY.current_usage() - before, MEMORY.peak_usage() - before);
    println!("{stats}; {used} bytes used, {peak} at the peak");
    assert_eq!((stats.hits, stats.misses), (0, KEYS + 1000));
    assert!(stats.bytes <= CAPACITY, "{stats}");
    assert!(stats.entries > 3000, "{stats}");
    // moka evicts a few entries later than it admits others.
    assert!(used as u64 <= CAPACITY * 5 / 4, "{used} bytes");
    assert!(peak as u64 <= CAPACITY * 2, "{peak} bytes at the peak");
}
