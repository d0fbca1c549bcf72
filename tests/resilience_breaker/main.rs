//! The circuit breaker: against a plain model, promise by promise, and case by case.
#![allow(clippy::unwrap_used, unreachable_pub)] // Shared between the modules of one test.

mod cases;
mod days;
mod model;
mod promises;
