//! The processes of these tests: the gateway as its command runs it, and clients that run scripts.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)] // Each test program uses a part of it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A running process, which is killed when the test ends for any reason.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `lanekeeper gateway`.
pub struct GatewayProcess {
    _process: Running,
    // So that the pipe stays open.
    _out: BufReader<ChildStdout>,
    _folder: Option<TempDir>,
    pub url: String,
}

impl GatewayProcess {
    /// Starts it on a free port.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args(["gateway", "--listen", "127.0.0.1:0", "--log", "off"])
            .args(args)
            .env("KITE_API_KEY", "the-api-key")
            .env("KITE_ACCESS_TOKEN", "the-token-of-the-day")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let process = Running(child);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { _process: process, _out: out, _folder: None, url }
    }

    /// Starts it with a configuration file, and with a journal.
    pub fn configured(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.yaml");
        std::fs::write(&config, text).unwrap();
        let journal = folder.path().join("orders.journal");
        let (config, journal) = (config.to_str().unwrap(), journal.to_str().unwrap());
        let gateway = Self::start(&["--config", config, "--journal", journal]);
        Self { _folder: Some(folder), ..gateway }
    }
}

/// The key of a client, as `lanekeeper key new` makes it.
pub struct ClientKey {
    pub name: String,
    pub secret: String,
    /// For the configuration.
    pub hash: String,
}

impl ClientKey {
    pub fn new(name: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        let printed = command.args(["key", "new", name]).output().unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let behind = |mark: &str| {
            let (_, rest) = printed.split_once(mark).unwrap();
            rest.split(['"', '\n']).next().unwrap().to_owned()
        };
        let (secret, hash) = (behind(&format!("{name}:")), behind("sha256:"));
        Self { name: name.to_owned(), secret, hash: format!("sha256:{hash}") }
    }
}

/// The folder of the scripts.
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");

/// A script that takes a line of JSON, and prints one when it is done with it.
pub struct Script {
    _process: Running,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts a script of `tests/python`.
    pub fn python(python: &str, name: &str) -> Self {
        // Writes no compiled modules beside the scripts.
        Self::start(Command::new(python).args(["-B", &format!("{TESTS}/python/{name}")]))
    }

    /// Starts a script of `tests/js`.
    pub fn node(name: &str) -> Self {
        Self::start(Command::new("node").arg(format!("{TESTS}/js/{name}")))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _process: Running(child), to, from: BufReader::new(from).lines() }
    }

    /// Waits until it has loaded the client.
    pub fn wait_until_ready(&mut self) {
        assert_eq!(self.line(), "ready");
    }

    pub fn tell(&mut self, message: &Value) {
        writeln!(self.to, "{message}").unwrap();
    }

    pub fn answer(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    fn line(&mut self) -> String {
        self.from.next().expect("the script ended").unwrap()
    }
}
