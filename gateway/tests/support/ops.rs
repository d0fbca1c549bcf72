//! For the tests of running a gateway: a gate at the upstream, the interface's requests, streams of events, and a reader
//! of the text that Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::GatewayConfig;
use serde_json::Value;

use super::{Answer, Client, Request, Upstream, upstream};

/// Waits until something holds, for a minute.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "it does not come to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds the answers of an upstream back until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

/// Starts an upstream that answers with `answer`, once the gate is open.
pub fn gated(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (Upstream, Gate) {
    let gate = Gate::default();
    let own = gate.clone();
    let upstream = Upstream::start(move |request| {
        own.pass();
        Some(answer(request))
    });
    (upstream, gate)
}

/// Starts an upstream that answers each request with its path, as JSON.
pub fn echo() -> Upstream {
    Upstream::start(|request| Some(echoed(request)))
}

/// Returns the path of a request as an answer.
pub fn echoed(request: &Request) -> Vec<u8> {
    upstream::ok("application/json", format!("{:?}", request.target).as_bytes())
}

/// Returns a key of a client and its hash.
pub fn key() -> (String, String) {
    let key = NewKey::generate().unwrap();
    (key.secret, key.hash.to_string())
}

/// Sends a request of the interface on a connection of its own.
pub fn own(gateway: &Gateway, method: &str, path: &str, lines: &str, body: &str) -> Answer {
    let lines = format!("{lines}content-length: {}\r\n", body.len());
    let mut client = Client::connect(gateway.address());
    client.send(format!(
        "{method} /_lanekeeper{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n{body}"
    ));
    client.read(method)
}

/// Returns the latest status.
pub fn status(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.status_json()).unwrap()
}

/// Returns the status of the first lane of the first account.
pub fn lane(gateway: &Gateway) -> Value {
    status(gateway)["accounts"][0]["lanes"][0].clone()
}

/// Returns how many calls wait in the lanes at this moment, where the status is that of the last second. `lines` has the
/// key, if one is needed.
pub fn queue_length(gateway: &Gateway, lines: &str) -> f64 {
    let scrape = Scrape::read(&own(gateway, "GET", "/metrics", lines, "").text());
    let lengths = scrape.samples.iter().filter(|it| it.name == "lanekeeper_queue_length");
    lengths.map(|sample| sample.value).sum()
}

/// Gives clients and the upstream a minute, so that a busy machine does not end a call.
pub fn with_time(mut config: GatewayConfig) -> GatewayConfig {
    config.door.client_timeout = Duration::from_secs(60);
    for account in config.accounts.values_mut() {
        account.upstream_timeout = Duration::from_secs(60);
    }
    config
}

/// Sends a request of a client on a connection of its own.
pub fn call(address: SocketAddr, method: &str, target: &str, lines: &str) -> Answer {
    Client::connect(address).request_with(method, target, lines, "")
}

/// Returns the header line with the key of a client.
pub fn bearer(name: &str, secret: &str) -> String {
    format!("authorization: Bearer {name}:{secret}\r\n")
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: Value,
}

/// A stream of events.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    /// What the chunks had beyond the last event.
    text: String,
    pub retry: Option<String>,
}

impl EventStream {
    /// Opens a stream. `lines` are further header lines.
    pub fn open(address: SocketAddr, lines: &str) -> Result<Self, Answer> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("GET /_lanekeeper/events HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        if !head.starts_with("http/1.1 200") {
            let mut body = vec![0; field("content-length:").unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return Err(Answer { status, headers: Vec::new(), body });
        }
        assert_eq!(field("content-type:").as_deref(), Some("text/event-stream"));
        assert_eq!(field("transfer-encoding:").as_deref(), Some("chunked"));
        Ok(Self { reader, text: String::new(), retry: None })
    }

    /// Returns the next event. `None` if the gateway has ended the stream, with its last chunk.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
                };
                if let Some(retry) = field("retry: ") {
                    self.retry = Some(retry);
                    continue;
                }
                return Some(Event {
                    name: field("event: ").unwrap(),
                    id: field("id: ").map(|id| id.parse().unwrap()),
                    data: serde_json::from_str(&field("data: ").unwrap()).unwrap(),
                });
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16)
                .unwrap_or_else(|_| panic!("the stream was cut: {size:?}"));
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            self.text += std::str::from_utf8(&chunk[..size]).unwrap();
        }
    }

    /// Returns the next event of this name.
    pub fn next_of(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before a {name}"));
            if event.name == name {
                return event;
            }
        }
    }

    /// Reads what is still there. Panics if the stream goes on.
    pub fn read_to_end(&mut self) {
        let mut snapshots = 0;
        while let Some(event) = self.next() {
            snapshots += usize::from(event.name == "status");
            assert!(snapshots < 20, "the stream goes on");
        }
    }

    /// Returns the notices that are here before the next status.
    pub fn notices(&mut self) -> Vec<Event> {
        let mut notices = Vec::new();
        loop {
            let event = self.next().expect("the stream ended");
            match event.name.as_str() {
                "notice" => notices.push(event),
                "status" => return notices,
                _ => {}
            }
        }
    }
}

/// The samples of a scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Reads the text format of Prometheus, version 0.0.4, and panics at what is no such text.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut scrape = Self::default();
        let (mut family, mut closed, mut seen) = (String::new(), BTreeSet::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(is_metric(name), "{line}");
                if what == "TYPE" {
                    let kind = words.next().unwrap();
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    let known = scrape.types.insert(name.to_owned(), kind.to_owned());
                    assert_eq!(known, None, "two types: {line}");
                }
                if family != name {
                    closed.insert(std::mem::replace(&mut family, name.to_owned()));
                }
                assert!(!closed.contains(name), "the lines of a family are apart: {line}");
                continue;
            }
            let sample = sample(line);
            let is_own = sample.name.strip_prefix(&family).is_some_and(|rest| {
                rest.is_empty() || ["_bucket", "_sum", "_count"].contains(&rest)
            });
            assert!(is_own, "a sample of {family}: {line}");
            assert!(seen.insert(format!("{}{:?}", sample.name, sample.labels)), "twice: {line}");
            scrape.samples.push(sample);
        }
        scrape.check_histograms();
        scrape
    }

    /// Returns the value of the only sample with these labels among its own.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|own| own == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let mut found = self.samples.iter().filter(fits);
        let value = found.next()?.value;
        assert!(found.next().is_none(), "several samples of {name} with {labels:?}");
        Some(value)
    }

    /// Checks that the buckets of each histogram add up.
    fn check_histograms(&self) {
        let histograms = self.types.iter().filter(|(_, kind)| *kind == "histogram");
        for name in histograms.map(|(name, _)| name) {
            let counts = format!("{name}_count");
            for count in self.samples.iter().filter(|sample| sample.name == counts) {
                let of_series = |sample: &&Sample| {
                    let mut labels = sample.labels.clone();
                    labels.remove("le");
                    sample.name == format!("{name}_bucket") && labels == count.labels
                };
                let buckets: Vec<&Sample> = self.samples.iter().filter(of_series).collect();
                assert!(buckets.len() > 2, "{name} has no buckets");
                assert!(buckets.windows(2).all(|pair| pair[0].value <= pair[1].value), "{name}");
                let last = buckets.last().unwrap();
                assert_eq!((last.labels["le"].as_str(), last.value), ("+Inf", count.value));
            }
        }
    }
}

fn is_metric(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, rest) = line.split_at(end);
    assert!(is_metric(name), "{line}");
    let mut labels = BTreeMap::new();
    let mut chars = rest.chars().peekable();
    if chars.next_if_eq(&'{').is_some() {
        while chars.next_if_eq(&'}').is_none() {
            let label: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect();
            assert!(is_metric(&label), "{line}");
            assert_eq!((chars.next(), chars.next()), (Some('='), Some('"')), "{line}");
            let mut value = String::new();
            loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    '"' => break,
                    '\\' => value.push(match chars.next() {
                        Some('n') => '\n',
                        Some(c @ ('"' | '\\')) => c,
                        other => panic!("{other:?} in {line}"),
                    }),
                    c => value.push(c),
                }
            }
            assert_eq!(labels.insert(label, value), None, "{line}");
            chars.next_if_eq(&',');
        }
    }
    assert_eq!(chars.next(), Some(' '), "{line}");
    let value: String = chars.collect();
    Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().unwrap_or_else(|_| panic!("{line}")),
    }
}
