//! The command `lanekeeper limit`.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

#[cfg(unix)]
#[path = "../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;

fn limit(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("limit").args(args);
    command
}

/// Returns the exit code, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Files that go away after the test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Judges a trace by rules.
    fn judge(&self, rules: &str, trace: impl AsRef<[u8]>) -> (Option<i32>, String, String) {
        let rules = self.write("rules.yaml", rules);
        let trace = self.write("trace.jsonl", trace);
        run(&mut replay(&rules, &trace))
    }
}

fn replay(rules: &Path, trace: &Path) -> Command {
    limit(&["--rules", rules.to_str().unwrap(), "--trace", trace.to_str().unwrap()])
}

const ORDERS: &str = "
rules:
  - path: /orders/*
    descriptors: [{ key: user, name: orders, unit: second, requests_per_unit: 3, burst: 2 }]
  - path: /status
    unlimited: true
    name: status
  - path: /admin
    unit: second
    requests_per_unit: 0
    name: closed
";

#[test]
fn each_line_gets_its_verdict_at_its_own_time() {
    let trace = r#"
{"at": 1796000000.1, "path": "/orders/1", "entries": {"user": "a"}}
{"at": 1796000000.1, "path": "/orders/1", "entries": {"user": "a"}}
{"at": 1796000000.1, "path": "/orders/1", "entries": {"user": "a"}}

{"at": 1796000000.433333, "path": "/orders/1", "entries": {"user": "a"}}
{"at": 1796000000.433334, "path": "/orders/1", "entries": {"user": "a"}}
{"path": "/orders/1?x=1", "entries": {"user": 7, "tier": true}, "weight": 2, "at": 1.796000001e9}
{"at": 1796000002, "path": "/status"}
{"at": 1796000002, "path": "/admin"}
{"at": 1796000003}
"#;
    let verdicts = r#"{"allowed": true, "rule": "orders", "limit": 2, "remaining": 1, "retry_after": null}
{"allowed": true, "rule": "orders", "limit": 2, "remaining": 0, "retry_after": null}
{"allowed": false, "rule": "orders", "limit": 2, "remaining": 0, "retry_after": 0.333334}
{"allowed": false, "rule": "orders", "limit": 2, "remaining": 0, "retry_after": 0.000001}
{"allowed": true, "rule": "orders", "limit": 2, "remaining": 0, "retry_after": null}
{"allowed": true, "rule": "orders", "limit": 2, "remaining": 0, "retry_after": null}
{"allowed": true, "rule": "status", "limit": null, "remaining": null, "retry_after": null}
{"allowed": false, "rule": "closed", "limit": 0, "remaining": 0, "retry_after": null}
{"allowed": true, "rule": null, "limit": null, "remaining": null, "retry_after": null}
"#;
    let summary = "requests: 9, allowed 6, refused 3\n\
                   rule orders: within 1, near 3, over 2, shadow 0\n\
                   rule status: within 1, near 0, over 0, shadow 0\n\
                   rule closed: within 0, near 0, over 1, shadow 0\n";
    let files = Files::new();
    let (code, said, errors) = files.judge(ORDERS, trace);
    assert_eq!((code, said.as_str(), errors.as_str()), (Some(0), verdicts, summary));
    // Each verdict is JSON.
    for line in said.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }

    let rules = files.write("rules.yaml", ORDERS);
    let mut child = limit(&["--rules", rules.to_str().unwrap(), "--trace", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(trace.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), verdicts);
}

#[test]
fn a_rule_in_shadow_mode_is_counted_and_refuses_nothing() {
    let rules = "descriptors: [{ key: ip, name: \"a\\\"b\\n\", unit: hour, requests_per_unit: 1, \
                 algorithm: fixed_window, shadow_mode: true }]";
    let line = "{\"at\": 0, \"entries\": {\"ip\": \"192.0.2.1\"}}\n";
    let (code, said, errors) = Files::new().judge(rules, line.repeat(3));
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.lines().all(|line| line.starts_with(r#"{"allowed": true, "rule": "a\"b\n""#)));
    assert_eq!(errors.lines().last().unwrap(), "rule a\"b\\n: within 0, near 1, over 0, shadow 2");
}

#[test]
fn descriptors_of_envoy_are_matched_in_their_order() {
    let rules = "
domain: messages
descriptors:
  - key: kind
    value: marketing
    descriptors: [{ key: to, rate_limit: { unit: day, requests_per_unit: 1 } }]
";
    // Right, also as entries; and with the order that is no match.
    let trace = r#"{"at": 0, "descriptors": [[["kind", "marketing"], ["to", "+49"]]]}
{"at": 0, "descriptors": [{"kind": "marketing", "to": "+49"}]}
{"at": 0, "entries": {"kind": "marketing", "to": "+49"}}
{"at": 0, "descriptors": [{"to": "+49", "kind": "marketing"}]}
{"at": 0, "entries": {"to": "+49", "kind": "marketing"}}
{"at": 0, "descriptors": [{"to": "1"}, {"kind": "marketing", "to": 1}]}
"#;
    let (_, said, _) = Files::new().judge(rules, trace);
    let rules: Vec<(bool, bool)> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|it: serde_json::Value| (it["allowed"] == true, it["rule"].is_null()))
        .collect();
    let expected = [(true, false), (false, false), (false, false)];
    assert_eq!(rules[..3], expected);
    assert_eq!(rules[3..], [(true, true), (true, true), (true, false)]);
}

#[test]
fn a_bad_line_ends_the_run_and_earlier_verdicts_stay() {
    let good = r#"{"at": 5, "path": "/orders/1", "entries": {"user": "a"}}"#;
    let long = format!(r#"{{"at": 5, "path": "/{}"}}"#, "x".repeat(1 << 20));
    for (bad, why) in [
        (r#"{"at": 4.999999}"#, "`at` is before that of the line above"),
        (r#"{"at": -1}"#, "`at` is a number of seconds, not below 0"),
        (r#"{"at": "5"}"#, "`at` is a number of seconds"),
        (
            r#"{"at": 1796000000000}"#,
            "`at` is a number of seconds up to the year 9999, and this one is beyond: is it in milliseconds?",
        ),
        (r#"{"path": "/"}"#, "missing field `at`"),
        (r#"{"at": 5, "entries": {"a": "1", "a": "2"}}"#, "the key `a` is there twice"),
        (r#"{"at": 5, "at": 5}"#, "duplicate field `at`"),
        (
            r#"{"at": 5, "user": "a"}"#,
            "unknown field `user`, expected one of `at`, `path`, `entries`, `descriptors`, `weight`",
        ),
        (r#"{"at": 5, "entries": {"a": {}}}"#, "a value is a text, a number, true or false"),
        (r#"{"at": 5, "weight": -1}"#, "invalid value: integer `-1`, expected u32"),
        (r#"{"at": 5"#, "EOF while parsing an object"),
        (&long, "the line is longer than 1048576 bytes"),
        ("5", "invalid type: integer `5`, expected an object with the key `at`"),
    ] {
        let trace = format!("{good}\n\n{bad}\n{good}\n");
        let (code, said, errors) = Files::new().judge(ORDERS, trace);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{bad}: {errors}");
        assert!(errors.ends_with(&format!("/trace.jsonl:3: {why}\n")), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let (code, _, errors) = Files::new().judge(ORDERS, b"{\"at\": 5, \"path\": \"\xff\"}");
    assert!(code == Some(1) && errors.ends_with(":1: the line is not UTF-8\n"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let files = Files::new();
    let rules = files.write("rules.yaml", ORDERS);
    let trace = files.write("trace.jsonl", "{\"at\": 1}");
    let missing = Path::new("no-such-file");
    let (code, said, errors) = run(&mut replay(&rules, missing));
    assert!(
        (code, said.as_str()) == (Some(1), "")
            && errors.starts_with("no-such-file: cannot be read: ")
    );
    let (code, _, errors) = run(&mut replay(Path::new("no-such.yaml"), &trace));
    assert!(code == Some(1) && errors.starts_with("no-such.yaml: cannot be read: "), "{errors}");
    let (code, _, errors) = run(&mut replay(files.0.path(), &trace));
    assert!(code == Some(1) && errors.lines().count() == 1, "{errors}");
    let (code, _, errors) = run(&mut replay(&rules, files.0.path()));
    assert!(code == Some(1) && errors.contains(":1: cannot be read: "), "{errors}");

    // An address may have a password.
    let (code, _, errors) = run(replay(&rules, &trace).args(["--storage", "http://:pass@host"]));
    let expected = "error: --storage: write `memory`, or the address of a Redis: ";
    assert!(code == Some(1) && errors.starts_with(expected), "{errors}");
    let (code, ..) = run(replay(&rules, &trace).args(["--storage", "memory"]));
    assert_eq!(code, Some(0));
    let path = rules.to_str().unwrap();
    for args in [
        &["--rules", path][..],
        &["--trace", path],
        &["--check", path, "--rules", path, "--trace", path],
        &["--check", path, "--storage", "memory"],
        &[],
    ] {
        let (code, said, errors) = run(&mut limit(args));
        assert_eq!((code, said.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn rules_are_checked_without_a_trace() {
    let files = Files::new();
    let text = "
on_storage_error: deny
descriptors:
  - { key: user, unit: minute, requests_per_unit: 9, algorithm: sliding_window_log, weight: 2 }
  - { key: file, value: files/*, share_threshold: true, unit: 90s, requests_per_unit: 2, burst: 4, shadow_mode: true }
  - { key: user, value: admin, unlimited: true }
";
    let good = files.write("good.yaml", text);
    let (code, said, errors) = run(&mut limit(&["--check", good.to_str().unwrap()]));
    let expected = format!(
        "{}: good\n\
         rule user: 9 per minute (sliding_window_log), weight 2, denied if the storage fails\n\
         rule file=files/*: 2 per 90s (token_bucket, burst 4), shared by the values, shadow mode, \
         denied if the storage fails\n\
         rule user=admin: unlimited\n",
        good.display()
    );
    assert_eq!((code, said, errors.as_str()), (Some(0), expected, ""));

    let bad =
        files.write("bad.toml", "[[descriptors]]\nkey = 'user'\nunit = 'fortnight'\nlimit = 4\n");
    let (code, said, errors) = run(&mut limit(&["--check", bad.to_str().unwrap()]));
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let at = |line: &str| format!("{}:{line}", bad.display());
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(lines[0].starts_with(&at("3: descriptors[0].unit: ")), "{errors}");
    assert!(lines[1].starts_with(&at("3: descriptors[0].unit: ")), "{errors}");
    assert!(lines[2].starts_with(&at("4: descriptors[0].limit: there is no such key")), "{errors}");
}

/// The trace has no end, so it is neither held in memory nor read to its end.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_the_run_without_an_error() {
    let files = Files::new();
    let rules = files.write("rules.yaml", ORDERS);
    let mut child = limit(&["--rules", rules.to_str().unwrap(), "--trace", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // Until the command is gone.
    while input.write_all(b"{\"at\": 1}\n").is_ok() {}
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[cfg(unix)]
#[test]
fn a_line_without_an_end_is_given_up() {
    let files = Files::new();
    let rules = files.write("rules.yaml", ORDERS);
    let (code, _, errors) = run(&mut replay(&rules, Path::new("/dev/zero")));
    let why = "/dev/zero:1: the line is longer than 1048576 bytes\n";
    assert_eq!((code, errors.as_str()), (Some(1), why));
}

/// A request that is piped in gets its verdict before the next one comes.
#[test]
fn verdicts_are_not_held_back() {
    let files = Files::new();
    let rules = files.write("rules.yaml", ORDERS);
    let mut child = limit(&["--rules", rules.to_str().unwrap(), "--trace", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, verdicts) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    for _ in 0..3 {
        input.write_all(b"{\"at\": 1}\n").unwrap();
        let line = verdicts.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(line.starts_with("{\"allowed\": true"), "{line}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
}

/// The same trace, with four algorithms, several limits and random users, gives the same bytes.
#[cfg(unix)]
#[test]
fn redis_gives_the_verdicts_of_memory_line_by_line() {
    let Some(server) = server::RedisServer::start() else { return };
    let files = Files::new();
    let rules = files.write(
        "rules.yaml",
        "
rules:
  - path: /a/*
    descriptors:
      - { key: user, unit: second, requests_per_unit: 3, burst: 5 }
      - { key: tier, unit: minute, requests_per_unit: 40, algorithm: sliding_window_counter }
  - path: /b
    unit: second
    requests_per_unit: 4
    algorithm: sliding_window_log
    descriptors: [{ key: user, unit: minute, requests_per_unit: 5, algorithm: fixed_window }]
descriptors: [{ key: ip, unit: second, requests_per_unit: 7, algorithm: fixed_window, shadow_mode: true }]
",
    );
    let mut random = fastrand::Rng::with_seed(7);
    let mut micros = 1_796_000_000_000_000_u64;
    let mut trace = String::new();
    for _ in 0..3000 {
        micros += random.u64(0..150_000);
        let (path, user) = (random.choice(["/a/1", "/b", "/c"]), random.u8(0..4));
        trace += &format!(
            r#"{{"at": {}.{:06}, "path": "{}", "entries": {{"user": {user}, "tier": "x", "ip": "y"}}, "weight": {}}}"#,
            micros / 1_000_000,
            micros % 1_000_000,
            path.unwrap(),
            random.u8(0..3)
        );
        trace.push('\n');
    }
    let trace = files.write("trace.jsonl", trace);
    let in_memory = run(&mut replay(&rules, &trace));
    let in_redis = run(replay(&rules, &trace).args(["--storage", &server.url()]));
    assert_eq!(in_memory.0, Some(0), "{}", in_memory.2);
    assert!(in_memory.1.contains("\"allowed\": false"));
    assert_eq!(in_memory, in_redis);
}

#[test]
fn the_password_of_a_storage_is_in_no_error() {
    let files = Files::new();
    let (rules, trace) =
        (files.write("rules.yaml", ORDERS), files.write("t", r#"{"at": 0, "path": "/admin"}"#));
    for storage in
        ["redis://user:hunter2@127.0.0.1:1/", "http://user:hunter2@127.0.0.1/", "hunter2"]
    {
        let (code, out, errors) = run(replay(&rules, &trace).args(["--storage", storage]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{errors}");
        assert!(errors.lines().count() == 1 && !errors.contains("hunter2"), "{errors}");
    }
}
