//! The page in a real browser, in front of a real gateway: what a person sees, and what happens on a click or a key.
//!
//! Needs Chromium and its driver, and for the checks of accessibility axe-core (`npm ci` in `tests/page/tools`). Where
//! one is missing the tests that need it are skipped, unless `CI=true` requires them. `.ci/run` installs them.
//!
//! - `browser` steers the browser, `desk` has exchange, gateway and crowd, `tools` finds programs.
//! - The other modules are the tests, by what they are about. `pictures` makes the screenshots of the documentation.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod desk;
mod hostile;
mod keyboard;
mod lanes;
mod looks;
mod pictures;
mod prices;
mod restart;
mod scans;
#[path = "../support/mod.rs"]
mod support;
mod tools;
