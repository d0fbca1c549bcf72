//! Measures a hit of the response cache beside a bare moka get, in one run.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench response_cache
//! ```
//!
//! Each thread asks for one key after the other. The figure is the time that one thread takes for one answer while the
//! given number of threads do the same. Both sides take turns, in many short rounds, and the medians are compared: so a
//! machine that is busy with something else slows both down.
//!
//! The answers are `Arc`s, so that what is measured is the lookup and not the copy of an answer. The keys are numbers,
//! which cost nothing to own, or texts, which a proxied method copies for its call before it looks them up: so does the
//! bare get that it is compared with. The bare cache has a capacity, a weigher and its default hash, and either expires
//! each entry at its own time (`Expiry`), as methods with different times need it, or all at one age (`time_to_live`). It
//! reads the clock once. The response cache is called through the proxy. It reads the lanes' clock in addition, compares
//! the age with the limits of the caller, and counts the hit.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hash::Hash;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::Quota;
use lanekeeper::lane::LaneError;

const HOUR: Duration = Duration::from_secs(3600);
const KEYS: usize = 1000;
const ROUNDS: usize = 201;
const ASKS: usize = 20_000;

type Answer = Arc<Vec<u64>>;

#[lanekeeper::proxy]
trait Server: Send + Sync {
    #[lane(general, read, cache = "1h")]
    fn by_number(&self, number: u64) -> Result<Answer, LaneError>;
    #[lane(general, read, cache = "1h")]
    fn by_text(&self, text: &str) -> Result<Answer, LaneError>;
}

struct Numbers;

impl Server for Numbers {
    fn by_number(&self, number: u64) -> Result<Answer, LaneError> {
        Ok(Arc::new(vec![number; 8]))
    }
    fn by_text(&self, text: &str) -> Result<Answer, LaneError> {
        Ok(Arc::new(vec![text.len() as u64; 8]))
    }
}

struct InAnHour;

impl<K> moka::Expiry<K, Answer> for InAnHour {
    fn expire_after_create(&self, _: &K, _: &Answer, _: Instant) -> Option<Duration> {
        Some(HOUR)
    }
}

/// Returns a cache whose entries expire each at its own time, and one whose entries expire at one age.
fn bare<K: Hash + Eq + Send + Sync + 'static>() -> [moka::sync::Cache<K, Answer>; 2] {
    let builder = || moka::sync::Cache::builder().max_capacity(64 << 20).weigher(|_, _| 500);
    [builder().expire_after(InAnHour).build(), builder().time_to_live(HOUR).build()]
}

/// Returns how long one answer takes while every thread asks, in nanoseconds.
fn round(threads: usize, ask: &(dyn Fn(usize) + Sync)) -> f64 {
    let gate = Barrier::new(threads + 1);
    let took = thread::scope(|scope| {
        for number in 0..threads {
            let gate = &gate;
            scope.spawn(move || {
                let start = number * KEYS / threads;
                gate.wait();
                (0..ASKS).for_each(|turn| ask(black_box((start + turn) % KEYS)));
                gate.wait();
            });
        }
        gate.wait();
        let began = Instant::now();
        gate.wait();
        began.elapsed()
    });
    took.as_nanos() as f64 / ASKS as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

type Ask<'a> = &'a (dyn Fn(usize) + Sync);

fn compare(name: &str, [own_time, one_age, cached]: [Ask<'_>; 3]) {
    for threads in [1, 2] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (times, ask) in times.iter_mut().zip([own_time, one_age, cached]) {
                times.push(round(threads, ask));
            }
        }
        let [own_time, one_age, cached] = times.map(median);
        println!(
            "{name}, {threads} threads: response cache {cached:.0} ns; bare moka {own_time:.0} ns with `Expiry` \
             ({:.2} times), {one_age:.0} ns with `time_to_live` ({:.2} times)",
            cached / own_time,
            cached / one_age,
        );
    }
}

fn main() {
    let proxy = ServerProxy::builder(Numbers).general(Quota::unlimited()).build().unwrap();
    let texts: Vec<String> = (0..KEYS).map(|key| format!("NSE:SYMBOL{key}")).collect();
    let (by_number, by_text) = (bare::<u64>(), bare::<String>());
    for (key, text) in texts.iter().enumerate() {
        let (number, answer) = (key as u64, proxy.by_number(key as u64).unwrap());
        by_number.iter().for_each(|cache| cache.insert(number, Arc::clone(&answer)));
        let answer = proxy.by_text(text).unwrap();
        by_text.iter().for_each(|cache| cache.insert(text.clone(), Arc::clone(&answer)));
    }
    let [own_time, one_age] = &by_number;
    compare(
        "number",
        [
            &|at| drop(black_box(own_time.get(&(at as u64)))),
            &|at| drop(black_box(one_age.get(&(at as u64)))),
            &|at| drop(black_box(proxy.by_number(at as u64))),
        ],
    );
    let [own_time, one_age] = &by_text;
    compare(
        "text",
        [
            &|at| drop(black_box(own_time.get(&texts[at].clone()))),
            &|at| drop(black_box(one_age.get(&texts[at].clone()))),
            &|at| drop(black_box(proxy.by_text(&texts[at]))),
        ],
    );
    let stats = proxy.responses().stats();
    assert_eq!((stats.misses, stats.entries), (2 * KEYS as u64, 2 * KEYS as u64));
}
