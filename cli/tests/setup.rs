//! The commands that set up others: `lanekeeper init`, `completions` and `man`.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};

fn lanekeeper(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lanekeeper")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn init_writes_a_file_that_check_config_accepts_and_never_overwrites_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lanes.toml");
    let path = path.to_str().unwrap();
    stdout(&lanekeeper(&["init", "--preset", "dhan", "--output", path]));
    let checked = stdout(&lanekeeper(&["check-config", path]));
    assert!(checked.contains("lanes.toml: good"), "{checked}");

    std::fs::write(path, "mine").unwrap();
    let again = lanekeeper(&["init", "--output", path]);
    assert_eq!(again.status.code(), Some(1));
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
}

#[test]
fn an_unknown_preset_is_an_error_that_names_the_known_ones() {
    let output = lanekeeper(&["init", "--preset", "kiet"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
}

#[test]
fn completions_and_manual_pages_cover_every_subcommand() {
    let bash = stdout(&lanekeeper(&["completions", "bash"]));
    let man = stdout(&lanekeeper(&["man"]));
    for name in [
        "demo",
        "exchange",
        "gateway",
        "key",
        "check-config",
        "init",
        "limit",
        "top",
        "completions",
        "man",
    ] {
        assert!(bash.contains(name), "completions lack {name}");
        assert!(man.contains(&name.replace('-', "\\-")), "the manual lacks {name}");
        let page = stdout(&lanekeeper(&["man", name]));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let unknown = lanekeeper(&["man", "exchnage"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    for args in [["completions", "bash"].as_slice(), &["man"], &["init"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        let mut child =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}");
        assert_eq!(output.stderr, b"", "{args:?}");
    }
}
