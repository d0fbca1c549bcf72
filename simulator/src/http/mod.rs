//! HTTP: the server, the bodies of requests and responses, and Kite's envelope.

pub(crate) mod body;
pub(crate) mod form;
pub(crate) mod response;
pub(crate) mod server;
mod write_timeout;
