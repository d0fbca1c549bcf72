//! A program that places orders is killed at random moments, again and again, and recovers its orders afterwards:
//! every order in its journal gets its answer, and none is sent twice.
//!
//! The program is the example `order_safety`, and it is really killed with SIGKILL. The simulator, its faults and
//! its ledger live here. `LANEKEEPER_KILLS=200` sets how often it is killed.

#![cfg(all(feature = "kite", feature = "journal"))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "support/example.rs"]
mod example;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use lanekeeper::broker::lanes;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{Faults, Rule, SimulatedExchange};
use serde_json::Value;
use tempfile::TempDir;

/// 30 % of the writes and 20 % of the reads. No delay is longer than the program's timeout.
const FAULTS: [&str; 17] = [
    "writes=reset-before@4%",
    "writes=reset-after@4%",
    "writes=429:5ms@2%",
    "writes=502-before@4%",
    "writes=504-after@4%",
    "writes=timed-out:60ms@4%",
    "writes=page-503-after@3%",
    "writes=truncated@3%",
    "writes=malformed@3%",
    "writes=hang-before@1%",
    "writes=hang-after@1%",
    "reads=reset-before@4%",
    "reads=502-before@4%",
    "reads=page-503-before@4%",
    "reads=truncated@4%",
    "reads=hang-before@2%",
    "reads=slow:20ms@4%",
];
/// Kills of one account, whose order book grows all the time.
const OF_AN_ACCOUNT: u64 = 20;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example::built("order_safety"));

/// A simulator, and a journal of the orders sent to it.
struct Account {
    exchange: SimulatedExchange,
    journal: PathBuf,
    _folder: TempDir,
    /// Every tag that was in the journal at some moment.
    recorded: HashSet<String>,
    /// Tags whose callers were told that the order is not in the market.
    absent: HashSet<String>,
    /// The answers that callers in the dead processes got.
    answered: HashMap<String, u64>,
}

/// The program. It is killed if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The output of the program in one run.
struct ProgramOutput {
    lines: Vec<String>,
}

impl ProgramOutput {
    /// Returns the last two words of the lines that begin with `head`, by their second.
    fn of(&self, head: &str) -> Vec<[String; 3]> {
        let words = self.lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        words
            .filter(|words| words.first() == Some(&head))
            .map(|words| [words[1], words[2], words[3]].map(str::to_owned))
            .collect()
    }
}

impl Account {
    fn new(seed: u64) -> Self {
        let open = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100_000)));
        let rules = FAULTS.iter().map(|rule| rule.parse::<Rule>().unwrap());
        let faults = rules.fold(Faults::new().seed(seed), Faults::rule);
        // The orders rest far from the market.
        let exchange = SimulatedExchange::builder().circuit_limits(false);
        let exchange = exchange.limits(open).faults(faults).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("orders.journal");
        let (recorded, absent, answered) = Default::default();
        Self { exchange, journal, _folder: folder, recorded, absent, answered }
    }

    fn command(&self, how: &str, prefix: &str) -> Command {
        let mut program = Command::new(&*PROGRAM);
        program.args([how, &self.exchange.base_url()]).arg(&self.journal);
        if !prefix.is_empty() {
            program.arg(prefix);
        }
        program
    }

    /// Starts the program and kills it after `delay`: counted from its first line, or from its start if `at_once`.
    fn kill(&mut self, how: &str, prefix: &str, at_once: bool, delay: Duration) -> ProgramOutput {
        let program = self.command(how, prefix).stdout(Stdio::piped()).spawn();
        let mut program = Running(program.unwrap());
        let mut stdout = BufReader::new(program.0.stdout.take().unwrap());
        let mut ready = String::new();
        if !at_once {
            stdout.read_line(&mut ready).unwrap();
            assert_eq!(ready, "ready\n");
        }
        // Read all the time, or a program that prints a lot would block.
        let reader = thread::spawn(move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            rest
        });
        // This is the only wait in real time: a process dies at some moment of its life.
        thread::sleep(delay);
        drop(program);
        self.after(&reader.join().unwrap())
    }

    /// Runs the program to its end.
    fn run(&mut self, how: &str) -> ProgramOutput {
        let output = self.command(how, "").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.after(&String::from_utf8(output.stdout).unwrap())
    }

    fn after(&mut self, stdout: &str) -> ProgramOutput {
        let (recorded, _) = self.journal();
        self.recorded.extend(recorded);
        let whole = stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        ProgramOutput { lines: whole.map(str::to_owned).collect() }
    }

    /// Returns the tags in the journal, and those among them without an outcome.
    fn journal(&self) -> (HashSet<String>, HashSet<String>) {
        let journal = std::fs::read_to_string(&self.journal).unwrap_or_default();
        let (mut recorded, mut open) = (HashSet::new(), HashSet::new());
        for line in journal.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let line: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
            if let Some(tag) = line["intent"]["tag"].as_str() {
                recorded.insert(tag.to_owned());
                open.insert(tag.to_owned());
            }
            if let Some(tag) = line["end"]["tag"].as_str() {
                open.remove(tag);
            }
        }
        (recorded, open)
    }

    fn ledger(&self) -> Vec<(String, String)> {
        let orders = self.exchange.orders().into_iter();
        orders.map(|order| (order.tag.unwrap(), order.id.to_string())).collect()
    }

    /// Checks the ledger: no tag occurs twice, each was recorded before it was sent, and none is there whose caller
    /// was told that it is absent.
    fn compare(&self) -> Result<HashMap<String, String>, String> {
        let mut ledger = HashMap::new();
        for (tag, id) in self.ledger() {
            if !self.recorded.contains(&tag) {
                return Err(format!("{tag} was sent and is not in the journal"));
            }
            if self.absent.contains(&tag) {
                return Err(format!("{tag} was sent, and its caller was told that it was not"));
            }
            if ledger.insert(tag.clone(), id).is_some() {
                return Err(format!("{tag} was sent twice"));
            }
        }
        Ok(ledger)
    }

    /// Collects the answers of the callers in a dead process, and compares them with the ledger.
    fn collect(&mut self, prefix: &str, output: &ProgramOutput) {
        let ids: HashSet<String> = self.ledger().into_iter().map(|(_, id)| id).collect();
        for [number, word, id] in output.of("answer") {
            match word.as_str() {
                "placed" => assert!(ids.contains(&id), "{prefix}, order {number}: no {id}"),
                // Every second order has a tag that the test knows.
                "rejected" | "not_sent" | "absent" => {
                    self.absent.insert(format!("{prefix}n{number}"));
                }
                other => assert_eq!(other, "unknown"),
            }
            *self.answered.entry(word).or_default() += 1;
        }
        for [tag, word, id] in output.of("recovered") {
            match word.as_str() {
                "placed" => assert!(ids.contains(&id), "{tag}: no {id}"),
                "absent" => drop(self.absent.insert(tag)),
                other => assert_eq!(other, "unknown"),
            }
        }
    }

    /// Recovers until nothing is left, and compares every answer with the ledger.
    fn recover(&mut self) -> [u64; 2] {
        let mut kinds = [0, 0];
        for _try in 0..10 {
            let (_, mut open) = self.journal();
            let output = self.run("recover");
            let ledger = self.compare().unwrap();
            for [tag, word, id] in output.of("recovered") {
                assert!(open.remove(&tag), "{tag} was answered before, or twice");
                match (word.as_str(), ledger.get(&tag)) {
                    ("placed", Some(known)) if *known == id => kinds[0] += 1,
                    ("absent", None) => {
                        self.absent.insert(tag);
                        kinds[1] += 1;
                    }
                    // The order book could not be read. The order stays in the journal for the next time.
                    ("unknown", _) => assert!(self.journal().1.contains(&tag)),
                    wrong => panic!("{tag}: {wrong:?}"),
                }
            }
            assert!(open.is_empty(), "without an answer: {open:?}");
            if self.journal().1.is_empty() {
                return kinds;
            }
        }
        panic!("the book could not be read ten times over");
    }
}

/// Kills the program `kills` times. Returns what was recovered, and the answers that callers got.
fn bad_days(seed: u64, kills: u64) -> ([u64; 2], HashMap<String, u64>) {
    let mut rng = Rng::with_seed(seed);
    let mut account = Account::new(seed);
    let mut total = [0, 0];
    for kill in 0..kills {
        let prefix = format!("k{seed}x{kill}");
        // In one of four runs it dies as it recovers, in one of eight before it is ready.
        let how = if rng.u8(0..4) == 0 { "recover" } else { "place" };
        let delay =
            Duration::from_micros(rng.u64(0..if how == "place" { 120_000 } else { 900_000 }));
        let at_once = rng.u8(0..8) == 0;
        let named = if how == "place" { prefix.as_str() } else { "" };
        let output = account.kill(how, named, at_once, delay / if at_once { 4 } else { 1 });
        account.collect(&prefix, &output);
        // Usually it is started again at once, and dies again before it has recovered.
        if rng.u8(0..4) == 0 || kill + 1 == kills {
            let kinds = account.recover();
            total = [total[0] + kinds[0], total[1] + kinds[1]];
        }
    }
    // Orders that landed later are there by now: recovering took longer.
    account.compare().unwrap();
    (total, account.answered)
}

#[test]
fn killed_at_random_moments_every_order_gets_its_answer_and_none_is_sent_twice() {
    if cfg!(not(unix)) {
        eprintln!("skipped: there is no SIGKILL here");
        return;
    }
    LazyLock::force(&PROGRAM);
    let kills = std::env::var("LANEKEEPER_KILLS").map_or(60, |number| number.parse().unwrap());
    let (next, accounts) = (AtomicU64::new(0), u64::div_ceil(kills, OF_AN_ACCOUNT));
    let mut found = [0, 0];
    let mut answered: HashMap<String, u64> = HashMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut days = Vec::new();
                    loop {
                        let account = next.fetch_add(1, Ordering::Relaxed);
                        if account >= accounts {
                            return days;
                        }
                        let left = kills - account * OF_AN_ACCOUNT;
                        days.push(bad_days(account, left.min(OF_AN_ACCOUNT)));
                    }
                })
            })
            .collect();
        for (kinds, words) in workers.into_iter().flat_map(|it| it.join().unwrap()) {
            found = [found[0] + kinds[0], found[1] + kinds[1]];
            words.into_iter().for_each(|(word, count)| *answered.entry(word).or_default() += count);
        }
    });
    println!(
        "{kills} kills: {found:?} recovered as placed and as not placed; answers: {answered:?}"
    );
    // The program died with orders in flight, so there was something to recover, of both kinds.
    assert!(found[0] > kills / 2 && found[1] > kills / 10, "{found:?}");
    assert!(answered["placed"] > kills, "{answered:?}");
}

/// Shows that the check can fail: it detects a program that sends its journal's orders again.
#[test]
fn sending_again_after_a_restart_shows_duplicates() {
    if cfg!(not(unix)) {
        return;
    }
    let mut account = Account::new(1);
    for kill in 0..20 {
        let prefix = format!("k{kill}");
        account.kill("place", &prefix, false, Duration::from_millis(60));
        account.run("resend");
        if account.compare().is_err_and(|wrong| wrong.ends_with("was sent twice")) {
            return;
        }
    }
    panic!("no duplicates");
}
