//! Verdicts a second with Redis, beside `redis-benchmark` with the same script.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lanekeeper::limiter::storage::{Charge, CounterKey, Storage, Take, Values};
use lanekeeper::limiter::{MemoryStorage, RedisStorage};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};

use crate::Size;
use crate::speed::median;

/// A Redis that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run(size: Size) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let Ok(server) = server.map(Server) else {
        println!("\nskipped: Redis, since `redis-server` does not start");
        return;
    };
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("\nverdicts a second in Redis, over a Unix socket, one key for each verdict");
    println!(
        "  {:<26} {:>8} {:>12} {:>18} {:>7}",
        "", "threads", "lanekeeper", "redis-benchmark", "share"
    );
    for (algorithm, requests) in [
        (Algorithm::TokenBucket, 10),
        (Algorithm::FixedWindow, 10),
        (Algorithm::SlidingWindowLog, 10),
        (Algorithm::SlidingWindowCounter, 10),
    ] {
        for threads in [1, 8] {
            let mut pairs: Vec<(f64, f64)> = Vec::new();
            for _ in 0..size.rounds {
                flush(&socket);
                let theirs = benchmark(&socket, algorithm, requests, threads, size.redis);
                let Some(theirs) = theirs else {
                    println!("skipped: `redis-benchmark` does not start");
                    return;
                };
                flush(&socket);
                pairs.push((ours(&socket, algorithm, requests, threads, size.redis), theirs));
            }
            let mut of_ours: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
            let mut of_theirs: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
            let mut shares: Vec<f64> = pairs.iter().map(|pair| pair.0 / pair.1).collect();
            println!(
                "  {:<26} {threads:>8} {:>12.0} {:>18.0} {:>6.0} %",
                algorithm.name(),
                median(&mut of_ours),
                median(&mut of_theirs),
                100.0 * median(&mut shares)
            );
        }
    }
    flush(&socket);
    batch(&socket, size);
    drop(server);
}

/// Each measurement begins with an empty Redis.
fn flush(socket: &Path) {
    let _ = Command::new("redis-cli").arg("-s").arg(socket).arg("FLUSHDB").output();
}

fn storage(socket: &Path) -> RedisStorage {
    let url = format!("unix://{}", socket.display());
    RedisStorage::new(&url, "bench").unwrap().timeout(Duration::from_secs(10))
}

fn limit(algorithm: Algorithm, requests: u32) -> RequestLimit {
    RequestLimit::new(algorithm, requests, Duration::from_secs(1)).unwrap()
}

fn take<'l, 'v>(limit: &'l RequestLimit, entries: &'v [(&'v str, &'v str)]) -> Take<'l, 'v> {
    let key = CounterKey { rule: 1, values: Values::new(entries) };
    Take::new([Charge { key, limit, weight: 1, is_shadow: false }])
}

fn ours(
    socket: &Path,
    algorithm: Algorithm,
    requests: u32,
    threads: usize,
    verdicts: usize,
) -> f64 {
    let (storage, limit) = (storage(socket), limit(algorithm, requests));
    storage.take(&take(&limit, &[("user", "warm")])).unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (storage, limit) = (&storage, &limit);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread as u64);
                for _ in 0..verdicts / threads {
                    let key = random.u32(0..1_000_000).to_string();
                    std::hint::black_box(storage.take(&take(limit, &[("user", &key)])).unwrap());
                }
            });
        }
    });
    verdicts as f64 / begin.elapsed().as_secs_f64()
}

/// The same command that the storage sends, from `redis-benchmark`.
fn benchmark(
    socket: &Path,
    algorithm: Algorithm,
    requests: u32,
    clients: usize,
    commands: usize,
) -> Option<f64> {
    let limit = limit(algorithm, requests);
    let entries = [("user", "key")];
    let take = take(&limit, &entries);
    let storage = storage(socket);
    // Redis knows the script by then.
    storage.take(&take).unwrap();
    let words = storage.command(&take);
    let output = Command::new("redis-benchmark")
        .arg("-s")
        .arg(socket)
        .args(["--csv", "-r", "1000000", "-c", &clients.to_string(), "-n", &commands.to_string()])
        // The name of the key, with a number that differs.
        .args(words.iter().enumerate().map(|(index, word)| match index {
            3 => format!("{}__rand_int__", &word[..word.len() - 12]),
            _ => word.clone(),
        }))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last()?;
    line.split("\",\"").nth(1)?.trim_matches('"').parse().ok()
}

/// Many verdicts in one trip.
fn batch(socket: &Path, size: Size) {
    let (storage, limit) = (storage(socket), limit(Algorithm::TokenBucket, 10));
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let entries: Vec<[(&str, &str); 1]> = keys.iter().map(|key| [("user", key.as_str())]).collect();
    let takes: Vec<Take<'_, '_>> = entries.iter().map(|entries| take(&limit, entries)).collect();
    storage.take_all(&takes);
    let begin = Instant::now();
    let trips = (size.redis / 100).max(1);
    for _ in 0..trips {
        for taken in storage.take_all(&takes) {
            taken.unwrap();
        }
    }
    let each = (trips * takes.len()) as f64 / begin.elapsed().as_secs_f64();
    println!("  batches of 100, one thread: {each:.0} verdicts a second");
    let memory = MemoryStorage::new();
    let begin = Instant::now();
    for _ in 0..trips {
        for take in &takes {
            memory.take(take).unwrap();
        }
    }
    let each = (trips * takes.len()) as f64 / begin.elapsed().as_secs_f64();
    println!("  in memory, for comparison: {each:.0}");
}
