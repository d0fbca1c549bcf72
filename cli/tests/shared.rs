//! The command `lanekeeper shared`, with a real Redis.
#![cfg(unix)]
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use lanekeeper::proxy::{Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::shared_quota::SharedQuota;
use serde_json::Value;

#[path = "../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;

use server::RedisServer;

/// Runs `lanekeeper shared status`. Returns the exit code, standard output and standard error.
fn status(args: &[&str], redis: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.args(["shared", "status"]).args(args).env_remove("LANEKEEPER_REDIS");
    if let Some(redis) = redis {
        command.env("LANEKEEPER_REDIS", redis);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn process(server: &RedisServer, account: &str) -> Lanes {
    let mut lanes = LanesBuilder::new("Test", &["quote"], &["orders"]);
    lanes.limits(
        Limits::new().lane("quote", Quota::per_second(10)).budget("orders", Quota::per_day(50)),
    );
    lanes.shared(SharedQuota::redis(&server.url(), account).unwrap().process("bot"));
    lanes.build(Limits::new()).unwrap()
}

#[test]
fn the_status_of_an_account_is_for_a_person_and_for_programs() {
    let Some(server) = RedisServer::start() else { return };
    let url = server.url();
    let (code, out, err) = status(&["--url", &url], None);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", "Redis knows no account\n"));
    let _lanes = (process(&server, "b"), process(&server, "a"));
    assert_eq!(status(&["--url", &url], None).1, "a\nb\n");
    // The address is no argument, which a list of processes would show.
    let (code, out, err) = status(&["--account", "a"], Some(&url));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("account a: all calls known for "), "{out}");
    assert!(lines.iter().any(|line| line.starts_with("process bot-")), "{out}");
    assert!(
        lines.iter().any(|line| line.contains(&format!("pid {}", std::process::id()))),
        "{out}"
    );
    let (_, out, _) = status(&["--account", "a", "--json"], Some(&url));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["account"], &json["warnings"]), (&"a".into(), &Value::Array(Vec::new())));
    assert!(json["known_for"].as_f64().unwrap() < 3600.0, "{json}");
    assert!(json["processes"][0]["silent_for"].is_number(), "{json}");
    let (_, out, _) = status(&["--json"], Some(&url));
    assert_eq!(out, "{\"accounts\":[\"a\",\"b\"]}\n");
}

#[test]
fn what_cannot_be_shown_is_one_line_without_the_address() {
    let (code, out, err) = status(&[], None);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "error: write --url, the address of Redis, or set LANEKEEPER_REDIS in the environment\n"
    );
    for url in ["redis://:hunter2@127.0.0.1:1", "unix:///nowhere?pass=hunter2", "hunter2"] {
        let (code, out, err) = status(&["--account", "a"], Some(url));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.starts_with("error: ") && err.lines().count() == 1, "{err}");
        assert!(!err.contains("hunter2"), "{err}");
    }
}
