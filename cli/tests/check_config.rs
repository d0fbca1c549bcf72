//! The command `lanekeeper check-config`.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

/// Returns the exit code, standard output and standard error.
fn check(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    let output = command.arg("check-config").arg(file).args(more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_file_is_checked_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lanes.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();

    write(
        "preset = 'alpaca'\n[lanes]\nquote = '2/s'\n[budgets.orders]\nreserve = 3\nquota = '9/h'",
    );
    let (code, said, errors) = check(&file, &[]);
    let lines = [
        format!("{}: good", file.display()),
        "lane transactional: 200/min".into(),
        "lane quote: 2/s".into(),
        "lane historical: 50/min".into(),
        "budget orders: 9/h".into(),
    ];
    assert_eq!(
        (code, said.lines().collect::<Vec<_>>(), errors.as_str()),
        (Some(0), lines.iter().map(String::as_str).collect(), "")
    );

    let (code, said, _) = check(&file, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["lanes"]["quote"]), (Some(0), &"2/s".into()));
    assert_eq!(json["budgets"]["orders"], "9/h");

    write("[lanes.general]\nqueue = 0\n[lanes.alert]\nquota = '1/s'");
    let (code, said, errors) = check(&file, &[]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let begin = format!("{}:2: lanes.general.queue: 0 will not do: write a number", file.display());
    assert!(errors.starts_with(&begin) && errors.lines().count() == 1, "{errors}");

    write("[lanes.general]\nqueue = 9\n[lanes.alert]\nquota = '1/s'");
    let (code, _, errors) = check(&file, &["--lanes", "general,alerts"]);
    let begin = format!("{}: lanes.alert: there is no lane of this name", file.display());
    assert!(code == Some(1) && errors.starts_with(&begin), "{errors}");
    let (code, said, _) = check(&file, &["--lanes", "general,alert", "--budgets", "sms"]);
    assert!(
        code == Some(0) && said.contains("lane general: as the adapter documents it"),
        "{said}"
    );
    assert!(said.contains("budget sms: as the adapter"), "{said}");

    write("budgets.sms = '1/s'");
    let (_, _, errors) = check(&file, &["--lanes", "general"]);
    assert!(errors.contains("budgets.sms: there is no budget of this name; there are: none"));
}

/// The command must know every key that a program may have enabled, or it would refuse a valid file.
#[test]
fn the_file_with_every_key_is_good() {
    let chapter = include_str!("../../docs/configuration.md");
    let (_, rest) = chapter.split_once("## A file with every key").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for kind in ["toml", "yaml"] {
        let (_, text) = rest.split_once(&format!("```{kind}\n")).unwrap();
        let file = folder.path().join(format!("every.{kind}"));
        std::fs::write(&file, text.split("```").next().unwrap()).unwrap();
        let (code, said, errors) = check(&file, &[]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    }
}

/// A path may name a device that never ends.
#[test]
#[cfg(unix)]
fn a_file_without_an_end_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zero.toml", "zero.yaml"] {
        let file = folder.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        let (code, _, errors) = check(&file, &[]);
        let why = format!("{}: cannot be read: it is larger than 1048576 bytes\n", file.display());
        assert_eq!((code, errors), (Some(1), why));
    }
}
