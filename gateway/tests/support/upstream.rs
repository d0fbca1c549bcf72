//! A scripted upstream: it records each request byte for byte, and answers with the bytes that a closure returns.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// With names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is sent back. Without bytes the connection is closed.
pub type Reply = Option<Vec<u8>>;

/// The server. It stops when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Upstream {
    /// Starts a server that answers each request with what `answer` returns.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_stream(move |request, stream| {
            answer(request).is_some_and(|bytes| stream.write_all(&bytes).is_ok())
        })
    }

    /// Starts a server that hands each request to `answer`, which writes what it likes, and when. The connection goes on
    /// if it returns `true`.
    pub fn with_stream(
        answer: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        {
            let (requests, connections, stopped) =
                (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&stopped));
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                    thread::spawn(move || serve(stream, &requests, &*answer));
                }
            });
        }
        Self { address, requests, connections, stopped }
    }

    /// Answers each request with 200 and this JSON.
    pub fn json(body: &'static str) -> Self {
        Self::start(move |_| Some(ok("application/json", body.as_bytes())))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until this many requests have arrived.
    pub fn wait_for(&self, count: usize) {
        super::wait_until(&format!("{count} requests at the upstream"), || {
            self.requests.lock().unwrap().len() >= count
        });
    }

    /// Returns how many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// Returns an answer with 200.
pub fn ok(kind: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", kind, body)
}

/// Returns an answer.
pub fn answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, &mut TcpStream) -> bool,
) {
    let _ = stream.set_nodelay(true);
    let mut rest = Vec::new();
    while let Some(request) = read(&mut stream, &mut rest) {
        requests.lock().unwrap().push(request.clone());
        if !answer(&request, &mut stream) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Request> {
    let mut buffer = [0; 65536];
    let mut fill = |rest: &mut Vec<u8>| match stream.read(&mut buffer) {
        Ok(0) | Err(_) => None,
        Ok(read) => {
            rest.extend_from_slice(&buffer[..read]);
            Some(())
        }
    };
    let end = loop {
        if let Some(at) = rest.windows(4).position(|part| part == b"\r\n\r\n") {
            break at;
        }
        fill(rest)?;
    };
    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
    rest.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |text| text.parse().unwrap_or(0));
    while rest.len() < length {
        fill(rest)?;
    }
    request.body = rest.drain(..length).collect();
    Some(request)
}
