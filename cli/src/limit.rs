//! `lanekeeper limit`: judges recorded requests by the rules of a limiter, in virtual time, or checks the rules.
//!
//! `limit/trace.rs` reads the recorded requests. The verdicts are those that a server with the same rules would have
//! given, because the limiter takes the time from the trace and from nowhere else.

mod trace;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use lanekeeper::config::ConfigError;
use lanekeeper::limiter::{
    MemoryStorage, Outcome, RateLimiter, RedisStorage, Rules, Storage, StorageError, Verdict,
};
use lanekeeper::quota::request_limit::UnixMicros;

use self::trace::{Lines, Recorded, TraceError, escaped};
use crate::command::print;

/// Longer than a server would wait: here nothing but the verdicts is wanted.
const REDIS_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct LimitArgs {
    /// The rules, in TOML or YAML, or a file of envoy's rate limit service
    #[arg(long, value_name = "FILE", required_unless_present = "check", requires = "trace")]
    rules: Option<PathBuf>,
    /// The recorded requests, one JSON object a line. - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "check", requires = "rules")]
    trace: Option<PathBuf>,
    /// Where the use of each key is counted: memory, or a Redis as redis://HOST:PORT, rediss://.. or unix:///PATH. A run
    /// has keys of its own there, which expire an hour after their use, or after the time of their limit if that is longer
    #[arg(long, value_name = "STORAGE", default_value = "memory")]
    storage: String,
    /// Check a file of rules, and print each rule with its limit
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rules", "trace", "storage"])]
    check: Option<PathBuf>,
}

/// Why no verdict, or no further one, can be given.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The rules cannot be used. Each line begins with the file.
    #[error("{0}")]
    Rules(ConfigError),
    /// The text is not repeated, because an address may have a password.
    #[error(
        "error: --storage: write `memory`, or the address of a Redis: redis://HOST:PORT, rediss://.. or unix:///PATH"
    )]
    Storage,
    /// The trace cannot be opened.
    #[error("{}: cannot be read: {error}", file.display())]
    Open { file: PathBuf, error: io::Error },
    /// A line of the trace cannot be judged.
    #[error("{}:{line}: {error}", file.display())]
    Line { file: PathBuf, line: u64, error: LineError },
    /// Standard output cannot be written.
    #[error("error: {0}")]
    Output(io::Error),
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("{0}")]
    Trace(#[from] TraceError),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// Judges a trace, or checks rules.
pub fn run(args: &LimitArgs) -> Result<(), LimitError> {
    if let Some(file) = &args.check {
        return check(file);
    }
    // clap has made sure of both.
    let (Some(rules), Some(trace)) = (&args.rules, &args.trace) else { return Ok(()) };
    let rules = Rules::from_path(rules).map_err(LimitError::Rules)?;
    let limiter = RateLimiter::new(rules, open_storage(&args.storage)?);
    let is_stdin = trace.as_os_str() == "-";
    let input: Box<dyn Read> = match is_stdin {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(trace).map_err(|error| {
            let file = trace.clone();
            LimitError::Open { file, error }
        })?),
    };
    let name = if is_stdin { Path::new("<stdin>") } else { trace };
    let summary = match replay(&limiter, input, name, io::stdout().lock()) {
        // A reader that has closed the pipe, such as `head`, has read what it wanted.
        Err(LimitError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(());
        }
        replayed => replayed?,
    };
    // The verdicts are printed, also if standard error is closed.
    let _ = io::stderr().write_all(summary.to_string().as_bytes());
    Ok(())
}

/// Returns the storage that the argument names.
fn open_storage(text: &str) -> Result<Box<dyn Storage>, LimitError> {
    match text {
        "memory" => Ok(Box::new(MemoryStorage::new())),
        address => {
            // Another run begins anew, and so does one with the same trace.
            let run = format!("limit-{:016x}", fastrand::u64(..));
            let redis = RedisStorage::new(address, &run).map_err(|_| LimitError::Storage)?;
            Ok(Box::new(redis.timeout(REDIS_TIMEOUT)))
        }
    }
}

/// Prints the rules of a file, each with its limit.
fn check(file: &Path) -> Result<(), LimitError> {
    let rules = Rules::from_path(file).map_err(LimitError::Rules)?;
    let mut text = format!("{}: good\n", file.display());
    for rule in rules.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "rule {}: {}", escaped(rule.name()), rule.describe());
    }
    print(text.as_bytes()).map_err(LimitError::Output)
}

/// Judges each line of a trace and prints its verdict. Holds one line at a time.
fn replay(
    limiter: &RateLimiter,
    trace: impl Read,
    file: &Path,
    out: impl Write,
) -> Result<Summary, LimitError> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut summary = Summary::new(limiter);
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, trace));
    let mut latest = None;
    loop {
        if lines.may_wait() {
            out.flush().map_err(LimitError::Output)?;
        }
        let judged = match lines.next() {
            Ok(None) => break,
            Ok(Some(line)) => judge(limiter, line, &mut latest),
            Err(error) => Err(error.into()),
        };
        let verdict = match judged {
            Ok(verdict) => verdict,
            Err(error) => {
                out.flush().map_err(LimitError::Output)?;
                let (file, line) = (file.to_owned(), lines.number());
                return Err(LimitError::Line { file, line, error });
            }
        };
        summary.add(&verdict);
        write_verdict(&mut out, &verdict).map_err(LimitError::Output)?;
    }
    out.flush().map_err(LimitError::Output)?;
    Ok(summary)
}

fn judge(
    limiter: &RateLimiter,
    line: &str,
    latest: &mut Option<UnixMicros>,
) -> Result<Verdict, LineError> {
    let recorded = Recorded::parse(line)?;
    let at = recorded.at();
    if latest.is_some_and(|latest| at < latest) {
        return Err(TraceError::new("`at` is before that of the line above").into());
    }
    *latest = Some(at);
    let verdict = limiter.check_at(&recorded.request(), at);
    match verdict.storage_error() {
        // What the rules say without a storage would be mistaken for what they count.
        Some(error) => Err(error.clone().into()),
        None => Ok(verdict),
    }
}

fn write_verdict(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    write!(out, "{{\"allowed\": {}, \"rule\": ", verdict.is_allowed())?;
    match verdict.rule() {
        Some(rule) => serde_json::to_writer(&mut *out, rule.name())?,
        None => out.write_all(b"null")?,
    }
    write!(out, ", \"limit\": {}", OrNull(verdict.limit()))?;
    write!(out, ", \"remaining\": {}", OrNull(verdict.remaining()))?;
    writeln!(out, ", \"retry_after\": {}}}", OrNull(verdict.retry_after().map(Seconds)))
}

struct OrNull<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A time in seconds, exact to the microsecond.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = (self.0.as_secs(), self.0.subsec_micros());
        if micros == 0 {
            return write!(f, "{seconds}");
        }
        let digits = format!("{micros:06}");
        write!(f, "{seconds}.{}", digits.trim_end_matches('0'))
    }
}

/// The verdicts by kind, and what each rule said.
struct Summary {
    allowed: u64,
    refused: u64,
    rules: Vec<(String, RuleCounts)>,
    index: HashMap<String, usize>,
}

/// How many requests a rule judged, each counted once.
#[derive(Default)]
struct RuleCounts {
    within: u64,
    /// Within the limit, of which more than 80 % is used.
    near: u64,
    over: u64,
    /// Over the limit of a rule in shadow mode.
    shadow: u64,
}

impl Summary {
    fn new(limiter: &RateLimiter) -> Self {
        let rules: Vec<_> = limiter
            .rules()
            .iter()
            .map(|rule| (rule.name().to_owned(), RuleCounts::default()))
            .collect();
        let index = rules.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { allowed: 0, refused: 0, rules, index }
    }

    fn add(&mut self, verdict: &Verdict) {
        *(if verdict.is_allowed() { &mut self.allowed } else { &mut self.refused }) += 1;
        for of_rule in verdict.rules() {
            let Some(&at) = self.index.get(of_rule.rule().name()) else { continue };
            let counts = &mut self.rules[at].1;
            *(match of_rule.outcome() {
                Outcome::Shadow => &mut counts.shadow,
                Outcome::Over => &mut counts.over,
                Outcome::Near => &mut counts.near,
                // A storage without a verdict has ended the run.
                _ => &mut counts.within,
            }) += 1;
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (allowed, refused) = (self.allowed, self.refused);
        writeln!(f, "requests: {}, allowed {allowed}, refused {refused}", allowed + refused)?;
        for (name, counts) in &self.rules {
            let RuleCounts { within, near, over, shadow } = counts;
            let name = escaped(name);
            writeln!(f, "rule {name}: within {within}, near {near}, over {over}, shadow {shadow}")?;
        }
        Ok(())
    }
}
