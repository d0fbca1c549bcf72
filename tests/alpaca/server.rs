//! A server on loopback that answers as a test decides, and records the requests that it gets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use lanekeeper::Alpaca;
use lanekeeper::brokers::alpaca::AlpacaBuilder;
use serde_json::Value;

pub(crate) const KEY_ID: &str = "PKTESTKEY0123456";
pub(crate) const SECRET_KEY: &str = "s3cr3tKeyOfAlpaca";

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answers with a status, more header lines and a body, and keeps the connection open.
    Answer(u16, String, String),
    /// Answers with this body, and writes more bytes behind it.
    Followed(String, String),
    /// Closes without an answer.
    Close,
    /// Writes these bytes and closes.
    Raw(String),
    /// Sends nothing until the client gives up.
    Hang,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    /// The path without the query.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns the method and the path.
    pub(crate) fn route(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

type Answers = Arc<dyn Fn(&ReceivedRequest) -> Reply + Send + Sync>;

#[derive(Default)]
struct Shared {
    received: Vec<ReceivedRequest>,
    hung: Vec<TcpStream>,
    closing: bool,
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request by `answers`.
    pub(crate) fn new(answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (theirs, answers): (_, Answers) = (Arc::clone(&shared), Arc::new(answers));
        let thread = spawn(move || {
            for stream in listener.incoming() {
                if theirs.lock().unwrap().closing {
                    return;
                }
                let (shared, answers) = (Arc::clone(&theirs), Arc::clone(&answers));
                spawn(move || serve(stream.unwrap(), &shared, &answers));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Answers the requests one by one, and closes the connection after that.
    pub(crate) fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<Vec<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::new(move |_| {
            let mut replies = replies.lock().unwrap();
            if replies.is_empty() { Reply::Close } else { replies.remove(0) }
        })
    }

    /// One answer of status 200 for each body.
    pub(crate) fn ok(bodies: &[&str]) -> Self {
        Self::script(bodies.iter().map(|body| json(200, body)))
    }

    pub(crate) fn builder(&self) -> AlpacaBuilder {
        Alpaca::builder()
            .key_id(KEY_ID)
            .secret_key(SECRET_KEY)
            .trading_url(format!("http://{}", self.address))
            .data_url(format!("http://{}", self.address))
            .timeout(Duration::from_secs(5))
    }

    pub(crate) fn alpaca(&self) -> Alpaca {
        self.builder().build().unwrap()
    }

    pub(crate) fn received(&self) -> Vec<ReceivedRequest> {
        self.shared.lock().unwrap().received.clone()
    }

    /// Returns the only request.
    pub(crate) fn only(&self) -> ReceivedRequest {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().unwrap().closing = true;
        // Wakes the listener, so that it sees that the server is closed.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn json(status: u16, body: &str) -> Reply {
    Reply::Answer(status, "Content-Type: application/json\r\n".to_owned(), body.to_owned())
}

/// An answer in JSON with more header lines.
pub(crate) fn with_headers(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    Reply::Answer(status, lines, body.to_owned())
}

pub(crate) fn page(status: u16, title: &str) -> Reply {
    let body = format!("<html><head><title>{title}</title></head></html>");
    Reply::Answer(status, "Content-Type: text/html\r\n".to_owned(), body)
}

fn serve(stream: TcpStream, shared: &Mutex<Shared>, answers: &Answers) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(received) = read_request(&mut reader) {
        let reply = answers(&received);
        shared.lock().unwrap().received.push(received);
        match reply {
            Reply::Answer(status, headers, body) => {
                let length = match status {
                    204 => String::new(),
                    _ => format!("Content-Length: {}\r\n", body.len()),
                };
                let head = format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n");
                if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
                    return;
                }
            }
            Reply::Followed(body, more) => {
                let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len());
                if stream.write_all([head, body, more].concat().as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(bytes.as_bytes());
                return;
            }
            Reply::Hang => {
                shared.lock().unwrap().hung.push(stream);
                return;
            }
            Reply::Close => return,
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<ReceivedRequest> {
    let line = next_line(reader)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = form_pairs(query);
    let mut headers = Vec::new();
    loop {
        let line = next_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = find(&headers, "content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(ReceivedRequest { method, path: path.to_owned(), query, headers, body })
}

/// Decodes a query string.
fn form_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, more @ ..] = rest {
            match (first, more) {
                (b'%', [high, low, ..]) => {
                    let digits = String::from_utf8(vec![*high, *low]).unwrap();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                    rest = &more[2..];
                }
                (b'+', _) => {
                    bytes.push(b' ');
                    rest = more;
                }
                _ => {
                    bytes.push(*first);
                    rest = more;
                }
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn next_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}
