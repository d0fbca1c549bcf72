//! A call that has to wait for another one: the key `first` of `#[proxy]`.
//!
//! The wait is before the call is queued, on its caller's thread, so the call holds nothing of its lane meanwhile. A call
//! that is submitted for a ticket must not block its caller, so it waits for nothing: it is made as it is, and the value
//! behind the proxy answers if something is missing.

use crate::clock::Clock;
use crate::quota::Moment;

/// Another call that must have succeeded before a call is queued. It is under way, and other calls may share it.
///
/// The method that the key `first` of `#[lane(..)]` names returns it, in an `Option`: `None` if nothing is missing.
pub trait Prerequisite<E> {
    /// Waits until the other call has succeeded or failed, but no longer than until `deadline`. Returns `None` at the
    /// deadline.
    ///
    /// # Errors
    /// The error of the other call. The call that waits for it is not sent, and is answered with this error.
    fn wait(&self, clock: &Clock, deadline: Option<Moment>) -> Option<Result<(), E>>;
}
