//! The decoding of Kite's responses and of order forms, given input that no broker sends: the corpus of the fuzz target in `fuzz/`,
//! and mutations of it. The same checks as there, without a fuzzer.
//!
//! By default a few hundred mutations. `LANEKEEPER_FUZZ_SECONDS=60` goes on for a minute, and
//! `LANEKEEPER_FUZZ_SEED` changes what is tried.
#![cfg(feature = "fuzzing")]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use lanekeeper::brokers::kite::fuzzing::{SECRET, check};
use peak_alloc::PeakAlloc;

/// Counts allocations, see `memory_is_bounded_by_the_length_of_the_answer`.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The allocator counts for the whole process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

const CHANGES: u64 = 500;
const LONGEST: usize = 20_000;

/// The words on which decoding depends.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\n",
    "<",
    "<title>",
    "</title>",
    "null",
    "true",
    "-1e999999999",
    "1e-400",
    "99999999999999999999999999999999",
    "NaN",
    "\"order_id\":\"1\",",
    "\"children\":[{",
    "\"error\":{\"code\":400,",
    "MarginException",
    "\"status\":\"success\",",
    "\"status\":\"error\",",
    "\"data\":",
    "\"error_type\":\"X\",",
    "\"message\":\"Too many requests\",",
    "TokenException",
    "NetworkException",
    "timed out",
    "0001-01-01 00:00:00",
    "2021-05-31T09:16:39+0530",
    "\u{0}",
    "\\u0073",
    "&",
    "=",
    "%26",
    "&order_type=SL-M",
    "&market_protection=-1",
    SECRET,
];

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/kite_answers");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the corpus is gone");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Prints the input when the check fails, in a form for the corpus.
struct Tried<'a>(&'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("tried: b\"{}\"", self.0.escape_ascii());
        }
    }
}

fn try_out(input: &[u8]) {
    let tried = Tried(input);
    check(input);
    drop(tried);
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(0..=input.len());
    let to = at + random.usize(0..=(input.len() - at).min(64));
    match random.u8(0..7) {
        0 => drop(input.drain(at..to)),
        1 => input.truncate(at),
        2 => input.extend_from_within(at..to),
        3 if at < input.len() => input[at] ^= 1 << random.u8(0..8),
        4 => input.insert(at, random.u8(..)),
        5 => {
            let other = random.choice(corpus).unwrap();
            let from = random.usize(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => drop(input.splice(at..to, random.choice(WORDS).unwrap().bytes())),
    }
    input.truncate(LONGEST);
}

#[test]
fn no_answer_breaks_the_decoding() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let corpus = corpus();
    for input in &corpus {
        try_out(input);
    }
    let began = Instant::now();
    let time = setting("LANEKEEPER_FUZZ_SECONDS").map(Duration::from_secs);
    let mut random = Rng::with_seed(setting("LANEKEEPER_FUZZ_SEED").unwrap_or(1));
    let mut count = 0;
    while time.map_or(count < CHANGES, |time| began.elapsed() < time) {
        let mut input = random.choice(&corpus).unwrap().clone();
        for _ in 0..random.usize(1..8) {
            change(&mut input, &corpus, &mut random);
        }
        try_out(&input);
        count += 1;
    }
    println!("{count} changes of {} answers", corpus.len());
}

/// The bound is a multiple of the response's length, whatever is in it. serde_json's `preserve_order`, which any crate of
/// a build may turn on, makes each value larger: then it is about 130 times, and 80 otherwise.
#[test]
fn memory_is_bounded_by_the_length_of_the_answer() {
    let keeps_order = serde_json::json!({"b": 1, "a": 2}).to_string().starts_with("{\"b\"");
    let times = if keeps_order { 150 } else { 100 };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let data = |head: &str, entry: &str, tail: &str| {
        let entries = vec![entry; 10_000 / (entry.len() + 1)].join(",");
        format!("{{\"status\":\"success\",\"data\":{head}{entries}{tail}}}")
    };
    let keyed = |value: &str| {
        let entries: Vec<String> = (0..600).map(|at| format!("\"NSE:{at}\":{value}")).collect();
        format!("{{\"status\":\"success\",\"data\":{{{}}}}}", entries.join(","))
    };
    let csv = |row: &str| format!("instrument_token,exchange,tradingsymbol\n{}", row.repeat(1200));
    for input in [
        "[".repeat(10_000),
        data("[", "1", "]"),
        data("[", "{}", "]"),
        data("[", "\"\"", "]"),
        data("[", "[]", "]"),
        data("[", "[[[[0]]]]", "]"),
        data("[", "1e-28", "]"),
        data("{\"net\":[", "{}", "],\"day\":[]}"),
        data("{\"candles\":[", "[0,0,0,0,0,0,0]", "]}"),
        keyed("{}"),
        keyed("{\"last_price\":1}"),
        keyed("[0]"),
        format!("\"{}", "\\u0000".repeat(1600)),
        "<title>".repeat(1400),
        SECRET.repeat(1000),
        csv("1,N,A\n"),
        csv(",,\n"),
        csv("\"\n"),
    ] {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        check(input.as_bytes());
        let most = (MEMORY.peak_usage() - before) / input.len();
        let begins: String = input.chars().take(60).collect();
        println!("{most:3} times its length: {begins:?}");
        assert!(most <= times, "{most} times: {begins:?}");
    }
}
