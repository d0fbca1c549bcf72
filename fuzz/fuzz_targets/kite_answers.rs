//! Tries to break the decoding of Kite's responses.
//!
//! With cargo-fuzz and a nightly compiler: `cargo +nightly fuzz run kite_answers`. Without either: `fuzz/run 60`,
//! which needs a C++ compiler for libFuzzer itself.
#![no_main]

use lanekeeper::brokers::kite::fuzzing::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| check(body));
