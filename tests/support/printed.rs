//! Everything that is printed in a run, which must contain no secret.

#![allow(unreachable_pub)]

use std::fmt::Debug;
use std::sync::Mutex;

use lanekeeper::broker::BrokerError;
use log::{LevelFilter, Log, Metadata, Record};

/// Every secret contains this, and nothing else does.
const MARK: &str = "QZX";
/// The token of a session.
pub const TOKEN: &str = "t0kenQZXtokenQZX";

/// Every line that was logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

#[derive(Default)]
pub struct Printed {
    texts: Vec<String>,
    errors: usize,
}

impl Printed {
    /// Captures the log from now on. Once in a process.
    pub fn with_log() -> Self {
        log::set_logger(&LINES).unwrap();
        // At the trace level the HTTP client writes all that it sends, as the docs of `Kite` state.
        log::set_max_level(LevelFilter::Debug);
        Self::default()
    }

    pub fn add(&mut self, what: &dyn Debug) {
        self.text(format!("{what:?}"));
        self.text(format!("{what:#?}"));
    }

    pub fn text(&mut self, text: String) {
        self.texts.push(text);
    }

    pub fn error<T>(&mut self, result: Result<T, BrokerError>) {
        let Err(error) = result else { return };
        self.errors += 1;
        self.text(error.to_string());
        self.add(&error);
    }

    /// Asserts that no text and no line of the log contains a secret. There have to be more than `errors` errors and
    /// more than `lines` lines: a run in which nothing went wrong shows nothing.
    pub fn assert_clean(&self, errors: usize, lines: usize) {
        assert!(self.errors > errors, "only {} errors", self.errors);
        let logged = LINES.0.lock().unwrap();
        assert!(logged.len() > lines, "only {} lines were logged", logged.len());
        for text in self.texts.iter().chain(logged.iter()) {
            assert!(!text.contains(MARK), "{text}");
        }
    }
}
