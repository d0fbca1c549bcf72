//! What a task costs that waits for its turn: memory, and no thread.
#![cfg(target_os = "linux")] // The threads of a process are counted there.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use allocation_counter::measure;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::LaneConfig;
use lanekeeper::proxy::{LaneCall, Lanes};
use lanekeeper::quota::Quota;
use support::lanes::{READ, one, options, status, submit};
use support::stepped::Failure;

type Answer = Result<u32, Failure>;

const TASKS: usize = 100_000;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
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
    let threads_before = threads();
    let mut tasks: Vec<Pin<Box<dyn Future<Output = Answer>>>> =
        (0..TASKS).map(|number| Box::pin(call(&lanes, number as u32)) as _).collect();
    let waker = Waker::noop();
    let allocated = measure(|| {
        for task in &mut tasks {
            assert!(task.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        // Its arrival may still be on the way into the queue.
        assert_eq!(status(&lanes).queued, TASKS);
    });
    let each = allocated.bytes_current / TASKS as i64;
    println!(
        "{each} bytes for each task that waits, beside its future of {} bytes",
        size_of_val(&*tasks[0])
    );
    assert!(each <= 512, "{each} bytes");
    assert_eq!(threads(), threads_before);
    drop(tasks);
    assert_eq!(status(&lanes).queued, 0);
}
