//! The command `lanekeeper top`, against a gateway that is made up here.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::{AccountConfig, ClientConfig, GatewayConfig};
use lanekeeper_simulator::SimulatedExchange;
use serde_json::Value;

const STATUS: &str = include_str!("gateway_status.json");

/// The objects of the status whose names are those of users, priorities and route classes.
const OWN_NAMES: [&str; 3] = ["queued_by_user", "queued_by_priority", "breakers"];

/// Finds the names of the fields of a value, each with the way to it.
fn fields(way: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if !OWN_NAMES.iter().any(|name| way.ends_with(name)) => {
            for (name, value) in object {
                let way = format!("{way}.{name}");
                fields(&way, value, found);
                found.insert(way);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(way, value, found)),
        _ => {}
    }
}

#[test]
fn the_status_of_these_tests_has_the_fields_that_a_gateway_sends() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let mut config = GatewayConfig::new(AccountConfig::kite(exchange.base_url()));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let key = NewKey::generate().unwrap().hash.to_string();
    config.clients.insert("alpha".to_owned(), ClientConfig::new(key));
    let gateway = Gateway::builder(config)
        .secret("KITE_API_KEY", "key")
        .secret("KITE_ACCESS_TOKEN", "token-of-the-day")
        .start()
        .unwrap();
    let (mut real, mut ours) = (BTreeSet::new(), BTreeSet::new());
    fields("", &serde_json::from_str(&gateway.status_json()).unwrap(), &mut real);
    fields("", &serde_json::from_str(STATUS).unwrap(), &mut ours);
    // A gateway without a scan has none to compare.
    ours.retain(|way| !way.starts_with(".scans."));
    let invented: Vec<_> = ours.difference(&real).collect();
    assert!(invented.is_empty(), "a gateway does not send {invented:?}");
}

/// A gateway that answers `/status` and `/events` with the same status, and a command with its state. The requests are
/// sent to the test as text in small letters.
struct Fake {
    url: String,
    requests: Receiver<String>,
}

impl Fake {
    /// Starts a gateway that answers `/status` with this status line and body.
    fn start(status_line: &'static str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, requests) = mpsc::channel();
        let body = body.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (heard, body) = (heard.clone(), body.clone());
                thread::spawn(move || answer(stream.unwrap(), &heard, status_line, &body));
            }
        });
        Self { url, requests }
    }

    fn top(&self, args: &[&str]) -> Command {
        let mut command = top(&["--url", &self.url]);
        command.args(args);
        command
    }
}

/// Answers the requests of one connection.
fn answer(stream: TcpStream, heard: &Sender<String>, status_line: &str, body: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut stream = stream;
    loop {
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let Some(first) = head.first() else { return };
        // The test may have ended.
        let _ = heard.send(head.join("\n").to_lowercase());
        if first.contains("/_lanekeeper/events") {
            return send_events(stream, body);
        }
        let (status_line, body) = match first.split(' ').next() {
            Some("POST") => ("200 OK", r#"{"state":"paused"}"#),
            _ => (status_line, body),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status_line}\r\nContent-Length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Sends a status as events until the client has gone.
fn send_events(mut stream: TcpStream, status: &str) {
    let data = status.replace('\n', " ");
    let event = format!("event: status\ndata: {data}\n\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n";
    let mut sent = stream.write_all(head.as_bytes());
    while sent.is_ok() {
        sent = stream.write_all(event.as_bytes());
        thread::sleep(Duration::from_millis(100));
    }
}

fn top(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("top").args(args);
    for variable in ["LANEKEEPER_KEY", "LANEKEEPER_ADMIN_KEY", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Returns standard output of a command that succeeds.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Returns the error of a command that fails, which is one line.
fn error(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && stdout.is_empty(), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: "), "{error}");
    error
}

#[test]
fn the_state_is_printed_once_on_request_and_without_a_terminal() {
    let fake = Fake::start("200 OK", STATUS);
    let once = printed(&mut fake.top(&["--once"]));
    assert_eq!(once, printed(&mut fake.top(&[])));
    let first = format!("lanekeeper 0.1.0 at {}: limited, up 2 h 5 min", fake.url);
    assert_eq!(once.lines().next(), Some(first.as_str()));
    let expected = "lane main/transactional: 9.7 calls/s of 10/s, 812 answered, 4 refused";
    assert!(once.lines().any(|line| line == expected), "{once}");
    let request = fake.requests.recv().unwrap();
    assert!(request.starts_with("get /_lanekeeper/status http/1.1"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[test]
fn the_state_is_json_on_request() {
    let fake = Fake::start("200 OK", STATUS);
    let printed = printed(&mut fake.top(&["--json"]));
    assert_eq!(printed.lines().count(), 1);
    let [printed, sent]: [serde_json::Value; 2] =
        [&printed, STATUS].map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(printed, sent);
}

#[test]
fn a_key_is_sent_and_an_admin_key_serves_too() {
    let fake = Fake::start("200 OK", STATUS);
    for (variable, value, sent) in [
        ("LANEKEEPER_KEY", "alpha:s3cret", "bearer alpha:s3cret"),
        ("LANEKEEPER_ADMIN_KEY", "s3cret", "bearer admin:s3cret"),
        ("LANEKEEPER_ADMIN_KEY", "admin:s3cret", "bearer admin:s3cret"),
    ] {
        printed(fake.top(&["--once"]).env(variable, value));
        let request = fake.requests.recv().unwrap();
        assert!(request.lines().any(|line| line == format!("authorization: {sent}")), "{request}");
    }
}

#[test]
fn a_name_cannot_command_the_terminal() {
    let hostile =
        r#"{"health":"ok\u001b[31m","clients":[{"name":"x\u001b]0;title\u0007\u009b2J\r\ny"}]}"#;
    let fake = Fake::start("200 OK", hostile);
    for flag in ["--once", "--json"] {
        let printed = printed(&mut fake.top(&[flag]));
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{printed:?}");
    }
    let message = r#"{"status":"error","message":"\u001b[2Jgo away\nplease"}"#;
    let refusal = error(&mut Fake::start("500 Internal Server Error", message).top(&[]));
    assert!(refusal.contains("refused with 500: �[2Jgo away�please"), "{refusal:?}");
}

#[test]
fn what_fails_is_said_in_one_line_with_what_to_do() {
    let body = r#"{"status":"error","message":"no such key"}"#;
    let refusing = Fake::start("401 Unauthorized", body);
    let without = error(&mut refusing.top(&["--once"]));
    assert!(without.contains(&refusing.url) && without.contains("set LANEKEEPER_KEY"), "{without}");
    let with = error(refusing.top(&[]).env("LANEKEEPER_KEY", "alpha:s3cret"));
    assert!(with.contains("check LANEKEEPER_KEY: no such key"), "{with}");
    assert!(!with.contains("s3cret"), "{with}");

    for (status_line, body, expected) in [
        ("404 Not Found", "<html>", "is no gateway: it answers with status 404"),
        ("200 OK", "<html>", "is no gateway: its status is not understood"),
        (
            "302 Found\r\nLocation: http://127.0.0.1:1/",
            "",
            "is no gateway: it answers with status 302",
        ),
    ] {
        let error = error(&mut Fake::start(status_line, body).top(&["--once"]));
        assert!(error.contains(expected), "{error}");
    }

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let absent = error(&mut top(&["--url", &url]));
    assert!(absent.contains(&format!("cannot reach a gateway at {url}")), "{absent}");
    assert!(absent.contains("is it running there?"), "{absent}");

    let key = error(top(&[]).env("LANEKEEPER_KEY", "s3cret"));
    assert_eq!(key, "error: LANEKEEPER_KEY is not of the form NAME:SECRET\n");
    let url = error(&mut top(&["--url", "ftp://gate.example"]));
    assert!(url.contains("only http:// and https:// are possible"), "{url}");
}

/// A screen in a pseudo terminal, which the program `script` makes.
#[cfg(target_os = "linux")]
struct Terminal {
    child: Child,
    keys: std::process::ChildStdin,
    seen: Receiver<Vec<u8>>,
    all: String,
}

#[cfg(target_os = "linux")]
impl Terminal {
    /// Starts `lanekeeper top`, or returns `None` if there is no `script`.
    fn start(fake: &Fake, variables: &[(&str, &str)]) -> Option<Self> {
        if Command::new("script").arg("--version").output().is_err() {
            eprintln!("skipped: there is no program `script` on this machine");
            return None;
        }
        let run = format!(
            "stty cols 80 rows 24; echo pid $$ .; exec {} top --url {}",
            env!("CARGO_BIN_EXE_lanekeeper"),
            fake.url
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &run, "/dev/null"]);
        for variable in ["LANEKEEPER_KEY", "LANEKEEPER_ADMIN_KEY", "NO_COLOR"] {
            command.env_remove(variable);
        }
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let _ = send.send(buffer[..length].to_vec());
            }
        });
        Some(Self { child, keys, seen, all: String::new() })
    }

    /// Waits until all that the terminal has got contains this.
    fn wait_for(&mut self, text: &str) {
        while !self.all.contains(text) {
            let piece =
                self.seen.recv().unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.all));
            self.all += &String::from_utf8_lossy(&piece);
        }
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end, and returns all that the terminal has got.
    fn end(mut self) -> String {
        while let Ok(piece) = self.seen.recv() {
            self.all += &String::from_utf8_lossy(&piece);
        }
        assert!(self.child.wait().unwrap().success(), "{:?}", self.all);
        std::mem::take(&mut self.all)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sequences that switch to the second screen of a terminal and back.
#[cfg(target_os = "linux")]
const SECOND_SCREEN: [&str; 2] = ["\u{1b}[?1049h", "\u{1b}[?1049l"];

#[test]
#[cfg(target_os = "linux")]
fn a_lane_is_paused_from_the_screen_after_a_question() {
    let fake = Fake::start("200 OK", STATUS);
    let variables = [("LANEKEEPER_ADMIN_KEY", "s3cret")];
    let Some(mut terminal) = Terminal::start(&fake, &variables) else { return };
    terminal.wait_for(SECOND_SCREEN[0]);
    terminal.wait_for("live");
    terminal.press("p");
    terminal.wait_for("transactional of main?");
    terminal.press("y");
    let post = fake.requests.iter().find(|request| request.starts_with("post")).unwrap();
    let path = "post /_lanekeeper/accounts/main/lanes/transactional/pause http/1.1";
    assert_eq!(post.lines().next(), Some(path));
    for header in ["authorization: bearer admin:s3cret", "x-lanekeeper-request: 1"] {
        assert!(post.lines().any(|line| line == header), "{post}");
    }
    terminal.wait_for("is paused");
    terminal.press("q");
    let all = terminal.end();
    assert!(all.contains(SECOND_SCREEN[1]), "{all:?}");
    assert!(all.contains("\u{1b}[38;5;"), "no colours: {all:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_puts_the_terminal_back_and_no_color_is_respected() {
    let fake = Fake::start("200 OK", STATUS);
    let Some(mut terminal) = Terminal::start(&fake, &[("NO_COLOR", "1")]) else { return };
    terminal.wait_for("transactional");
    let id = terminal.all.split("pid ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let all = terminal.end();
    assert!(all.contains(SECOND_SCREEN[1]), "{all:?}");
    assert!(!all.contains("\u{1b}[38;5;"), "colours: {all:?}");
}
