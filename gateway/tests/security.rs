//! Tries to get past the gateway, each with its test. The pages' own part, markup in names and messages, is tested in a
//! browser.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are not functions of tests to clippy.

mod support;

#[path = "security/accounts.rs"]
mod accounts;
#[path = "security/browsers.rs"]
mod browsers;
#[path = "security/guesses.rs"]
mod guesses;
#[path = "security/leaks.rs"]
mod leaks;
#[path = "security/proxies.rs"]
mod proxies;
