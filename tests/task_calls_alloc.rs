//! What a task costs that waits for its turn: memory, and no thread.
#![cfg(target_os = "linux")] // The threads of a process are counted there.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::LaneConfig;
use lanekeeper::proxy::{LaneCall, Lanes};
use lanekeeper::quota::Quota;
use peak_alloc::PeakAlloc;
use support::lanes::{READ, one, options, status, submit, until};
use support::stepped::Failure;

type Answer = Result<u32, Failure>;

const TASKS: usize = 100_000;

/// The threads of the lane: for two calls in flight, as many urgent ones, and a leader.
const WORKERS: usize = 5;

/// Counts the memory of all threads: a worker puts calls into the queue too.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Returns how many threads of lanes there are. The other threads are those of other tests.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lane-")).count()
}

fn call(lanes: &Lanes, answer: u32) -> impl Future<Output = Answer> + use<> {
    let lanes = lanes.clone();
    async move {
        let call = LaneCall::read("test");
        lanes.run(&call, &options(), || async move { Ok(answer) }).await
    }
}

#[test]
fn a_hundred_thousand_tasks_wait_without_a_thread_each() {
    let config = LaneConfig::new(Quota::per_second(1)).queue(TASKS).in_flight(2);
    let lanes = one(config, ManualClock::new());
    submit(&lanes, READ, &options(), || ()).wait().unwrap();
    // A thread has its name once it runs.
    until(|| threads() == WORKERS);
    let mut tasks: Vec<Pin<Box<dyn Future<Output = Answer>>>> =
        (0..TASKS).map(|number| Box::pin(call(&lanes, number as u32)) as _).collect();
    let waker = Waker::noop();
    let before = MEMORY.current_usage();
    for task in &mut tasks {
        assert!(task.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    assert_eq!(status(&lanes).queued, TASKS);
    let each = (MEMORY.current_usage() - before) / TASKS;
    println!(
        "{each} bytes for each task that waits, beside its future of {} bytes",
        size_of_val(&*tasks[0])
    );
    // With spans, a call keeps that of its caller.
    let span = if cfg!(feature = "tracing") { 40 } else { 0 };
    assert!(each <= 512 + span, "{each} bytes");
    assert_eq!(threads(), WORKERS);
    drop(tasks);
    assert_eq!(status(&lanes).queued, 0);
}
