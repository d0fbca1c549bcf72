//! The stream of a gateway's events: a thread that reads it, and connects again whenever it ends or falls silent.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use super::client::Gateway;
use super::model::{self, Notice, Status};
use super::sse::{Decoder, Event};
use super::text::{Text, time};

/// The pieces of a stream that wait for the decoder. A full channel stops the reader, and then the gateway.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 16 << 10;
/// The longest id that is sent back.
const MAX_ID_BYTES: usize = 128;

/// What the screen hears.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// The stream is open.
    Live,
    /// The stream is lost, for this reason. It will be opened again.
    Lost(Text),
    /// The state of the gateway.
    Status(Box<Status>),
    /// Something happened.
    Notice(Notice),
    /// How a command of this screen ended: what is said about it.
    Answer(Result<Text, Text>),
}

/// How patient the feed is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The silence after which a connection counts as dead. A gateway sends something every second.
    pub silence: Duration,
    /// The first pause before the stream is opened again. It doubles with each failure.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(15),
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(15),
        }
    }
}

/// Starts the thread. It ends when the receiver of `out` is dropped.
pub fn start(
    gateway: Arc<Gateway>,
    out: SyncSender<Message>,
    patience: Patience,
) -> io::Result<()> {
    let feed = Feed { gateway, out, patience, last_id: None, pause: patience.first_pause };
    thread::Builder::new().name("top-feed".to_owned()).spawn(move || {
        // The only way to end is that the screen has gone.
        let Err(ScreenGone) = feed.run();
    })?;
    Ok(())
}

/// The receiver of the messages is dropped.
struct ScreenGone;

/// How one connection ended.
enum End {
    /// It was open for as long as one may be.
    Renewed,
    Lost(Text),
}

/// What the reader of a connection brings.
enum Piece {
    Open,
    Bytes(Vec<u8>),
    End(End),
}

struct Feed {
    gateway: Arc<Gateway>,
    out: SyncSender<Message>,
    patience: Patience,
    last_id: Option<String>,
    pause: Duration,
}

impl Feed {
    fn run(mut self) -> Result<std::convert::Infallible, ScreenGone> {
        loop {
            if let End::Lost(why) = self.follow_one_connection()? {
                self.tell(Message::Lost(why))?;
                thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(self.patience.max_pause);
            }
        }
    }

    /// Follows one connection to its end. Its reader is a thread of its own, because a read from a dead connection does
    /// not return: the thread is left behind then, and ends at the time limit of a stream.
    fn follow_one_connection(&mut self) -> Result<End, ScreenGone> {
        let (send, pieces) = mpsc::sync_channel(PIECES);
        let (gateway, last_id) = (Arc::clone(&self.gateway), self.last_id.clone());
        let reader = thread::Builder::new().name("top-reader".to_owned());
        let started = reader.spawn(move || {
            let end = read_connection(&gateway, last_id.as_deref(), &send);
            // The feed may have given the connection up.
            let _ = send.send(Piece::End(end));
        });
        match started {
            Ok(_) => self.follow(&pieces),
            Err(error) => Ok(End::Lost(Text::new(&error.to_string()))),
        }
    }

    fn follow(&mut self, pieces: &Receiver<Piece>) -> Result<End, ScreenGone> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        loop {
            let piece = match pieces.recv_timeout(self.patience.silence) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Timeout) => {
                    let silence = time(self.patience.silence.as_secs_f64());
                    return Ok(End::Lost(Text::new(&format!(
                        "the gateway was silent for {silence}"
                    ))));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(End::Lost(Text::new("the reader of the stream failed")));
                }
            };
            match piece {
                Piece::Open => self.tell(Message::Live)?,
                Piece::End(end) => return Ok(end),
                Piece::Bytes(bytes) => {
                    if let Err(error) = decoder.push(&bytes, &mut events) {
                        return Ok(End::Lost(Text::new(&error.to_string())));
                    }
                    let asked = decoder.retry().unwrap_or(self.patience.first_pause);
                    self.pause = asked.min(self.patience.max_pause);
                    for event in events.drain(..) {
                        self.take(event)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), ScreenGone> {
        // Other events are heartbeats, whose arrival is all that they tell, or of a later gateway.
        let message = match event.name.as_str() {
            "status" => model::read(&event.data).map(|status| Message::Status(Box::new(status))),
            "notice" => model::read(&event.data).map(Message::Notice),
            _ => return Ok(()),
        };
        if let Some(id) = event.id.filter(|id| is_header_value(id)) {
            self.last_id = Some(id);
        }
        match message {
            Ok(message) => self.tell(message),
            Err(error) => {
                let name = &event.name;
                self.tell(Message::Answer(Err(Text::new(&format!(
                    "an event `{name}` is not understood: {error}"
                )))))
            }
        }
    }

    fn tell(&self, message: Message) -> Result<(), ScreenGone> {
        self.out.send(message).map_err(|_| ScreenGone)
    }
}

/// Reads one connection to its end.
fn read_connection(gateway: &Gateway, last_id: Option<&str>, pieces: &SyncSender<Piece>) -> End {
    let mut stream = match gateway.events(last_id) {
        Ok(stream) => stream,
        Err(failure) => return End::Lost(Text::new(&failure.to_string())),
    };
    let mut is_heard = pieces.send(Piece::Open).is_ok();
    let mut buffer = vec![0; PIECE_BYTES];
    while is_heard {
        match stream.read(&mut buffer) {
            Ok(0) => return End::Lost(Text::new("the gateway ended the stream")),
            Ok(length) => {
                let bytes = buffer.iter().take(length).copied().collect();
                is_heard = pieces.send(Piece::Bytes(bytes)).is_ok();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return ended_by(&error),
        }
    }
    End::Renewed
}

/// A live stream ends with a timeout of the whole answer, because the feed notices silence much earlier.
fn ended_by(error: &io::Error) -> End {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(_)) => End::Renewed,
        _ => End::Lost(Text::new(&error.to_string())),
    }
}

fn is_header_value(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::top::client::Address;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    /// Never tired of waiting for an answer, and quick to connect again.
    const PATIENCE: Patience = Patience {
        silence: Duration::MAX,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(4),
    };

    /// A gateway of which each connection is answered by hand.
    struct Fake(TcpListener);

    impl Fake {
        fn start(patience: Patience) -> (Self, Receiver<Message>) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let gateway = Gateway::new(&Address::parse(&url).unwrap(), None, None);
            let (out, messages) = mpsc::sync_channel(64);
            start(Arc::new(gateway), out, patience).unwrap();
            (Self(listener), messages)
        }

        /// Sends an answer, and returns the head of the request and the connection.
        fn answer(&self, answer: &str) -> (String, TcpStream) {
            let mut stream = self.0.accept().unwrap().0;
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            (head.join("\n").to_lowercase(), stream)
        }
    }

    fn health(message: Message) -> String {
        match message {
            Message::Status(status) => status.health.to_string(),
            other => panic!("no status: {other:?}"),
        }
    }

    fn why(message: Message) -> String {
        match message {
            Message::Lost(why) => why.to_string(),
            other => panic!("not lost: {other:?}"),
        }
    }

    #[test]
    fn a_stream_that_ends_is_opened_again_where_it_ended() {
        let (fake, messages) = Fake::start(PATIENCE);
        let events = "id: 41\nevent: status\ndata: {\"health\":\"ok\"}\n\n\
                      id: 42\nevent: notice\ndata: {\"text\":\"a\\u001bb\"}\n\n";
        let (head, stream) = fake.answer(&format!("{HEAD}{events}"));
        assert!(!head.contains("last-event-id"), "{head}");
        drop(stream);
        assert_eq!(messages.recv().unwrap(), Message::Live);
        assert_eq!(health(messages.recv().unwrap()), "ok");
        let notice = Notice { text: Text::new("a\u{1b}b"), ..Notice::default() };
        assert_eq!(messages.recv().unwrap(), Message::Notice(notice));
        assert_eq!(why(messages.recv().unwrap()), "the gateway ended the stream");

        let (head, _stream) = fake.answer(HEAD);
        assert!(head.contains("last-event-id: 42"), "{head}");
        assert_eq!(messages.recv().unwrap(), Message::Live);
    }

    #[test]
    fn a_connection_that_falls_silent_is_given_up() {
        let silence = Duration::from_millis(50);
        let (fake, messages) = Fake::start(Patience { silence, ..PATIENCE });
        // It stays open until the end of the test, and says nothing.
        let (_silent, _) = fake.0.accept().unwrap();
        assert_eq!(why(messages.recv().unwrap()), "the gateway was silent for 0.1 s");
        fake.0.accept().unwrap();
    }

    #[test]
    fn a_refusal_names_what_to_do_and_is_tried_again() {
        let (fake, messages) = Fake::start(PATIENCE);
        let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
        fake.answer(refusal);
        assert!(why(messages.recv().unwrap()).contains("set LANEKEEPER_KEY"));
        fake.answer(refusal);
        assert!(why(messages.recv().unwrap()).contains("set LANEKEEPER_KEY"));
    }

    #[test]
    fn an_event_that_is_not_understood_is_told_and_the_stream_goes_on() {
        let (fake, messages) = Fake::start(PATIENCE);
        let events = "event: status\ndata: nonsense\n\nevent: later\ndata: 1\n\n\
                      event: status\ndata: {\"health\":\"ok\"}\n\n";
        let (_, _stream) = fake.answer(&format!("{HEAD}{events}"));
        assert_eq!(messages.recv().unwrap(), Message::Live);
        assert!(matches!(messages.recv().unwrap(), Message::Answer(Err(_))));
        assert_eq!(health(messages.recv().unwrap()), "ok");
    }

    #[test]
    fn the_feed_ends_with_the_screen() {
        let (fake, messages) = Fake::start(PATIENCE);
        let (_, mut stream) = fake.answer(HEAD);
        assert_eq!(messages.recv().unwrap(), Message::Live);
        drop(messages);
        // Each event is one more message that cannot be delivered. The reader then closes the connection.
        while stream.write_all(b"event: status\ndata: {}\n\n").is_ok() {}
    }
}
