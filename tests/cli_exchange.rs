//! The command `lanekeeper exchange`.
#![cfg(feature = "cli")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("exchange").args(args);
    command
}

/// Ends the process, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_answers_there() {
    let mut child = command(&["--listen", "127.0.0.1:0", "--latency", "1ms", "--jitter", "1ms"]);
    let mut child = Running(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();

    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(
            b"GET /user/profile HTTP/1.1\r\nHost: x\r\nAuthorization: token a:b\r\n\
              Connection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains(r#""user_id":"PAPER1""#), "{answer}");
}

#[test]
fn it_stops_by_itself_and_says_what_it_counted() {
    let output = command(&["--listen", "127.0.0.1:0", "--for", "10ms", "--cash", "5"]);
    let Output { status, stdout, .. } = { output }.output().unwrap();
    let lines: Vec<String> = String::from_utf8(stdout).unwrap().lines().map(Into::into).collect();
    assert!(status.success());
    assert!(lines[0].starts_with("listening on http://127.0.0.1:"), "{lines:?}");
    assert_eq!(lines[1], "transactional: 0 admitted, 0 refused");
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let free = ["--listen", "127.0.0.1:0"];
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
        (&["--limit", "quote=0/s"], "the limit of the lane quote: the window 0/s allows no calls"),
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

#[test]
fn a_taken_port_is_said_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&["--listen", &address]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
}
