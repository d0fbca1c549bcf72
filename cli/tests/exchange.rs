//! The command `lanekeeper exchange`.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("exchange").args(args);
    command
}

/// A running process, which is killed when the test ends for any reason.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Returns the address that it prints.
    fn address(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().strip_prefix("listening on http://").unwrap().to_owned()
    }
}

fn profile(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(
            b"GET /user/profile HTTP/1.1\r\nHost: x\r\nAuthorization: token a:b\r\n\
              Connection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_says_where_it_listens_and_answers_there() {
    let mut child = command(&["--listen", "127.0.0.1:0", "--latency", "1ms", "--jitter", "1ms"]);
    let mut child = Running(child.stdout(Stdio::piped()).spawn().unwrap());
    let answer = profile(&child.address());
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains(r#""user_id":"PAPER1""#), "{answer}");
}

#[test]
fn it_stops_after_its_time_and_prints_its_counts() {
    let output = command(&["--listen", "127.0.0.1:0", "--for", "10ms", "--cash", "5"]);
    let Output { status, stdout, .. } = { output }.output().unwrap();
    let lines: Vec<String> = String::from_utf8(stdout).unwrap().lines().map(Into::into).collect();
    assert!(status.success());
    assert!(lines[0].starts_with("listening on http://127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with("listed: "), "{lines:?}");
    assert_eq!(lines[2], "transactional: 0 admitted, 0 refused");
    assert_eq!(lines[5..], ["0 met a fault; 0 orders booked"]);
}

#[test]
fn it_says_what_is_listed_and_what_of_it_is_synthetic() {
    let listed = |args: &[&str]| {
        let args = [&["--listen", "127.0.0.1:0", "--for", "10ms"], args].concat();
        let output = command(&args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(
        listed(&[]),
        "listed: 2 real (NSE:JUNIORBEES, NSE:YESBANK) and 32 synthetic (NSE:ASIANPAINT, NSE:AXISBANK, \
         NSE:BAJFINANCE, NSE:BHARTIARTL, NSE:CIPLA, NSE:COALINDIA, ..); GET /instruments has all"
    );
    let header = "time,exchange,symbol,open,high,low,close,volume\n";
    let file =
        File::new("prices.csv", &format!("{header}2019-01-01T09:15:00+05:30,NSE,X,1,1,1,1,1\n"));
    let path = file.0.to_str().unwrap();
    assert_eq!(
        listed(&["--prices", path]),
        format!("listed: 1 from {path} (NSE:X); GET /instruments has all")
    );
}

#[test]
#[cfg(unix)]
fn verbose_logs_each_request_without_secrets_and_counts_by_route() {
    let args = ["--listen", "127.0.0.1:0", "--verbose", "--limit", "quote=1/min"];
    let args = [&args[..], &["--fault", "holdings=reset-before"]].concat();
    let mut child = command(&args);
    let mut child = Running(child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("listening on http://").unwrap();
    let ask = |request: &str, authorization: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A fault may reset the connection.
        let _ = stream.read_to_string(&mut String::new());
    };
    let known = "Authorization: token key-secret:token-secret\r\n";
    ask("GET /quote/ltp?i=NSE:INFY&access_token=query-secret", known);
    ask("GET /quote/ltp?i=NSE:INFY", known);
    ask("GET /portfolio/holdings", known);
    ask("DELETE /session/token?api_key=key-secret&access_token=token-secret", "");
    ask("GET /nowhere", "Authorization: secret\r\n");
    let id = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());

    let counts: Vec<String> = lines.map(Result::unwrap).collect();
    let mut log = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains("secret") && !log.contains('?'), "{log}");
    // The time and the latency differ from run to run.
    let told: Vec<String> = log
        .lines()
        .map(|line| {
            let (at, rest) = line.split_once(' ').unwrap();
            assert!(at.len() == 24 && at.ends_with('Z'), "{line}");
            let is_latency = |word: &&str| {
                word.strip_suffix("ms").is_some_and(|number| number.parse::<f64>().is_ok())
            };
            let words: Vec<&str> = rest.split(' ').collect();
            assert_eq!(words.iter().filter(|word| is_latency(word)).count(), 1, "{line}");
            words.into_iter().filter(|word| !is_latency(word)).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "GET /quote/ltp quote 200",
            "GET /quote/ltp quote 429",
            "GET /portfolio/holdings transactional - fault reset-before",
            "DELETE /session/token - 200",
            "GET /nowhere - 403",
        ]
    );
    assert_eq!(
        counts[4..],
        [
            "holdings: 1 without an answer",
            "no route: 1 with 403",
            "quotes: 1 with 200, 1 with 429",
            "session: 1 with 200",
            "1 met a fault; 0 orders booked",
        ]
    );
}

/// The three signals are an interrupt by hand, the end of a service, and the closing of a terminal.
#[test]
#[cfg(unix)]
fn a_signal_stops_it_and_it_prints_its_counts() {
    for (signal, more) in [("-INT", &[][..]), ("-TERM", &[]), ("-HUP", &["--for", "1h"])] {
        let mut child = command(&["--listen", "127.0.0.1:0"]);
        let mut child = Running(child.args(more).stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(profile(first.strip_prefix("listening on http://").unwrap()).contains("PAPER1"));
        let id = child.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(child.0.wait().unwrap().success(), "{signal}: {rest:?}");
        assert_eq!(rest[1], "transactional: 1 admitted, 0 refused", "{signal}");
        assert_eq!(rest.last().unwrap(), "0 met a fault; 0 orders booked");
    }
}

#[test]
fn what_cannot_be_done_is_reported_in_one_line() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    // If the command accepts the arguments by mistake, it ends after 10 ms.
    let free = ["--listen", "127.0.0.1:0", "--for", "10ms"];
    for (args, expected) in [
        (&["--listen", "0.0.0.0:0"][..], "0.0.0.0:0 is not a loopback address"),
        (&["--listen", "everywhere"], "invalid value 'everywhere' for '--listen"),
        (&["--prices", "no/such/file.csv"], "no/such/file.csv: cannot read the prices"),
        (&["--prices", file], "Cargo.toml: prices, line "),
        (&["--algorithm", "leaky"], "`leaky` is not an algorithm"),
        (&["--latency", "fast"], "invalid value 'fast' for '--latency"),
        (&["--latency", "2h"], "a latency of 7200s is more than an hour"),
        (&["--bar-every", "0s"], "bar_every is zero"),
        (&["--cash=-1"], "the cash -1 is not between 0 and"),
        (&["--limit", "transactional"], "write LANE=LIMIT"),
        (&["--limit", "orders=10/s"], "there is no lane `orders`"),
        (&["--limit", "quote=0/s"], "the window 0/s allows no calls"),
        (&["--fault", "place"], "write ON=FAULT"),
        (&["--fault", "places=429"], "`places` is no route; write all, reads"),
        (&["--fault", "place=430"], "`430` is no fault; write reset-before"),
        (&["--fault", "place=429@130%"], "fault rule 1: a share is 0 to 1"),
        (&["--faults", "no/such/file.toml"], "no/such/file.toml: cannot read the faults"),
        #[cfg(unix)]
        (
            &["--prices", "/dev/zero"],
            "/dev/zero: cannot read the prices: line 1 is longer than 4096",
        ),
        #[cfg(unix)]
        (
            &["--faults", "/dev/zero"],
            "/dev/zero: cannot read the faults: it is larger than 1048576",
        ),
        (&["--shout"], "unexpected argument '--shout'"),
    ] {
        let args: Vec<&str> = match args[0] {
            "--listen" => args.to_vec(),
            _ => free.iter().chain(args).copied().collect(),
        };
        let output = command(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(expected), "{args:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

/// A file that is removed after the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lanekeeper-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_wrong_in_a_file_of_faults_is_reported_with_its_line() {
    for (at, (text, expected)) in [
        (
            "seed = 7\n\n[[rule]]\non = \"all\"\nfault = \"429\"\nchance = 0.3\n",
            "line 6: unknown field `chance`",
        ),
        ("[[rules]]\n", "line 1: unknown field `rules`"),
        ("[[rule]]\non = \"all\"\nfault = \"reset\"\n", "line 3: `reset` is no fault"),
        ("[[rule]]\non = \"some\"\nfault = \"429\"\n", "line 2: `some` is no route"),
        ("[[rule]]\non = \"all\"\n", "missing field `fault`"),
        ("seed = \n", "line 1: "),
        ("[[rule]]\non = \"all\"\nfault = \"429\"\nshare = 2\n", "fault rule 1: a share is 0 to 1"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = File::new(&format!("{at}.toml"), text);
        let path = file.0.to_str().unwrap();
        // If the file were accepted, the exchange would end after the time of `--for`.
        let args = ["--listen", "127.0.0.1:0", "--for", "10ms", "--faults", path];
        let output = command(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert_eq!(error.lines().count(), 1, "{text}: {error}");
        assert!(error.starts_with("error: ") && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn faults_come_from_a_file_and_from_flags() {
    let text = "seed = 7\n[[rule]]\non = \"profile\"\nfault = \"502-before\"\ncalls = [1]\n";
    let file = File::new("faults.toml", text);
    let path = file.0.to_str().unwrap();
    let args =
        ["--listen", "127.0.0.1:0", "--faults", path, "--fault", "profile=page-403-before@2"];
    let mut child = Running(command(&args).stdout(Stdio::piped()).spawn().unwrap());
    let address = child.address();
    for expected in ["502 Bad Gateway", "403 Forbidden", "200 OK"] {
        let answer = profile(&address);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

#[test]
fn a_taken_port_is_reported_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&["--listen", &address]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
}

#[test]
fn its_counts_are_json_on_request() {
    let args = ["--listen", "127.0.0.1:0", "--for", "10ms", "--json"];
    let output = command(&args).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let last = printed.lines().last().unwrap();
    let counts: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(counts["lanes"]["quote"]["admitted"], 0);
    assert_eq!(counts["orders"], 0);
}

/// A program that reads the address and closes the pipe.
#[test]
fn a_reader_that_leaves_after_the_first_line_does_not_make_it_fail() {
    for more in [&[][..], &["--json"], &["--verbose"]] {
        let mut child = command(&["--listen", "127.0.0.1:0", "--for", "300ms"]);
        let mut child = child.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(child.wait().unwrap().success(), "{more:?}");
    }
}
