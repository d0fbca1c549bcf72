//! A plain HTTP/1.1 client on a socket: it sends exactly the bytes that it is given, and reads exactly one answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// With names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// What was read beyond the last answer.
    rest: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, rest: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request of the client `alpha`, and reads the answer.
    pub fn request(&mut self, method: &str, target: &str, body: &str) -> Answer {
        self.request_with(method, target, "authorization: token alpha:secret\r\n", body)
    }

    /// Sends a request with these further header lines, and reads the answer.
    pub fn request_with(&mut self, method: &str, target: &str, lines: &str, body: &str) -> Answer {
        self.begin(method, target, lines, body);
        self.read(method)
    }

    /// Sends a request and does not read the answer.
    pub fn begin(&mut self, method: &str, target: &str, lines: &str, body: &str) {
        let form = match body.is_empty() {
            true => String::new(),
            false => format!(
                "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
                body.len()
            ),
        };
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}{form}\r\n{body}"
        ));
    }

    /// Reads an answer to a request of this method.
    pub fn read(&mut self, method: &str) -> Answer {
        self.try_read(method).expect("the connection ended before an answer")
    }

    /// Reads an answer. `None` if the connection ends first.
    pub fn try_read(&mut self, method: &str) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.rest.windows(4).position(|part| part == b"\r\n\r\n") {
                break at;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.rest[..head_end]).into_owned();
        self.rest.drain(..head_end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 {
            return Some(answer);
        }
        answer.body = match answer.header("content-length") {
            Some(length) => self.take(length.parse().unwrap())?,
            None if answer.header("transfer-encoding") == Some("chunked") => self.take_chunks()?,
            None => self.take_all(),
        };
        Some(answer)
    }

    /// Returns whether the gateway closes the connection, after what it may still send. It may do so within 20 s.
    pub fn is_closed(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 65536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                // A reset is an end too.
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.rest.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.rest.len() < length {
            self.fill()?;
        }
        Some(self.rest.drain(..length).collect())
    }

    fn take_chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.rest.windows(2).position(|part| part == b"\r\n") {
                    break at;
                }
                self.fill()?;
            };
            let line: Vec<u8> = self.rest.drain(..end + 2).collect();
            let size = String::from_utf8_lossy(&line[..end]).into_owned();
            let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
            let chunk = self.take(size + 2)?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn take_all(&mut self) -> Vec<u8> {
        while self.fill().is_some() {}
        std::mem::take(&mut self.rest)
    }
}
