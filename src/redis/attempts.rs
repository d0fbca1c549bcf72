//! Attempts to connect, with a limit of time.
//!
//! Three things have none of their own: the lookup of a host's name, a Unix socket whose queue is full, and a server that
//! greets byte by byte. So each attempt is made on a thread of its own and waited for. One that takes too long goes on, and the
//! next caller gets what it made. So there are never more such threads than callers at a time, however long each of them takes,
//! and a lookup that always takes seconds leads to a connection in the end.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ::redis::RedisError;
use parking_lot::Mutex;

/// What an attempt made, and since when it is there.
type Made<T> = Result<(T, Instant), RedisError>;

/// Attempts to make a `T`, which is a connection.
pub(super) struct Attempts<T> {
    /// Those that took too long.
    late: Mutex<Vec<Receiver<Made<T>>>>,
}

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self { late: Mutex::default() }
    }
}

impl<T: Send + 'static> Attempts<T> {
    /// Waits this long for an attempt that took too long before, or for a new one.
    pub(super) fn attempt(
        &self,
        wait: Duration,
        make: impl FnOnce() -> Result<T, RedisError> + Send + 'static,
    ) -> Made<T> {
        let attempt = loop {
            let late = self.late.lock().pop();
            match late.map(|attempt| (attempt.try_recv(), attempt)) {
                None => break begin(make)?,
                Some((Ok(Ok(made)), _)) => return Ok(made),
                Some((Err(TryRecvError::Empty), attempt)) => break attempt,
                // Its failure may be of long ago.
                Some((Ok(Err(_)) | Err(TryRecvError::Disconnected), _)) => {}
            }
        };
        match attempt.recv_timeout(wait) {
            Ok(made) => made,
            Err(RecvTimeoutError::Timeout) => {
                self.late.lock().push(attempt);
                Err(io::Error::from(io::ErrorKind::TimedOut).into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the attempt to connect panicked").into())
            }
        }
    }
}

fn begin<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, RedisError> + Send + 'static,
) -> Result<Receiver<Made<T>>, RedisError> {
    let (tell, attempt) = sync_channel(1);
    thread::Builder::new().name("redis-connect".to_owned()).spawn(move || {
        // The pool may be gone.
        let _ = tell.send(make().map(|made| (made, Instant::now())));
    })?;
    Ok(attempt)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(600);

    fn refused() -> Result<u32, RedisError> {
        Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_waited_for_by_the_next_caller() {
        let attempts = Attempts::default();
        let (go, goes) = channel::<()>();
        let lookup = move || Ok(goes.recv().map_or(1, |()| 2));
        assert!(attempts.attempt(SHORT, lookup).unwrap_err().is_timeout());
        let second = || -> Result<i32, RedisError> {
            panic!("it begins no attempt while another is under way")
        };
        assert!(attempts.attempt(SHORT, second).unwrap_err().is_timeout());
        drop(go);
        assert_eq!(attempts.attempt(LONG, second).unwrap().0, 1);
        assert_eq!(attempts.attempt(LONG, || Ok(3)).unwrap().0, 3);
    }

    #[test]
    fn what_came_too_late_is_used_unless_it_is_a_failure() {
        let attempts = Attempts::default();
        let come_late = |made: Result<u32, RedisError>| {
            let (tell, attempt) = sync_channel(1);
            tell.send(made.map(|made| (made, Instant::now()))).unwrap();
            attempts.late.lock().push(attempt);
        };
        come_late(Ok(1));
        assert_eq!(attempts.attempt(LONG, || Ok(2)).unwrap().0, 1);
        come_late(refused());
        assert_eq!(attempts.attempt(LONG, || Ok(3)).unwrap().0, 3);
    }

    #[test]
    fn a_failure_is_that_of_the_attempt() {
        let error = Attempts::default().attempt(LONG, refused).unwrap_err();
        assert!(error.is_connection_refusal());
    }
}
