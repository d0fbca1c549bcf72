//! Decisions a second, beside `redis-benchmark` with the same script, keys and arguments.
//!
//! Each side has an account of its own, prepared alike. `redis-benchmark` repeats one command: its id has a random number below
//! the number of connections, so that a call that is told to have ended is one that an ask of before was granted.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lanekeeper::Quota;
use lanekeeper::shared_quota::bench::{BenchAsk, StepBench};

use crate::Size;
use crate::server::{Server, median};

/// What the account is like when it is asked.
struct State {
    name: &'static str,
    limit: u32,
    /// How many slots another process holds all the time.
    held: u32,
    is_granted: bool,
}

const STATES: [State; 3] = [
    // With room for the calls of all threads, and for as many that are not yet told to have ended.
    State { name: "granted, one call told", limit: 20, held: 0, is_granted: true },
    State { name: "the same, 400 slots in use", limit: 420, held: 400, is_granted: true },
    State { name: "denied", limit: 10, held: 10, is_granted: false },
];

pub fn run(server: &Server, size: Size) {
    println!("\ndecisions a second in Redis, over a Unix socket, one window");
    println!(
        "  {:<27} {:>8} {:>11} {:>16} {:>7}   least and most share",
        "", "threads", "lanekeeper", "redis-benchmark", "share"
    );
    for state in &STATES {
        for threads in [1, 8] {
            server.flush();
            let ours = account(server, "ours", state);
            let theirs = account(server, "theirs", state);
            // So that there is a call to be told, if it is granted.
            assert_eq!(theirs.ask(BenchAsk::default()).unwrap(), state.is_granted);
            let words = theirs.words(BenchAsk::default(), "__rand_int__").unwrap();
            check(server, &words, state);
            let mut pairs: Vec<(f64, f64)> = Vec::new();
            for _ in 0..size.rounds {
                let peer = benchmark(server.socket(), &words, threads, size.decisions);
                let Some(peer) = peer else {
                    println!("skipped: `redis-benchmark` does not start");
                    return;
                };
                pairs.push((decide(&ours, state, threads, size.decisions), peer));
            }
            check(server, &words, state);
            let mut shares: Vec<f64> = pairs.iter().map(|pair| 100.0 * pair.0 / pair.1).collect();
            shares.sort_by(f64::total_cmp);
            println!(
                "  {:<27} {threads:>8} {:>11.0} {:>16.0} {:>5.0} %   {:.0} to {:.0} %",
                state.name,
                median(pairs.iter().map(|pair| pair.0)),
                median(pairs.iter().map(|pair| pair.1)),
                median(shares.iter().copied()),
                shares[0],
                shares[shares.len() - 1],
            );
        }
    }
}

/// A process of an account in this state. A call that has ended leaves a window of a microsecond at once.
fn account(server: &Server, name: &str, state: &State) -> StepBench {
    let quota = Quota::new(state.limit, Duration::from_micros(1));
    let join = |process| StepBench::new(&server.url(), name, process, &quota, &[], None).unwrap();
    let holder = join("holder");
    let probe = BenchAsk { ends: true, ..BenchAsk::default() };
    // After its first use an account waits for those that know more.
    while !holder.ask(probe).unwrap() {
        std::thread::sleep(Duration::from_millis(50));
    }
    for _ in 0..state.held / 10 {
        let hold = BenchAsk { weight: 10, ends: false, ..BenchAsk::default() };
        assert!(holder.ask(hold).unwrap());
    }
    join("asker")
}

fn decide(member: &StepBench, state: &State, threads: usize, decisions: usize) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..decisions / threads {
                    assert_eq!(member.ask(BenchAsk::default()).unwrap(), state.is_granted);
                }
            });
        }
    });
    decisions as f64 / begin.elapsed().as_secs_f64()
}

/// Checks that the words of the other side come to the same.
fn check(server: &Server, words: &[String], state: &State) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word.replace("__rand_int__", "000000000000"));
    }
    let reply: Vec<redis::Value> = command.query(&mut server.connect()).unwrap();
    assert_eq!(reply[0], redis::Value::Int(i64::from(state.is_granted)));
}

fn benchmark(socket: &Path, words: &[String], clients: usize, commands: usize) -> Option<f64> {
    let (clients, commands) = (clients.to_string(), commands.to_string());
    let output = Command::new("redis-benchmark")
        .arg("-s")
        .arg(socket)
        .args(["--csv", "-r", &clients, "-c", &clients, "-n", &commands])
        .args(words)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last()?;
    line.split("\",\"").nth(1)?.trim_matches('"').parse().ok()
}
