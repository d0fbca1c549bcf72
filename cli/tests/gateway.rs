//! The commands `lanekeeper gateway`, `key`, `check-config` for a gateway's file, and `demo --page`.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper_simulator::SimulatedExchange;
use serde_json::Value;

#[cfg(unix)]
#[path = "../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the limiter use more of it")]
mod redis;

const TOKEN: &str = "the-access-token-of-the-day";

/// Returns the command, with the secrets of Kite and without those of this machine.
fn lanekeeper(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.args(args).env("KITE_API_KEY", "key").env("KITE_ACCESS_TOKEN", TOKEN);
    command.env_remove("KITE_API_SECRET");
    command
}

/// Runs the command to its end. Returns the exit code, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A gateway that runs.
struct Running {
    child: Child,
    address: String,
    lines: Vec<String>,
    errors: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a command whose first two lines are read.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = Arc::new(Mutex::new(String::new()));
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let into = Arc::clone(&errors);
        thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
                into.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        for _ in 0..2 {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            lines.push(line.trim_end().to_owned());
        }
        let address = lines.iter().find_map(|line| line.split_once("http://"));
        let address = address.unwrap_or_else(|| panic!("{lines:?} {}", errors.lock().unwrap())).1;
        let address = address.split('/').next().unwrap().to_owned();
        // What follows is read, so that the command can go on.
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, address, lines, errors }
    }

    /// Starts a gateway on a free port in front of this upstream.
    fn gateway(upstream: &str, more: &[&str]) -> Self {
        let args = ["gateway", "--listen", "127.0.0.1:0", "--upstream", upstream];
        Self::start(lanekeeper(&args).args(more))
    }

    fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Sends a request, and returns the status and the answer.
    fn request(&self, method: &str, target: &str, lines: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let text = format!(
            "{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{lines}\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn get(&self, target: &str) -> (u16, String) {
        self.request("GET", target, "authorization: token alpha:its-secret\r\n")
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end, and returns the exit code.
    fn wait(&mut self) -> Option<i32> {
        until("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "it does not come to this: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A server that takes requests and never answers. Returns its address, and a count of its connections.
fn silent() -> (String, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            into.lock().unwrap().push(stream.unwrap());
        }
    });
    (url, connections)
}

#[test]
fn the_first_two_lines_say_where_the_gateway_and_its_page_are() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let gateway = Running::gateway(&exchange.base_url(), &[]);
    let address = &gateway.address;
    let expected = [
        format!("listening on http://{address}"),
        format!("page at http://{address}/_lanekeeper/"),
    ];
    assert_eq!(gateway.lines, expected);
    assert_eq!(gateway.get("/_lanekeeper/healthz"), (200, "ok\n".to_owned()));
    assert!(gateway.get("/_lanekeeper/").1.contains("<!doctype html>"));
    let (status, profile) = gateway.get("/user/profile");
    assert_eq!(status, 200, "{profile}");
}

#[test]
fn without_its_secrets_it_says_which_one_is_missing_in_one_line() {
    let no_key = || {
        let mut command = lanekeeper(&["gateway", "--listen", "127.0.0.1:0"]);
        command.env_remove("KITE_API_KEY");
        command
    };
    let no_token = || {
        let mut command = lanekeeper(&["gateway", "--listen", "127.0.0.1:0"]);
        command.env_remove("KITE_ACCESS_TOKEN");
        command
    };
    let missing = Path::new("no-such-token");
    for (mut command, variable) in [(no_key(), "KITE_API_KEY"), (no_token(), "KITE_ACCESS_TOKEN")] {
        let expect = |command: &mut Command| {
            let (code, said, errors) = run(command);
            assert_eq!((code, said.as_str()), (Some(1), ""), "{errors}");
            assert!(errors.starts_with("error: ") && errors.contains(variable), "{errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        };
        expect(&mut command);
        expect(command.env(variable, ""));
        expect(command.env(variable, " \n"));
    }
    let mut both = no_key();
    let (code, _, errors) = run(both.env_remove("KITE_ACCESS_TOKEN"));
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    let (code, _, errors) = run(no_token().arg("--token-file").arg(missing));
    assert!(code == Some(1) && errors.contains("no-such-token"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_every_problem_and_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let text =
        "preset: kite\nlanes: { qoute: 1/s }\nclients:\n  alpha: { key: nonsense }\ncolour: red\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let (code, said, errors) = run(&mut lanekeeper(&["gateway", "--config", path]));
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let lines: Vec<&str> = errors.lines().collect();
    for (line, key) in [(2, "lanes.qoute"), (4, "clients.alpha.key"), (5, "colour")] {
        let begin = format!("error: {path}:{line}: {key}: ");
        assert!(lines.iter().any(|line| line.starts_with(&begin)), "{begin}\n{errors}");
    }
    assert_eq!(lines.len(), 3, "{errors}");

    let absent = folder.path().join("absent.yaml");
    let (code, _, errors) = run(lanekeeper(&["gateway", "--config"]).arg(absent));
    assert!(code == Some(1) && errors.contains("cannot be read"), "{errors}");
}

#[test]
fn an_address_that_is_taken_or_open_to_all_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said, errors) = run(&mut lanekeeper(&["gateway", "--listen", &address]));
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(errors.starts_with(&format!("error: cannot listen on {address}")), "{errors}");

    let (code, _, errors) = run(&mut lanekeeper(&["gateway", "--listen", "0.0.0.0:0"]));
    assert!(code == Some(1) && errors.starts_with("error: listen: "), "{errors}");
    assert!(errors.contains("`clients`") && errors.contains("`admin_key`"), "{errors}");
    let (code, _, errors) = run(&mut lanekeeper(&["gateway", "--listen", "localhost"]));
    assert!(code == Some(2) && errors.lines().count() == 1, "{errors}");
}

#[test]
fn flags_go_before_the_file() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let listen = taken.local_addr().unwrap();
    let file = write(
        "gateway.toml",
        &format!("preset = 'kite'\nlisten = '{listen}'\ndrain = '1min'\nlanes.quote = '1/2s'\n"),
    );
    let token = write("token", "another-token\n");
    let more = ["--config", &file, "--token-file", &token, "--drain", "2s"];
    let gateway = Running::gateway(&exchange.base_url(), &more);
    assert_eq!(gateway.get("/user/profile").0, 200);
    let status: Value = serde_json::from_str(&gateway.get("/_lanekeeper/status").1).unwrap();
    assert_eq!(status["accounts"][0]["lanes"][1]["quota"], "1/2s");
    assert_eq!(status["accounts"][0]["upstream"].as_str(), Some(&*exchange.base_url()));

    let several = write(
        "several.yaml",
        "accounts:\n  a: { preset: kite }\n  b: { preset: kite }\nclients:\n  x: { key: \
         'sha256:00000000000000000000000000000000:0000000000000000000000000000000000000000000000000000000000000000', account: a }\n",
    );
    let args = ["gateway", "--config", &several, "--upstream", &exchange.base_url()];
    let (code, _, errors) = run(&mut lanekeeper(&args));
    assert!(
        code == Some(1) && errors.starts_with("error: --upstream is for one account"),
        "{errors}"
    );
    let (code, _, errors) =
        run(&mut lanekeeper(&["gateway", "--config", &file, "--preset", "kite"]));
    assert!(code == Some(2) && errors.contains("cannot be used with"), "{errors}");
}

#[test]
fn the_access_log_has_each_request_and_no_query_key_or_token() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let gateway = Running::gateway(&exchange.base_url(), &[]);
    gateway.get("/user/margins?api_key=in-the-query&access_token=in-the-query");
    gateway.get(&format!("/orders?token={TOKEN}"));
    gateway.request("GET", "/orders", "");
    until("the requests are logged", || gateway.errors().matches("request ").count() >= 3);
    let log = gateway.errors();
    for word in
        ["client=\"alpha\"", "path=\"/user/margins\"", "status=200", "sent=\"yes\"", "status=401"]
    {
        assert!(log.contains(word), "{word} is missing\n{log}");
    }
    for secret in ["its-secret", "in-the-query", TOKEN, "api_key"] {
        assert!(!log.contains(secret), "{secret} is in the log\n{log}");
    }
    assert!(!log.contains('\u{1b}'), "a log in a file has no colours");

    for level in ["off", "warn"] {
        let quiet = Running::gateway(&exchange.base_url(), &["--log", level]);
        assert_eq!(quiet.get("/user/margins").0, 200);
        assert_eq!(quiet.errors(), "", "{level}");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_in_order_with_the_answer_to_what_is_in_flight() {
    for signal in ["TERM", "INT", "HUP"] {
        let exchange =
            SimulatedExchange::builder().latency(Duration::from_millis(400)).start().unwrap();
        let mut gateway = Running::gateway(&exchange.base_url(), &[]);
        let (status, answer) = thread::scope(|scope| {
            let call = scope.spawn(|| gateway.get("/user/profile"));
            until("the call is in flight", || {
                gateway
                    .get("/_lanekeeper/metrics")
                    .1
                    .contains("lanekeeper_in_flight{account=\"main\",lane=\"transactional\"} 1")
            });
            gateway.signal(signal);
            call.join().unwrap()
        });
        assert_eq!(status, 200, "{signal}: {answer}");
        assert_eq!(gateway.wait(), Some(0), "{signal}");
        assert!(!gateway.errors().contains("error"), "{}", gateway.errors());
    }
}

#[test]
#[cfg(unix)]
fn a_second_signal_ends_it_at_once() {
    let (upstream, connections) = silent();
    let mut gateway = Running::gateway(&upstream, &["--drain", "1h"]);
    let mut client = TcpStream::connect(&gateway.address).unwrap();
    let request =
        "GET /user/profile HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: token a:b\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    until("the call is in flight", || !connections.lock().unwrap().is_empty());
    gateway.signal("TERM");
    until("it drains", || gateway.get("/_lanekeeper/readyz").0 == 503);
    assert_eq!(gateway.child.try_wait().unwrap(), None);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(130));
}

#[test]
#[cfg(unix)]
fn a_hang_up_reads_the_file_again_and_a_bad_file_changes_nothing() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let write = |text: &str| std::fs::write(&file, format!("preset: kite\n{text}\n")).unwrap();
    write("lanes: { quote: 1/2s }");
    let gateway = Running::gateway(&exchange.base_url(), &["--config", file.to_str().unwrap()]);
    let quota = || {
        let status: Value = serde_json::from_str(&gateway.get("/_lanekeeper/status").1).unwrap();
        status["accounts"][0]["lanes"][1]["quota"].as_str().unwrap().to_owned()
    };
    assert_eq!(quota(), "1/2s");
    write("lanes: { quote: 1/3s }");
    gateway.signal("HUP");
    until("the quota is new", || quota() == "1/3s");
    assert!(gateway.errors().contains("the configuration was read again"));

    let says = |text: &str| until(text, || gateway.errors().contains(text));
    write("lanes: { quote: 1/4s, qoute: 1/s }\nfoo: 1");
    gateway.signal("HUP");
    says("was not taken, and nothing has changed");
    says("gateway.yaml:2: lanes.qoute: there is no lane of this name");
    says("gateway.yaml:3: foo: there is no such key");
    write("lanes: { quote: 1/5s }\nmax_body: 2 MiB");
    gateway.signal("HUP");
    says("error: the gateway has to be started anew for a change of `max_body`");
    std::fs::remove_file(&file).unwrap();
    gateway.signal("HUP");
    says("gateway.yaml: cannot be read");
    assert_eq!(quota(), "1/3s");
    write("lanes: { quote: 1/6s }");
    gateway.signal("HUP");
    until("the quota is new again", || quota() == "1/6s");
}

/// Returns a key, and what `key new` prints for a file in this format.
fn new_key(name: &str, format: &str) -> (String, String) {
    let (code, said, errors) = run(&mut lanekeeper(&["key", "new", name]));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let key = said.lines().next().unwrap().strip_prefix("key: ").unwrap().to_owned();
    let (_, setting) = said.split_once(&format!("In {format}:\n\n")).unwrap();
    (key, setting.split("\n\n").next().unwrap().to_owned())
}

#[test]
fn what_key_new_prints_goes_into_a_file_and_the_key_opens_the_gateway() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (format, extension, preset) in
        [("TOML", "toml", "preset = 'kite'"), ("YAML", "yaml", "preset: kite")]
    {
        let file = folder.path().join(format!("gateway.{extension}"));
        let (client, client_setting) = new_key("desk-1", format);
        let (admin, admin_setting) = new_key("admin", format);
        let text = format!("{preset}\n{admin_setting}\n{client_setting}\n");
        assert!(!text.contains(client.split(':').nth(1).unwrap()), "the secret is in the file");
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let (code, said, errors) = run(&mut lanekeeper(&["check-config", path]));
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        assert!(said.contains("client desk-1: with a key"), "{said}");

        // Other machines may connect, since every client has a key.
        let args = ["gateway", "--listen", "0.0.0.0:0", "--upstream", &exchange.base_url()];
        let mut gateway = Running::start(lanekeeper(&args).args(["--config", path]));
        let port = gateway.address.rsplit(':').next().unwrap().to_owned();
        gateway.address = format!("127.0.0.1:{port}");
        let profile = |key: &str| {
            let lines = format!("authorization: token {key}\r\n");
            gateway.request("GET", "/user/profile", &lines).0
        };
        assert_eq!((profile(&client), profile(&admin), profile("desk-1:x")), (200, 403, 403));
        let pause = |key: &str| {
            let lines = format!("authorization: Bearer {key}\r\nx-lanekeeper-request: 1\r\n");
            gateway.request("POST", "/_lanekeeper/accounts/main/lanes/quote/pause", &lines).0
        };
        assert_eq!((pause(&client), pause(&admin)), (403, 200));
    }
    let (code, said, errors) = run(&mut lanekeeper(&["key", "new", "Admin"]));
    assert!(code == Some(2) && said.is_empty() && errors.lines().count() == 1, "{errors}");
}

#[test]
fn check_config_knows_the_file_of_a_gateway() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/examples");
    let check = |args: &[&str]| run(lanekeeper(&["check-config"]).args(args));
    let kite = examples.join("kite.toml");
    let (code, said, errors) = check(&[kite.to_str().unwrap()]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for line in [
        "listen: 0.0.0.0:8800",
        "account main: https://api.kite.trade, kite",
        "lane main/transactional: 10/s",
        "budget main/orders: 400/min, 5000/day from midnight +05:30",
        "client desk: with a key, tier trading",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    let vendor = examples.join("vendor.yaml");
    let (code, said, _) = check(&[vendor.to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["accounts"]["main"]["lanes"]["data"]), (Some(0), &"20/min".into()));

    // A file that could be of either is one of a proxy, unless the flag says otherwise.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("either.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "preset: kite\n").unwrap();
    let (code, said, _) = check(&[path]);
    assert!(code == Some(0) && said.contains("lane transactional: 10/s"), "{said}");
    let (code, said, _) = check(&[path, "--gateway"]);
    assert!(code == Some(0) && said.contains("lane main/transactional: 10/s"), "{said}");
    std::fs::write(&file, "preset: kite\nlisten: nowhere\n").unwrap();
    let (code, _, errors) = check(&[path]);
    assert!(code == Some(1) && errors.starts_with(&format!("{path}:2: listen: ")), "{errors}");
    assert_eq!(check(&[path, "--gateway", "--lanes", "a"]).0, Some(2));
}

#[test]
#[cfg(unix)]
fn the_demo_with_a_page_runs_clients_through_a_gateway_until_a_signal_comes() {
    let mut demo = Running::start(&mut lanekeeper(&["demo", "--page"]));
    let address = &demo.address;
    assert_eq!(demo.lines[0], format!("page at http://{address}/_lanekeeper/"));
    let admin = demo.lines[1].strip_prefix("admin key: admin:").unwrap().to_owned();
    assert!(demo.get("/_lanekeeper/").1.contains("<!doctype html>"));
    let mut status = Value::Null;
    until("each client has called and orders are placed", || {
        status = serde_json::from_str(&demo.get("/_lanekeeper/status").1).unwrap();
        let clients = status["clients"].as_array().unwrap();
        clients.iter().filter(|client| client["requests"].as_u64() > Some(0)).count() >= 3
            && status["accounts"][0]["orders"]["placed"].as_u64() > Some(0)
    });
    let lines = format!("authorization: Bearer admin:{admin}\r\nx-lanekeeper-request: 1\r\n");
    let resume = demo.request("POST", "/_lanekeeper/accounts/main/lanes/quote/resume", &lines);
    assert_eq!(resume.0, 200, "{}", resume.1);
    demo.signal("INT");
    assert_eq!(demo.wait(), Some(0), "{}", demo.errors());
    assert_eq!(demo.errors(), "");
}

#[test]
fn the_demo_with_a_page_ends_by_itself_if_it_is_told_when() {
    let mut demo = Running::start(&mut lanekeeper(&["demo", "--page", "--seconds", "1"]));
    assert_eq!(demo.wait(), Some(0), "{}", demo.errors());

    let (code, _, errors) = run(&mut lanekeeper(&["demo", "--page", "--json"]));
    assert!(code == Some(2) && errors.lines().count() == 1, "{errors}");
    let (code, _, errors) = run(&mut lanekeeper(&["demo", "--listen", "127.0.0.1:0"]));
    assert!(code == Some(2) && errors.contains("--page"), "{errors}");
}

/// Standard error may be closed, or a pipe that nothing reads. Neither may cost a client its answer.
#[cfg(unix)]
#[test]
fn a_log_that_cannot_be_written_costs_no_answer_and_ends_in_order() {
    let exchange = SimulatedExchange::builder().start().unwrap();
    for is_closed in [true, false] {
        let mut command = lanekeeper(&["gateway", "--listen", "127.0.0.1:0"]);
        command.args(["--upstream", &exchange.base_url()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().split_once("http://").unwrap().1.to_owned();
        // Closed: each write fails. Kept and not read: each write blocks once the pipe is full.
        let stderr = child.stderr.take().filter(|_| !is_closed);
        let lines = Vec::new();
        let mut gateway = Running { child, address, lines, errors: Arc::default() };
        for _ in 0..1500 {
            assert_eq!(gateway.get("/_lanekeeper/healthz").0, 200);
        }
        assert_eq!(gateway.get("/user/profile").0, 200);
        gateway.signal("TERM");
        assert_eq!(gateway.wait(), Some(0));
        drop((stderr, stdout));
    }
}

#[cfg(unix)]
#[test]
fn a_gateway_shares_the_quotas_of_its_accounts_through_the_redis_of_a_flag_or_of_the_environment() {
    let Some(server) = redis::RedisServer::start() else { return };
    let exchange = SimulatedExchange::builder().start().unwrap();
    let (upstream, url) = (exchange.base_url(), server.url());
    let first = Running::gateway(&upstream, &["--shared", &url]);
    let args = ["gateway", "--listen", "127.0.0.1:0", "--upstream", &upstream, "--shared"];
    let second = Running::start(lanekeeper(&args).env("LANEKEEPER_REDIS", &url));
    let mode = || server.send("HLEN lanekeeper:{main}:procs");
    for _ in 0..6000 {
        if mode().starts_with(":2") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(mode().starts_with(":2"), "{}{}", first.errors(), second.errors());
    let (code, _, error) = run(lanekeeper(&args).env_remove("LANEKEEPER_REDIS"));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("set LANEKEEPER_REDIS in the environment"), "{error}");
    let (code, _, error) = run(&mut lanekeeper(&["gateway", "--shared", "hunter2"]));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no address of a Redis") && !error.contains("hunter2"), "{error}");
}
