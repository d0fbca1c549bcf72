//! Measures the cost of a call through a lane, beside the bare parts of such a path.
//!
//! ```text
//! taskset -c 0 cargo bench -p lanekeeper-benches --bench lane
//! ```
//!
//! Run it on one core. Whether caller and worker run on one core or on two makes a factor of ten in a hop, bare or
//! not, and the system decides it anew for each pair of threads. On several cores the benchmark would measure that.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion};
use crossbeam_channel::{Sender, bounded};
use lanekeeper::Effect;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, LaneConfig, LaneError, Priority, Ticket};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use support::{each, paired};

const CALL: CallSpec = CallSpec::new(0, "call", Effect::Write);

/// A broker, as far as a lane needs one.
#[lanekeeper::proxy]
pub trait Echo: Send + Sync {
    /// Returns its argument.
    #[lane(main, write)]
    fn echo(&self, number: u64) -> Result<u64, LaneError>;
}

struct Instant0;

impl Echo for Instant0 {
    fn echo(&self, number: u64) -> Result<u64, LaneError> {
        Ok(number)
    }
}

/// A worker, a channel of jobs, and a channel for each answer: the minimum for a hop.
struct Bare {
    jobs: Option<Sender<(u64, oneshot::Sender<u64>)>>,
    worker: Option<thread::JoinHandle<()>>,
}

impl Bare {
    fn new() -> Self {
        let (jobs, arrivals) = bounded::<(u64, oneshot::Sender<u64>)>(1024);
        let worker = thread::spawn(move || {
            for (number, answer) in arrivals {
                answer.send(black_box(number)).unwrap();
            }
        });
        Self { jobs: Some(jobs), worker: Some(worker) }
    }

    fn echo(&self, number: u64) -> u64 {
        let (answer, answered) = oneshot::channel();
        self.jobs.as_ref().unwrap().send((number, answer)).unwrap();
        answered.recv().unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.jobs = None;
        self.worker.take().unwrap().join().unwrap();
    }
}

fn proxy(in_flight: usize) -> EchoProxy<Instant0> {
    let config = LaneConfig::new(Quota::unlimited()).in_flight(in_flight);
    EchoProxy::builder(Instant0).main(config).build().unwrap()
}

/// Measures calls before each of which the worker has had time to fall asleep.
fn asleep(count: u64, mut once: impl FnMut()) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..count {
        thread::sleep(Duration::from_millis(1));
        let began = Instant::now();
        once();
        sum += began.elapsed();
    }
    sum
}

/// Measures a hop there and back.
fn hop(criterion: &mut Criterion) {
    let (bare, proxied) = (Bare::new(), proxy(4));
    let mut group = criterion.benchmark_group("hop");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.bench_function("busy/bare", |b| b.iter(|| bare.echo(black_box(7))));
    group.bench_function("busy/proxied", |b| b.iter(|| proxied.echo(black_box(7)).unwrap()));
    group.bench_function("asleep/bare", |b| {
        b.iter_custom(|count| asleep(count, || assert_eq!(bare.echo(black_box(7)), 7)));
    });
    group.bench_function("asleep/proxied", |b| {
        b.iter_custom(|count| asleep(count, || assert_eq!(proxied.echo(black_box(7)), Ok(7))));
    });
    group.finish();

    for in_flight in [1, 4] {
        let proxied = proxy(in_flight);
        paired(
            &format!("busy, in flight {in_flight}"),
            60,
            || each(2_000, || assert_eq!(proxied.echo(black_box(7)), Ok(7))),
            || each(2_000, || assert_eq!(bare.echo(black_box(7)), 7)),
        );
        // One by one: a mean would be dominated by the few calls that something else on the machine delayed.
        paired(
            &format!("asleep, in flight {in_flight}"),
            1_000,
            || asleep(1, || assert_eq!(proxied.echo(black_box(7)), Ok(7))),
            || asleep(1, || assert_eq!(bare.echo(black_box(7)), 7)),
        );
    }
}

fn lanes(queue: usize) -> Lanes {
    let mut builder = LanesBuilder::new("Bench", &["main"], &[]);
    builder.lane(0, LaneConfig::new(Quota::per_second(1_000)).queue(queue).in_flight(1));
    builder.clock(ManualClock::auto_advancing().into());
    builder.build(Limits::new()).unwrap()
}

fn submit(lanes: &Lanes, options: &CallOptions) -> Ticket<(), LaneError> {
    lanes.submit_spec(CALL, options, || Ok(()), |error: &LaneError| Some(error.class()))
}

/// Measures a call in and out of a queue of many calls that have a lower priority and stay queued.
fn queued(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queued");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for depth in [0, 1_000, 100_000] {
        let lanes = lanes(depth + 10_000);
        let lane = lanes.lane("main").unwrap();
        lane.pause();
        let waiting: Vec<_> = (0..depth).map(|_| submit(&lanes, &CallOptions::new())).collect();
        let urgent = CallOptions::new().priority(Priority::URGENT);
        group.bench_function(BenchmarkId::new("in and out", depth), |b| {
            b.iter_batched(
                || (),
                |()| assert!(submit(&lanes, &urgent).cancel()),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("status", depth), |b| {
            b.iter(|| black_box(lanes.status()));
        });
        drop(lanes);
        drop(waiting);
    }
    group.finish();
}

/// Measures what each call costs when one worker drains the whole queue.
fn drained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drained");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for depth in [100, 1_000, 100_000_u64] {
        group.throughput(criterion::Throughput::Elements(depth));
        group.bench_function(BenchmarkId::from_parameter(depth), |b| {
            b.iter_batched(
                || {
                    let mut builder = LanesBuilder::new("Bench", &["main"], &[]);
                    let config = LaneConfig::new(Quota::unlimited()).queue(200_000).in_flight(1);
                    builder.lane(0, config);
                    let lanes = builder.build(Limits::new()).unwrap();
                    lanes.lane("main").unwrap().pause();
                    let waiting: Vec<_> =
                        (0..depth).map(|_| submit(&lanes, &CallOptions::new())).collect();
                    (lanes, waiting)
                },
                |(lanes, waiting)| {
                    lanes.lane("main").unwrap().resume();
                    for ticket in waiting {
                        ticket.wait().unwrap();
                    }
                    lanes
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    hop(&mut criterion);
    queued(&mut criterion);
    drained(&mut criterion);
    criterion.final_summary();
}
