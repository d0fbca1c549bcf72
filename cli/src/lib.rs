//! The code of the command `lanekeeper`, and of the example `trading_bot`, which shares its strategies and its report.
//!
//! - `command.rs` reads the command line. Each subcommand has a file of its own.
//! - `top/` shows the state of a gateway in a terminal.
//! - `bot/` is a crowd of strategies on one account: `lanekeeper demo` and the example `trading_bot` run it.
//!
//! The library that programs use is the crate `lanekeeper`. This crate has no interface beyond two `main` functions.

// The modules have no public interface.
#![allow(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bot;
mod check_config;
mod command;
mod demo;
mod demo_page;
mod exchange;
mod exchange_log;
mod gateway;
mod init;
mod key;
mod limit;
mod log;
mod shared;
mod shell;
mod signal;
mod top;

pub use bot::main as trading_bot;
pub use command::main;
