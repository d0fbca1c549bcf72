//! Helpers shared by the behaviour tests.
#![allow(dead_code)] // Each test binary uses its own part.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

pub mod cases;
pub mod diary;
pub mod failing;
pub mod lanes;
pub mod latency;
pub mod model;
pub mod notes;
pub mod oracle;
#[cfg(target_os = "linux")]
pub mod stepped;
pub mod tasks;
