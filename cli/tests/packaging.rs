//! The files for systemd and Docker in `gateway/packaging`, as far as they can be tried without either.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};

const UNIT: &str = include_str!("../../gateway/packaging/lanekeeper-gateway.service");
const DOCKERFILE: &str = include_str!("../../gateway/packaging/Dockerfile");
const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
/// How much longer than `drain` a gateway takes to end.
const AFTER_DRAIN: Duration = Duration::from_secs(2);

/// Returns the values of a key of the unit.
fn values(key: &str) -> Vec<&str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Kills the process when the test ends for any reason.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn systemd_and_docker_wait_longer_for_the_end_than_a_drain_takes() {
    let config = GatewayConfig::new(AccountConfig::kite("https://api.kite.trade"));
    let takes = config.door.drain + AFTER_DRAIN;
    let seconds = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        Duration::from_secs(digits.parse().unwrap())
    };
    assert!(seconds(values("TimeoutStopSec")[0]) > takes);
    let (_, timeout) = DOCKERFILE.split_once("--stop-timeout ").unwrap();
    assert!(seconds(timeout) > takes);
}

/// The commands of the unit, with files of the test in place of those of the system.
#[test]
fn the_commands_of_the_unit_are_commands_of_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, "preset: kite\n").unwrap();
    let reload = values("ExecReload");
    assert_eq!(reload[1], "/bin/kill -HUP $MAINPID");
    let words: Vec<String> = reload[0]
        .split(' ')
        .skip(1)
        .map(|word| word.replace("/etc/lanekeeper/gateway.yaml", file.to_str().unwrap()))
        .collect();
    let run = |words: &[String]| Command::new(BINARY).args(words).output().unwrap();
    assert!(run(&words).status.success());
    std::fs::write(&file, "preset: kite\nfoo: 1\n").unwrap();
    assert_eq!(run(&words).status.code(), Some(1), "a reload with a bad file must fail");
    // The same file at the start: it fails for good, with the status that prevents a restart.
    let start = values("ExecStart")[0].split(' ').skip(1);
    let start: Vec<String> = start
        .map(|word| word.replace("/etc/lanekeeper/gateway.yaml", file.to_str().unwrap()))
        .collect();
    let code = run(&start).status.code().unwrap().to_string();
    assert_eq!(values("RestartPreventExitStatus"), [code]);
}

#[test]
#[cfg(unix)]
fn systemd_finds_no_fault_in_the_unit() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("lanekeeper");
    std::fs::write(&binary, "").unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let unit = folder.path().join("lanekeeper-gateway.service");
    let text = UNIT.replace("/usr/local/bin/lanekeeper", binary.to_str().unwrap());
    // Manual pages are looked up too, and this machine has none of them.
    let lines = text.lines().filter(|line| !line.starts_with("Documentation="));
    std::fs::write(&unit, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
    let Ok(verified) = verified else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8(verified.stderr).unwrap();
    let own: Vec<&str> = said.lines().filter(|line| line.contains("lanekeeper")).collect();
    assert!(own.is_empty() && verified.status.success(), "{said}");
}

#[test]
fn the_image_has_a_user_without_rights() {
    let (_, last) = DOCKERFILE.rsplit_once("\nFROM ").unwrap();
    assert!(last.contains("\nUSER 10001\n"));
    assert!(last.contains("\nSTOPSIGNAL SIGTERM\n"));
}

/// The command of the health check, at the port of a gateway.
#[test]
#[cfg(unix)]
fn the_health_check_of_the_image_succeeds_while_the_gateway_runs() {
    let mut command = Command::new(BINARY);
    command.args(["gateway", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9"]);
    command.env("KITE_API_KEY", "key").env("KITE_ACCESS_TOKEN", "the-token");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut gateway = Killed(child.unwrap());
    let mut line = String::new();
    BufReader::new(gateway.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().rsplit(':').next().unwrap().to_owned();

    let (_, words) = DOCKERFILE.split_once(" CMD [\"bash\"").unwrap();
    let words = format!("[\"bash\"{}", words.lines().next().unwrap());
    let words: Vec<String> =
        serde_json::from_str(&words.replace("/8800", &format!("/{port}"))).unwrap();
    let check =
        || Command::new(&words[0]).args(&words[1..]).stderr(Stdio::null()).status().unwrap();
    assert!(check().success());
    drop(gateway);
    assert!(!check().success());
}
