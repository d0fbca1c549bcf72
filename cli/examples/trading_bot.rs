//! A crowd of strategies on one broker account, at Kite, at Alpaca, at any server that speaks their wire, or at a
//! simulated exchange. `lanekeeper demo` is the same crowd with fewer flags, and `cli/src/bot` is its code.
//!
//! ```text
//! cargo run --release --example trading_bot -- --help
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper_cli::trading_bot()
}
