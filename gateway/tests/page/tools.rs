//! The programs that the tests of the page need, and what happens where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Says why a test does not run here. With `CI=true` it must.
pub fn skip(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {why}");
    println!("skipped: {why}");
}

/// Returns the path of the first of these programs that the machine has.
pub fn program(names: &[&str]) -> Option<String> {
    let folders = std::env::var_os("PATH")?;
    let paths = || std::env::split_paths(&folders);
    let candidates = names.iter().flat_map(|name| paths().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file())?.into_os_string().into_string().ok()
}

/// Returns a file below `tests/page`.
pub fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/page").join(path)
}

/// The oldest Node whose test runner knows what the tests use.
const OLDEST_NODE: u32 = 18;

/// The modules are copied beside a `package.json` that says that they are modules, which a browser knows without it.
#[test]
fn the_modules_of_the_page_pass_their_tests_in_node() {
    let version = Command::new("node").arg("--version").output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let major =
        version.as_deref().and_then(|text| text.strip_prefix('v')?.split('.').next()?.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST_NODE) {
        return skip("there is no node of version 18 or later");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    let modules = copy(&file("../../src/page"), &folder.path().join("src/page"), ".js");
    let tests = copy(&file(""), &folder.path().join("tests/page"), ".test.mjs");
    assert!(modules.len() >= 10 && tests.len() >= 4, "{modules:?} {tests:?}");
    let output = Command::new("node").arg("--test").args(&tests).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Copies the files whose names end so, and returns the copies.
fn copy(from: &Path, to: &Path, ending: &str) -> Vec<PathBuf> {
    std::fs::create_dir_all(to).unwrap();
    let entries = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(ending))
        .map(|name| {
            let copied = to.join(&name);
            std::fs::copy(from.join(&name), &copied).unwrap();
            copied
        })
        .collect()
}
