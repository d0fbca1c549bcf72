//! The lanekeeper command.
fn main() {}
