//! What is wrong gets a status and words of its own, in the broker's form: nothing hangs, nothing is sent twice, and the
//! connection goes on where its next request begins at a known place.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are not functions of tests to clippy.

mod support;

#[path = "bad_input/bodies.rs"]
mod bodies;
#[path = "bad_input/heads.rs"]
mod heads;
#[path = "bad_input/upstream_fails.rs"]
mod upstream_fails;
