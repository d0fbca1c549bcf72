//! A server on loopback that follows a script, and records the requests that it gets.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::KiteBuilder;

pub(crate) const TOKEN: &str = "s3cr3tT0ken";

/// What the server does with the next request.
pub(crate) enum Reply {
    /// Answers, and keeps the connection open.
    Answer { head: String, body: Vec<u8> },
    /// Answers when as many requests are here as the barrier wants.
    Together(Arc<Barrier>, &'static str),
    /// Writes these bytes and closes.
    Raw(Vec<u8>),
    /// Closes without a response.
    Close,
    /// Closes with a part of the request unread, which resets the connection.
    Reset,
    /// Sends nothing until the end of the test.
    Hang,
    /// Begins with `head` and continues with `more` until the client closes the connection.
    Endless { head: &'static str, more: &'static str },
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The response to a request, if no script is left.
type Answers = Arc<dyn Fn(&ReceivedRequest) -> Reply + Send + Sync>;

#[derive(Default)]
struct Shared {
    script: VecDeque<Reply>,
    answers: Option<Answers>,
    received: Vec<ReceivedRequest>,
    connections: usize,
    closed: usize,
    hung: Vec<TcpStream>,
    closing: bool,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    closed: Arc<Condvar>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = script.into_iter().collect();
        let shared = Arc::new(Mutex::new(Shared { script, ..Shared::default() }));
        let theirs = Arc::clone(&shared);
        let closed = Arc::new(Condvar::new());
        let wakeup = Arc::clone(&closed);
        let thread = spawn(move || {
            for stream in listener.incoming() {
                let mut state = theirs.lock().unwrap();
                if state.closing {
                    return;
                }
                state.connections += 1;
                drop(state);
                let (shared, wakeup) = (Arc::clone(&theirs), Arc::clone(&wakeup));
                spawn(move || {
                    serve(stream.unwrap(), &shared);
                    shared.lock().unwrap().closed += 1;
                    wakeup.notify_all();
                });
            }
        });
        Self { address, shared, closed, thread: Some(thread) }
    }

    /// Answers each request by its first line.
    pub(crate) fn answering(answers: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering_requests(move |received| answers(&received.line))
    }

    /// Answers each request by its head.
    pub(crate) fn answering_requests(
        answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let server = Self::new([]);
        server.shared.lock().unwrap().answers = Some(Arc::new(answers));
        server
    }

    /// One answer of status 200 for each body.
    pub(crate) fn ok(bodies: &[&str]) -> Self {
        Self::new(bodies.iter().map(|body| json(200, body)))
    }

    pub(crate) fn builder(&self) -> KiteBuilder {
        Kite::builder()
            .api_key("key")
            .access_token(TOKEN)
            .base_url(format!("http://{}", self.address))
            .timeout(Duration::from_secs(5))
    }

    pub(crate) fn kite(&self) -> Kite {
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

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }

    /// Waits until the server has closed `count` connections, up to a limit, so that a fault fails the test and does
    /// not hang it.
    pub(crate) fn wait_for_closed(&self, count: usize) {
        let state = self.shared.lock().unwrap();
        let waiting = |state: &mut Shared| state.closed < count;
        let limit = Duration::from_secs(5);
        let (_state, late) = self.closed.wait_timeout_while(state, limit, waiting).unwrap();
        assert!(!late.timed_out(), "the server kept its connections");
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

pub(crate) fn answer(status: u16, kind: &str, more: &str, body: impl Into<Vec<u8>>) -> Reply {
    let body = body.into();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n"
    );
    Reply::Answer { head, body }
}

pub(crate) fn json(status: u16, body: &str) -> Reply {
    answer(status, "application/json", "", body)
}

fn serve(stream: TcpStream, shared: &Mutex<Shared>) {
    // Byte by byte, so that the unread rest is still in the socket: a reset requires that.
    let mut reader = BufReader::with_capacity(1, stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(mut received) = head(&mut reader) {
        let length = received.header("content-length").map_or(0, |text| text.parse().unwrap());
        let reply = {
            let mut shared = shared.lock().unwrap();
            let answers = shared.answers.clone();
            let answered = || answers.map_or(Reply::Close, |answers| answers(&received));
            shared.script.pop_front().unwrap_or_else(answered)
        };
        if matches!(reply, Reply::Reset) {
            shared.lock().unwrap().received.push(received);
            // The body has arrived, and is not read.
            stream.peek(&mut [0]).unwrap();
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        received.body = String::from_utf8(body).unwrap();
        shared.lock().unwrap().received.push(received);
        let reply = match reply {
            Reply::Together(barrier, body) => {
                barrier.wait();
                json(200, body)
            }
            other => other,
        };
        match reply {
            Reply::Answer { head, body } => {
                if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
            Reply::Endless { head, more } => {
                let more = more.repeat(1000);
                let mut going = stream.write_all(head.as_bytes());
                while going.is_ok() {
                    going = stream.write_all(more.as_bytes());
                }
                return;
            }
            Reply::Hang => {
                shared.lock().unwrap().hung.push(stream);
                return;
            }
            Reply::Close | Reply::Reset | Reply::Together(..) => return,
        }
    }
}

fn head(reader: &mut BufReader<TcpStream>) -> Option<ReceivedRequest> {
    let line = next_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = next_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(ReceivedRequest { line, headers, body: String::new() })
}

fn next_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}
