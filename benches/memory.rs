//! Measures the memory of a lane: bytes for each queued call, for an idle proxy, and for a hundred accounts in one
//! process.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench memory
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use lanekeeper::lane::{CallOptions, LaneConfig, LaneError, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{BrokerProxy, Effect, PaperBroker};

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
    accounts(100);
}

/// Builds the whole stack for each of `count` accounts, and measures what each takes while nothing happens.
fn accounts(count: usize) {
    let of_process = |name: &str| -> Option<usize> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let now = || (in_use(), of_process("Threads:"), of_process("VmRSS:"));
    let (heap, threads, resident) = now();
    let accounts: Vec<_> = (0..count)
        .map(|_| {
            BrokerProxy::builder(PaperBroker::builder().build().unwrap())
                .limits(lanekeeper::presets::kite())
                .quote_ttl(Duration::from_secs(5))
                .order_guard(|guard| guard)
                .build()
                .unwrap()
        })
        .collect();
    let (heap_after, threads_after, resident_after) = now();
    let each = |after: Option<usize>, before: Option<usize>| {
        after.zip(before).map_or("?".to_owned(), |(after, before)| {
            format!("{:.1}", (after - before) as f64 / count as f64)
        })
    };
    println!(
        "{count} accounts, each with guard, cache and lanes in front of a paper broker: {} KB of heap, {} threads and {} KB \
         resident for each",
        (heap_after - heap) / count / 1024,
        each(threads_after, threads),
        each(resident_after, resident),
    );
    drop(accounts);
}
