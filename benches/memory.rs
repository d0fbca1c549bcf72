//! Measures the memory of a lane: bytes for each queued call, and for an idle proxy.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench memory
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use lanekeeper::Effect;
use lanekeeper::lane::{CallOptions, LaneConfig, LaneError, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Returns the bytes in use.
fn in_use() -> usize {
    dhat::HeapStats::get().curr_bytes
}

const CALL: CallSpec = CallSpec::new(0, "call", Effect::Write);

/// The size of what an order of a broker carries.
struct Order([u8; 160]);

fn submit(lanes: &Lanes, options: &CallOptions) -> Ticket<usize, LaneError> {
    let order = Order([7; 160]);
    lanes.submit_spec(
        CALL,
        options,
        move || Ok(order.0.len()),
        |error: &LaneError| Some(error.class()),
    )
}

fn lanes(names: &'static [&'static str], queue: usize) -> Lanes {
    let mut builder = LanesBuilder::new("Bench", names, &[]);
    for index in 0..names.len() {
        builder.lane(index, LaneConfig::new(Quota::per_second(10)).queue(queue));
    }
    builder.build(Limits::new()).unwrap()
}

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let before = in_use();
    let idle = lanes(&["transactional", "quote", "historical"], 1024);
    let bytes = in_use() - before;
    println!("an idle proxy of three lanes: {bytes} bytes, beside the stacks of its threads");
    drop(idle);

    for (what, options) in [
        ("", CallOptions::new()),
        (" with a user", CallOptions::new().user("alpha")),
        (" with a deadline", CallOptions::new().deadline(std::time::Duration::from_secs(1 << 30))),
    ] {
        let calls = 10_000;
        let lanes = lanes(&["main"], calls);
        lanes.lane("main").unwrap().pause();
        let mut tickets = Vec::with_capacity(calls);
        let before = in_use();
        tickets.extend((0..calls).map(|_| submit(&lanes, &options)));
        // Moves all calls into the scheduler, where they take the most memory.
        let _ = lanes.status();
        let bytes = in_use() - before;
        println!(
            "a queued call{what}: {} bytes, {} of them its arguments",
            bytes / calls,
            size_of::<Order>()
        );
        drop(lanes);
    }
}
