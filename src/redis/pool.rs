//! Connections that threads take in turn, and the pause after one that failed.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use ::redis::{
    Client, Connection, ConnectionLike, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
};
use parking_lot::Mutex;

use super::attempts::Attempts;
use super::{RedisFailure, RedisSettings};

/// Connections to one Redis. Nothing is connected before the first use.
pub(crate) struct RedisPool {
    client: Client,
    settings: RedisSettings,
    attempts: Attempts<Connection>,
    /// Since when each is idle.
    idle: Mutex<Vec<(Connected, Instant)>>,
    /// Since when Redis could not be reached, and why.
    down: Mutex<Option<(Instant, String)>>,
}

/// A connection, and which run of Redis it leads to, if that was asked and is known.
struct Connected {
    connection: Connection,
    run: String,
}

impl fmt::Debug for RedisPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its address may have a password.
        f.debug_struct("RedisPool").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl RedisPool {
    pub(crate) fn new(url: &str, settings: RedisSettings) -> Result<Self, RedisFailure> {
        let address = url.into_connection_info().map_err(|_| RedisFailure::Address)?;
        let client = Client::open(address).map_err(|_| RedisFailure::Address)?;
        let (attempts, idle, down) = Default::default();
        Ok(Self { client, settings, attempts, idle, down })
    }

    #[cfg(any(feature = "limiter", test))]
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.settings.timeout = timeout;
    }

    /// Uses a connection. It is kept for the next use if it still works.
    #[cfg(any(feature = "limiter", test))]
    pub(crate) fn with<T>(
        &self,
        operation: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisFailure> {
        self.with_run(|connection, _| operation(connection))
    }

    /// Does the same. The operation is told which run of Redis the connection leads to, if [`RedisSettings::asks_for_run`] and
    /// that is known: a Redis that was started again, or took the place of another one, is another run.
    pub(crate) fn with_run<T>(
        &self,
        operation: impl FnOnce(&mut Connection, &str) -> Result<T, RedisError>,
    ) -> Result<T, RedisFailure> {
        let Connected { mut connection, run } = self.connection()?;
        let result = operation(&mut connection, &run);
        // After an answer that came too late, the next one on this connection could be taken for it. A Redis that became
        // a replica is not the one to ask any more: a new connection finds the one that took its place.
        let usable = result.as_ref().err().is_none_or(|error| {
            let kind = error.kind();
            kind != ErrorKind::Io && kind != ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        if usable && connection.is_open() {
            let mut idle = self.idle.lock();
            if idle.len() < self.settings.max_idle {
                idle.push((Connected { connection, run }, Instant::now()));
            }
        } else {
            // The others are most likely as broken.
            self.idle.lock().clear();
        }
        result.map_err(|error| match error.kind() {
            ErrorKind::Io => RedisFailure::NoAnswer(words(&error)),
            _ => RedisFailure::Refused(words(&error)),
        })
    }

    fn connection(&self) -> Result<Connected, RedisFailure> {
        let idle = self.idle.lock().pop();
        if let Some((mut connected, since)) = idle {
            // A Redis that was started again, or a machine on the way, may have closed it.
            if since.elapsed() < self.settings.trusted_idle
                || connected.connection.check_connection()
            {
                return Ok(connected);
            }
            self.idle.lock().clear();
        }
        if let Some((since, why)) = &*self.down.lock() {
            if since.elapsed() < self.settings.pause {
                return Err(RedisFailure::Paused(why.clone()));
            }
        }
        match self.connect() {
            Ok(connection) => {
                *self.down.lock() = None;
                Ok(connection)
            }
            Err(error) => {
                let why = words(&error);
                *self.down.lock() = Some((Instant::now(), why.clone()));
                Err(RedisFailure::Unreachable(why))
            }
        }
    }

    fn connect(&self) -> Result<Connected, RedisError> {
        // Zero means no limit to a socket.
        let timeout = self.settings.timeout.max(Duration::from_millis(1));
        let client = self.client.clone();
        let connect = move || {
            let connection = client.get_connection_with_timeout(timeout)?;
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            Ok(connection)
        };
        // Once for the lookup of a name, and once for the connection.
        let (mut connection, since) = self.attempts.attempt(2 * timeout, connect)?;
        if since.elapsed() >= self.settings.trusted_idle && !connection.check_connection() {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
        }
        let run = if self.settings.asks_for_run { run_of(&mut connection)? } else { String::new() };
        Ok(Connected { connection, run })
    }
}

/// Returns which run of Redis this is. Empty if its user may not ask.
fn run_of(connection: &mut Connection) -> Result<String, RedisError> {
    let info: String = match ::redis::cmd("INFO").arg("server").query(connection) {
        Err(error) if error.kind() != ErrorKind::Io => return Ok(String::new()),
        info => info?,
    };
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(run.unwrap_or_default().trim().to_owned())
}

/// Sends commands in the form of the wire, and reads an answer to each. An error of Redis is a
/// [`ServerError`](::redis::Value::ServerError).
///
/// The client's own function reads on after an answer that came too late, so that each further one is waited for as long.
#[cfg(any(feature = "limiter", test))]
pub(crate) fn round_trip(
    connection: &mut Connection,
    commands: &[u8],
    count: usize,
) -> Result<Vec<::redis::Value>, RedisError> {
    connection.send_packed_command(commands)?;
    let mut answers = Vec::with_capacity(count);
    while answers.len() < count {
        match connection.recv_response()? {
            // What a server says without being asked.
            ::redis::Value::Push { .. } => {}
            answer => answers.push(answer),
        }
    }
    Ok(answers)
}

/// What an error says, without the arguments of the command.
fn words(error: &RedisError) -> String {
    match error.is_timeout() {
        true => "it took too long".to_owned(),
        false => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    // clippy allows `unwrap` in test functions only, and the server is outside of them.
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use ::redis::cmd;

    use super::*;

    /// What a server does after a command, other than those of a new connection.
    #[derive(Clone, Copy)]
    enum Then {
        Answers(&'static str),
        AnswersAndCloses(&'static str),
    }

    /// Returns connections to a server whose first connection does `first`, and all others answer.
    fn pool(first: Then) -> RedisPool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the process: the listener has no end of its own.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let mut line = String::new();
                    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                        let words: usize = line.trim_start_matches('*').trim().parse().unwrap();
                        let mut name = Vec::new();
                        for word in 0..words {
                            line.clear();
                            lines.read_line(&mut line).unwrap();
                            let len: usize = line.trim_start_matches('$').trim().parse().unwrap();
                            let mut text = vec![0; len + 2];
                            lines.read_exact(&mut text).unwrap();
                            if word == 0 {
                                name = text;
                            }
                        }
                        line.clear();
                        let then = match (name.as_slice(), number) {
                            (b"GET\r\n", 0) => first,
                            _ => Then::Answers("+OK"),
                        };
                        let (Then::Answers(text) | Then::AnswersAndCloses(text)) = then;
                        (&stream).write_all(format!("{text}\r\n").as_bytes()).unwrap();
                        if matches!(then, Then::AnswersAndCloses(_)) {
                            stream.shutdown(std::net::Shutdown::Both).unwrap();
                            return;
                        }
                    }
                });
            }
        });
        let settings = RedisSettings {
            timeout: Duration::from_secs(60),
            trusted_idle: Duration::ZERO,
            ..RedisSettings::default()
        };
        RedisPool::new(&format!("redis://{address}"), settings).unwrap()
    }

    fn get(pool: &RedisPool) -> Result<String, RedisFailure> {
        pool.with(|connection| cmd("GET").arg("a").query(connection))
    }

    #[test]
    fn a_connection_that_was_closed_while_it_was_idle_is_replaced() {
        let pool = pool(Then::AnswersAndCloses("+first"));
        assert_eq!(get(&pool).unwrap(), "first");
        assert_eq!(get(&pool).unwrap(), "OK");
    }

    #[test]
    fn of_many_answers_that_do_not_come_the_first_is_waited_for() {
        let mut pool = pool(Then::Answers("+1"));
        pool.set_timeout(Duration::from_millis(50));
        let command = cmd("GET").arg("a").get_packed_command();
        let begin = Instant::now();
        // One is answered, and 1199 would take a minute.
        let answers = pool.with(|connection| round_trip(connection, &command, 1200));
        assert!(matches!(answers, Err(RedisFailure::NoAnswer(_))));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_server_that_greets_byte_by_byte_counts_as_away() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Each byte comes in time, and the greeting has no end. The thread ends when the other side leaves.
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"+").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let settings =
            RedisSettings { timeout: Duration::from_secs(1), ..RedisSettings::default() };
        let pool = RedisPool::new(&format!("redis://{address}"), settings).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(get(&pool)));
        let failure = told.recv_timeout(Duration::from_secs(60)).expect("it is waited for");
        assert_eq!(failure, Err(RedisFailure::Unreachable("it took too long".to_owned())));
    }

    #[test]
    fn a_host_is_found_by_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Two commands of a new connection, and one of the test.
            stream.write_all(b"+OK\r\n+OK\r\n+named\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let settings =
            RedisSettings { timeout: Duration::from_secs(60), ..RedisSettings::default() };
        let pool = RedisPool::new(&format!("redis://localhost:{port}"), settings).unwrap();
        assert_eq!(get(&pool).unwrap(), "named");
    }

    #[test]
    fn a_connection_to_a_replica_is_left() {
        let pool = pool(Then::Answers("-READONLY You can't write against a read only replica."));
        assert!(matches!(get(&pool), Err(RedisFailure::Refused(_))));
        assert_eq!(get(&pool).unwrap(), "OK");
    }
}
