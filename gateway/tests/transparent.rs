//! What the gateway does not understand it passes on byte for byte, both ways.

mod support;

#[path = "transparent/answers.rs"]
mod answers;
#[path = "transparent/connections.rs"]
mod connections;
#[path = "transparent/exchange.rs"]
mod exchange;
#[path = "transparent/kept.rs"]
mod kept;
#[path = "transparent/large.rs"]
mod large;
#[path = "transparent/requests.rs"]
mod requests;
