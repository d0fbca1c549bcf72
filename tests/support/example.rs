//! The examples as programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the example `name` in the profile of the test, and returns its path. `cargo test --test X` builds no
/// examples. After a plain `cargo test` there is nothing left to do.
pub fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--all-features", "--example", name, "--target-dir"]);
    build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // Cargo's variables for the test must not reach this cargo: build scripts that watch them would run again, and
    // everything that depends on them would be built again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            build.env_remove(name);
        }
    }
    assert!(build.status().unwrap().success(), "the example {name} could not be built");
    profile.join("examples").join(name)
}
