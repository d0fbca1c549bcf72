//! The official JavaScript client, which some tests run.

use std::process::Command;

/// Returns whether there is a `node` that has the client, in `NODE_PATH` or beside its scripts. Without it the test is
/// skipped, unless `CI=true` requires it.
pub(crate) fn has_client() -> bool {
    let Err(why) = find() else { return true };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {why}");
    println!("skipped: {why}; see tests/js/package.json");
    false
}

fn find() -> Result<(), String> {
    let output = Command::new("node")
        .args(["-e", "require('kiteconnect')"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/js"))
        .output()
        .map_err(|error| format!("`node` does not start: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err("`node` has no package kiteconnect".to_owned()),
    }
}
