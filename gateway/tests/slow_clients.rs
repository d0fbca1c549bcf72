//! Clients that are slow, by accident or on purpose: they end, and hold up nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are not functions of tests to clippy.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lanekeeper_gateway::Gateway;
use support::door::{ALPHA, exchange, refusal};
use support::upstream::Upstream;
use support::{Client, kite, rest, start, wait_until};

const CROWD: usize = 10_000;

/// What each of the two processes has open beside the crowd.
const SPARE: usize = 500;

const UPSTREAM: &str = "LANEKEEPER_TEST_UPSTREAM";

const ORDER: &str = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=1&order_type=LIMIT&price=1400\
                     &product=CNC&validity=DAY";

/// Returns the limits of open files, the soft and the hard one.
fn limits() -> Option<(usize, usize)> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(usize::MAX));
    Some((numbers.next()?, numbers.next()?))
}

/// Lets this process, and those that it starts, have the crowd open. An error says why not.
fn raise_limit() -> Result<(), String> {
    let (soft, hard) = limits().ok_or("the limit of open files is unknown here")?;
    if soft >= CROWD + SPARE {
        return Ok(());
    }
    if hard < CROWD + SPARE {
        return Err(format!("{hard} open files are allowed, and {} are needed", CROWD + SPARE));
    }
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={hard}:{hard}"));
    let raised = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    match raised.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err("`prlimit` cannot raise the limit of open files".to_owned()),
    }
}

/// Runs the gateway in a process of its own, so that its connections do not count with those of the crowd.
#[test]
#[ignore = "the other process of `ten_thousand_slow_connections_hold_up_no_order`"]
fn gateway_of_the_crowd() {
    let Ok(upstream) = std::env::var(UPSTREAM) else { return };
    let mut config = kite(&upstream);
    // Longer than the test, so that all of the crowd stay.
    config.door.read_timeout = Duration::from_secs(600);
    config.door.idle_timeout = Duration::from_secs(600);
    let gateway = start(config);
    println!("\ngateway at {}", gateway.address());
    // Until the test ends, however it does.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct OtherProcess(Child);

impl Drop for OtherProcess {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ten_thousand_slow_connections_hold_up_no_order() {
    if let Err(why) = raise_limit() {
        assert!(std::env::var("CI").is_err(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let exchange = exchange();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gateway_of_the_crowd", "--ignored", "--nocapture"])
        .env(UPSTREAM, exchange.base_url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut other = OtherProcess(child.unwrap());
    let lines = BufReader::new(other.0.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("gateway at ").map(|address| address.parse().unwrap()));
    let address = address.expect("the gateway starts");
    let whole = format!("GET /_lanekeeper/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n");
    let body = format!(
        "POST /orders/regular HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: 100\r\n\r\n"
    );
    let begun = Instant::now();
    let mut crowd: Vec<Client> = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let mut client = Client::connect(address);
        match number % 5 {
            // Idle.
            0 => {}
            1 => client.send("P"),
            2 => client.send(&whole[..whole.len() - 2]),
            3 => client.send(format!("{body}exchange=NSE")),
            // Has asked, and does not read the answer.
            _ => client.send(&whole),
        }
        crowd.push(client);
    }
    // A connection that finds no place to wait in comes a second later, and there were thousands of them.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?} to connect", begun.elapsed());
    let mut client = Client::connect(address);
    let door = |client: &mut Client| {
        let status = client.request("GET", "/_lanekeeper/status", "").json();
        status["door"]["connections"].as_u64().unwrap()
    };
    wait_until("the whole crowd is in", || door(&mut client) > CROWD as u64);
    for count in 1..=5 {
        let answer = client.request("POST", "/orders/regular", ORDER);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(exchange.orders().len(), count);
    }
    // They are all still there, and can go on.
    for client in crowd.iter_mut().step_by(5).take(100) {
        assert_eq!(client.request("GET", "/_lanekeeper/healthz", "").status, 200);
    }
    for client in crowd.iter_mut().skip(2).step_by(5).take(100) {
        client.send("\r\n");
        assert_eq!(client.read("GET").status, 200);
    }
    assert!(door(&mut client) > CROWD as u64);
    assert_eq!(exchange.orders().len(), 5);
}

#[test]
fn a_head_that_is_sent_in_part_ends_and_an_idle_connection_stays() {
    let upstream = Upstream::json("{}");
    let mut config = rest(&upstream.url());
    config.door.read_timeout = Duration::from_millis(300);
    let gateway = start(config);
    let mut idle = Client::connect(gateway.address());
    let mut kept_alive = Client::connect(gateway.address());
    assert_eq!(kept_alive.request("POST", "/any", "a=1").status, 200);
    for (begin, is_dripping) in
        [("G", false), ("GET /any HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ", true)]
    {
        for earlier in [0, 1, 3] {
            let mut client = Client::connect(gateway.address());
            for _ in 0..earlier {
                assert_eq!(client.request("POST", "/any", "a=1").status, 200);
            }
            client.send(begin);
            if is_dripping {
                // More of it does not give more time.
                while client.stream().write_all(b"x").is_ok() && client.stream().peek_now() {
                    sleep(Duration::from_millis(20));
                }
            }
            refusal(&client.read("GET"), 408, "no");
            assert!(client.is_closed());
        }
    }
    // Many times its limit later.
    assert_eq!(idle.request("GET", "/any", "").status, 200);
    assert_eq!(kept_alive.request("GET", "/any", "").status, 200);
    assert!(upstream.requests().iter().all(|request| request.target == "/any"));
}

trait PeekNow {
    /// Returns whether nothing has come yet.
    fn peek_now(&self) -> bool;
}

impl PeekNow for std::net::TcpStream {
    fn peek_now(&self) -> bool {
        self.set_nonblocking(true).unwrap();
        let is_empty = self.peek(&mut [0]).is_err();
        self.set_nonblocking(false).unwrap();
        is_empty
    }
}

#[test]
fn an_idle_connection_ends_after_its_time() {
    let upstream = Upstream::json("{}");
    let mut config = rest(&upstream.url());
    config.door.idle_timeout = Duration::from_secs(1);
    let gateway = start(config);
    let mut never_asked = Client::connect(gateway.address());
    let mut asked = Client::connect(gateway.address());
    assert_eq!(asked.request("GET", "/any", "").status, 200);
    assert!(never_asked.is_closed() && asked.is_closed());
}

#[test]
fn a_connection_beyond_the_limit_is_closed_at_once() {
    let upstream = Upstream::json("{}");
    let mut config = rest(&upstream.url());
    config.door.max_connections = 3;
    let gateway = start(config);
    let mut open: Vec<_> = (0..3).map(|_| Client::connect(gateway.address())).collect();
    for client in &mut open {
        assert_eq!(client.request("GET", "/any", "").status, 200);
    }
    for _ in 0..10 {
        assert!(Client::connect(gateway.address()).is_closed());
    }
    // Those that are in stay, and one that leaves makes room.
    assert_eq!(open[1].request("GET", "/any", "").status, 200);
    open.pop();
    wait_until("there is room again", || {
        let mut client = Client::connect(gateway.address());
        let request = format!("GET /any HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}\r\n");
        let is_sent = client.stream().write_all(request.as_bytes()).is_ok();
        is_sent && client.try_read("GET").is_some_and(|answer| answer.status == 200)
    });
}

/// A gateway whose upstream answers with 64 MiB, and whether the upstream could not get rid of them.
fn with_large_answers(write_timeout: Duration) -> (Upstream, Gateway, Arc<AtomicBool>) {
    let is_cut = Arc::new(AtomicBool::new(false));
    let upstream = {
        let is_cut = Arc::clone(&is_cut);
        Upstream::with_stream(move |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n");
            let part = vec![b'x'; 1 << 20];
            let is_whole = (0..64).all(|_| stream.write_all(&part).is_ok());
            is_cut.store(!is_whole, Ordering::SeqCst);
            is_whole
        })
    };
    let mut config = rest(&upstream.url());
    config.door.write_timeout = write_timeout;
    let gateway = start(config);
    (upstream, gateway, is_cut)
}

#[test]
fn a_client_that_does_not_read_its_answer_is_given_up() {
    let (_upstream, gateway, is_cut) = with_large_answers(Duration::from_millis(300));
    let mut client = Client::connect(gateway.address());
    client.begin("GET", "/large", ALPHA, "");
    // The connection to the upstream ends with it.
    wait_until("the answer is given up", || is_cut.load(Ordering::SeqCst));
    let mut all = Vec::new();
    let _ = client.stream().read_to_end(&mut all);
    assert!(all.len() < 64 << 20, "{}", all.len());
}

#[test]
fn a_client_that_reads_slowly_gets_its_whole_answer() {
    let write_timeout = Duration::from_millis(500);
    let (_upstream, gateway, is_cut) = with_large_answers(write_timeout);
    let mut client = Client::connect(gateway.address());
    client.begin("GET", "/large", ALPHA, "");
    let (mut count, mut part) = (0, vec![0; 1 << 20]);
    while count < 64 << 20 {
        let read = client.stream().read(&mut part).unwrap();
        assert!(read > 0, "cut after {count} bytes");
        count += read;
        // Together far more than the limit, which is for one write.
        sleep(write_timeout / 50);
    }
    assert!(!is_cut.load(Ordering::SeqCst));
}

#[test]
fn a_body_that_comes_slowly_holds_no_place_in_a_lane() {
    let upstream = Upstream::json("{}");
    let mut config = rest(&upstream.url());
    let account = config.accounts.get_mut("main").unwrap();
    account.lanes[0].1 = account.lanes[0].1.clone().in_flight(1);
    let gateway = start(config);
    let head =
        format!("POST /slow HTTP/1.1\r\nhost: 127.0.0.1\r\n{ALPHA}content-length: 10\r\n\r\n");
    let mut slow: Vec<_> = (0..20).map(|_| Client::connect(gateway.address())).collect();
    for client in &mut slow {
        client.send(format!("{head}half"));
    }
    let mut client = Client::connect(gateway.address());
    for _ in 0..20 {
        assert_eq!(client.request("POST", "/quick", "a=1").status, 200);
    }
    assert!(upstream.requests().iter().all(|request| request.target == "/quick"));
    // They can still end what they began.
    for client in &mut slow {
        client.send("second");
        assert_eq!(client.read("POST").status, 200);
    }
    assert!(upstream.requests().iter().skip(20).all(|request| request.body == b"halfsecond"));
}
