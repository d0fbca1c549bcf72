//! Requests to the gateway's own interface, and what is said if one fails.

use std::io;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::text::Text;

/// The most bytes of an answer, other than a stream.
const MAX_BYTES: u64 = 4 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// The time for the whole of a short answer, and for the head of a stream.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a stream may last. It is then opened again where it ended. A thread that reads a dead connection ends then.
const STREAM: Duration = Duration::from_secs(600);

/// The address of a gateway: `http://127.0.0.1:8800`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Reads an address. The path of the gateway's own interface may follow, as people copy it from a browser.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage = |why: &str| format!("{why}; write it as http://127.0.0.1:8800");
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/_lanekeeper").unwrap_or(base);
        let uri: Uri = base.parse().map_err(|_| usage("it is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(usage("only http:// and https:// are possible"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(usage("a query or a fragment is not possible"));
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err(
                "a URL cannot hold a key, because a list of processes shows it; set LANEKEEPER_KEY"
                    .to_owned(),
            ),
            Some(_) => Ok(Self(base.to_owned())),
            None => Err(usage("it names no host")),
        }
    }

    /// Returns the address without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key, `NAME:SECRET`. It is not printed.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Reads a key from the value of the environment variable `variable`.
    pub fn parse(variable: &'static str, value: &str) -> Result<Self, Failure> {
        let is_key = value
            .split_once(':')
            .is_some_and(|(name, secret)| !name.is_empty() && !secret.is_empty());
        match is_key && value.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(value.to_owned())),
            false => Err(Failure::NoKey(variable)),
        }
    }
}

/// Pauses or resumes a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub verb: Verb,
    pub account: Text,
    pub lane: Text,
}

/// What is done to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Resume,
}

impl Verb {
    /// Returns the last part of the path, which is the English word too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// Why a request to the gateway failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An environment variable holds no key.
    #[error("{0} is not of the form NAME:SECRET")]
    NoKey(&'static str),
    /// There was no answer.
    #[error(
        "cannot reach a gateway at {url}: {why}; is it running there? --url names another address"
    )]
    NoAnswer { url: String, why: Text },
    /// The gateway asks for a key.
    #[error("the gateway at {url} asks for a key; set LANEKEEPER_KEY to NAME:SECRET")]
    KeyMissing { url: String },
    /// The gateway does not accept the key.
    #[error("the gateway at {url} does not accept the key; check LANEKEEPER_KEY: {said}")]
    KeyRefused { url: String, said: Text },
    /// Another kind of server answers there.
    #[error("the server at {url} is no gateway: {why}; --url names another address")]
    NoGateway { url: String, why: Text },
    /// The gateway refused the request.
    #[error("the gateway at {url} refused with {status}: {said}")]
    Refused { url: String, status: u16, said: Text },
}

/// A gateway, and the keys for it.
pub struct Gateway {
    agent: Agent,
    url: String,
    key: Option<Key>,
    admin_key: Option<Key>,
}

impl Gateway {
    /// Prepares requests to a gateway. Without a key of a client, the admin key reads too.
    pub fn new(address: &Address, key: Option<Key>, admin_key: Option<Key>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A key is not sent on to where an answer points, nor through a proxy that is meant for the Internet.
            .max_redirects(0)
            .proxy(None)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(ANSWER))
            .user_agent(concat!("lanekeeper-top/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let key = key.or_else(|| admin_key.clone());
        Self { agent, url: address.as_str().to_owned(), key, admin_key }
    }

    /// Whether lanes can be paused and resumed.
    pub fn has_admin_key(&self) -> bool {
        self.admin_key.is_some()
    }

    /// Returns the status as JSON.
    pub fn status(&self) -> Result<String, Failure> {
        let mut request = self.agent.get(self.path("status"));
        if let Some(Key(key)) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = request.call().map_err(|error| self.no_answer(&error))?;
        self.text(self.accepted(answer)?)
    }

    /// Opens the stream of events after the one with the id `last`. Its end may be a timeout after ten minutes.
    pub fn events(&self, last: Option<&str>) -> Result<impl io::Read + Send + use<>, Failure> {
        let mut request = self.agent.get(self.path("events")).header("accept", "text/event-stream");
        if let Some(Key(key)) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let request =
            request.config().timeout_recv_body(Some(STREAM)).accept_encoding("identity").build();
        let answer = request.call().map_err(|error| self.no_answer(&error))?;
        Ok(self.accepted(answer)?.into_body().into_reader())
    }

    /// Pauses or resumes a lane, and returns the state that the lane then has.
    pub fn command(&self, command: &Command) -> Result<Text, Failure> {
        let Command { verb, account, lane } = command;
        let [account, lane] = [account, lane].map(|name| path_segment(name.as_str()));
        let verb = verb.as_str();
        let mut request =
            self.agent.post(self.path(&format!("accounts/{account}/lanes/{lane}/{verb}")));
        if let Some(Key(key)) = &self.admin_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        // A browser cannot send this header to another origin, so the gateway knows that no page sent the request.
        let request = request.header("x-lanekeeper-request", "1");
        let answer = request.send_empty().map_err(|error| self.no_answer(&error))?;
        let (status, body) = (answer.status(), self.text(answer)?);
        match status.is_success() {
            true => Ok(field(&body, "state").unwrap_or_default()),
            false => Err(self.refused(status, &body)),
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("{}/_lanekeeper/{rest}", self.url)
    }

    fn accepted(&self, answer: Response<Body>) -> Result<Response<Body>, Failure> {
        let (url, status) = (self.url.clone(), answer.status());
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let said = self.text(answer).unwrap_or_default();
        Err(match status {
            StatusCode::UNAUTHORIZED if self.key.is_none() => Failure::KeyMissing { url },
            StatusCode::UNAUTHORIZED => Failure::KeyRefused { url, said: message(&said) },
            _ if field(&said, "status").is_none() => Failure::NoGateway {
                url,
                why: Text::new(&format!("it answers with status {}", status.as_u16())),
            },
            _ => self.refused(status, &said),
        })
    }

    fn text(&self, answer: Response<Body>) -> Result<String, Failure> {
        let body = answer.into_body().into_with_config().limit(MAX_BYTES).lossy_utf8(true);
        body.read_to_string().map_err(|error| self.no_answer(&error))
    }

    fn no_answer(&self, error: &ureq::Error) -> Failure {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            error => error.to_string(),
        };
        Failure::NoAnswer { url: self.url.clone(), why: Text::new(&why) }
    }

    fn refused(&self, status: StatusCode, body: &str) -> Failure {
        Failure::Refused { url: self.url.clone(), status: status.as_u16(), said: message(body) }
    }
}

/// Returns the message in an error of the gateway.
fn message(body: &str) -> Text {
    field(body, "message").unwrap_or_else(|| Text::new("without a reason"))
}

/// Returns a text from an object of JSON.
fn field(body: &str, name: &str) -> Option<Text> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.get(name)?.as_str().map(Text::new)
}

/// Encodes a name for a path.
fn path_segment(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            // A dot too: two of them would lead up.
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_or_https_without_a_key() {
        for (text, expected) in [
            ("http://127.0.0.1:8800", "http://127.0.0.1:8800"),
            ("https://gate.example/", "https://gate.example"),
            ("http://[::1]:8800/_lanekeeper/", "http://[::1]:8800"),
            ("https://gate.example/kite/_lanekeeper", "https://gate.example/kite"),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.0), Ok(expected.to_owned()));
        }
        for (text, expected) in [
            ("", "it is no URL"),
            ("127.0.0.1:8800", "only http:// and https://"),
            ("file:///etc/passwd", "it is no URL"),
            ("ftp://gate.example", "only http:// and https://"),
            ("http://a b", "it is no URL"),
            ("http://x/?key=alpha:s3cret", "a query or a fragment"),
            ("http://alpha:s3cret@gate.example", "a URL cannot hold a key"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_has_a_name_and_a_secret_and_an_error_does_not_print_it() {
        assert!(Key::parse("LANEKEEPER_KEY", "alpha:s3c:ret").is_ok());
        for value in
            ["", "s3cret", ":s3cret", "alpha:", "al pha:s3cret", "alpha:s3cret\n", "ä:s3cret"]
        {
            let error = Key::parse("LANEKEEPER_KEY", value).err().unwrap().to_string();
            assert_eq!(error, "LANEKEEPER_KEY is not of the form NAME:SECRET");
        }
    }

    #[test]
    fn a_name_cannot_change_the_path() {
        assert_eq!(path_segment("order-writes_2"), "order-writes_2");
        assert_eq!(path_segment("../a b?é"), "%2E%2E%2Fa%20b%3F%C3%A9");
    }
}
