//! The command `lanekeeper`: tools around the library of the same name.
//!
//! - `lanekeeper demo` runs a crowd of strategies against a simulated exchange, with and without lanekeeper.
//! - `lanekeeper exchange` runs a strict simulated exchange on loopback, to try clients and rate limiters on. It
//!   listens until a signal or `--for` ends it, and then prints what it counted.
//! - `lanekeeper gateway` runs a gateway in front of a broker's HTTP API, and `lanekeeper key new NAME` makes a key for it.
//! - `lanekeeper check-config FILE` checks a configuration file, of a proxy or of a gateway, and prints the quotas that
//!   result from it.
//! - `lanekeeper init` writes a commented configuration file for the documented limits of a broker.
//! - `lanekeeper limit` judges recorded requests by the rules of a limiter, in virtual time, or checks the rules.
//! - `lanekeeper top` shows the state of a running gateway in the terminal, or prints it once.
//! - `lanekeeper shared status` shows what Redis knows of the quotas that several processes share.
//! - `lanekeeper completions SHELL` and `lanekeeper man` print what a package installs beside the command.
//!
//! Errors go to standard error: one line, or one line for each problem of a configuration file. The exit code is 2 for
//! wrong arguments, 130 after a second signal, and 1 for any other error.
//!
//! ```text
//! cargo install --locked --path cli
//! lanekeeper demo
//! lanekeeper exchange --listen 127.0.0.1:8080 --latency 40ms --jitter 30ms
//! lanekeeper check-config lanes.toml
//! lanekeeper limit --rules rules.yaml --trace requests.jsonl
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper_cli::main()
}
