//! The outcome of a request without an answer.
//!
//! An error is "not sent" only if that is certain; anything in doubt is "outcome unknown". Certainty has two sources.
//! For a request with a body, the body itself: ureq reads its first byte after the header was sent, so if the body
//! was never read, the broker cannot have an order to execute, whatever the error. Without a body, the kind of the
//! error.

use std::io::{self, ErrorKind, Read};

use ureq::{Error, Timeout};

use super::outcome::no_answer_error;
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail};

/// The body of a request that records whether any of it was read.
pub(in crate::brokers) struct TrackedBody<'a> {
    rest: &'a [u8],
    handed_over: bool,
}

impl<'a> TrackedBody<'a> {
    pub(in crate::brokers) fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), handed_over: false }
    }

    /// Returns whether a byte of it may have been sent.
    pub(in crate::brokers) fn handed_over(&self) -> bool {
        self.handed_over
    }
}

impl Read for TrackedBody<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.handed_over = true;
        self.rest.read(into)
    }
}

/// Classifies a failure of the transport. `body_left` is `None` for a request without a body.
pub(in crate::brokers) fn transport_error(
    error: &Error,
    effect: Effect,
    body_left: Option<bool>,
) -> BrokerError {
    let detail = ErrorDetail::new(error.to_string());
    let detail = if is_local(error) { detail.local() } else { detail };
    match body_left {
        Some(false) => BrokerError::NotSent(detail),
        // Once the body was read, even an error that looks like a failed connection proves nothing.
        Some(true) => no_answer_error(effect, ErrorDetail { local: false, ..detail }),
        None if is_before_sending(error) => BrokerError::NotSent(detail),
        None => no_answer_error(effect, detail),
    }
}

/// Returns whether ureq can make this error only before it writes the first byte of a request.
///
/// Not among them are `Io` of any other kind and `Rustls`, which can come from a handshake as well as from a
/// connection in use, and the global timeout, which does not show where the time was spent.
fn is_before_sending(error: &Error) -> bool {
    match error {
        Error::BadUri(_)
        | Error::Http(_)
        | Error::HostNotFound
        | Error::InvalidProxyUrl
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::RequireHttpsOnly(_)
        | Error::Tls(_)
        | Error::TlsRequired
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        // An open connection is reset or aborted, never refused.
        Error::Io(error) => {
            error.kind() == ErrorKind::ConnectionRefused || is_lookup_failure(error)
        }
        _ => false,
    }
}

/// Returns whether the host's name could not be looked up, so that no connection was made.
///
/// The standard library has no kind for this error. On Unix it has these words, which no error of a connection has. On
/// Windows it has one of the codes of `getaddrinfo`, `WSAHOST_NOT_FOUND` to `WSANO_DATA`. If either changes, a write has
/// an unknown outcome, which is safe.
fn is_lookup_failure(error: &std::io::Error) -> bool {
    let is_of_windows = || matches!(error.raw_os_error(), Some(11001..=11004));
    error.to_string().starts_with("failed to lookup address information")
        || (cfg!(windows) && is_of_windows())
}

/// Returns whether ureq makes this error before it looks up an address: the request cannot be written. A bad character
/// in the credentials is one of these.
fn is_local(error: &Error) -> bool {
    matches!(
        error,
        Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl | Error::RequireHttpsOnly(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reachability;

    fn class(error: &Error, effect: Effect, body_left: Option<bool>) -> &'static str {
        match transport_error(error, effect, body_left) {
            BrokerError::NotSent(_) => "not sent",
            BrokerError::OutcomeUnknown(_) => "unknown",
            BrokerError::Transient(_) => "transient",
            other => panic!("{other}"),
        }
    }

    fn io(kind: ErrorKind) -> Error {
        Error::Io(kind.into())
    }

    #[test]
    fn a_form_that_was_not_asked_for_was_not_sent() {
        for error in [io(ErrorKind::BrokenPipe), Error::Timeout(Timeout::Global)] {
            assert_eq!(class(&error, Effect::Write, Some(false)), "not sent", "{error}");
        }
    }

    #[test]
    fn a_form_that_left_is_in_doubt_whatever_the_error() {
        for error in [io(ErrorKind::ConnectionRefused), Error::Timeout(Timeout::Connect)] {
            assert_eq!(class(&error, Effect::Write, Some(true)), "unknown", "{error}");
        }
    }

    /// No name has a part of 64 characters, so this needs no network.
    #[test]
    fn a_name_that_cannot_be_looked_up_was_not_sent_to() {
        let host = format!("{}.invalid:443", "x".repeat(64));
        let error = std::net::ToSocketAddrs::to_socket_addrs(&*host).map(drop).unwrap_err();
        let error = Error::Io(error);
        assert_eq!(class(&error, Effect::Write, None), "not sent", "{error}");
        assert_eq!(class(&error, Effect::Read, None), "not sent", "{error}");
        assert!(!is_local(&error), "a lookup was tried");
    }

    #[test]
    fn without_a_form_the_kind_of_the_error_decides() {
        for error in [
            Error::HostNotFound,
            Error::Timeout(Timeout::Resolve),
            Error::Timeout(Timeout::Connect),
            io(ErrorKind::ConnectionRefused),
        ] {
            assert_eq!(class(&error, Effect::Write, None), "not sent", "{error}");
        }
        for error in [
            Error::Timeout(Timeout::Global),
            Error::Timeout(Timeout::SendRequest),
            Error::Timeout(Timeout::RecvResponse),
            io(ErrorKind::ConnectionReset),
            io(ErrorKind::UnexpectedEof),
            io(ErrorKind::InvalidData),
            io(ErrorKind::TimedOut),
        ] {
            assert_eq!(class(&error, Effect::Write, None), "unknown", "{error}");
            assert_eq!(class(&error, Effect::Read, None), "transient", "{error}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_written_is_a_local_error() {
        let is_local = |error: &Error, body_left| {
            transport_error(error, Effect::Write, body_left).failure().is_local()
        };
        let bad_header = ureq::http::HeaderValue::from_str("token key:\n").unwrap_err();
        let bad_header = Error::Http(bad_header.into());
        for error in [bad_header, Error::BadUri("no host".to_owned())] {
            assert!(is_local(&error, None) && is_local(&error, Some(false)), "{error}");
            let left = transport_error(&error, Effect::Write, Some(true)).failure();
            assert_eq!(left.reachability, Reachability::Unreachable, "{error}");
        }
        // A connection was tried.
        for error in [
            Error::HostNotFound,
            Error::ConnectionFailed,
            Error::Timeout(Timeout::Connect),
            io(ErrorKind::ConnectionRefused),
        ] {
            assert!(!is_local(&error, None) && !is_local(&error, Some(false)), "{error}");
        }
    }

    #[test]
    fn reading_the_form_is_noticed() {
        let mut form = TrackedBody::new("quantity=10");
        assert!(!form.handed_over());
        let mut text = String::new();
        form.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), form.handed_over()), ("quantity=10", true));
    }
}
