//! Connections that threads take in turn, and the pause after one that failed.

use std::fmt;
use std::time::{Duration, Instant};

use ::redis::{
    Client, Connection, ConnectionLike, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
};
use parking_lot::Mutex;

use super::{RedisFailure, RedisSettings};

/// Connections to one Redis. Nothing is connected before the first use.
pub(crate) struct RedisPool {
    client: Client,
    settings: RedisSettings,
    /// Since when each is idle.
    idle: Mutex<Vec<(Connection, Instant)>>,
    /// Since when Redis could not be reached, and why.
    down: Mutex<Option<(Instant, String)>>,
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
        Ok(Self { client, settings, idle: Mutex::default(), down: Mutex::default() })
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.settings.timeout = timeout;
    }

    /// Uses a connection. It is kept for the next use if it still works.
    pub(crate) fn with<T>(
        &self,
        operation: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisFailure> {
        let mut connection = self.connection()?;
        let result = operation(&mut connection);
        // After an answer that came too late, the next one on this connection could be taken for it. A Redis that became
        // a replica is not the one to ask any more: a new connection finds the one that took its place.
        let usable = result.as_ref().err().is_none_or(|error| {
            let kind = error.kind();
            kind != ErrorKind::Io && kind != ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        if usable && connection.is_open() {
            let mut idle = self.idle.lock();
            if idle.len() < self.settings.max_idle {
                idle.push((connection, Instant::now()));
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

    fn connection(&self) -> Result<Connection, RedisFailure> {
        let idle = self.idle.lock().pop();
        if let Some((mut connection, since)) = idle {
            // A Redis that was started again, or a machine on the way, may have closed it.
            if since.elapsed() < self.settings.trusted_idle || connection.check_connection() {
                return Ok(connection);
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

    fn connect(&self) -> Result<Connection, RedisError> {
        // Zero means no limit to a socket.
        let timeout = self.settings.timeout.max(Duration::from_millis(1));
        let connection = self.client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(connection)
    }
}

/// What an error says, without the arguments of the command.
fn words(error: &RedisError) -> String {
    match error.is_timeout() {
        true => "it took too long".to_owned(),
        false => error.to_string(),
    }
}
